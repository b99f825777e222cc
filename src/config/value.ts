import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { rootCertificates } from 'node:tls'
import { ConfigError, UsageError } from '../errors.ts'
import { parseInterval } from '../sql/interval.ts'
import { parseTime } from '../sql/time-expression.ts'
import { whyUnreadable } from './unreadable-file.ts'

/** How a server's certificate is checked, in libpq's words. `require` encrypts and checks nothing. */
export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full'

/** A password, or a function asked at each new connection, for passwords that change. */
export type Password = string | (() => string | Promise<string>)

/** How the embedded engine runs due jobs; false: not at all. */
export type JobSettings = false | { readonly yieldAfterMs: number | undefined }

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
  prepare: boolean
  statementTimeoutMs: number
  poolSize: number
  maxOverflow: number
  acquireTimeoutMs: number
  lockWaitMs: number
  createExtension: boolean
  durability: 'fsync' | 'process'
  jobs: JobSettings
  clock: Date
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
  prepare: flag,
  statementTimeoutMs: whole(0, longestTimeoutMs),
  poolSize: whole(1, 10_000),
  maxOverflow: whole(0, 10_000),
  acquireTimeoutMs: whole(1, longestTimeoutMs),
  lockWaitMs: whole(0, longestTimeoutMs),
  createExtension: flag,
  durability: oneOf('fsync', 'process'),
  jobs: parseJobs,
  clock: parseClock,
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

function parseJobs(raw: unknown, place: Place): JobSettings {
  if (typeof raw === 'boolean') return raw && { yieldAfterMs: undefined }
  if (typeof raw !== 'object' || raw === null) throw invalidValue(place, 'must be true, false or an object')
  const { yieldAfter, ...others } = { yieldAfter: undefined, ...raw }
  const unknown = Object.keys(others)[0]
  if (unknown !== undefined) throw invalidValue(place, `has no option ${unknown}`, 'Did you mean yieldAfter?')
  if (yieldAfter === undefined) return { yieldAfterMs: undefined }
  const { months, days, microseconds } = understand(() => parseInterval(yieldAfter), place)
  const yieldAfterMs = (months * 30 + days) * 86_400_000 + Number(microseconds) / 1000
  if (yieldAfterMs < 0) throw invalidValue(place, 'must have a yieldAfter that is not negative')
  return { yieldAfterMs }
}

function parseClock(raw: unknown, place: Place): Date {
  const time = typeof raw === 'string' || raw instanceof Date ? understand(() => parseTime(raw), place) : undefined
  if (time?.kind !== 'instant' || typeof time.microseconds !== 'bigint') {
    throw invalidValue(place, "must be a time such as '2025-01-01'")
  }
  return new Date(Number(time.microseconds / 1000n))
}

/** What a text of the layer below means, or where the setting with that text stands. */
function understand<T>(parse: () => T, place: Place): T {
  try {
    return parse()
  } catch (error) {
    if (error instanceof UsageError) throw invalidValue(place, `cannot be read: ${error.message}`, error.hint)
    throw error
  }
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
    const why = whyUnreadable(cause) ?? 'cannot be read'
    throw new ConfigError('CONFIG_UNREADABLE', `${place.origin}: ${place.label}: ${file} ${why}.`, {
      source: place.origin,
      cause,
    })
  }
}
