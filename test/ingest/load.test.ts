import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string
let table: { schema: string; name: string }
let made = 0

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-load-'))
})

afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})

beforeEach(async () => {
  table = { schema: database.schema, name: `Odd "table".${++made}` }
})

afterEach(() => database.db.query(sql`drop table if exists ${sql.name(table)}`))

async function hypertable(extra = '', compression = false): Promise<void> {
  await database.db.query(sql`create table ${sql.name(table)} (
    time timestamptz not null, "Sen.sor" int not null, v float8, note text ${sql.raw(extra)})`)
  await database.client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  if (!compression) return
  await database.db.query(sql`alter table ${sql.name(table)} set (
    timescaledb.compress, timescaledb.compress_segmentby = '"Sen.sor"', timescaledb.compress_orderby = 'time desc')`)
}

const start = Date.UTC(2025, 0, 1)
const row = (n: number): Record<string, unknown> => ({
  time: new Date(start + n * 60_000),
  'Sen.sor': n % 7,
  v: n / 4,
  note: n % 3 === 0 ? null : `note "${n}"`,
})
const run = (source: Parameters<typeof load>[2], options: LoadOptions = {}): ReturnType<typeof load> =>
  load(database.db, table, source, options)
const count = async (): Promise<unknown> =>
  (await database.db.query(sql`select count(*)::int as n from ${sql.name(table)}`)).rows[0]?.['n']
const contents = async (): Promise<unknown[]> =>
  (await database.db.query(sql`select * from ${sql.name(table)} order by time, "Sen.sor", v`)).rows
function* rows(to: number): Generator<Record<string, unknown>> {
  for (let n = 0; n < to; n++) yield row(n)
}

