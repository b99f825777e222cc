import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { backgroundOf } from '../../src/connection/background.ts'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import { quoteLiteral } from '../../src/sql/literal.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { rounds } from '../setup/soak.ts'

// A CSV that could be passed through is parsed where the engine is in this process: it must come to the same.
let database: TestDatabase
let directory: string
let name: string
let table: string
let parses: boolean

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb csv-'))
  table = `"${database.schema}"."T.x"`
  name = table
  parses = backgroundOf(database.db) !== undefined
})

afterAll(async () => {
  await database.close()
  rmSync(directory, { recursive: true, force: true })
})

const run = (text: string) => database.db.query<Record<string, unknown>>({ text, values: [] })

async function makeTable(types: readonly string[]): Promise<void> {
  await run(`drop table if exists ${table}`)
  await run(`create table ${table} (${types.map((type, at) => `"c ${at}" ${type}`).join(', ')})`)
}

const mostly = (usual: fc.Arbitrary<string>, ...odd: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof({ weight: 30, arbitrary: usual }, { weight: 1, arbitrary: fc.constantFrom(...odd) })

const integers = (most: number): fc.Arbitrary<string> =>
  mostly(
    fc.integer({ min: -most, max: most }).map(String),
    ' 12 ',
    '+5',
    '-0',
    '007',
    '0x1F',
    '0b11',
    '1_000',
    '\u00a05',
  )
const decimal = fc
  .tuple(fc.constantFrom('', '-', '+'), fc.stringMatching(/^\d{1,25}$/), fc.stringMatching(/^\d{1,25}$/))
  .map(([sign, whole, part]) => `${sign}${whole}.${part}`)
/** Texts beside the middle between two floats of four bytes. */
const middle = fc
  .tuple(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom('', '0001', '9'))
  .map(([value, more]) => {
    const bits = new DataView(new ArrayBuffer(4))
    bits.setFloat32(0, value)
    bits.setInt32(0, bits.getInt32(0) + 1)
    const text = ((value + bits.getFloat32(0)) / 2).toFixed(40)
    return Number(text) === 0 ? '0' : text + more
  })
const day = fc.date({ min: new Date('1000-01-01Z'), max: new Date('2999-12-31Z'), noInvalidDate: true })
const time = mostly(
  fc.tuple(day, fc.nat(7)).map(([date, cut]) => {
    const iso = date.toISOString()
    return [
      iso,
      iso.slice(0, 10),
      iso.slice(0, 19).replace('T', ' '),
      `${iso.slice(0, 19)}+02:30`,
      `${iso.slice(0, 23)}456-03`,
      iso.slice(0, 16),
      `${iso.slice(0, 19)}Z`,
      `${iso.slice(0, 19)}.5+0530`,
    ][cut] as string
  }),
  ...['epoch', 'infinity', '-infinity', '2024-01-01 24:00:00', '20240101', '2024-1-5', 'Jan 5 2024', '5-Jan-2024'],
  ...['2024-01-01 12:00 PM', '2024-01-01T12:00:00.1234565Z', '2024-02-29', '0044-03-15 BC', '2024/03/04 05:06'],
  ...['2024-01-01 10:00:00 Europe/Berlin', '2024-01-01 23:59:60', '12024-01-01', ' 2024-01-01 ', '2024-01-01T10Z'],
  ...['2024-01-01 10:00:00+15:59', '2024-001', '0999-01-01', '2024-01-01 10:00:00 EST', '01/02/2001', '2024-02-30'],
)
const texts = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 5 }).map((text) => text.replaceAll('\0', '')),
  fc.constantFrom('', ' ', 'NULL', '\\N', '\\.', 'a"b', 'a,b', 'a\nb', 'a\r\nb', "'", '\ufeff', '\u00a0x', '👍🏽'),
)
const types: Readonly<Record<string, fc.Arbitrary<string>>> = {
  boolean: fc.constantFrom('t', 'TRUE', 'f', ' yes ', 'on', 'of', '0', '1', 'n'),
  smallint: integers(32767),
  integer: integers(2 ** 31 - 1),
  bigint: fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String), integers(2 ** 40)),
  real: mostly(
    fc.oneof(fc.float().map(String), decimal, middle),
    'NaN',
    '-inf',
    '1e-40',
    '1e-46',
    '0x1p3',
    '1.17549435e-38',
  ),
  'double precision': mostly(
    fc.oneof(fc.double().map(String), decimal),
    ...['NaN', 'inf', '-Infinity', '+inf', '4.9e-324', '1e-310', '0x1p3', '.5', '5.', '1e400', ' 1 ', '-0'],
  ),
  numeric: mostly(
    fc.oneof(decimal, fc.double({ noNaN: true, noDefaultInfinity: true }).map(String)),
    'NaN',
    '1e5',
    '0.00',
    '1_0',
    'Infinity',
  ),
  'numeric(9,2)': mostly(
    fc.double({ min: -9999999, max: 9999999, noNaN: true }).map((value) => value.toFixed(3)),
    '0.005',
    '1e3',
  ),
  text: texts,
  'varchar(5)': texts,
  'char(6)': texts,
  timestamptz: time,
  timestamp: time,
  'timestamptz(2)': time,
  date: time,
  uuid: mostly(fc.uuid(), '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', 'A0EEBC999C0B4EF8BB6D6BB9BD380A11'),
  jsonb: mostly(fc.json(), '"\\ud800"', '1.0', ' {} ', '[1,]'),
  bytea: mostly(
    fc.uint8Array({ maxLength: 4 }).map((bytes) => `\\x${Buffer.from(bytes).toString('hex')}`),
    'abc',
    '\\x 12',
    '',
  ),
  inet: fc.ipV4(),
  'integer[]': fc.constantFrom('{1,2}', '{}', '{NULL,3}'),
}

