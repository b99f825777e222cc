import { setImmediate as endOfTurn } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { Session } from '../../src/connection/session.ts'
import { currentTransaction } from '../../src/connection/transaction-context.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession

beforeAll(async () => {
  server = await startPostgres()
  pool = openPool(server.options)
  db = new DatabaseSession(pool)
  await db.query({ text: 'create table "Acc.ount" (id int primary key, n int)', values: [] })
})

beforeEach(async () => {
  await db.query({ text: 'truncate "Acc.ount"', values: [] })
})

afterAll(async () => {
  await endOfTurn()
  expect(pool.pool.idleCount).toBe(pool.pool.totalCount)
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const insert = (session: Session, id: number, n = 0) =>
  session.query({ text: 'insert into "Acc.ount" values ($1, $2)', values: [id, n] })
const sleep = (session: Session, seconds: number) => session.query({ text: 'select pg_sleep($1)', values: [seconds] })
const ids = async (): Promise<unknown[]> => {
  const { rows } = await db.query({ text: 'select id from "Acc.ount" order by id', values: [] })
  return rows.map((row) => row['id'])
}
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

test('commits what returns, rolls back what throws', async () => {
  expect(await db.transaction(async (tx) => (await insert(tx, 1)).rowCount)).toBe(1)
  const reason = new Error('no')
  const undone = db.transaction(async (tx) => {
    await insert(tx, 2)
    throw reason
  })
  await expect(undone).rejects.toBe(reason)
  const synchronous = db.transaction(() => {
    throw reason
  })
  await expect(synchronous).rejects.toBe(reason)
  expect(await ids()).toStrictEqual([1])
})

test('isolation and readOnly', async () => {
  const shown = await db.transaction(
    async (tx) =>
      (
        await tx.query({
          text: `select current_setting('transaction_isolation') as i, current_setting('transaction_read_only') as r`,
          values: [],
        })
      ).rows,
    { isolation: 'repeatable read', readOnly: true },
  )
  expect(shown).toStrictEqual([{ i: 'repeatable read', r: 'on' }])
  await expect(db.transaction((tx) => insert(tx, 1), { readOnly: true })).rejects.toMatchObject({ sqlState: '25006' })
  const injected = { isolation: 'serializable; drop table x' as 'serializable' }
  await expect(db.transaction(async () => 1, injected)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  await expect(db.transaction(async () => 1, { retries: -1 })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})

describe('savepoints', () => {
  test('a nested one rolls back alone, at any depth', async () => {
    await db.transaction(async (tx) => {
      await insert(tx, 1)
      await tx.transaction(async (inner) => {
        await insert(inner, 2)
        await expect(inner.transaction((deepest) => insert(deepest, 1))).rejects.toMatchObject({ sqlState: '23505' })
        await insert(inner, 3)
      })
      const undone = tx.transaction(async (inner) => {
        await insert(inner, 4)
        await inner.transaction((deepest) => insert(deepest, 5))
        throw new Error('no')
      })
      await expect(undone).rejects.toThrow('no')
      await insert(tx, 6)
    })
    expect(await ids()).toStrictEqual([1, 2, 3, 6])
  })

  test('siblings started together run one after another; one that fails does not take the other', async () => {
    await db.transaction(async (tx) => {
      const failing = tx.transaction(async (inner) => {
        await insert(inner, 1)
        await sleep(inner, 0.02)
        throw new Error('no')
      })
      const other = tx.transaction((inner) => insert(inner, 2))
      const plain = insert(tx, 3)
      await expect(failing).rejects.toThrow('no')
      await Promise.all([other, plain])
    })
    expect(await ids()).toStrictEqual([2, 3])
  })

  test('the outer session used inside a nested function belongs to the savepoint, and does not hang', async () => {
    await db.transaction(async (tx) => {
      await tx.transaction(async () => {
        await insert(tx, 1)
        await tx.transaction(() => insert(tx, 2))
      })
      const undone = tx.transaction(async () => {
        await insert(tx, 3)
        throw new Error('no')
      })
      await expect(undone).rejects.toThrow('no')
    })
    expect(await ids()).toStrictEqual([1, 2])
  })

  test('options of a whole transaction are refused', async () => {
    const nested = db.transaction((tx) => tx.transaction(async () => 1, { isolation: 'serializable' }))
    await expect(nested).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })
})

describe('what would silently not be committed', () => {
  test('a failed statement whose error was caught', async () => {
    await insert(db, 1)
    const swallowed = db.transaction(async (tx) => {
      await insert(tx, 2)
      await insert(tx, 1).catch(() => undefined)
      return 'done'
    })
    await expect(swallowed).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' })
    expect(await ids()).toStrictEqual([1])
  })

  test('unless the function rolled back to a savepoint of its own', async () => {
    await insert(db, 1)
    await db.transaction(async (tx) => {
      await tx.query({ text: 'savepoint mine', values: [] })
      await insert(tx, 1).catch(() => undefined)
      await tx.query({ text: 'rollback to mine', values: [] })
      await insert(tx, 2)
    })
    expect(await ids()).toStrictEqual([1, 2])
  })

  test('a statement that was not awaited is committed, or its error is the transaction’s', async () => {
    await db.transaction(async (tx) => {
      void sleep(tx, 0.05)
      void insert(tx, 1)
    })
    expect(await ids()).toStrictEqual([1])
    const failing = db.transaction(async (tx) => {
      void insert(tx, 2)
      void insert(tx, 1)
    })
    await expect(failing).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' })
    expect(await ids()).toStrictEqual([1])
  })

  test.each(['commit', 'rollback'])('a %s as a statement', async (text) => {
    const ended = db.transaction(async (tx) => {
      await tx.query({ text, values: [] })
      await insert(tx, 1)
    })
    await expect(ended).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    expect(await ids()).toStrictEqual([])
  })

  test('a constraint that fails at COMMIT', async () => {
    await db.query({ text: 'create table "Def" (id int unique deferrable initially deferred)', values: [] })
    const text = 'insert into "Def" values (1), (1)'
    await expect(db.transaction((tx) => tx.query({ text, values: [] }))).rejects.toMatchObject({ sqlState: '23505' })
    expect((await db.query({ text: 'select * from "Def"', values: [] })).rows).toStrictEqual([])
  })
})

test('use after the end is refused', async () => {
  let leaked: Session | undefined
  let inner: Session | undefined
  await db.transaction(async (tx) => {
    leaked = tx
    await tx.transaction(async (nested) => {
      inner = nested
    })
    await expect(inner!.query({ text: 'select 1', values: [] })).rejects.toMatchObject({ code: 'CLOSED' })
  })
  await expect(insert(leaked!, 1)).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(leaked!.transaction(async () => 1)).rejects.toMatchObject({ code: 'CLOSED' })
  expect(await ids()).toStrictEqual([])
})

test('many statements at once keep their order', async () => {
  const seen = await db.transaction(async (tx) => {
    await tx.query({ text: 'create temporary sequence "S q"', values: [] })
    const all = Array.from({ length: 100 }, () => tx.query({ text: `select nextval('"S q"') as n`, values: [] }))
    return (await Promise.all(all)).map(({ rows }) => rows[0]?.['n'])
  })
  expect(seen).toStrictEqual(Array.from({ length: 100 }, (_, index) => index + 1))
})

test('what still runs when the function throws is cancelled', async () => {
  const start = performance.now()
  const failing = db.transaction(async (tx) => {
    void tx.transaction((inner) => sleep(inner, 20))
    void sleep(tx, 20)
    await pause(50)
    throw new Error('no')
  })
  await expect(failing).rejects.toThrow('no')
  expect(performance.now() - start).toBeLessThan(2000)
})

describe('signal', () => {
  test('aborted before: nothing is sent', async () => {
    let called = false
    const run = async (): Promise<void> => {
      called = true
    }
    await expect(db.transaction(run, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    expect(called).toBe(false)
  })

  test('aborted in a statement, or between two: rolled back', async () => {
    for (const seconds of [10, 0]) {
      const controller = new AbortController()
      const aborted = db.transaction(
        async (tx) => {
          await insert(tx, 1)
          setTimeout(() => controller.abort(), 50)
          await sleep(tx, seconds)
          await pause(100)
        },
        { signal: controller.signal },
      )
      await expect(aborted).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    }
    expect(await ids()).toStrictEqual([])
  })

  test('of a nested one: the outer goes on', async () => {
    await db.transaction(async (tx) => {
      await insert(tx, 1)
      const nested = tx.transaction((inner) => sleep(inner, 10), { signal: AbortSignal.timeout(50) })
      await expect(nested).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
      await insert(tx, 2)
    })
    expect(await ids()).toStrictEqual([1, 2])
  })
})

describe('retries', () => {
  async function rivals(retries: number): Promise<PromiseSettledResult<void>[]> {
    await insert(db, 1, 0)
    const add = (): Promise<void> =>
      db.transaction(
        async (tx) => {
          const { rows } = await tx.query<{ n: number }>({ text: 'select n from "Acc.ount" where id = 1', values: [] })
          await pause(20)
          await tx.query({ text: 'update "Acc.ount" set n = $1 where id = 1', values: [rows[0]!.n + 1] })
        },
        { isolation: 'serializable', retries },
      )
    return Promise.allSettled(Array.from({ length: 5 }, add))
  }

  test('a real conflict fails without retries', async () => {
    const outcomes = await rivals(0)
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected')
    expect(failed.length).toBeGreaterThan(0)
    for (const { reason } of failed) expect(reason).toMatchObject({ code: 'SERIALIZATION_FAILURE', sqlState: '40001' })
  })

  test('with retries every increment counts', async () => {
    const outcomes = await rivals(50)
    expect(outcomes.every(({ status }) => status === 'fulfilled')).toBe(true)
    expect((await db.query({ text: 'select n from "Acc.ount"', values: [] })).rows).toStrictEqual([{ n: 5 }])
  })

  test('a deadlock', async () => {
    await insert(db, 1)
    await insert(db, 2)
    let runs = 0
    const lock = (first: number, second: number): Promise<void> =>
      db.transaction(
        async (tx) => {
          runs++
          const text = 'update "Acc.ount" set n = n + 1 where id = $1'
          await tx.query({ text: 'set local deadlock_timeout = 50', values: [] }).catch(() => undefined)
          await tx.query({ text, values: [first] })
          await pause(50)
          await tx.query({ text, values: [second] })
        },
        { retries: 5 },
      )
    await Promise.all([lock(1, 2), lock(2, 1)])
    expect(runs).toBeGreaterThan(2)
    expect((await db.query({ text: 'select n from "Acc.ount"', values: [] })).rows).toStrictEqual([{ n: 2 }, { n: 2 }])
  })

  test('the number is kept, other errors are not repeated, and wrapping hides nothing', async () => {
    let runs = 0
    const conflict = `do $$ begin raise sqlstate '40001'; end $$`
    const wrapped = db.transaction(
      async (tx) => {
        runs++
        await tx.query({ text: conflict, values: [] }).catch((cause: unknown) => {
          throw new Error('wrapped', { cause })
        })
      },
      { retries: 2 },
    )
    await expect(wrapped).rejects.toThrow('wrapped')
    expect(runs).toBe(3)
    runs = 0
    const other = db.transaction(
      async () => {
        runs++
        throw new Error('other')
      },
      { retries: 2 },
    )
    await expect(other).rejects.toThrow('other')
    expect(runs).toBe(1)
  })

  test('a signal ends the waiting between two runs', async () => {
    const conflict = `do $$ begin raise sqlstate '40001'; end $$`
    const start = performance.now()
    const repeated = db.transaction((tx) => tx.query({ text: conflict, values: [] }), {
      retries: 1e6,
      signal: AbortSignal.timeout(300),
    })
    await expect(repeated).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(performance.now() - start).toBeLessThan(1000)
  })
})

test('the transaction a piece of code runs in', async () => {
  const other = new DatabaseSession(pool)
  expect(currentTransaction(db.database)).toBeUndefined()
  let late: Promise<unknown> | undefined
  await db.transaction(async (tx) => {
    const state = currentTransaction(db.database)
    expect(state).toMatchObject({ open: true, statementInFlight: false })
    expect(currentTransaction(other.database)).toBeUndefined()
    const running = sleep(tx, 0.5)
    await pause(10)
    expect(state).toMatchObject({ statementInFlight: true, idleSinceMs: 0 })
    await running
    await pause(10)
    expect(state?.idleSinceMs).toBeGreaterThan(5)
    await other.transaction(async () => {
      expect(currentTransaction(db.database)).toBe(state)
      expect(currentTransaction(other.database)?.open).toBe(true)
    })
    await tx.transaction(async () => {
      expect(currentTransaction(db.database)?.connection).toBe(state?.connection)
    })
    late = pause(100).then(() => currentTransaction(db.database)?.open ?? false)
  })
  expect(currentTransaction(db.database)).toBeUndefined()
  expect(await late).toBe(false)
})
