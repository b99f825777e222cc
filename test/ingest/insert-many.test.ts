import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { BatchRows } from '../../src/connection/batch-query.ts'
import { executeMany as executeEach } from '../../src/connection/execute-many.ts'
import { BatchError, TimescaleError } from '../../src/errors.ts'
import { executeMany } from '../../src/ingest/insert-many.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let table: string
const run = (text: string) => database.db.query<Record<string, unknown>>({ text, values: [] })

beforeAll(async () => {
  database = await openTestDatabase()
  table = `"${database.schema}"."R.ows"`
  await run(`create type "${database.schema}".mood as enum ('sad', 'a "b"\\')`)
  await run(`create type "${database.schema}".pair as (x int, y text)`)
  await run(`create domain "${database.schema}".small as int check (value < 1000000)`)
  await run(`create table ${table} (
    id int primary key, "Te xt" text, at timestamptz, short varchar(5), fixed char(4), n numeric(8, 2), raw bytea,
    mood "${database.schema}".mood, dom "${database.schema}".small, j jsonb, d int default 7)`)
})
beforeEach(() => run(`truncate ${table}`))
afterAll(() => database.close())

interface Outcome {
  readonly rowCount?: number
  readonly error?: unknown
  readonly rows: unknown
}

/** What a call came to, without what may differ: the time. */
async function outcome(many: typeof executeMany, text: string, rows: BatchRows): Promise<Outcome> {
  await run(`truncate ${table}`)
  const result: { rowCount?: number; error?: unknown } = await many(database.db, text, rows).catch((error: unknown) => {
    if (!(error instanceof TimescaleError)) throw error
    const { cause } = error
    const row = error instanceof BatchError ? error.row : undefined
    const inner = cause instanceof TimescaleError ? { code: cause.code, message: cause.message } : undefined
    return { error: { code: error.code, message: error.message, row, inner } }
  })
  return { ...result, rows: (await run(`select * from ${table} order by id`)).rows }
}

const columns = 'id, "Te xt", at, short, fixed, n, raw, mood, dom, j'
const values = '$1, $2, $3, $4, $5, $6, $7, $8, $9, $10'

test('the same rows, counts and errors as row by row, whatever the values', { timeout: 60_000 }, async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('', 'NULL', '{}', '"', '\\', 'a,b', ' x ', '{"a"}'),
  )
  const value = fc.tuple(
    fc.option(
      text.map((one) => one.replaceAll('\0', '')),
      { nil: null },
    ),
    fc.option(fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }), { nil: null }),
    fc.option(fc.string({ maxLength: 5, unit: 'grapheme-ascii' }), { nil: null }),
    fc.constantFrom('ab', 'ab  ', null, ''),
    fc.constantFrom(1, 1.005, '12.349', 'NaN', null),
    fc.option(fc.uint8Array({ maxLength: 8 }), { nil: null }),
    fc.constantFrom('sad', 'a "b"\\', null),
    fc.constantFrom(1, 999_999, null),
    fc.oneof(
      fc.constant(null),
      fc.dictionary(fc.string(), fc.nat(), { maxKeys: 2 }).map((one) => JSON.stringify(one)),
    ),
  )
  // One of these in the middle makes a row fail, each in its own way.
  const wrong = fc.constantFrom<readonly [number, unknown] | undefined>(
    undefined,
    undefined,
    [2, 'no time'],
    [3, 'too long'],
    [5, 1e9],
    [7, 'nothing'],
    [8, 1_000_000],
    [9, '{'],
    [0, 1],
    [0, undefined],
    [6, Number.NaN],
  )
  await fc.assert(
    fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 20 }), wrong, fc.nat(299), async (some, bad, at) => {
      const rows: unknown[][] = Array.from({ length: 300 }, (_, id) => [id, ...(some[id % some.length] ?? [])])
      if (bad !== undefined && rows[at] !== undefined) rows[at][bad[0]] = bad[1]
      const insert = `insert into ${table} (${columns}) values (${values}) on conflict do nothing`
      expect(await outcome(executeMany, insert, rows)).toEqual(await outcome(executeEach, insert, rows))
    }),
    { numRuns: 15 },
  )
})