interface Syntax {
  readonly delimiter: string
  readonly nullText: string
}

function field(value: string | null, quoted: boolean, { delimiter, nullText }: Syntax): string {
  if (value === null) return nullText
  const mustBe = value === nullText || value === '' || /["\r\n]/.test(value) || value.includes(delimiter)
  return quoted || mustBe ? `"${value.replaceAll('"', '""')}"` : value
}

const seldom = (...values: readonly string[]): fc.Arbitrary<string | null> =>
  fc.oneof({ weight: 20, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.constantFrom(...values) })

/** A table, and a CSV for it. */
const files = fc.array(fc.constantFrom(...Object.keys(types)), { minLength: 1, maxLength: 4 }).chain((columns) => {
  const value = (type: string) => fc.tuple(fc.option(types[type] ?? texts, { freq: 6 }), fc.boolean())
  return fc.record({
    columns: fc.constant(columns),
    syntax: fc.record({
      delimiter: fc.constantFrom(',', ';', '\t', '|'),
      nullText: mostly(fc.constantFrom('', 'NULL', '\\N'), '"'),
    }),
    rows: fc.array(fc.tuple(...columns.map(value)), { minLength: 1, maxLength: 6 }),
    end: fc.constantFrom('\n', '\n', '\r\n'),
    oddEnd: seldom('\n', '\r\n', '\r', '\n\n'),
    closed: fc.boolean(),
    more: seldom('x', '"', 'x,y,z,a,b', '\u0000'),
  })
})

function csvOf({ syntax, rows, end, oddEnd, closed, more }: Parameters<Parameters<typeof files.map>[0]>[0]): string {
  const lines = rows.map((row) => row.map(([value, quoted]) => field(value, quoted, syntax)).join(syntax.delimiter))
  const text = lines.map((line, at) => line + (at === 0 ? (oddEnd ?? end) : end)).join('') + (more ?? '')
  return closed || more !== null ? text : text.slice(0, text.length - end.length)
}

type Outcome = { readonly rows: unknown } | { readonly error: string }

async function outcome(write: () => Promise<unknown>): Promise<Outcome> {
  await run(`truncate ${table}`)
  try {
    await write()
    return { rows: (await run(`select array_agg(t::text) as rows from ${table} t`)).rows[0]?.['rows'] }
  } catch (error) {
    const line = /^Line \d+: /.exec(error instanceof Error ? error.message : '')?.[0] ?? ''
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    const code = typeof cause === 'object' && cause !== null && 'sqlState' in cause ? cause.sqlState : String(error)
    return { error: `${line}${code}` }
  }
}

test('an empty line that only a carriage return ends is a row of one column', async () => {
  await makeTable(['date'])
  const path = join(directory, 'return.csv')
  writeFileSync(path, '\r2024-02-29\r')
  const options: LoadOptions = { header: false, nullText: '', analyze: false }
  expect(await load(database.db, name, path, options)).toMatchObject({ rowsWritten: 2 })
})

test('what any CSV comes to is what the server reads', { timeout: 600_000 }, async () => {
  let [parsed, same] = [0, 0]
  await fc.assert(
    fc.asyncProperty(files, async (file) => {
      await makeTable(file.columns)
      const { delimiter, nullText } = file.syntax
      const text = csvOf(file)
      const path = join(directory, 'random.csv')
      writeFileSync(path, text)
      const options: LoadOptions = { header: false, delimiter, nullText, analyze: false, directCompress: 'off' }
      let kind: string | undefined
      const ours = await outcome(async () => {
        const { path: way } = await load(database.db, name, path, options)
        kind = way.reason.includes('passed through') ? 'csv' : way.kind
      })
      const copy = `copy ${table} from stdin (format csv, delimiter ${quoteLiteral(delimiter)}, null ${quoteLiteral(nullText)})`
      const theirs = await outcome(() =>
        database.db.transaction(async (tx) => {
          await tx.query({
            text: "select set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true)",
            values: [],
          })
          // As a load does it: that line is a value, and a byte order mark is none.
          await tx.copyIn(copy, [
            Buffer.from(text.replace(/^\ufeff/, '').replaceAll(/(?<=^|\n|\r)\\\.(?=$|\n|\r)/g, '"\\."')),
          ])
        }),
      )
      if (kind === 'binary') parsed++
      if ('rows' in theirs) same++
      // Such a file is always parsed, and then a value that only the server reads is an error.
      const onlyReturns = /^[^\n]*\r[^\n]*$/.test(text.replaceAll(/"[^"]*"/g, ''))
      if ('rows' in ours || ('rows' in theirs && !onlyReturns)) expect(ours).toEqual(theirs)
    }),
    { numRuns: rounds(80, 3000) },
  )
  process.stdout.write(`${same} CSVs that the server takes, ${parsed} of them parsed\n`)
  if (parses) expect(parsed).toBeGreaterThan(same / 4)
})

const lines = 30_000
/** More than one batch of 256 KiB; `odd` is in the second of them. */
function longFile(odd = '2026-01-01T00:00:00.000Z'): string {
  const path = join(directory, 'long.csv')
  const text = Array.from(
    { length: lines },
    (_, id) => `${id === 15_000 ? odd.padEnd(24) : '2026-01-01T00:00:00.000Z'},${id}\n`,
  )
  writeFileSync(path, `"c 0","c 1"\n${text.join('')}`)
  return path
}
const figures = () =>
  run(`select count(*)::int as n, count(distinct "c 1")::int as ids, count(*) filter (where "c 0" > '2026-01-01Z')::int as odd
    from ${table}`)

test('only the batch with what the server alone reads is passed through, and the windows stay', async () => {
  await makeTable(['timestamptz', 'bigint'])
  const options: LoadOptions = { batchBytes: 1, analyze: false }
  const windows = async (odd: string | undefined, stopAfter: number): Promise<unknown[]> => {
    await run(`truncate ${table}`)
    const importId = `${database.schema} ${odd} ${stopAfter}`
    const stop = new AbortController()
    let batches = 0
    const onProgress = (): void => {
      if (++batches === stopAfter) stop.abort()
    }
    const first = load(database.db, name, longFile(odd), { ...options, importId, signal: stop.signal, onProgress })
    await (stopAfter > 0 ? expect(first).rejects.toMatchObject({ code: 'QUERY_CANCELLED' }) : first)
    const report = await load(database.db, name, longFile(odd), { ...options, importId })
    expect(report.rowsResumed + report.rowsWritten).toBe(lines)
    expect((await figures()).rows).toEqual([{ n: lines, ids: lines, odd: odd === undefined ? 0 : 1 }])
    const { rows } = await run(
      `select start, rows from tsdbkit.import_window where import_id = ${quoteLiteral(importId)} order by start`,
    )
    await run(`delete from tsdbkit.import where id = ${quoteLiteral(importId)}`)
    return rows
  }
  const expected = await windows(undefined, 0)
  expect(expected.length).toBeGreaterThan(3)
  expect(await windows('tomorrow', 0)).toEqual(expected)
  expect(await windows('now', 2)).toEqual(expected)
  expect(await windows(undefined, 1)).toEqual(expected)
  await run(`truncate ${table}`)
  const { path } = await load(database.db, name, longFile('now'), options)
  if (parses) {
    expect(path).toMatchObject({
      kind: 'binary',
      reason: expect.stringContaining('; 1 batch passed through: Column "c 0"'),
    })
  }
  expect((await load(database.db, name, longFile(), options)).path.reason).not.toContain('passed through')
})

test('a row that the server refuses is named by its line, and what it takes after all is written', async () => {
  await makeTable(['timestamptz not null', 'bigint unique'])
  await expect(load(database.db, name, longFile('2026-02-30'), { analyze: false })).rejects.toThrow('Line 15002: ')
  await expect(load(database.db, name, longFile('"2026-01-01"'), { analyze: false })).resolves.toMatchObject({
    rowsWritten: lines,
  })
  await expect(load(database.db, name, longFile(), { analyze: false })).rejects.toThrow('Line 2: ')
  expect((await figures()).rows).toMatchObject([{ n: lines }])
})

test('a file in which every batch needs the server is not parsed for long', async () => {
  await makeTable(['timestamptz', 'bigint'])
  const path = join(directory, 'odd.csv')
  writeFileSync(path, `"c 0","c 1"\n${Array.from({ length: lines }, (_, id) => `epoch,${id}\n`.repeat(3)).join('')}`)
  const report = await load(database.db, name, path, { batchBytes: 1, analyze: false })
  expect(report).toMatchObject({ rowsWritten: lines * 3 })
  if (parses) expect(report.path.reason).toMatch(/; \d+ batches passed through: Column "c 0"/)
})

test('a text that begins with a byte order mark keeps it, in the first field of the first row too', async () => {
  await makeTable(['text', 'text[]'])
  const path = join(directory, 'mark.csv')
  writeFileSync(path, '\ufeffc 0,c 1\n\ufeff,{\ufeff}\n\ufeffa,"{""\ufeffb""}"\n')
  const expected = [
    { first: '\ufeff', second: '\ufeff' },
    { first: '\ufeffa', second: '\ufeffb' },
  ]
  for (const options of [{}, { verify: true }, { onBadRow: 'skip' }] as const) {
    await run(`truncate ${table}`)
    await load(database.db, name, path, options)
    expect((await run(`select "c 0" as first, "c 1"[1] as second from ${table}`)).rows).toEqual(expected)
  }
})
