import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getCompressionSettings } from '../../src/catalog/compression.ts'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
import { type CompressionOptions, enableCompression, enableCompressionSql } from '../../src/objects/compression.ts'
import {
  addCompressionPolicy,
  addCompressionPolicySql,
  type CompressionPolicyOptions,
  removeCompressionPolicy,
  removeCompressionPolicySql,
} from '../../src/objects/compression-policy.ts'
import { createContinuousAggregate } from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { addContinuousAggregatePolicy } from '../../src/objects/refresh-policy.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

const settings: CompressionOptions = {
  segmentBy: ['Sensor Id', 'b'],
  orderBy: ['time DESC NULLS LAST', { column: 'v' }],
}
const options: CompressionPolicyOptions = { ...settings, compressAfter: '7 days', ifNotExists: true }

describe('the statements', () => {
  it.each(OLD)('use the functions on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(enableCompressionSql(capabilities, 'a.T', settings).text).toBe(
      `alter table "a"."T" set (timescaledb.compress = true, timescaledb.compress_segmentby = '"Sensor Id", "b"', timescaledb.compress_orderby = '"time" desc nulls last, "v"')`,
    )
    expect(addCompressionPolicySql(capabilities, 'a.T', options).statement).toEqual({
      text: `select * from add_compression_policy('"a"."T"'::regclass, compress_after => interval '7 days', if_not_exists => TRUE)`,
      values: [],
    })
    expect(removeCompressionPolicySql(capabilities, 't', { ifExists: true }).text).toBe(
      `select * from remove_compression_policy('"t"'::regclass, if_exists => TRUE)`,
    )
  })

  it.each(NEW)('use the procedures on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(enableCompressionSql(capabilities, 'a.T', { ...settings, kind: 'continuous-aggregate' }).text).toBe(
      `alter materialized view "a"."T" set (timescaledb.enable_columnstore = true, timescaledb.segmentby = '"Sensor Id", "b"', timescaledb.orderby = '"time" desc nulls last, "v"')`,
    )
    expect(addCompressionPolicySql(capabilities, 'a.T', options).text).toBe(
      `call add_columnstore_policy('"a"."T"'::regclass, after => interval '7 days', if_not_exists => TRUE)`,
    )
    expect(addCompressionPolicySql(capabilities, 't', { compressCreatedBefore: '1 hour' }).text).toBe(
      `call add_columnstore_policy('"t"'::regclass, created_before => interval '01:00:00')`,
    )
    expect(removeCompressionPolicySql(capabilities, 't').text).toBe(`call remove_columnstore_policy('"t"'::regclass)`)
  })

  it('need the Community edition', () => {
    const apache = capabilitiesOf('2.23.0', 'apache')
    const required = expect.objectContaining({ code: 'EDITION_REQUIRED' })
    expect(() => enableCompressionSql(apache, 't')).toThrow(required)
    expect(() => addCompressionPolicySql(apache, 't', options)).toThrow(required)
    expect(() => removeCompressionPolicySql(apache, 't')).toThrow(required)
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  let count = 0
  async function createTable(): Promise<{ schema: string; name: string }> {
    count += 1
    const name = { schema: database.schema, name: `T "${count}".x` }
    await database.db.query(
      sql`create table ${sql.name(name)} (time timestamptz not null, "Sensor Id" int, b text, v float8)`,
    )
    await createHypertable(database.db, name, { timeColumn: 'time' })
    return name
  }

  it('enables compression and adds the policy', async () => {
    const name = await createTable()
    expect(await getCompressionSettings(database.db, name)).toEqual({ enabled: false, segmentBy: [], orderBy: [] })
    const result = await addCompressionPolicy(database.db, name, options)
    expect(result).toMatchObject({ created: true, compressionEnabled: true, compressAfter: '7 days', differences: [] })
    expect(await getCompressionSettings(database.db, name)).toEqual({
      enabled: true,
      segmentBy: ['Sensor Id', 'b'],
      orderBy: [
        { column: 'time', direction: 'desc', nulls: 'last' },
        { column: 'v', direction: 'asc', nulls: 'last' },
      ],
    })
    const { policies } = await getHypertableStats(database.db, name)
    expect(policies).toMatchObject([{ jobId: result.jobId, kind: 'compression' }])
    expect(await addCompressionPolicy(database.db, name, options)).toMatchObject({
      created: false,
      compressionEnabled: false,
      jobId: result.jobId,
      differences: [],
    })
  })

  it('leaves the settings of a table that has them', async () => {
    const name = await createTable()
    await addCompressionPolicy(database.db, name, options)
    const settings = await getCompressionSettings(database.db, name)
    const wanted = { compressAfter: '8 days', segmentBy: 'b', orderBy: 'v' }
    const expected = [
      { setting: 'segmentBy', existing: '"Sensor Id", "b"', wanted: '"b"' },
      { setting: 'orderBy', existing: '"time" desc nulls last, "v"', wanted: '"v", "time" desc' },
      { setting: 'compressAfter', existing: '7 days', wanted: '8 days' },
    ]
    const { differences } = await addCompressionPolicy(database.db, name, { ...wanted, ifNotExists: true })
    expect(differences).toEqual(expected)
    const refusal = await addCompressionPolicy(database.db, name, wanted).catch((error: unknown) => error)
    expect(refusal).toMatchObject({
      code: 'DRIFT',
      message: expect.stringContaining('segmentBy is "Sensor Id", "b", not "b"'),
    })
    await removeCompressionPolicy(database.db, name)
    // Without a policy the settings are still there, and ifNotExists does not overrule them.
    await expect(addCompressionPolicy(database.db, name, { ...wanted, ifNotExists: true })).rejects.toMatchObject({
      code: 'DRIFT',
    })
    expect(await getCompressionSettings(database.db, name)).toEqual(settings)
    expect(await addCompressionPolicy(database.db, name, { compressAfter: '1 day' })).toMatchObject({
      created: true,
      compressionEnabled: false,
    })
    expect(await getCompressionSettings(database.db, name)).toEqual(settings)
  })

  it('finds its own settings again, also none and an order without the time column', async () => {
    const name = await createTable()
    const own = { compressAfter: '7 days', segmentBy: [], orderBy: 'v', ifNotExists: true }
    expect(await addCompressionPolicy(database.db, name, own)).toMatchObject({ created: true })
    expect(await addCompressionPolicy(database.db, name, own)).toMatchObject({ created: false, differences: [] })
    const bare = await createTable()
    await addCompressionPolicy(database.db, bare, { compressAfter: '7 days' })
    expect(await addCompressionPolicy(database.db, bare, { compressAfter: '7 days', ifNotExists: true })).toMatchObject(
      {
        created: false,
        differences: [],
      },
    )
  })

  it('enables nothing where the policy is refused', async () => {
    const name = await createTable()
    await expect(addCompressionPolicy(database.db, name, { compressAfter: 5, segmentBy: 'b' })).rejects.toThrow()
    expect(await getCompressionSettings(database.db, name)).toMatchObject({ enabled: false })
  })

  it('is enabled without a policy, said once, and never changed', async () => {
    const name = await createTable()
    const wanted = { segmentBy: '"Sensor Id"', orderBy: 'v DESC' }
    const now = {
      segmentBy: ['Sensor Id'],
      orderBy: [
        { column: 'v', direction: 'desc', nulls: 'first' },
        { column: 'time', direction: 'desc', nulls: 'first' },
      ],
    }
    expect(await enableCompression(database.db, name, wanted)).toEqual({ enabled: true, ...now })
    expect(await enableCompression(database.db, name, wanted)).toEqual({ enabled: false, ...now })
    expect(await enableCompression(database.db, name)).toEqual({ enabled: false, ...now })
    await expect(enableCompression(database.db, name, { segmentBy: [] })).rejects.toMatchObject({ code: 'DRIFT' })
    expect(await getCompressionSettings(database.db, name)).toEqual({ enabled: true, ...now })
  })

  it('compresses continuous aggregates', async () => {
    const table = await createTable()
    const name = { schema: database.schema, name: 'View "1".x' }
    await createContinuousAggregate(database.db, name, {
      hypertable: table,
      timeColumn: 'time',
      bucketInterval: '1 hour',
      selectQuery: `"Sensor Id", avg(v) from ${sql.name(table).text} group by bucket, "Sensor Id"`,
      withData: false,
    })
    // The server wants the refresh to be settled before anything is compressed.
    await addContinuousAggregatePolicy(database.db, name, {
      startOffset: '3 days',
      endOffset: '1 hour',
      scheduleInterval: '1 hour',
    })
    const wanted = { compressAfter: '30 days', segmentBy: '"Sensor Id"', orderBy: 'bucket DESC' }
    expect(await addCompressionPolicy(database.db, name, wanted)).toMatchObject({
      created: true,
      compressionEnabled: true,
    })
    expect(await addCompressionPolicy(database.db, name, { ...wanted, ifNotExists: true })).toMatchObject({
      created: false,
      differences: [],
    })
    expect(await removeCompressionPolicy(database.db, name)).toEqual({ removed: true })
    expect(await removeCompressionPolicy(database.db, name, { ifExists: true })).toEqual({ removed: false })
    await expect(removeCompressionPolicy(database.db, name)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
