import { forgetCapabilities } from './catalog/capabilities.ts'
import { Client } from './client.ts'
import { describeSettings, type SettingDescription } from './config/describe-settings.ts'
import { type ConnectOptions, resolveSettings, type Settings, sameSettings } from './config/settings.ts'
import type { HeldConnection } from './connection/held-connection.ts'
import { type HeldSession, type OpenDatabase, openDatabase } from './connection/open-database.ts'
import type { PgPool } from './connection/pool.ts'
import { isMadeMeanwhile } from './connection/server-error.ts'
import type { VirtualClock } from './embedded/clock.ts'
import type { ServedDatabase } from './embedded/serve.ts'
import type { ServeOptions } from './embedded/serve-option.ts'
import { UsageError } from './errors.ts'
import type { RunJobOptions, RunJobResult } from './objects/job-run.ts'
import { type JobWatch, type WatchOptions, watchJobs } from './objects/job-watch.ts'
import { invalidOption } from './sql/option.ts'
import { sql } from './sql/template.ts'

/**
 * One connection of its own: what SET, BEGIN, temporary tables and advisory locks do lasts from one call to the next.
 * Calls run in order. A statement may open a transaction and leave it open; `transaction()` is then refused.
 */
export class Connection extends Client implements AsyncDisposable {
  readonly #held: HeldConnection
  readonly #onClose: () => void

  /** Made by `openConnection()`. */
  constructor({ session, connection }: HeldSession, settings: Settings, onClose: () => void) {
    super(session, resultDefaults(settings))
    this.#held = connection
    this.#onClose = onClose
  }

  /** Whether a transaction is open on it, or failed and waits for its ROLLBACK. */
  get transactionState(): 'none' | 'open' | 'failed' {
    const { heldStatus } = this.#held
    return heldStatus === 'I' ? 'none' : heldStatus === 'T' ? 'open' : 'failed'
  }

