import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, test } from 'vitest'
import { insert } from '../../src/ingest/insert.ts'
import { load } from '../../src/ingest/load.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let table: { schema: string; name: string }

beforeAll(async () => {
  database = await openTestDatabase()
  table = { schema: database.schema, name: 'Odd "table".x' }
  const { db, schema, client } = database
  await db.query(sql`create type ${sql.column(schema)}.pair as (a int, b text)`)
  await db.query(sql`create table ${sql.name(table)} (
    time timestamptz not null, "Sen.sor" int not null, v float8, tags text[], j jsonb, short varchar(3),
    p ${sql.column(schema)}.pair, id int generated always as identity, d int default 7,
    primary key ("Sen.sor", time))`)
  await client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  if (database.can('compression')) {
    await db.query(sql`alter table ${sql.name(table)} set (
      timescaledb.compress, timescaledb.compress_segmentby = '"Sen.sor"', timescaledb.compress_orderby = 'time')`)
  }
})

beforeEach(() => database.db.query(sql`delete from ${sql.name(table)}`))
afterAll(() => database.close())

const at = (second: number): Date => new Date(Date.UTC(2025, 0, 1, 0, 0, second))
const all = async (columns = '"Sen.sor", v'): Promise<unknown[]> =>
  (await database.db.query(sql`select ${sql.raw(columns)} from ${sql.name(table)} order by "Sen.sor", time`)).rows

test('rows of many types, with what the server filled in', async () => {
  const rows = [
    {
      time: at(1),
      'Sen.sor': 1,
      v: 1.5,
      tags: ['a,b', null],
      j: { a: [1] },
      short: 'äöü',
      p: '(1,"x y")',
    },
    { time: '2025-01-01T00:00:02.000001Z', 'Sen.sor': 1n, v: null, tags: [], j: [1, 2], short: undefined },
  ]
  const result = await insert(database.db, table, rows, {
    returning: ['time', 'Sen.sor', 'tags', 'j', 'short', 'p', 'd'],
  })
  expect(result.rowCount).toBe(2)
  expect(result.rows).toEqual([
    { time: at(1), 'Sen.sor': 1, tags: ['a,b', null], j: { a: [1] }, short: 'äöü', p: '(1,"x y")', d: 7 },
    { time: at(2), 'Sen.sor': 1, tags: [], j: [1, 2], short: null, p: null, d: 7 },
  ])
})

test('nothing, and more than one statement', async () => {
  expect(await insert(database.db, table, [])).toEqual({ rowCount: 0, rows: [] })
  const rows = Array.from({ length: 45_000 }, (_, n) => ({ time: at(n), 'Sen.sor': 2, v: n }))
  const result = await insert<{ v: number }>(database.db, table, rows, { returning: ['v'] })
  expect(result.rowCount).toBe(45_000)
  expect(result.rows.map(({ v }) => v)).toEqual(rows.map(({ v }) => v))
})

test('a value that does not fit is named, and nothing is sent', async () => {
  const rows = Array.from({ length: 30_000 }, (_, n) => ({ time: at(n), 'Sen.sor': n === 25_000 ? 'secret' : 2 }))
  const failure = await insert(database.db, table, rows).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'BATCH_FAILED', row: 25_000 })
  expect(String(failure)).toContain('"Sen.sor" (integer): a text that is no whole number')
  expect(String(failure)).not.toContain('secret')
  expect(await all()).toEqual([])
})

test('too long a text is refused by the server, not cut', async () => {
  await expect(insert(database.db, table, [{ time: at(1), 'Sen.sor': 1, short: 'four' }])).rejects.toMatchObject({
    sqlState: '22001',
  })
})

