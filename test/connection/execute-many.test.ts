import { setImmediate as endOfTurn } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { executeMany } from '../../src/connection/execute-many.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { BatchError } from '../../src/errors.ts'
import { keptBytes } from '../setup/memory.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession

beforeAll(async () => {
  server = await startPostgres({ settings: { max_wal_size: '2GB' } })
  pool = openPool(server.options)
  db = new DatabaseSession(pool)
  await run('create schema "Test 1.a"')
  await run('create table "Test 1.a"."R.ows" (id int primary key, "Te xt" text, at timestamptz)')
})

beforeEach(async () => {
  await run('truncate "Test 1.a"."R.ows"')
})

afterAll(async () => {
  await endOfTurn()
  expect(pool.pool.idleCount).toBe(pool.pool.totalCount)
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const insert = 'insert into "Test 1.a"."R.ows" values ($1, $2, $3)'
const run = (text: string) => db.query({ text, values: [] })
const count = async (): Promise<unknown> => (await run('select count(*) as n from "Test 1.a"."R.ows"')).rows[0]?.['n']
const row = (id: number): unknown[] => [id, `x "${id}"`, new Date(id * 1000)]

test.each([0, 1, 511, 512, 513, 20_000])('%s rows', async (size) => {
  const rows = Array.from({ length: size }, (_, index) => row(index))
  expect(await executeMany(db, insert, rows)).toStrictEqual({ rowCount: size })
  expect(await count()).toBe(size)
  const { rows: read } = await run('select * from "Test 1.a"."R.ows" order by id')
  expect(read).toStrictEqual(rows.map(([id, text, at]) => ({ id, 'Te xt': text, at })))
})

test('counts what updates and deletes touch; rows of the statement are dropped', async () => {
  await executeMany(db, insert, [row(1), row(2), row(3)])
  expect(
    await executeMany(db, 'delete from "Test 1.a"."R.ows" where id >= $1 returning *', [[3], [2], [9]]),
  ).toStrictEqual({ rowCount: 2 })
})

test.each([0, 700, 9_999, 15_000])('row %s fails: named, and nothing is kept', async (bad) => {
  const rows = Array.from({ length: 30_000 }, (_, index) => (index === bad ? [index, 'x', 'secret'] : row(index)))
  const failure: unknown = await executeMany(db, insert, rows).catch((error: unknown) => error)
  expect(failure).toBeInstanceOf(BatchError)
  expect(failure).toMatchObject({ row: bad, cause: { sqlState: '22007' } })
  expect(String(failure)).not.toContain('secret')
  expect(await count()).toBe(0)
})

test.each<[string, unknown]>([
  ['a value that cannot be bound', [1, undefined, null]],
  ['too few values', [1]],
  ['no array', 'abc'],
])('%s: the row is named, and nothing is kept', async (_name, bad) => {
  const rows = [...Array.from({ length: 1000 }, (_, index) => row(index + 10)), bad as unknown[]]
  await expect(executeMany(db, insert, rows)).rejects.toMatchObject({
    code: 'BATCH_FAILED',
    row: 1000,
    cause: { code: 'INVALID_VALUE' },
  })
  expect(await count()).toBe(0)
})

test('a wrong statement is an error of the statement, not of a row', async () => {
  await expect(executeMany(db, 'insert into nowhere values ($1)', [[1]])).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(executeMany(db, 'insert into', [])).rejects.toMatchObject({ code: 'SYNTAX_ERROR' })
})

test('every row has too few values', async () => {
  await expect(executeMany(db, insert, [[1], [2]])).rejects.toMatchObject({
    code: 'BATCH_FAILED',
    row: 0,
    cause: { sqlState: '08P01' },
  })
  await db.ping()
})

test('an iterable that throws: its error, nothing kept, closed properly', async () => {
  let closed = false
  async function* failing(): AsyncGenerator<unknown[]> {
    try {
      for (let id = 0; id < 5000; id++) yield row(id)
      throw new Error('source broke')
    } finally {
      closed = true
    }
  }
  await expect(executeMany(db, insert, failing())).rejects.toThrow('source broke')
  expect(closed).toBe(true)
  expect(await count()).toBe(0)
})

test('the source is closed when a row fails', async () => {
  let closed = false
  function* endless(): Generator<unknown[]> {
    try {
      for (let id = 0; ; id++) yield row(id % 100)
    } finally {
      closed = true
    }
  }
  await expect(executeMany(db, insert, endless())).rejects.toMatchObject({ row: 100 })
  await new Promise((done) => setTimeout(done, 20))
  expect(closed).toBe(true)
})

test('inside a transaction it is a savepoint', async () => {
  await db.transaction(async (tx) => {
    await executeMany(tx, insert, [row(1), row(2)])
    await expect(executeMany(tx, insert, [row(3), row(1)])).rejects.toMatchObject({ row: 1 })
    await executeMany(tx, insert, [row(4)])
  })
  expect(await count()).toBe(3)
})

test('a signal and a time-out end the batch', async () => {
  const slow = `insert into "Test 1.a"."R.ows" select $1 from pg_sleep(0.05)`
  const rows = Array.from({ length: 1000 }, (_, id) => [id])
  await expect(executeMany(db, slow, rows, { signal: AbortSignal.timeout(100) })).rejects.toMatchObject({
    code: 'QUERY_CANCELLED',
  })
  await expect(executeMany(db, slow, rows, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
  expect(await count()).toBe(0)
})

test('a socket cut in the middle', async () => {
  await using proxy = await startProxy(server.port)
  const far = openPool({ ...server.options, port: proxy.port })
  async function* rows(): AsyncGenerator<unknown[]> {
    for (let id = 0; id < 100_000; id++) {
      if (id === 20_000) proxy.cut()
      yield row(id)
    }
  }
  await expect(executeMany(new DatabaseSession(far), insert, rows())).rejects.toMatchObject({
    code: 'CONNECTION_LOST',
    retryable: true,
  })
  await far.close()
  expect(await count()).toBe(0)
})

test('at 1 ms each way, at least 20 times faster than a trip per row', async () => {
  await using proxy = await startProxy(server.port, 1)
  const far = openPool({ ...server.options, port: proxy.port })
  const session = new DatabaseSession(far)
  await session.ping()
  const size = 500
  const rows = Array.from({ length: size }, (_, id) => row(id))
  const start = performance.now()
  await session.transaction(async (tx) => {
    for (const values of rows) await tx.query({ text: insert, values })
  })
  const oneByOne = performance.now() - start
  await run('truncate "Test 1.a"."R.ows"')
  const again = performance.now()
  await executeMany(session, insert, rows)
  const batch = performance.now() - again
  await far.close()
  expect(oneByOne / batch).toBeGreaterThan(20)
})

test('150,000 rows of 1 kB from a generator in bounded memory', async () => {
  await run('drop table if exists "Test 1.a"."Wide"')
  await run('create table "Test 1.a"."Wide" (id int, t text)')
  const text = 'y'.repeat(1000)
  let peak = 0
  async function* rows(): AsyncGenerator<unknown[]> {
    for (let id = 0; id < 150_000; id++) {
      if (id % 15_000 === 0) peak = Math.max(peak, keptBytes())
      yield [id, text + id]
    }
  }
  const before = keptBytes()
  await executeMany(db, 'insert into "Test 1.a"."Wide" values ($1, $2)', rows())
  expect((await run('select count(*) as n from "Test 1.a"."Wide"')).rows).toStrictEqual([{ n: 150_000 }])
  // All rows at once would be 150 MB and more.
  expect(peak - before).toBeLessThan(90e6)
}, 60_000)

test("the server's hint keeps the name of the setting it is about, and loses the value", async () => {
  const failure = await executeMany(db, 'select $1::date', [['31/12/2026']]).catch((error: unknown) => error)
  expect(failure).toMatchObject({
    message: 'Row 0: date/time field value out of range: "…"',
    hint: expect.stringMatching(/different "datestyle" setting/i),
  })
})
