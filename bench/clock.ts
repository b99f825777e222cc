/**
 * Half a year of virtual time over 1.8 M rows: retention 30 days, compression 7 days, hourly and daily aggregates, which
 * are compared with a table that no policy touches. Fails where one bucket differs.
 */
import { connect, count, type Database, sum } from '../src/index.ts'
import type { BenchResult, Measure } from './bench-result.ts'

const DAYS = Number(process.env['TSDB_BENCH_DAYS'] ?? 182)
const ROWS_PER_DAY = 9936
const START = '2025-01-01T06:00:00Z'

export async function bench(): Promise<BenchResult> {
  const measures: Measure[] = []
  for (const interval of ['6 hours', '1 hour'] as const) measures.push(...(await halfYear(interval)))
  return { measures, samples: {} }
}

async function halfYear(interval: '6 hours' | '1 hour'): Promise<Measure[]> {
  await using db = await connect('embedded:', { clock: '2025-01-01', onProgress: () => undefined })
  await preparePolicies(db, interval)
  let runs = 0
  let moving = 0
  for (let day = 0; day < DAYS; day++) {
    await fillDay(db)
    const started = performance.now()
    const report = await db.clock.advance('1 day')
    moving += performance.now() - started
    runs += report.runs.length
    const failed = report.runs.find(({ error }) => error !== undefined)
    if (failed !== undefined) throw new Error(`${failed.name}: ${failed.error?.message}`)
  }
  await compare(db)
  return [
    {
      name: `${DAYS} days with ${(DAYS * ROWS_PER_DAY) / 1e6} M rows, hours refreshed every ${interval}: moving the clock`,
      value: moving / 1000,
      unit: 's',
    },
    { name: `a job run, maintenance included, of ${runs}`, value: moving / runs, unit: 'ms', target: 15 },
  ]
}

async function preparePolicies(db: Database, scheduleInterval: string): Promise<void> {
  await db.sql`create table reading (time timestamptz not null, sensor int not null, value float8)`
  await db.sql`create table truth (hour timestamptz, sensor int, total float8, readings bigint)`
  await db.createHypertable('reading', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  const daily = { scheduleInterval: '1 day', initialStart: START } as const
  await db.addRetentionPolicy('reading', { dropAfter: '30 days', ...daily })
  const compression = { compressAfter: '7 days', segmentBy: 'sensor', orderBy: 'time' } as const
  await db.addCompressionPolicy('reading', { ...compression, ...daily })
  await db.createContinuousAggregate('hourly', {
    hypertable: 'reading',
    timeColumn: 'time',
    bucketInterval: '1 hour',
    groupBy: ['sensor'],
    aggregates: { total: sum('value'), readings: count() },
  })
  await db.createContinuousAggregate('daily', {
    hypertable: 'hourly',
    timeColumn: 'bucket',
    bucketInterval: '1 day',
    groupBy: ['sensor'],
    aggregates: { total: sum('total'), readings: sum('readings') },
  })
  // One transaction for all buckets of a run; the server's default is one for each.
  const refresh = { initialStart: START, bucketsPerBatch: 0 } as const
  const ofHours = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval } as const
  const ofDays = { startOffset: '4 days', endOffset: '1 day', scheduleInterval: '6 hours' } as const
  await db.addContinuousAggregatePolicy('hourly', { ...ofHours, ...refresh })
  await db.addContinuousAggregatePolicy('daily', { ...ofDays, ...refresh })
}

/** The readings of one day, and beside them what their sums must be. */
async function fillDay(db: Database): Promise<void> {
  await db.sql`
    insert into reading select date_trunc('day', now()) + i * interval '10 minutes', s, s + i % 7
    from generate_series(0, 143) i, generate_series(1, 69) s`
  await db.sql`
    insert into truth select date_trunc('day', now()) + i / 6 * interval '1 hour', s, sum(s + i % 7), count(*)
    from generate_series(0, 143) i, generate_series(1, 69) s group by 1, 2`
}

/** The whole length, also what retention has dropped from the readings long ago. */
async function compare(db: Database): Promise<void> {
  const [found] = await db.sql<{ hours: number; days: number; wrong: number }>`
    with hours as (select * from truth where hour < now() - interval '2 hours'),
    days as (
      select date_trunc('day', hour) as day, sensor, sum(total) as total, sum(readings) as readings
      from truth where hour < date_trunc('day', now()) - interval '1 day' group by 1, 2
    )
    select (select count(*) from hours) as hours, (select count(*) from days) as days,
      (select count(*) from hours t full join (select * from hourly where bucket < now() - interval '2 hours') a
         on a.bucket = t.hour and a.sensor = t.sensor
         where (a.total, a.readings) is distinct from (t.total, t.readings))
      + (select count(*) from days t full join
           (select * from daily where bucket < date_trunc('day', now()) - interval '1 day') a
         on a.bucket = t.day and a.sensor = t.sensor
         where (a.total, a.readings) is distinct from (t.total, t.readings)) as wrong`
  if (found?.wrong !== 0 || found.hours < (DAYS - 1) * 24 * 69 || found.days < (DAYS - 2) * 69)
    throw new Error(`the aggregates differ from the truth: ${JSON.stringify(found)}`)
}
