import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as endOfTurn, setTimeout as wait } from 'node:timers/promises'
import { UsageError } from '../errors.ts'
import { type CancelTarget, openSocket } from './cancel.ts'
import { type DriverClient, PoolConnection } from './pool-connection.ts'
import { pg } from './pool-driver.ts'
import { checkPoolOptions, type PoolOptions, targetOf, tlsOptions, usesTls } from './pool-option.ts'
import { wireConnection } from './pool-wire.ts'
import { cancelledError, databaseError } from './server-error.ts'
import type { Notice } from './session.ts'
import { asSocket, reusingSocket, untilClosed } from './socket.ts'
import { ColumnTypes, StatementCache } from './statement-cache.ts'
import type { WireQuery } from './statement-query.ts'

/** A real `pg.Pool`, for libraries that want one. */
export type PgPool = pg.Pool

/** How long a connection may have been idle before it is looked at, or asked, whether it still lives. */
const glanceAfterMs = 50
const checkAfterMs = 30_000
const checkLimitMs = 5000

/** Opens a pool; nothing is connected before the first call. @throws UsageError INVALID_OPTION */
export function openPool(options: PoolOptions = {}): ConnectionPool {
  return new ConnectionPool(options)
}

/** Connections to one database. */
export class ConnectionPool {
  /** The pool itself. Its own parsers and errors are those of pg, not of this library. */
  readonly pool: PgPool
  /** Whom it connects to, for messages. */
  readonly target: string
  readonly options: PoolOptions
  /** The most connections there can be. */
  readonly size: number
  readonly #connections = new Map<pg.PoolClient, PoolConnection>()
  readonly #used = new Set<PoolConnection>()
  /** Just given back: the driver's pool gets it at the end of this turn of the event loop, unless it is taken again. */
  #warm: PoolConnection | undefined
  readonly #waiting = new Set<(error: UsageError) => void>()
  #closing: Promise<void> | undefined

