import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatName, parseName, quoteIdentifier } from '../../src/sql/identifier.ts'

const name = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 15 })
  .filter((text) => !text.includes('\0') && Buffer.byteLength(text) <= 63)

describe('parseName', () => {
  test.each([
    ['sensor', { name: 'sensor' }],
    ['Sensor Data', { name: 'Sensor Data' }],
    ['plant.sensor', { schema: 'plant', name: 'sensor' }],
    ['"Test 1.a".t', { schema: 'Test 1.a', name: 't' }],
    ['"a""b"."c.d"', { schema: 'a"b', name: 'c.d' }],
    ['PLANT.Größe', { schema: 'PLANT', name: 'Größe' }],
    ['"."', { name: '.' }],
  ])('%s', (text, parts) => {
    expect(parseName(text)).toEqual(parts)
  })

  test('an object is taken as it is, dots and quotes included', () => {
    expect(parseName({ schema: 'a.b', name: 'c"d' })).toEqual({ schema: 'a.b', name: 'c"d' })
    expect(parseName({ name: 'a.b' })).toEqual({ name: 'a.b' })
  })

  test.each([
    '',
    '.',
    'a.',
    '.a',
    'a.b.c',
    '"a',
    'a"b',
    '"a"b',
    '"a"."b"."c"',
    '""',
    '"a".""',
    'a\0b',
    '\ud800',
    'x'.repeat(64),
    'ü'.repeat(32),
  ])('refuses %j', (text) => {
    expect(() => parseName(text)).toThrow(expect.objectContaining({ code: 'INVALID_IDENTIFIER' }))
  })

  test('every name comes back from its quoted text', () => {
    fc.assert(
      fc.property(name, name, (schema, own) => {
        expect(parseName(formatName({ schema, name: own }))).toEqual({ schema, name: own })
        expect(parseName(quoteIdentifier(own))).toEqual({ name: own })
      }),
    )
  })
})

test('no name leaves its quotes', () => {
  fc.assert(
    fc.property(fc.oneof(name, fc.stringMatching(/^["'\\;. -]{1,20}$/)), (text) => {
      const quoted = quoteIdentifier(text)
      expect(quoted).toMatch(/^"(?:[^"]|"")+"$/)
      expect(quoted.slice(1, -1).replaceAll('""', '"')).toBe(text)
    }),
  )
})
