import { afterEach, beforeEach, expect, test } from 'vitest'
import { EngineClock } from '../../src/embedded/clock.ts'
import { type ClockRun, connect, type Database } from '../../src/index.ts'
import { connectLent } from '../setup/database.ts'

let db: Database
beforeEach(async () => {
  db = await connectLent({ clock: '2025-01-31T00:00:00Z' })
  await db.executeQuery('create schema "Test 1.a"')
  await db.executeQuery('create table "Test 1.a"."Ran" (job int, at timestamptz default now())')
  await db.executeQuery(
    `create procedure "Test 1.a"."It's"(job_id int, config jsonb) language sql as 'insert into "Test 1.a"."Ran" values (job_id)'`,
  )
  await db.executeQuery(
    `create procedure "Test 1.a".fails(job_id int, config jsonb) language plpgsql as $$ begin raise 'no' using errcode = 'TK123'; end $$`,
  )
  await db.disableJob(3)
})
afterEach(async () => {
  await db.close()
})

const procedure = { schema: 'Test 1.a', name: "It's" }
const failing = { schema: 'Test 1.a', name: 'fails' }
const times = (runs: readonly ClockRun[]): string[] => runs.map(({ at }) => at.toISOString().replace('.000Z', 'Z'))

test('the time of the database is moved, goes on, and never back', async () => {
  const seen = async (): Promise<number[]> => {
    const { rows } = await db.executeQuery<Record<string, Date>>(
      "select now() as a, clock_timestamp() as b, current_timestamp as c, 'now'::text::timestamptz as d",
    )
    return Object.values(rows[0] ?? {}).map(Number)
  }
  const begin = Date.parse('2025-01-31T00:00:00Z')
  for (const time of await seen()) {
    expect(time).toBeGreaterThanOrEqual(begin)
    expect(time).toBeLessThan(begin + 30_000)
  }
  const report = await db.clock.advance('1 month')
  expect(report).toMatchObject({ until: new Date('2025-02-28T00:00:00Z'), runs: [] })
  for (const time of await seen()) {
    expect(time).toBeGreaterThanOrEqual(Number(report.until))
    expect(time).toBeLessThan(Number(report.until) + 30_000)
  }
  await db.executeQuery('select pg_sleep(0.2)')
  expect(Number(db.clock.now())).toBeGreaterThanOrEqual(Number(report.until) + 200)
  expect((await db.clock.runUntil('2075-01-01')).until).toEqual(new Date('2075-01-01'))
  const backwards = { name: 'UsageError', code: 'INVALID_TIME' }
  await expect(db.clock.runUntil('2074-12-31T23:59:59Z')).rejects.toMatchObject(backwards)
  await expect(db.clock.advance('-1 s')).rejects.toMatchObject(backwards)
  await expect(db.clock.runUntil(JSON.parse('{"ago":"1 day"}'))).rejects.toMatchObject(backwards)
  await expect(db.clock.advance('soon')).rejects.toMatchObject({ code: 'INVALID_INTERVAL' })
  await db.transaction(async (tx) => {
    await tx.sql`select 1`
    await expect(db.clock.advance('1 day')).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })
})

test('a clock never shows a time before the one that was set', () => {
  const clock = new EngineClock(new Date('2025-01-01'))
  for (let time = clock.started; time < clock.started + 500n; time++) {
    clock.set(time)
    expect(clock.now()).toBeGreaterThanOrEqual(time)
  }
})

