import { mkdtempSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect, type Database } from '../../src/index.ts'

let directory: string
let db: Database

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tsdb-maintenance-'))
  db = await connect(`embedded:${join(directory, 'db')}`, { durability: 'process', onProgress: () => undefined })
})
afterAll(async () => {
  await db.close()
  rmSync(directory, { recursive: true })
})

const walMegabytes = (): number => {
  const wal = join(directory, 'db/pgdata/pg_wal')
  return readdirSync(wal).reduce((sum, name) => sum + statSync(join(wal, name)).size, 0) / 2 ** 20
}

test('the WAL stays bounded while much is written, also by a client that never pauses', async () => {
  await db.executeQuery('create table written (i int, t text)')
  let most = 0
  for (let i = 0; i < 28; i++) {
    await db.executeQuery("insert into written select i, repeat('x', 500) from generate_series(1, 15000) i")
    most = Math.max(most, walMegabytes())
  }
  // 28 times about 9 MB: without checkpoints it would be 250 MB.
  expect(most).toBeLessThan(200)
}, 60_000)

test('tables that grew are analysed, whatever settings a connection left', async () => {
  await db.executeQuery('create table measured (time timestamptz not null, v float8)')
  await db.executeQuery("select create_hypertable('measured', by_range('time', interval '1 day'))")
  await db.executeQuery('set search_path = nowhere')
  await db.executeQuery(
    "insert into public.measured select '2025-01-01'::timestamptz + i * interval '1 minute', i from generate_series(1, 20000) i",
  )
  await db.executeQuery('set default_transaction_read_only = on')
  const estimate = async (): Promise<unknown> => {
    const { rows } = await db.executeQuery(
      "select sum(c.reltuples)::int as n from pg_class c join pg_inherits h on h.inhrelid = c.oid where h.inhparent = 'public.measured'::regclass",
    )
    return rows[0]?.['n']
  }
  await expect.poll(estimate, { timeout: 10_000, interval: 100 }).toBe(20_000)
})

// A machine that stands still for 300 ms makes a pause where there is none.
test('not between the batches of a load', { retry: 2 }, async () => {
  await db.executeQuery('reset all')
  await db.executeQuery('drop table if exists loaded')
  await db.executeQuery('create table loaded (i int)')
  await db.executeQuery('insert into loaded select generate_series(1, 6000)')
  const analysed = async (): Promise<unknown> =>
    (await db.executeQuery("select reltuples >= 0 as known from pg_class where relname = 'loaded'")).rows[0]?.['known']
  const begin = performance.now()
  while (performance.now() - begin < 1000) {
    await db.executeQuery('insert into loaded select generate_series(1, 100)')
    expect(await analysed()).toBe(false)
  }
  await expect.poll(analysed, { timeout: 5000, interval: 50 }).toBe(true)
})

test('dead rows are taken away', async () => {
  await db.executeQuery('reset all')
  await db.executeQuery('create table changed (i int, t text)')
  await db.executeQuery("insert into changed select i, repeat('y', 200) from generate_series(1, 20000) i")
  await db.executeQuery("update changed set t = repeat('z', 200)")
  const visible = async (): Promise<unknown> =>
    (await db.executeQuery("select relallvisible > 100 as vacuumed from pg_class where relname = 'changed'")).rows[0]?.[
      'vacuumed'
    ]
  await expect.poll(visible, { timeout: 15_000, interval: 100 }).toBe(true)
})

test('a CHECKPOINT that failed is made up for soon, also when nothing more is written', async () => {
  const redo = async (): Promise<unknown> =>
    (await db.executeQuery('select redo_lsn::text as lsn from pg_control_checkpoint()')).rows[0]?.['lsn']
  await db.executeQuery('create table late (i int, t text)')
  await db.executeQuery('checkpoint')
  const before = await redo()
  const needed = join(directory, 'db/pgdata/pg_logical/snapshots')
  renameSync(needed, `${needed}.away`)
  writeFileSync(needed, 'no directory')
  await expect(db.executeQuery('checkpoint')).rejects.toMatchObject({ name: 'QueryError' })
  for (let i = 0; i < 8; i++) {
    await db.executeQuery("insert into late select i, repeat('x', 500) from generate_series(1, 18000) i")
  }
  expect(await redo()).toBe(before)
  rmSync(needed)
  renameSync(`${needed}.away`, needed)
  await expect.poll(redo, { timeout: 15_000, interval: 200 }).not.toBe(before)
}, 60_000)

test('space of deleted rows is used again, also after the directory was opened anew', async () => {
  const place = join(directory, 'reused')
  const options = { durability: 'process', onProgress: () => undefined } as const
  const megabytes = `select (pg_relation_size('reused') / 1048576.0)::float8 as heap,
    (pg_relation_size('reused_time') / 1048576.0)::float8 as index`
  const fill =
    "insert into reused select '2025-01-01'::timestamptz + i * interval '1 s' from generate_series(1, 50000) i"
  let first: Record<string, unknown> | undefined
  for (let opened = 0; opened < 2; opened++) {
    await using own = await connect(`embedded:${place}`, options)
    if (opened === 0) {
      await own.executeQuery('create table reused (time timestamptz not null)')
      await own.executeQuery('create index reused_time on reused (time)')
      await own.executeQuery(fill)
      first = (await own.executeQuery(megabytes)).rows[0]
    }
    await own.executeQuery('delete from reused')
    // Pages of an index that one VACUUM empties are free to the next, once there is a younger transaction.
    for (const text of [
      'vacuum (truncate false) reused',
      'select pg_current_xact_id()',
      'vacuum (truncate false) reused',
    ]) {
      await own.executeQuery(text)
    }
    expect(readdirSync(join(place, 'pgdata/base/1')).some((name) => name.endsWith('_fsm'))).toBe(true)
    // Without their maps of free space, both would be twice as large.
    await own.executeQuery(fill)
    const [again] = (await own.executeQuery(megabytes)).rows
    expect(again).toEqual({ heap: first?.['heap'], index: expect.any(Number) })
    expect(again?.['index']).toBeLessThan(1.1 * Number(first?.['index']))
  }
})
