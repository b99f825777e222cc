/** The embedded scheduler: its cost when idle, what users wait for while jobs run, and half a year of virtual time. */
import { setTimeout as wait } from 'node:timers/promises'
import { type ConnectOptions, connect, count, type Database, sum } from '../src/index.ts'
import { type BenchResult, type Measure, median } from './bench-result.ts'

const JOBS = 500
const DAYS = Number(process.env['TSDB_BENCH_DAYS'] ?? 182)
const ROWS_PER_DAY = 9936
const quiet: ConnectOptions = { durability: 'process', onProgress: () => undefined }

export async function bench(): Promise<BenchResult> {
  const measures: Measure[] = [await idle(), ...(await manyJobs())]
  for (const yieldAfter of [undefined, '100 ms']) measures.push(await behindCompression(yieldAfter))
  measures.push(...(await halfYear()))
  return { measures, samples: {} }
}

/** Share of a core that an open database with a policy takes while nobody uses it. */
async function idle(): Promise<Measure> {
  await using db = await connect('embedded:', quiet)
  await db.sql`create table reading (time timestamptz not null)`
  await db.createHypertable('reading', { timeColumn: 'time' })
  await db.addRetentionPolicy('reading', { dropAfter: '1 day' })
  await wait(3000)
  const before = process.cpuUsage()
  const started = performance.now()
  await wait(10_000)
  const { user, system } = process.cpuUsage(before)
  const share = (user + system) / 1000 / (performance.now() - started)
  return { name: 'idle, of a core', value: share * 100, unit: '%', target: 0.5 }
}

/** 500 jobs that are due at once, and what a user's query waits meanwhile. */
async function manyJobs(): Promise<Measure[]> {
  await using db = await connect('embedded:', quiet)
  await db.sql`create table ran (job int)`
  await db.executeQuery(
    "create procedure short(job_id int, config jsonb) language sql as 'insert into ran values (job_id)'",
  )
  await wait(1000)
  await db.executeQuery(`select add_job('short', '1 hour') from generate_series(1, ${JOBS})`)
  const started = performance.now()
  const waits: number[] = []
  for (;;) {
    const asked = performance.now()
    const [row] = await db.sql<{ n: number }>`select count(*) as n from ran`
    waits.push(performance.now() - asked)
    if (row?.n === JOBS) break
    await wait(1)
  }
  const seconds = (performance.now() - started) / 1000
  waits.sort((a, b) => a - b)
  return [
    { name: `${JOBS} jobs due at once`, value: seconds, unit: 's' },
    { name: 'a query meanwhile, median', value: median(waits), unit: 'ms' },
    { name: 'a query meanwhile, p99', value: waits[Math.floor(waits.length * 0.99)] ?? 0, unit: 'ms', target: 20 },
  ]
}

/** The longest that `select 1` waits while a policy compresses a chunk of a million rows. */
async function behindCompression(yieldAfter: string | undefined): Promise<Measure> {
  await using db = await connect('embedded:', { ...quiet, jobs: yieldAfter === undefined ? true : { yieldAfter } })
  await db.sql`create table reading (time timestamptz not null, sensor int, value float8)`
  await db.createHypertable('reading', { timeColumn: 'time', chunkTimeInterval: '7 days' })
  await db.sql`insert into reading select '2025-01-02'::timestamptz + i * interval '200 ms', i % 100, i from generate_series(1, 1000000) i`
  await wait(2000)
  await db.addCompressionPolicy('reading', { compressAfter: '7 days', segmentBy: 'sensor', orderBy: 'time' })
  const until = performance.now() + 6000
  let longest = 0
  while (performance.now() < until) {
    const asked = performance.now()
    await db.sql`select 1`
    longest = Math.max(longest, performance.now() - asked)
    await wait(5)
  }
  const how = yieldAfter === undefined ? '' : `, yieldAfter ${yieldAfter}`
  return { name: `select 1 behind compression of 1 M rows${how}`, value: longest, unit: 'ms' }
}

/** Retention 30 days, compression 7 days, hourly and daily aggregates, policies every 6 hours; checked against a truth table. */
async function halfYear(): Promise<Measure[]> {
  await using db = await connect('embedded:', { clock: '2025-01-01', onProgress: () => undefined })
  await preparePolicies(db)
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
  const wrong = await db.sql`
    select from truth t left join daily d on d.bucket = t.day and d.sensor = t.sensor
    where t.day < now() - interval '3 days' and (d.total, d.readings) is distinct from (t.total, t.readings)`
  if (wrong.length > 0) throw new Error(`${wrong.length} buckets differ from the truth`)
  return [
    { name: `${DAYS} days with ${DAYS * ROWS_PER_DAY} rows, moving the clock`, value: moving / 1000, unit: 's' },
    { name: `a job run, of ${runs}`, value: moving / runs, unit: 'ms', target: 15 },
  ]
}

async function preparePolicies(db: Database): Promise<void> {
  const initialStart = '2025-01-01T06:00:00Z'
  await db.sql`create table reading (time timestamptz not null, sensor int not null, value float8)`
  await db.sql`create table truth (day timestamptz, sensor int, total float8, readings bigint)`
  await db.createHypertable('reading', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.addRetentionPolicy('reading', { dropAfter: '30 days', scheduleInterval: '1 day', initialStart })
  const compression = { compressAfter: '7 days', segmentBy: 'sensor', orderBy: 'time' } as const
  await db.addCompressionPolicy('reading', { ...compression, scheduleInterval: '1 day', initialStart })
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
  const refresh = { scheduleInterval: '6 hours', initialStart } as const
  await db.addContinuousAggregatePolicy('hourly', { startOffset: '3 days', endOffset: '1 hour', ...refresh })
  await db.addContinuousAggregatePolicy('daily', { startOffset: '4 days', endOffset: '1 day', ...refresh })
}

/** The readings of one day, and beside them what their sums must be. */
async function fillDay(db: Database): Promise<void> {
  await db.sql`
    insert into reading select date_trunc('day', now()) + i * interval '10 minutes', s, s + i % 7
    from generate_series(0, 143) i, generate_series(1, 69) s`
  await db.sql`
    insert into truth select date_trunc('day', now()), s, sum(s + i % 7), count(*)
    from generate_series(0, 143) i, generate_series(1, 69) s group by 2`
}
