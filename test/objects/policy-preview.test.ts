import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database, PolicyPreview, TimeRange } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabases } from '../../src/testing.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

interface Name {
  readonly schema: string
  readonly name: string
}

/** Jobs that nothing but the test runs. */
const later = { initialStart: new Date(Date.now() + 10 * 86_400_000) }
const now = { at: 'NOW()' } as const

interface Layout {
  /** Hours. */
  readonly chunk: number
  readonly bucket: number
  /** Hours before now that have a row. */
  readonly rows: readonly number[]
  readonly late: readonly number[]
  readonly dropped: number
  readonly compressed: readonly number[]
  readonly frozen: number
  readonly after: number
  readonly offsets: readonly [number | null, number | null]
  readonly batch: number | undefined
}

const layouts: fc.Arbitrary<Layout> = fc.record({
  chunk: fc.constantFrom(6, 12, 24, 48),
  bucket: fc.constantFrom(1, 2, 3, 6),
  rows: fc.array(fc.integer({ min: -5, max: 400 }), { minLength: 1, maxLength: 60 }),
  late: fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 20 }),
  dropped: fc.constantFrom(1000, 300, 200, 100),
  compressed: fc.array(fc.nat(20), { maxLength: 5 }),
  frozen: fc.nat(40),
  after: fc.integer({ min: 1, max: 300 }),
  offsets: fc.tuple(
    fc.option(fc.integer({ min: 60, max: 500 }), { freq: 3, nil: null }),
    fc.option(fc.integer({ min: 0, max: 40 }), { freq: 3, nil: null }),
  ),
  batch: fc.option(fc.integer({ min: 0, max: 12 }), { nil: undefined }),
})

/** What was dropped and a row that came late are one range of changes, which more than one batch has a part in. */
const droppedBetween: Layout = {
  chunk: 6,
  bucket: 2,
  rows: [76, 331, -3, -1],
  late: [8],
  dropped: 300,
  compressed: [16, 4, 18],
  frozen: 6,
  after: 4,
  offsets: [494, 5],
  batch: 1,
}

let count = 0

async function makeTable({ chunk, rows }: Layout): Promise<Name> {
  const { client, schema } = database
  const table = { schema, name: `T "${count++}".x` }
  await client.sql`create table ${sql.name(table)} (time timestamptz not null, v float8)`
  await client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: { hours: chunk } })
  await insert(table, rows)
  return table
}

async function insert(table: Name, hours: readonly number[]): Promise<void> {
  await database.client
    .sql`insert into ${sql.name(table)} select now() - h * interval '1 hour', h from unnest(${[...hours]}::int[]) h`
}

const chunkNames = async (table: Name): Promise<string[]> =>
  (await database.client.getChunkInfo(table)).map(({ chunkName }) => chunkName).sort()
const namesOf = ({ chunks }: PolicyPreview): string[] => chunks.map(({ chunkName }) => chunkName).sort()

async function run(jobId: number): Promise<void> {
  expect(await database.client.runJob(jobId)).toMatchObject({ outcome: 'success' })
}

/** Every materialized row, by its place: a row that is written anew has another one. */
async function places(view: Name): Promise<Map<number, string>> {
  const { materialization } = await database.client.getContinuousAggregate(view)
  const rows = await database.client.sql<{ bucket: Date; place: string }>`
    select bucket, string_agg(tableoid || ' ' || xmin || ' ' || ctid, ',') as place
    from ${sql.name(materialization)} group by bucket`
  return new Map(rows.map(({ bucket, place }) => [Number(bucket), place]))
}

const isIn = (ranges: readonly TimeRange[], bucket: number): boolean =>
  ranges.some(({ start, end }) => bucket >= Number(start) && bucket < Number(end))

async function checkRefresh(view: Name, jobId: number): Promise<void> {
  const preview = await database.client.previewPolicy(jobId, now)
  const before = await places(view)
  await run(jobId)
  const after = await places(view)
  const all = [...new Set([...before.keys(), ...after.keys()])]
  const changed = all.filter((bucket) => before.get(bucket) !== after.get(bucket)).sort()
  const ranges = preview.refresh?.ranges ?? []
  const predicted = all.filter((bucket) => isIn(ranges, bucket)).sort()
  const { windowStart, windowEnd, bucketsLost } = preview.refresh ?? {}
  const isInWindow = (bucket: number): boolean =>
    bucket >= Number(windowStart ?? Number.NEGATIVE_INFINITY) && bucket < Number(windowEnd ?? Number.POSITIVE_INFINITY)
  expect(changed.filter((bucket) => !isInWindow(bucket))).toEqual([])
  if (!isKnown()) return
  expect(changed).toEqual(predicted)
  const written = [...after.keys()].filter((bucket) => isIn(ranges, bucket)).length
  expect(preview).toMatchObject({ kind: 'refresh', rows: written, refresh: { buckets: written } })
  expect(bucketsLost).toBe([...before.keys()].filter((bucket) => !after.has(bucket)).length)
}

