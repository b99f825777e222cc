import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Connection, connect, type Database } from '../../src/index.ts'
import { testTarget } from '../setup/database.ts'

let db: Database
beforeAll(async () => {
  db = await connect(testTarget, { onProgress: () => undefined, lockWaitMs: 500, jobs: false })
})
afterAll(() => db.close())

const setting = async (client: Database | Connection): Promise<unknown> =>
  (await client.sql<{ value: string }>`select current_setting('own.value', true) as value`)[0]?.value

describe('a connection of its own', () => {
  test('keeps settings, and gives none of them to others', async () => {
    await using one = await db.openConnection()
    await using other = await db.openConnection()
    await one.sql`set own.value = 'one'`
    await other.sql`set own.value = 'other'`
    expect([await setting(one), await setting(other)]).toEqual(['one', 'other'])
    expect(await setting(db)).not.toMatch(/o/)
  })

  test('keeps a transaction open over statements, and says how it is', async () => {
    await using one = await db.openConnection()
    expect(one.transactionState).toBe('none')
    await one.sql`begin`
    expect(one.transactionState).toBe('open')
    await one.sql`set local own.value = 'inside'`
    expect(await setting(one)).toBe('inside')
    const columns = await one.queryToColumns(`values (1, 2), (3, 4)`)
    expect(columns).toMatchObject({ length: 2, rowCount: 2, command: 'SELECT' })
    await expect(one.sql`select 1 / 0`).rejects.toMatchObject({ sqlState: '22012' })
    expect(one.transactionState).toBe('failed')
    await one.sql`rollback`
    await one.sql`begin`
    await expect(one.queryToColumns('select broken')).rejects.toMatchObject({ sqlState: '42703' })
    expect(one.transactionState).toBe('failed')
    await expect(one.sql`select 1`).rejects.toMatchObject({ sqlState: '25P02' })
    await one.sql`rollback`
    expect(one.transactionState).toBe('none')
    expect(await setting(one)).not.toBe('inside')
  })

  test('refuses transaction() inside of one, which would end it', async () => {
    await using one = await db.openConnection()
    await one.sql`begin`
    await expect(one.transaction(async () => undefined)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(one.runJob(1)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await one.sql`commit`
    const value = await one.transaction(async (tx) => (await tx.sql<{ one: number }>`select 1 as one`)[0]?.one)
    expect(value).toBe(1)
    expect(one.transactionState).toBe('none')
  })

  test('runs calls in order, and a cancelled one ends alone', async () => {
    await using one = await db.openConnection()
    await one.sql`set own.value = 'kept'`
    const cancel = new AbortController()
    const slow = one.executeQuery('select pg_sleep(20)', [], { signal: cancel.signal })
    const next = setting(one)
    setTimeout(() => cancel.abort(), 100)
    await expect(slow).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(await next).toBe('kept')
  })

  test('refuses what would wait for itself: in a loop over its rows, and in its transaction()', async () => {
    await using one = await db.openConnection()
    const busy = { code: 'INVALID_VALUE', message: expect.stringContaining('would wait for ever') }
    const read: unknown[] = []
    for await (const { i } of one.stream('select i from generate_series(1, 3) i')) {
      read.push(i)
      await expect(one.sql`select 1`).rejects.toMatchObject(busy)
    }
    for await (const block of one.copyOut('copy (select 4) to stdout')) {
      read.push(String(block))
      await expect(one.sql`select 1`).rejects.toMatchObject(busy)
    }
    expect(read).toEqual([1, 2, 3, '4\n'])
    await one.transaction(async (tx) => {
      await expect(one.sql`select 1`).rejects.toMatchObject(busy)
      await tx.sql`select 1`
    })
    expect(await one.sql`select 5 as five`).toEqual([{ five: 5 }])
  })

  test('rolls back what is open when it is closed, also twice and by the database', async () => {
    const own = await connect(testTarget, { onProgress: () => undefined, jobs: false })
    const one = await own.openConnection()
    await one.sql`begin`
    await one.sql`create table held_and_closed (i int)`
    await one.close()
    await one.close()
    await expect(one.sql`select 1`).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await own.sql`select to_regclass('held_and_closed') as name`).toEqual([{ name: null }])
    const two = await own.openConnection()
    await two.sql`begin`
    const started = performance.now()
    await own.close()
    // An idle one is not waited for.
    expect(performance.now() - started).toBeLessThan(4000)
    await expect(two.sql`select 1`).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('that broke is not replaced in silence: its settings would be gone', async () => {
    await using one = await db.openConnection()
    await one.sql`set own.value = 'lost'`
    // The raw pool knows the sockets.
    const clients: unknown = Reflect.get(db.pool, '_clients')
    for (const client of Array.isArray(clients) ? clients : []) client.connection.stream.destroy()
    const failure = { code: 'CONNECTION_LOST' }
    await expect(setting(one)).rejects.toMatchObject(failure)
    await expect(setting(one)).rejects.toMatchObject(failure)
    expect(await setting(db)).not.toBe('lost')
  })
})
