/** tsdbkit/testing: a fresh database for every test. */
import { randomUUID } from 'node:crypto'
import { can } from './catalog/capabilities.ts'
import { type ConnectOptions, resolveSettings } from './config/settings.ts'
import { connectEmbedded } from './connection/open-database.ts'
import { connect, Database } from './database.ts'
import { RewindableEngine } from './embedded/rewindable-engine.ts'
import { UsageError } from './errors.ts'
import { sql } from './sql/template.ts'

/** Where the tests' databases come from. */
export interface TestingOptions {
  /** A server, as for `connect`. Left out, the embedded engine. */
  readonly target?: string
  /** The time at which each database begins. Embedded engine only; left out, the true time. */
  readonly clock?: Date | string
}

/** What one database is opened with. */
export interface FreshOptions {
  /** The time at which it begins, instead of that of all. */
  readonly clock?: Date | string
}

/** Fresh databases, one after the other. */
export interface TestDatabases extends AsyncDisposable {
  /**
   * A database in which nothing has happened yet. The one before it is closed, and what it held is gone.
   *
   * On the embedded engine everything is new: tables, ids of jobs, settings, the clock, which `db.clock` moves; jobs run
   * only then. On a server it is a new schema, first in the search path; everything else in the database is shared.
   */
  fresh(options?: FreshOptions): Promise<Database>
  /** Closes the last database, and the engine. */
  close(): Promise<void>
}

/** The hooks of a test framework: those of vitest and jest, or `{ beforeEach, afterAll: after }` of node:test. */
export interface TestHooks {
  readonly beforeEach: (run: () => Promise<void>) => unknown
  readonly afterAll: (run: () => Promise<void>) => unknown
}

/**
 * Gives every test a fresh database, by the hooks of the test framework.
 * @example
 * const test = useTestDatabase({ beforeEach, afterAll })
 * it('counts', async () => { await test.db.sql`select 1` })
 */
export function useTestDatabase(hooks: TestHooks, options: TestingOptions = {}): { readonly db: Database } {
  const databases = openTestDatabases(options)
  let current: Database | undefined
  hooks.beforeEach(async () => {
    current = await databases.fresh()
  })
  hooks.afterAll(() => databases.close())
  return {
    get db(): Database {
      if (current !== undefined) return current
      throw new UsageError('CLOSED', 'There is no database outside of a test.')
    },
  }
}

/**
 * Fresh databases without a test framework. Nothing is opened before the first one.
 * @throws UsageError INVALID_OPTION for a clock together with a server
 */
export function openTestDatabases(options: TestingOptions = {}): TestDatabases {
  const { target = 'embedded:', clock } = options
  const connectOptions: ConnectOptions = clock === undefined ? {} : { clock }
  const settings = resolveSettings(target, connectOptions, {}, process.cwd())
  if (settings.target.kind !== 'server') return new TestEngine(connectOptions)
  return new TestSchemas(target, settings.target.options)
}

/** One engine that goes back to its beginning. */
class TestEngine implements TestDatabases {
  readonly #options: ConnectOptions
  readonly #engine = new RewindableEngine((line) => process.stderr.write(`${line}\n`))
  #open: Database | undefined

  constructor(options: ConnectOptions) {
    this.#options = options
  }

  async fresh(options: FreshOptions = {}): Promise<Database> {
    await this.#open?.close()
    const settings = resolveSettings('embedded:', { ...this.#options, ...options }, {}, process.cwd())
    const { lockWaitMs, clock } = settings
    const opened = await connectEmbedded(settings, (isInTransaction) =>
      this.#engine.next({ lockWaitMs, clock, isInTransaction }),
    )
    this.#open = new Database(opened, settings)
    return this.#open
  }

  async close(): Promise<void> {
    await this.#open?.close()
    await this.#engine.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** A schema of a server for each. */
class TestSchemas implements TestDatabases {
  readonly #target: string
  readonly #options: string | undefined
  #open: Database | undefined
  #schema: string | undefined

  /** @param options - those of the target, which stay */
  constructor(target: string, options: string | undefined) {
    this.#target = target
    this.#options = options
  }

  async fresh(options: FreshOptions = {}): Promise<Database> {
    if (options.clock !== undefined) {
      throw new UsageError('INVALID_OPTION', 'The clock of a server cannot be moved.', {
        hint: 'Use the embedded engine.',
      })
    }
    await this.close()
    const schema = `test_${randomUUID().replaceAll('-', '').slice(0, 16)}`
    const path = `-c search_path=${schema},public`
    const db = await connect(this.#target, {
      options: this.#options === undefined ? path : `${this.#options} ${path}`,
      onProgress: () => undefined,
    })
    try {
      await db.executeQuery(sql`create schema ${sql.column(schema)}`.text)
    } catch (error) {
      await db.close()
      throw error
    }
    this.#open = db
    this.#schema = schema
    return db
  }

  async close(): Promise<void> {
    const schema = this.#schema
    this.#schema = undefined
    if (this.#open === undefined || schema === undefined) return
    await this.#open.close()
    await using db = await connect(this.#target)
    await dropSchema(db, schema)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** Drops what a test made, and the jobs whose procedures were its own: dropping a procedure leaves them to fail. */
async function dropSchema(db: Database, schema: string): Promise<void> {
  if (can(await db.capabilities(), 'job')) {
    const actions = await db.listJobs({ kind: 'action' })
    for (const job of actions) {
      if (job.kind === 'action' && job.procedure.schema === schema) await db.deleteJob(job.jobId, { ifExists: true })
    }
  }
  await db.executeQuery(sql`drop schema ${sql.column(schema)} cascade`.text)
}
