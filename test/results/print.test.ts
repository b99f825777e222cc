import { table } from 'arquero'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import { chart } from '../../src/results/chart.ts'
import { type PrintOptions, print } from '../../src/results/print.ts'
import type { Printable } from '../../src/results/printable.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let db: Client
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
})
afterAll(() => database.close())

const printed = (source: Printable, options: Omit<PrintOptions, 'write'> = {}): string[] => {
  const lines: string[] = []
  print(source, { width: 200, ...options, write: (text) => lines.push(...text.split('\n')) })
  return lines
}

describe('print', () => {
  test('names, types, numbers to the right, NULL', async () => {
    const text = `select * from (values (1, 'a', 1.5::float8, '2024-05-01 10:00:00.123456Z'::timestamptz, true),
      (-200, null, null, null, null), (30, 'null', 'NaN', 'infinity', false)) as t (n, "Test 1.a", v, time, b)`
    expect(printed(await db.queryToDataFrame(text))).toEqual([
      '    n  Test 1.a       v  time                      b',
      'int32  text      number  date                      boolean',
      '    1  a            1.5  2024-05-01T10:00:00.123Z  true',
      ' -200  null        null  null                      null',
      '   30  "null"       NaN  Infinity                  false',
      '3 rows',
    ])
    expect(printed(await db.queryToColumns(text)).slice(1, 5)).toEqual([
      'int32  text      float64  timestamptz                    bool',
      '    1  a             1.5  2024-05-01 10:00:00.123456+00  true',
      ' -200  null         null  null                           null',
      '   30  "null"        NaN  infinity                       false',
    ])
  })

  test('rows below each other, whole, and cells as long as one wants', async () => {
    const long = 'x'.repeat(300)
    const columns = await db.queryToColumns(`select 1 as "雪", null as "a\nb", '${long}' as long, 1 as "雪"`)
    expect(printed(columns, { expanded: true, width: 20 })).toEqual([
      '─ row 1 ────',
      '雪    1',
      'a\\nb  null',
      `long  ${long}`,
      '雪    1',
      '1 row',
    ])
    expect(printed(Array(3).fill({ a: 1 }), { expanded: true, rows: 1 }).at(-1)).toBe('… 2 more rows of 3')
    expect(printed([{ long }], { width: 400, cellWidth: 299 })[2]).toBe(`${'x'.repeat(298)}…`)
    expect(printed([{ long }], { width: 400, cellWidth: 300 })[2]).toBe(long)
  })

  test('numeric read as text is a number still', async () => {
    const [header, type, value] = printed(
      await db.queryToColumns('select 12345678901234567890.5 as exact', [], { numeric: 'string' }),
    )
    expect([header, type, value]).toEqual([
      '                 exact',
      '               numeric',
      '12345678901234567890.5',
    ])
  })

  test('types of columns as the server has them', async () => {
    const columns = await db.queryToColumns(`select '12:00'::time as t, '1 mon 2 days'::interval as i,
      '2024-02-29'::date as d, 1.50::numeric(20,2) as n, '\\x00ff'::bytea as b, '{{1,null}}'::int4[] as l,
      '{2024-01-01,infinity}'::date[] as dl, '{"a": 1}'::json as j, 9007199254740993::int8 as big`)
    const [, types, values] = printed(columns)
    expect(types?.trim().split(/ {2,}/)).toEqual([
      'time',
      'interval',
      'date',
      'decimal(20,2)',
      'binary',
      'int32[]',
      'date[]',
      'json',
      'int64',
    ])
    expect(values?.trim().split(/ {2,}/)).toEqual([
      '12:00:00',
      '1 mon 2 days',
      '2024-02-29',
      '1.50',
      '\\x00ff',
      '[[1, null]]',
      '[2024-01-01, infinity]',
      '{"a": 1}',
      '9007199254740993',
    ])
  })

  test('wide and joined characters line up', () => {
    const lines = printed([
      { name: '雪の日', n: 1 },
      { name: '👨‍👩‍👧', n: 2 },
      { name: 'e\u0301', n: 3 },
      { name: 'plain', n: 4 },
    ])
    // Widths in the terminal: 6, 2, 1 and 5, of 3, 8, 2 and 5 units of text.
    expect(lines.slice(2, 6)).toEqual([
      '雪の日       1',
      '👨‍👩‍👧           2',
      'e\u0301            3',
      'plain        4',
    ])
  })

  test('nothing in a value moves the cursor or colours the terminal', () => {
    const [header, , line] = printed([{ 'a\nb': 'x\u001b[31m\u202ey\r\n\tz' }])
    expect([header, line]).toEqual(['a\\nb', 'x\\u001b[31m\\u202ey\\r\\n\\tz'])
  })

  test('empty texts and spaces are seen', () => {
    expect(printed([{ a: '' }, { a: ' ' }, { a: 'x ' }, { a: null }, {}]).slice(2, 7)).toEqual([
      '""',
      '" "',
      '"x "',
      'null',
      'null',
    ])
  })

  test('long values are cut, rows and columns that do not fit are counted', () => {
    const rows = Array.from({ length: 30 }, (_, n) => ({ n, text: '雪'.repeat(100), more: 'x'.repeat(40), last: 1 }))
    const lines = printed(rows, { rows: 3, width: 100 })
    expect(lines[2]).toBe(`     0  ${'雪'.repeat(39)}…`)
    expect(lines.slice(-2)).toEqual(['… 27 more rows of 30', 'and 2 more columns: more, last'])
    expect(printed(rows, { rows: 0 })).toHaveLength(3)
  })

  test('nothing to show', async () => {
    expect(printed([])).toEqual(['0 rows'])
    expect(printed(await db.queryToDataFrame('select 1 as a, now() as b where false'))).toEqual([
      '    a  b',
      'int32  null',
      '0 rows',
    ])
    expect(printed(await db.queryToColumns('select 1 as a, now() as b where false'))).toEqual([
      '    a  b',
      'int32  timestamptz',
      '0 rows',
    ])
  })

  test('a filtered and sorted table as it is', () => {
    const filtered = table({ n: [3, 1, 2], t: ['c', 'a', 'b'] })
      .filter((d: { n: number }) => d.n > 1)
      .orderby('n')
    expect(printed(filtered).slice(2)).toEqual(['     2  b', '     3  c', '2 rows'])
  })
})

