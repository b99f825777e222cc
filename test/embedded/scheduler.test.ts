import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ConnectOptions, connect, type Database } from '../../src/index.ts'
import { connectLent } from '../setup/database.ts'
import { runsAfter, runsOf } from './job-runs.ts'

const quiet: ConnectOptions = { durability: 'process', onProgress: () => undefined }

/** A procedure of this body, in a schema that needs quotes. */
async function procedure(db: Database, name: string, body: string): Promise<{ schema: string; name: string }> {
  await db.executeQuery('create schema if not exists "Test 1.a"')
  await db.executeQuery(
    `create procedure "Test 1.a"."${name.replaceAll('"', '""')}"(job_id int, config jsonb) language plpgsql as $body$ ${body} $body$`,
  )
  return { schema: 'Test 1.a', name }
}

describe('in one database', () => {
  let db: Database
  beforeAll(async () => {
    db = await connectLent()
    await db.executeQuery('create table ran (job int, at timestamptz default clock_timestamp(), who text)')
    await db.executeQuery('grant insert on ran to public')
  })
  afterAll(async () => {
    await db.close()
  })

  test('a job added by plain SQL runs within a second, and the views of the extension show it', async () => {
    await procedure(db, 'Note "it"', 'begin insert into public.ran(job) values (job_id); commit; end')
    const { rows: added } = await db.executeQuery<{ id: number }>(
      `select add_job('"Test 1.a"."Note ""it"""', '1 hour', config => '{"a": [1, "é"]}') as id`,
    )
    const jobId = added[0]?.id ?? 0
    const [run] = await runsAfter(db, jobId, 1)
    expect(Number(run?.startedAt) - Number((await db.getJob(jobId)).initialStart)).toBeLessThan(1000)
    const { rows } = await db.executeQuery(
      `select s.job_id, last_run_status, job_status, total_runs, total_successes, total_failures,
         last_run_started_at = h.start_time as same_start, last_successful_finish = h.finish_time as same_finish,
         s.next_start = j.initial_start + interval '1 hour' as next, h.succeeded, h.pid, h.config
       from timescaledb_information.job_stats s join timescaledb_information.jobs j using (job_id)
       join timescaledb_information.job_history h using (job_id) where job_id = $1`,
      [jobId],
    )
    expect(rows).toEqual([
      {
        job_id: jobId,
        last_run_status: 'Success',
        job_status: 'Scheduled',
        total_runs: 1,
        total_successes: 1,
        total_failures: 0,
        same_start: true,
        same_finish: true,
        next: true,
        succeeded: true,
        pid: process.pid,
        config: { a: [1, 'é'] },
      },
    ])
    expect(await db.jobErrors({ jobId })).toEqual([])
    expect((await db.capabilities()).backgroundJobs).toBe(true)
    expect((await db.jobHistory()).complete).toBe(true)
    // The next start is an hour away, until plain SQL moves it; what the scheduler keeps prepared, a client may take.
    await db.executeQuery('deallocate "tsdbkit begin"')
    const moved = await db.executeQuery<{ at: Date }>('select now() as at, alter_job($1, next_start => now())', [jobId])
    const [again] = await runsAfter(db, jobId, 2)
    expect(again).toMatchObject({ outcome: 'success' })
    expect(Number(again?.startedAt) - Number(moved.rows[0]?.at)).toBeLessThan(1000)
    await db.deleteJob(jobId)
  })

  test('a failure keeps SQLSTATE, detail and context, and is tried again after the retry period', async () => {
    const name = await procedure(
      db,
      'fails',
      "begin insert into public.ran(job) values (job_id); commit; raise 'no: %', config using errcode = 'TK123', detail = 'a ''Detail''', hint = 'a Hint'; end",
    )
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour', config: { q: "it's" } })
    const [run] = await runsAfter(db, jobId, 1)
    expect(run).toMatchObject({
      outcome: 'failure',
      procedure: name,
      config: { q: "it's" },
      error: {
        sqlState: 'TK123',
        message: 'no: {"q": "it\'s"}',
        detail: "a 'Detail'",
        hint: 'a Hint',
        context: expect.stringContaining('RAISE'),
      },
    })
    expect(await db.jobErrors({ jobId })).toEqual([run])
    expect((await db.executeQuery('select from ran where job = $1', [jobId])).rowCount).toBe(1)
    const job = await db.getJob(jobId)
    expect(job).toMatchObject({ lastOutcome: 'failure', totalRuns: 1, totalSuccesses: 0, totalFailures: 1 })
    const retry = Number(job.nextStart) - Number(run?.startedAt)
    expect(retry).toBeGreaterThan(299_000)
    expect(retry).toBeLessThan(302_000)
    const { rows } = await db.executeQuery(
      `select data from _timescaledb_internal.bgw_job_stat_history where job_id = $1`,
      [jobId],
    )
    expect(rows).toMatchObject([
      {
        data: {
          job: { owner: 'postgres', proc_name: 'fails', max_retries: -1, schedule_interval: '01:00:00' },
          error_data: { sqlerrcode: 'TK123', proc_schema: 'Test 1.a', proc_name: 'fails', lineno: expect.any(Number) },
        },
      },
    ])
    await db.deleteJob(jobId)
  })

  test('no job runs while a transaction is open', async () => {
    const name = await procedure(db, 'waits for commit', 'begin insert into public.ran(job) values (job_id); end')
    let jobId = 0
    await db.transaction(async (tx) => {
      jobId = (await tx.addJob(name, { scheduleInterval: '1 hour' })).jobId
      await wait(1200)
      expect(await tx.sql`select from ran where job = ${jobId}`).toEqual([])
    })
    expect(await runsAfter(db, jobId, 1)).toMatchObject([{ outcome: 'success' }])
    await db.deleteJob(jobId)
  })

  test('a job starts with the settings of a new connection and leaves none behind', async () => {
    const name = await procedure(
      db,
      'changes settings',
      `begin
        insert into public.ran(job, who) values (job_id, concat_ws('|', current_setting('search_path'),
          coalesce(current_setting('own.setting', true), ''), current_setting('TimeZone'), current_user));
        perform set_config('search_path', 'nowhere', false), set_config('own.setting', 'x', false),
          set_config('timezone', 'Asia/Tokyo', false), set_config('role', 'nobody_special', false),
          set_config('default_transaction_read_only', 'on', false);
      end`,
    )
    await db.executeQuery('create role nobody_special')
    const { jobId } = await db.addJob(name, { scheduleInterval: '0.01 s', fixedSchedule: false })
    const runs = await runsAfter(db, jobId, 3)
    expect(new Set(runs.map(({ outcome }) => outcome))).toEqual(new Set(['success']))
    const text = `select current_setting('search_path') as path, current_setting('own.setting', true) as own,
      current_setting('TimeZone') as zone, current_setting('default_transaction_read_only') as readonly, current_user::text as who`
    expect((await db.executeQuery(text)).rows).toEqual([
      { path: '"$user", public', own: '', zone: 'UTC', readonly: 'off', who: 'postgres' },
    ])
    const { rows } = await db.executeQuery('select distinct who from ran where job = $1', [jobId])
    expect(rows).toEqual([{ who: '"$user", public||UTC|postgres' }])
    await db.deleteJob(jobId)
  })

  test('a job runs as its owner', async () => {
    const name = await procedure(
      db,
      'as owner',
      "begin insert into public.ran(job, who) values (job_id, current_user || '/' || session_user); end",
    )
    await db.executeQuery('create role "O\'Hara \\1"')
    await db.executeQuery('grant usage on schema "Test 1.a" to public')
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour', scheduled: false })
    await db.executeQuery('update _timescaledb_config.bgw_job set owner = $1::regrole where id = $2', [
      '"O\'Hara \\1"',
      jobId,
    ])
    await db.enableJob(jobId)
    expect(await runsAfter(db, jobId, 1)).toMatchObject([{ outcome: 'success' }])
    const { rows } = await db.executeQuery('select who from ran where job = $1', [jobId])
    expect(rows).toEqual([{ who: "O'Hara \\1/O'Hara \\1" }])
    expect(await db.sql`select current_user::text as who`).toEqual([{ who: 'postgres' }])
    await db.deleteJob(jobId)
  })

  test('a job that runs too long is ended and counts as a failure, also where it swallows all errors', async () => {
    const name = await procedure(
      db,
      'endless',
      'begin insert into public.ran(job) values (job_id); commit; loop begin perform pg_sleep(1); exception when others then null; end; end loop; end',
    )
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour', scheduled: false })
    await db.alterJob(jobId, { maxRuntime: '300 ms', scheduled: true })
    const [run] = await runsAfter(db, jobId, 1)
    expect(run).toMatchObject({ outcome: 'failure', error: { sqlState: '57014' } })
    expect(run?.error?.message).toContain('max_runtime of 00:00:00.3')
    expect(run?.durationMs).toBeGreaterThanOrEqual(290)
    expect(run?.durationMs).toBeLessThan(2000)
    await db.deleteJob(jobId)
  })

  test('after its last retry a job is paused', async () => {
    const name = await procedure(db, 'fails always', "begin raise 'never'; end")
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour', scheduled: false })
    await db.alterJob(jobId, { maxRetries: 2, retryPeriod: '50 ms', scheduled: true })
    await expect.poll(async () => (await db.getJob(jobId)).status, { timeout: 10_000 }).toBe('paused')
    expect(await db.getJob(jobId)).toMatchObject({ totalRuns: 2, totalFailures: 2 })
    await db.deleteJob(jobId)
  })

  test('a job may delete or alter itself', async () => {
    const deletes = await procedure(
      db,
      'deletes itself',
      'begin insert into public.ran(job) values (job_id); perform public.delete_job(job_id); end',
    )
    const alters = await procedure(
      db,
      'alters itself',
      "begin perform public.alter_job(job_id, next_start => '2100-01-01'); end",
    )
    const gone = await db.addJob(deletes, { scheduleInterval: '0.01 s' })
    const later = await db.addJob(alters, { scheduleInterval: '0.01 s' })
    await runsAfter(db, later.jobId, 1)
    expect((await db.getJob(later.jobId)).nextStart).toEqual(new Date('2100-01-01'))
    expect((await db.executeQuery('select from ran where job = $1', [gone.jobId])).rowCount).toBe(1)
    expect((await db.listJobs()).map(({ jobId }) => jobId)).not.toContain(gone.jobId)
    await db.deleteJob(later.jobId)
  })

  test('the job tells whoever listens', async () => {
    const name = await procedure(db, 'tells', "begin perform pg_notify('from_job', 'hello'); end")
    const client = await db.pool.connect()
    await client.query('listen from_job')
    const heard = once(client, 'notification')
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour' })
    expect(await heard).toMatchObject([{ channel: 'from_job', payload: 'hello' }])
    client.release(true)
    await db.deleteJob(jobId)
  })

  test('maintenance is listed beside the jobs, and is in no catalog', async () => {
    const maintenance = await db.listJobs({ kind: 'maintenance' })
    expect(maintenance.map(({ name }) => name)).toEqual(['checkpoint', 'analyze', 'vacuum'])
    await db.executeQuery('create table grown as select i from generate_series(1, 20000) i')
    await db.executeQuery('insert into grown select i from generate_series(1, 20000) i')
    await expect
      .poll(async () => (await db.listJobs({ kind: 'maintenance' }))[1], { timeout: 10_000 })
      .toMatchObject({ name: 'analyze', totalFailures: 0, lastStart: expect.any(Date) })
    expect((await db.listJobs()).at(-1)?.kind).toBe('maintenance')
    expect(await db.listJobs({ scheduled: false })).toEqual([])
  })
})

