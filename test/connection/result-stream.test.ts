import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { PoolOptions } from '../../src/connection/pool-option.ts'
import type { Session } from '../../src/connection/session.ts'
import type { Statement } from '../../src/sql/template.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

const authority = makeAuthority('Test authority')
const secure: PoolOptions = { host: 'localhost', tls: { mode: 'verify-full', ca: authority.cert } }
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

/** How long a new connection takes to be there and closed again, in this second on this machine. */
async function connectMs(options: PoolOptions): Promise<number> {
  const start = performance.now()
  const pool = openPool({ ...server.options, ...options })
  await new DatabaseSession(pool).ping()
  await pool.close()
  return performance.now() - start
}

const statement = (text: string, ...values: unknown[]): Statement => ({ text, values })
const backend = async (db: Session): Promise<unknown> =>
  (await db.query(statement('select pg_backend_pid() as pid'))).rows[0]?.['pid']
/** What the server is doing for others than the one who asks. */
const running = async (): Promise<unknown[]> =>
  (
    await server.admin(
      `select query from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and backend_type = 'client backend'`,
    )
  ).map(({ query }) => query)

/** Rows without end, from a server that does not gather them first. */
const flowing = statement(
  `with recursive r(i) as (select 1 union all select i + 1 from r) select i, repeat('x', 100) as x from r`,
)
/** Some rows at once, and then none for long. */
const stalling = statement(
  `with recursive r(i) as (select 1 union all select i + 1 from r where i < 1000001) select i, repeat('x', 200) as x, case when i > 5000 then pg_sleep(30) end from r`,
)

const ways = {
  columns: (db: Session, from: Statement): AsyncIterableIterator<unknown> => db.streamColumns(from, { batchRows: 100 }),
  rows: (db: Session, from: Statement): AsyncIterableIterator<unknown> => db.streamRows(from),
}

