import { afterAll, beforeAll, expect, it } from 'vitest'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

it('a run that a background worker is in the middle of is stuck after its maxRuntime', {
  timeout: 120_000,
}, async (context) => {
  const { client, schema } = database
  // The embedded engine has one session: while it runs a job nobody can look.
  const workers = await client.sql`select from pg_stat_activity
    where datname = current_database() and application_name = 'TimescaleDB Background Worker Scheduler'`
  if (workers.length === 0) return context.skip('The server has no background workers.')
  const procedure = { schema, name: 'Sleeps' }
  await client.executeQuery(
    `create procedure ${sql.name(procedure).text}(job_id int, config jsonb) language plpgsql as $$ begin perform pg_sleep(90); end $$`,
  )
  const { jobId } = await client.addJob(procedure, { scheduleInterval: '1 hour' })
  const problem = async (): Promise<unknown> => (await client.listJobProblems()).find((one) => one.jobId === jobId)
  try {
    const status = async (): Promise<string> => (await client.getJob(jobId)).status
    await expect.poll(status, { timeout: 60_000, interval: 200 }).toBe('running')
    expect(await problem()).toBeUndefined()
    // The run that has begun goes by the limit it began with: the server does not end it.
    await client.alterJob(jobId, { maxRuntime: '1 second' })
    await expect.poll(problem, { timeout: 20_000, interval: 200 }).toMatchObject({
      kind: 'stuck',
      since: expect.any(Date),
      message: expect.stringMatching(/^It has been running for .* s, longer than its max_runtime of 1\.0 s\.$/),
    })
  } finally {
    // Deleting waits for the run.
    await client.sql`select pg_cancel_backend(pid) from pg_stat_activity where application_name like ${`%[${jobId}]%`}`
    await client.deleteJob(jobId, { ifExists: true })
  }
})
