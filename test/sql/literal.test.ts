import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatLiteral, quoteLiteral } from '../../src/sql/literal.ts'

/** Reads one literal as the server's scanner does; undefined if anything follows it. */
function readLiteral(text: string, standardConformingStrings: boolean): string | undefined {
  const source = text.trimStart()
  const escapes = source.startsWith('E') || !standardConformingStrings
  let at = source.startsWith('E') ? 2 : 1
  let value = ''
  for (;;) {
    const char = source[at]
    if (char === undefined) return undefined
    if (char === '\\' && escapes) {
      value += source[at + 1] ?? ''
      at += 2
    } else if (char !== "'") {
      value += char
      at += 1
    } else if (source[at + 1] === "'") {
      value += "'"
      at += 2
    } else {
      return at === source.length - 1 ? value : undefined
    }
  }
}

const awkward = fc.oneof(
  fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0')),
  fc.stringMatching(/^['"\\;E$ -]{0,20}$/),
)

describe('quoteLiteral', () => {
  test('no text leaves its quotes, whatever standard_conforming_strings is', () => {
    fc.assert(
      fc.property(awkward, fc.boolean(), (text, conforming) => {
        expect(readLiteral(quoteLiteral(text), conforming)).toBe(text)
      }),
      { numRuns: 1000 },
    )
  })

  test.each([
    ["it's", "'it''s'"],
    ['a\\b', " E'a\\\\b'"],
    ["\\'; drop table t; --", " E'\\\\''; drop table t; --'"],
    ['', "''"],
  ])('%j', (text, literal) => {
    expect(quoteLiteral(text)).toBe(literal)
  })

  test.each(['a\0b', '\udfff'])('refuses %j', (text) => {
    expect(() => quoteLiteral(text)).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
  })
})

describe('formatLiteral', () => {
  test.each([
    [null, 'NULL'],
    [true, 'TRUE'],
    [false, 'FALSE'],
    [1.5, '1.5'],
    [1e21, '1e+21'],
    [-0, '0'],
    [Number.NaN, "'NaN'::float8"],
    [Number.NEGATIVE_INFINITY, "'-Infinity'::float8"],
    [9223372036854775807n, '9223372036854775807'],
    [new Date('2024-02-29T12:00:00.001Z'), "'2024-02-29T12:00:00.001Z'::timestamptz"],
    [new Date('+012024-01-01T00:00:00Z'), "'12024-01-01T00:00:00Z'::timestamptz"],
  ])('%s', (value, literal) => {
    expect(formatLiteral(value)).toBe(literal)
  })

  test('a negative number never makes a comment with a minus before it', () => {
    expect(`-${formatLiteral(-5)} -${formatLiteral(-5n)}`).toBe('- -5 - -5')
  })

  test('refuses what has no literal', () => {
    // @ts-expect-error an object is no literal
    expect(() => formatLiteral({})).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
    expect(() => formatLiteral(new Date(Number.NaN))).toThrow(expect.objectContaining({ code: 'INVALID_TIME' }))
  })
})