describe('sources', () => {
  beforeEach(() => hypertable())
  const expected = Array.from(rows(2500))

  test.each([
    ['a Promise', Promise.resolve([row(0)]), 'an object of class Promise', 'Await it first.'],
    ['a Response', new Response('time,v\n'), 'an object of class Response', 'the body of a Response'],
    ['a Blob', new Blob(['time,v\n']), 'an object of class Blob', 'a stream'],
    ['null', null, 'null', 'rows, columns'],
  ])('%s is refused instead of loaded as no rows', async (_, source, what, hint) => {
    await expect(run(source as never, { format: 'csv' })).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: `Cannot load from ${what}`,
      hint: expect.stringContaining(hint),
    })
  })

  test.each([
    ['null', [null], 'Row 0: The row is null, not an object or an array.'],
    ['a text', ['ab'], 'Row 0: The row is a text, not an object or an array.'],
    ['a Promise', [Promise.resolve(row(0))], 'Row 0: The row has no properties.'],
    ['an empty object', [{}], 'Row 0: The row has no properties.'],
    ['bytes', [Buffer.from('time,v\n')], 'The source gives bytes where rows are needed'],
  ])('a first row that is %s', async (_, source, message) => {
    await expect(run(source as never)).rejects.toMatchObject({ message })
    await expect(run([row(0), row(1)])).resolves.toMatchObject({ rowsWritten: 2 })
  })

  test('one row that is not in a list, and an address', async () => {
    await expect(run(row(0) as never)).rejects.toMatchObject({ hint: 'A single row stands in a list: [row].' })
    for (const address of ['https://localhost/a.csv', new URL('https://localhost/a.csv')]) {
      await expect(run(address)).rejects.toMatchObject({
        code: 'INVALID_VALUE',
        message: 'A file is loaded, or a stream, and no address that begins with https:',
      })
    }
  })

  test('the body of a fetch, of bytes with a format and of rows without', async () => {
    const csv = `time,Sen.sor,v\n${Array.from(rows(100), (one) => `${(one['time'] as Date).toISOString()},1,${one['v']}`).join('\n')}\n`
    await expect(run(new Response(csv).body ?? '', { format: 'csv' })).resolves.toMatchObject({ rowsWritten: 100 })
    await expect(run(Readable.toWeb(Readable.from(rows(10))))).resolves.toMatchObject({ rowsWritten: 10 })
    await expect(run(new Response(csv).body ?? '')).rejects.toMatchObject({ hint: expect.stringContaining("'csv'") })
    expect(await count()).toBe(110)
  })

  test('an array, an iterable and an async iterable of objects', async () => {
    async function* slowly(): AsyncGenerator<object> {
      yield* rows(2500)
    }
    for (const source of [expected, rows(2500), slowly()]) {
      const report = await run(source, { batchRows: 1000 })
      expect(report).toMatchObject({ rowsRead: 2500, rowsWritten: 2500, rowsRejected: 0, batches: 3, retried: 0 })
      expect(await contents()).toEqual(expected)
      await database.db.query(sql`truncate ${sql.name(table)}`)
    }
  })

  test('arrays, in the order of the table or of columns', async () => {
    await run([[new Date(start), 1, 0.5, 'x']])
    await run([['y', new Date(start + 1), 2]], { columns: ['note', 'time', 'Sen.sor'] })
    expect(await contents()).toEqual([
      { time: new Date(start), 'Sen.sor': 1, v: 0.5, note: 'x' },
      { time: new Date(start + 1), 'Sen.sor': 2, v: null, note: 'y' },
    ])
  })

  test('columns as arrays and typed arrays', async () => {
    const report = await run(
      {
        time: BigInt64Array.from(expected, (_, n) => BigInt(start + n * 60_000) * 1000n),
        'Sen.sor': Int32Array.from(expected, (_, n) => n % 7),
        v: Float64Array.from(expected, (_, n) => n / 4),
        note: expected.map(({ note }) => note),
      },
      { batchRows: 700 },
    )
    expect(report.rowsWritten).toBe(2500)
    expect(await contents()).toEqual(expected)
  })

  test('an Arquero table, filtered, and an Arrow table', async () => {
    const aq = await import('arquero')
    const frame = aq.from(expected)
    await run(frame.filter((d: { v: number }) => d.v < 100))
    expect(await contents()).toEqual(expected.slice(0, 400))
    await database.db.query(sql`truncate ${sql.name(table)}`)
    const { tableFromArrays } = await import('apache-arrow')
    await run(
      tableFromArrays({
        time: expected.map(({ time }) => String((time as Date).toISOString())),
        'Sen.sor': Int32Array.from(expected, (_, n) => n % 7),
      }),
    )
    expect(await count()).toBe(2500)
  })

  test('mapped columns, constants, time unit', async () => {
    await run([{ t: start / 1000, id: 4, other: 'ignored' }], {
      columns: { t: 'time', id: 'Sen.sor' },
      constants: { note: 'from here', v: null },
      timeUnit: 's',
    })
    expect(await contents()).toEqual([{ time: new Date(start), 'Sen.sor': 4, v: null, note: 'from here' }])
  })

  test('nothing', async () => {
    for (const source of [[], {}, rows(0)]) expect(await run(source)).toMatchObject({ rowsRead: 0, batches: 0 })
  })

  test('columns of different lengths, unknown and doubled ones', async () => {
    await expect(run({ time: [1, 2], v: [1] })).rejects.toThrow('time 2, v 1')
    await expect(run([{ tme: 1 }])).rejects.toMatchObject({ hint: 'Did you mean time?' })
    await expect(run([row(0)], { constants: { v: 1 } })).rejects.toThrow('a constant too')
    await expect(run([row(0)], { constants: { id: 1 } })).rejects.toThrow('no column "id"')
    await expect(run([{ time: start }], { constants: { v: 'secret' } })).rejects.toThrow(
      /constant for column "v"(?!.*secret)/,
    )
    await expect(run([row(0)], { columns: { nope: 'v' } })).rejects.toThrow('The source has no column "nope"')
    for (const [source, options] of [
      [[row(0)], { columns: [] }],
      [{ v: [1] }, { columns: {} }],
    ] as const) {
      await expect(run(source, options)).rejects.toMatchObject({
        code: 'INVALID_VALUE',
        message: 'There is no column to be loaded',
      })
    }
    await expect(run(5 as unknown as object[])).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    await expect(run([row(0)], { batchRow: 1 } as object)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(run([row(0)], { timeZone: 'Mars' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(load(database.db, 'nowhere', [row(0)])).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('a later row with a property nobody has seen is an error, not lost', async () => {
    const source = [...rows(10), { ...row(10), vv: 1 }]
    await expect(run(source, { batchRows: 5 })).rejects.toMatchObject({
      row: 10,
      message: expect.stringContaining('10 rows of other batches are written and stay.'),
    })
  })
})

describe('what goes wrong', () => {
  beforeEach(() => hypertable(', constraint "po.s" check (v >= 0)'))

  test('a value that does not fit', async () => {
    const source = [...rows(5000)].map((one, n) => (n === 4321 ? { ...one, v: 'secret' } : one))
    const failure = await run(source, { batchRows: 1000 }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'BATCH_FAILED', row: 4321 })
    expect(String(failure)).toContain('Column "v" (double precision): a text that is no number')
    expect(String(failure)).not.toContain('secret')
    expect(await count()).toBe(4000)
  })

  test('a row the server refuses, in any batch and order', async () => {
    const source = [...rows(5000)].map((one, n) => (n === 4321 ? { ...one, v: -1 } : one))
    const failure = await run(source, { batchRows: 1000, parallel: 1 }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'BATCH_FAILED', row: 4321, cause: { constraint: 'po.s' } })
    expect(String(failure)).toContain('4000 rows of other batches are written and stay.')
    expect(await count()).toBe(4000)
  })

  test('bad rows of both kinds are skipped and noted', async () => {
    const bad = new Set([0, 17, 1999, 2000, 3500, 3501, 4999])
    const source = [...rows(5000)].map((one, n) => (bad.has(n) ? { ...one, v: n % 2 === 0 ? -1 : 'x' } : one))
    const file = join(directory, 'bad.ndjson')
    const report = await run(source, { batchRows: 1000, onBadRow: { file } })
    expect(report).toMatchObject({ rowsRead: 5000, rowsWritten: 4993, rowsRejected: 7 })
    const noted = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(noted.map((one) => one.row).sort((a, b) => a - b)).toEqual([...bad])
    expect(noted.find((one) => one.row === 2000)).toMatchObject({ sqlState: '23514', source: { v: -1 } })
    expect(noted.find((one) => one.row === 17)).toMatchObject({ reason: expect.stringContaining('Row 17') })
    expect(await count()).toBe(4993)
  })

  test('half of the rows are bad', async () => {
    const source = [...rows(400)].map((one, n) => ({ ...one, v: n % 2 === 0 ? -1 : 1 }))
    expect(await run(source, { onBadRow: 'skip' })).toMatchObject({ rowsWritten: 200, rowsRejected: 200 })
  })

  test('a source that throws', async () => {
    const broken = new Error('the disk is gone')
    let closed = false
    async function* failing(): AsyncGenerator<object> {
      try {
        yield* rows(2500)
        throw broken
      } finally {
        closed = true
      }
    }
    await expect(run(failing(), { batchRows: 1000 })).rejects.toMatchObject({ cause: broken, row: 2000 })
    expect(closed).toBe(true)
    expect(await count()).toBe(2000)
    const atOnce = { [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(broken) }) }
    await expect(run(atOnce)).rejects.toBe(broken)
  })

  test('a signal, while the source is silent and while it floods', async () => {
    const silent: AsyncIterable<object> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
    }
    await expect(run(silent, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    await expect(run(rows(1e9), { signal: AbortSignal.timeout(300) })).rejects.toMatchObject({
      code: 'QUERY_CANCELLED',
    })
    await expect(run([], { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(Number(await count()) % 10_000).toBe(0)
  })

  test('in a transaction: all or nothing', async () => {
    const bad = [...rows(2000), { ...row(1), v: -1 }]
    await expect(database.db.transaction((tx) => load(tx, table, bad, { batchRows: 500 }))).rejects.toMatchObject({
      row: 2000,
    })
    expect(await count()).toBe(0)
    await database.db.transaction((tx) => load(tx, table, rows(2000), { batchRows: 500 }))
    expect(await count()).toBe(2000)
    await expect(database.db.transaction((tx) => load(tx, table, [], { parallel: 2 }))).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  })

  test('large rows end a batch by bytes', async () => {
    const source = Array.from({ length: 40 }, (_, n) => ({ ...row(n), note: 'x'.repeat(500_000) }))
    const report = await run(source, { batchBytes: 2_000_000 })
    expect(report).toMatchObject({ rowsWritten: 40, batches: 10 })
  })
})

describe('keys that are there already', () => {
  beforeEach(async () => {
    await hypertable(', primary key ("Sen.sor", time)', database.can('compression'))
    await run(rows(1000))
    if (database.can('compression')) await database.client.compressChunks(table)
  })

  test('ignore', async () => {
    const source = [...rows(1500)].map((one) => ({ ...one, v: -1 }))
    const report = await run(source, { onConflict: 'ignore', batchRows: 700 })
    expect(report).toMatchObject({ rowsRead: 1500, rowsWritten: 500, rowsSkipped: 1000 })
    expect((await contents()).slice(0, 2)).toEqual([row(0), row(1)])
  })

  test('update: the last row of a key wins, also within a batch and over batches', async () => {
    const source = [
      ...[...rows(1500)].map((one) => ({ ...one, v: 1 })),
      ...[...rows(100)].map((one) => ({ ...one, v: 2 })),
      ...[...rows(50)].map((one) => ({ ...one, v: 3 })),
    ]
    const report = await run(source, { onConflict: 'update', batchRows: 1600 })
    expect(report).toMatchObject({ rowsRead: 1650, rowsWritten: 1550, rowsSkipped: 100 })
    const seen = (await contents()).map((one) => (one as { v: number }).v)
    expect(seen.slice(0, 50).every((v) => v === 3)).toBe(true)
    expect(seen.slice(50, 100).every((v) => v === 2)).toBe(true)
    expect(seen.slice(100).every((v) => v === 1)).toBe(true)
    expect(seen).toHaveLength(1500)
  })

  test('error, and skipped rows', async () => {
    await expect(run([row(2000), row(3)])).rejects.toMatchObject({ row: 1, cause: { code: 'CONSTRAINT_VIOLATION' } })
    expect(await run([row(2000), row(3), row(2000), row(2001)], { onBadRow: 'skip' })).toMatchObject({
      rowsWritten: 2,
      rowsRejected: 2,
    })
    expect(await count()).toBe(1002)
  })
})

test('types whose binary form is not known go as text', async () => {
  await database.db.query(sql`create table ${sql.name(table)} (n int, r int4range, p point, d date[])`)
  const report = await run([
    { n: 1, r: '[1,5)', p: '(1,2)', d: [new Date(0)] },
    { n: 2, r: null, p: null, d: null },
  ])
  expect(report.rowsWritten).toBe(2)
  const { rows: got } = await database.db.query(
    sql`select n, r::text, p::text, d::text from ${sql.name(table)} order by n`,
  )
  expect(got).toEqual([
    { n: 1, r: '[1,5)', p: '(1,2)', d: '{1970-01-01}' },
    { n: 2, r: null, p: null, d: null },
  ])
  await expect(run([{ n: 1, r: 'secret' }])).rejects.toThrow(/^(?!.*secret)/)
})

describe('direct compression', () => {
  test('is used where it pays, and queries answer as from a heap', { timeout: 60_000 }, async () => {
    await hypertable('', true)
    const report = await run(rows(20_000), { batchRows: 10_000 })
    if (report.directCompress.batches === 0) {
      expect(report.directCompress.reason).toBe('the server has no direct compression')
      return
    }
    expect(report.directCompress).toEqual({ batches: 2, reason: undefined })
    expect(await contents()).toEqual(Array.from(rows(20_000)))
    const few = await run(Array.from({ length: 50 }, (_, n) => row(n * 1000)))
    expect(few.directCompress).toMatchObject({ batches: 0, reason: expect.stringContaining('too few rows') })
  })

  test('is not used where the server would refuse it', async () => {
    await hypertable(', unique ("Sen.sor", time)', true)
    const report = await run(rows(5000))
    expect(report.directCompress).toMatchObject({ batches: 0 })
    await expect(run(rows(1), { directCompress: 'on' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })
})

test('a source that fills one object or array anew for each row', async () => {
  await hypertable()
  const names = Object.keys(row(0))
  function* objects(): Generator<object> {
    const one: Record<string, unknown> = {}
    for (let n = 0; n < 500; n++) yield Object.assign(one, row(n))
  }
  async function* lists(): AsyncGenerator<unknown[]> {
    const one: unknown[] = []
    for (let n = 0; n < 500; n++) yield Object.assign(one, Object.values(row(n)))
  }
  const expected = Array.from(rows(500))
  for (const [source, options] of [
    [objects, {}],
    [lists, { columns: names }],
  ] as const) {
    await run(source(), { ...options, batchRows: 200 })
    expect(await contents()).toEqual(expected)
    await database.db.query(sql`drop table ${sql.name(table)}`)
    await run(source(), { ...options, create: { timeColumn: 'time', sampleRows: 100 } })
    expect(await contents()).toMatchObject(expected.map(({ time, note }) => ({ time, note })))
    await database.db.query(sql`truncate ${sql.name(table)}`)
  }
})

test('a source that cannot be closed hides no bad row', async () => {
  await hypertable()
  const source = {
    [Symbol.iterator]: () => ({
      next: () => ({ done: false as const, value: { ...row(0), v: 'x' } }),
      return: () => {
        throw new Error('it does not close')
      },
    }),
  }
  await expect(run(source, { batchRows: 3 })).rejects.toMatchObject({ code: 'BATCH_FAILED', row: 0 })
})

describe('what the server refuses', () => {
  test('is found by its row where the server knows no line, and by its column where it names one', async () => {
    await database.db.query(sql`create table ${sql.name(table)} (
      id int primary key check (id <> 70), p point, name varchar(5), n numeric(4, 2))`)
    const all = Array.from({ length: 100 }, (_, id) => ({ id, p: id === 57 ? 'secret' : '(1,2)', name: 'a', n: 1 }))
    const whole = all.map((one) => ({ ...one, p: null }))
    await expect(run(all)).rejects.toMatchObject({
      code: 'BATCH_FAILED',
      row: 57,
      message: 'Row 57: invalid input syntax for type point: "…"',
    })
    await expect(run(whole, { onConflict: 'update' })).rejects.toMatchObject({
      row: 70,
      message: expect.stringMatching(/^Row 70: new row .* violates check constraint/),
    })
    const fitting = Array.from({ length: 10 }, (_, id) => ({ id, name: id === 3 ? 'too long' : 'a' }))
    await expect(run(fitting)).rejects.toMatchObject({
      message: 'Row 3: Column "name": value too long for type character varying(5)',
    })
    const file = join(directory, 'columns.csv')
    writeFileSync(file, 'id,n\n1,2\n2,"name: 1,5"\n')
    await expect(run(file)).rejects.toMatchObject({ message: expect.stringMatching(/^(Row 1|Line 3): Column "n"/) })
    expect(await count()).toBe(0)
  })

  test('what a trigger raises names the row, and shows no value of it', async () => {
    await database.db.query(sql`create table ${sql.name(table)} (id int, note text)`)
    const refuse = sql.name({ schema: database.schema, name: 'refuse' })
    await database.db.query(sql`create function ${refuse}() returns trigger language plpgsql as $$ begin
      if new.id > 1 then raise exception 'note % is bad', new.note using hint = 'not ' || new.note, errcode = '23514'; end if;
      return new; end $$`)
    await database.db.query(
      sql`create trigger "refuse" before insert on ${sql.name(table)} for each row execute function ${refuse}()`,
    )
    const source = [1, 2].map((id) => ({ id, note: `secret ${id}` }))
    const file = join(directory, 'raised.csv')
    writeFileSync(file, `id,note\n${source.map(({ id, note }) => `${id},${note}`).join('\n')}\n`)
    for (const attempt of [() => run(source), () => run(file), () => database.client.insert(table, source)]) {
      const failure = await (attempt() as Promise<unknown>).then(undefined, (error: unknown) => error)
      expect(inspect(failure)).not.toContain('secret')
      expect(failure).toMatchObject({ message: expect.stringMatching(/note … is bad$/), hint: 'not …' })
    }
  })

  test('rows that a trigger drops are counted', async () => {
    await database.db.query(sql`create table ${sql.name(table)} (id int)`)
    const drop = sql.name({ schema: database.schema, name: 'drop row' })
    await database.db.query(sql`create function ${drop}() returns trigger language plpgsql as
      'begin if new.id % 3 = 0 then return null; end if; return new; end'`)
    await database.db.query(
      sql`create trigger "drop" before insert on ${sql.name(table)} for each row execute function ${drop}()`,
    )
    const source = Array.from({ length: 30 }, (_, id) => ({ id }))
    for (const onBadRow of ['stop', 'skip'] as const) {
      expect(await run(source, { onBadRow })).toMatchObject({ rowsRead: 30, rowsWritten: 20, rowsSkipped: 10 })
    }
    await using writer = await database.client.writer(table)
    await writer.write(source)
    await writer.flush()
    expect(writer.metrics).toMatchObject({ accepted: 30, written: 20, skipped: 10, buffered: 0 })
  })
})
