import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { TimeRange } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { rounds } from '../setup/soak.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

interface Name {
  readonly schema: string
  readonly name: string
}

interface Buckets {
  readonly bucketInterval: string
  readonly timezone?: string
  readonly origin?: string
  readonly offset?: string
}

const shifts = fc.constantFrom(
  {},
  { offset: '1 hour' },
  { offset: '-90 minutes' },
  { offset: '3 days' },
  { origin: '2024-12-15T05:00:00Z' },
)
const zone = fc.constantFrom('Europe/Berlin', 'America/New_York')
const fixed = fc.constantFrom('1 hour', '6 hours', '1 day', '7 days')
const buckets: fc.Arbitrary<Buckets> = fc.oneof(
  fc.tuple(fixed, shifts).map(([bucketInterval, shift]) => ({ bucketInterval, ...shift })),
  fc
    .tuple(fc.constantFrom('1 day', '2 days', '1 month'), zone, shifts)
    .map(([bucketInterval, timezone, shift]) => ({ bucketInterval, timezone, ...shift })),
  shifts.map((shift) => ({ bucketInterval: '1 month', ...shift })),
)

let count = 0

/** How many hours of rows there are: about as many buckets of each kind. */
const lengthOf = ({ bucketInterval }: Buckets): number =>
  ({ '1 hour': 100, '6 hours': 600, '1 day': 2400, '2 days': 2400 })[bucketInterval] ?? 4320

/** Rows until now, and an aggregate of them that is filled. */
async function make(options: Buckets): Promise<{ readonly table: Name; readonly view: Name }> {
  const { client, schema } = database
  const [table, view] = [`T "${count}".x`, `V "${count++}".x`].map((name) => ({ schema, name })) as [Name, Name]
  await client.sql`create table ${sql.name(table)} (time timestamptz not null)`
  await client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: { hours: lengthOf(options) / 10 } })
  await client.sql`
    insert into ${sql.name(table)}
    select now() - h * interval '1 hour' from generate_series(1, ${lengthOf(options)}::int, 2) h`
  const query = {
    hypertable: table,
    timeColumn: 'time',
    aggregates: { n: 'COUNT(*)' },
    materializedOnly: true,
  } as const
  await client.createContinuousAggregate(view, { ...query, ...options })
  return { table, view }
}

/** Every materialized bucket, by the places of its rows: one that is written anew has others. */
async function places(view: Name): Promise<Map<number, string>> {
  const { materialization } = await database.client.getContinuousAggregate(view)
  const rows = await database.client.sql<{ bucket: Date; place: string }>`
    select bucket, string_agg(tableoid || ' ' || xmin || ' ' || ctid, ',') as place
    from ${sql.name(materialization)} group by bucket`
  return new Map(rows.map(({ bucket, place }) => [Number(bucket), place]))
}

/** True for a server whose windows are known to the bucket. */
function isKnown(): boolean {
  const version = database.capabilities.timescaleVersion
  return version !== undefined && version.major === 2 && version.minor <= 23
}

const isIn = (ranges: readonly TimeRange[], bucket: number): boolean =>
  ranges.some(({ start, end }) => bucket >= Number(start) && bucket < Number(end))

const runs = rounds(6, 100)
/** A time, as a share of the time there are rows of. */
const share = fc.integer({ min: 1, max: 1000 }).map((part) => part / 1000)
const lateRows = fc.array(share, { minLength: 1, maxLength: 3 })

