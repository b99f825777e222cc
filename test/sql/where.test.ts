import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sql } from '../../src/sql/template.ts'
import { type Where, whereConditions } from '../../src/sql/where.ts'

const statement = (where: Where): unknown => sql.join(whereConditions(where), ' and ').statement

describe('whereConditions', () => {
  test.each<[string, Where, string, unknown[]]>([
    ['a value', { 'Sensor "1"': 7 }, '"Sensor ""1""" = $1', [7]],
    ['several columns', { a: 'x', b: true }, '"a" = $1 and "b" = $2', ['x', true]],
    ['null', { a: null }, '"a" is null', []],
    ['a Date', { a: new Date('2024-01-01T00:00:00Z') }, '"a" = $1', ['2024-01-01T00:00:00Z']],
    [
      'comparisons',
      { a: { gt: 1, gte: 2, lt: 3, lte: 4, ne: 5 } },
      '"a" > $1 and "a" >= $2 and "a" < $3 and "a" <= $4 and "a" <> $5',
      [1, 2, 3, 4, 5],
    ],
    ['in', { a: { in: ['x', 'y'] } }, '"a" = any($1)', [['x', 'y']]],
    ['not in, empty', { a: { notIn: [] } }, '"a" <> all($1)', [[]]],
    ['a list of Dates', { a: { in: [new Date(0)] } }, '"a" = any($1)', [['1970-01-01T00:00:00Z']]],
    ['isNull', { a: { isNull: true }, b: { isNull: false } }, '"a" is null and "b" is not null', []],
    ['ne null', { a: { ne: null } }, '"a" is not null', []],
    ['like', { a: { like: 'x%' } }, '"a" like $1', ['x%']],
    ['between', { a: { between: [1n, 2n] } }, '"a" between $1 and $2', [1n, 2n]],
    ['a fragment', sql`a = ${1} or b = ${2}`, '(a = $1 or b = $2)', [1, 2]],
    ['a list', [{ a: 1 }, sql`b > ${2} or true`, { c: null }], '"a" = $1 and (b > $2 or true) and "c" is null', [1, 2]],
    ['nothing', {}, '', []],
    ['an empty text', { a: '' }, '"a" = $1', ['']],
  ])('%s', (_, where, text, values) => {
    expect(statement(where)).toEqual({ text, values })
  })

  test.each<[string, unknown, string]>([
    ['undefined', { a: undefined }, 'INVALID_VALUE'],
    ['undefined in a comparison', { a: { gt: undefined } }, 'INVALID_VALUE'],
    ['null in a comparison', { a: { lt: null } }, 'INVALID_VALUE'],
    ['null in a list', { a: { in: [1, null] } }, 'INVALID_VALUE'],
    ['a hole in a list', { a: { in: new Array(1) } }, 'INVALID_VALUE'],
    ['a list as value', { a: [1, 2] }, 'INVALID_VALUE'],
    ['no comparison', { a: {} }, 'INVALID_VALUE'],
    ['a text as list', { a: { in: 'abc' } }, 'INVALID_VALUE'],
    ['three ends', { a: { between: [1, 2, 3] } }, 'INVALID_VALUE'],
    ['a truthy isNull', { a: { isNull: 1 } }, 'INVALID_VALUE'],
    ['like a number', { a: { like: 1 } }, 'INVALID_VALUE'],
    ['an object as value', { a: { gt: { b: 1 } } }, 'INVALID_VALUE'],
    ['an unknown comparison', { a: { greater: 1 } }, 'INVALID_OPTION'],
    ['a comparison of the prototype', { a: { toString: 1 } }, 'INVALID_OPTION'],
    ['SQL as text', 'a = 1; drop table t', 'INVALID_OPTION'],
    ['SQL as text in a list', ['a = 1'], 'INVALID_OPTION'],
    ['null', null, 'INVALID_OPTION'],
    ['an empty column', { '': 1 }, 'INVALID_IDENTIFIER'],
    ['an invalid Date', { a: new Date(Number.NaN) }, 'INVALID_TIME'],
  ])('refuses %s', (_, where, code) => {
    expect(() => whereConditions(where as Where)).toThrow(expect.objectContaining({ code }))
  })

  test('no value reaches the text', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(statement({ x: a, y: { in: [b], ne: a } })).toEqual({
          text: '"x" = $1 and "y" = any($2) and "y" <> $3',
          values: [a, [b], a],
        })
      }),
    )
  })

  test('no value reaches a message', () => {
    expect(() => whereConditions({ a: { in: ['secret', undefined as unknown as string] } })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('secret') }),
    )
  })
})