describe.each(Object.entries(ways))('%s', (way, read) => {
  test.each<[string, PoolOptions]>([
    ['plain', {}],
    ['TLS', secure],
  ])('%s: leaving the loop ends the statement, and the connection is free at once', async (_name, options) => {
    const db = open(options)
    const pid = await backend(db)
    // While rows come, while the socket is paused, and while the server computes.
    for (const [from, pauseMs] of [
      [flowing, 0],
      [flowing, 20],
      [stalling, 20],
    ] as const) {
      // The request needs a connection of its own.
      const limit = 30 + (await connectMs(options))
      const late: number[] = []
      // The best of them counts: what else the machine does is in the others.
      for (let round = 0; round < 8 || (round < 40 && Math.min(...late) >= limit); round++) {
        let left = 0
        for await (const _item of read(db, from)) {
          if (pauseMs > 0) await wait(pauseMs)
          left = performance.now()
          break
        }
        expect(await backend(db)).toBe(pid)
        late.push(performance.now() - left)
      }
      expect(Math.min(...late)).toBeLessThan(limit)
      expect(Math.max(...late)).toBeLessThan(1000)
    }
    expect(await running()).toStrictEqual([])
  })

  test('a far server: free within three round trips and 20 ms', async () => {
    await using proxy = await startProxy(server.port, 25)
    const db = open({ port: proxy.port })
    const pid = await backend(db)
    const trip = Math.min(await db.ping(), await db.ping(), await db.ping())
    const late: number[] = []
    for (let round = 0; round < 5; round++) {
      let left = 0
      for await (const _item of read(db, flowing)) {
        left = performance.now()
        break
      }
      late.push(performance.now() - left)
      expect(await backend(db)).toBe(pid)
    }
    expect(Math.min(...late)).toBeLessThan(3 * trip + 20)
  })

  test('return() while the next item is awaited, throw(), and what comes after', async () => {
    const db = open()
    const pid = await backend(db)
    const items = read(db, stalling)
    await items.next()
    const pending: Promise<unknown>[] = []
    for (let index = 0; index < 10_000; index++) pending.push(items.next())
    await wait(200)
    const start = performance.now()
    expect(await items.return?.()).toStrictEqual({ done: true, value: undefined })
    expect(performance.now() - start).toBeLessThan(1000)
    const settled = await Promise.all(pending)
    expect(settled.at(-1)).toStrictEqual({ done: true, value: undefined })
    expect(await items.next()).toStrictEqual({ done: true, value: undefined })
    const thrown = read(db, flowing)
    await thrown.next()
    await expect(thrown.throw?.(new Error('mine'))).rejects.toThrow('mine')
    expect(await backend(db)).toBe(pid)
    expect(await running()).toStrictEqual([])
  })

  test('nothing is sent, and no connection taken, before the first item is asked for', async () => {
    const db = open()
    const pid = await backend(db)
    const never = read(db, flowing)
    const left = read(db, flowing)
    expect(await left.return?.()).toStrictEqual({ done: true, value: undefined })
    expect(await backend(db)).toBe(pid)
    expect(await never.next()).toMatchObject({ done: false })
    await never.return?.()
  })

  test('an error in mid-stream comes after the items before it', async () => {
    const db = open()
    const pid = await backend(db)
    let items = 0
    const reading = (async () => {
      for await (const _item of read(db, statement('select 1 / (20000 - i) as x from generate_series(1, 30000) i'))) {
        items++
      }
    })()
    await expect(reading).rejects.toMatchObject({ sqlState: '22012' })
    expect(items).toBeGreaterThan(100)
    await expect(read(db, statement('selekt')).next()).rejects.toMatchObject({ code: 'SYNTAX_ERROR' })
    await expect(read(db, statement('copy pg_type to stdout')).next()).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    expect(await backend(db)).toBe(pid)
  })

  test('a signal, before, while rows come, and while nobody reads', async () => {
    const db = open()
    const pid = await backend(db)
    await expect(read1(way, db, flowing, AbortSignal.abort('why')).next()).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
      cause: 'why',
    })
    for (const pauseMs of [0, 300]) {
      const leaving = new AbortController()
      const items = read1(way, db, flowing, leaving.signal)
      await items.next()
      setTimeout(() => leaving.abort(), 100)
      await wait(pauseMs)
      const ended = (async () => {
        for await (const _item of items);
      })()
      await expect(ended).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
      expect(await backend(db)).toBe(pid)
    }
    expect(await running()).toStrictEqual([])
  })

  test('a lost connection', async () => {
    await using proxy = await startProxy(server.port)
    const db = open({ port: proxy.port })
    for (const pauseMs of [0, 50]) {
      const items = read(db, flowing)
      await items.next()
      await wait(pauseMs)
      proxy.cut()
      const ended = (async () => {
        for await (const _item of items);
      })()
      await expect(ended).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
      await db.ping()
    }
  })

  test('in a transaction: leaving the loop leaves it whole; other statements wait outside', async () => {
    const db = open({ poolSize: 2 })
    await db.query(statement('drop table if exists "Tx 2"'))
    await db.query(statement('create table "Tx 2" (n int)'))
    await db.transaction(async (tx) => {
      await tx.query(statement('insert into "Tx 2" values (1)'))
      for await (const _item of read(tx, flowing)) {
        await expect(tx.query(statement('select 1'))).rejects.toMatchObject({ code: 'INVALID_VALUE' })
        await expect(read(tx, flowing).next()).rejects.toMatchObject({ code: 'INVALID_VALUE' })
        await db.query(statement('select 1'))
        break
      }
      for await (const _item of read(
        tx,
        statement('insert into "Tx 2" select 2 from generate_series(1, 100000) returning n'),
      ))
        break
      await tx.transaction(async (inner) => {
        for await (const _item of read(inner, flowing)) break
        await inner.query(statement('insert into "Tx 2" values (3)'))
      })
      let items = 0
      for await (const _item of read(tx, statement('select i from generate_series(1, 1000) i'))) {
        items++
      }
      expect(items).toBe(way === 'rows' ? 1000 : 10)
    })
    expect((await db.query(statement('select n from "Tx 2" order by n'))).rows).toStrictEqual([{ n: 1 }, { n: 3 }])
  })

  test('in a transaction: a failed statement fails it, and so does a stream left open', async () => {
    const db = open({ poolSize: 2 })
    const failed = db.transaction(async (tx) => {
      await read(tx, statement('select 1 / 0'))
        .next()
        .catch(() => undefined)
    })
    await expect(failed).rejects.toMatchObject({ sqlState: '22012' })
    const forgotten = db.transaction((tx) => read(tx, flowing).next())
    await expect(forgotten).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const controller = new AbortController()
    const cancelled = db.transaction(
      async (tx) => {
        for await (const _item of read(tx, flowing)) controller.abort()
      },
      { signal: controller.signal },
    )
    await expect(cancelled).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    await db.ping()
    expect(await running()).toStrictEqual([])
  })

  test('a stream left open by a transaction does not touch what comes after it', async () => {
    const db = open()
    const streams: { late?: AsyncIterator<unknown>; inner?: AsyncIterator<unknown> } = {}
    const forgotten = db.transaction(async (tx) => {
      streams.late = read(tx, flowing)
      await streams.late.next()
    })
    await expect(forgotten).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const pid = await backend(db)
    await db.query(statement('drop table if exists "Tx 3"'))
    await db.query(statement('create table "Tx 3" (n int)'))
    await db.transaction(async (tx) => {
      // Both have a savepoint of the name the forgotten stream had.
      const failed = tx.transaction(async (child) => {
        streams.inner = read(child, flowing)
        await streams.inner.next()
      })
      await expect(failed).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
      await tx.query(statement('insert into "Tx 3" values (1)'))
      await tx.transaction(async (child) => {
        await child.query(statement('insert into "Tx 3" values (2)'))
        await streams.late?.return?.()
        await streams.inner?.return?.()
      })
    })
    expect((await db.query(statement('select n from "Tx 3" order by n'))).rows).toStrictEqual([{ n: 1 }, { n: 2 }])
    await db
      .transaction(async (tx) => {
        streams.late = read(tx, flowing)
        streams.late.next().catch(() => undefined)
      })
      .catch((error) => expect(error).toMatchObject({ code: 'QUERY_CANCELLED' }))
    await streams.late?.return?.()
    expect(await backend(db)).toBe(pid)
  })

  test('a stream whose turn comes after the function has ended fails the transaction', async () => {
    const db = open()
    const waiting = db.transaction(async (tx) => {
      void tx.query(statement('select pg_sleep(0.1)'))
      read(tx, flowing)
        .next()
        .catch(() => undefined)
    })
    await expect(waiting).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(await running()).toStrictEqual([])
  })
})

