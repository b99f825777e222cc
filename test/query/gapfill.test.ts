import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import type { Session } from '../../src/connection/session.ts'
import { type FillGapsOptions, fillGaps, fillGapsSql } from '../../src/query/gapfill.ts'
import { avg, count, histogram, last, max } from '../../src/sql/aggregate.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase } from '../setup/database.ts'

const minimal = {
  timeColumn: 'time',
  bucketInterval: '1 hour',
  startTime: '2024-01-01',
  endTime: '2024-01-02',
  columns: ['v'],
} as const

describe('fillGapsSql', () => {
  test("the document's example", () => {
    expect(
      fillGapsSql('sensor_data', {
        timeColumn: 'time',
        bucketInterval: '10 minutes',
        startTime: "NOW() - INTERVAL '2 hours'",
        endTime: 'NOW()',
        columns: ['temperature'],
        fillMethod: 'locf',
      }),
    ).toEqual({
      text: 'select time_bucket_gapfill($1::interval, "time", start => now() - $2::interval, finish => now()) as bucket, locf(avg("temperature")::float8) as "temperature" from "sensor_data" where "time" >= now() - $3::interval and "time" < now() group by 1 order by "bucket"',
      values: ['00:10:00', '02:00:00', '02:00:00'],
    })
  })

  test('columns, methods, series, time zone', () => {
    const options: FillGapsOptions = {
      ...minimal,
      bucketInterval: '1 day',
      timezone: 'Europe/Berlin',
      groupBy: ['series.id'],
      where: { b: 1 },
      columns: {
        v: { method: 'linear' },
        n: { aggregate: 'MAX', method: 'locf', treatNullAsMissing: true },
        rows: { aggregate: count(), method: 'linear' },
        'raw "x"': { aggregate: last('v', 'time'), method: 'NULL' },
      },
      orderBy: 'series.id, bucket',
      limit: 5,
    }
    expect(fillGapsSql({ schema: 'Test 1.a', name: 't' }, options)).toEqual({
      text: 'select time_bucket_gapfill($1::interval, "time", timezone => $2::text, start => $3::timestamptz, finish => $4::timestamptz) as bucket, "series.id", interpolate(avg("v")::float8) as "v", locf(max("n"), treat_null_as_missing => true) as "n", interpolate((count(*))::float8) as "rows", last("v", "time") as "raw ""x""" from "Test 1.a"."t" where "time" >= $5::timestamptz and "time" < $6::timestamptz and "b" = $7 group by 1, 2 order by "series.id", "bucket" limit $8',
      values: [
        '1 day',
        'Europe/Berlin',
        '2024-01-01T00:00:00Z',
        '2024-01-02T00:00:00Z',
        '2024-01-01T00:00:00Z',
        '2024-01-02T00:00:00Z',
        1,
        5,
      ],
    })
  })

  test.each<[string, object, string]>([
    ['no start', { startTime: undefined }, 'INVALID_OPTION'],
    ['no end', { endTime: undefined }, 'INVALID_OPTION'],
    ['an open end', { endTime: 'infinity' }, 'INVALID_TIME'],
    ['an open start', { startTime: '-infinity' }, 'INVALID_TIME'],
    ['a window backwards', { endTime: '2023-01-01' }, 'INVALID_TIME'],
    ['no column', { columns: [] }, 'INVALID_OPTION'],
    ['a column twice', { columns: ['v', 'v'] }, 'INVALID_OPTION'],
    ['a column named bucket', { columns: ['bucket'] }, 'INVALID_OPTION'],
    ['a column that is a series', { groupBy: 'v' }, 'INVALID_OPTION'],
    ['an unknown method', { fillMethod: 'cubic' }, 'INVALID_OPTION'],
    ['a method that is SQL', { columns: { v: { method: 'locf(1); --' } } }, 'INVALID_OPTION'],
    ['an unknown column option', { columns: { v: { fill: 'locf' } } }, 'INVALID_OPTION'],
    ['an unknown option', { origin: '2024-01-01' }, 'INVALID_OPTION'],
    ['treatNullAsMissing without locf', { columns: { v: { treatNullAsMissing: true } } }, 'INVALID_OPTION'],
    [
      'a line through histograms',
      { columns: { v: { aggregate: histogram('v', { min: 0, max: 1, buckets: 1 }), method: 'linear' } } },
      'INVALID_OPTION',
    ],
    ['hours in a time zone', { timezone: 'Europe/Berlin', bucketInterval: '4 hours' }, 'INVALID_OPTION'],
    ['24 hours in a time zone', { timezone: 'Europe/Berlin', bucketInterval: '24 hours' }, 'INVALID_OPTION'],
    ['a time zone for a date', { timezone: 'UTC', bucketInterval: '1 day', timeType: 'date' }, 'INVALID_OPTION'],
  ])('refuses %s', (_, change, code) => {
    const options: FillGapsOptions = { ...minimal, ...change }
    expect(() => fillGapsSql('t', options)).toThrow(expect.objectContaining({ code }))
  })
})

