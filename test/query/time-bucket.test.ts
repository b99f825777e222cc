import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import type { Session } from '../../src/connection/session.ts'
import { fillGapsSql } from '../../src/query/gapfill.ts'
import { type TimeBucketOptions, timeBucketQuery, timeBucketSql } from '../../src/query/time-bucket.ts'
import { count, first, histogram, last, max, median, percentile, stddev, sum } from '../../src/sql/aggregate.ts'
import { sql } from '../../src/sql/template.ts'
import type { TimeInput } from '../../src/sql/time-expression.ts'
import { openTestDatabase } from '../setup/database.ts'

const minimal = { timeColumn: 'time', bucketInterval: '1 day', aggregations: { n: 'COUNT(*)' } } as const

describe('timeBucketSql', () => {
  test("the document's example", () => {
    expect(
      timeBucketSql('sensor_data', {
        timeColumn: 'time',
        bucketInterval: '15 minutes',
        aggregations: { temperature: 'AVG', humidity: 'AVG', count: 'COUNT(*)' },
        startTime: "NOW() - INTERVAL '24 hours'",
        orderBy: 'bucket ASC',
      }),
    ).toEqual({
      text: 'select time_bucket($1::interval, "time") as bucket, avg("temperature")::float8 as "temperature", avg("humidity")::float8 as "humidity", count(*) as "count" from "sensor_data" where "time" >= now() - $2::interval group by 1 order by "bucket" asc',
      values: ['00:15:00', '24:00:00'],
    })
  })

  test('everything at once', () => {
    expect(
      timeBucketSql('"Test 1.a"."Sensor ""x"""', {
        timeColumn: 'Time',
        bucketInterval: { months: 1 },
        aggregations: { 'top "x"': max('v'), p: percentile('v', 0.9) },
        startTime: new Date('2024-01-01T00:00:00Z'),
        endTime: '2024-02-01',
        groupBy: ['series.id', 'b'],
        where: [{ b: { in: [1, 2] } }, sql`c = ${'x'} or d`],
        timezone: 'Europe/Berlin',
        origin: '2000-01-01',
        offset: '1 day',
        orderBy: [{ column: 'top "x"', direction: 'desc', nulls: 'last' }, 'bucket'],
        limit: 10,
      }),
    ).toEqual({
      text: 'select time_bucket($1::interval, "Time", timezone => $2::text, origin => $3::timestamptz, "offset" => $4::interval) as bucket, "series.id", "b", max("v") as "top ""x""", percentile_cont($5::float8) within group (order by "v"::float8) as "p" from "Test 1.a"."Sensor ""x""" where "Time" >= $6::timestamptz and "Time" < $7::timestamptz and "b" = any($8) and (c = $9 or d) group by 1, 2, 3 order by "top ""x""" desc nulls last, "bucket" limit $10',
      values: [
        '1 mon',
        'Europe/Berlin',
        '2000-01-01T00:00:00Z',
        '1 day',
        0.9,
        '2024-01-01T00:00:00Z',
        '2024-02-01T00:00:00Z',
        [1, 2],
        'x',
        10,
      ],
    })
  })

  test('the default order is by bucket, then series', () => {
    expect(timeBucketSql('t', { ...minimal, groupBy: 'a' }).text).toMatch(/ order by "bucket", "a"$/)
    expect(timeBucketSql('t', { ...minimal, orderBy: [] }).text).toMatch(/ group by 1$/)
  })

  test('an integer time column', () => {
    const options = { ...minimal, bucketInterval: 10, startTime: 0, endTime: 100n, offset: -5 }
    expect(timeBucketSql('t', options)).toEqual({
      text: 'select time_bucket($1::bigint, "time", "offset" => $2::bigint) as bucket, count(*) as "n" from "t" where "time" >= $3::bigint and "time" < $4::bigint group by 1 order by "bucket"',
      values: ['10', '-5', '0', '100'],
    })
    expect(timeBucketSql('t', { ...options, timeType: 'smallint' }).text).toContain('time_bucket($1::smallint')
  })

  test.each<[string, object, string]>([
    ['no aggregation', { aggregations: {} }, 'INVALID_OPTION'],
    ['an aggregation named bucket', { aggregations: { bucket: 'COUNT(*)' } }, 'INVALID_OPTION'],
    ['an aggregation named like a series column', { groupBy: 'n' }, 'INVALID_OPTION'],
    ['a series column twice', { groupBy: ['a', 'a'] }, 'INVALID_OPTION'],
    ['a series column named bucket', { groupBy: 'bucket' }, 'INVALID_OPTION'],
    ['a misspelt option', { time_column: 'x' }, 'INVALID_OPTION'],
    ['an unknown order', { orderBy: 'time' }, 'INVALID_OPTION'],
    ['a negative limit', { limit: -1 }, 'INVALID_OPTION'],
    ['a limit that is SQL', { limit: '1; drop table t' }, 'INVALID_OPTION'],
    ['a bucket of no length', { bucketInterval: '0 days' }, 'INVALID_OPTION'],
    ['a bucket backwards', { bucketInterval: '-1 day' }, 'INVALID_OPTION'],
    ['a bucket that is SQL', { bucketInterval: "1 day', time); drop table t" }, 'INVALID_INTERVAL'],
    ['a number bucket of a timestamp', { bucketInterval: 5, timeType: 'timestamptz' }, 'INVALID_OPTION'],
    ['an interval bucket of an integer', { timeType: 'bigint' }, 'INVALID_OPTION'],
    ['a window backwards', { startTime: '2024-01-02', endTime: '2024-01-01' }, 'INVALID_TIME'],
    ['a start that is SQL', { startTime: 'NOW(); drop table t' }, 'INVALID_TIME'],
    ['a time zone for a timestamp', { timezone: 'UTC', timeType: 'timestamp' }, 'INVALID_OPTION'],
    ['an origin for an integer', { bucketInterval: 5, origin: 1 }, 'INVALID_OPTION'],
    [
      'origin and offset of a timestamp',
      { origin: '2024-01-01', offset: '1 day', timeType: 'timestamp' },
      'INVALID_OPTION',
    ],
    ['a number as offset', { offset: 5 }, 'INVALID_OPTION'],
    ['a condition of undefined', { where: { a: undefined } }, 'INVALID_VALUE'],
    ['an empty column', { timeColumn: '' }, 'INVALID_IDENTIFIER'],
  ])('refuses %s', (_, change, code) => {
    const options: TimeBucketOptions = { ...minimal, ...change }
    expect(() => timeBucketSql('t', options)).toThrow(expect.objectContaining({ code }))
  })
})

