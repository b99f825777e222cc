import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setImmediate as endOfTurn } from 'node:timers/promises'
import { inspect } from 'node:util'
import pg from 'pg'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { PoolOptions } from '../../src/connection/pool-option.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
const pools: ConnectionPool[] = []

beforeAll(async () => {
  server = await startPostgres()
})

afterAll(async () => {
  for (const pool of pools) await pool.close()
  await server[Symbol.asyncDispose]()
})

function open(options: PoolOptions = {}): { pool: ConnectionPool; db: DatabaseSession } {
  const pool = openPool({ ...server.options, ...options })
  pools.push(pool)
  return { pool, db: new DatabaseSession(pool) }
}

const sleep = (seconds: number) => ({ text: 'select pg_sleep($1)', values: [seconds] })
const backends = async (name: string): Promise<number> => {
  const [row] = await server.admin<{ n: number }>(
    'select count(*)::int as n from pg_stat_activity where application_name = $1',
    [name],
  )
  return row!.n
}
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

test('the whole of a result', async () => {
  const { db, pool } = open()
  const result = await db.query({
    text: `select $1::int8 as "A b", 'x' as "A b", null as "__proto__", 1 as "constructor"`,
    values: [5],
  })
  expect(result.rows).toHaveLength(1)
  expect(Object.keys(result.rows[0]!)).toStrictEqual(['A b', '__proto__', 'constructor'])
  expect(result).toMatchObject({ rowCount: 1, command: 'SELECT', notices: [] })
  expect(result.columns.map(({ name, typeId }) => [name, typeId])).toStrictEqual([
    ['A b', 20],
    ['A b', 25],
    ['__proto__', 25],
    ['constructor', 23],
  ])
  expect(await db.query({ text: 'create table "T 1"(a int)', values: [] })).toMatchObject({
    command: 'CREATE',
    rowCount: 0,
    rows: [],
  })
  expect(await db.query({ text: 'insert into "T 1" select generate_series(1, 7)', values: [] })).toMatchObject({
    command: 'INSERT',
    rowCount: 7,
  })
  const noisy = await db.query({ text: `do $$ begin raise warning 'careful' using hint = 'look'; end $$`, values: [] })
  expect(noisy.notices).toStrictEqual([{ severity: 'WARNING', sqlState: '01000', message: 'careful', hint: 'look' }])
  expect((await db.query({ text: 'select 1', values: [] })).notices).toStrictEqual([])
  await expect(db.query({ text: 'copy (select 1) to stdout', values: [] })).rejects.toMatchObject({
    code: 'INVALID_VALUE',
  })
  await expect(db.query({ text: 'copy "T 1" from stdin', values: [] })).rejects.toMatchObject({ code: 'INVALID_VALUE' })
  expect((await db.query({ text: 'select count(*) as n from "T 1"', values: [] })).rows).toStrictEqual([{ n: 7 }])
  expect(pool.pool.totalCount).toBe(1)
})

test('int8 and numeric by option, and the error of a column leaves the connection whole', async () => {
  const { db } = open()
  const statement = { text: 'select 9007199254740993 as "Big N", 1.5 as f', values: [] }
  await expect(db.query(statement)).rejects.toMatchObject({
    code: 'INVALID_VALUE',
    message: expect.stringContaining('Big N'),
  })
  expect((await db.query(statement, { int8: 'bigint', numeric: 'number' })).rows).toStrictEqual([
    { 'Big N': 9007199254740993n, f: 1.5 },
  ])
  expect((await db.query(statement, { int8: 'string' })).rows).toStrictEqual([
    { 'Big N': '9007199254740993', f: '1.5' },
  ])
})

test('opens up to poolSize + maxOverflow, shrinks to poolSize', async () => {
  const { db, pool } = open({ poolSize: 2, maxOverflow: 3, idleTimeoutMs: 1000, applicationName: 'Size test' })
  await Promise.all(Array.from({ length: 20 }, () => db.query(sleep(0.05))))
  expect(pool.pool.totalCount).toBe(5)
  expect(await backends('Size test')).toBe(5)
  await expect.poll(() => backends('Size test'), { timeout: 10_000, interval: 50 }).toBe(2)
  expect(pool.pool.totalCount).toBe(2)
  await pause(300)
  expect(pool.pool.totalCount).toBe(2)
})