describe('fillGaps', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  let db: Session
  const run = async (text: string): Promise<void> => {
    await db.query({ text, values: [] })
  }
  const at = (name: string): { schema: string; name: string } => ({ schema: database.schema, name })
  const table = (name: string): string => sql.name(at(name)).text
  const hour = (value: number): Date => new Date(Date.UTC(2024, 0, 1, value))

  beforeAll(async () => {
    database = await openTestDatabase()
    db = database.db
    await run(
      `create table ${table('Gaps "x"')} (time timestamptz not null, "series.id" text, v float8, n int, d numeric)`,
    )
    await db.query(sql`select create_hypertable(${table('Gaps "x"')}::regclass, 'time')`)
    await run(`insert into ${table('Gaps "x"')} values
      ('2024-01-01T01:00Z', 'a', 1, 10, 0.5), ('2024-01-01T01:30Z', 'a', 3, 12, 1.5), ('2024-01-01T03:00Z', 'b', null, null, null),
      ('2024-01-01T05:00Z', 'a', 10, 21, 4), ('2024-01-01T05:30Z', 'b', 10, 30, 4), ('2024-01-01T09:00Z', 'c', 99, 99, 99)`)
    await run(`create table ${table('sparse')} (time timestamptz not null, v int)`)
    await db.query(sql`select create_hypertable(${table('sparse')}::regclass, 'time')`)
    await run(`insert into ${table('sparse')} select t, extract(epoch from t) / 3600 from
      generate_series('2024-03-25T00:00Z'::timestamptz, '2024-11-05T00:00Z', '29 hours') t
      where t not between '2024-03-29T00:00Z' and '2024-04-02T00:00Z' and t not between '2024-10-25T00:00Z' and '2024-10-29T00:00Z'`)
    await run(`create table ${table('local')} (time timestamp not null, day date not null, i int not null, v float8)`)
    await run(
      `insert into ${table('local')} values ('2024-01-01T12:00', '2024-01-01', 0, 1), ('2024-01-03T12:00', '2024-01-03', 20, 3)`,
    )
  })
  afterAll(() => database.close())

  // A bucket with rows but without a value (hour 3) interrupts the line on both of its sides.
  test('every method, by hand, with the types inferred', async () => {
    const rows = await fillGaps(db, at('Gaps "x"'), {
      ...minimal,
      endTime: '2024-01-01T07:00Z',
      columns: {
        v: {},
        n: { aggregate: 'MAX', method: 'locf' },
        missing: { aggregate: max('n'), method: 'locf', treatNullAsMissing: true },
        d: { method: 'linear' },
        rows: { aggregate: 'COUNT(*)' },
        line: { aggregate: count(), method: 'linear' },
        name: { aggregate: last<string>('series.id', 'time'), method: 'locf' },
      },
    })
    const at3 = { v: null, n: null, missing: 12, rows: 1, line: 1, name: 'b' }
    expect(rows).toEqual([
      { bucket: hour(0), v: null, n: null, missing: null, d: null, rows: null, line: null, name: null },
      { bucket: hour(1), v: 2, n: 12, missing: 12, d: 1, rows: 2, line: 2, name: 'a' },
      { bucket: hour(2), v: null, n: 12, missing: 12, d: null, rows: null, line: 1.5, name: 'a' },
      { bucket: hour(3), ...at3, d: null },
      { bucket: hour(4), v: null, n: null, missing: 12, d: null, rows: null, line: 1.5, name: 'b' },
      { bucket: hour(5), v: 10, n: 30, missing: 30, d: 4, rows: 2, line: 2, name: 'b' },
      { bucket: hour(6), v: null, n: 30, missing: 30, d: null, rows: null, line: null, name: 'b' },
    ])
    expectTypeOf(rows).items.toHaveProperty('bucket').toEqualTypeOf<Date>()
    expectTypeOf(rows).items.toHaveProperty('v').toEqualTypeOf<number | null>()
    expectTypeOf(rows).items.toHaveProperty('rows').toEqualTypeOf<number | null>()
    expectTypeOf(rows).items.toHaveProperty('name').toEqualTypeOf<string | null>()
    expectTypeOf(rows).items.not.toHaveProperty('absent')
  })

  test('a list of columns, one method for all', async () => {
    const rows = await fillGaps(db, at('Gaps "x"'), {
      ...minimal,
      startTime: '2024-01-01T04:00Z',
      endTime: '2024-01-01T07:00Z',
      columns: ['v', 'd'],
      fillMethod: 'locf',
    })
    expect(rows).toEqual([
      { bucket: hour(4), v: null, d: null },
      { bucket: hour(5), v: 10, d: 4 },
      { bucket: hour(6), v: 10, d: 4 },
    ])
    expectTypeOf(rows).items.toEqualTypeOf<{ bucket: Date; v: number | null; d: number | null }>()
  })

  test('each series gets all buckets and is filled on its own; one outside of the window gets none', async () => {
    const rows = await fillGaps(db, at('Gaps "x"'), {
      ...minimal,
      startTime: '2024-01-01T02:00Z',
      endTime: '2024-01-01T07:00Z',
      groupBy: 'series.id',
      columns: ['v'],
      fillMethod: 'locf',
      orderBy: '"series.id", bucket',
    })
    expect(rows).toEqual([
      ...[null, null, null, 10, 10].map((v, index) => ({ bucket: hour(index + 2), 'series.id': 'a', v })),
      ...[null, null, null, 10, 10].map((v, index) => ({ bucket: hour(index + 2), 'series.id': 'b', v })),
    ])
  })

  test('a window without rows is all gaps; with series it is empty', async () => {
    const options = { ...minimal, startTime: '2023-01-01', endTime: '2023-01-01T03:00Z' }
    expect((await fillGaps(db, at('Gaps "x"'), options)).map((row) => row.v)).toEqual([null, null, null])
    expect(await fillGaps(db, at('Gaps "x"'), { ...options, groupBy: 'series.id' })).toEqual([])
  })

  test('a start within a bucket: the bucket is there, rows before the start are not in it', async () => {
    const rows = await fillGaps(db, at('Gaps "x"'), {
      ...minimal,
      startTime: '2024-01-01T01:15Z',
      endTime: '2024-01-01T02:00Z',
    })
    expect(rows).toEqual([{ bucket: hour(1), v: 3 }])
  })

  test.each(['day', 'week', 'month'])(
    'every %s of Berlin is there once, over both changes of the clocks',
    async (unit) => {
      const { rows: plain } = await db.query(
        sql`select g at time zone 'Europe/Berlin' as bucket, avg(v)::float8 as v
        from generate_series(date_trunc(${unit}, '2024-03-20'::timestamp), '2024-11-09T23:00', ${`1 ${unit}`}::interval) g
        left join ${sql.name(at('sparse'))} on date_trunc(${unit}, time at time zone 'Europe/Berlin') = g
        group by 1 order by 1`,
      )
      const rows = await fillGaps(db, at('sparse'), {
        ...minimal,
        bucketInterval: `1 ${unit}`,
        timezone: 'Europe/Berlin',
        startTime: '2024-03-20T00:00+01:00',
        endTime: '2024-11-10T00:00+01:00',
      })
      expect(rows).toEqual(plain)
      expect(rows.some((row) => row.v === null)).toBe(unit !== 'month')
    },
  )

  test.each(['UTC', 'America/New_York'])('timestamp and date columns mean UTC under %s', async (zone) => {
    await db.transaction(async (session) => {
      await session.query(sql`select set_config('timezone', ${zone}, true)`)
      const options = {
        ...minimal,
        bucketInterval: '1 day',
        endTime: '2024-01-04T00:00Z',
        fillMethod: 'linear',
      } as const
      const days = [1, 2, 3].map((day) => ({ bucket: new Date(Date.UTC(2024, 0, day)), v: day }))
      expect(await fillGaps(session, at('local'), options)).toEqual(days)
      expect(await fillGaps(session, at('local'), { ...options, timeColumn: 'day' })).toEqual(days)
    })
  })

  test('an integer time column', async () => {
    const rows = await fillGaps(db, at('local'), {
      ...minimal,
      timeColumn: 'i',
      bucketInterval: 10,
      startTime: 0,
      endTime: 30n,
      columns: { v: { aggregate: avg('v'), method: 'linear' } },
    })
    expect(rows).toEqual([
      { bucket: 0, v: 1 },
      { bucket: 10, v: 2 },
      { bucket: 20, v: 3 },
    ])
    expectTypeOf(rows).items.toHaveProperty('bucket').toEqualTypeOf<number>()
  })

  test("the server's clock: the window of the last two hours has all its buckets", async () => {
    const rows = await fillGaps(db, at('Gaps "x"'), {
      ...minimal,
      bucketInterval: '10 minutes',
      startTime: "NOW() - INTERVAL '2 hours'",
      endTime: 'NOW()',
    })
    expect([12, 13]).toContain(rows.length)
    expect(rows.every((row) => row.v === null)).toBe(true)
  })

  test('no text option reaches the SQL', async () => {
    const evil = `x'; drop table ${table('sparse')}; --`
    const attempts: object[] = [
      { timezone: evil, bucketInterval: '1 day' },
      { timeColumn: evil },
      { groupBy: evil },
      { columns: [evil] },
      { columns: { v: { method: evil } } },
      { columns: { v: { aggregate: evil } } },
      { fillMethod: evil },
      { where: { [evil]: 1 } },
      { startTime: evil },
      { bucketInterval: evil },
      { timeType: evil },
    ]
    for (const attempt of attempts) {
      await expect(fillGaps(db, at('sparse'), { ...minimal, ...attempt }), JSON.stringify(attempt)).rejects.toThrow()
    }
    expect((await fillGaps(db, at('sparse'), minimal)).length).toBe(24)
  })
})
