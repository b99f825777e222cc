import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resolveSettings } from '../../src/config/settings.ts'
import { type OpenDatabase, openDatabase } from '../../src/connection/open-database.ts'

let opened: OpenDatabase
beforeAll(async () => {
  opened = await openDatabase(resolveSettings('embedded:', { lockWaitMs: 300 }, {}, process.cwd()), () => undefined)
})
afterAll(() => opened.close())

/** Rows without end, of 100 bytes. */
const flowing = {
  text: `with recursive r(i) as (select 1 union all select i + 1 from r) select i, repeat('x', 100) as x from r`,
  values: [],
}
const one = { text: 'select 1 as one', values: [] }

test('leaving the loop ends the statement, while rows come and while nobody reads', async () => {
  const db = opened.session
  const late: number[] = []
  for (const pauseMs of [0, 50, 300]) {
    for (const items of [db.streamColumns(flowing, { batchRows: 100 }), db.streamRows(flowing)]) {
      let left = 0
      for await (const _item of items) {
        await wait(pauseMs)
        left = performance.now()
        break
      }
      expect((await db.query(one)).rows).toStrictEqual([{ one: 1 }])
      late.push(performance.now() - left)
    }
  }
  expect(Math.max(...late)).toBeLessThan(1000)
})

test('a paused stream holds the turn: others are refused in time, and it goes on', async () => {
  const db = opened.session
  let rows = 0
  for await (const { rowCount } of db.streamColumns(flowing, { batchRows: 1000 })) {
    rows += rowCount
    if (rows === 1000) {
      const start = performance.now()
      await expect(db.query(one)).rejects.toMatchObject({
        code: 'CONNECTION_BUSY',
        hint: expect.stringContaining('stream'),
      })
      expect(performance.now() - start).toBeGreaterThan(250)
      expect(performance.now() - start).toBeLessThan(5000)
    }
    if (rows >= 300_000) break
  }
  expect(rows).toBe(300_000)
  expect((await db.query(one)).rows).toStrictEqual([{ one: 1 }])
})

test('a stream that is read, however slowly, is waited for', async () => {
  const db = opened.session
  const text = `with recursive r(i) as (select 1 union all select i + 1 from r where i < 250000) select i, repeat('x', 100) as x from r`
  let other: Promise<unknown> | undefined
  let batches = 0
  for await (const _batch of db.streamColumns({ text, values: [] }, { batchRows: 10_000 })) {
    other ??= db.query(one).then(({ rows }) => rows)
    await wait(50)
    batches++
  }
  expect(batches).toBe(25)
  expect(await other).toStrictEqual([{ one: 1 }])
})

test('a result small enough to be sent at once holds nobody up', async () => {
  const db = opened.session
  for await (const row of db.streamRows({ text: 'select i from generate_series(1, 10) i', values: [] })) {
    expect((await db.query(one)).rows).toStrictEqual([{ one: 1 }])
    expect(row).toHaveProperty('i')
  }
})

test('in a transaction, and closing while one is paused', async () => {
  const db = opened.session
  await db.transaction(async (tx) => {
    await tx.query({ text: 'create table "Kept 1" (n int)', values: [] })
    for await (const _row of tx.streamRows(flowing)) break
    expect((await tx.queryColumns({ text: 'insert into "Kept 1" values (5) returning n', values: [] })).rowCount).toBe(
      1,
    )
  })
  expect((await db.query({ text: 'select n from "Kept 1"', values: [] })).rows).toStrictEqual([{ n: 5 }])
})

test('timers have their turn while the engine sends as fast as it is read', async () => {
  let read = 0
  let readBefore = 0
  let most = 0
  const tick = (): void => {
    most = Math.max(most, read - readBefore)
    readBefore = read
  }
  const timer = setInterval(tick, 1)
  for await (const block of opened.session.copyOut('copy (select generate_series(1, 20000000)) to stdout')) {
    read += block.length
    if (read > 30 << 20) break
  }
  clearInterval(timer)
  tick()
  expect(most).toBeLessThan(20 << 20)
})
