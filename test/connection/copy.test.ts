import { setImmediate as endOfTurn } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { copyLine } from '../../src/connection/copy-in.ts'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { keptBytes } from '../setup/memory.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

let server: PostgresServer
let pool: ConnectionPool
let engine: TestDatabase
const backends: Record<string, { db: Session; schema: string }> = {}

beforeAll(async () => {
  server = await startPostgres({ settings: { max_wal_size: '2GB' } })
  pool = openPool({ ...server.options, poolSize: 2 })
  engine = await openTestDatabase()
  backends['a server'] = { db: new DatabaseSession(pool), schema: 'Test 1.a' }
  backends['the test database'] = { db: engine.db, schema: engine.schema }
  await run(backends['a server']?.db, 'create schema "Test 1.a"')
  for (const { db, schema } of Object.values(backends)) {
    await run(db, `create table "${schema}"."T, 5" (id int primary key, "Te xt" text)`)
  }
})

afterAll(async () => {
  await endOfTurn()
  expect(pool.pool.idleCount).toBe(pool.pool.totalCount)
  await pool.close()
  await engine.close()
  await server[Symbol.asyncDispose]()
})

async function run(db: Session | undefined, text: string): Promise<Record<string, unknown>[]> {
  return (await db?.query({ text, values: [] }))?.rows ?? []
}

const bytes = (text: string): Buffer => Buffer.from(text)
const secret = 'secret-value'

async function* lines(from: number, to: number): AsyncGenerator<Buffer> {
  for (let id = from; id < to; id += 1000) {
    let text = ''
    for (let at = id; at < Math.min(id + 1000, to); at++) text += `${at}\ttext ${at}\n`
    yield bytes(text)
  }
}

/** Gives its data, then nothing for ever. */
function stuck(first: Buffer): { source: AsyncIterable<Buffer>; returned: () => boolean } {
  let given = false
  let returned = false
  const source: AsyncIterable<Buffer> = {
    [Symbol.asyncIterator]: () => ({
      next: () => {
        if (given) return new Promise(() => undefined)
        given = true
        return Promise.resolve({ done: false, value: first })
      },
      return: () => {
        returned = true
        return Promise.resolve({ done: true, value: undefined })
      },
    }),
  }
  return { source, returned: () => returned }
}

async function joined(source: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = []
  for await (const part of source) parts.push(part)
  return Buffer.concat(parts).toString()
}

const wait = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

