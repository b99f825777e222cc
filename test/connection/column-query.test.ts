import { setTimeout as wait } from 'node:timers/promises'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { PoolOptions } from '../../src/connection/pool-option.ts'
import type { ColumnResult, Session } from '../../src/connection/session.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

const authority = makeAuthority('Test authority')
let server: PostgresServer
const pools: ConnectionPool[] = []

beforeAll(async () => {
  server = await startPostgres({ tls: makeServerCertificate('localhost', authority) })
})
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.close()
})
afterAll(() => server[Symbol.asyncDispose]())

function open(options: PoolOptions = {}): DatabaseSession {
  const pool = openPool({ ...server.options, poolSize: 1, maxOverflow: 0, ...options })
  pools.push(pool)
  return new DatabaseSession(pool)
}

const statement = (text: string, ...values: unknown[]): { text: string; values: unknown[] } => ({ text, values })
/** The values of a column without changing length. */
const numbers = ({ columns }: ColumnResult, index = 0): unknown[] =>
  (columns[index] ?? []).flatMap((batch) => [...batch.values])
const backend = async (db: Session): Promise<unknown> =>
  (await db.query(statement('select pg_backend_pid() as pid'))).rows[0]?.['pid']
const prepared = async (db: Session): Promise<number> =>
  Number((await db.query(statement('select count(*) from pg_prepared_statements'))).rows[0]?.['count'])

/** The connection is whole: a columnar and an ordinary query on it, and the same backend as before. */
async function expectWhole(db: DatabaseSession, pid: unknown): Promise<void> {
  expect(numbers(await db.queryColumns(statement('select i from generate_series($1::int, 3) i', 1)))).toStrictEqual([
    1, 2, 3,
  ])
  expect(await backend(db)).toBe(pid)
}

const failures: readonly (readonly [string, string, object])[] = [
  ['an error in mid-stream', 'select 1 / (50000 - i) from generate_series(1, 100000) i', { sqlState: '22012' }],
  ['an error at parse', 'selekt', { code: 'SYNTAX_ERROR' }],
  ['a table that is missing', 'select * from "No such"', { code: 'NOT_FOUND' }],
  ['too few values', 'select $1::int', { sqlState: '08P01' }],
  ['COPY', 'copy (select 1) to stdout', { code: 'INVALID_VALUE' }],
  ['COPY from', 'copy pg_type from stdin', { code: 'INVALID_VALUE' }],
]