function read1(way: string, db: Session, from: Statement, signal: AbortSignal): AsyncIterableIterator<unknown> {
  return way === 'rows' ? db.streamRows(from, { signal }) : db.streamColumns(from, { signal, batchRows: 100 })
}

test('closing the database ends a stream that was dropped', async () => {
  const db = open({ closeTimeoutMs: 100 })
  const dropped = db.streamRows(flowing)
  await dropped.next()
  await pools.pop()?.close()
  for (let attempt = 0; (await running()).length > 0 && attempt < 50; attempt++) await wait(20)
  expect(await running()).toStrictEqual([])
  const rest = (async () => {
    for await (const _item of dropped);
  })()
  await expect(rest).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
})

test('a slow reader holds the server back', async () => {
  const db = open()
  const other = open()
  const pid = await backend(db)
  const waitsFor = async (): Promise<unknown> => {
    const activity = statement('select wait_event from pg_stat_activity where pid = $1', pid)
    return (await other.query(activity)).rows[0]?.['wait_event']
  }
  for (const items of [db.streamColumns(flowing, { batchRows: 1000 }), db.streamRows(flowing)]) {
    await items.next()
    // At first it fills what lies between, and from then on it waits.
    let waited = 0
    for (let sample = 0; sample < 200 && waited < 20; sample++) {
      waited = (await waitsFor()) === 'ClientWrite' ? waited + 1 : 0
      await wait(10)
    }
    expect(waited).toBe(20)
    await items.return()
  }
})

test('batches have the rows asked for, the last one the rest; one without rows tells the columns', async () => {
  const db = open()
  const lengths = async (rows: number, batchRows?: number): Promise<number[]> => {
    const found: number[] = []
    const from = statement('select i, i::text from generate_series(1, $1::int) i', rows)
    for await (const { rowCount, columns } of db.streamColumns(from, batchRows === undefined ? {} : { batchRows })) {
      expect(columns.map(({ length }) => length)).toStrictEqual([rowCount, rowCount])
      found.push(rowCount)
    }
    return found
  }
  expect(await lengths(1000, 300)).toStrictEqual([300, 300, 300, 100])
  expect(await lengths(600, 300)).toStrictEqual([300, 300])
  expect(await lengths(3, 1)).toStrictEqual([1, 1, 1])
  expect(await lengths(70_000)).toStrictEqual([65_536, 4464])
  expect(await lengths(0)).toStrictEqual([0])
  for (const batchRows of [0, -1, 1.5, Number.NaN, 2 ** 31]) {
    expect(() => db.streamColumns(flowing, { batchRows })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  }
})

test('rows are those of query, with a limit of time for the whole', async () => {
  const db = open()
  const from = statement(
    `select i::int8 as "A.b", now() as t, null as n, '{1,NULL}'::int[] as l, 1.50 as d, 'ü' as "__proto__" from generate_series(1, 500) i`,
  )
  const streamed: unknown[] = []
  for await (const row of db.streamRows(
    statement(from.text.replace('now()', `'2024-01-01 00:00:00.123456+00'::timestamptz`)),
    { int8: 'bigint' },
  ))
    streamed.push(row)
  const { rows } = await db.query(
    statement(from.text.replace('now()', `'2024-01-01 00:00:00.123456+00'::timestamptz`)),
    { int8: 'bigint' },
  )
  expect(streamed).toStrictEqual(rows)
  const limited = (async () => {
    for await (const _row of db.streamRows(flowing, { timeoutMs: 100 })) await wait(1)
  })()
  await expect(limited).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
})