describe('statements that are not the plain form, or tables that are not plain', () => {
  const rows = Array.from({ length: 400 }, (_, id) => [id % 390, `t${id}`])
  test.each([
    ['two rows of one key', `insert into TABLE (id, "Te xt") values ($1, $2)`],
    ['DO NOTHING', `insert into TABLE (id, "Te xt") values ($1, $2) on conflict (id) do nothing;`],
    [
      'DO UPDATE',
      `insert into TABLE as r (id, "Te xt") values ($1, $2) on conflict (id)
      do update set "Te xt" = coalesce(r."Te xt", '') || excluded."Te xt"`,
    ],
    ['no columns', `INSERT INTO TABLE VALUES($1,$2) ON CONFLICT DO NOTHING`],
    ['another order', `insert into TABLE ("Te xt", id) values ($1, $2)`],
    ['exchanged parameters', `insert into TABLE ("Te xt", id) values ($2, $1) on conflict do nothing`],
    ['an expression', `insert into TABLE (id, "Te xt") values ($1 + 1000, $2) on conflict do nothing`],
    ['fewer parameters', `insert into TABLE (id) values ($1) on conflict do nothing`],
    ['more columns', `insert into TABLE (id, "Te xt", d) values ($1, $2) on conflict do nothing`],
    ['a name that ends in values', `insert into rvalues ($1, $2)`],
    ['no such table', `insert into nowhere values ($1, $2)`],
    ['returning', `insert into TABLE (id, "Te xt") values ($1, $2) on conflict do nothing returning *`],
    ['an update', `update TABLE set d = $1 where "Te xt" = $2`],
  ])('%s', async (_name, text) => {
    const statement = text.replaceAll('TABLE', table)
    expect(await outcome(executeMany, statement, rows)).toEqual(await outcome(executeEach, statement, rows))
  })

  test('a trigger for each statement fires for each row, as ever', async () => {
    await run(`create table "${database.schema}".fired (n int)`)
    await run(`create function "${database.schema}".note() returns trigger language plpgsql as
      'begin insert into "${database.schema}".fired values (1); return null; end'`)
    await run(`create trigger each_statement after insert on ${table} for each statement
      execute function "${database.schema}".note()`)
    await executeMany(
      database.db,
      `insert into ${table} (id) values ($1)`,
      rows.slice(0, 300).map(([id]) => [id]),
    )
    await run(`drop trigger each_statement on ${table}`)
    expect((await run(`select count(*)::int as n from "${database.schema}".fired`)).rows).toEqual([{ n: 300 }])
  })

  test('arrays and composite values', async () => {
    await run(`create table "${database.schema}".odd (tags text[], p "${database.schema}".pair)`)
    const odd = Array.from({ length: 250 }, (_, n) => [['a', `b${n}`], `(${n},"x y")`])
    await executeMany(database.db, `insert into "${database.schema}".odd values ($1, $2)`, odd)
    const { rows: read } = await run(`select tags, (p).x as x from "${database.schema}".odd order by (p).x limit 1`)
    expect(read).toEqual([{ tags: ['a', 'b0'], x: 0 }])
  })
})

describe('long sources', () => {
  const insert = (): string => `insert into ${table} (id, "Te xt") values ($1, $2)`
  test('are a statement for each chunk, not for each row', async () => {
    await executeMany(database.db, insert(), source(12_000))
    const { rows } = await run(`select count(distinct cmin::text)::int as statements from ${table}`)
    expect(rows).toEqual([{ statements: 2 }])
  })

  async function* source(count: number, bad = -1): AsyncGenerator<readonly unknown[]> {
    for (let id = 0; id < count; id++) yield id === bad ? [id, 'x', 'y'] : [id, `t${id}`]
  }
  const count = async (): Promise<unknown> => (await run(`select count(*)::int as n from ${table}`)).rows[0]?.['n']

  test('go in chunks; the row that fails is counted through all of them, and nothing is kept', async () => {
    expect(await executeMany(database.db, insert(), source(25_000))).toEqual({ rowCount: 25_000 })
    expect(await count()).toBe(25_000)
    await run(`delete from ${table} where id <> 21000`)
    await expect(executeMany(database.db, insert(), source(25_000))).rejects.toMatchObject({
      row: 21_000,
      cause: { code: 'CONSTRAINT_VIOLATION' },
    })
    await run(`truncate ${table}`)
    for (const bad of [20_000, 20_001]) {
      await expect(executeMany(database.db, insert(), source(25_000, bad))).rejects.toMatchObject({
        row: bad,
        cause: { code: 'INVALID_VALUE' },
      })
    }
    expect(await count()).toBe(0)
  })

  test('that stand still or break end with the call', async () => {
    async function* stuck(): AsyncGenerator<readonly unknown[]> {
      yield* source(10_001)
      await new Promise(() => undefined)
    }
    const signal = AbortSignal.timeout(1500)
    await expect(executeMany(database.db, insert(), stuck(), { signal })).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    await expect(executeMany(database.db, insert(), stuck(), { timeoutMs: 1500 })).rejects.toMatchObject({
      code: 'STATEMENT_TIMEOUT',
    })
    let closed = false
    async function* broken(): AsyncGenerator<readonly unknown[]> {
      try {
        yield* source(12_000)
        throw new Error('source broke')
      } finally {
        closed = true
      }
    }
    await expect(executeMany(database.db, insert(), broken())).rejects.toThrow('source broke')
    expect(closed).toBe(true)
    expect(await count()).toBe(0)
  })

  test('inside a transaction it is a savepoint', async () => {
    await database.db.transaction(async (tx) => {
      await executeMany(tx, insert(), source(500))
      await expect(executeMany(tx, insert(), source(500))).rejects.toMatchObject({ row: 0 })
      await tx.query(sql`select 1`)
    })
    expect(await count()).toBe(500)
  })
})

test('a source that fills one array anew for each row', async () => {
  function* one(): Generator<unknown[]> {
    const row: unknown[] = []
    for (let id = 0; id < 500; id++) yield Object.assign(row, [id, `row ${id}`])
  }
  await executeMany(database.db, `insert into ${table} (id, "Te xt") values ($1, $2)`, one())
  const { rows } = await run(`select count(*)::int as n, count(*) filter (where "Te xt" <> 'row ' || id)::int as wrong
    from ${table}`)
  expect(rows).toEqual([{ n: 500, wrong: 0 }])
})
