import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { rootCertificates } from 'node:tls'
import { ConfigError } from '../errors.ts'

/** How a server's certificate is checked, in libpq's words. `require` encrypts and checks nothing. */
export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full'

/** A password, or a function asked at each new connection, for passwords that change. */
export type Password = string | (() => string | Promise<string>)

/** Every single value a source can set, under its option name. */
export interface Values {
  host: string
  port: number
  database: string
  user: string
  password: Password
  sslmode: SslMode
  ca: string
  cert: string
  key: string
  sslNegotiation: 'postgres' | 'direct'
  applicationName: string
  options: string
  connectTimeoutMs: number
  lockTimeoutMs: number
  idleInTransactionTimeoutMs: number
  keepAlive: boolean
  keepAliveIdleMs: number
  statementTimeoutMs: number
  poolSize: number
  maxOverflow: number
  acquireTimeoutMs: number
  lockWaitMs: number
  createExtension: boolean
  durability: 'fsync' | 'process'
  int8: 'number' | 'bigint' | 'string'
  numeric: 'string' | 'number'
}

/** A value and where it came from. */
export interface Found<T> {
  readonly value: T
  readonly origin: string
}

/** What one source set. */
export type Layer = { [K in keyof Values]?: Found<Values[K]> }

/** Where a raw value stands: named in errors, and the directory that relative file names start from. */
export interface Place {
  /** `TSDB_URL`, `./tsdb.conf:3`, `option` … */
  readonly origin: string
  /** How the source calls the setting, such as `PORT` or `sslmode`. */
  readonly label: string
  readonly directory: string
}

type Parser<T> = (raw: unknown, place: Place) => T

/** The longest time-out in milliseconds: a timer beyond it fires at once. */
export const longestTimeoutMs = 2_147_483_647

const parsers: { readonly [K in keyof Values]: Parser<Values[K]> } = {
  host: parseHost,
  port: whole(1, 65_535),
  database: text,
  user: text,
  password: parsePassword,
  sslmode: parseSslMode,
  ca: (raw, place) => (raw === 'system' ? rootCertificates.join('\n') : pem(raw, place)),
  cert: pem,
  key: pem,
  sslNegotiation: oneOf('postgres', 'direct'),
  applicationName: text,
  options: text,
  connectTimeoutMs: whole(0, longestTimeoutMs),
  lockTimeoutMs: whole(0, longestTimeoutMs),
  idleInTransactionTimeoutMs: whole(0, longestTimeoutMs),
  keepAlive: flag,
  keepAliveIdleMs: whole(0, longestTimeoutMs),
  statementTimeoutMs: whole(0, longestTimeoutMs),
  poolSize: whole(1, 10_000),
  maxOverflow: whole(0, 10_000),
  acquireTimeoutMs: whole(1, longestTimeoutMs),
  lockWaitMs: whole(0, longestTimeoutMs),
  createExtension: flag,
  durability: oneOf('fsync', 'process'),
  int8: oneOf('number', 'bigint', 'string'),
  numeric: oneOf('string', 'number'),
}

/** The names of all settings, as options. */
export const valueNames: readonly string[] = Object.keys(parsers)

/** Whether `name` is a setting. */
export function isValueName(name: string): name is keyof Values {
  return Object.hasOwn(parsers, name)
}

/** Checks a raw value and puts it into the layer. @throws ConfigError CONFIG_INVALID_VALUE, CONFIG_UNREADABLE */
export function setValue<K extends keyof Values>(layer: Layer, name: K, raw: unknown, place: Place): void {
  const parse: Parser<Values[K]> = parsers[name]
  const found: Found<Values[K]> = { value: parse(raw, place), origin: place.origin }
  Object.assign(layer, { [name]: found })
}

/** The error for a value that cannot be right. It never shows the value: it may be a password in the wrong place. */
export function invalidValue(place: Place, must: string, hint?: string): ConfigError {
  return new ConfigError('CONFIG_INVALID_VALUE', `${place.origin}: ${place.label} ${must}.`, {
    source: place.origin,
    hint,
  })
}

function text(raw: unknown, place: Place): string {
  if (typeof raw !== 'string' || raw === '') throw invalidValue(place, 'must be a text that is not empty')
  if (raw.includes('\0')) throw invalidValue(place, 'must not contain a NUL character')
  return raw
}

function whole(least: number, most: number): Parser<number> {
  return (raw, place) => {
    const value = typeof raw === 'string' && /^\d{1,15}$/.test(raw) ? Number(raw) : raw
    if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most) return value
    const hint = typeof raw === 'string' && /[#;]/.test(raw) ? 'A comment needs a line of its own.' : undefined
    throw invalidValue(place, `must be a whole number from ${least} to ${most}`, hint)
  }
}

function oneOf<const T extends string>(...allowed: readonly T[]): Parser<T> {
  return (raw, place) => {
    const found = allowed.find((candidate) => candidate === raw)
    if (found === undefined) throw invalidValue(place, `must be one of ${allowed.join(', ')}`)
    return found
  }
}

function flag(raw: unknown, place: Place): boolean {
  if (raw === true || raw === '1') return true
  if (raw === false || raw === '0') return false
  throw invalidValue(place, 'must be true or false')
}

function parseHost(raw: unknown, place: Place): string {
  const host = text(raw, place)
  if (host.includes(',')) throw invalidValue(place, 'must name one host, not a list')
  if (/\s/.test(host) && !host.startsWith('/')) {
    throw invalidValue(place, 'must be a host name, an address or a socket directory', 'It contains white space.')
  }
  return host
}

function parsePassword(raw: unknown, place: Place): Password {
  if (typeof raw === 'function') return () => raw()
  if (typeof raw !== 'string') throw invalidValue(place, 'must be a text or a function that returns one')
  if (raw.includes('\0')) throw invalidValue(place, 'must not contain a NUL character')
  return raw
}

function parseSslMode(raw: unknown, place: Place): SslMode {
  if (raw === 'allow' || raw === 'prefer') {
    throw invalidValue(
      place,
      'cannot be allow or prefer: the driver does not fall back',
      'Use require, verify-ca or verify-full to encrypt, disable not to.',
    )
  }
  return oneOf('disable', 'require', 'verify-ca', 'verify-full')(raw, place)
}

function pem(raw: unknown, place: Place): string {
  const given = text(raw, place)
  if (given.includes('-----BEGIN ')) return given
  const file = resolve(place.directory, given)
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new ConfigError('CONFIG_UNREADABLE', `${place.origin}: ${place.label}: cannot read ${file}.`, {
      source: place.origin,
      cause,
    })
  }
}