  constructor(options: PoolOptions) {
    checkPoolOptions(options)
    this.options = options
    this.size = (options.poolSize ?? 5) + (options.maxOverflow ?? 10)
    this.target = targetOf(options)
    this.pool = new pg.Pool(driverOptions(options))
    // Without these listeners, a connection that breaks while idle ends the process.
    this.pool.on('error', () => undefined)
    this.pool.on('connect', (client) => this.#adopt(client))
  }

  get closed(): boolean {
    return this.#closing !== undefined
  }

  /**
   * A connection for one user, to be released. One that broke while idle is replaced, not handed out.
   * @throws ConnectionError POOL_EXHAUSTED, CONNECTION_FAILED, AUTHENTICATION_FAILED, TLS_FAILED
   * @throws QueryError QUERY_CANCELLED when `signal` is aborted first
   * @throws UsageError CLOSED
   */
  acquire(signal?: AbortSignal, hint?: string): Promise<PoolConnection> {
    const warm = this.#takeWarm()
    if (warm !== undefined) return Promise.resolve(warm)
    return new Promise((resolve, reject) => {
      if (this.closed) {
        reject(closedError())
        return
      }
      let waiting = true
      const stopWaiting = (): void => {
        waiting = false
        this.#waiting.delete(refuse)
        signal?.removeEventListener('abort', onAbort)
      }
      const refuse = (error: Error): void => {
        stopWaiting()
        reject(error)
      }
      const onAbort = (): void => {
        if (signal !== undefined) refuse(cancelledError(signal))
      }
      this.#waiting.add(refuse)
      signal?.addEventListener('abort', onAbort, { once: true })
      this.pool.connect((error, client) => {
        const connection = client === undefined ? undefined : this.#connections.get(client)
        if (!waiting) {
          connection?.release()
          return
        }
        if (connection === undefined) {
          refuse(databaseError(error, { target: this.target, phase: 'connect', hint }))
          return
        }
        stopWaiting()
        this.#used.add(connection)
        const idleMs = connection.idleSince === 0 ? 0 : performance.now() - connection.idleSince
        const fresh = idleMs < glanceAfterMs && isClean(connection)
        resolve(fresh ? connection : this.#replaceUnlessAlive(connection, idleMs, signal, hint))
      })
    })
  }

  /** Gives a connection back. */
  release(connection: PoolConnection, destroy = false): void {
    this.#used.delete(connection)
    connection.idleSince = performance.now()
    const wanted = this.#warm !== undefined || this.closed || this.pool.waitingCount > 0
    if (destroy || wanted || !isClean(connection)) {
      connection.release(destroy)
      return
    }
    // The trip through the driver's pool, with its timers, costs a tenth of a small query.
    this.#warm = connection
    setImmediate(this.#cool)
  }

  #takeWarm(): PoolConnection | undefined {
    const warm = this.#warm
    if (warm === undefined || this.closed) return undefined
    this.#warm = undefined
    // This turn may have been a long one, in which nothing was heard of the server.
    if (isClean(warm) && performance.now() - warm.idleSince < glanceAfterMs) {
      this.#used.add(warm)
      return warm
    }
    warm.release()
    return undefined
  }

  readonly #cool = (): void => {
    const warm = this.#warm
    this.#warm = undefined
    warm?.release()
  }

  /**
   * Refuses new calls, lets running statements end (at most closeTimeoutMs, then they are cancelled and fail), and closes
   * every connection. Later calls wait for the same end.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const refuse of this.#waiting) refuse(closedError())
    this.#cool()
    const ended = this.pool.end()
    const inTime = await within(ended, this.options.closeTimeoutMs ?? 5000)
    if (!inTime) {
      this.#abandonAll()
      // Never, when a user of the raw pool does not release its client.
      await within(ended, 2000)
    }
    // pg-pool resolves when it has let go of its clients; their sockets may still be closing.
    await Promise.all([...this.#connections.values()].map((connection) => untilClosed(connection.stream)))
  }

  #abandonAll(): void {
    for (const connection of this.#used) connection.abandon()
    // What others checked out of the raw pool.
    for (const connection of this.#connections.values()) if (!this.#used.has(connection)) connection.destroy()
  }

  async #replaceUnlessAlive(
    connection: PoolConnection,
    idleMs: number,
    signal: AbortSignal | undefined,
    hint: string | undefined,
  ): Promise<PoolConnection> {
    if (isClean(connection) && (await isAlive(connection, idleMs))) return connection
    this.release(connection, true)
    return this.acquire(signal, hint)
  }

  #adopt(client: pg.PoolClient): void {
    const connection = new PoolConnection(
      driverClient(client, this.options),
      this.target,
      this.options.statementTimeoutMs ?? 0,
    )
    this.#connections.set(client, connection)
    client.on('error', (error) => {
      connection.lost ??= error
    })
    client.on('notice', (notice) => connection.handleNotice(noticeOf(notice)))
    client.on('end', () => this.#connections.delete(client))
  }
}

/** Not in a transaction, which a user of the raw pool may have left open. */
function isClean(connection: PoolConnection): boolean {
  // The driver hands out a new client before it notes its status, which is null until then.
  const { transactionStatus } = connection
  return connection.lost === undefined && (transactionStatus === 'I' || transactionStatus === null)
}

async function isAlive(connection: PoolConnection, idleMs: number): Promise<boolean> {
  // One turn of the event loop reads the end of the stream when the server went away while this process was busy. Where
  // this one has read already, its immediates come before that.
  await endOfTurn()
  await endOfTurn()
  if (connection.lost !== undefined) return false
  return idleMs < checkAfterMs || connection.check(checkLimitMs)
}

function closedError(): UsageError {
  return new UsageError('CLOSED', 'The database is closed')
}

function driverOptions(options: PoolOptions): pg.PoolConfig {
  const poolSize = options.poolSize ?? 5
  const { password, stream } = options
  return {
    host: options.host ?? 'localhost',
    port: options.port ?? 5432,
    user: options.user,
    database: options.database ?? options.user,
    // A function, so that printing the pool does not show it. Undefined: the driver looks into the password file.
    password: typeof password === 'string' ? () => password : password,
    ssl: usesTls(options) ? tlsOptions(options.tls) : false,
    min: poolSize,
    max: poolSize + (options.maxOverflow ?? 10),
    idleTimeoutMillis: options.idleTimeoutMs ?? 10_000,
    connectionTimeoutMillis: options.acquireTimeoutMs ?? 30_000,
    // Idle connections do not keep the process alive.
    allowExitOnIdle: true,
    keepAlive: options.keepAlive ?? true,
    keepAliveInitialDelayMillis: options.keepAliveIdleMs,
    // Always given: else the driver takes PGSSLNEGOTIATION.
    sslnegotiation: options.tlsNegotiation ?? 'postgres',
    application_name: options.applicationName ?? 'tsdbkit',
    statement_timeout: options.statementTimeoutMs || false,
    options: options.startupOptions,
    // TLS takes over the socket under it, whose buffer it would not use.
    ...(stream !== undefined ? { stream: () => asSocket(stream()) } : !usesTls(options) && { stream: reusingSocket }),
    // The driver's types ask for a class without parameters, but pg-pool passes its options.
    Client: clientClass(options) as unknown as new () => pg.ClientBase,
  }
}

/** What the driver's class has and its types do not say. */
interface UntypedClient {
  processID: number
  secretKey: number
  getStartupConf(): Record<string, string>
}

function clientClass({
  connectTimeoutMs = 10_000,
  prepare = true,
}: PoolOptions): new (
  config: pg.ClientConfig,
) => pg.Client {
  const types = new ColumnTypes()
  const Base = pg.Client as unknown as new (
    config: pg.ClientConfig,
  ) => Omit<pg.Client, 'connect'> &
    UntypedClient & { connect(callback?: (error: Error | null) => void): Promise<pg.Client> | undefined }
  class Client extends Base {
    constructor(config: pg.ClientConfig) {
      // Inherited, not spread: pg-pool keeps the password and the TLS key where a spread does not see them.
      super(
        Object.create(config, {
          connectionTimeoutMillis: { value: connectTimeoutMs },
          connection: { value: wireConnection(config, new StatementCache(types, prepare)) },
        }),
      )
    }

    override getStartupConf(): Record<string, string> {
      // The parsers read times in this style only, whatever the role's or the server's default is.
      return { ...super.getStartupConf(), DateStyle: 'ISO' }
    }

    override connect(callback?: (error: Error | null) => void): Promise<pg.Client> | undefined {
      if (callback === undefined) return super.connect()
      return super.connect((error) => {
        // The driver leaves the socket open when it gives up itself, as after a missing password.
        if (error) this.connection.stream.destroy()
        callback(error)
      })
    }
  }
  return Client as unknown as new (
    config: pg.ClientConfig,
  ) => pg.Client
}

function driverClient(client: pg.PoolClient, options: PoolOptions): DriverClient {
  const untyped = client as unknown as UntypedClient
  return {
    get stream() {
      return client.connection.stream
    },
    get transactionStatus() {
      return client.getTransactionStatus()
    },
    query: (query: WireQuery) => {
      // The connection it is submitted to has more than the driver's types say.
      client.query(query as unknown as pg.Submittable)
    },
    release: (destroy) => client.release(destroy),
    cancelTarget: () => cancelTarget(client, untyped, options),
  }
}

function cancelTarget(client: pg.PoolClient, untyped: UntypedClient, options: PoolOptions): CancelTarget {
  const { stream } = options
  const host = options.host ?? 'localhost'
  const port = options.port ?? 5432
  // A name may stand for several servers; the request must reach the one that holds this connection.
  const socket = client.connection.stream
  const address = 'remoteAddress' in socket && typeof socket.remoteAddress === 'string' ? socket.remoteAddress : host
  const open = (): Duplex => {
    if (stream !== undefined) return stream()
    return openSocket(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host: address, port })
  }
  const { processID: processId, secretKey } = untyped
  if (!usesTls(options)) return { processId, secretKey, open }
  const servername = isIP(host) === 0 ? { servername: host } : {}
  return { processId, secretKey, open, tls: { ...tlsOptions(options.tls), host, ...servername } }
}

function noticeOf(notice: Partial<Record<'severity' | 'code' | 'message' | 'hint', string | undefined>>): Notice {
  const { severity = 'NOTICE', code = '00000', message = '', hint } = notice
  return hint === undefined ? { severity, sqlState: code, message } : { severity, sqlState: code, message, hint }
}

async function within(done: Promise<unknown>, limitMs: number): Promise<boolean> {
  const over = new AbortController()
  const limit = wait(limitMs, false, { signal: over.signal }).catch(() => false)
  const inTime = await Promise.race([done.then(() => true), limit])
  over.abort()
  return inTime
}
