import { randomUUID } from 'node:crypto'
import { type Capabilities, can, type Feature, readCapabilities } from '../../src/catalog/capabilities.ts'
import { Client } from '../../src/client.ts'
import { type ConnectOptions, resolveSettings, type Settings } from '../../src/config/settings.ts'
import { connectEmbedded, type OpenDatabase, openDatabase } from '../../src/connection/open-database.ts'
import type { PgPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { Database } from '../../src/database.ts'
import { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { RewindableEngine } from '../../src/embedded/rewindable-engine.ts'
import { sql } from '../../src/sql/template.ts'
import type { FreshOptions, TestDatabases } from '../../src/testing.ts'
import { EngineLender } from './engine-lender.ts'

export interface TestDatabase {
  readonly db: Session
  readonly client: Client
  readonly pool: PgPool
  /** A schema of this test alone; its name needs quotes. */
  readonly schema: string
  readonly capabilities: Capabilities
  can(feature: Feature): boolean
  close(): Promise<void>
}

/** The database the tests run on: the server of TSDB_TEST_URL, or a temporary embedded one. */
export const testTarget: string = process.env['TSDB_TEST_URL'] ?? 'embedded:'

export const onServer: boolean = process.env['TSDB_TEST_URL'] !== undefined

// Test files follow each other in one process and share this module.
const lender = new EngineLender(new RewindableEngine(() => undefined))

type LentOptions = Parameters<RewindableEngine['next']>[0]

/** A new embedded database, on the engine of this process; on one of its own beside another. */
export async function lendEngine(options: LentOptions = settingsOf({})): Promise<EmbeddedDatabase> {
  const database = await lender.lend(options)
  if (database !== undefined) return database
  const own = { directory: undefined, durability: 'process', onProgress: () => undefined } as const
  return EmbeddedDatabase.open({ ...own, ...options })
}

const settingsOf = (options: ConnectOptions): Settings => resolveSettings('embedded:', options, {}, process.cwd())

async function openLent(settings: Settings): Promise<OpenDatabase> {
  const { lockWaitMs, clock } = settings
  const jobs = clock === undefined && settings.jobs
  return connectEmbedded(settings, (isInTransaction) => lendEngine({ lockWaitMs, clock, jobs, isInTransaction }))
}

/** What `connect('embedded:', options)` gives, on the engine of this process. */
export async function connectLent(options: ConnectOptions = {}): Promise<Database> {
  const settings = settingsOf(options)
  return new Database(await openLent(settings), settings)
}

/** As `openTestDatabases(options)`, on the engine of this process. */
export function lendDatabases(options: ConnectOptions): TestDatabases {
  let open: Database | undefined
  const close = async (): Promise<void> => open?.close()
  const fresh = async (other: FreshOptions = {}): Promise<Database> => {
    await close()
    open = await connectLent({ ...options, ...other })
    return open
  }
  return { fresh, close, [Symbol.asyncDispose]: close }
}

/** Opens the test database with a schema of its own; `close` drops it. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const settings = resolveSettings(testTarget, {}, {}, process.cwd())
  const opened = await (onServer ? openDatabase(settings, () => undefined) : openLent(settings))
  const db = opened.session
  const schema = `Test 1.a ${randomUUID().slice(0, 8)}`
  if (onServer) await db.query(sql`create extension if not exists timescaledb`)
  await db.query(sql`create schema ${sql.column(schema)}`)
  const capabilities = await readCapabilities(db)
  return {
    db,
    client: new Client(db, {}),
    pool: opened.pool,
    schema,
    capabilities,
    can: (feature) => can(capabilities, feature),
    close: async () => {
      if (onServer) await db.query(sql`drop schema ${sql.column(schema)} cascade`)
      await opened.close()
    },
  }
}
