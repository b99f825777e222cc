import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  can,
  type Feature,
  forgetCapabilities,
  parseVersion,
  readCapabilities,
  requireFeature,
} from '../../src/catalog/capabilities.ts'
import { findRelation } from '../../src/catalog/relation.ts'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { openPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { UnsupportedError } from '../../src/errors.ts'
import { sql } from '../../src/sql/template.ts'
import { onServer, openTestDatabase } from '../setup/database.ts'
import { startPostgres } from '../setup/postgres.ts'
import { capabilitiesOf } from './capability-set.ts'

function refusal(run: () => void): UnsupportedError {
  try {
    run()
  } catch (error) {
    if (error instanceof UnsupportedError) return error
    throw error
  }
  throw new Error('not refused')
}

describe('can', () => {
  it.each<[Feature, string, string]>([
    ['columnstore', '2.17.9', '2.18.0'],
    ['forced-refresh', '2.17.2', '2.18.0'],
    ['batched-refresh', '2.18.2', '2.19.0'],
    ['newest-first-refresh', '2.19.3', '2.20.0'],
    ['hypertable', '2.12.2', '2.13.0'],
    ['own-refresh-frame', '2.23.1', '2.24.0'],
    ['chunk-relid', '2.28.3', '2.29.0'],
  ])('%s is missing in %s and there in %s', (feature, before, since) => {
    expect(can(capabilitiesOf(before), feature)).toBe(false)
    expect(can(capabilitiesOf(since), feature)).toBe(true)
    expect(can(capabilitiesOf('3.0.0'), feature)).toBe(true)
  })

  it('gives the Apache edition hypertables and nothing of the Community edition', () => {
    const apache = capabilitiesOf('2.23.0', 'apache')
    expect(can(apache, 'hypertable')).toBe(true)
    for (const feature of ['compression', 'continuous-aggregate', 'retention', 'gapfill', 'job'] as const) {
      expect(can(apache, feature)).toBe(false)
    }
  })

  it('gives a database without the extension nothing', () => {
    expect(can(capabilitiesOf(undefined), 'hypertable')).toBe(false)
  })
})

describe('requireFeature', () => {
  it('says how to create the extension', () => {
    const error = refusal(() => requireFeature(capabilitiesOf(undefined), 'compression'))
    expect(error.code).toBe('EXTENSION_MISSING')
    expect(error.hint).toContain('create extension timescaledb')
    expect(error.hint).toContain('createExtension: true')
  })

  it('says which edition has it', () => {
    const error = refusal(() => requireFeature(capabilitiesOf('2.23.0', 'apache'), 'continuous-aggregate'))
    expect(error).toMatchObject({ code: 'EDITION_REQUIRED', feature: 'continuous-aggregate' })
    expect(error.message).toContain('Community edition')
    expect(error.message).toContain('Apache edition')
  })

  it('says which version has it, and which the server has', () => {
    const error = refusal(() => requireFeature(capabilitiesOf('2.17.2'), 'forced-refresh'))
    expect(error.code).toBe('VERSION_REQUIRED')
    expect(error.message).toMatch(/2\.18.*2\.17\.2/)
  })

  it('refuses servers older than 2.13', () => {
    expect(refusal(() => requireFeature(capabilitiesOf('2.12.2'), 'hypertable')).code).toBe('VERSION_REQUIRED')
  })

  it('returns where all is there', () => {
    expect(requireFeature(capabilitiesOf('2.28.3'), 'columnstore')).toBeUndefined()
  })
})

it.each([
  ['2.23.0-dev', { major: 2, minor: 23, patch: 0, text: '2.23.0-dev' }],
  ['2.14', { major: 2, minor: 14, patch: 0, text: '2.14' }],
  ['', undefined],
  [null, undefined],
])('parseVersion(%j)', (text, version) => {
  expect(parseVersion(text)).toEqual(version)
})

describe('readCapabilities', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  it('reads the real server', async () => {
    const capabilities = await readCapabilities(database.db)
    expect(capabilities.postgresVersion).toBeGreaterThanOrEqual(140_000)
    expect(capabilities.timescaleVersion?.major).toBe(2)
    expect(capabilities.timescaleVersion?.text).toMatch(/^2\.\d+\.\d+/)
    expect(['apache', 'timescale']).toContain(capabilities.edition)
  })

  it('asks once for a database and all its transactions, and again after forgetCapabilities', async () => {
    const first = await readCapabilities(database.db)
    const inside = await database.db.transaction((session) => readCapabilities(session))
    expect(inside).toBe(first)
    forgetCapabilities(database.db)
    const again = await readCapabilities(database.db)
    expect(again).not.toBe(first)
    expect(again).toEqual(first)
  })
})

