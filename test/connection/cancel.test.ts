import { afterAll, beforeAll, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession

beforeAll(async () => {
  server = await startPostgres()
  pool = openPool({ ...server.options, poolSize: 1, maxOverflow: 0 })
  db = new DatabaseSession(pool)
})

afterAll(async () => {
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const sleep = (seconds: number) => ({ text: 'select pg_sleep($1)', values: [seconds] })
const endless = { text: 'do $$ begin loop end loop; end $$', values: [] }
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))
const backend = async (): Promise<unknown> =>
  (await db.query({ text: 'select pg_backend_pid() as pid', values: [] })).rows[0]?.['pid']

test.each([
  ['sleep', sleep(20)],
  ['an endless loop', endless],
])('a signal ends %s; the connection lives on', async (_name, statement) => {
  const pid = await backend()
  const controller = new AbortController()
  const running = db.query(statement, { signal: controller.signal })
  await pause(100)
  const start = performance.now()
  controller.abort()
  await expect(running).rejects.toMatchObject({ code: 'QUERY_CANCELLED', sqlState: '57014' })
  expect(performance.now() - start).toBeLessThan(1000)
  expect(await backend()).toBe(pid)
})

test('a time-out ends a statement; the next one has none', async () => {
  await expect(db.query(endless, { timeoutMs: 100 })).rejects.toMatchObject({
    code: 'STATEMENT_TIMEOUT',
    message: 'canceling statement due to its time limit of 100 ms',
  })
  await db.query(sleep(0.3))
})

test('a signal that was aborted before sends nothing', async () => {
  await server.admin('create table "Sent"()').catch(() => undefined)
  const statement = { text: 'drop table "Sent"', values: [] }
  await expect(db.query(statement, { signal: AbortSignal.abort('why') })).rejects.toMatchObject({
    code: 'QUERY_CANCELLED',
    cause: 'why',
  })
  await db.query(statement)
})

test.each([0, -1, Number.NaN, 2 ** 31])('timeoutMs %s is refused', async (timeoutMs) => {
  await expect(db.query(sleep(0), { timeoutMs })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})

test('a late cancel never hits the next statement', async () => {
  let cancelled = 0
  let answered = 0
  // Which of them comes first is chance, and on a busy machine seldom one of them.
  for (let round = 0; round < 150 || (round < 1500 && Math.min(cancelled, answered) <= 10); round++) {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(), Math.random() * 6)
    await db.query(sleep(0.003), { signal: controller.signal }).then(
      () => answered++,
      (error: unknown) => {
        expect(error).toMatchObject({ code: 'QUERY_CANCELLED' })
        cancelled++
      },
    )
    clearTimeout(timer)
    expect((await db.query({ text: 'select $1::int as n from pg_sleep(0.001)', values: [round] })).rows).toStrictEqual([
      { n: round },
    ])
  }
  expect(cancelled).toBeGreaterThan(10)
  expect(answered).toBeGreaterThan(10)
})

test('limits and cancels that are not ours', async () => {
  const other = pause(100).then(() =>
    server.admin(
      `select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep($1)%' and pid <> pg_backend_pid()`,
    ),
  )
  await expect(db.query(sleep(5))).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  await other
  const set = db.transaction(async (tx) => {
    await tx.query({ text: `set local statement_timeout = '50ms'`, values: [] })
    await tx.query(sleep(5))
  })
  await expect(set).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
  await server.admin(`alter role current_user set statement_timeout = '60ms'`)
  const limited = openPool(server.options)
  await expect(new DatabaseSession(limited).query(sleep(5))).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
  await limited.close()
  await server.admin('alter role current_user reset statement_timeout')
})

test('a server that answers nothing any more: the connection is given up after 5 s', async () => {
  await using proxy = await startProxy(server.port)
  const far = openPool({ ...server.options, port: proxy.port, closeTimeoutMs: 100 })
  const session = new DatabaseSession(far)
  await session.ping()
  const start = performance.now()
  const running = session.query(sleep(0.2), { timeoutMs: 100 }).catch((error: unknown) => error)
  proxy.swallow()
  expect(await running).toMatchObject({ code: 'CONNECTION_LOST', retryable: false })
  expect(performance.now() - start).toBeGreaterThan(5000)
  expect(performance.now() - start).toBeLessThan(7000)
  proxy.swallow(false)
  await session.ping()
  await far.close()
})