describe.each(['a server', 'the test database'])('on %s', (name) => {
  let db: Session
  let table: string
  let copy: string
  beforeEach(async () => {
    const backend = backends[name]
    if (backend === undefined) throw new Error('not open')
    db = backend.db
    table = `"${backend.schema}"."T, 5"`
    copy = `copy ${table} from stdin`
    await run(db, `truncate ${table}`)
  })
  const count = async (): Promise<unknown> => (await run(db, `select count(*)::int as n from ${table}`))[0]?.['n']

  test('rows go in and come out', async () => {
    expect(await db.copyIn(copy, lines(0, 30_000))).toMatchObject({ rowCount: 30_000, notices: [] })
    expect(await count()).toBe(30_000)
    const text = await joined(db.copyOut(`copy (select * from ${table} order by id) to stdout`))
    const rows = text.split('\n')
    expect(rows).toHaveLength(30_001)
    expect(rows.slice(0, 30_000).every((row, id) => row === `${id}\ttext ${id}`)).toBe(true)
  })

  test('an empty source and an empty table', async () => {
    expect(await db.copyIn(copy, [])).toStrictEqual({ rowCount: 0, byteCount: 0, notices: [] })
    expect(await joined(db.copyOut(`copy ${table} to stdout`))).toBe('')
  })

  test('a row of 3 MB, more than one message', async () => {
    const text = 'ü'.repeat(1_500_000)
    await db.copyIn(copy, [bytes(`1\t${text}`), bytes('\n')])
    expect(await joined(db.copyOut(`copy ${table} to stdout`))).toBe(`1\t${text}\n`)
  })

  test('a bad row: the line is named, its values are not, nothing is kept', async () => {
    const bad = `${bytes('1\tx\n2\ty\n')}${secret}\tz\n`
    const failure = await db.copyIn(copy, [bytes(bad), ...Array(500).fill(bytes('9\tx\n'))]).catch((error) => error)
    expect(failure).toMatchObject({
      code: 'QUERY_FAILED',
      sqlState: '22P02',
      message: expect.stringMatching(/^Line 3: /),
    })
    expect(copyLine(failure)).toBe(3)
    expect(`${failure.message} ${failure.cause} ${JSON.stringify(failure)}`).not.toContain(secret)
    expect(await count()).toBe(0)
  })

  test('a key twice: the line is named', async () => {
    const failure = await db.copyIn(copy, [bytes('1\tx\n1\ty\n')]).catch((error) => error)
    expect(failure).toMatchObject({ code: 'CONSTRAINT_VIOLATION', constraint: expect.any(String) })
    expect(copyLine(failure)).toBe(2)
  })

  test('an error in the middle of a long source ends and closes it', async () => {
    let closed = false
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield bytes('7\tx\n')
      } finally {
        closed = true
      }
    }
    await expect(db.copyIn(copy, endless())).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' })
    await wait(20)
    expect(closed).toBe(true)
    expect(await count()).toBe(0)
  })

  test('a source that throws: its error comes out, nothing is kept', async () => {
    const broken = new Error('the disk is gone')
    async function* failing(): AsyncGenerator<Buffer> {
      yield* lines(0, 5000)
      throw broken
    }
    await expect(db.copyIn(copy, failing())).rejects.toBe(broken)
    const notBytes = ['text'] as unknown as Buffer[]
    await expect(db.copyIn(copy, notBytes)).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    expect(await count()).toBe(0)
  })

  test('a signal ends it while the source is silent', async () => {
    const { source, returned } = stuck(bytes('1\tx\n'))
    const controller = new AbortController()
    const running = db.copyIn(copy, source, { signal: controller.signal })
    setTimeout(() => controller.abort(), 100)
    await expect(running).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(returned()).toBe(true)
    expect(await count()).toBe(0)
  })

  test('a time-out ends it while the source is silent', async () => {
    const { source } = stuck(bytes('1\tx\n'))
    await expect(db.copyIn(copy, source, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
    expect(await count()).toBe(0)
  })

  test('a signal ends it while the server works', async () => {
    await expect(db.copyIn(copy, lines(0, 100_000_000), { signal: AbortSignal.timeout(150) })).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    expect(await count()).toBe(0)
  })

  test('a reader that leaves has it cancelled, and the connection is used again', async () => {
    const pid = async (): Promise<unknown> => (await run(db, 'select pg_backend_pid() as pid'))[0]?.['pid']
    const before = await pid()
    const start = performance.now()
    for await (const block of db.copyOut('copy (select generate_series(1, 200000000)) to stdout')) {
      expect(block.length).toBeGreaterThan(0)
      break
    }
    expect(performance.now() - start).toBeLessThan(5000)
    expect(await pid()).toBe(before)
  })

  test('a reader that throws, a signal, and a time-out', async () => {
    const endless = 'copy (select generate_series(1, 200000000)) to stdout'
    await expect(async () => {
      for await (const _ of db.copyOut(endless)) throw new Error('reader broke')
    }).rejects.toThrow('reader broke')
    await expect(joined(db.copyOut(endless, { signal: AbortSignal.timeout(100) }))).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    await expect(joined(db.copyOut('copy (select pg_sleep(20)) to stdout', { timeoutMs: 100 }))).rejects.toMatchObject({
      code: 'STATEMENT_TIMEOUT',
    })
    expect(await run(db, 'select 1 as one')).toEqual([{ one: 1 }])
  })

  test('a signal ends a read whose reader is slow', async () => {
    const controller = new AbortController()
    const read = async (): Promise<void> => {
      for await (const _ of db.copyOut('copy (select generate_series(1, 200000000)) to stdout', controller)) {
        controller.abort()
        await wait(50)
      }
    }
    await expect(read()).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  })

  test('an error in the middle of reading', async () => {
    const text = 'copy (select 1 / (50000 - g) from generate_series(1, 100000) g) to stdout'
    await expect(joined(db.copyOut(text))).rejects.toMatchObject({ code: 'QUERY_FAILED', sqlState: '22012' })
  })

  test.each(['select 1', `insert into pg_class select from pg_class where false`, '', 'copy (select 1) to stdout'])(
    'copyIn refuses %j',
    async (text) => {
      await expect(db.copyIn(text, [bytes('x')])).rejects.toMatchObject({ name: 'UsageError' })
      expect(await run(db, 'select 1 as one')).toEqual([{ one: 1 }])
    },
  )

  test('copyOut refuses what gives no COPY', async () => {
    for (const text of ['select 1', '', copy]) {
      await expect(joined(db.copyOut(text))).rejects.toMatchObject({ name: 'UsageError' })
    }
    await expect(joined(db.copyOut('copy nowhere to stdout'))).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect(await run(db, 'select 1 as one')).toEqual([{ one: 1 }])
  })

  test('in a transaction: with it or not at all', async () => {
    await db.transaction(async (tx) => {
      await tx.copyIn(copy, lines(0, 10))
      expect(await joined(tx.copyOut(`copy (select count(*) from ${table}) to stdout`))).toBe('10\n')
    })
    await expect(
      db.transaction(async (tx) => {
        await tx.copyIn(copy, lines(10, 20))
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    await expect(
      db.transaction(async (tx) => {
        await tx.copyIn(copy, lines(0, 1)).catch(() => undefined)
      }),
    ).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' })
    await db.transaction(async (tx) => {
      await tx.transaction((inner) => inner.copyIn(copy, lines(0, 1))).catch(() => undefined)
      await tx.copyIn(copy, lines(20, 21))
    })
    expect(await count()).toBe(11)
  })

  test('in a transaction: leaving the loop leaves the transaction whole', async () => {
    await db.transaction(async (tx) => {
      await tx.copyIn(copy, lines(0, 10))
      for await (const _ of tx.copyOut('copy (select generate_series(1, 200000000)) to stdout')) {
        await expect(tx.query({ text: 'select 1', values: [] })).rejects.toMatchObject({ code: 'INVALID_VALUE' })
        break
      }
      await tx.copyIn(copy, lines(10, 20))
    })
    expect(await count()).toBe(20)
  })

  test('in a transaction: its function ends while the COPY is read', async () => {
    const open = db.transaction(async (tx) => {
      const reader = tx.copyOut('copy (select generate_series(1, 200000000)) to stdout')[Symbol.asyncIterator]()
      await reader.next()
    })
    await expect(open).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const failing = db.transaction(async (tx) => {
      void tx.copyIn(copy, stuck(bytes('1\tx\n')).source).catch(() => undefined)
      await wait(50)
      throw new Error('gave up')
    })
    await expect(failing).rejects.toThrow('gave up')
    expect(await count()).toBe(0)
  })
})

test('a socket cut in the middle of both', async () => {
  await using proxy = await startProxy(server.port)
  const far = openPool({ ...server.options, port: proxy.port })
  const db = new DatabaseSession(far)
  async function* cutting(): AsyncGenerator<Buffer> {
    yield* lines(0, 20_000)
    proxy.cut()
    yield* lines(20_000, 10_000_000)
  }
  await expect(db.copyIn('copy "Test 1.a"."T, 5" from stdin', cutting())).rejects.toMatchObject({
    code: 'CONNECTION_LOST',
  })
  await expect(async () => {
    for await (const _ of db.copyOut('copy (select generate_series(1, 200000000)) to stdout')) proxy.cut()
  }).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  await far.close()
})

test('the server holds the source back, and the reader the server', async () => {
  const db = backends['a server']?.db
  if (db === undefined) throw new Error('not open')
  await run(db, 'create table "Test 1.a".wide (t text)')
  const before = keptBytes()
  let peak = 0
  const block = bytes(`${'y'.repeat(999)}\n`.repeat(256))
  async function* source(): AsyncGenerator<Buffer> {
    for (let at = 0; at < 600; at++) {
      if (at % 100 === 0) peak = Math.max(peak, keptBytes())
      yield block
    }
  }
  await db.copyIn('copy "Test 1.a".wide from stdin', source())
  let size = 0
  let parts = 0
  for await (const part of db.copyOut('copy "Test 1.a".wide to stdout')) {
    size += part.length
    if (size % 7 === 0) await wait(1)
    if (++parts % 300 === 0) peak = Math.max(peak, keptBytes())
  }
  expect(size).toBe(600 * block.length)
  expect(peak - before).toBeLessThan(60e6)
})
