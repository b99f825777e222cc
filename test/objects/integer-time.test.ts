import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase } from '../setup/database.ts'

const test = await openTestDatabase()
afterAll(() => test.close())

// Policies must not run on their own here.
const LATER = '2999-01-01'

// The server has a time_bucket for each of these types, and casts none of them to another one in an aggregate.
describe.each(['smallint', 'integer', 'bigint'])('a time column of type %s', (type) => {
  const db = test.client
  const table = { schema: test.schema, name: `T ${type}` }
  const view = { schema: test.schema, name: `A ${type}` }
  const top = { schema: test.schema, name: `B ${type}` }
  const policy = { startOffset: 500, endOffset: 100, scheduleInterval: '1 hour', initialStart: LATER }

  beforeAll(async () => {
    const now = { schema: test.schema, name: `now ${type}` }
    await db.sql`create table ${sql.name(table)} ("Time 1" ${sql.raw(type)} not null, v float8)`
    await db.createHypertable(table, { timeColumn: 'Time 1', chunkTimeInterval: 100 })
    await db.sql`create function ${sql.name(now)}() returns ${sql.raw(type)} language sql stable as ${sql.literal(`select 1000::${type}`)}`
    await db.sql`select set_integer_now_func(${sql.literal(`"${test.schema}"."T ${type}"`)}, ${sql.literal(`"${test.schema}"."now ${type}"`)})`
    await db.sql`insert into ${sql.name(table)} select i, i from generate_series(0, 999) i`
  })

  it('has continuous aggregates, on each other too, and they refresh', async () => {
    const options = { hypertable: table, timeColumn: 'Time 1', bucketInterval: 100, withData: false }
    const aggregates = { v: 'AVG', rows: 'COUNT(*)' }
    await expect(db.createContinuousAggregate(view, { ...options, aggregates })).resolves.toMatchObject({
      created: true,
    })
    await expect(
      db.createContinuousAggregate(view, { ...options, aggregates, ifNotExists: true }),
    ).resolves.toMatchObject({ created: false, differences: [] })
    await db.createContinuousAggregate(top, {
      hypertable: view,
      timeColumn: 'bucket',
      bucketInterval: 200,

      aggregates: { v: 'MAX' },
      withData: false,
    })
    await db.refreshContinuousAggregate(view, { startTime: 100, endTime: 400 })
    const buckets = (await db.sql`select bucket::int, v, rows::int from ${sql.name(view)} order by 1`).map(
      Object.values,
    )
    expect(buckets).toEqual([100, 200, 300].map((bucket) => [bucket, bucket + 49.5, 100]))
  })

  it('has a refresh policy that says what it will do and does it', async () => {
    const { jobId } = await db.addContinuousAggregatePolicy(view, policy)
    await expect(db.addContinuousAggregatePolicy(view, { ...policy, ifNotExists: true })).resolves.toMatchObject({
      created: false,
      differences: [],
    })
    const preview = await db.previewPolicy({ table: view, kind: 'refresh' })
    expect(preview.refresh?.ranges).toEqual([{ start: 500n, end: 900n }])
    await expect(db.runJob(jobId)).resolves.toMatchObject({ outcome: 'success' })
    const [row] = await db.sql`select min(bucket)::int as first, max(bucket)::int as last from ${sql.name(view)}`
    expect(row).toEqual({ first: 100, last: 800 })
  })

  it('has buckets and fills gaps', async () => {
    const window = { timeColumn: 'Time 1', bucketInterval: 100, startTime: 800, endTime: 1100 }
    await expect(db.timeBucketQuery(table, { ...window, aggregations: { v: 'AVG' } })).resolves.toEqual([
      { bucket: 800, v: 849.5 },
      { bucket: 900, v: 949.5 },
    ])
    await expect(db.fillGaps(table, { ...window, columns: ['v'], fillMethod: 'locf' })).resolves.toEqual([
      { bucket: 800, v: 849.5 },
      { bucket: 900, v: 949.5 },
      { bucket: 1000, v: 949.5 },
    ])
  })

  it('has compression and retention policies that do what their preview says', async () => {
    await db.enableCompression(table)
    const compression = await db.addCompressionPolicy(table, { compressAfter: 500, initialStart: LATER })
    const retention = await db.addRetentionPolicy(table, { dropAfter: 800, initialStart: LATER })
    for (const [kind, chunks] of [
      ['compression', 5],
      ['retention', 2],
    ] as const) {
      expect((await db.previewPolicy({ table, kind })).chunks).toHaveLength(chunks)
    }
    await db.runJob(compression.jobId ?? 0)
    await db.runJob(retention.jobId ?? 0)
    const chunks = await db.getChunkInfo(table)
    expect(chunks.map(({ rangeStart }) => Number(rangeStart)).reverse()).toEqual([
      200, 300, 400, 500, 600, 700, 800, 900,
    ])
    expect(chunks.filter(({ isCompressed }) => isCompressed)).toHaveLength(3)
    await expect(db.dropChunks(table, { olderThan: 300 })).resolves.toHaveLength(1)
  })

  it('has a retention policy on an aggregate, which drops by the clock of the hypertable below', async () => {
    // Chunks of the aggregates are as long as ten buckets.
    await db.sql`insert into ${sql.name(table)} values (-6000, 1), (-7000, 1)`
    await db.refreshContinuousAggregate(view, { allowLoss: true })
    await db.refreshContinuousAggregate(top, { allowLoss: true })
    for (const name of [view, top]) {
      const { jobId = 0 } = await db.addRetentionPolicy(name, { dropAfter: 5000, initialStart: LATER })
      const dropped = (await db.previewPolicy({ table: name, kind: 'retention' })).chunks.map(
        (chunk) => chunk.chunkName,
      )
      expect(dropped.length).toBeGreaterThan(0)
      const before = (await db.getChunkInfo(name)).map(({ chunkName }) => chunkName)
      await expect(db.runJob(jobId)).resolves.toMatchObject({ outcome: 'success' })
      const after = (await db.getChunkInfo(name)).map(({ chunkName }) => chunkName)
      expect(after).toEqual(before.filter((chunk) => !dropped.includes(chunk)))
      expect(after.length).toBeGreaterThan(0)
    }
  })

  it('takes an offset, not an origin', async () => {
    const shifted = { schema: test.schema, name: `C ${type}` }
    const options = { hypertable: table, timeColumn: 'Time 1', bucketInterval: 100, aggregates: { v: 'AVG' } }
    await db.createContinuousAggregate(shifted, { ...options, offset: 50 })
    const [row] = await db.sql`select max(bucket)::int as last from ${sql.name(shifted)}`
    expect(row).toEqual({ last: 950 })
    await expect(db.createContinuousAggregate('never', { ...options, origin: 50 })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: 'An integer time column takes offset, not origin.',
    })
  })
})

it('refuses a bucket that is longer than the type', async () => {
  const options = {
    hypertable: { schema: test.schema, name: 'T smallint' },
    timeColumn: 'Time 1',
    bucketInterval: 40_000,
  }
  await expect(
    test.client.createContinuousAggregate('never', { ...options, aggregates: { v: 'AVG' } }),
  ).rejects.toMatchObject({ code: 'INVALID_VALUE', message: expect.stringContaining('40000') })
})
