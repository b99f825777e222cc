import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Sql, sql } from '../../src/sql/template.ts'

describe('sql', () => {
  test('binds values and numbers them through nested fragments', () => {
    const inner = sql`b = ${2} and c = ${'three'}`
    const outer = sql`select * from ${sql.name('"Test 1.a".b')} where a = ${1} and (${inner}) and d = ${null}`
    expect(outer.statement).toEqual({
      text: 'select * from "Test 1.a"."b" where a = $1 and (b = $2 and c = $3) and d = $4',
      values: [1, 2, 'three', null],
    })
    expect({ text: outer.text, values: outer.values }).toEqual(outer.statement)
  })

  test('a fragment can be used twice and stays as it was', () => {
    const part = sql`x = ${7}`
    expect(sql`${part} or ${part}`.statement).toEqual({ text: 'x = $1 or x = $2', values: [7, 7] })
    expect(part.statement).toEqual({ text: 'x = $1', values: [7] })
  })

  test('a value is bound whatever it holds', () => {
    const evil = "'; drop table t; --"
    expect(sql`select ${evil}`.statement).toEqual({ text: 'select $1', values: [evil] })
    expect(sql`select ${['a', 'b']}, ${new Date(0)}`.values).toEqual([['a', 'b'], new Date(0)])
  })

  test('any tree of fragments keeps every value at its own number', () => {
    const tree = fc.letrec<{ node: Sql }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.integer().map((value) => sql`<${value}:${value}>`),
        fc.constant(sql.raw('raw')),
        fc.tuple(tie('node'), tie('node')).map(([a, b]) => sql`(${a}${'between'}${b})`),
        fc.array(tie('node'), { maxLength: 4 }).map((list) => sql.join(list)),
      ),
    })).node
    fc.assert(
      fc.property(tree, (fragment) => {
        const numbers = [...fragment.text.matchAll(/\$(\d+)/g)].map((match) => Number(match[1]))
        expect(numbers).toEqual(fragment.values.map((_, index) => index + 1))
        for (const [, a, b] of fragment.text.matchAll(/<\$(\d+):\$(\d+)>/g)) {
          expect(fragment.values[Number(a) - 1]).toBe(fragment.values[Number(b) - 1])
        }
      }),
    )
  })

  test('names, columns, literals, raw text and lists are spliced', () => {
    expect(sql`${sql.name({ schema: 'a.b', name: 'c' })}.${sql.column('d.e')}`.text).toBe('"a.b"."c"."d.e"')
    expect(sql`set (x = ${sql.literal("it's")}, y = ${sql.literal(-1)})`.text).toBe("set (x = 'it''s', y =  -1)")
    expect(sql`${sql.join([sql`a`, sql`${1}`, sql`c`], ' and ')}${sql.empty}`.statement).toEqual({
      text: 'a and $1 and c',
      values: [1],
    })
    expect(sql.join([]).text).toBe('')
    expect(sql.raw('now()')).toBeInstanceOf(Sql)
  })

  test('a dollar that is no placeholder stays', () => {
    const text = `select '$1', "$2", a$3, $x$ $4 $x$, $$ $5 $$ -- $6`
    expect(sql.raw(text).text).toBe(text)
    expect(sql`${sql.literal('$1')} ${sql.column('$2')}`.text).toBe(`'$1' "$2"`)
  })

  test.each([
    ['undefined', () => sql`select ${undefined}`],
    ['NUL in the text', () => sql`select 1\0; drop table t`],
    ['a placeholder written by hand', () => sql`x = $1`],
    ['a placeholder in raw text', () => sql.raw("'$1' || $2")],
    ['NUL in raw text', () => sql.raw('select 1\0')],
  ])('refuses %s', (_, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
  })
})
