import { randomUUID } from 'node:crypto'
import { type Capabilities, can, type Feature, readCapabilities } from '../../src/catalog/capabilities.ts'
import { Client } from '../../src/client.ts'
import { resolveSettings } from '../../src/config/settings.ts'
import { openDatabase } from '../../src/connection/open-database.ts'
import type { PgPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { sql } from '../../src/sql/template.ts'

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

/** Opens the test database with a schema of its own; `close` drops it. */
export async function openTestDatabase(): Promise<TestDatabase> {
  const settings = resolveSettings(testTarget, {}, {}, process.cwd())
  const opened = await openDatabase(settings, () => undefined)
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