describe('with other settings', () => {
  test('jobs: false runs none', async () => {
    await using db = await connect('embedded:', { ...quiet, jobs: false })
    const name = await procedure(db, 'never', 'begin null; end')
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 s' })
    await wait(1500)
    expect(await runsOf(db, jobId)).toEqual([])
    expect((await db.getJob(jobId)).totalRuns).toBe(0)
    expect((await db.capabilities()).backgroundJobs).toBe(false)
    expect((await db.jobHistory()).complete).toBe(false)
    expect(await db.runJob(jobId)).toMatchObject({ outcome: 'success' })
  })

  test('a job makes room for a statement that waits too long, and is not counted', async () => {
    await using db = await connectLent({ jobs: { yieldAfter: '100 ms' } })
    await db.executeQuery('create table step (i int)')
    // It waits for a minute where it runs for the first time.
    const name = await procedure(
      db,
      'long',
      `begin if exists (select from public.step) then return; end if;
        insert into public.step values (1); commit; perform pg_sleep(60); end`,
    )
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour' })
    const before = await db.getJob(jobId)
    // Seldom enough for the job to have begun.
    const steps = async (): Promise<number> => (await db.sql`select from step`).length
    await expect.poll(steps, { timeout: 20_000, interval: 1500 }).toBe(1)
    // The poll above waited for the job, and ended it: what it had committed is kept.
    expect(await db.getJob(jobId)).toEqual(before)
    expect((await db.jobHistory({ jobId })).runs).toEqual([])
    // It is queued again, and counts when it comes to its end.
    expect(await runsAfter(db, jobId, 1)).toMatchObject([{ outcome: 'success' }])
    expect(await db.getJob(jobId)).toMatchObject({ totalRuns: 1, totalSuccesses: 1, totalFailures: 0 })
  })

  test('a job that crashes the engine is a crash, and runs again', async () => {
    await using db = await connect('embedded:', quiet)
    const name = await procedure(
      db,
      'recurses',
      `begin insert into public.tried values (job_id); commit;
        if (select count(*) from public.tried) = 1 then perform public.endless(); end if; end`,
    )
    await db.executeQuery('create table tried (i int)')
    await db.executeQuery(
      "create function endless() returns int language plpgsql as 'begin return public.endless(); end'",
    )
    const { jobId } = await db.addJob(name, { scheduleInterval: '1 hour' })
    const outcomes = async (): Promise<unknown> =>
      (await db.jobHistory({ jobId }).catch(() => ({ runs: [] }))).runs.map(({ outcome }) => outcome)
    await expect.poll(outcomes, { timeout: 15_000 }).toEqual(['success', 'crash'])
    const runs = await runsOf(db, jobId)
    expect(runs.at(-1)).toMatchObject({ outcome: 'crash', error: { message: 'job crash detected, see server logs' } })
  })
})
