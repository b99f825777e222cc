import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sql } from '../../../src/index.ts'
import { CommandDatabase, program } from './command.ts'

let database: CommandDatabase
let table: string
let jobId: number
const later = { initialStart: new Date(Date.now() + 30 * 86_400_000) }
beforeAll(async () => {
  database = await CommandDatabase.open(`Cli 1.a ${randomUUID().slice(0, 8)}`)
  const { db, schema } = database
  const name = { schema, name: 'Sensor "Data".1' }
  const view = { schema, name: 'By hour' }
  table = database.name(name.name)
  await db.sql`create table ${sql.name(name)} (time timestamptz not null, v float8)`
  await db.createHypertable(name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`insert into ${sql.name(name)} select now() - i * interval '1 hour', i from generate_series(1, 240) i`
  await db.createContinuousAggregate(view, {
    hypertable: name,
    timeColumn: 'time',
    bucketInterval: '1 hour',
    aggregates: { n: 'COUNT(*)' },
    materializedOnly: true,
  })
  await db.sql`insert into ${sql.name(name)} select now() - i * interval '1 hour', i from generate_series(200, 201) i`
  jobId = (await db.addRetentionPolicy(name, { dropAfter: '5 days', ...later })).jobId
})
afterAll(() => database[Symbol.asyncDispose]())

test('a preview names the chunks and what is left of them', { timeout: 120_000 }, async () => {
  const chunks = await database.db.getChunkInfo(table)
  const args = ['policy', 'preview', 'retention', table, '--at', 'now()']
  const { code, stdout } = await database.run([...args, '--json'])
  expect(code).toBe(0)
  const preview: unknown = JSON.parse(stdout)
  const expected = await database.db.previewPolicy(jobId, { at: 'NOW()' })
  expect(expected.chunks.length).toBeGreaterThan(3)
  expect(preview).toMatchObject({
    jobId,
    kind: 'retention',
    rows: expected.rows,
    chunks: expected.chunks.map(({ chunkName, rows }) => ({ chunkName, rows })),
    history: [{ name: 'By hour', buckets: expected.history[0]?.buckets, missing: [{}] }],
  })
  const shown = await database.run(args)
  expect(shown.stdout).toContain('would drop')
  expect(shown.stdout).toContain(expected.chunks[0]?.chunkName)
  expect(shown.stdout).toMatch(/kept by .*"By hour"\s+\d+ buckets, but not what has changed in \d{4}-/)
  const csv = await database.run(['policy', 'preview', String(jobId), '--at', 'now()', '--estimate', '--csv'])
  expect(csv.stdout.split('\r\n')).toHaveLength(expected.chunks.length + 2)
  const wrong = await database.run(['policy', 'preview', 'retention'])
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('hint: tsdb policy list shows all.') })
  expect(await database.db.getChunkInfo(table)).toEqual(chunks)
})

test('check ends with 3 where data would be lost, and its statements mend it', { timeout: 120_000 }, async () => {
  const { db, schema } = database
  const found = await database.run(['policy', 'check', table])
  expect(found).toMatchObject({
    code: 3,
    stderr: '',
    stdout: expect.stringMatching(/^loss: retention-without-refresh\n/),
  })
  const { code, stdout } = await database.run(['policy', 'check', table, '--json'])
  expect(code).toBe(3)
  const findings: readonly { readonly rule: string; readonly fix: string }[] = JSON.parse(stdout)
  expect(findings.map(({ rule }) => rule)).toEqual(['retention-without-refresh'])
  for (const { fix } of findings) await db.pool.query(fix)
  expect((await database.run(['policy', 'check', table])).code).toBe(0)
  await db.removeContinuousAggregatePolicy({ schema, name: 'By hour' })
})