test('jobs run in their order, each at its own time, and at no other', async () => {
  const initialStart = '2025-02-01T00:00:00Z'
  const hourly = await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart, fixedSchedule: false })
  const daily = await db.addJob(procedure, { scheduleInterval: '2 hours', initialStart })
  const { runs } = await db.clock.runUntil('2025-02-01T02:00:00Z')
  expect(runs.map(({ jobId }) => jobId)).toEqual([hourly.jobId, daily.jobId, hourly.jobId, hourly.jobId, daily.jobId])
  expect(times(runs)).toEqual([
    '2025-02-01T00:00:00Z',
    '2025-02-01T00:00:00Z',
    '2025-02-01T01:00:00Z',
    '2025-02-01T02:00:00Z',
    '2025-02-01T02:00:00Z',
  ])
  const { rows } = await db.executeQuery<{ late: number }>(
    `select extract(epoch from at - date_trunc('hour', at))::float8 as late from "Test 1.a"."Ran"`,
  )
  expect(rows).toHaveLength(5)
  expect(Math.max(...rows.map(({ late }) => late))).toBeLessThan(10)
  expect((await db.clock.advance('30 min')).runs).toEqual([])
  expect((await db.jobHistory()).runs.map(({ startedAt }) => startedAt)).toEqual(runs.map(({ at }) => at).reverse())
  expect(await db.getJob(hourly.jobId)).toMatchObject({
    totalSuccesses: 3,
    nextStart: new Date('2025-02-01T03:00:00Z'),
  })
})

test('a fixed schedule keeps the day of the month and the hour of its time zone', async () => {
  await db.addJob(procedure, { scheduleInterval: '1 month', initialStart: '2025-01-31T12:00:00Z' })
  expect(times((await db.clock.runUntil('2025-06-30T12:00:00Z')).runs)).toEqual([
    '2025-01-31T12:00:00Z',
    '2025-02-28T12:00:00Z',
    '2025-03-31T12:00:00Z',
    '2025-04-30T12:00:00Z',
    '2025-05-31T12:00:00Z',
    '2025-06-30T12:00:00Z',
  ])
  await db.deleteJob((await db.listJobs({ kind: 'action' }))[0]?.jobId ?? 0)
  await db.clock.runUntil('2025-10-24')
  // Summer time ends on the 26th of October and begins on the 29th of March, when there is no half past two: PostgreSQL
  // reads it as half past one.
  const timezone = 'Europe/Berlin'
  await db.addJob(procedure, { scheduleInterval: '1 day', initialStart: '2025-10-24T00:30:00Z', timezone })
  expect(times((await db.clock.runUntil('2025-10-28')).runs)).toEqual([
    '2025-10-24T00:30:00Z',
    '2025-10-25T00:30:00Z',
    '2025-10-26T01:30:00Z',
    '2025-10-27T01:30:00Z',
  ])
  await db.alterJob((await db.listJobs({ kind: 'action' }))[0]?.jobId ?? 0, { nextStart: '2026-03-28T01:30:00Z' })
  expect(times((await db.clock.runUntil('2026-03-31')).runs)).toEqual([
    '2026-03-28T01:30:00Z',
    '2026-03-29T00:30:00Z',
    '2026-03-30T00:30:00Z',
  ])
})

test('after failures a job waits longer each time, never beyond its slot or five intervals', async () => {
  const initialStart = '2025-02-01T00:00:00Z'
  const free = await db.addJob(failing, { scheduleInterval: '10 min', initialStart, fixedSchedule: false })
  const { runs } = await db.clock.runUntil('2025-02-01T03:00:00Z')
  const minutes = runs.map(({ at }) => Math.floor((Number(at) - Date.parse(initialStart)) / 60_000))
  // 5, 10, 20 and 40 minutes, then no more than five times ten; what a run really takes may add a little.
  expect(minutes).toEqual([0, 5, 15, 35, 75, 125, 175])
  expect(runs[0]).toMatchObject({ outcome: 'failure', error: { sqlState: 'TK123', message: 'no' } })
  await db.deleteJob(free.jobId)
  const fixed = await db.addJob(failing, { scheduleInterval: '30 min', initialStart: '2025-02-01T04:00:00Z' })
  await db.alterJob(fixed.jobId, { maxRetries: 5 })
  const slots = (await db.clock.advance('3 hours')).runs
  expect(slots.map(({ at }) => Math.floor((Number(at) - Date.parse('2025-02-01T04:00:00Z')) / 60_000))).toEqual([
    0, 5, 15, 30, 60,
  ])
  expect(await db.getJob(fixed.jobId)).toMatchObject({ status: 'paused', totalFailures: 5 })
})

