import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  addDecimals,
  compareDecimals,
  type Decimal,
  parseDecimal,
  roundDecimal,
} from '../../src/ingest/encode/decimal.ts'
import { load } from '../../src/ingest/load.ts'
import type { BatchDecision, FailedBatch, LoadOptions } from '../../src/ingest/load-option.ts'
import type { LoadSource } from '../../src/ingest/source/input.ts'
import { compareTexts } from '../../src/ingest/verify/tally.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string
let table: { schema: string; name: string }
let made = 0

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-verify-'))
})
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})
beforeEach(() => {
  table = { schema: database.schema, name: `Odd "table".${++made}` }
})
afterEach(() => database.db.query(sql`drop table if exists ${sql.name(table)}`))

const run = (source: LoadSource, options: LoadOptions = {}): ReturnType<typeof load> =>
  load(database.db, table, source, { verify: true, ...options })
const name = (): ReturnType<typeof sql.name> => sql.name(table)

async function hypertable(): Promise<void> {
  await database.db.query(sql`create table ${name()} (time timestamptz not null, "Sen.sor" int, v float8, note text)`)
  await database.client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
}

/** A trigger that makes something else of rows, as only the server sees it. */
async function trigger(body: string): Promise<void> {
  const made = sql.name({ schema: table.schema, name: `trigger ${table.name}` })
  await database.db.query(sql`
    create function ${made}() returns trigger language plpgsql as ${sql.literal(`begin ${body} end`)}`)
  await database.db.query(sql`create trigger t before insert on ${name()} for each row execute function ${made}()`)
}

const start = Date.UTC(2025, 0, 1)
const row = (n: number): Record<string, unknown> => ({
  time: new Date(start + n * 600_000),
  'Sen.sor': n % 7,
  v: n / 3,
  note: n % 3 === 0 ? null : `nöte 😀 "${n}"`,
})
const rows = (from: number, to: number): Record<string, unknown>[] =>
  Array.from({ length: to - from }, (_, n) => row(from + n))