describe.each<[string, () => PoolOptions]>([
  ['plain', () => ({})],
  ['TLS', () => ({ host: 'localhost', tls: { mode: 'verify-full', ca: authority.cert } })],
  ['behind a pooler', () => ({ prepare: false })],
])('%s', (_name, options) => {
  test.each(failures)('%s: known and unknown, the connection lives on', async (_what, text, expected) => {
    const db = open(options())
    const pid = await backend(db)
    for (let time = 0; time < 3; time++) {
      await expect(db.queryColumns(statement(text))).rejects.toMatchObject(expected)
      await expectWhole(db, pid)
    }
  })

  test('bind values, NULL and nothing', async () => {
    const db = open(options())
    const text = 'select $1::int8 * i, $2::bytea, nullif(i, 2) from generate_series(1, $3::int) i'
    for (const rows of [3, 3, 0, 3]) {
      const result = await db.queryColumns(statement(text, 2n ** 40n, Buffer.from([0, 255]), rows))
      const [product, bytes, holes] = result.columns.map(([batch]) => batch)
      expect(product?.values).toStrictEqual(new BigInt64Array([1n, 2n, 3n].slice(0, rows).map((i) => i * 2n ** 40n)))
      expect(holes).toMatchObject({ length: rows, nullCount: rows === 0 ? 0 : 1 })
      expect(bytes?.values.length).toBe(2 * rows)
      expect(result).toMatchObject({ rowCount: rows, command: 'SELECT' })
    }
    expect(await db.queryColumns(statement('create temp table t (x int)'))).toMatchObject({ columns: [], rowCount: 0 })
    const inserted = await db.queryColumns(statement('insert into t values (1), (2) returning x'))
    expect([numbers(inserted), inserted.rowCount, inserted.command]).toStrictEqual([[1, 2], 2, 'INSERT'])
    expect(await db.queryColumns(statement(''))).toMatchObject({ columns: [], rowCount: 0, command: '' })
  })

  test('notices and notifications in between', async () => {
    const db = open(options())
    const heard: string[] = []
    pools.at(-1)?.pool.on('connect', (client) => client.on('notification', ({ payload = '' }) => heard.push(payload)))
    await db.query(statement('listen "Ch 1"'))
    await db.query(
      statement(`create function pg_temp.say(i int) returns int language plpgsql as
        $$ begin if i % 5000 = 0 then raise notice 'at %', i; end if; return i; end $$`),
    )
    const other = open(options())
    const notify = async (): Promise<void> => {
      for (let index = 0; index < 50; index++)
        await other.query(statement(`select pg_notify('Ch 1', repeat($1, 7000))`, String(index % 10)))
    }
    const reading = db.queryColumns(
      statement(
        'select pg_temp.say(i), pg_sleep(case when i % 1000 = 0 then 0.002 end) from generate_series(1, 100000) i',
      ),
    )
    await Promise.all([reading, notify()])
    const { notices, columns } = await reading
    expect(notices.map(({ message }) => message)).toStrictEqual(
      Array.from({ length: 20 }, (_, index) => `at ${5000 * (index + 1)}`),
    )
    expect(columns[0]?.[0]?.values).toStrictEqual(Int32Array.from({ length: 100_000 }, (_, index) => index + 1))
    await db.query(statement('select 1'))
    expect(heard).toStrictEqual(Array.from({ length: 50 }, (_, index) => String(index % 10).repeat(7000)))
    await expectWhole(db, await backend(db))
  })

  test('a signal and a time-out end it; the connection lives on', async () => {
    const db = open(options())
    const pid = await backend(db)
    const endless = statement('select i from generate_series(1, 3) i, lateral (select pg_sleep(10)) s')
    const flowing = statement(`select i, repeat('x', 100) from generate_series(1, 100000000) i`)
    for (const slow of [endless, flowing, endless]) {
      const running = db.queryColumns(slow, { signal: AbortSignal.timeout(100) })
      await expect(running).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
      await expect(db.queryColumns(slow, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
      await expectWhole(db, pid)
    }
  })

  test('a connection ended by the server, while rows come', async () => {
    const db = open(options())
    const pid = await backend(db)
    const text = `select i, pg_sleep(0.0001), repeat('x', 100) from generate_series(1, 1000000) i`
    const ended = wait(100).then(() => server.admin('select pg_terminate_backend($1)', [pid]))
    await expect(db.queryColumns(statement(text))).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
    await ended
    const next = await backend(db)
    expect(next).not.toBe(pid)
    await expectWhole(db, next)
  })
})

test('a socket cut while rows come: lost, and the next call has a new connection', async () => {
  await using proxy = await startProxy(server.port)
  const db = open({ port: proxy.port })
  const running = db.queryColumns(statement(`select i, pg_sleep(0.0001) from generate_series(1, 1000000) i`))
  setTimeout(() => proxy.cut(), 100)
  await expect(running).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await expectWhole(db, await backend(db))
})

describe('prepared statements', () => {
  const one = statement('select $1::int as n', 1)

  test('one trip once a text is known, on every connection of the pool', async () => {
    await using proxy = await startProxy(server.port, 60)
    const db = open({ port: proxy.port, poolSize: 2 })
    const time = async (run: () => Promise<unknown>): Promise<number> => {
      const start = performance.now()
      await run()
      return performance.now() - start
    }
    await Promise.all([db.ping(), db.ping()])
    expect(await time(() => db.queryColumns(one))).toBeGreaterThan(240)
    expect(await time(() => db.queryColumns(one))).toBeLessThan(235)
    expect(await time(() => Promise.all([db.queryColumns(one), db.queryColumns(one)]))).toBeLessThan(235)
    expect(await time(() => db.transaction((tx) => tx.queryColumns(one)))).toBeGreaterThan(480)
  })

  test('at most 100 are kept, whatever is run; poolers see none', async () => {
    const db = open()
    for (let index = 0; index < 250; index++) {
      expect(numbers(await db.queryColumns(statement(`select $1::int + ${index}`, 1)))).toStrictEqual([1 + index])
    }
    await db.queryColumns(one)
    expect(await prepared(db)).toBeLessThanOrEqual(101)
    expect(numbers(await db.queryColumns(statement('select $1::int + 3', 1)))).toStrictEqual([4])
    const pooled = open({ prepare: false })
    for (let time = 0; time < 3; time++) await pooled.queryColumns(one)
    expect(await prepared(pooled)).toBe(0)
  })

  test.each(['deallocate all', 'discard all', `do $$ begin execute 'deallocate all'; end $$`])(
    '%s by the user breaks nothing, not even in a transaction',
    async (command) => {
      const db = open()
      await db.queryColumns(one)
      await db.query(statement(command))
      expect(numbers(await db.queryColumns(one))).toStrictEqual([1])
      if (command.startsWith('discard')) return
      await db.transaction(async (tx) => {
        await tx.queryColumns(one)
        await tx.query(statement(command))
        expect(numbers(await tx.queryColumns(one))).toStrictEqual([1])
      })
    },
  )

  test('prepare and deallocate of others, again and again, leave no statements behind', async () => {
    const db = open()
    for (let time = 0; time < 20; time++) {
      await db.query(statement(`prepare "P 1" as select ${time}`))
      await db.queryColumns(one)
      await db.query(statement('deallocate "P 1"'))
    }
    await db.queryColumns(one)
    expect(await prepared(db)).toBe(1)
  })

  test.each([
    'alter table "T 1" add column d float8',
    'alter table "T 1" alter column n type text',
    'drop table "T 1"; create table "T 1" (x bool)',
  ])('a table that changes meanwhile: %s', async (change) => {
    for (const options of [{}, { prepare: false }]) {
      const db = open(options)
      await server.admin('drop table if exists "T 1"')
      await server.admin('create table "T 1" as select 7 as n')
      const all = statement('select * from "T 1"')
      for (let time = 0; time < 2; time++) expect(numbers(await db.queryColumns(all))).toStrictEqual([7])
      await server.admin(change)
      const { fields } = await db.queryColumns(all)
      const rows = await db.query(all)
      expect(fields.map(({ name, typeId }) => ({ name, typeId }))).toStrictEqual(rows.columns)
      await db.transaction(async (tx) => {
        expect((await tx.queryColumns(all)).fields).toStrictEqual(fields)
        await tx.query(statement('alter table "T 1" add column z int4'))
        expect((await tx.queryColumns(all)).fields).toHaveLength(fields.length + 1)
      })
      await server.admin('alter table "T 1" drop column z')
      await db.transaction(async (tx) => expect((await tx.queryColumns(all)).fields).toStrictEqual(fields))
    }
  })

  test('a statement that may have run is never sent again', async () => {
    const insert = statement('insert into "Once" default values returning m')
    const count = async (): Promise<number> => (await server.admin('select * from "Once"')).length
    for (const prepare of [true, false]) {
      const db = open({ prepare })
      await server.admin('drop table if exists "Once"')
      await server.admin('create table "Once" (m int default 1)')
      await db.queryColumns(insert)
      await server.admin(`alter table "Once" drop column m, add column m point default '(1,2)'`)
      // A prepared statement is refused by the server before it runs; another one has run when its columns are known.
      const next = db.queryColumns(insert)
      if (prepare) expect((await next).rowCount).toBe(1)
      else await expect(next).rejects.toMatchObject({ code: 'QUERY_FAILED', sqlState: '0A000' })
      expect(await count()).toBe(2)
      await db.queryColumns(insert)
      expect(await count()).toBe(3)
    }
  })
})

test('in a transaction: in its order, rolled back with it', async () => {
  const db = open()
  await db.query(statement('create table "Tx 1" (n int)'))
  const failing = db.transaction(async (tx) => {
    const [first, second] = await Promise.all([
      tx.queryColumns(statement('insert into "Tx 1" values (1) returning n')),
      tx.queryColumns(statement('select count(*)::int from "Tx 1"')),
    ])
    expect([...numbers(first), ...numbers(second)]).toStrictEqual([1, 1])
    await tx.queryColumns(statement('select 1 / 0')).catch(() => undefined)
  })
  await expect(failing).rejects.toMatchObject({ sqlState: '22012' })
  expect(numbers(await db.queryColumns(statement('select count(*)::int from "Tx 1"')))).toStrictEqual([0])
  await db.transaction(async (tx) => {
    await tx.transaction((inner) => inner.queryColumns(statement('select nothing'))).catch(() => undefined)
    expect(numbers(await tx.queryColumns(statement('select 5')))).toStrictEqual([5])
  })
})

test('a result stays what it was when the statement runs again: NULL, other values, more rows, other options', async () => {
  const db = open()
  const text = `select i, i::int8 as "8", i / 2.0 as f, i::numeric(30, 2) as d, now() + i * interval '1 s' as t, i > 2 as b,
    'word ' || i as w, array[i, i + 1] as a, nullif(i, $2::int) as n from generate_series($1::int, $1::int + $3::int) i`
  const seen: [ColumnResult, string][] = []
  const shown = ({ columns }: ColumnResult): string => inspect(columns, { depth: 9, maxArrayLength: 1000 })
  for (const [from, hole, more] of [
    [1, 3, 9],
    [100, 104, 9],
    [7, 7, 0],
    [1, -1, 99],
    [5, 8, 9],
    [1, 2, 3000],
    [9, 9, 9],
  ]) {
    for (const numeric of [undefined, 'string', 'float64'] as const) {
      const result = await db.queryColumns(statement(text, from, hole, more), { numeric })
      seen.push([result, shown(result)])
      const fresh = await open({ prepare: false }).queryColumns(statement(text, from, hole, more), { numeric })
      // now() is another one.
      const same = ({ columns, ...rest }: ColumnResult): ColumnResult => ({ ...rest, columns: columns.toSpliced(4, 1) })
      expect(shown(same(result))).toBe(shown(same(fresh)))
    }
  }
  for (const [result, before] of seen) expect(shown(result)).toBe(before)
  // What is under a NULL is nothing of an earlier result.
  const [, , , , , , , , holes] = seen.at(-1)?.[0].columns ?? []
  expect(holes?.[0]).toMatchObject({ nullCount: 1 })
  expect(holes?.[0]?.values[0]).toBe(0)
})

test('long texts come in batches of some MB, cut alike in all columns', async () => {
  const db = open()
  const text = `select i, case when i % 7 > 0 then repeat(md5(i::text), 50) end, 'w' || i % 5 from generate_series(1, 30000) i`
  const { columns } = await db.queryColumns(statement(text))
  const lengths = columns.map((batches) => batches.map(({ length }) => length))
  expect(lengths[0]?.length).toBeGreaterThan(3)
  expect(lengths[1]).toStrictEqual(lengths[0])
  expect(lengths[2]).toStrictEqual(lengths[0])
  expect(lengths[0]?.reduce((sum, length) => sum + length)).toBe(30_000)
  expect(Math.max(...(columns[1] ?? []).map(({ values }) => values.length))).toBeLessThan(16e6)
})