test('an exhausted pool is an error in time; the waiter that gave up leaks nothing', async () => {
  const { db, pool } = open({ poolSize: 1, maxOverflow: 0, acquireTimeoutMs: 150 })
  const busy = db.query(sleep(0.6))
  const start = performance.now()
  await expect(db.query(sleep(0))).rejects.toMatchObject({
    code: 'POOL_EXHAUSTED',
    retryable: true,
    message: expect.stringMatching(/\.$/),
    hint: expect.stringMatching(/\.$/),
  })
  expect(performance.now() - start).toBeLessThan(580)
  await busy
  await db.query(sleep(0))
  await endOfTurn()
  expect(pool.pool.idleCount).toBe(1)
  const inside = db.transaction(() => db.query(sleep(0)))
  await expect(inside).rejects.toMatchObject({ code: 'POOL_EXHAUSTED', hint: expect.stringContaining('session') })
})

test('a waiting call ends with its signal', async () => {
  const { db } = open({ poolSize: 1, maxOverflow: 0 })
  const busy = db.query(sleep(0.3))
  const reason = new Error('enough')
  const controller = new AbortController()
  const waiting = db.query(sleep(0), { signal: controller.signal })
  controller.abort(reason)
  await expect(waiting).rejects.toMatchObject({ code: 'QUERY_CANCELLED', cause: reason })
  await busy
  await db.query(sleep(0))
})

test('a wrong password, user or database', async () => {
  await expect(open({ password: 'wrong secret' }).db.ping()).rejects.toMatchObject({
    code: 'AUTHENTICATION_FAILED',
    retryable: false,
  })
  await expect(open({ user: 'nobody' }).db.ping()).rejects.toMatchObject({ code: 'AUTHENTICATION_FAILED' })
  await expect(open({ password: undefined }).db.ping()).rejects.toMatchObject({ code: 'AUTHENTICATION_FAILED' })
  await expect(open({ database: 'no such' }).db.ping()).rejects.toMatchObject({
    code: 'CONNECTION_FAILED',
    retryable: false,
  })
  const error = await open({ password: 'wrong secret' })
    .db.ping()
    .catch((thrown: unknown) => thrown)
  expect(inspect(error, { depth: 10 })).not.toContain('wrong secret')
  expect(String(error)).toContain(`127.0.0.1:${server.port}`)
})

test('without a password the password file is read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tsdb-pgpass-'))
  const file = join(directory, 'pgpass')
  const escaped = password.replaceAll(/[\\:]/g, '\\$&')
  writeFileSync(file, `*:*:other:*:wrong\n127.0.0.1:${server.port}:postgres:Ad min:${escaped}\n`, { mode: 0o600 })
  const before = process.env['PGPASSFILE']
  process.env['PGPASSFILE'] = file
  try {
    expect(await open({ password: undefined }).db.ping()).toBeGreaterThan(0)
  } finally {
    if (before === undefined) delete process.env['PGPASSFILE']
    else process.env['PGPASSFILE'] = before
    rmSync(directory, { recursive: true })
  }
})

test('the password is asked for where it is a function, and never printed', async () => {
  const { db, pool } = open({ password: async () => password })
  expect(await db.ping()).toBeGreaterThan(0)
  const plain = open()
  await plain.db.ping()
  expect(inspect(plain.pool.pool, { depth: 6 })).not.toContain('pass word')
  expect(inspect(pool.pool, { depth: 6 })).not.toContain('pass word')
})

test('a dead server, an unknown host, a silent one', async () => {
  const dead = open({ port: 1 })
  await expect(dead.db.ping()).rejects.toMatchObject({
    code: 'CONNECTION_FAILED',
    retryable: true,
    message: expect.stringContaining('127.0.0.1:1'),
  })
  await expect(open({ host: 'no-such-host.invalid' }).db.ping()).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
  await expect(open({ host: '/no/such/directory' }).db.ping()).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
  const sockets: Socket[] = []
  const silent = createServer((socket) => sockets.push(socket))
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const address = silent.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const start = performance.now()
  await expect(open({ port, connectTimeoutMs: 200 }).db.ping()).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
  await expect(open({ port, acquireTimeoutMs: 200 }).db.ping()).rejects.toMatchObject({ code: 'CONNECTION_FAILED' })
  expect(performance.now() - start).toBeLessThan(1500)
  for (const socket of sockets) socket.destroy()
  silent.close()
})