test('what was missed is made up for once', async () => {
  await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart: '2025-01-01T00:30:00Z' })
  const { runs } = await db.clock.runUntil('2025-01-31T02:00:00Z')
  expect(times(runs.slice(1))).toEqual(['2025-01-31T00:30:00Z', '2025-01-31T01:30:00Z'])
})

test('a move can be stopped', async () => {
  await db.addJob(procedure, { scheduleInterval: '1 min', initialStart: '2025-02-01T00:00:00Z' })
  const report = await db.clock.runUntil('2035-01-01', { signal: AbortSignal.timeout(300) })
  expect(report.runs.length).toBeGreaterThan(0)
  expect(report.until).toEqual(report.runs.at(-1)?.at)
  expect(Number(db.clock.now()) - Number(report.until)).toBeLessThan(60_000)
})

test('old runs are removed as the server would, but crashes and the run that removes them are kept', async () => {
  const initialStart = '2025-02-01T00:10:00Z'
  const good = await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart })
  const bad = await db.addJob(failing, { scheduleInterval: '1 hour', initialStart })
  await db.clock.runUntil('2025-02-02T12:00:00Z')
  const HISTORY = '_timescaledb_internal.bgw_job_stat_history'
  const config = { drop_after: '18 hours', max_successes_per_job: 12, max_failures_per_job: 10 }
  await db.alterJob(3, { config })
  const kept = async (of: string): Promise<unknown[]> =>
    (await db.executeQuery(`select id from ${HISTORY} where ${of} order by id`)).rows
  let expected: unknown[] = []
  const stop = new Error('stop')
  const server = db.transaction(async (tx) => {
    await tx.executeQuery('select _timescaledb_functions.policy_job_stat_history_retention(3, $1::jsonb)', [
      JSON.stringify(config),
    ])
    expected = (await tx.executeQuery(`select id from ${HISTORY} order by id`)).rows
    throw stop
  })
  await expect(server).rejects.toBe(stop)
  // Only now: its search is led astray by entries without an end.
  await db.executeQuery(
    `insert into ${HISTORY} (job_id, pid, execution_start, data)
     select ${good.jobId}, null, now() - i * interval '20 hours', jsonb_build_object('job', repeat('x', 300))
     from generate_series(1, 500) i`,
  )
  const ended = 'succeeded is not null and job_id <> 3'
  expect(expected.length).toBeLessThan((await kept(ended)).length)
  for (const { jobId } of [good, bad]) await db.disableJob(jobId)
  await db.alterJob(3, { scheduled: true, nextStart: '2025-02-02T12:10:00Z' })
  const { runs } = await db.clock.runUntil('2025-02-02T12:20:00Z')
  expect(runs).toMatchObject([{ jobId: 3, outcome: 'success' }])
  expect(await kept(ended)).toEqual(expected)
  expect(await kept('succeeded is null')).toEqual([])
  expect((await db.jobHistory({ jobId: 3 })).runs).toMatchObject([{ outcome: 'success' }])
  // The table had grown, and what is gone makes room.
  const { rows } = await db.executeQuery(`select reltuples::int as n from pg_class where oid = '${HISTORY}'::regclass`)
  expect(rows).toEqual([{ n: expected.length + 1 }])

  await db.executeQuery(
    `insert into ${HISTORY} (job_id, pid, execution_start, data) values (${good.jobId}, null, now() - interval '1 hour', '{}')`,
  )
  await db.alterJob(3, { nextStart: '2025-02-02T12:30:00Z' })
  await db.clock.runUntil('2025-02-02T12:40:00Z')
  expect((await db.jobHistory({ outcome: 'crash' })).runs).toMatchObject([{ jobId: good.jobId }])
})