describe('a hypertable', () => {
  beforeEach(hypertable)

  test('holds what the source has: alone, beside other rows, from all sources, resumed', async () => {
    expect((await run(rows(0, 1000), { batchRows: 300 })).verified).toEqual({ ranges: 7, rows: 1000 })
    // The same ranges again: what was there before is taken into account.
    expect((await run(rows(500, 1500), { batchRows: 300 })).verified).toEqual({ ranges: 8, rows: 1000 })
    const path = join(directory, 'v.csv')
    const lines = rows(0, 500).map((one) => `${(one['time'] as Date).toISOString()},${one['v']}`)
    writeFileSync(path, `time,v\n${lines.join('\n')}\n`)
    expect(await run(path)).toMatchObject({
      verified: { rows: 500 },
      path: { kind: 'binary', reason: expect.stringContaining('verified') },
    })
    const columns = {
      time: BigInt64Array.from(rows(0, 99), (_, n) => BigInt(start + n) * 1000n),
      v: Float64Array.from(rows(0, 99), (_, n) => n * 0.1),
    }
    expect((await run(columns)).verified).toEqual({ ranges: 1, rows: 99 })
    expect((await run(columns, { constants: { note: 'of all' } })).verified).toEqual({ ranges: 1, rows: 99 })
    const timeless = { constants: { time: new Date(start + 40 * 86_400_000) } }
    expect((await run({ v: columns.v }, timeless)).verified).toEqual({ ranges: 1, rows: 99 })
    expect((await run([])).verified).toBeUndefined()
  })

  test('resumes: what runs before have written is compared too', async () => {
    const importId = `${database.schema} verified`
    await run(rows(0, 50))
    async function* failing(): AsyncGenerator<object> {
      yield* rows(0, 1000)
      throw new Error('the source broke')
    }
    const options: LoadOptions = { importId, batchRows: 100 }
    await expect(run(failing(), options)).rejects.toThrow('the source broke')
    expect(await run(rows(0, 1500), options)).toMatchObject({
      rowsResumed: 1000,
      rowsWritten: 500,
      verified: { rows: 1500 },
    })
    await database.db.query(sql`delete from ${name()} where v = 100`)
    await expect(run(rows(0, 1500), options)).rejects.toMatchObject({ code: 'DRIFT' })
    const late = `${database.schema} late`
    await run(rows(0, 200), { importId: late, verify: false })
    await expect(run(rows(0, 200), { importId: late })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await database.db.query(sql`delete from tsdbkit.import where id in (${importId}, ${late})`)
  })

  test('leaves out rows that were rejected or whose batch was skipped', async () => {
    const source = rows(0, 1000).map((one, n) => (n === 77 || n === 500 ? { ...one, v: 'secret' } : one))
    expect(await run(source, { onBadRow: 'skip' })).toMatchObject({ rowsRejected: 2, verified: { rows: 998 } })
    const report = await run(source, { onBatchError: () => 'skip', batchRows: 100 })
    expect(report).toMatchObject({ rowsWritten: 800, verified: { rows: 800 } })
    expect(report.skippedBatches.map(({ first, rows: count }) => [first, count])).toEqual([
      [0, 100],
      [500, 100],
    ])
    expect(JSON.stringify(report.skippedBatches)).not.toContain('secret')
  })

  test.each<[string, string, RegExp]>([
    [
      'drops a row',
      'if new.v = 100 then return null; end if; return new;',
      /from 2025-01-03.*143 rows where 144 should be/,
    ],
    [
      'changes the least value',
      'if new."Sen.sor" = 0 and new.v > 140 and new.v < 150 then new."Sen.sor" = -1; end if; return new;',
      /the least value of "Sen.sor"/,
    ],
    ['changes a sum by a little', 'if new.v = 100 then new.v = 100.000001; end if; return new;', /the sum of "v"/],
    [
      'empties a value',
      "if new.note like '%301%' then new.note = null; end if; return new;",
      /the number of values of "note"/,
    ],
    [
      'swaps a letter',
      "if new.note like '%😀%' then new.note = replace(new.note, 'n', 'm'); end if; return new;",
      /the (least|greatest) value of "note"/,
    ],
    [
      'moves a row in time',
      "if new.v = 100 then new.time = new.time + interval '1 second'; end if; return new;",
      /the sum of "time"/,
    ],
  ])('is refused where something %s', async (_name, body, message) => {
    await trigger(body)
    const failure = await run(rows(0, 1000)).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'DRIFT', message: expect.stringMatching(message) })
  })

  test('is not verified where rows may go into others', async () => {
    await expect(run(rows(0, 1), { onConflict: 'ignore' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })
})

describe('other tables', () => {
  test('floats whose sum the server has no number for', async () => {
    await database.db.query(sql`create table ${name()} (v float8, w float8)`)
    const huge = [1.7e308, 1.7e308, -1e290, Number.MAX_VALUE, 1.5, -0.25]
    const rows = huge.map((v) => ({ v, w: 1e300 }))
    const verified = { ranges: 1, rows: rows.length }
    for (let time = 0; time < 2; time++) expect((await run(rows)).verified).toEqual(verified)
    await trigger('if new.v = 1.5 then new.v = 1.25; end if; return new;')
    await expect(run(rows)).rejects.toMatchObject({ code: 'DRIFT', message: expect.stringContaining('the sum of "v"') })
  })

  test('every type, with edges, by weeks of the first time', async () => {
    await database.db.query(sql`create table ${name()} (id bigint, t timestamp, d date, n numeric, p numeric(8,2), r real,
      f float8, b boolean, x text, c char(5), e varchar(9), u uuid, j jsonb, y bytea, a int[], z timestamptz(0), m int4range)`)
    const uuid = '00000000-0000-4000-8000-00000000000a'
    const source = [
      {
        id: 2n ** 63n - 1n,
        t: '2025-01-01 00:00:00.000001',
        d: '5874897-12-31',
        n: '123456789012345678901234567890.5',
        p: '1.005',
        r: 0.1,
        f: 1e300,
        b: true,
        x: '\uffff',
        c: 'a',
        e: 'é',
        u: uuid,
        j: { a: 1 },
        y: Buffer.from([1, 2]),
        a: [1],
        z: '2025-01-01T00:00:00.6Z',
        m: '[1,2)',
      },
      {
        id: '-5',
        t: '0001-01-01',
        d: 'infinity',
        n: '-1e-20',
        p: 2,
        r: '3e10',
        f: '-0',
        b: 'f',
        x: '😀',
        c: 'bb',
        e: '',
        u: null,
        j: null,
        y: '\\x0a0b0c',
        a: null,
        z: null,
        m: null,
      },
      {
        id: 7,
        t: null,
        d: null,
        n: 5,
        p: '-2.995',
        r: null,
        f: 0.1,
        b: 'on',
        x: 12,
        c: null,
        e: null,
        u: null,
        j: 1,
        y: null,
        a: null,
        z: null,
        m: null,
      },
      {
        id: 8,
        t: 'infinity',
        d: '-infinity',
        n: 'NaN',
        p: null,
        r: Number.NaN,
        f: Number.NEGATIVE_INFINITY,
        b: null,
        x: null,
        c: null,
        e: null,
        u: null,
        j: null,
        y: null,
        a: null,
        z: null,
        m: null,
      },
    ]
    expect((await run(source)).verified).toEqual({ ranges: 4, rows: 4 })
    expect((await run(source)).verified).toEqual({ ranges: 4, rows: 4 })
    await trigger('new.p = new.p + 0.01; return new;')
    await expect(run(source.slice(1))).rejects.toMatchObject({ code: 'DRIFT', message: expect.stringContaining('"p"') })
  })

  test('by weeks of dates that no time goes up to', async () => {
    await database.db.query(sql`create table ${name()} (d date)`)
    const source = ['2025-01-01', '294276-12-31', '294277-01-01', '5874897-12-31', 'infinity'].map((d) => ({ d }))
    expect((await run(source)).verified).toEqual({ ranges: 4, rows: 5 })
    await trigger("if new.d = '5874897-12-31' then return null; end if; return new;")
    await expect(run(source)).rejects.toMatchObject({ message: expect.stringContaining('from 5874897-12-') })
  })

  test('a hypertable by integers, and a table without times', async () => {
    await database.db.query(sql`create table ${name()} (at bigint not null, v int)`)
    await database.client.createHypertable(table, { timeColumn: 'at', chunkTimeInterval: 100 })
    const source = Array.from({ length: 300 }, (_, n) => ({ at: n - 150, v: n }))
    expect((await run(source)).verified).toEqual({ ranges: 4, rows: 300 })
    await database.db.query(sql`drop table ${name()}`)
    await database.db.query(sql`create table ${name()} (v int)`)
    expect((await run([{ v: 1 }, { v: null }])).verified).toEqual({ ranges: 1, rows: 2 })
    await trigger('new.v = new.v + 1; return new;')
    await expect(run([{ v: 5 }])).rejects.toThrow('the whole table')
  })

  test('random floats are summed in another order by the server, within the bound', async () => {
    await database.db.query(sql`create table ${name()} (v float8, w real)`)
    const number = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e30, max: 1e30 })
    const values = fc.sample(fc.array(number, { minLength: 200, maxLength: 400 }), { numRuns: 3, seed: 5 })
    for (const list of values) {
      const source = list.map((v) => ({ v, w: Math.abs(v) < 1e-30 ? 0 : v }))
      expect((await run(source)).verified?.rows).toBe(source.length)
    }
  })
})

