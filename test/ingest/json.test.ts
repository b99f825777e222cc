import fc from 'fast-check'
import { expect, test } from 'vitest'
import { compareDecimals, parseDecimal } from '../../src/ingest/encode/decimal.ts'
import { jsonRows } from '../../src/ingest/source/json.ts'
import { jsonRow, ndjsonRows } from '../../src/ingest/source/ndjson.ts'

async function* pieces(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function all(source: AsyncIterable<object>): Promise<object[]> {
  const rows: object[] = []
  for await (const row of source) rows.push(row)
  return rows
}

const text = fc.string({ unit: 'binary' })
const value = fc.jsonValue({ maxDepth: 3 })
const row = fc.dictionary(text, value, { maxKeys: 4, noNullPrototype: true })

test('items of an array and lines are read as JSON.parse does, however the bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { maxLength: 6 }),
      fc.integer({ min: 1, max: 30 }),
      fc.nat(3),
      async (rows, size, indent) => {
        // Numbers that a double does not hold as they are written come as texts, so both are read alike.
        const list = rows.map((one) => jsonRow(JSON.stringify(one), 'it'))
        const array = JSON.stringify(rows, undefined, indent)
        expect(await all(jsonRows(pieces(array, size), 'it'))).toEqual(list)
        const lines = rows.map((one) => JSON.stringify(one)).join('\r\n\n')
        expect(await all(ndjsonRows(pieces(lines, size), 'it'))).toEqual(list)
      },
    ),
    { numRuns: 300 },
  )
})

test('a number has all of its digits: as itself, or as a text', () => {
  const digits = fc.stringMatching(/^-?(0|[1-9]\d{0,24})(\.\d{1,20})?(e[+-]?\d{1,3})?$/)
  fc.assert(
    fc.property(digits, (number) => {
      const found = jsonRow(`{"a":"1234567890123456789","n":${number},"deep":{"n":[${number}]}}`, 'it')
      const { a, n, deep } = found as { a: string; n: unknown; deep: unknown }
      expect(a).toBe('1234567890123456789')
      expect(compareDecimals(parseDecimal(String(n)), parseDecimal(number))).toBe(0)
      if (typeof deep === 'string') expect(deep).toBe(`{"n":[${number}]}`)
      else expect(compareDecimals(parseDecimal(String((deep as { n: number[] }).n[0])), parseDecimal(number))).toBe(0)
    }),
    { numRuns: 2000, examples: [['10004e-327'], ['5e-324'], ['0e-400'], ['-2.2250738585072011e-308']] },
  )
})
