import { X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'
import type { UsageError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { certificateHash } from '../wire/certificate-hash.ts'
import type { ChannelBinding } from '../wire/scram.ts'

/** How the embedded engine is offered to other programs. */
export interface ServeOptions {
  /** The address to listen on; default 127.0.0.1. */
  readonly host?: string | undefined
  /** The TCP port, or the number in the Unix socket's name; default 5432. 0 takes any free TCP port. */
  readonly port?: number | undefined
  /** A Unix socket `.s.PGSQL.<port>` in this directory instead of a TCP port, for this user of the machine only. */
  readonly socketDirectory?: string | undefined
  /** The one user who may connect; default postgres. In the database it is always the superuser `postgres`. */
  readonly user?: string | undefined
  /** Its password. Left out: one is made, and returned. */
  readonly password?: string | undefined
  /** The name clients know the database by; default postgres. */
  readonly database?: string | undefined
  /** Certificate chain and key in PEM. Connections without TLS are then refused. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer } | undefined
  /** Needed for any address that other machines can reach. */
  readonly allowRemote?: boolean | undefined
  /** Connections at once; the next is refused with 53300. Default 100. */
  readonly maxConnections?: number | undefined
  /** How long a client may take to say who it is; default 10,000. */
  readonly authenticationTimeoutMs?: number | undefined
  /** A client that reads nothing for so long, while it is sent something, is disconnected; default 60,000. */
  readonly stallTimeoutMs?: number | undefined
  /** Default of `statement_timeout` for these connections; 0 is none. */
  readonly statementTimeoutMs?: number | undefined
  /** Default of `idle_in_transaction_session_timeout`; 0 is none. An idle transaction keeps all others waiting. */
  readonly idleInTransactionTimeoutMs?: number | undefined
}

/** The options with their defaults, checked. */
export interface ServeSettings {
  readonly host: string
  readonly port: number
  readonly socketDirectory: string | undefined
  readonly user: string
  readonly password: string | undefined
  readonly database: string
  readonly tls: { readonly context: SecureContext; readonly binding: ChannelBinding } | undefined
  readonly allowRemote: boolean
  readonly maxConnections: number
  readonly authenticationTimeoutMs: number
  readonly stallTimeoutMs: number
  readonly statementTimeoutMs: number
  readonly idleInTransactionTimeoutMs: number
}

const KEYS = [
  'host',
  'port',
  'socketDirectory',
  'user',
  'password',
  'database',
  'tls',
  'allowRemote',
  'maxConnections',
  'authenticationTimeoutMs',
  'stallTimeoutMs',
  'statementTimeoutMs',
  'idleInTransactionTimeoutMs',
]
/** What a timer of Node and a setting of the engine can hold. */
const LONGEST_MS = 2 ** 31 - 1

/** @throws UsageError INVALID_OPTION */
export function serveSettings(options: ServeOptions): ServeSettings {
  checkKeys(options, KEYS, 'serve')
  const { host, socketDirectory, tls } = options
  if (socketDirectory !== undefined && (host !== undefined || tls !== undefined))
    throw invalidOption('socketDirectory goes without host and tls.', 'Serve twice for a socket and a port.')
  const port = whole(options.port, 'port', {
    standard: 5432,
    least: socketDirectory === undefined ? 0 : 1,
    most: 65535,
  })
  const milliseconds = (value: number | undefined, name: string, standard: number, least: number): number =>
    whole(value, name, { standard, least, most: LONGEST_MS })
  return {
    host: text(host, 'host') ?? '127.0.0.1',
    port,
    socketDirectory: text(socketDirectory, 'socketDirectory'),
    user: text(options.user, 'user') ?? 'postgres',
    password: text(options.password, 'password'),
    database: text(options.database, 'database') ?? 'postgres',
    tls: tls === undefined ? undefined : secureContext(tls),
    allowRemote: options.allowRemote === true,
    maxConnections: whole(options.maxConnections, 'maxConnections', { standard: 100, least: 1, most: 10_000 }),
    authenticationTimeoutMs: milliseconds(options.authenticationTimeoutMs, 'authenticationTimeoutMs', 10_000, 1),
    stallTimeoutMs: milliseconds(options.stallTimeoutMs, 'stallTimeoutMs', 60_000, 1),
    statementTimeoutMs: milliseconds(options.statementTimeoutMs, 'statementTimeoutMs', 0, 0),
    idleInTransactionTimeoutMs: milliseconds(options.idleInTransactionTimeoutMs, 'idleInTransactionTimeoutMs', 0, 0),
  }
}

interface Range {
  readonly standard: number
  readonly least: number
  readonly most: number
}

function whole(value: number | undefined, name: string, { standard, least, most }: Range): number {
  if (value === undefined) return standard
  if (!Number.isInteger(value) || value < least || value > most)
    throw invalidOption(`${name} is a whole number from ${least} to ${most}.`)
  return value
}

function text(value: string | undefined, name: string): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value === '' || value.includes('\0'))
    throw invalidOption(`${name} is a text that is not empty.`)
  return value
}

function secureContext(tls: NonNullable<ServeOptions['tls']>): NonNullable<ServeSettings['tls']> {
  checkKeys(tls, ['cert', 'key'], 'tls')
  try {
    const context = createSecureContext({ cert: tls.cert, key: tls.key, minVersion: 'TLSv1.2' })
    return { context, binding: { certificateHash: certificateHash(new X509Certificate(tls.cert).raw) } }
  } catch {
    throw badCertificate()
  }
}

/** Without a cause: it could quote the key. */
function badCertificate(): UsageError {
  return invalidOption('tls needs cert and key in PEM that belong together.')
}
