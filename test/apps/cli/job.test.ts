import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CommandDatabase, type Outcome } from './command.ts'

let database: CommandDatabase
let table: string
let action: number
let retention: number
beforeAll(async () => {
  database = await CommandDatabase.open(`Cli job 1.a ${randomUUID().slice(0, 8)}`)
  table = database.name('Sensor "Data".1')
  const { db } = database
  await db.executeQuery(`create table ${table} (time timestamptz not null, v float8)`)
  await db.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  const procedure = database.name('Check it')
  await db.executeQuery(`create procedure ${procedure}(job_id int, config jsonb) language plpgsql as $$
    begin
      if config ? 'broken' then raise 'The sensor is broken' using errcode = 'TK777', hint = 'Replace it.'; end if;
    end $$`)
  const later = { initialStart: '2100-01-01' }
  action = (await db.addJob(procedure, { scheduleInterval: '1 day', scheduled: false, ...later })).jobId
  retention = (await db.addRetentionPolicy(table, { dropAfter: '100 years', ...later })).jobId
}, 60_000)
afterAll(async () => {
  await database.db.deleteJob(action, { ifExists: true })
  await database[Symbol.asyncDispose]()
})

const run = (...args: string[]): Promise<Outcome> => database.run(['job', ...args])

async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

const json = async (...args: string[]): Promise<unknown> => JSON.parse(await output(...args, '--json'))

test('list and show: policies, actions, and what to list', { timeout: 60_000 }, async () => {
  expect(await json('list', '--relation', table)).toMatchObject([{ jobId: retention, kind: 'retention' }])
  expect(await json('list', '--kind', 'action,retention', '--paused')).toContainEqual(
    expect.objectContaining({ jobId: action, status: 'paused', schedule: 'every 1 day' }),
  )
  expect(await output('list', '--kind', 'action', '--csv')).toMatch(/^jobId,kind,relation,procedure,schedule,/)
  expect(await output('show', String(retention))).toMatch(
    /^job +\d+, retention\n[\s\S]*configuration +\{.*"drop_after"/,
  )
  expect(await run('list', '--kind', 'retentoin')).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/hint: Known/),
  })
  expect(await run('show', '2147483000')).toMatchObject({ code: 1, stderr: expect.stringMatching(/NOT_FOUND/) })
  expect(await run('show', 'x')).toMatchObject({ code: 2 })
})

test('alter says the SQL first, which does the same', { timeout: 60_000 }, async () => {
  const id = String(retention)
  const change = [
    'alter',
    id,
    '--job-config',
    '{"drop_after": "90 years"}',
    '--max-retries',
    '-1',
    '--no-fixed-schedule',
  ]
  const script = await output(...change, '--dry-run')
  expect((await database.db.getJob(retention)).config).toMatchObject({
    drop_after: expect.stringContaining('100 years'),
  })
  await database.db.pool.query(script)
  const altered = await database.db.getJob(retention)
  expect(altered).toMatchObject({ maxRetries: -1, fixedSchedule: false, config: { drop_after: '90 years' } })
  expect(altered.config['hypertable_id']).toBeDefined()
  expect(await json(...change)).toMatchObject({ jobId: retention, maxRetries: -1, config: altered.config })
  expect(await output('alter', id, '--schedule-interval', '6 hours')).toMatch(/\(Retention.*\): every 06:00:00/)
  expect(await run('alter', id)).toMatchObject({ code: 2 })
  expect(await run('alter', id, '--job-config', '[]')).toMatchObject({ code: 2 })
  expect(await output('disable', id, '--dry-run')).toMatch(/scheduled => FALSE/)
  expect(await output('disable', id)).toMatch(/: paused\.\n$/)
  expect(await json('enable', id)).toMatchObject({ scheduled: true })
})