test('policies do over time what they are for, and the report says it', async () => {
  const name = { schema: 'Test 1.a', name: 'Sensor "data"' }
  await db.executeQuery(`create table "Test 1.a"."Sensor ""data""" (time timestamptz not null, v float8)`)
  await db.createHypertable(name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.executeQuery(
    `insert into "Test 1.a"."Sensor ""data""" select '2025-01-26'::timestamptz + i * interval '1 hour', i from generate_series(0, 119) i`,
  )
  await db.executeQuery(
    `create materialized view "Test 1.a".hourly with (timescaledb.continuous) as
     select time_bucket('1 hour', time) as bucket, sum(v) as total from "Test 1.a"."Sensor ""data""" group by 1 with no data`,
  )
  const initialStart = '2025-02-01T00:00:00Z'
  const schedule = { scheduleInterval: '1 day', initialStart } as const
  const refresh = { startOffset: null, endOffset: '1 hour', scheduleInterval: '1 day', initialStart } as const
  const refreshed = await db.addContinuousAggregatePolicy({ schema: 'Test 1.a', name: 'hourly' }, refresh)
  const dropped = await db.addRetentionPolicy(name, { dropAfter: '7 days', ...schedule })
  const { runs } = await db.clock.advance('1 day')
  expect(runs).toMatchObject([
    { jobId: refreshed.jobId, outcome: 'success', rowsRefreshed: 120, chunksDropped: 0, error: undefined },
    { jobId: dropped.jobId, outcome: 'success', rowsRefreshed: 0, chunksDropped: 0 },
  ])
  await db.removeContinuousAggregatePolicy({ schema: 'Test 1.a', name: 'hourly' })
  const later = await db.clock.advance('3 days')
  expect(later.runs.map(({ chunksDropped }) => chunksDropped)).toEqual([0, 1, 1])
  await db.removeRetentionPolicy(name)
  const compressed = await db.addCompressionPolicy(name, { compressAfter: '6 days', ...schedule })
  const last = await db.clock.advance('1 day')
  // The first was due on the 1st, and what was missed is made up for once.
  expect(last.runs).toMatchObject([
    { jobId: compressed.jobId, chunksCompressed: 1, chunksDropped: 0 },
    { jobId: compressed.jobId, chunksCompressed: 1, chunksDropped: 0 },
  ])
  expect(await db.sql`select count(*) as n from "Test 1.a"."Sensor ""data"""`).toEqual([{ n: 72 }])
  expect(await db.sql`select count(*) as n from "Test 1.a".hourly`).toEqual([{ n: 120 }])
})

test('a job that ends the engine is an error of the move, and the database goes on', async () => {
  await using db = await connect('embedded:', { clock: '2025-01-01', onProgress: () => undefined })
  await db.executeQuery("create function endless() returns int language plpgsql as 'begin return endless(); end'")
  await db.executeQuery(
    "create procedure crash(job_id int, config jsonb) language plpgsql as 'begin perform endless(); end'",
  )
  const { jobId } = await db.addJob('crash', { scheduleInterval: '1 day', initialStart: '2025-01-02T00:00:00Z' })
  await expect(db.clock.advance('1 day')).rejects.toMatchObject({ name: 'ConnectionError', code: 'ENGINE_TRAPPED' })
  const stats = await db.sql`
    select total_crashes::int as n from _timescaledb_internal.bgw_job_stat where job_id = ${jobId}`
  expect(stats).toEqual([{ n: 1 }])
})

test('a clock that is moved after the close is refused', async () => {
  const db = await connect('embedded:', { clock: '2025-01-01', onProgress: () => undefined })
  const { clock } = db
  await db.close()
  await expect(clock.advance('1 day')).rejects.toMatchObject({ name: 'UsageError', code: 'CLOSED' })
})

test.each(['embedded:./somewhere', 'postgres://localhost/x'])('%s takes no clock', (target) => {
  expect(() => connect(target, { clock: '2025-01-01' })).toThrow(
    expect.objectContaining({ name: 'UsageError', code: 'INVALID_OPTION' }),
  )
})

test('a database without a clock says so', async () => {
  await using other = await connect('embedded:', { onProgress: () => undefined })
  expect(() => other.clock).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
})