test('too many connections', async () => {
  const clients = []
  let refused: unknown
  for (let index = 0; index < 50 && refused === undefined; index++) {
    const { db } = open({ poolSize: 1, maxOverflow: 0 })
    clients.push(db)
    refused = await db.ping().then(
      () => undefined,
      (error: unknown) => error,
    )
  }
  expect(refused).toMatchObject({ code: 'CONNECTION_FAILED', retryable: true })
  for (const pool of pools.splice(0)) await pool.close()
})

test('settings of the session', async () => {
  const { db } = open({ statementTimeoutMs: 150, startupOptions: '-c search_path=metrics' })
  const { rows } = await db.query({
    text: `select current_setting('application_name') as a, current_setting('search_path') as p, current_setting('datestyle') as d`,
    values: [],
  })
  expect(rows).toStrictEqual([{ a: 'tsdbkit', p: 'metrics', d: expect.stringMatching(/^ISO/) }])
  await expect(db.query(sleep(5))).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT', sqlState: '57014' })
})

test('times are read rightly where the database has another DateStyle', async () => {
  await server.admin('alter role current_user set datestyle = german')
  const { db } = open()
  const { rows } = await db.query({ text: `select '2024-03-04 05:06:07+00'::timestamptz as t`, values: [] })
  await server.admin('alter role current_user reset datestyle')
  expect(rows).toStrictEqual([{ t: new Date('2024-03-04T05:06:07Z') }])
})

test('a BEGIN outside of transaction() does not leak into the next statement', async () => {
  const { db } = open({ poolSize: 1, maxOverflow: 0 })
  await expect(db.query({ text: 'begin', values: [] })).rejects.toMatchObject({ code: 'INVALID_VALUE' })
  await db.query({ text: 'create table "Kept"()', values: [] })
  expect(await server.admin(`select to_regclass('"Kept"') is not null as kept`)).toStrictEqual([{ kept: true }])
})

test('the raw pool is a pg.Pool; what it leaves open is not handed out', async () => {
  const { db, pool } = open({ poolSize: 1, maxOverflow: 0 })
  expect(pool.pool).toBeInstanceOf(pg.Pool)
  const client = await pool.pool.connect()
  await client.query('begin')
  client.release()
  await db.query({ text: 'create table "Not in it"()', values: [] })
  expect(await server.admin(`select to_regclass('"Not in it"') is not null as kept`)).toStrictEqual([{ kept: true }])
})

test('close: refuses new calls, rejects waiting ones, lets running ones end, leaves nothing open', async () => {
  const { db, pool } = open({ poolSize: 1, maxOverflow: 0, applicationName: 'Close test' })
  await db.ping()
  const running = db.query({ text: 'select 7 as a from pg_sleep(0.3)', values: [] })
  const waiting = db.query(sleep(0))
  await pause(50)
  const closing = pool.close()
  expect(pool.close()).toBe(closing)
  await expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(db.ping()).rejects.toMatchObject({ code: 'CLOSED' })
  expect((await running).rows).toStrictEqual([{ a: 7 }])
  await closing
  await pause(50)
  expect(await backends('Close test')).toBe(0)
})

test('close gives up on what does not end, on the server too', async () => {
  const { db, pool } = open({ closeTimeoutMs: 100, applicationName: 'Stuck test' })
  const running = db.query(sleep(30)).catch((error: unknown) => error)
  await pause(100)
  const start = performance.now()
  await pool.close()
  expect(performance.now() - start).toBeLessThan(2500)
  expect(await running).toHaveProperty('code')
  await pause(50)
  expect(await backends('Stuck test')).toBe(0)
})

test('over a stream of the caller, cancel requests included', async () => {
  const streams: Duplex[] = []
  const seen: Duplex[] = []
  const stream = (): Duplex => {
    const socket = connect(server.port, '127.0.0.1')
    // A bare Duplex, without the methods of a socket.
    const bare = Duplex.from({ readable: socket, writable: socket })
    streams.push(bare)
    return bare
  }
  const { db, pool } = open({
    stream,
    host: undefined,
    port: undefined,
    beforeQuery: ({ connection }) => void seen.push(connection),
  })
  expect((await db.query({ text: 'select $1::text as a', values: ['x'] })).rows).toStrictEqual([{ a: 'x' }])
  expect(seen).toStrictEqual([streams[0]])
  await expect(db.query(sleep(10), { timeoutMs: 50 })).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
  expect(streams).toHaveLength(2)
  expect(pool.target).toBe('the embedded engine')
  await pool.close()
  expect(streams.every((each) => each.destroyed)).toBe(true)
})

