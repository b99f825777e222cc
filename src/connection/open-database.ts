import type { Duplex } from 'node:stream'
import type { EmbeddedTarget, ServerTarget, Settings } from '../config/settings.ts'
import type { VirtualClock } from '../embedded/clock.ts'
import type { EmbeddedDatabase } from '../embedded/embedded-database.ts'
import type { ServedDatabase } from '../embedded/serve.ts'
import type { ServeOptions } from '../embedded/serve-option.ts'
import { declareBackground } from './background.ts'
import { DatabaseSession } from './database-session.ts'
import { HeldConnection } from './held-connection.ts'
import { type ConnectionPool, openPool, type PgPool } from './pool.ts'
import type { PoolOptions } from './pool-option.ts'
import { currentTransaction } from './transaction-context.ts'

/** A database that is open, on a server or embedded. */
export interface OpenDatabase {
  readonly session: DatabaseSession
  /** A real pg.Pool, for libraries that want one. */
  readonly pool: PgPool
  /** The directory of the embedded engine; undefined on a server. */
  readonly directory: string | undefined
  /** Set where the clock of the embedded engine can be moved. */
  readonly clock: VirtualClock | undefined
  /** Offers the embedded engine to other programs; undefined on a server. */
  readonly serve: ((options: ServeOptions) => Promise<ServedDatabase>) | undefined
  /** Takes a connection out of the pool that stays with its user until it is closed. */
  hold(): Promise<HeldSession>
  close(): Promise<void>
}

/** A session on one connection. */
export interface HeldSession {
  readonly session: DatabaseSession
  readonly connection: HeldConnection
}

/**
 * Opens what the settings name, and makes one trip to it.
 * @throws ConnectionError, UnsupportedError PACKAGE_MISSING, NODE_VERSION
 */
export async function openDatabase(settings: Settings, onProgress: (line: string) => void): Promise<OpenDatabase> {
  const { target } = settings
  const opened =
    target.kind === 'server' ? openServer(target, settings) : await openEmbedded(target, settings, onProgress)
  try {
    await opened.session.ping()
  } catch (error) {
    await opened.close()
    throw error
  }
  return opened
}

function openServer(target: ServerTarget, settings: Settings): OpenDatabase {
  const pool = openPool({ ...poolOptions(settings), ...serverOptions(target) })
  const session = new DatabaseSession(pool)
  return {
    session,
    hold: () => hold(pool, session.database),
    pool: pool.pool,
    directory: undefined,
    clock: undefined,
    serve: undefined,
    close: () => pool.close(),
  }
}

async function openEmbedded(
  { directory, durability }: EmbeddedTarget,
  settings: Settings,
  onProgress: (line: string) => void,
): Promise<OpenDatabase> {
  const { lockWaitMs, jobs, clock } = settings
  const { EmbeddedDatabase } = await import('../embedded/embedded-database.ts')
  return connectEmbedded(settings, (isInTransaction) =>
    EmbeddedDatabase.open({ directory, durability, lockWaitMs, jobs, clock, isInTransaction, onProgress }),
  )
}

/** A pool of connections to an embedded database that `open` opens; closing it closes both. */
export async function connectEmbedded(
  settings: Settings,
  open: (isInTransaction: () => boolean) => Promise<EmbeddedDatabase>,
): Promise<OpenDatabase> {
  const key = {}
  const embedded = await open(() => currentTransaction(key)?.open === true)
  const pool = openPool({
    ...poolOptions(settings),
    user: 'postgres',
    database: 'postgres',
    password: '',
    // Not undefined: the driver would then take PGOPTIONS, which is meant for servers.
    startupOptions: '',
    stream: () => embedded.connect(),
    beforeQuery: ({ outer, connection }) => embedded.declareNested(connection, openConnection(outer)),
  })
  declareBackground(key, {
    runsJobs: embedded.runsJobs,
    maintenance: () => embedded.maintenanceJobs(),
  })
  return {
    session: new DatabaseSession(pool, key),
    hold: () => hold(pool, key),
    pool: pool.pool,
    directory: embedded.directory,
    clock: embedded.clock,
    serve: (options) => embedded.serve(options),
    close: () => closeEmbedded(pool, embedded),
  }
}

async function hold(pool: ConnectionPool, key: object): Promise<HeldSession> {
  const connection = new HeldConnection(pool, await pool.acquire(), key)
  return { connection, session: new DatabaseSession(connection, key) }
}

function openConnection(
  outer: { readonly open: boolean; readonly connection: Duplex } | undefined,
): Duplex | undefined {
  return outer?.open ? outer.connection : undefined
}

async function closeEmbedded(pool: ConnectionPool, embedded: EmbeddedDatabase): Promise<void> {
  // First: their transactions would keep this process's statements waiting.
  await embedded.stopServing()
  await pool.close()
  await embedded.close()
}

function poolOptions(settings: Settings): PoolOptions {
  return {
    poolSize: settings.poolSize,
    maxOverflow: settings.maxOverflow,
    acquireTimeoutMs: settings.acquireTimeoutMs,
    applicationName: settings.applicationName,
    statementTimeoutMs: settings.statementTimeoutMs,
  }
}

function serverOptions(target: ServerTarget): PoolOptions {
  const limits = [
    ['lock_timeout', target.lockTimeoutMs],
    ['idle_in_transaction_session_timeout', target.idleInTransactionTimeoutMs],
  ] as const
  const settings = limits.flatMap(([name, value]) => (value === undefined ? [] : [`-c ${name}=${value}`]))
  const startupOptions = [...(target.options === undefined ? [] : [target.options]), ...settings].join(' ')
  return {
    host: target.host,
    port: target.port,
    database: target.database,
    user: target.user,
    password: target.password,
    tls: target.ssl,
    tlsNegotiation: target.sslNegotiation,
    keepAlive: target.keepAlive,
    keepAliveIdleMs: target.keepAliveIdleMs,
    connectTimeoutMs: target.connectTimeoutMs,
    prepare: target.prepare,
    startupOptions,
  }
}