describe('timeBucketQuery', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  let db: Session
  const run = async (text: string): Promise<void> => {
    await db.query({ text, values: [] })
  }
  const at = (name: string): { schema: string; name: string } => ({ schema: database.schema, name })
  const table = (name: string): string => sql.name(at(name)).text

  beforeAll(async () => {
    database = await openTestDatabase()
    db = database.db
    await run(
      `create table ${table('Sensor "x"')} (time timestamptz not null, "series.id" text, v float8, n int, d numeric)`,
    )
    await db.query(sql`select create_hypertable(${table('Sensor "x"')}::regclass, 'time')`)
    await run(`insert into ${table('Sensor "x"')} values
      ('2024-01-01T00:00Z', 'a', 1, 10, 0.1), ('2024-01-01T00:10Z', 'a', 3, 20, 0.2), ('2024-01-01T00:20Z', 'b', null, 30, 0.3),
      ('2024-01-01T01:00Z', 'a', 5, 40, 0.4), ('2024-01-01T02:00Z', 'b', null, null, null)`)
    await run(`create table ${table('year')} (time timestamptz not null, v int)`)
    await db.query(sql`select create_hypertable(${table('year')}::regclass, 'time')`)
    await run(`insert into ${table('year')} select t, extract(hour from t) from
      generate_series('2024-01-01T00:00Z'::timestamptz, '2024-12-31T23:00Z', '1 hour') t`)
    await run(`create table ${table('local')} (time timestamp not null, day date not null, i int not null, v float8)`)
    await run(`insert into ${table('local')} select t, t::date, extract(epoch from t)::int, extract(hour from t) from
      generate_series('2024-01-01'::timestamp, '2024-01-03T23:00', '1 hour') t`)
  })
  afterAll(() => database.close())

  test('values by hand, with the types inferred', async () => {
    const rows = await timeBucketQuery(db, at('Sensor "x"'), {
      timeColumn: 'time',
      bucketInterval: '1 hour',
      aggregations: {
        v: 'AVG',
        rows: 'COUNT(*)',
        'n.total': sum('n'),
        high: max('d'),
        middle: median('v'),
        spread: stddev('v'),
        open: first('v', 'time'),
        close: last('v', 'time'),
        name: last<string>('series.id', 'time'),
        bars: histogram('v', { min: 0, max: 4, buckets: 2 }),
        values: count('v'),
      },
    })
    expect(rows).toEqual([
      {
        bucket: new Date('2024-01-01T00:00Z'),
        v: 2,
        rows: 3,
        'n.total': 60,
        high: 0.3,
        middle: 2,
        spread: Math.SQRT2,
        open: 1,
        close: null,
        name: 'b',
        bars: [0, 1, 1, 0],
        values: 2,
      },
      {
        bucket: new Date('2024-01-01T01:00Z'),
        v: 5,
        rows: 1,
        'n.total': 40,
        high: 0.4,
        middle: 5,
        spread: null,
        open: 5,
        close: 5,
        name: 'a',
        bars: [0, 0, 0, 1],
        values: 1,
      },
      {
        bucket: new Date('2024-01-01T02:00Z'),
        v: null,
        rows: 1,
        'n.total': null,
        high: null,
        middle: null,
        spread: null,
        open: null,
        close: null,
        name: 'b',
        bars: null,
        values: 0,
      },
    ])
    expectTypeOf(rows).items.toHaveProperty('bucket').toEqualTypeOf<Date>()
    expectTypeOf(rows).items.toHaveProperty('v').toEqualTypeOf<number | null>()
    expectTypeOf(rows).items.toHaveProperty('rows').toEqualTypeOf<number>()
    expectTypeOf(rows).items.toHaveProperty('name').toEqualTypeOf<string | null>()
    expectTypeOf(rows).items.toHaveProperty('bars').toEqualTypeOf<number[] | null>()
    expectTypeOf(rows).items.not.toHaveProperty('absent')
  })

  test('series, conditions, order and limit', async () => {
    const options = {
      ...minimal,
      groupBy: 'series.id',
      where: [{ v: { isNull: false }, n: { between: [10, 40] } }, sql`n <> ${20}`],
      orderBy: 'n DESC NULLS LAST, "series.id"',
      limit: 1,
    } as const
    const rows = await timeBucketQuery(db, at('Sensor "x"'), options)
    expect(rows).toEqual([{ bucket: new Date('2024-01-01T00:00Z'), 'series.id': 'a', n: 2 }])
    expectTypeOf(rows).items.toHaveProperty('series.id').toEqualTypeOf<unknown>()
    const named = await timeBucketQuery<{ bucket: Date; 'series.id': string; n: number }>(db, at('Sensor "x"'), options)
    expectTypeOf(named).items.toHaveProperty('series.id').toEqualTypeOf<string>()
    expect(named).toEqual(rows)
  })

  test('the end does not belong to the window', async () => {
    const rows = await timeBucketQuery(db, at('Sensor "x"'), {
      ...minimal,
      startTime: '2024-01-01T00:10Z',
      endTime: '2024-01-01T01:00Z',
    })
    expect(rows).toEqual([{ bucket: new Date('2024-01-01T00:00Z'), n: 2 }])
  })

  test('days and months of Berlin have 23 and 25 hours where the clocks change', async () => {
    const options = { ...minimal, timezone: 'Europe/Berlin', startTime: '2024-01-01', endTime: '2025-01-01' }
    for (const unit of ['day', 'month', 'week']) {
      const { rows: plain } = await db.query(
        sql`select date_trunc(${unit}, time at time zone 'Europe/Berlin') at time zone 'Europe/Berlin' as bucket, count(*) as n
          from ${sql.name(at('year'))} group by 1 order by 1`,
      )
      expect(await timeBucketQuery(db, at('year'), { ...options, bucketInterval: `1 ${unit}` })).toEqual(plain)
      if (unit === 'day') {
        expect(plain).toContainEqual({ bucket: new Date('2024-03-30T23:00Z'), n: 23 })
        expect(plain).toContainEqual({ bucket: new Date('2024-10-26T22:00Z'), n: 25 })
      }
    }
  })

  test('origin, offset, and both at once', async () => {
    const begin = async (change: Partial<TimeBucketOptions>): Promise<unknown> =>
      (await timeBucketQuery(db, at('year'), { ...minimal, startTime: '2024-06-15', limit: 1, ...change }))[0]?.bucket
    expect(await begin({ offset: '6 hours' })).toEqual(new Date('2024-06-14T06:00Z'))
    expect(await begin({ origin: '2024-01-01T07:00Z' })).toEqual(new Date('2024-06-14T07:00Z'))
    expect(await begin({ origin: '2024-01-01T07:00Z', offset: '1 hour' })).toEqual(new Date('2024-06-14T08:00Z'))
    expect(await begin({ bucketInterval: '1 week', origin: '2023-12-31' })).toEqual(new Date('2024-06-09T00:00Z'))
    expect(await begin({ timezone: 'Europe/Berlin', offset: '1 hour' })).toEqual(new Date('2024-06-14T23:00Z'))
  })

  test.each(['UTC', 'America/New_York', 'Asia/Kolkata'])(
    'timestamp and date columns mean UTC under %s',
    async (zone) => {
      await db.transaction(async (session) => {
        await session.query(sql`select set_config('timezone', ${zone}, true)`)
        const window = { startTime: new Date('2024-01-01T12:00Z'), endTime: '2024-01-03T12:00:00+00' }
        expect(await timeBucketQuery(session, at('local'), { ...minimal, ...window })).toEqual([
          { bucket: new Date('2024-01-01T00:00Z'), n: 12 },
          { bucket: new Date('2024-01-02T00:00Z'), n: 24 },
          { bucket: new Date('2024-01-03T00:00Z'), n: 12 },
        ])
        // A day is one point in time, its midnight: the first lies before the window, the third in it.
        expect(await timeBucketQuery(session, at('local'), { ...minimal, timeColumn: 'day', ...window })).toEqual([
          { bucket: new Date('2024-01-02T00:00Z'), n: 24 },
          { bucket: new Date('2024-01-03T00:00Z'), n: 24 },
        ])
        expect(await timeBucketQuery(session, at('local'), { ...minimal, startTime: { ago: '1 day' } })).toEqual([])
      })
    },
  )

  test('an integer time column', async () => {
    const day = 86_400
    const start = Date.UTC(2024, 0, 2) / 1000
    const rows = await timeBucketQuery(db, at('local'), {
      ...minimal,
      timeColumn: 'i',
      bucketInterval: day,
      offset: -day / 2,
      startTime: start,
      endTime: BigInt(start + day),
    })
    expect(rows).toEqual([
      { bucket: start - day / 2, n: 12 },
      { bucket: start + day / 2, n: 12 },
    ])
    expectTypeOf(rows).items.toHaveProperty('bucket').toEqualTypeOf<number>()
  })

  test('a column without time buckets is refused, a missing table is the server’s error', async () => {
    const options = { ...minimal, startTime: '2024-01-01' }
    await expect(timeBucketQuery(db, at('local'), { ...options, timeColumn: 'v' })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(timeBucketQuery(db, at('absent'), options)).rejects.toThrow(/does not exist/)
  })

  test('a bucket of the wrong kind for the column is refused with what to write', async () => {
    const number = { ...minimal, bucketInterval: 5 }
    await expect(timeBucketQuery(db, at('year'), number)).rejects.toMatchObject({
      name: 'UsageError',
      code: 'INVALID_OPTION',
      hint: expect.stringContaining("'5 minutes'"),
    })
    const bounded = { ...number, startTime: new Date() }
    await expect(timeBucketQuery(db, at('year'), bounded)).rejects.toMatchObject({
      message: expect.stringContaining('bucketInterval is a number'),
    })
    await expect(timeBucketQuery(db, at('local'), { ...minimal, timeColumn: 'i' })).rejects.toMatchObject({
      name: 'UsageError',
      message: expect.stringContaining('bucketInterval must be a whole number'),
      hint: expect.stringContaining('units'),
    })
  })

  test.each<[TimeInput, TimeInput]>([
    ['2025-02-01', '2025-01-01'],
    ['infinity', '2025-01-01'],
    [{ ago: '1 hour' }, { ago: '2 hours' }],
    ['NOW()', "NOW() - INTERVAL '1 day'"],
  ])('a window from %s to %s is refused before anything is sent', (startTime, endTime) => {
    const window = { startTime, endTime }
    const reversed = expect.objectContaining({ name: 'UsageError', code: 'INVALID_TIME' })
    expect(() => timeBucketSql('t', { ...minimal, ...window })).toThrow(reversed)
    const { aggregations: _, ...series } = minimal
    expect(() => fillGapsSql('t', { ...series, ...window, columns: ['v'] })).toThrow(reversed)
  })

  test('no text option reaches the SQL', async () => {
    const evil = `x'; drop table ${table('year')}; --`
    const attempts: object[] = [
      { timezone: evil },
      { timeColumn: evil },
      { groupBy: evil },
      { where: { [evil]: 1 } },
      { aggregations: { v: evil } },
      { orderBy: evil },
      { startTime: evil },
      { offset: evil },
      { timeType: evil },
    ]
    for (const attempt of attempts) {
      await expect(
        timeBucketQuery(db, at('year'), { ...minimal, ...attempt }),
        JSON.stringify(attempt),
      ).rejects.toThrow()
    }
    const named = await timeBucketQuery(db, at('year'), { ...minimal, aggregations: { [evil.slice(0, 20)]: count() } })
    expect(named).toHaveLength(366)
  })
})
