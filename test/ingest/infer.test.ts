import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inferType } from '../../src/ingest/create/infer.ts'
import { compareDecimals, parseDecimal } from '../../src/ingest/encode/decimal.ts'

describe('texts of a file', () => {
  test.each<[string, readonly (string | null)[], string]>([
    ['whole numbers', ['1', '-5', '9223372036854775807', null], 'bigint'],
    ['beyond bigint', ['9223372036854775808'], 'numeric'],
    ['fractions', ['1', '2.5', '.5', '1e-7', 'NaN', '-Infinity'], 'double precision'],
    ['many digits', ['1.5', '1234567890.1234567'], 'numeric'],
    ['a large whole number among fractions', ['0.5', '9007199254740993'], 'numeric'],
    ['out of range of a double', ['1e400'], 'numeric'],
    ['too small for all digits of a double', ['8000e-327'], 'numeric'],
    ['leading zeros', ['1', '007'], 'text'],
    ['a plus', ['+49123'], 'text'],
    ['only NaN', ['nan'], 'text'],
    ['spaces around', [' 5', '6 '], 'bigint'],
    ['booleans', ['true', 'FALSE'], 'boolean'],
    ['t and f', ['t', 'f', 't'], 'boolean'],
    ['only t', ['t', 't'], 'text'],
    ['yes and no', ['yes', 'no'], 'text'],
    ['days', ['2025-01-31', null], 'date'],
    ['no day', ['2025-02-30'], 'text'],
    ['days with slashes', ['2025/01/31', '2025/2/1'], 'date'],
    ['days with names of months', ['Jan 1 2000', '2 Feb 2000'], 'date'],
    ['days and hours with slashes', ['2001/01/01 06:55', '2001/01/01 8:47'], 'timestamp'],
    ['days that nobody is sure of', ['01/02/2001', '31/12/2001'], 'text'],
    ['without a zone', ['2025-01-31 10:00', '2025-02-01'], 'timestamp'],
    ['with a zone', ['2025-01-31 10:00:00.5+02', '2025-02-01T00:00:00Z'], 'timestamptz'],
    ['compact times', ['20260131T065500Z', '20260131T065500.25+0100'], 'timestamptz'],
    ['compact times without a zone', ['20260131T065500'], 'timestamp'],
    ['zones by name', ['2026-01-31 06:55:00 UTC', '2026-01-31 06:55 GMT', '31-Jan-2026 06:55 utc'], 'timestamptz'],
    ['zones that a setting decides', ['2026-01-31 06:55:00 CST'], 'text'],
    ['halves of the day', ['2026-01-31 06:55 PM', 'Jan 31, 2026 12:00:01.5 am'], 'timestamp'],
    ['an hour that is in no half', ['2026-01-31 13:55 PM'], 'text'],
    ['times of a day', ['06:55:00', '24:00:00', '6:55 PM', '12:00:00.5am', null], 'time'],
    ['lengths of time, or scores', ['06:55', '2:1'], 'text'],
    ['hours beyond a day', ['24:00:01', '06:00:00'], 'text'],
    ['finer than a microsecond', ['2025-01-31 10:00:00.1234567'], 'text'],
    ['UUIDs', ['00000000-0000-4000-8000-00000000000A'], 'uuid'],
    ['JSON', ['{"a":1}', '[]'], 'jsonb'],
    ['arrays of the server', ['{1,2}'], 'text'],
    ['nothing', [null, null], 'text'],
    ['numbers and texts', ['1', 'x'], 'text'],
  ])('%s', (_name, values, type) => {
    expect(inferType(values, true).type).toBe(type)
  })

  test('with a zone or a format given', () => {
    expect(inferType(['2025-01-31 10:00'], true, { timeZone: 'Europe/Berlin' }).type).toBe('timestamptz')
    expect(inferType(['31.01.2025'], true, { timeFormat: 'DD.MM.YYYY' }).type).toBe('date')
    expect(inferType(['20250131'], true, { timeFormat: 'YYYYMMDD' }).type).toBe('date')
    expect(inferType(['20250131', '20259999'], true, { timeFormat: 'YYYYMMDD' }).type).toBe('text')
    expect(inferType(['2025-01-31'], true, { timeFormat: 'DD.MM.YYYY' }).type).toBe('text')
  })

  test('no number is changed by the type that is chosen', () => {
    const digits = fc.stringMatching(/^-?\d{1,25}(\.\d{1,20})?(e-?\d{1,3})?$/)
    const text = fc.oneof(digits, fc.integer().map(String), fc.double().map(String), fc.bigInt().map(String))
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (values) => {
        const { type } = inferType(values, true)
        for (const value of values) {
          if (type === 'bigint') expect(String(BigInt(value))).toBe(value)
          else if (type === 'double precision') {
            expect(value).not.toMatch(/^-?0\d/)
            expect(compareDecimals(parseDecimal(value), parseDecimal(String(Number(value))))).toBe(0)
          } else expect(['numeric', 'text']).toContain(type)
        }
      }),
      { numRuns: 2000 },
    )
  })
})

test.each<[string, readonly unknown[], string | undefined]>([
  ['numbers', [1, 2, null, undefined], 'bigint'],
  ['fractions', [1, 2.5, Number.NaN], 'double precision'],
  ['a number that stands for several integers', [2 ** 53], 'double precision'],
  ['bigints', [1n, 2n ** 63n - 1n], 'bigint'],
  ['large bigints', [2n ** 64n], 'numeric'],
  ['fractions and large bigints', [0.5, 2n ** 60n], 'numeric'],
  ['texts of digits stay texts', ['1', '2'], 'text'],
  ['texts of times', ['2025-01-01T00:00:00Z'], 'timestamptz'],
  ['Dates', [new Date(0), '2025-01-01'], 'timestamptz'],
  ['booleans', [true, false], 'boolean'],
  ['booleans and numbers', [true, 1], 'text'],
  ['objects', [{ a: 1 }, [1]], 'jsonb'],
  ['bytes', [Buffer.from('x')], 'bytea'],
  ['objects and texts', [{ a: 1 }, 'x'], undefined],
  ['Dates and numbers', [new Date(0), 1], undefined],
])('values: %s', (_name, values, type) => {
  expect(inferType(values, false).type).toBe(type)
})