test('a hook may refuse; the connection goes back', async () => {
  const { db, pool } = open({
    beforeQuery: ({ outer }) => {
      if (outer?.open) throw new Error('inside')
    },
  })
  await expect(db.transaction(() => db.ping())).rejects.toThrow('inside')
  expect(await db.transaction(async (tx) => (await tx.query(sleep(0))).rowCount)).toBe(1)
  await endOfTurn()
  expect(pool.pool.idleCount).toBe(pool.pool.totalCount)
})

test.each<[keyof PoolOptions, number]>([
  ['poolSize', 0],
  ['maxOverflow', -1],
  ['acquireTimeoutMs', Number.NaN],
  ['connectTimeoutMs', 1.5],
  ['idleTimeoutMs', 2 ** 31],
])('option %s = %s is refused', (name, value) => {
  expect(() => openPool({ [name]: value })).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(name) }),
  )
})

test('no listener piles up', async () => {
  const { db } = open({ poolSize: 1, maxOverflow: 0 })
  const signal = new AbortController().signal
  const warnings: unknown[] = []
  process.on('warning', (warning) => warnings.push(warning))
  for (let index = 0; index < 50; index++) await db.query(sleep(0), { signal, timeoutMs: 5000 })
  await pause(10)
  expect(warnings).toStrictEqual([])
  expect(EventEmitter.defaultMaxListeners).toBe(10)
})

test('one connection serves calls that follow each other; a user of the raw pool gets it in the same turn', async () => {
  const { db, pool } = open({ poolSize: 1, maxOverflow: 0 })
  const pid = async (): Promise<unknown> =>
    (await db.query({ text: 'select pg_backend_pid() as pid', values: [] })).rows[0]?.['pid']
  const first = await pid()
  for (let call = 0; call < 20; call++) expect(await pid()).toBe(first)
  expect(await Promise.all([pid(), pid(), pid()])).toStrictEqual([first, first, first])
  await pid()
  const raw = await pool.pool.connect()
  expect((await raw.query('select pg_backend_pid() as pid')).rows[0].pid).toBe(first)
  const waiting = pid()
  raw.release()
  expect(await waiting).toBe(first)
  // Nothing of the call that ended is left in the driver's pool.
  await pid()
  await pool.close()
  await expect(pid()).rejects.toMatchObject({ code: 'CLOSED' })
})

test('libraries for COPY, which listen to the socket in their own way, on a connection of the raw pool', async () => {
  const { db, pool } = open({ poolSize: 1, maxOverflow: 0 })
  const lines = Array.from({ length: 50_000 }, (_, i) => `${i}\tline ${i}\n`)
  const columns = async (): Promise<unknown> =>
    (await db.queryColumns({ text: 'select i, i::text from generate_series(1, 2000) i', values: [] })).rowCount
  await db.query({ text: 'create table "Cop.y" (id int, t text)', values: [] })
  for (let time = 0; time < 2; time++) {
    expect(await columns()).toBe(2000)
    const client = await pool.pool.connect()
    await client.query('truncate "Cop.y"')
    await pipeline(Readable.from(lines), client.query(copyFrom('copy "Cop.y" from stdin')))
    const parts: Buffer[] = []
    for await (const part of client.query(copyTo('copy (select * from "Cop.y" order by id) to stdout'))) {
      parts.push(part)
      // Slower than the server, so that bytes wait in the stream.
      if (parts.length % 50 === 0) await pause(1)
    }
    client.release()
    expect(Buffer.concat(parts).toString()).toBe(lines.join(''))
  }
})

test('MD5: the salt is the one that was sent, also where the password takes its time', async () => {
  await using old = await startPostgres({
    access: ['local all all trust', 'host all all 127.0.0.1/32 md5'],
    settings: { password_encryption: 'md5' },
  })
  await old.admin(`alter user "Ad min" password 'secret'`)
  const password = (): Promise<string> => pause(50).then(() => 'secret')
  const pool = openPool({ ...old.options, password })
  pools.push(pool)
  expect((await new DatabaseSession(pool).query({ text: 'select 1 as one', values: [] })).rows).toStrictEqual([
    { one: 1 },
  ])
})