/** True for a server whose batches are known to the bucket. */
function isKnown(): boolean {
  const version = database.capabilities.timescaleVersion
  return version !== undefined && version.major === 2 && version.minor <= 23
}

describe('a preview is what the next run does', () => {
  it('for each kind of policy, on any layout of chunks', { timeout: 120_000 }, async () => {
    const { client, schema } = database
    await fc.assert(
      fc.asyncProperty(layouts, async (layout) => {
        const table = await makeTable(layout)
        const view = { schema, name: `V "${count}".x` }
        await client.createContinuousAggregate(view, {
          hypertable: table,
          timeColumn: 'time',
          bucketInterval: { hours: layout.bucket },
          aggregates: { n: 'COUNT(*)' },
          materializedOnly: true,
          withData: layout.frozen % 2 === 0,
        })
        const [start, end] = layout.offsets
        const refresh = await client.addContinuousAggregatePolicy(view, {
          startOffset: start === null ? null : { hours: start },
          endOffset: end === null ? null : { hours: end },
          scheduleInterval: '1 hour',
          ...(layout.batch === undefined || !database.can('batched-refresh') ? {} : { bucketsPerBatch: layout.batch }),
          ...later,
        })
        await checkRefresh(view, refresh.jobId)
        await insert(table, layout.late)
        await checkRefresh(view, refresh.jobId)
        await client.dropChunks(table, { olderThan: { ago: { hours: layout.dropped } } })
        await insert(table, layout.late.slice(0, 2))
        await checkRefresh(view, refresh.jobId)

        const { jobId: reorderId } = await client.addReorderPolicy(table, {
          index: `T "${count - 1}".x_time_idx`,
          ...later,
        })
        // It would be run again at once, as there is another chunk.
        await client.disableJob(reorderId)
        for (let runs = 0; runs < 2; runs++) await checkReorder(table, reorderId)

        const { jobId: compressionId } = await client.addCompressionPolicy(table, {
          compressAfter: { hours: layout.after },
          ...later,
        })
        const chunks = await client.getChunkInfo(table)
        for (const chunk of new Set(layout.compressed.flatMap((index) => chunks[index] ?? []))) {
          await client.compressChunk(chunk)
        }
        await insert(table, layout.late)
        const frozen = (await client.getChunkInfo(table))[layout.frozen]
        if (frozen !== undefined) {
          const name = sql.literal(sql.name({ schema: frozen.chunkSchema, name: frozen.chunkName }).text)
          await client.sql`select _timescaledb_functions.freeze_chunk(${name}::regclass)`
        }
        await checkCompression(table, compressionId)

        const { jobId: retentionId } = await client.addRetentionPolicy(table, {
          dropAfter: { hours: layout.after },
          ...later,
        })
        const preview = await client.previewPolicy({ table, kind: 'retention' }, now)
        const before = await chunkNames(table)
        const rowsBefore = await countRows(table)
        await run(retentionId)
        const left = await chunkNames(table)
        expect(namesOf(preview)).toEqual(before.filter((name) => !left.includes(name)))
        expect(preview.rows).toBe(rowsBefore - (await countRows(table)))
      }),
      { numRuns: 6, endOnFailure: true, examples: [[droppedBetween]] },
    )
  })

  it('for each of several refresh policies of one aggregate', { timeout: 120_000 }, async (context) => {
    const { client, schema } = database
    const windows = fc.record({
      newest: fc.constantFrom(null, 0, 1, 7, 24),
      between: fc.integer({ min: 60, max: 150 }),
      gap: fc.constantFrom(0, 1, 13, 48),
      oldest: fc.constantFrom(null, 300, 500),
      order: fc.array(fc.nat(1), { minLength: 3, maxLength: 5 }),
    })
    let refused: unknown
    const kept = { dropped: 1000, compressed: [], after: 300, offsets: [null, null] } as const
    // The window takes a bucket more; a batch that has no chunk does not.
    const found: readonly [
      Layout,
      { newest: number | null; between: number; gap: number; oldest: number | null; order: number[] },
    ][] = [
      [
        {
          ...kept,
          chunk: 6,
          bucket: 1,
          rows: [6, 269, 391, 88, 167, 111],
          late: [140, 323, 395, 394, 109],
          frozen: 4,
          batch: 7,
        },
        { newest: null, between: 63, gap: 48, oldest: null, order: [0, 1, 1, 1] },
      ],
      [
        {
          ...kept,
          chunk: 12,
          bucket: 2,
          rows: [85, 313, 301, 339, 363, 1],
          late: [372, 168, 145, 347, 385, 377],
          frozen: 25,
          batch: 6,
        },
        { newest: 0, between: 86, gap: 0, oldest: 300, order: [1, 1, 0, 1, 0] },
      ],
    ]
    await fc.assert(
      fc.asyncProperty(layouts, windows, async (layout, { newest, between, gap, oldest, order }) => {
        if (refused !== undefined) return
        const table = await makeTable(layout)
        const view = { schema, name: `V "${count}".x` }
        await client.createContinuousAggregate(view, {
          hypertable: table,
          timeColumn: 'time',
          bucketInterval: { hours: layout.bucket },
          aggregates: { n: 'COUNT(*)' },
          materializedOnly: true,
          withData: layout.frozen % 2 === 0,
        })
        const hours = (offset: number | null): { readonly hours: number } | null =>
          offset === null ? null : { hours: offset }
        const add = async (start: number | null, end: number | null): Promise<number> => {
          const batch = layout.batch === undefined || !database.can('batched-refresh') ? undefined : layout.batch
          const offsets = { startOffset: hours(start), endOffset: hours(end), scheduleInterval: '1 hour', ...later }
          const options = batch === undefined ? offsets : { ...offsets, bucketsPerBatch: batch }
          return (await client.addContinuousAggregatePolicy(view, options)).jobId
        }
        const recent = await add(between, newest)
        const old = await add(oldest, between + gap).catch((error: unknown) => {
          refused = error
        })
        if (old === undefined) return
        for (const index of order) {
          await insert(table, layout.late)
          await checkRefresh(view, index === 0 ? recent : old)
        }
        await expect(client.previewPolicy({ table: view, kind: 'refresh' })).rejects.toMatchObject({
          message: expect.stringContaining(`jobs ${recent}, ${old}`),
        })
      }),
      { numRuns: 6, endOnFailure: true, examples: [...found] },
    )
    // Servers before 2.21 take one.
    if (refused !== undefined) context.skip(`The server allows one refresh policy: ${String(refused)}`)
  })

  async function countRows(table: Name): Promise<number> {
    return (await database.client.sql<{ n: number }>`select count(*) as n from ${sql.name(table)}`)[0]?.n ?? -1
  }

  async function checkReorder(table: Name, jobId: number): Promise<void> {
    const files = async (): Promise<Map<string, string>> => {
      const rows = await database.client.sql<{ name: string; file: string }>`
        select c.relname::text as name, pg_relation_filenode(s.oid)::text as file
        from show_chunks(${sql.name(table).text}::regclass) s(oid) join pg_class c on c.oid = s.oid`
      return new Map(rows.map(({ name, file }) => [name, file]))
    }
    const preview = await database.client.previewPolicy(jobId)
    const before = await files()
    await run(jobId)
    const after = await files()
    expect(namesOf(preview)).toEqual([...after.keys()].filter((name) => before.get(name) !== after.get(name)))
  }

  async function checkCompression(table: Name, jobId: number): Promise<void> {
    const { client } = database
    const state = async (): Promise<Map<string, string>> => {
      const chunks = await client.getChunkInfo(table)
      return new Map(chunks.map((chunk) => [chunk.chunkName, `${chunk.isCompressed} ${chunk.needsRecompression}`]))
    }
    const preview = await client.previewPolicy(jobId, now)
    const before = await state()
    await run(jobId)
    const after = await state()
    const changed = [...after.keys()].filter((name) => before.get(name) !== after.get(name)).sort()
    expect(namesOf(preview)).toEqual(changed)
  }
})

