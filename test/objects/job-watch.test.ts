import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Database, JobEvent } from '../../src/index.ts'
import { connect } from '../../src/index.ts'
import { stuckLimit } from '../../src/objects/job-problem.ts'
import { sql } from '../../src/sql/template.ts'
import { lendDatabases } from '../setup/database.ts'
import { startPostgres } from '../setup/postgres.ts'
import { shortLife } from '../setup/short-life.ts'

const schema = 'Test 1.a'
const procedure = { schema, name: "It's" }
const table = { schema, name: `It's "raw".x` }

// The clock makes runs due when the test wants it, and only then.
const databases = lendDatabases({ clock: '2025-01-01T00:00:00Z' })
afterAll(() => databases.close())

let db: Database
let events: JobEvent[]
beforeEach(async () => {
  db = await databases.fresh()
  events = []
  await db.sql`create schema ${sql.column(schema)}`
  await db.sql`create table ${sql.name({ schema, name: 'switch' })} (fails boolean)`
  await db.executeQuery(`create procedure ${sql.name(procedure).text}(job_id int, config jsonb) language plpgsql as $$
    begin if exists (select from "Test 1.a".switch) then raise 'broken "pipe"' using errcode = 'TK123'; end if; end $$`)
})

const onProblem = (event: JobEvent): void => {
  events.push(event)
}
const seen = (): string[] => events.map(({ type, problem }) => `${type} ${problem.kind} ${problem.jobId}`)
const fails = (): Promise<unknown> => db.sql`insert into ${sql.name({ schema, name: 'switch' })} values (true)`
const works = (): Promise<unknown> => db.sql`delete from ${sql.name({ schema, name: 'switch' })}`

/** Waits until a watch has said so much. */
const said = (count: number): Promise<void> =>
  expect.poll(() => events.length, { timeout: 20_000, interval: 20 }).toBeGreaterThanOrEqual(count)

describe('a watch', () => {
  it('says once that a job fails, and once that it does not any more', async () => {
    const initialStart = '2025-01-01T01:00:00Z'
    const { jobId } = await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart })
    await fails()
    await db.clock.runUntil('2025-01-01T01:30:00Z')
    await using watch = db.watchJobs({ onProblem, intervalMs: 30 })
    await said(1)
    expect(events[0]).toMatchObject({
      type: 'opened',
      problem: {
        kind: 'failing',
        jobId,
        message: 'Its last run failed: TK123: broken "pipe"',
        since: expect.any(Date),
      },
    })
    expect(watch.problems).toHaveLength(1)
    await db.clock.runUntil('2025-01-01T02:30:00Z')
    expect(await db.listJobProblems()).toMatchObject([{ kind: 'failing', jobId }])
    await works()
    await db.clock.runUntil('2025-01-01T03:30:00Z')
    await said(2)
    await watch.stop()
    expect(seen()).toEqual([`opened failing ${jobId}`, `closed failing ${jobId}`])
    expect(watch.problems).toEqual([])
    await watch.stop()
  })

  it('says that a job is due for two intervals and was not started', async () => {
    const { jobId } = await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart: '2025-01-01T01:00:00Z' })
    await db.alterJob(jobId, { nextStart: '2024-12-31T22:30:00Z' })
    expect(await db.listJobProblems()).toEqual([])
    await db.alterJob(jobId, { nextStart: '2024-12-31T21:30:00Z' })
    await using watch = db.watchJobs({ onProblem, intervalMs: 30 })
    await said(1)
    expect(events[0]?.problem).toMatchObject({ kind: 'starved', since: new Date('2024-12-31T21:30:00Z') })
    await db.disableJob(jobId)
    await said(2)
    await watch.stop()
    expect(seen()).toEqual([`opened starved ${jobId}`, `closed starved ${jobId}`])
  })

  it('says that runs succeed and leave chunks behind', async () => {
    await makeTable()
    const { jobId } = await db.addCompressionPolicy(table, {
      compressAfter: '1 day',
      initialStart: '2025-01-01T01:00:00Z',
    })
    const { config } = await db.getJob(jobId)
    await db.alterJob(jobId, { config: { ...config, maxchunks_to_compress: 2 }, scheduleInterval: '1 hour' })
    await db.clock.advance('90 minutes')
    await using watch = db.watchJobs({ onProblem, intervalMs: 30 })
    await said(1)
    expect(events[0]?.problem.message).toMatch(
      /^Its last run succeeded, but has left 2 chunks .* compressed, from _hyper_\d+_\d+_chunk on\.$/,
    )
    await db.clock.advance('6 hours')
    await said(2)
    await watch.stop()
    expect(seen()).toEqual([`opened no-progress ${jobId}`, `closed no-progress ${jobId}`])
  })

  it('says that refreshes succeed and leave changes behind', async () => {
    await makeTable()
    const view = { schema, name: 'By hour' }
    await db.createContinuousAggregate(view, {
      hypertable: table,
      timeColumn: 'Time',
      bucketInterval: '1 hour',
      aggregates: { n: 'COUNT(*)' },
      materializedOnly: true,
    })
    const { jobId } = await db.addContinuousAggregatePolicy(view, {
      startOffset: '30 days',
      endOffset: '1 hour',
      scheduleInterval: '1 hour',
      initialStart: '2025-01-01T01:00:00Z',
      maxBatchesPerExecution: 1,
      bucketsPerBatch: 1,
    })
    await db.clock.advance('90 minutes')
    // Two rows of one hour, days ago, and in each run newer ones: the one batch of a run never comes to them.
    const late = '2024-12-25T10:10:00Z'
    const insert = (time: string): Promise<unknown> =>
      db.sql`insert into ${sql.name(table)} values (${time}, 1), (${time}::timestamptz + interval '1 minute', 1)`
    await insert(late)
    await using watch = db.watchJobs({ onProblem, intervalMs: 30 })
    for (let hour = 1; hour <= 4; hour++) {
      await insert('2024-12-31T20:00:00Z')
      await insert('2024-12-30T20:00:00Z')
      const before = await lookOf(watch)
      await db.clock.advance('1 hour')
      await before()
    }
    await said(1)
    expect(events[0]?.problem).toMatchObject({
      kind: 'no-progress',
      jobId,
      message: expect.stringContaining('from 2024-12-25T10:00:00.000Z on'),
    })
    await watch.stop()
  })

  /** Waits until a watch has looked after now: its looks are statements on the same database. */
  async function lookOf(watch: { readonly problems: readonly unknown[] }): Promise<() => Promise<void>> {
    await new Promise((resolve) => setTimeout(resolve, 400))
    return async () => {
      await new Promise((resolve) => setTimeout(resolve, watch.problems.length === 0 ? 400 : 0))
    }
  }

  async function makeTable(): Promise<void> {
    await db.sql`create table ${sql.name(table)} ("Time" timestamptz not null, v float8)`
    await db.createHypertable(table, { timeColumn: 'Time', chunkTimeInterval: '1 day' })
    await db.sql`insert into ${sql.name(table)} select now() - i * interval '6 hours', i from generate_series(1, 36) i`
  }

  it('ends with its signal, and with the database', async () => {
    const ending = new AbortController()
    const watch = db.watchJobs({ onProblem, signal: ending.signal })
    const ended = watch.untilStopped()
    ending.abort()
    await ended
    await db.watchJobs({ onProblem, signal: ending.signal }).untilStopped()
    const other = db.watchJobs({ onProblem, intervalMs: 20 })
    await db.close()
    await other.untilStopped()
    expect(events).toEqual([])
  })

  it('gives what onProblem throws to who waits, and refuses wrong options', async () => {
    await db.addJob(procedure, { scheduleInterval: '1 hour', initialStart: '2024-01-01T01:00:00Z' })
    const [job] = await db.listJobs({ kind: 'action' })
    await db.alterJob(job?.jobId ?? 0, { nextStart: '2024-01-01T01:00:00Z' })
    const watch = db.watchJobs({
      onProblem: () => {
        throw new RangeError('mine')
      },
    })
    await expect(watch.untilStopped()).rejects.toThrow('mine')
    const wrong: unknown[] = [
      undefined,
      null,
      {},
      { onProblem: 1 },
      { onProblem, intervalMs: 0 },
      { onProblem, every: 1 },
    ]
    for (const options of wrong) {
      expect(() => Reflect.apply(db.watchJobs, db, [options])).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      )
    }
  })

  it('keeps no process alive', () => {
    const code = `
      import { connect } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
      const db = await connect('embedded:')
      db.watchJobs({ onProblem() {}, intervalMs: 50 })
      await new Promise((resolve) => setTimeout(resolve, 300))`
    const cwd = fileURLToPath(new URL('../..', import.meta.url))
    const { status, stderr } = spawnSync(process.execPath, [...shortLife, '--input-type=module', '-e', code], {
      cwd,
      timeout: 60_000,
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })
})

