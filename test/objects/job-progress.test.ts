import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { can, readCapabilities } from '../../src/catalog/capabilities.ts'
import { Client } from '../../src/client.ts'
import { connect, type Database, type JobProgress } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { testTarget } from '../setup/database.ts'

const schema = `Test 1.a ${randomUUID().slice(0, 8)}`
const table = { schema, name: "It's" }
const aggregate = { schema, name: 'By "day"' }
const DAYS = 8

let db: Database
let jobId = 0
let hasBatches = false
beforeAll(async () => {
  db = await connect(testTarget, { onProgress: () => undefined, jobs: false })
  hasBatches = can(await readCapabilities(db['session']), 'batched-refresh')
  await db.sql`create schema ${sql.column(schema)}`
  await db.sql`create table ${sql.name(table)} (time timestamptz not null, value int)`
  await db.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  // Said to be immutable, so that an aggregate may call it: each batch takes a tenth of a second.
  const slow = sql.name({ schema, name: 'slow' }).text
  await db.executeQuery(`create function ${slow}(value int) returns int immutable language plpgsql as
    $$ begin perform pg_sleep(0.1); return value; end $$`)
  await db.executeQuery(`create materialized view ${sql.name(aggregate).text} with (timescaledb.continuous) as
    select time_bucket('1 day', time) as bucket, sum(${slow}(value)) as total from ${sql.name(table).text} group by 1 with no data`)
  if (!hasBatches) return
  const offsets = { startOffset: null, endOffset: '1 day', scheduleInterval: '1 day' } as const
  const rest = { initialStart: '2999-01-01', bucketsPerBatch: 1 } as const
  jobId = (await db.addContinuousAggregatePolicy(aggregate, { ...offsets, ...rest })).jobId
})
afterAll(async () => {
  await db.sql`drop schema ${sql.column(schema)} cascade`
  await db.close()
})

/** Makes all days wait for a refresh. */
async function change(): Promise<void> {
  await db.sql`insert into ${sql.name(table)}
    select '2025-01-01'::timestamptz + i * interval '1 day', i from generate_series(0, ${DAYS - 1}::int) i`
}

it('the batches of a refresh policy are told while it runs', async (context) => {
  if (!hasBatches) return context.skip('The server refreshes without batches.')
  await change()
  const seen: JobProgress[] = []
  const stop = new AbortController()
  // All of them would take longer than that: what is told at the end comes too late to stop it.
  const onProgress = (progress: JobProgress): void => {
    seen.push(progress)
    if (progress.batch === 2) stop.abort()
  }
  await expect(db.runJob(jobId, { onProgress, signal: stop.signal })).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  const [row] = await db.sql<{ n: number }>`select count(*) as n from ${sql.name(aggregate)}`
  expect(row?.n).toBeGreaterThan(0)
  expect(row?.n).toBeLessThan(DAYS)

  seen.length = 0
  await change()
  expect(await db.runJob(jobId, { onProgress: (progress) => seen.push(progress) })).toMatchObject({
    outcome: 'success',
  })
  const batches = seen.at(-1)?.batches ?? 0
  expect(batches).toBeGreaterThan(2)
  expect(seen).toEqual(Array.from({ length: batches }, (_, index) => ({ batch: index + 1, batches })))
  expect(await db.sql`select count(*)::int as n from ${sql.name(aggregate)}`).toEqual([{ n: DAYS }])
})

it('an error of the callback is the error of the call, and the connection is as it was', async (context) => {
  if (!hasBatches) return context.skip('The server refreshes without batches.')
  await change()
  await using connection = await db.openConnection()
  await connection.sql`set client_min_messages = error`
  const broken = new Error('broken')
  const onProgress = (): void => {
    throw broken
  }
  await expect(connection.runJob(jobId, { onProgress })).rejects.toBe(broken)
  expect(await connection.sql`select current_setting('client_min_messages') as level`).toEqual([{ level: 'error' }])
  const loose = new Client(db['session'], {})
  await expect(loose.runJob(jobId, { onProgress })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})

it('a job without batches tells nothing', async () => {
  const name = { schema, name: 'notes' }
  await db.executeQuery(
    `create procedure ${sql.name(name).text}(job_id int, config jsonb) language plpgsql as
     $$ begin raise log 'about (batch 1 of the day)'; end $$`,
  )
  const job = await db.addJob(name, { scheduleInterval: '1 day', initialStart: '2999-01-01' })
  const seen: JobProgress[] = []
  const run = await db.runJob(job.jobId, { onProgress: (progress) => seen.push(progress) })
  expect([run.outcome, seen]).toEqual(['success', []])
  await db.deleteJob(job.jobId)
})
