import { describe, expect, test } from 'vitest'
import { type OrderBy, orderBySql } from '../../src/query/order-by.ts'

const columns = ['bucket', 'symbol', 'Odd, "name"', 'desc']

describe('orderBySql', () => {
  test.each<[OrderBy, string]>([
    ['bucket ASC', ' order by "bucket" asc'],
    ['bucket', ' order by "bucket"'],
    ['bucket desc nulls last, symbol', ' order by "bucket" desc nulls last, "symbol"'],
    ['desc DESC', ' order by "desc" desc'],
    ['"Odd, ""name""" NULLS FIRST,bucket', ' order by "Odd, ""name""" nulls first, "bucket"'],
    [{ column: 'symbol', direction: 'desc', nulls: 'first' }, ' order by "symbol" desc nulls first'],
    [['bucket desc', { column: 'Odd, "name"' }], ' order by "bucket" desc, "Odd, ""name"""'],
    [[], ''],
  ])('%j', (orderBy, text) => {
    expect(orderBySql(orderBy, columns).statement).toEqual({ text, values: [] })
  })

  test.each<unknown>([
    '',
    'time',
    'Bucket',
    'bucket; drop table t',
    'bucket ASC, (select 1)',
    'bucket ASC DESC',
    'bucket,',
    'bucket asc nulls',
    '1',
    { column: 'time' },
    { column: 'bucket', direction: 'asc; drop table t' },
    { column: 'bucket', direction: 'ASC' },
    { column: 'bucket', nulls: 'toString' },
    'bucket -- x',
  ])('refuses %j', (orderBy) => {
    expect(() => orderBySql(orderBy as OrderBy, columns)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })
})