describe('a refresh of buckets that begin elsewhere', () => {
  it('does what the preview of a policy says', { timeout: 120_000 }, async (context) => {
    context.skip(!isKnown(), 'needs a server whose windows are known to the bucket')
    const { client } = database
    const windows = fc.record({
      start: fc.option(fc.integer({ min: 70, max: 110 }), { nil: null }),
      end: fc.option(fc.integer({ min: 0, max: 40 }), { nil: null }),
      batch: fc.constantFrom(0, 1, 3),
    })
    const found: [Buckets, { start: number | null; end: number | null; batch: number }, number[]] = [
      { bucketInterval: '1 hour', offset: '90 minutes' },
      { start: 80, end: 1, batch: 1 },
      [0.799, 0.8, 0.02],
    ]
    await fc.assert(
      fc.asyncProperty(buckets, windows, lateRows, async (options, { start, end, batch }, late) => {
        const { table, view } = await make(options)
        const hours = (part: number): number => Math.round(part * lengthOf(options))
        const { jobId } = await client.addContinuousAggregatePolicy(view, {
          startOffset: start === null ? null : { hours: hours(start / 100) },
          endOffset: end === null ? null : { hours: hours(end / 100) },
          scheduleInterval: '1 hour',
          initialStart: new Date(Date.now() + 10 * 86_400_000),
          bucketsPerBatch: batch,
        })
        await client.sql`
          insert into ${sql.name(table)} select now() - h * interval '1 hour' from unnest(${late.map(hours)}::int[]) h`
        const { refresh } = await client.previewPolicy(jobId, { at: 'NOW()' })
        const before = await places(view)
        await client.runJob(jobId)
        const after = await places(view)
        const all = [...new Set([...before.keys(), ...after.keys()])]
        const changed = all.filter((bucket) => before.get(bucket) !== after.get(bucket)).sort()
        expect(changed).toEqual(all.filter((bucket) => isIn(refresh?.ranges ?? [], bucket)).sort())
        const { windowStart = 0, windowEnd = Number.POSITIVE_INFINITY } = refresh ?? {}
        expect(changed.filter((bucket) => bucket < Number(windowStart) || bucket >= Number(windowEnd))).toEqual([])
        await client.dropContinuousAggregate(view)
      }),
      { numRuns: runs, endOnFailure: true, examples: [found] },
    )
  })

  it('is refused for the buckets it would lose, all of them and no others', { timeout: 120_000 }, async () => {
    const { client } = database
    const found: [Buckets, number, number][] = [
      [{ bucketInterval: '6 hours', offset: '1 hour' }, 0.33, 0.7],
      [{ bucketInterval: '1 day', timezone: 'Europe/Berlin', offset: '3 days' }, 0.33, 0.7],
    ]
    await fc.assert(
      fc.asyncProperty(buckets, share, share, async (options, one, other) => {
        const { table, view } = await make(options)
        await client.dropChunks(table, { olderThan: 'infinity' })
        const quarters = lengthOf(options) * 4
        const time = (part: number): Date => new Date(Math.floor(Date.now() / 900_000 - part * quarters) * 900_000)
        const window = { startTime: time(Math.max(one, other) + 0.01), endTime: time(Math.min(one, other)) }
        const said: unknown = await client.refreshContinuousAggregate(view, window).catch((error: unknown) => error)
        const before = await places(view)
        const refused = await client
          .refreshContinuousAggregate(view, { ...window, allowLoss: true })
          .then(() => false)
          .catch((error: unknown) => String(error).includes('too small'))
        const left = await places(view)
        const lost = [...before.keys()].filter((bucket) => !left.has(bucket)).sort()
        const iso = (bucket = 0): string => new Date(bucket).toISOString().replace('.000Z', 'Z')
        const many = `${lost.length} buckets from '${iso(lost[0])}' to '${iso(lost.at(-1))}'`
        const message = lost.length === 1 ? `the bucket '${iso(lost[0])}'` : many
        // Where the windows of a server are not known it may be refused for a bucket more, but never for less.
        if (lost.length > 0) expect(said).toMatchObject({ code: 'DATA_LOSS_REFUSED' })
        if (lost.length > 0 && isKnown()) expect(said).toMatchObject({ message: expect.stringContaining(message) })
        if (isKnown() && lost.length === 0 && !refused) expect(said).not.toMatchObject({ code: 'DATA_LOSS_REFUSED' })
        await client.dropContinuousAggregate(view)
      }),
      { numRuns: runs, endOnFailure: true, examples: found },
    )
  })
})
