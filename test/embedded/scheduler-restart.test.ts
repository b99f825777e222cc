import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type ConnectOptions, connect, type JobEvent } from '../../src/index.ts'
import { shortLife } from '../setup/short-life.ts'
import { runsAfter, runsOf } from './job-runs.ts'

const MODULE = new URL('../../dist/index.js', import.meta.url).href
const quiet: ConnectOptions = { durability: 'process', onProgress: () => undefined }

let place: string
beforeAll(() => {
  place = mkdtempSync(join(tmpdir(), 'tsdb-scheduler-'))
})
afterAll(() => rmSync(place, { recursive: true, force: true }))

const program = (directory: string, body: string): string =>
  `import { connect } from ${JSON.stringify(MODULE)}; import { setTimeout as wait } from 'node:timers/promises'
   const db = await connect('embedded:' + ${JSON.stringify(directory)}, { durability: 'process' }); ${body}`

const setUp = `await db.sql\`create table ran (i int)\`
  await db.executeQuery("create procedure slow(job_id int, config jsonb) language plpgsql as 'begin insert into ran values (1); commit; perform pg_sleep(60); end'")
  await db.executeQuery("create procedure quick(job_id int, config jsonb) language sql as 'insert into ran values (2)'")
  console.log((await db.addJob('slow', { scheduleInterval: '1 hour' })).jobId);`

