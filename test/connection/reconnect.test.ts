import { afterAll, beforeAll, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { openPool } from '../../src/connection/pool.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

let server: PostgresServer

beforeAll(async () => {
  server = await startPostgres()
  await server.admin('create table "Count.er" (n int)')
})

afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

const insert = { text: 'insert into "Count.er" values (1)', values: [] }
const sleep = { text: 'select pg_sleep(20)', values: [] }
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))
const count = async (): Promise<number> => {
  const [row] = await server.admin<{ n: number }>('select count(*)::int as n from "Count.er"')
  return row!.n
}

test.each(['fast', 'immediate'] as const)(
  'idle connections after a restart (%s) are replaced unnoticed',
  async (how) => {
    const pool = openPool(server.options)
    const db = new DatabaseSession(pool)
    await Promise.all([db.ping(), db.ping(), db.ping()])
    await server.restart(how)
    const before = await count()
    await Promise.all([db.query(insert), db.query(insert), db.transaction((tx) => tx.query(insert))])
    expect(await count()).toBe(before + 3)
    await pool.close()
  },
)

test('a restart while this process was busy and has read nothing', async () => {
  const pool = openPool({ ...server.options, poolSize: 1, maxOverflow: 0 })
  const db = new DatabaseSession(pool)
  await db.ping()
  const { execFileSync } = await import('node:child_process')
  // Ends our backend from another process while this one's event loop stands still.
  const script = `import pg from 'pg'
    const client = new pg.Client(JSON.parse(process.env.OPTIONS))
    await client.connect()
    const others = "from pg_stat_activity where application_name = 'tsdbkit'"
    await client.query('select pg_terminate_backend(pid) ' + others)
    while ((await client.query('select ' + others)).rowCount > 0);
    await client.end()`
  const { host, port, user, password, database } = server.options
  const OPTIONS = JSON.stringify({ host, port, user, password, database })
  const before = await count()
  execFileSync(process.execPath, ['--input-type=module', '-e', script], { env: { ...process.env, OPTIONS } })
  await db.query(insert)
  expect(await count()).toBe(before + 1)
  await pool.close()
})

test('a restart in mid-statement is CONNECTION_LOST, and the next call works', async () => {
  const pool = openPool(server.options)
  const db = new DatabaseSession(pool)
  const lost = db.query(sleep).catch((error: unknown) => error)
  await pause(200)
  await server.restart()
  expect(await lost).toMatchObject({ code: 'CONNECTION_LOST', retryable: false })
  expect(await db.ping()).toBeGreaterThan(0)
  await pool.close()
})

test('while the server is down calls fail fast, afterwards they work', async () => {
  const pool = openPool(server.options)
  const db = new DatabaseSession(pool)
  await db.ping()
  await server.stop()
  await expect(db.ping()).rejects.toMatchObject({ code: 'CONNECTION_FAILED', retryable: true })
  await server.start()
  await db.ping()
  await pool.close()
})

test('a socket cut in mid-statement; the statement is not sent twice', async () => {
  await using proxy = await startProxy(server.port)
  const pool = openPool({ ...server.options, port: proxy.port })
  const db = new DatabaseSession(pool)
  const before = await count()
  const slow = { text: 'insert into "Count.er" select 1 from pg_sleep(0.3)', values: [] }
  const lost = db.query(slow).catch((error: unknown) => error)
  await pause(150)
  proxy.cut()
  expect(await lost).toMatchObject({ code: 'CONNECTION_LOST', retryable: false, hint: expect.stringContaining('may') })
  await pause(400)
  expect(await count()).toBe(before + 1)
  await db.ping()
  await pool.close()
})

test('a socket cut in mid-transaction undoes it', async () => {
  await using proxy = await startProxy(server.port)
  const pool = openPool({ ...server.options, port: proxy.port })
  const db = new DatabaseSession(pool)
  const before = await count()
  const lost = db.transaction(async (tx) => {
    await tx.query(insert)
    proxy.cut()
    await pause(50)
    await tx.query(insert)
  })
  await expect(lost).rejects.toMatchObject({ code: 'CONNECTION_LOST', retryable: true })
  expect(await count()).toBe(before)
  await db.ping()
  await pool.close()
})

test('a connection lost while idle inside a transaction, nobody asking, ends no process', async () => {
  const pool = openPool({ ...server.options, poolSize: 1, maxOverflow: 0 })
  const db = new DatabaseSession(pool)
  const lost = db.transaction(async (tx) => {
    await tx.query(insert)
    await server.admin(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tsdbkit'`)
    await pause(100)
  })
  await expect(lost).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await db.ping()
  await pool.close()
})

test('the answer to COMMIT lost: the outcome is unknown, and said so', async () => {
  await using proxy = await startProxy(server.port)
  const pool = openPool({ ...server.options, port: proxy.port })
  const db = new DatabaseSession(pool)
  await server.admin('create table "Slow commit" (n int)')
  await server.admin(
    `create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.3); return null; end $$`,
  )
  await server.admin(
    `create constraint trigger slow after insert on "Slow commit" deferrable initially deferred for each row execute function slow()`,
  )
  const lost = db.transaction(
    async (tx) => {
      await tx.query({ text: 'insert into "Slow commit" values (1)', values: [] })
      setTimeout(() => proxy.cut(), 150)
    },
    { retries: 5 },
  )
  await expect(lost).rejects.toMatchObject({ code: 'CONNECTION_LOST', retryable: false })
  await pause(400)
  expect(await server.admin('select * from "Slow commit"')).toHaveLength(1)
  await pool.close()
})
