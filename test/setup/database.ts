import { randomUUID } from 'node:crypto'
import { type Capabilities, can, type Feature, readCapabilities } from '../../src/catalog/capabilities.ts'
import { Client } from '../../src/client.ts'
import { resolveSettings } from '../../src/config/settings.ts'
import { connectEmbedded, openDatabase } from '../../src/connection/open-database.ts'
import type { PgPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { RewindableEngine } from '../../src/embedded/rewindable-engine.ts'
import { sql } from '../../src/sql/template.ts'
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

/** A new embedded database, on the engine of this process; on one of its own beside another. */
export async function lendEngine(isInTransaction = () => false): Promise<EmbeddedDatabase> {
  const { lockWaitMs, jobs } = resolveSettings('embedded:', {}, {}, process.cwd())
  const database = await lender.lend({ lockWaitMs, jobs, isInTransaction })
  if (database !== undefined) return database
  const own = { directory: undefined, durability: 'process', onProgress: () => undefined } as const
  return EmbeddedDatabase.open({ ...own, lockWaitMs, jobs, isInTransaction })
}

/** Opens the test database with a schema of its own; `close` drops it. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const settings = resolveSettings(testTarget, {}, {}, process.cwd())
  const opened = onServer ? await openDatabase(settings, () => undefined) : await connectEmbedded(settings, lendEngine)
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
