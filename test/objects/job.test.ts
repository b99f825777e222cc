import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getJob, listJobs } from '../../src/catalog/job.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import {
  type AlterJobOptions,
  addJob,
  addJobSql,
  alterJob,
  alterJobSql,
  deleteJob,
  deleteJobSql,
  disableJob,
  enableJob,
} from '../../src/objects/job.ts'
import { runJob, runJobSql } from '../../src/objects/job-run.ts'
import { addRetentionPolicy } from '../../src/objects/retention.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

describe('the statements', () => {
  it.each([...OLD, ...NEW])('are the same on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(
      addJobSql(capabilities, { schema: 'Test 1.a', name: "it's" }, { scheduleInterval: '1 hour' }).statement,
    ).toEqual({
      text: `select * from add_job('"Test 1.a"."it''s"'::regproc, interval '01:00:00')`,
      values: [],
    })
    expect(alterJobSql(capabilities, 1000, { scheduled: false }).text).toBe(
      'select * from alter_job(1000, scheduled => FALSE)',
    )
    // The server would take a policy's configuration without its hypertable, or with another one.
    const policy = {
      jobId: 5,
      kind: 'retention',
      name: 'Retention',
      config: { hypertable_id: 3, drop_after: '1 day' },
    } as const
    const changed = alterJobSql(capabilities, policy, { config: { drop_after: '2 days' } })
    expect(changed.values).toEqual(['{"drop_after":"2 days","hypertable_id":3}'])
    expect(() => alterJobSql(capabilities, policy, { config: { hypertable_id: 4 } })).toThrow('cannot be changed')
    expect(deleteJobSql(capabilities, 1000).text).toBe('select * from delete_job(1000)')
    expect(runJobSql(capabilities, 1000).text).toBe('call run_job(1000)')
  })

  it('write every option', () => {
    const capabilities = capabilitiesOf('2.23.0')
    const added = addJobSql(capabilities, 'p', {
      scheduleInterval: { days: 1 },
      config: { 'a "key"': ["it's"] },
      initialStart: '2027-01-01T00:00:00Z',
      fixedSchedule: true,
      timezone: "Europe/O'Hara",
      checkConfig: 'check_p',
      scheduled: false,
    })
    expect(added.text).toBe(
      `select * from add_job('"p"'::regproc, interval '1 day', config => $1::jsonb, initial_start => $2::timestamptz, scheduled => FALSE, check_config => '"check_p"'::regproc, fixed_schedule => TRUE, timezone => 'Europe/O''Hara')`,
    )
    expect(added.values[0]).toBe('{"a \\"key\\"":["it\'s"]}')
    const altered = alterJobSql(capabilities, 7, {
      scheduleInterval: '2 days',
      maxRuntime: '0 s',
      maxRetries: -1,
      retryPeriod: '1 min',
      scheduled: true,
      config: {},
      nextStart: { ago: '1 hour' },
      fixedSchedule: false,
      initialStart: new Date(0),
      timezone: 'UTC',
    })
    expect(altered.text).toBe(
      `select * from alter_job(7, schedule_interval => interval '2 days', max_runtime => interval '00:00:00', max_retries =>  -1, retry_period => interval '00:01:00', scheduled => TRUE, config => $1::jsonb, next_start => now() - $2::interval, fixed_schedule => FALSE, initial_start => $3::timestamptz, timezone => 'UTC')`,
    )
  })

  it('need the Community edition', () => {
    const apache = capabilitiesOf('2.23.0', 'apache')
    const required = expect.objectContaining({ code: 'EDITION_REQUIRED' })
    expect(() => addJobSql(apache, 'p', { scheduleInterval: '1 day' })).toThrow(required)
    expect(() => alterJobSql(apache, 1, { scheduled: true })).toThrow(required)
    expect(() => deleteJobSql(apache, 1)).toThrow(required)
    expect(() => runJobSql(apache, 1)).toThrow(required)
  })

  it.each<[string, AlterJobOptions]>([
    ['nothing', {}],
    ['an interval of nothing', { scheduleInterval: '0 s' }],
    ['half a retry', { maxRetries: 1.5 }],
    ['a list as configuration', { config: JSON.parse('[1]') }],
    ['a misspelt option', JSON.parse('{"schedule":"1 day"}')],
  ])('refuse %s', (_what, options) => {
    expect(() => alterJobSql(capabilitiesOf('2.23.0'), 1, options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })

  it.each([-1, 1.5, Number.NaN, 2 ** 31])('refuse %s as a job', (id) => {
    expect(() => deleteJobSql(capabilitiesOf('2.23.0'), id)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  const own = (name: string): { schema: string; name: string } => ({ schema: database.schema, name })
  beforeAll(async () => {
    database = await openTestDatabase()
    await database.db.query(sql`create table ${sql.name(own('Ran'))} (job int, config jsonb)`)
    const insert = `insert into "${database.schema}"."Ran" values (job_id, config)`
    await database.db.query(
      sql`create procedure ${sql.name(own('An "action".1'))}(job_id int, config jsonb) language plpgsql as ${sql.literal(
        `begin ${insert}; commit; ${insert}; rollback; end`,
      )}`,
    )
    await database.db.query(
      sql`create procedure ${sql.name(own('fails'))}(job_id int, config jsonb) language plpgsql as ${sql.literal(
        "begin raise exception 'broken: %', config using errcode = 'TK123', detail = 'the Detail', hint = 'the Hint'; end",
      )}`,
    )
    await database.db.query(
      sql`create procedure ${sql.name(own('waits'))}(job_id int, config jsonb) language plpgsql as 'begin perform pg_sleep(20); end'`,
    )
  })
  afterAll(async () => {
    await database.close()
  })

  /** Paused, so that only the test runs it, whatever works in the background. */
  const add = async (name: string): Promise<number> =>
    (await addJob(database.db, own(name), { scheduleInterval: '1 day', scheduled: false, config: { a: 1 } })).jobId

  it('adds, gets, lists and deletes an action', async () => {
    const jobId = await add('An "action".1')
    const job = await getJob(database.db, jobId)
    expect(job).toMatchObject({
      kind: 'action',
      procedure: own('An "action".1'),
      relation: undefined,
      scheduleInterval: '1 day',
      scheduled: false,
      status: 'paused',
      config: { a: 1 },
      totalRuns: 0,
      lastStart: undefined,
      lastOutcome: undefined,
    })
    expect(await listJobs(database.db, { kind: ['action', 'reorder'], scheduled: false })).toContainEqual(job)
    expect((await listJobs(database.db, { kind: 'retention' })).map((one) => one.kind)).not.toContain('action')
    expect(await deleteJob(database.db, jobId)).toEqual({ removed: true })
    expect(await deleteJob(database.db, jobId, { ifExists: true })).toEqual({ removed: false })
    const missing = { code: 'NOT_FOUND', sqlState: '42704' }
    await expect(deleteJob(database.db, jobId)).rejects.toMatchObject(missing)
    await expect(getJob(database.db, jobId)).rejects.toMatchObject(missing)
    await expect(alterJob(database.db, jobId, { scheduled: true })).rejects.toMatchObject(missing)
    await expect(runJob(database.db, jobId)).rejects.toMatchObject(missing)
  })

  it('runs one that commits and rolls back, waits for it, and keeps its schedule', async () => {
    const jobId = await add('An "action".1')
    const before = await getJob(database.db, jobId)
    expect(await runJob(database.db, jobId)).toEqual({
      jobId,
      outcome: 'success',
      durationMs: expect.any(Number),
      error: undefined,
    })
    const { rows } = await database.db.query(sql`select * from ${sql.name(own('Ran'))} where job = ${jobId}`)
    expect(rows).toEqual([{ job: jobId, config: { a: 1 } }])
    expect(await getJob(database.db, jobId)).toEqual(before)
    await deleteJob(database.db, jobId)
  })

  it('gives a failure whole', async () => {
    const jobId = await add('fails')
    expect(await runJob(database.db, jobId)).toMatchObject({
      outcome: 'failure',
      error: {
        sqlState: 'TK123',
        message: 'broken: {"a": 1}',
        detail: 'the Detail',
        hint: 'the Hint',
        context: expect.stringContaining('fails'),
      },
    })
    await deleteJob(database.db, jobId)
  })

  it('ends a run by its signal, and runs none in a transaction', async () => {
    const jobId = await add('waits')
    const started = performance.now()
    await expect(runJob(database.db, jobId, { signal: AbortSignal.timeout(200) })).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    expect(performance.now() - started).toBeLessThan(10_000)
    await database.db.transaction(async (tx) => {
      await expect(runJob(tx, jobId)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    })
    await deleteJob(database.db, jobId)
  })

  it('alters everything, pauses and resumes', async () => {
    const jobId = await add('waits')
    const nextStart = new Date('2100-02-03T04:05:06Z')
    const initialStart = new Date('2100-01-01T00:00:00Z')
    const altered = await alterJob(database.db, jobId, {
      scheduleInterval: '2 days',
      maxRuntime: '1 min',
      maxRetries: 5,
      retryPeriod: '90 s',
      fixedSchedule: true,
      initialStart,
      timezone: 'Europe/Berlin',
      config: { 'Key "1"': ['é', null] },
      nextStart,
    })
    expect(altered).toMatchObject({
      scheduleInterval: '2 days',
      maxRuntime: '00:01:00',
      maxRetries: 5,
      retryPeriod: '00:01:30',
      fixedSchedule: true,
      initialStart,
      timezone: 'Europe/Berlin',
      config: { 'Key "1"': ['é', null] },
      nextStart,
      scheduled: false,
    })
    expect(await enableJob(database.db, jobId)).toMatchObject({ scheduled: true, status: 'scheduled', nextStart })
    expect(await disableJob(database.db, jobId)).toMatchObject({ scheduled: false, status: 'paused' })
    await deleteJob(database.db, jobId)
  })

  it('keeps a policy on its hypertable', async () => {
    const table = own('Sensor "data".1')
    await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null)`)
    await createHypertable(database.db, table, { timeColumn: 'time' })
    const policy = { dropAfter: '100 years', initialStart: '2100-01-01' }
    const { jobId } = await addRetentionPolicy(database.db, table, policy)
    const { config } = await getJob(database.db, jobId)
    const altered = await alterJob(database.db, jobId, { config: { drop_after: '200 years' } })
    expect(altered).toMatchObject({
      kind: 'retention',
      relation: table,
      config: { ...config, drop_after: '200 years' },
    })
    await expect(
      alterJob(database.db, jobId, { config: { drop_after: '1 day', hypertable_id: 999_999 } }),
    ).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    expect(await listJobs(database.db, { relation: table })).toEqual([await getJob(database.db, jobId)])
  })

  it('refuses a procedure that does not exist', async () => {
    await expect(addJob(database.db, own('nothing'), { scheduleInterval: '1 day' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })
})