  /** Rolls back what is open, and closes the connection with all that was set on it. May be called again. */
  close(): Promise<void> {
    this.#onClose()
    return this.#held.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** An open database. `await using db = await connect()` closes it at the end of the block. */
export class Database extends Client implements AsyncDisposable {
  readonly #opened: OpenDatabase
  readonly #settings: Settings
  readonly #held: Set<HeldConnection> = new Set()

  /** Made by `connect()`. */
  constructor(opened: OpenDatabase, settings: Settings) {
    super(opened.session, resultDefaults(settings))
    this.#opened = opened
    this.#settings = settings
  }

  /** A real `pg.Pool` on the same database, for ORMs and other libraries. */
  get pool(): PgPool {
    return this.#opened.pool
  }

  /**
   * The clock of a database that was opened with `clock`: it is moved, and jobs run at their times.
   * @throws UsageError INVALID_OPTION for any other database
   */
  get clock(): VirtualClock {
    if (this.#opened.clock !== undefined) return this.#opened.clock
    throw new UsageError('INVALID_OPTION', 'This database goes by the true time.', {
      hint: "Open a temporary one with a time to start at: connect('embedded:', { clock: '2025-01-01' }).",
    })
  }

  /** Makes one trip to the database; gives the milliseconds it took. @throws ConnectionError */
  ping(): Promise<number> {
    return this.#opened.session.ping()
  }

  /** Every setting with its value and where it came from; the password is masked. */
  describeSettings(): readonly SettingDescription[] {
    return describeSettings(this.#settings)
  }

  /**
   * Offers the embedded engine to other programs on a TCP port of this machine or a Unix socket: psql, Grafana, any
   * driver. They log in with SCRAM-SHA-256, and take turns with this process.
   * @throws UsageError INVALID_OPTION, also on a server
   * @throws ConnectionError LISTEN_FAILED
   */
  async serve(options: ServeOptions = {}): Promise<ServedDatabase> {
    if (this.#opened.serve === undefined)
      throw invalidOption('serve() is for the embedded engine.', 'Other programs connect to the server itself.')
    return this.#opened.serve(options)
  }

  /**
   * A connection for SET, BEGIN and all else that belongs to one session. It takes one of the pool until it is closed.
   * @throws ConnectionError POOL_EXHAUSTED
   */
  async openConnection(): Promise<Connection> {
    const held = await this.#opened.hold()
    this.#held.add(held.connection)
    return new Connection(held, this.#settings, () => this.#held.delete(held.connection))
  }

  /**
   * Runs a job now and waits for its end; a job that fails is a result, not an error. With `onProgress` it runs on a
   * connection that is opened for it.
   */
  override async runJob(jobId: number, options: RunJobOptions = {}): Promise<RunJobResult> {
    if (options.onProgress === undefined) return super.runJob(jobId, options)
    const connection = await this.openConnection()
    try {
      return await connection.runJob(jobId, options)
    } finally {
      await connection.close()
    }
  }

  /**
   * Looks at the jobs again and again, and says when one of them is in trouble and when it is over it.
   * @throws UsageError INVALID_OPTION
   */
  watchJobs(options: WatchOptions): JobWatch {
    return watchJobs(this.#opened.session, options)
  }

  /** Lets running statements end, then closes all connections and the embedded engine. May be called again. */
  async close(): Promise<void> {
    // Not one after the other: a statement that does not end is cancelled by the pool.
    await Promise.all([this.#opened.close(), ...[...this.#held].map((connection) => connection.close())])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

function resultDefaults({ int8, numeric }: Settings): Pick<Settings, 'int8' | 'numeric'> {
  return { int8, numeric }
}

/**
 * Opens a database: what the argument names, else `TSDB_URL`, the `PG*` variables, a configuration file, else the
 * embedded engine in `./.tsdb`.
 *
 * @param target - `postgres://…`, `embedded:DIR`, `embedded:` (temporary), or an object
 * @throws ConfigError, UsageError, ConnectionError, UnsupportedError EXTENSION_MISSING, PACKAGE_MISSING
 * @example
 * await using db = await connect('embedded:')
 * const { rows } = await db.executeQuery('select 1 as one')
 */
export function connect(target?: string | ConnectOptions, options?: ConnectOptions): Promise<Database> {
  const settings = resolveSettings(target, options, process.env, process.cwd())
  return open(settings, progressOf(target, options))
}

let shared: { readonly settings: Settings; readonly database: Promise<Database> } | undefined

/**
 * The one connection of this process: the same options give the same object until it is closed.
 * @throws UsageError SHARED_CONNECTION_CONFLICT for other options while it is open
 */
export function sharedConnection(target?: string | ConnectOptions, options?: ConnectOptions): Promise<Database> {
  const settings = resolveSettings(target, options, process.env, process.cwd())
  if (shared !== undefined) {
    if (sameSettings(shared.settings, settings)) return shared.database
    throw new UsageError('SHARED_CONNECTION_CONFLICT', 'The shared connection is open with other settings.', {
      hint: 'Close it first, or use connect() for a connection of its own.',
    })
  }
  const forget = (): void => {
    if (shared?.database === database) shared = undefined
  }
  const database = open(settings, progressOf(target, options), forget)
  shared = { settings, database }
  database.catch(forget)
  return database
}

async function open(
  settings: Settings,
  onProgress: (line: string) => void,
  onClose: () => void = () => undefined,
): Promise<Database> {
  const opened = await openDatabase(settings, onProgress)
  const close = async (): Promise<void> => {
    onClose()
    await opened.close()
  }
  if (settings.createExtension) {
    try {
      await opened.session.query(sql`create extension if not exists timescaledb`)
    } catch (error) {
      if (!isMadeMeanwhile(error)) {
        await close()
        throw error
      }
    }
    forgetCapabilities(opened.session)
  }
  return new Database({ ...opened, close }, settings)
}

function progressOf(target?: string | ConnectOptions, options?: ConnectOptions): (line: string) => void {
  const given = typeof target === 'object' ? { ...target, ...options } : options
  return given?.onProgress ?? writeProgress
}

/** The first start ever takes some seconds; a terminal that stands still would look broken. */
function writeProgress(line: string): void {
  process.stderr.write(`${line}\n`)
}