const drawn = (source: Printable, options: object): string[] => {
  const lines: string[] = []
  const write = (text: string): number => lines.push(...text.split('\n'))
  chart(source, { x: 'x', y: 'y', width: 30, height: 5, color: false, ...options, write })
  return lines
}

describe('chart', () => {
  test('a line from the lowest to the highest value, with both axes', () => {
    const lines = drawn(
      [
        { x: 0, y: 0 },
        { x: 10, y: 40 },
      ],
      {},
    )
    expect(lines).toHaveLength(6)
    expect(lines[0]).toMatch(/^ +40\.?0* ┤ +╭─*$/)
    expect(lines[4]).toMatch(/^ +0\.?0* ┤─+╯$/)
    expect(lines[5]).toMatch(/^ +0 +10$/)
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(30)
  })

  test('the order of rows does not matter, places without values are on the line, NULL is a gap', () => {
    const rows = [
      { x: 3, y: 3 },
      { x: 1, y: 1 },
      { x: 2, y: 2 },
    ]
    expect(drawn(rows, {})).toEqual(drawn(rows.toReversed(), {}))
    expect(drawn(rows, {})).toEqual(
      drawn(
        [
          { x: 1, y: 1 },
          { x: 3, y: 3 },
        ],
        {},
      ),
    )
    const gap = drawn(
      [
        { x: 0, y: 1 },
        { x: 10, y: 1 },
        { x: 15, y: null },
        { x: 20, y: 1 },
        { x: 30, y: 2 },
      ],
      {},
    )
    expect(gap.join('\n')).toMatch(/─ {3,}╯/)
  })

  test('lines by a column, with a legend', async () => {
    const df = await db.queryToDataFrame(`select x as time, n, x * n as "Wert 1.a" from generate_series(1, 20) x,
      generate_series(1, 2) n`)
    const lines = drawn(df, { x: 'time', y: 'Wert 1.a', by: 'n' })
    expect(lines.at(-1)).toBe('Wert 1.a by n   a: 1   b: 2')
    expect(lines.join('\n')).toMatch(/a[\s\S]*b|b[\s\S]*a/)
    const colored = drawn(df, { x: 'time', y: 'Wert 1.a', by: 'n', color: true }).join('\n')
    expect(colored).toContain('\u001b[34m── 1\u001b[39m')
    const many = drawn(
      Array.from({ length: 40 }, (_, n) => ({ x: n, y: n, by: `s${n % 10}` })),
      { by: 'by' },
    )
    expect(many.at(-1)).toMatch(/h: s7 {3}and 2 more$/)
  })

  test('times of a DataFrame and of columns', async () => {
    const text = `select t as x, extract(hour from t)::int4 as y
      from generate_series('2024-01-01Z'::timestamptz, '2024-01-01 05:00Z', interval '1 hour') t`
    expect(drawn(await db.queryToDataFrame(text), { width: 70 }).at(-1)).toMatch(
      /2024-01-01T00:00:00.000Z +2024-01-01T05:00:00.000Z$/,
    )
    expect(drawn(await db.queryToColumns(text), { width: 70 }).at(-1)).toMatch(
      /2024-01-01 00:00:00\+00 +2024-01-01 05:00:00\+00$/,
    )
  })

  test('one value, one level, no values', () => {
    expect(drawn([{ x: 1, y: 5 }], {}).join('\n')).toContain('•')
    expect(
      drawn(
        [
          { x: 1, y: 5 },
          { x: 2, y: 5 },
        ],
        {},
      )[4],
    ).toMatch(/^ 5\.00 ┤─+$/)
    expect(drawn([{ x: 1, y: null }], {})).toEqual(['no values of y to draw'])
    expect(
      drawn(
        [
          { x: 1, y: Number.POSITIVE_INFINITY },
          { x: 2, y: 1 },
        ],
        {},
      ).join('\n'),
    ).toContain('•')
  })

  test('what cannot be drawn is refused', () => {
    const rows = [{ x: 1, y: 'text' }]
    for (const options of [{}, { y: 'z' }, { x: 'z' }, { by: 'z' }, { height: 1 }, { heigth: 3 }]) {
      expect(() => drawn(rows, options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    }
  })
})