describe('on a server that goes away', () => {
  let ended: (() => Promise<void>) | undefined
  afterEach(() => ended?.())

  it('says once that the database does not answer, and goes on when it does', async () => {
    const server = await startPostgres()
    ended = () => server[Symbol.asyncDispose]()
    const { host, port, user, password, database } = server.options
    const other = await connect({ host, port, user, password, database: database ?? 'postgres', sslmode: 'disable' })
    // Plain PostgreSQL has no jobs: that, too, is something the watch outlives, and tells.
    const watch = other.watchJobs({ onProblem, intervalMs: 50 })
    await said(1)
    expect(events[0]?.problem).toMatchObject({
      kind: 'unreachable',
      message: expect.stringMatching(/^EXTENSION_MISSING: /),
    })
    await server.stop('fast')
    await expect.poll(() => watch.problems[0]?.message, { timeout: 20_000 }).toMatch(/^(CONNECTION|SERVER)_/)
    await server.start()
    await expect.poll(() => watch.problems[0]?.message, { timeout: 20_000 }).toMatch(/^EXTENSION_MISSING: /)
    expect(seen()).toEqual(['opened unreachable undefined'])
    await watch.stop()
    await other.close()
  })
})

it('a run is stuck after its maxRuntime, or ten times its median and a minute', () => {
  expect(stuckLimit(0, [])).toBeUndefined()
  expect(stuckLimit(5000, [])).toMatchObject({ ms: 5000 })
  expect(stuckLimit(0, [20, 30, 40])).toMatchObject({ ms: 60_000 })
  expect(stuckLimit(0, [90_000, 10_000, 20_000])).toMatchObject({ ms: 200_000 })
  expect(stuckLimit(5000, [90_000, 10_000, 20_000])).toMatchObject({ ms: 5000 })
  expect(stuckLimit(500_000, [90_000, 10_000, 20_000])).toMatchObject({
    ms: 200_000,
    what: '10 times its median of 20 s',
  })
})
