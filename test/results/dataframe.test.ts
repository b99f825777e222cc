import { op } from 'arquero'
import { describe, expect, test } from 'vitest'
import type { QueryResult, Row } from '../../src/connection/session.ts'
import { toDataFrame } from '../../src/results/dataframe.ts'

const result = (columns: [string, number][], rows: Row[]): QueryResult => ({
  rows,
  rowCount: rows.length,
  command: 'SELECT',
  columns: columns.map(([name, typeId]) => ({ name, typeId })),
  notices: [],
})

const INT8 = 20
const TEXT = 25
const FLOAT8 = 701
const TIMESTAMPTZ = 1184
const NUMERIC = 1700

describe('toDataFrame', () => {
  test('columns in the order of the result, values of each type, NULL', () => {
    const time = new Date('2024-01-01T00:00:00Z')
    const df = toDataFrame(
      result(
        [
          ['time', TIMESTAMPTZ],
          ['Test 1.a', TEXT],
          ['v', FLOAT8],
          ['n', INT8],
          ['d', NUMERIC],
        ],
        [
          { d: '0.10', n: 7, v: 1.5, 'Test 1.a': 'x', time },
          { d: null, n: null, v: null, 'Test 1.a': null, time: null },
          { d: 'NaN', n: '8', v: Number.NaN, 'Test 1.a': '', time },
        ],
      ),
    )
    expect(df.columnNames()).toEqual(['time', 'Test 1.a', 'v', 'n', 'd'])
    expect(df.objects()).toEqual([
      { time, 'Test 1.a': 'x', v: 1.5, n: 7, d: 0.1 },
      { time: null, 'Test 1.a': null, v: null, n: null, d: null },
      { time, 'Test 1.a': '', v: Number.NaN, n: 8, d: Number.NaN },
    ])
    expect(df.get('time', 0)).toBeInstanceOf(Date)
  })

  test('the columns are there without rows too', () => {
    const df = toDataFrame(
      result(
        [
          ['b', TEXT],
          ['a', INT8],
        ],
        [],
      ),
    )
    expect(df.columnNames()).toEqual(['b', 'a'])
    expect(df.numRows()).toBe(0)
  })

  test('bigint columns work with aggregates; beyond 2^53 they must be asked for', () => {
    const column: [string, number][] = [['n', INT8]]
    const small = toDataFrame(result(column, [{ n: 1n }, { n: '3' }, { n: 5 }]))
    expect(small.rollup({ mean: op.mean('n') }).get('mean', 0)).toBe(3)
    const large = result(column, [{ n: '9007199254740993' }, { n: null }])
    expect(() => toDataFrame(large)).toThrow(
      expect.objectContaining({ code: 'INVALID_VALUE', hint: expect.stringContaining('bigint') }),
    )
    expect(toDataFrame(large, { int8: 'bigint' }).array('n')).toEqual([9007199254740993n, null])
    expect(toDataFrame(result(column, [{ n: 2 }]), { int8: 'bigint' }).array('n')).toEqual([2n])
  })

  test('two columns of one name are refused', () => {
    const twice = result(
      [
        ['v', FLOAT8],
        ['v', TEXT],
      ],
      [{ v: 1 }],
    )
    expect(() => toDataFrame(twice)).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
  })
})