// Time is moved on the embedded engine only.
describe('a preview of the next start', () => {
  const databases = openTestDatabases({ clock: '2025-01-31T00:00:00Z' })
  afterAll(() => databases.close())
  const table = { schema: 'Test 1.a', name: `It's "raw".x` }
  const hourly = { schema: 'Test 1.a', name: 'By "hour"' }
  const daily = { schema: 'Test 1.a', name: 'By day' }

  async function make(column: string, chunkTimeInterval: string | number, options = {}): Promise<Database> {
    const db = await databases.fresh()
    await db.sql`create schema "Test 1.a"`
    await db.sql`create table ${sql.name(table)} ("Time" ${sql.raw(column)} not null, v float8)`
    await db.createHypertable(table, { timeColumn: 'Time', chunkTimeInterval, ...options })
    return db
  }

  it('is what happens then, and says what the aggregates above keep', async () => {
    const db = await make('timestamptz', '1 day')
    await db.sql`insert into ${sql.name(table)} select now() - i * interval '30 minutes', i from generate_series(1, 960) i`
    const common = { aggregates: { n: 'COUNT(*)' }, materializedOnly: true }
    await db.createContinuousAggregate(hourly, {
      hypertable: table,
      timeColumn: 'Time',
      bucketInterval: '1 hour',
      ...common,
    })
    await db.createContinuousAggregate(daily, {
      hypertable: hourly,
      timeColumn: 'bucket',
      bucketInterval: '1 day',
      bucketColumn: 'day',
      ...common,
    })
    await db.sql`insert into ${sql.name(table)} values ('2025-01-12 05:10Z', 1), ('2025-01-12 06:50Z', 1), ('2025-01-29', 1)`
    await db.addRetentionPolicy(table, { dropAfter: '10 days', initialStart: '2025-02-03T00:00:00Z' })
    const preview = await db.previewPolicy({ table, kind: 'retention' })
    const counted = await db.sql<{
      n: number
    }>`select count(*) as n from ${sql.name(table)} where "Time" < '2025-01-24'`
    expect(preview).toMatchObject({ at: new Date('2025-02-03T00:00:00Z'), kind: 'retention', rows: counted[0]?.n })
    expect(preview.chunks.map(({ rangeStart }) => rangeStart)).toEqual(
      Array.from({ length: 13 }, (_, day) => new Date(Date.UTC(2025, 0, 11 + day))),
    )
    expect(preview.history).toEqual([
      {
        ...hourly,
        buckets: 13 * 24,
        missing: [{ start: new Date('2025-01-12T05:00:00Z'), end: new Date('2025-01-12T07:00:00Z') }],
      },
      { ...daily, buckets: 13, missing: [] },
    ])
    expect(await db.previewPolicy({ table, kind: 'retention' }, { rows: 'estimate' })).toMatchObject({
      chunks: preview.chunks.map(({ chunkName }) => ({ chunkName })),
    })
    const before = await db.getChunkInfo(table)
    expect(before).toHaveLength(20)
    const { runs } = await db.clock.runUntil('2025-02-03T00:00:30Z')
    expect(runs.reduce((sum, run) => sum + run.chunksDropped, 0)).toBe(13)
    const left = (await db.getChunkInfo(table)).map(({ chunkName }) => chunkName)
    expect(preview.chunks.map(({ chunkName }) => chunkName).filter((name) => left.includes(name))).toEqual([])
    // The aggregate is stale where rows had come late, and only these are gone for it.
    const kept =
      await db.sql`select sum(n)::int as n from ${sql.name(hourly)} where bucket between '2025-01-12 05:00Z' and '2025-01-12 06:00Z'`
    expect(kept).toEqual([{ n: 4 }])
  })

  it('goes by the integer time of the hypertable at the bottom', async () => {
    const db = await make('bigint', 10)
    await db.executeQuery(
      'create function "Test 1.a".present() returns bigint language sql stable as \'select 100::bigint\'',
    )
    await db.sql`select set_integer_now_func(${sql.literal(sql.name(table).text)}, '"Test 1.a".present')`
    await db.sql`insert into ${sql.name(table)} select i, i from generate_series(0, 99) i`
    await db.createContinuousAggregate(hourly, {
      hypertable: table,
      timeColumn: 'Time',
      bucketInterval: 5,
      aggregates: { n: 'COUNT(*)' },
      materializedOnly: true,
      withData: false,
    })
    const paused = { scheduleInterval: '1 hour', initialStart: '2025-03-01' } as const
    const { jobId } = await db.addContinuousAggregatePolicy(hourly, { startOffset: 41, endOffset: 12, ...paused })
    const { jobId: drop } = await db.addRetentionPolicy(table, { dropAfter: 60, ...paused })
    expect((await db.previewPolicy(jobId)).refresh).toEqual({
      windowStart: 60n,
      windowEnd: 85n,
      ranges: [{ start: 60n, end: 85n }],
      buckets: 5,
      bucketsLost: 0,
    })
    await db.runJob(jobId)
    expect(await db.sql`select min(bucket)::int as low, max(bucket)::int as high from ${sql.name(hourly)}`).toEqual([
      { low: 60, high: 80 },
    ])
    const preview = await db.previewPolicy(drop)
    expect(preview.chunks.map(({ rangeStart }) => rangeStart)).toEqual([0n, 10n, 20n, 30n])
    expect(preview.history).toEqual([{ ...hourly, buckets: 0, missing: [{ start: 0n, end: 40n }] }])
    await db.runJob(drop)
    expect((await db.getChunkInfo(table)).map(({ rangeStart }) => rangeStart).at(-1)).toBe(40n)
  })

  it('counts months in the time zone of the buckets, and days of a date column', async () => {
    const db = await make('timestamptz', '7 days')
    await db.sql`insert into ${sql.name(table)} select now() - i * interval '1 day', i from generate_series(1, 200) i`
    const query = { hypertable: table, timeColumn: 'Time', aggregates: { n: 'COUNT(*)' }, withData: false } as const
    const where = { bucketInterval: '1 month', timezone: 'Europe/Berlin', materializedOnly: true } as const
    await db.createContinuousAggregate(hourly, { ...query, ...where })
    const { jobId } = await db.addContinuousAggregatePolicy(hourly, {
      startOffset: '5 months',
      endOffset: '1 day',
      scheduleInterval: '1 day',
      initialStart: '2025-02-10T00:00:00Z',
    })
    const preview = await db.previewPolicy(jobId)
    expect(preview.refresh).toMatchObject({
      windowStart: new Date('2024-09-30T22:00:00Z'),
      windowEnd: new Date('2025-01-31T23:00:00Z'),
      buckets: 4,
    })
    await db.clock.runUntil('2025-02-10T00:01:00Z')
    const rows = await db.sql<{ bucket: Date }>`select bucket from ${sql.name(hourly)} order by 1`
    expect(rows.map(({ bucket }) => bucket)).toEqual([
      new Date('2024-09-30T22:00:00Z'),
      new Date('2024-10-31T23:00:00Z'),
      new Date('2024-11-30T23:00:00Z'),
      new Date('2024-12-31T23:00:00Z'),
    ])
    const dates = await make('date', '2 days')
    await dates.sql`insert into ${sql.name(table)} select current_date - i, i from generate_series(1, 20) i`
    await dates.addRetentionPolicy(table, { dropAfter: '5 days', initialStart: '2025-02-01T12:00:00Z' })
    const dropped = (await dates.previewPolicy({ table, kind: 'retention' })).chunks.map(({ chunkName }) => chunkName)
    const before = await dates.getChunkInfo(table)
    await dates.clock.runUntil('2025-02-01T12:01:00Z')
    const left = await dates.getChunkInfo(table)
    const gone = before.filter(({ chunkName }) => left.every((chunk) => chunk.chunkName !== chunkName)).reverse()
    expect(dropped).toEqual(gone.map(({ chunkName }) => chunkName))
    expect(dropped.length).toBeGreaterThan(5)
  })

  it('is refused for what is no policy, or which is not clear', async () => {
    const db = await make('timestamptz', '1 day')
    await expect(db.previewPolicy({ table, kind: 'retention' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(db.previewPolicy(999_999)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(db.previewPolicy(3)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await db.addRetentionPolicy(table, { dropAfter: '1 day' })
    const wrong: unknown[] = [{ at: 'soon' }, { rows: 'many' }, { time: 1 }]
    for (const options of wrong) {
      await expect(Reflect.apply(db.previewPolicy, db, [{ table, kind: 'retention' }, options])).rejects.toMatchObject({
        name: 'UsageError',
      })
    }
    await expect(Reflect.apply(db.previewPolicy, db, [{ table, kind: 'other' }])).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  })
})
