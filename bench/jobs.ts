/** The embedded scheduler: its cost when idle, what users wait for while jobs run, and a fresh database for each test. */
import { setTimeout as wait } from 'node:timers/promises'
import { type ConnectOptions, connect } from '../src/index.ts'
import { openTestDatabases } from '../src/testing.ts'
import { type BenchResult, type Measure, median } from './bench-result.ts'

const JOBS = 500
const FRESH = 60
const quiet: ConnectOptions = { durability: 'process', onProgress: () => undefined }

export async function bench(): Promise<BenchResult> {
  const measures: Measure[] = [await idle(), ...(await manyJobs())]
  for (const yieldAfter of [undefined, '100 ms']) measures.push(await behindCompression(yieldAfter))
  measures.push(await freshDatabases())
  return { measures, samples: {} }
}

/** Share of a core that an open database with a policy takes while nobody uses it. */
async function idle(): Promise<Measure> {
  await using db = await connect('embedded:', quiet)
  await db.sql`create table reading (time timestamptz not null)`
  await db.createHypertable('reading', { timeColumn: 'time' })
  await db.addRetentionPolicy('reading', { dropAfter: '1 day' })
  // V8 tidies up a while after the last work, once: 0.1 s of a process that is to be idle for days.
  await wait(15_000)
  const before = process.cpuUsage()
  const started = performance.now()
  await wait(30_000)
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
  const [chunk] = await db.getChunkInfo('reading')
  if (yieldAfter === undefined && chunk?.isCompressed !== true) throw new Error('the policy did not run')
  const name = 'select 1 behind compression of 1 M rows'
  if (yieldAfter === undefined) return { name, value: longest, unit: 'ms' }
  return { name: `${name}, yieldAfter ${yieldAfter}`, value: longest, unit: 'ms', target: 200 }
}

/** From the end of one test, which left a hypertable with rows and a policy, to the database of the next. */
async function freshDatabases(): Promise<Measure> {
  await using databases = openTestDatabases({ clock: '2025-01-01' })
  const times: number[] = []
  for (let index = 0; index <= FRESH; index++) {
    const started = performance.now()
    const db = await databases.fresh()
    if (index > 0) times.push(performance.now() - started)
    await db.sql`create table reading (time timestamptz not null, value float8)`
    await db.createHypertable('reading', { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await db.sql`insert into reading select now() - i * interval '1 minute', i from generate_series(0, 9999) i`
    await db.addRetentionPolicy('reading', { dropAfter: '3 days' })
    await db.clock.advance('1 day')
  }
  return { name: `a fresh database for a test, median of ${FRESH}`, value: median(times), unit: 'ms', target: 60 }
}
