import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect, type Database } from '../../src/index.ts'

let db: Database

beforeAll(async () => {
  db = await connect('embedded:', { onProgress: () => undefined })
  await db.executeQuery('create table kept (i int)')
  await db.executeQuery(
    'create function endless(i int) returns int language plpgsql as $$ begin return endless(i + 1); end $$',
  )
})
afterAll(() => db.close())

test('a trap fails its statement; what was committed is there, what was not is gone, the next statement works', async () => {
  for (let round = 1; round <= 2; round++) {
    await db.sql`insert into kept values (${round})`
    const open = db.transaction(async (tx) => {
      await tx.sql`insert into kept values (-1)`
      await tx.sql`select endless(1)`
    })
    await expect(open).rejects.toMatchObject({ name: 'ConnectionError', code: 'ENGINE_TRAPPED', retryable: false })
    expect(await db.sql`select i from kept order by i`).toEqual(Array.from({ length: round }, (_, i) => ({ i: i + 1 })))
  }
})

test('statements that wait while it happens fail as retryable or run, and none hangs', async () => {
  const crash = db.executeQuery('select endless(1)')
  const others = await Promise.allSettled(Array.from({ length: 8 }, () => db.sql`select 1 as one`))
  await expect(crash).rejects.toMatchObject({ code: 'ENGINE_TRAPPED' })
  for (const other of others) {
    if (other.status === 'fulfilled') expect(other.value).toEqual([{ one: 1 }])
    else expect(other.reason).toMatchObject({ name: 'ConnectionError', retryable: true })
  }
  expect(await db.sql`select count(*)::int as n from kept`).toEqual([{ n: 2 }])
})

test('settings of a session end with its engine', async () => {
  await db.transaction(async (tx) => tx.sql`set timezone = 'Asia/Tokyo'`)
  await expect(db.executeQuery('select endless(1)')).rejects.toMatchObject({ code: 'ENGINE_TRAPPED' })
  expect(await db.sql`show timezone`).toEqual([{ TimeZone: 'UTC' }])
})

test('deep but finite recursion and long expressions do not trap', async () => {
  await db.executeQuery(
    'create function down(i int) returns int language plpgsql as $$ begin if i = 0 then return 0; end if; return down(i - 1) + 1; end $$',
  )
  expect(await db.sql`select down(1500) as depth`).toEqual([{ depth: 1500 }])
  const sum = Array.from({ length: 3000 }, () => '1').join('+')
  expect((await db.executeQuery(`select ${sum} as sum`)).rows).toEqual([{ sum: 3000 }])
})
