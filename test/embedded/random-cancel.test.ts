import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { message } from '../../src/wire/message.ts'
import { lendEngine } from '../setup/database.ts'
import { rounds } from '../setup/soak.ts'
import { cancel, fieldsOf, RawClient } from './raw-client.ts'

const ROUNDS = rounds(300, 1000)
const BATCH = 500

let database: EmbeddedDatabase

beforeAll(async () => {
  database = await lendEngine({ lockWaitMs: 60_000 })
})
afterAll(() => database.close())

/** A repeatable stream of numbers from 0 to 1 (mulberry32), so that a failure can be run again. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

test(`${ROUNDS} cancels at random moments of reads, writes, compression and refreshes leave whole data`, async () => {
  const next = random(20260101)
  const client = await RawClient.open(database)
  const bystander = await RawClient.open(database)
  await client.query(`
    create table m (time timestamptz not null, device int, batch int, v float8);
    select create_hypertable('m', by_range('time', interval '2 hours'));
    alter table m set (timescaledb.enable_columnstore, timescaledb.segmentby = 'device', timescaledb.orderby = 'time')`)
  await client.query(`create materialized view hourly with (timescaledb.continuous, timescaledb.materialized_only = true) as
    select time_bucket('1 hour', time) as bucket, device, count(*) as n, sum(v) as total from m group by 1, 2 with no data`)
  const batch = (number: number): string =>
    `insert into m select '2025-01-01'::timestamptz + (${number % 40} * 20 + i * 0.001) * interval '1 minute', i % 5, ${number}, i
     from generate_series(1, ${BATCH}) i`
  const works: ((round: number) => string)[] = [
    batch,
    batch,
    () => "select compress_chunk(c) from show_chunks('m') c",
    () => "select decompress_chunk(c, true) from show_chunks('m') c limit 3",
    () => "call refresh_continuous_aggregate('hourly', null, null)",
    () => 'select device, count(*), avg(v) from m group by 1',
    (round) => `update m set v = v where batch = ${round % 50} and device = 1`,
    (round) => `delete from m where batch = ${round % 97}`,
    () => 'create index on m (batch); drop index m_batch_idx',
    () => 'analyze m',
    () => 'checkpoint',
  ]
  const tally = { done: 0, cancelled: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const work = works[Math.floor(next() * works.length)]
    client.send(message('Q', work?.(round) ?? ''))
    const answer = client.until('Z')
    await wait(next() ** 2 * 30)
    const cancelled = cancel(database, client)
    const error = (await answer).find(({ type }) => type === 'E')
    await cancelled
    if (error === undefined) tally.done++
    else {
      expect(fieldsOf(error).get('C'), fieldsOf(error).get('M')).toBe('57014')
      tally.cancelled++
    }
    if (round % 50 === 0) expect(await bystander.query('select 1')).toEqual([['1']])
  }
  expect(tally.cancelled).toBeGreaterThan(ROUNDS / 10)
  expect(tally.done).toBeGreaterThan(ROUNDS / 10)

  const half = await client.query(`select batch, count(*) from m group by 1 having count(*) <> ${BATCH}`)
  expect(half).toEqual([])
  await client.query("call refresh_continuous_aggregate('hourly', null, null)")
  const check = `select count(*) from (
      (select time_bucket('1 hour', time) as bucket, device, count(*) as n, sum(v) as total from m group by 1, 2
       except all select * from hourly) union all
      (select * from hourly except all
       select time_bucket('1 hour', time), device, count(*), sum(v) from m group by 1, 2)) x`
  expect(await client.query(check)).toEqual([['0']])
  await client.query("select compress_chunk(c, true) from show_chunks('m') c")
  expect(await client.query(check)).toEqual([['0']])
  const orphans = `select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = '_timescaledb_internal' and c.relkind = 'r' and c.relname like '\\_hyper\\_%\\_chunk'
      and not exists (select from _timescaledb_catalog.chunk k where k.table_name = c.relname)`
  expect(await client.query(orphans)).toEqual([['0']])
}, 120_000)