test('run gives outcome and duration, and a failure its SQLSTATE and exit code 1', { timeout: 60_000 }, async () => {
  const id = String(action)
  expect(await output('run', id, '--dry-run')).toBe(`call run_job(${id});\n`)
  expect(await output('run', id)).toMatch(/^Job \d+ succeeded after \d+ ms\.\n$/)
  await database.db.alterJob(action, { config: { broken: true } })
  const failed = await run('run', id)
  expect(failed).toMatchObject({ code: 1, stdout: expect.stringMatching(/^Job \d+ failed after/) })
  expect(failed.stderr).toMatch(/failed with TK777: The sensor is broken[\s\S]*hint: Replace it\./)
  const asJson = await run('run', id, '--json')
  expect(JSON.parse(asJson.stdout)).toMatchObject({ jobId: action, outcome: 'failure', error: { sqlState: 'TK777' } })
  expect(JSON.parse(asJson.stderr).error).toMatchObject({ code: 'QUERY_FAILED', sqlState: 'TK777' })
})

test('history and errors of a job that has none', { timeout: 60_000 }, async () => {
  const id = String(action)
  const history = await run('history', id, '--since', '1 day ago', '--csv')
  // Whether the server keeps all runs is its setting.
  expect(history.stderr).toMatch(/^(NOTICE: The server keeps failures only.*\n)?$/)
  expect(history).toMatchObject({
    code: 0,
    stdout: 'startedAt,jobId,procedure,outcome,durationMs,sqlState,message\r\n',
  })
  expect(await json('errors', id)).toEqual([])
  expect(await run('history', '--outcome', 'sucess')).toMatchObject({ code: 2 })
})

test('delete asks, and takes the job away', { timeout: 60_000 }, async () => {
  const id = String(retention)
  expect(await run('delete', id)).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') })
  expect(await output('delete', id, '--dry-run')).toBe(`select * from delete_job(${id});\n`)
  expect(await output('delete', id, '--yes')).toBe(`Deleted job ${id}.\n`)
  expect(await output('delete', id, '--yes', '--if-exists')).toBe(`There is no job ${id}.\n`)
  expect(await run('delete', id, '--yes')).toMatchObject({ code: 1, stderr: expect.stringContaining('--if-exists') })
})

test('--chart draws what has a time and numbers, and says when there is nothing to draw', {
  timeout: 60_000,
}, async () => {
  const { db } = database
  await db.executeQuery(`insert into ${table}
    select '2025-01-01'::timestamptz + i * interval '1 hour', i from generate_series(0, 47) i`)
  const draw = async (...args: string[]): Promise<Outcome> => database.run(args)
  const bucket = ['bucket', table, '--time-column', 'time', '--bucket', '6 hours', '--aggregate', 'top=MAX(v)']
  const drawn = await draw(...bucket, '--chart')
  expect(drawn).toMatchObject({ code: 0, stderr: '' })
  expect(drawn.stdout).toMatch(
    /^top over bucket\n *47\.\d+ ┤[\s\S]*2025-01-01T00:00:00\.000Z +2025-01-02T18:00:00\.000Z\n$/,
  )
  expect(await draw('chunk', 'list', table, '--chart')).toMatchObject({
    stdout: expect.stringMatching(/^totalBytes over rangeStart/),
  })
  const select = `select time, 7 as sensor_id, v::numeric as temperature from ${table}`
  expect(await draw('sql', select, '--chart')).toMatchObject({
    stdout: expect.stringMatching(/^temperature over time/),
  })
  const named = await draw('sql', select, '--chart-columns', 'temperature,sensor_id,"time"')
  expect(named.stdout).toMatch(/^sensor_id over temperature[\s\S]* and 40 more\n$/)
  expect(await draw('sql', `${select} where false`, '--chart')).toMatchObject({ code: 0, stdout: 'No rows.\n' })
  for (const [args, message] of [
    [['sql', 'select 1 as one', '--chart'], 'no column holds times'],
    [['sql', 'select now() as time', '--chart'], 'no column holds numbers'],
    [['sql', select, '--chart-columns', 'time,temprature'], 'There is no column "temprature"'],
    [['sql', select, '--chart-columns', 'time'], 'not of the form x,y'],
    [[...bucket, '--chart', '--csv'], 'one of --json, --csv and --chart'],
  ] as const) {
    expect(await draw(...args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(message) })
  }
})