describe('onBatchError', () => {
  beforeEach(async () => {
    await database.db.query(sql`create table ${name()} (id int, v int check (v >= 0))`)
  })
  const source = Array.from({ length: 1000 }, (_, id) => ({ id, v: id === 250 || id === 777 ? -1 : 1 }))
  const count = async (): Promise<unknown> =>
    (await database.db.query(sql`select count(*)::int as n from ${name()}`)).rows[0]?.['n']

  test('is told about the batch, and decides', async () => {
    const seen: FailedBatch[] = []
    const decide = async (error: unknown, batch: FailedBatch): Promise<BatchDecision> => {
      expect(error).toMatchObject({ code: 'BATCH_FAILED', row: batch.first === 200 ? 250 : 777 })
      seen.push(batch)
      if (batch.failures < 3) return 'retry'
      return 'skip'
    }
    const report = await run(source, { batchRows: 100, parallel: 1, onBatchError: decide })
    expect(seen.map(({ first, rows: size, failures }) => [first, size, failures])).toEqual(
      [200, 700].flatMap((first) => [1, 2, 3].map((failures) => [first, 100, failures])),
    )
    expect(report).toMatchObject({ rowsRead: 1000, rowsWritten: 800, batches: 8 })
    expect(report.skippedBatches).toEqual([
      { first: 200, rows: 100, reason: expect.stringContaining('Row 250') },
      { first: 700, rows: 100, reason: expect.stringContaining('Row 777') },
    ])
    expect(await count()).toBe(800)
  })

  test('a batch that succeeds when the reason is removed', async () => {
    const decide = async (): Promise<BatchDecision> => {
      await database.db.query(
        sql`alter table ${name()} drop constraint if exists ${sql.column(`${table.name}_v_check`)}`,
      )
      return 'retry'
    }
    expect(await run(source, { batchRows: 100, onBatchError: decide })).toMatchObject({
      rowsWritten: 1000,
      verified: { rows: 1000 },
    })
  })

  test('stop, an answer that is none, and a decision that throws', async () => {
    for (const answer of ['stop', undefined, 'no'] as const) {
      const decide = (): BatchDecision => answer as BatchDecision
      const failure = run(source, { batchRows: 100, onBatchError: decide })
      await expect(failure).rejects.toMatchObject({ code: answer === 'stop' ? 'BATCH_FAILED' : 'INVALID_OPTION' })
    }
    const broken = (): never => {
      throw new Error('undecided')
    }
    await expect(run(source, { onBatchError: broken })).rejects.toThrow('undecided')
    await expect(run(source, { onBatchError: 'skip' } as object)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('CSV passed through, in an import: the ledger knows what was left out', async () => {
    const path = join(directory, 'b.csv')
    writeFileSync(path, `id,v\n${source.map(({ id, v }) => `${id},${v}\n`).join('')}`)
    const importId = `${database.schema} skipped`
    const options: LoadOptions = { importId, batchBytes: 1, verify: false, onBatchError: () => 'skip' }
    const report = await run(path, options)
    expect(report).toMatchObject({ rowsWritten: 0, skippedBatches: [{ first: 1, rows: 1000 }] })
    const again = await run(path, options)
    expect(again).toMatchObject({ rowsResumed: 1000, rowsWritten: 0, skippedBatches: [{ first: 1, rows: 1000 }] })
    await database.db.query(sql`delete from tsdbkit.import where id = ${importId}`)
  })

  test('in a transaction', async () => {
    const report = await database.db.transaction((tx) =>
      load(tx, table, source, { batchRows: 100, verify: true, onBatchError: () => 'skip' }),
    )
    expect(report).toMatchObject({ rowsWritten: 800, verified: { rows: 800 } })
    expect(await count()).toBe(800)
  })
})

describe('decimals', () => {
  const text = fc
    .tuple(fc.bigInt(), fc.integer({ min: -20, max: 20 }))
    .map(([digits, exponent]) => `${digits}e${exponent}`)
  const exact = ([digits, exponent]: readonly [bigint, number]): bigint => digits * 10n ** BigInt(exponent + 20)
  const parts = (one: string): [bigint, number] => {
    const [digits = '0', exponent = '0'] = one.split('e')
    return [BigInt(digits), Number(exponent)]
  }

  test('are added and compared exactly', () => {
    fc.assert(
      fc.property(text, text, (one, other) => {
        const [left, right] = [exact(parts(one)), exact(parts(other))]
        const [a, b] = [parseDecimal(one), parseDecimal(other)]
        expect(Math.sign(compareDecimals(a, b))).toBe(left < right ? -1 : left > right ? 1 : 0)
        expect(compareDecimals(addDecimals(a, b), parseDecimal(`${left + right}e-20`))).toBe(0)
      }),
    )
  })

  test('are rounded as on the server, special ones are known', () => {
    const rounded = (one: string, scale: number): Decimal => roundDecimal(parseDecimal(one), scale)
    expect(rounded('1.005', 2)).toEqual(parseDecimal('1.01'))
    expect(rounded('-2.5', 0)).toEqual(parseDecimal('-3'))
    expect(addDecimals('Infinity', '-Infinity')).toBe('NaN')
    expect(compareDecimals('NaN', 'Infinity')).toBeGreaterThan(0)
    expect(() => parseDecimal('.')).toThrow(RangeError)
  })

  test('texts are compared by code points', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (one, other) => {
        expect(Math.sign(compareTexts(one, other))).toBe(Buffer.compare(Buffer.from(one), Buffer.from(other)))
      }),
    )
    expect(compareTexts('\uffff', '😀')).toBeLessThan(0)
  })
})