describe('an extension that comes and goes in the same process', () => {
  it('is not believed to be there after the transaction that created it was rolled back', async () => {
    // A plain PostgreSQL has no TimescaleDB to create; its catalog says the same with this row.
    await using server = await startPostgres({ settings: { allow_system_table_mods: 'on' } })
    const pool = openPool(server.options)
    const db = new DatabaseSession(pool)
    const create = sql`
      insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
      select 99999, 'timescaledb', oid, 'public'::regnamespace, false, '2.23.0' from pg_catalog.pg_roles limit 1`
    const versionIn = async (session: Session): Promise<number | undefined> =>
      (await readCapabilities(session)).timescaleVersion?.minor
    const undo = db.transaction(async (session) => {
      expect(await versionIn(session)).toBeUndefined()
      await session.query(create)
      expect(await versionIn(session)).toBe(23)
      throw new Error('undo')
    })
    await expect(undo).rejects.toThrow('undo')
    expect(await versionIn(db)).toBeUndefined()
    await db.transaction((session) => session.query(create))
    expect(await versionIn(db)).toBe(23)
    await pool.close()
  })

  it.skipIf(onServer)('is known to be missing after it was dropped', async () => {
    const own = await openTestDatabase()
    expect((await readCapabilities(own.db)).timescaleVersion).toBeDefined()
    await own.db.query(sql`drop extension timescaledb cascade`)
    await expect(own.db.transaction((session) => findRelation(session, 'T'))).rejects.toMatchObject({
      code: 'EXTENSION_MISSING',
      hint: expect.stringContaining('create extension timescaledb'),
    })
    await expect(findRelation(own.db, 'T')).rejects.toMatchObject({ code: 'EXTENSION_MISSING' })
    expect((await readCapabilities(own.db)).timescaleVersion).toBeUndefined()
    await own.close()
  })

  it.skipIf(onServer)('is seen by capabilities() at once, and by a query that misses its functions', async () => {
    const own = await openTestDatabase()
    const { client } = own
    expect((await client.capabilities()).timescaleVersion).toBeDefined()
    await client.sql`create table t (time timestamptz)`
    await client.sql`drop extension timescaledb cascade`
    const query = { timeColumn: 'time', bucketInterval: '1 hour', aggregations: { n: 'COUNT(*)' } }
    await expect(client.timeBucketQuery('t', query)).rejects.toMatchObject({ code: 'EXTENSION_MISSING' })
    expect((await client.capabilities()).timescaleVersion).toBeUndefined()
    await own.close()
  })

  it('is asked for again after something was missing, since it may have been updated', async () => {
    await using server = await startPostgres({ settings: { allow_system_table_mods: 'on' } })
    const pool = openPool(server.options)
    const db = new DatabaseSession(pool)
    await db.query(sql`
      insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
      select 99999, 'timescaledb', oid, 'public'::regnamespace, false, '2.14.2' from pg_catalog.pg_roles limit 1`)
    const old = await readCapabilities(db)
    await db.query(sql`update pg_catalog.pg_extension set extversion = '2.23.1-dev' where extname = 'timescaledb'`)
    expect(await readCapabilities(db)).toBe(old)
    expect(() => requireFeature(old, 'columnstore')).toThrow(expect.objectContaining({ code: 'VERSION_REQUIRED' }))
    const now = await readCapabilities(db)
    expect(now.timescaleVersion).toEqual({ major: 2, minor: 23, patch: 1, text: '2.23.1-dev' })
    requireFeature(now, 'columnstore')
    await pool.close()
  })
})
