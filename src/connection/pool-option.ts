import type { Duplex } from 'node:stream'
import type { ConnectionOptions } from 'node:tls'
import { UsageError } from '../errors.ts'
import type { TransactionState } from './transaction-context.ts'

/** How much of the server's identity is checked; the names and meanings of libpq. */
export interface TlsOptions {
  /**
   * `disable`: no TLS. `require`: TLS, any certificate (checked like `verify-ca` when `ca` is given, as in libpq).
   * `verify-ca`: a certificate of `ca`. `verify-full`: and for this host name.
   */
  readonly mode: 'disable' | 'require' | 'verify-ca' | 'verify-full'
  /** PEM text of the accepted authorities; default: those Node trusts. */
  readonly ca?: string | undefined
  /** PEM texts of a client certificate and its key. */
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

/** What a `beforeQuery` hook is told. */
export interface BeforeQueryContext {
  /** The transaction of this database in whose function the call was made, if any; it holds another connection. */
  readonly outer: TransactionState | undefined
  /** The stream of the connection the statement is about to be written to. */
  readonly connection: Duplex
}

/** Where a pool connects to and how many connections it holds. */
export interface PoolOptions {
  /** Default `localhost`; a path (`/run/postgresql`) for a Unix socket. */
  readonly host?: string | undefined
  /** Default 5432. */
  readonly port?: number | undefined
  /** Default: the user's name. */
  readonly database?: string | undefined
  readonly user?: string | undefined
  readonly password?: string | (() => string | Promise<string>) | undefined
  readonly tls?: TlsOptions | undefined
  /** `direct`: TLS from the first byte, which servers from 17 on take. Default `postgres`: the server is asked first. */
  readonly tlsNegotiation?: 'postgres' | 'direct' | undefined
  /** Whether idle TCP connections are probed. Default true. */
  readonly keepAlive?: boolean | undefined
  /** Idle time before the first probe. Default: the operating system's. */
  readonly keepAliveIdleMs?: number | undefined
  /** Connections kept once opened. Default 5. */
  readonly poolSize?: number | undefined
  /** Connections opened beyond that under load, closed when idle. Default 10. */
  readonly maxOverflow?: number | undefined
  /** Idle time after which a surplus connection closes. Default 10 s. */
  readonly idleTimeoutMs?: number | undefined
  /** How long a call waits for a connection before POOL_EXHAUSTED. Default 30 s. */
  readonly acquireTimeoutMs?: number | undefined
  /** How long opening one connection may take. Default 10 s. */
  readonly connectTimeoutMs?: number | undefined
  /** How long `close()` lets running statements go on. Default 5 s. */
  readonly closeTimeoutMs?: number | undefined
  /** The server's statement_timeout for every statement. Default: the server's. */
  readonly statementTimeoutMs?: number | undefined
  /** Shown in pg_stat_activity. Default `tsdbkit`. */
  readonly applicationName?: string | undefined
  /**
   * Whether statements whose results are read as columns stay prepared on the server. Default true; false behind a
   * pooler that gives a connection's statements to several sessions.
   */
  readonly prepare?: boolean | undefined
  /** More settings for the start of a session, such as `-c search_path=metrics`. */
  readonly startupOptions?: string | undefined
  /** A fresh stream per connection (and per CancelRequest) instead of a socket; TLS does not apply. */
  readonly stream?: (() => Duplex) | undefined
  /** Called right before a statement outside of a transaction, or a BEGIN, is sent; may throw to refuse it. */
  readonly beforeQuery?: ((context: BeforeQueryContext) => void) | undefined
}

/** @throws UsageError INVALID_OPTION for a number that is not whole or out of range */
export function checkPoolOptions(options: PoolOptions): void {
  const limits = [
    ['poolSize', 1],
    ['maxOverflow', 0],
    ['idleTimeoutMs', 1],
    ['acquireTimeoutMs', 1],
    ['connectTimeoutMs', 1],
    ['closeTimeoutMs', 0],
    ['statementTimeoutMs', 0],
  ] as const
  for (const [name, least] of limits) {
    const value = options[name]
    if (value === undefined || (Number.isInteger(value) && value >= least && value < 2 ** 31)) continue
    throw new UsageError('INVALID_OPTION', `Option ${name} must be a whole number of at least ${least}`)
  }
}

/** Whom a pool with these options connects to, for messages; without user and password. */
export function targetOf(options: PoolOptions): string {
  if (options.stream !== undefined) return 'the embedded engine'
  const host = options.host ?? 'localhost'
  return host.startsWith('/') ? host : `${host}:${options.port ?? 5432}`
}

/** Whether connections are to be TLS: never on a Unix socket or an in-process stream. */
export function usesTls(options: PoolOptions): boolean {
  if (options.stream !== undefined || options.host?.startsWith('/')) return false
  return options.tls !== undefined && options.tls.mode !== 'disable'
}

/** Node's options for a mode of libpq. */
export function tlsOptions(tls: TlsOptions | undefined): ConnectionOptions {
  const { mode, ca, cert, key } = tls ?? { mode: 'require' }
  const verify = mode === 'verify-full' || mode === 'verify-ca' || ca !== undefined
  return {
    rejectUnauthorized: verify,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(mode !== 'verify-full' && { checkServerIdentity: () => undefined }),
  }
}