describe('a key that is there already', () => {
  beforeEach(async () => {
    await insert(database.db, table, [
      { time: at(1), 'Sen.sor': 1, v: 1 },
      { time: at(2), 'Sen.sor': 1, v: 2 },
    ])
  })
  const rows = [
    { time: at(2), 'Sen.sor': 1, v: 20 },
    { time: at(3), 'Sen.sor': 1, v: 30 },
    { time: at(2), 'Sen.sor': 1, v: 21 },
  ]

  test('error', async () => {
    await expect(insert(database.db, table, rows)).rejects.toMatchObject({ code: 'CONSTRAINT_VIOLATION' })
    expect(await all('v')).toEqual([{ v: 1 }, { v: 2 }])
  })

  test('ignore', async () => {
    const result = await insert(database.db, table, rows, { onConflict: 'ignore', returning: ['v'] })
    expect(result).toEqual({ rowCount: 1, rows: [{ v: 30 }] })
    expect(await all('v')).toEqual([{ v: 1 }, { v: 2 }, { v: 30 }])
  })

  test.each(['uncompressed', 'compressed'])('update, the last row of a key wins: %s', async (state) => {
    if (state === 'compressed') {
      if (!database.can('compression')) return
      await database.client.compressChunks(table)
    }
    expect(await insert(database.db, table, rows, { onConflict: 'update' })).toMatchObject({ rowCount: 2 })
    expect(await all('v')).toEqual([{ v: 1 }, { v: 21 }, { v: 30 }])
  })

  test('only what is given is written', async () => {
    await insert(database.db, table, [{ time: at(1), 'Sen.sor': 1, short: 'x' }], { onConflict: 'update' })
    expect(await all('v, short')).toEqual([
      { v: 1, short: 'x' },
      { v: 2, short: null },
    ])
  })

  test('the key must be known', async () => {
    const update = { onConflict: 'update' } as const
    await expect(insert(database.db, table, [{ time: at(1), v: 1 }], update)).rejects.toMatchObject({
      message: expect.stringContaining('part of the key'),
    })
    await expect(insert(database.db, table, rows, { ...update, conflictColumns: ['v'] })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(insert(database.db, table, rows, { conflictColumns: ['v'] })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  })
})

test('wrong calls', async () => {
  const row = { time: at(1), 'Sen.sor': 1 }
  await expect(insert(database.db, table, [{ ...row, vv: 1 }])).rejects.toMatchObject({ hint: 'Did you mean v?' })
  await expect(insert(database.db, table, [{ ...row, id: 1 }])).rejects.toThrow('IDENTITY')
  await expect(insert(database.db, table, [row], { returning: ['w'] })).rejects.toMatchObject({
    code: 'INVALID_OPTION',
  })
  await expect(insert(database.db, 'nowhere', [row])).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(insert(database.db, table, [row], { conflict: 'x' } as object)).rejects.toMatchObject({
    code: 'INVALID_OPTION',
  })
})

test('in a transaction it is part of it', async () => {
  await expect(
    database.db.transaction(async (tx) => {
      await insert(tx, table, [{ time: at(1), 'Sen.sor': 1 }])
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  expect(await all()).toEqual([])
})

test('what comes back is typed by the columns asked for and the row type', async () => {
  interface Reading {
    readonly id: number
    readonly time: Date
    readonly 'Sen.sor': number
    readonly v: number | null
  }
  const { client } = database
  const rows = [{ time: at(1), 'Sen.sor': 1, v: 1.5 }]
  const exact = await client.insert(table, [{ time: '2025-06-01T00:00:00.123456Z', 'Sen.sor': 1, v: 0 }], {
    returning: ['time'],
    timestamps: 'string',
  })
  expect(exact.rows).toEqual([{ time: '2025-06-01T00:00:00.123456Z' }])
  await database.db.query(sql`create table ${sql.name({ schema: database.schema, name: 'J' })} (j jsonb)`)
  const digits = [{ j: '{"n": 9007199254740993}' }]
  const texts = await client.insert({ schema: database.schema, name: 'J' }, digits, { returning: '*', json: 'string' })
  expect(texts.rows).toEqual(digits)
  const asked = await client.insert(table, rows, { returning: ['Sen.sor', 'v'] })
  expectTypeOf(asked.rows).toEqualTypeOf<{ 'Sen.sor': unknown; v: unknown }[]>()
  const picked = await client.insert<Reading, 'v' | 'time'>(
    table,
    [{ time: at(2).toISOString(), 'Sen.sor': 1, v: null }],
    {
      returning: ['v', 'time'],
    },
  )
  expectTypeOf(picked.rows).toEqualTypeOf<Pick<Reading, 'v' | 'time'>[]>()
  expect(picked.rows).toEqual([{ v: null, time: at(2) }])
  const whole = await client.insert<{ v: number }>(table, [{ time: at(3), 'Sen.sor': 1, v: 3 }], { returning: ['v'] })
  expectTypeOf(whole.rows).toEqualTypeOf<{ v: number }[]>()
  expectTypeOf((await client.insert(table, [{ time: at(4), 'Sen.sor': 1 }])).rows).toEqualTypeOf<
    Record<string, unknown>[]
  >()
  // @ts-expect-error a column that the row type does not have
  await expect(client.insert<Reading, 'v'>(table, [{ w: 1 }], { returning: ['v'] })).rejects.toThrow('w')
  // @ts-expect-error a column that is not in the rows asked for
  await expect(client.insert<{ v: number }>(table, rows, { returning: ['w'] })).rejects.toThrow('w')
})

test('items of arrays are read by the same options as values, and written as load writes them', async () => {
  const { db, schema } = database
  const lists = { schema, name: 'Li"sts' }
  await db.query(
    sql`create table ${sql.name(lists)} (id int, t timestamptz[], n timestamp[], d date[], i interval[], u uuid[])`,
  )
  const uuid = Uint8Array.from({ length: 16 }, (_, n) => n)
  const day = '2026/03/02'
  const cases: readonly (readonly [options: object, row: object])[] = [
    [{ timeZone: 'Europe/Berlin' }, { t: ['2026-07-01 00:00', null], n: ['2026-07-01 00:00'] }],
    [{ timeZone: 'Europe/Berlin' }, { t: '{2026-07-01 00:00, "infinity"}' }],
    [{ timeFormat: 'YYYY/DD/MM' }, { t: [[day], [day]], n: [day], d: [day] }],
    [{ timeUnit: 's' }, { t: [1_700_000_000, 0n], n: [1], d: [86_400] }],
    [
      {},
      {
        t: BigInt64Array.of(0n, -1n),
        d: [new Date(-62_200_000_000_000)],
        n: [],
        i: [{ days: 7 }, '-1 mon'],
        u: [uuid, null],
      },
    ],
  ]
  for (const [id, [options, row]] of cases.entries()) {
    await insert(db, lists, [{ id, ...row }], options)
    await load(db, lists, [{ id, ...row }], options)
    const { rows } = await db.query(sql`
      select t::text, n::text, d::text, i::text, u::text from ${sql.name(lists)} where id = ${id}`)
    expect(rows[0]).toEqual(rows[1])
    expect(rows[0]).not.toEqual({ t: null, n: null, d: null, i: null, u: null })
  }
})

test('a property of a prototype is a value, as for load', async () => {
  const defaults = { time: at(3), 'Sen.sor': 9, v: 1.25 }
  await insert(database.db, table, [Object.create(defaults), { ...defaults, 'Sen.sor': 10 }])
  expect(await all()).toEqual([
    { 'Sen.sor': 9, v: 1.25 },
    { 'Sen.sor': 10, v: 1.25 },
  ])
})
