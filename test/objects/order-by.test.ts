import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatOrderBy, parseColumns, parseOrderBy } from '../../src/objects/order-by.ts'
import { compareSpans, isSameSpan } from '../../src/objects/span.ts'

describe('parseOrderBy', () => {
  it.each([
    ['time', '"time"'],
    ['time DESC', '"time" desc'],
    ['time desc nulls last, "a, b" NULLS FIRST', '"time" desc nulls last, "a, b" nulls first'],
    ['"Odd desc" asc', '"Odd desc"'],
    ['descending', '"descending"'],
    ['"quo""te" Desc Nulls First', '"quo""te" desc'],
  ])('%s', (text, expected) => {
    expect(formatOrderBy(parseOrderBy(text))).toBe(expected)
  })

  it.each(['', ' , ', 'a "b', '"a" b'])('refuses %j', (text) => {
    expect(() => parseOrderBy(text)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })

  it('reads what it writes, whatever the columns are called', () => {
    const column = fc.string({ minLength: 1, maxLength: 10, unit: 'grapheme-ascii' })
    const order = fc.record({
      column,
      direction: fc.constantFrom('asc' as const, 'desc' as const),
      nulls: fc.constantFrom('first' as const, 'last' as const),
    })
    fc.assert(
      fc.property(fc.array(order, { minLength: 1, maxLength: 3 }), (columns) => {
        expect(parseOrderBy(formatOrderBy(columns))).toEqual(columns)
      }),
    )
  })
})

it('parseColumns takes a list or a text', () => {
  expect(parseColumns('a, "b, c" ,D')).toEqual(['a', 'b, c', 'D'])
  expect(parseColumns(['a, b'])).toEqual(['a, b'])
  expect(parseColumns('')).toEqual([])
})

it('spans compare as the server compares them', () => {
  expect(isSameSpan('1 day', '24:00:00')).toBe(true)
  expect(isSameSpan('1 mon', '30 days')).toBe(true)
  expect(isSameSpan('100', '100')).toBe(true)
  expect(compareSpans('1 day', '2 days')).toBeLessThan(0)
})