test('watch tells a problem on the terminal and to a web hook, which may be slow to take it', {
  timeout: 120_000,
}, async () => {
  const { db, schema } = database
  const name = sql.name({ schema, name: 'fails' }).text
  await db.executeQuery(
    `create procedure ${name}(job_id int, config jsonb) language plpgsql as $$ begin raise 'no'; end $$`,
  )
  const { jobId: failing } = await db.addJob({ schema, name: 'fails' }, { scheduleInterval: '1 hour', ...later })
  // Where jobs are run it fails now, elsewhere it is due since hours.
  await db.alterJob(failing, { nextStart: new Date(Date.now() - 3 * 3_600_000) })
  const problem = async (): Promise<unknown> => (await db.listJobProblems()).find((one) => one.jobId === failing)
  await expect.poll(problem, { timeout: 20_000 }).toBeDefined()

  const bodies: unknown[] = []
  const logins: unknown[] = []
  let kill: (signal: NodeJS.Signals) => void = () => undefined
  const hook = createServer((request, response) => {
    let text = ''
    request.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    request.on('end', () => {
      logins.push(request.headers.authorization)
      response.writeHead(logins.length === 1 ? 503 : 200).end()
      if (logins.length === 1) return
      bodies.push(JSON.parse(text))
      if (bodies.some((body) => JSON.stringify(body).includes(`"jobId":${failing},`))) kill('SIGINT')
    })
  })
  hook.listen(0, '127.0.0.1')
  await once(hook, 'listening')
  const address = hook.address()
  const port = typeof address === 'object' ? address?.port : 0
  const url = `http://me:s%40cret@127.0.0.1:${port}/hook?token=t0ken`
  const watched = await database.run(['watch', '--json', '--interval', '200', '--webhook', url], {
    onStart: (send) => {
      kill = send
    },
  })
  expect(watched).toMatchObject({ code: 0, stderr: '' })
  const lines = watched.stdout.trimEnd().split('\n')
  const events: unknown[] = lines.map((line) => JSON.parse(line))
  expect(events).toContainEqual(
    expect.objectContaining({ type: 'opened', problem: expect.objectContaining({ jobId: failing }) }),
  )
  expect(new Set(lines.map((line) => line.replace(/"at":"[^"]*"/, ''))).size).toBe(lines.length)
  expect(bodies).toContainEqual(events.find((event) => JSON.stringify(event).includes(`"jobId":${failing},`)))
  expect(logins[1]).toBe(`Basic ${Buffer.from('me:s@cret').toString('base64')}`)

  // Nobody listens there any more: it is said, without what is secret.
  await new Promise((resolve) => hook.close(resolve))
  const last = await database.run(['watch', '--once', '--csv', '--webhook', url])
  expect(last.code).toBe(1)
  expect(last.stdout).toMatch(/^at,type,kind,jobId,name,relation,message,since\r\n/)
  expect(last.stdout).toMatch(new RegExp(`^\\d{4}-[^,]+Z,opened,failing,${failing},[^,]+\\[${failing}\\],`, 'm'))
  expect(last.stderr).toContain(`warning: an event was not posted to 127.0.0.1:${port}: ECONNREFUSED`)
  expect(last.stderr).not.toMatch(/cret|t0ken/)
  expect(await database.run(['watch', '--chart'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('hint: tsdb job list --chart'),
  })
  expect((await database.run(['watch', '--webhook', 'ftp://me:secret@host/'])).stderr).not.toContain('secret')
  await db.deleteJob(failing)
  expect(await database.run(['watch', '--interval', 'often'])).toMatchObject({ code: 2, stdout: '' })
  // A server may have jobs of its own in trouble.
  const isWell = (await db.listJobProblems()).length === 0
  expect(await database.run(['watch', '--once'])).toMatchObject(
    isWell ? { code: 0, stdout: 'No job is in trouble.\n' } : { code: 1 },
  )
})

test('metrics are printed, and served on the loopback', { timeout: 120_000 }, async () => {
  const printed = await database.run(['metrics'])
  expect(printed).toMatchObject({ code: 0, stderr: '' })
  expect(printed.stdout).toMatch(/^# HELP tsdb_job_runs_total /)
  expect(printed.stdout).toContain(`tsdb_hypertable_chunks{schema="${database.schema}",table="Sensor \\"Data\\".1"}`)
  expect((await database.run(['metrics', '--listen', 'here'])).code).toBe(2)

  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], TSDB_URL: database.url }
  const child = spawn(process.execPath, [program, 'metrics', '--listen', '0', '--json'], { env })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  await expect.poll(() => output, { timeout: 20_000 }).toMatch(/\}\n$/)
  const { url }: { readonly url: string } = JSON.parse(output)
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
  const [one, two] = await Promise.all([fetch(url), fetch(url)])
  expect(one.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(await one.text()).toContain('# TYPE tsdb_job_failures_total counter\n')
  expect(two.status).toBe(200)
  expect((await fetch(url.replace('/metrics', '/'))).status).toBe(404)
  expect((await fetch(url, { method: 'POST' })).status).toBe(405)
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  expect(code).toBe(0)
})