test('a kill in the middle of a job leaves a crash, and the job is due again', async () => {
  const directory = join(place, 'killed')
  const child = spawn(
    process.execPath,
    [...shortLife, '--input-type=module', '-e', program(directory, `${setUp} setInterval(() => 0, 1000)`)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const [text] = await once(child.stdout, 'data')
  const jobId = Number(String(text))
  await wait(2000)
  child.kill('SIGKILL')
  await once(child, 'exit')
  await using db = await connect(`embedded:${directory}`, { ...quiet, jobs: false })
  expect(await db.sql`select i from ran`).toEqual([{ i: 1 }])
  // Nobody runs jobs here, and nobody can be in the middle of one.
  const crash = { outcome: 'crash', finishedAt: undefined, error: { message: 'job crash detected, see server logs' } }
  expect((await db.jobHistory({ jobId })).runs).toMatchObject([crash])
  expect(await db.jobErrors({ jobId })).toMatchObject([crash])
  const job = await db.getJob(jobId)
  expect(job).toMatchObject({ status: 'scheduled', totalRuns: 1, totalSuccesses: 0, lastOutcome: undefined })
  expect(Number(job.nextStart)).toBeGreaterThan(Number(job.lastStart))
  const failing = { kind: 'failing', jobId, message: expect.stringContaining('crashed'), since: job.lastStart }
  expect(await db.listJobProblems()).toMatchObject([failing])
  const told: JobEvent[] = []
  const watch = db.watchJobs({ onProblem: (event) => void told.push(event), intervalMs: 60_000 })
  await expect.poll(() => told, { timeout: 10_000 }).toMatchObject([{ type: 'opened', problem: failing }])
  await watch.stop()
  const metrics = (await db.jobMetrics()).flatMap(({ name, samples }) =>
    samples.flatMap(({ labels, value }) => (labels['job_id'] === String(jobId) ? [[name, value]] : [])),
  )
  expect(metrics).toEqual(
    expect.arrayContaining([
      ['tsdb_job_running', 0],
      ['tsdb_job_runs_total', 1],
      ['tsdb_job_successes_total', 0],
      ['tsdb_job_problem', 1],
    ]),
  )
  await db.close()
  await using again = await connect(`embedded:${directory}`, quiet)
  await again.executeQuery("create or replace procedure slow(job_id int, config jsonb) language sql as 'select 1'")
  await expect.poll(() => runsOf(again, jobId), { timeout: 10_000 }).toHaveLength(2)
  expect(await runsOf(again, jobId)).toMatchObject([
    { outcome: 'success' },
    { outcome: 'crash', error: { message: 'job crash detected, see server logs' } },
  ])
  const { rows } = await again.executeQuery(
    'select total_runs, total_successes, total_crashes, consecutive_crashes from _timescaledb_internal.bgw_job_stat where job_id = $1',
    [jobId],
  )
  expect(rows).toEqual([{ total_runs: 2, total_successes: 1, total_crashes: 1, consecutive_crashes: 0 }])
})

// The job sleeps for a minute, longer than the time-outs here.
test('an endless job keeps no process alive, and close() does not wait for it', { timeout: 90_000 }, () => {
  const directory = join(place, 'endless')
  const output = execFileSync(
    process.execPath,
    [...shortLife, '--input-type=module', '-e', program(directory, `${setUp} await wait(1200)`)],
    {
      encoding: 'utf8',
      timeout: 40_000,
    },
  )
  expect(Number(output)).toBeGreaterThanOrEqual(1000)
  const closed = execFileSync(
    process.execPath,
    [
      ...shortLife,
      '--input-type=module',
      '-e',
      program(directory, `await wait(800); await db.close(); console.log('closed')`),
    ],
    { encoding: 'utf8', timeout: 40_000 },
  )
  expect(closed).toBe('closed\n')
})

test('a run that close() ended did not count; what became due while nothing was open runs at the next open', async () => {
  const directory = join(place, 'endless')
  await using db = await connect(`embedded:${directory}`, { ...quiet, jobs: false })
  const [job] = await db.listJobs({ kind: 'action' })
  if (job?.jobId === undefined) throw new Error('no job')
  // The process that ended by itself left a crash, the one that closed left nothing.
  expect(job.totalRuns).toBe(1)
  await db.alterJob(job.jobId, { scheduled: false })
  const quick = await db.addJob('quick', { scheduleInterval: '1 s', initialStart: { ago: '10 minutes' } })
  await db.alterJob(quick.jobId, { scheduleInterval: '1 hour' })
  await db.close()
  await using again = await connect(`embedded:${directory}`, quiet)
  const [run] = await runsAfter(again, quick.jobId, 1)
  expect(run).toMatchObject({ outcome: 'success' })
  // Once, not once for each hour or second that was missed.
  await wait(700)
  expect(await runsOf(again, quick.jobId)).toHaveLength(1)
})

test('a kill at any point loses no job and counts no run that was not', { timeout: 90_000 }, async () => {
  const directory = join(place, 'any point')
  const many = `await db.sql\`create table if not exists ran (job int)\`
    await db.executeQuery("create or replace procedure short(job_id int, config jsonb) language sql as 'insert into ran values (job_id)'")
    if ((await db.listJobs({ kind: 'action' })).length === 0)
      await db.executeQuery("select add_job('short', '20 ms', fixed_schedule => false) from generate_series(1, 5)")
    while ((await db.sql\`select from ran\`).length === 0) await wait(20)
    console.log('up'); setInterval(() => 0, 1000)`
  for (let round = 0; round < 2; round++) {
    const child = spawn(process.execPath, [...shortLife, '--input-type=module', '-e', program(directory, many)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    await wait(300 + Math.random() * 500)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await using db = await connect(`embedded:${directory}`, { ...quiet, jobs: false })
    const { rows } = await db.executeQuery<Record<'runs' | 'successes' | 'crashes' | 'ran' | 'noted' | 'open', number>>(
      `select total_runs as runs, total_successes as successes, total_crashes as crashes,
         (select count(*) from ran where job = s.job_id) as ran,
         count(*) filter (where h.succeeded) as noted, count(*) filter (where h.succeeded is null) as open
       from _timescaledb_internal.bgw_job_stat s join _timescaledb_internal.bgw_job_stat_history h using (job_id)
       where job_id in (select job_id from timescaledb_information.jobs where proc_name = 'short')
       group by job_id, total_runs, total_successes, total_crashes`,
    )
    expect(rows).not.toEqual([])
    for (const { runs, successes, crashes, ran, noted, open } of rows) {
      expect([runs, noted, open]).toEqual([successes + crashes, successes, crashes])
      // What a kill cut off between its commit and the note of its end counts as a crash.
      expect(ran).toBeGreaterThanOrEqual(successes)
      expect(ran).toBeLessThanOrEqual(runs)
    }
  }
})
