import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type CsvField, RecordCutter, recordsOf } from '../../src/ingest/source/csv-record.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const syntax = { delimiter: ',', nullText: '' }

const valuesOf = (text: string, nullText: string): CsvField[][] =>
  [...recordsOf(text, { ...syntax, nullText })].map((record) => record.values())

/** The records of a text that comes in pieces of these lengths. */
function read(text: string, lengths: readonly number[], nullText = ''): CsvField[][] {
  const cutter = new RecordCutter()
  const records: CsvField[][] = []
  let at = 0
  for (const length of [...lengths, text.length]) {
    records.push(...valuesOf(cutter.push(text.slice(at, at + length)), nullText))
    at += length
  }
  expect(cutter.quoted).toBe(false)
  return [...records, ...valuesOf(cutter.rest(), nullText)]
}

const plain = fc.string({ unit: fc.constantFrom('a', 'N', ' ', 'é', '1'), maxLength: 4 })
const inside = fc.string({ unit: fc.constantFrom('a', 'N', ',', '\n', '""', '\r\n', ' '), maxLength: 6 })
const part = fc.oneof(
  plain,
  inside.map((text) => `"${text}"`),
)
const field = fc.oneof(
  plain,
  fc.array(part, { maxLength: 4 }).map((parts) => parts.join('')),
  fc.constant('N'),
)
const record = fc.tuple(field, field, field).map((fields) => fields.join(','))
const cuts = fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 60 })

test.each(['', 'N'])(
  'random records are read as the server reads them, wherever they are cut; NULL is %j',
  async (nullText) => {
    const { db, schema } = database
    const table = `"${schema}"."Re cords"`
    await db.query({ text: `drop table if exists ${table}`, values: [] })
    await db.query({ text: `create table ${table} (n serial, a text, b text, c text)`, values: [] })
    const records = fc.sample(record, { numRuns: 2000, seed: nullText.length })
    // Mixed ends of lines are refused by the server, and so is a carriage return that is not quoted.
    const text = `${records.join('\n')}\n`
    await db.copyIn(`copy ${table} (a, b, c) from stdin with (format csv, null '${nullText}')`, [Buffer.from(text)])
    const { rows } = await db.query<{ f: CsvField[] }>({
      text: `select array[a, b, c] as f from ${table} order by n`,
      values: [],
    })
    const expected = rows.map(({ f }) => f)
    expect(expected).toHaveLength(records.length)
    expect(read(text, [], nullText)).toStrictEqual(expected)
    fc.assert(
      fc.property(cuts, (lengths) => {
        expect(read(text, lengths, nullText)).toStrictEqual(expected)
      }),
      { numRuns: 20 },
    )
  },
)

test('each record alone, cut at every place', () => {
  fc.assert(
    fc.property(record, (text) => {
      const whole = read(text, [])
      for (let at = 1; at < text.length; at++) expect(read(text, [at])).toStrictEqual(whole)
    }),
    { numRuns: 300 },
  )
})

test.each<[string, readonly CsvField[][]]>([
  ['', []],
  ['\n\n', [[null], [null]]],
  ['a', [['a']]],
  ['a,', [['a', null]]],
  ['"a",', [['a', null]]],
  ['a,""\n', [['a', '']]],
  ['""', [['']]],
  ['a\r\nb\rc\nd', [['a'], ['b'], ['c'], ['d']]],
  ['"a\r"\r\n"b"\r"c"\n', [['a\r'], ['b'], ['c']]],
  ['x"y"z\n', [['xyz']]],
  ['"a""b"', [['a"b']]],
  ['""""', [['"']]],
  [',\n', [[null, null]]],
  ['"",\n\n"b",c', [['', null], [null], ['b', 'c']]],
])('%j', (text, expected) => {
  expect(read(text, [])).toStrictEqual(expected)
  for (let at = 1; at < text.length; at++) expect(read(text, [at])).toStrictEqual(expected)
})

test('a quoted field that never ends is looked at once, not again with every piece', () => {
  const cutter = new RecordCutter()
  const start = performance.now()
  cutter.push('a,"')
  for (let piece = 0; piece < 2000; piece++) expect(cutter.push('x\n'.repeat(10_000))).toBe('')
  expect(performance.now() - start).toBeLessThan(3000)
  expect(cutter).toMatchObject({ held: 40_000_003, quoted: true })
})
