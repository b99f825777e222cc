import { resolve } from 'node:path'
import type { ConfigError } from '../errors.ts'
import { unknownKey } from './unknown-key.ts'
import { invalidValue, type Layer, setValue, type Values } from './value.ts'

/** What a target text names: a server with the values the URL sets, or a directory of the embedded engine. */
export type TextTarget =
  | { readonly kind: 'server'; readonly layer: Layer }
  | { readonly kind: 'embedded'; readonly directory: string | undefined }

const parameters: Readonly<Record<string, keyof Values>> = {
  host: 'host',
  port: 'port',
  dbname: 'database',
  user: 'user',
  password: 'password',
  sslmode: 'sslmode',
  sslrootcert: 'ca',
  sslcert: 'cert',
  sslkey: 'key',
  sslnegotiation: 'sslNegotiation',
  application_name: 'applicationName',
  fallback_application_name: 'applicationName',
  options: 'options',
  connect_timeout: 'connectTimeoutMs',
  statement_timeout: 'statementTimeoutMs',
  lock_timeout: 'lockTimeoutMs',
  idle_in_transaction_session_timeout: 'idleInTransactionTimeoutMs',
  keepalives: 'keepAlive',
  keepalives_idle: 'keepAliveIdleMs',
}

// Accepted with the values that change nothing: URLs copied from a provider's page carry them.
const harmless: Readonly<Record<string, RegExp>> = {
  channel_binding: /^(disable|prefer)$/,
  client_encoding: /^(utf-?8|unicode|auto)$/i,
  gssencmode: /^(disable|prefer)$/,
  target_session_attrs: /^any$/,
  uselibpqcompat: /^true$/,
}

const inSeconds: ReadonlySet<string> = new Set(['connect_timeout', 'keepalives_idle'])

/**
 * What `postgres://…`, `postgresql://…`, `embedded:DIR` or `embedded:` names. A directory is taken as it is written,
 * without escapes, and starts from `cwd`.
 *
 * @throws ConfigError CONFIG_INVALID_VALUE, CONFIG_UNKNOWN_KEY, CONFIG_UNREADABLE. The text is never shown.
 */
export function parseTarget(text: string, origin: string, cwd: string): TextTarget {
  if (text.startsWith('embedded:')) return parseEmbedded(text.slice('embedded:'.length), origin, cwd)
  if (/^postgres(ql)?:\/\//.test(text)) return { kind: 'server', layer: parseServer(text, origin, cwd) }
  const scheme = /^[a-z][a-z0-9+.-]*:/i.exec(text)?.[0]
  const named = scheme === undefined ? 'it has no scheme' : `its scheme is ${scheme}`
  throw invalidTarget(origin, named, 'Use postgres://user@host:5432/database, embedded:DIRECTORY, or embedded: alone.')
}

function parseEmbedded(directory: string, origin: string, cwd: string): TextTarget {
  if (directory === '') return { kind: 'embedded', directory: undefined }
  if (/^\/\/[^/]/.test(directory)) throw invalidTarget(origin, 'a directory has no host', 'Write embedded:DIRECTORY.')
  if (/^~(\/|$)/.test(directory)) throw invalidTarget(origin, '~ is not replaced', 'Write the whole path.')
  if (directory.includes('\0')) throw invalidTarget(origin, 'a directory has no NUL character')
  return { kind: 'embedded', directory: resolve(cwd, directory) }
}

function parseServer(text: string, origin: string, cwd: string): Layer {
  const { user, password, host, port, database, query } = splitUrl(text, origin)
  const layer: Layer = {}
  const set = (label: string, name: keyof Values, raw: string): void => {
    if (raw !== '') setValue(layer, name, raw, { origin, label, directory: cwd })
  }
  set('host', 'host', decode(host, origin))
  set('port', 'port', port)
  set('database', 'database', decode(database, origin))
  set('user', 'user', decode(user, origin))
  set('password', 'password', decode(password, origin))
  for (const [parameter, raw] of readParameters(query, origin)) {
    const name = parameterName(parameter, raw, origin)
    if (name === undefined || (parameter.startsWith('fallback_') && layer[name] !== undefined)) continue
    set(parameter, name, inSeconds.has(parameter) && /^\d+$/.test(raw) ? `${raw}000` : raw)
  }
  return layer
}

function parameterName(parameter: string, raw: string, origin: string): keyof Values | undefined {
  if (Object.hasOwn(parameters, parameter)) return parameters[parameter]
  if (!Object.hasOwn(harmless, parameter)) throw unknownKey(parameter, Object.keys(parameters), origin)
  if (harmless[parameter]?.test(raw)) return undefined
  throw invalidValue({ origin, label: parameter, directory: '' }, 'asks for what the driver cannot do', 'Leave it out.')
}

interface UrlParts {
  user: string
  password: string
  host: string
  port: string
  database: string
  query: string
}

// The standard URL class drops tabs, resolves ".." and refuses a user without a host; pg-connection-string drops
// unknown parameters and never decodes "%2F" in a database name. This is libpq's own grammar, and refuses what it
// would have to guess: "@", "/", "?" and "#" in a password end it early when they are not escaped.
const grammar =
  /^postgres(?:ql)?:\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^@/?#]*))?@)?(?:\[(?<address>[^\]@/?#]*)\]|(?<host>[^:@/?#[\]]*))(?::(?<port>\d*))?(?:\/(?<database>[^@/?#]*))?(?:\?(?<query>[^@#]*))?$/

function splitUrl(text: string, origin: string): UrlParts {
  const parts = /\s/.test(text) ? undefined : grammar.exec(text)?.groups
  if (parts === undefined) {
    throw invalidTarget(
      origin,
      'it is not postgres://user:password@host:port/database, or a special character is not escaped',
      'In names and passwords write @ : / ? # % and space as %40 %3A %2F %3F %23 %25 %20.',
    )
  }
  const part = (name: string): string => parts[name] ?? ''
  return {
    user: part('user'),
    password: part('password'),
    host: part('address') || part('host'),
    port: part('port'),
    database: part('database'),
    query: part('query'),
  }
}

/** Splits a query as libpq does, where a plus sign is a plus sign. */
function readParameters(query: string, origin: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const cut = pair.indexOf('=')
    if (cut < 0) throw invalidTarget(origin, 'a parameter has no value')
    const parameter = decode(pair.slice(0, cut), origin)
    if (found.has(parameter)) throw invalidTarget(origin, 'a parameter is given twice')
    found.set(parameter, decode(pair.slice(cut + 1), origin))
  }
  return found
}

function decode(text: string, origin: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw invalidTarget(origin, 'an escape is not UTF-8')
  }
}

function invalidTarget(origin: string, why: string, hint?: string): ConfigError {
  return invalidValue({ origin, label: 'the target', directory: '' }, `is not understood: ${why}`, hint)
}
