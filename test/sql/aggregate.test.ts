import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  type AggregateRow,
  avg,
  count,
  countDistinct,
  first,
  histogram,
  last,
  max,
  median,
  min,
  percentile,
  stddev,
  sum,
  toAggregate,
} from '../../src/sql/aggregate.ts'

describe('typed functions', () => {
  test.each([
    [avg('a "b"'), 'avg("a ""b""")::float8', []],
    [sum('v'), 'sum("v")::float8', []],
    [min('v'), 'min("v")', []],
    [max('v'), 'max("v")', []],
    [count(), 'count(*)', []],
    [count('v'), 'count("v")', []],
    [countDistinct('v'), 'count(distinct "v")', []],
    [first('v', 'time'), 'first("v", "time")', []],
    [last('v', 'time'), 'last("v", "time")', []],
    [stddev('v'), 'stddev("v")::float8', []],
    [median('v'), 'percentile_cont($1::float8) within group (order by "v"::float8)', [0.5]],
    [percentile('v', 0.99), 'percentile_cont($1::float8) within group (order by "v"::float8)', [0.99]],
    [
      histogram('v', { min: 0, max: 10, buckets: 5 }),
      'histogram("v"::float8, $1::float8, $2::float8, $3::integer) filter (where "v" is not null)',
      [0, 10, 5],
    ],
  ])('%#', (aggregate, text, values) => {
    expect(aggregate.expression.statement).toEqual({ text, values })
  })

  test.each([
    () => percentile('v', 1.1),
    () => percentile('v', Number.NaN),
    () => histogram('v', { min: 1, max: 1, buckets: 5 }),
    () => histogram('v', { min: 0, max: 1, buckets: 0 }),
    () => histogram('v', { min: 0, max: Number.POSITIVE_INFINITY, buckets: 1 }),
  ])('refuses %#', (make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })
})

describe('text', () => {
  const text = (given: string, key = 'temperature'): string => toAggregate(key, given, 'time').expression.text

  test.each([
    ['AVG', 'avg("temperature")::float8'],
    [' avg ', 'avg("temperature")::float8'],
    ['SUM', 'sum("temperature")::float8'],
    ['Min', 'min("temperature")'],
    ['MAX', 'max("temperature")'],
    ['COUNT', 'count("temperature")'],
    ['STDDEV', 'stddev("temperature")::float8'],
    ['FIRST', 'first("temperature", "time")'],
    ['LAST', 'last("temperature", "time")'],
    ['COUNT(*)', 'count(*)'],
    ['count ( * )', 'count(*)'],
    ['COUNT(DISTINCT Sensor_Id)', 'count(distinct "Sensor_Id")'],
    ['AVG(humidity)', 'avg("humidity")::float8'],
    ['MAX("a ""b"".c")', 'max("a ""b"".c")'],
    ['LAST(close, "Time")', 'last("close", "Time")'],
    ['FIRST(größe)', 'first("größe", "time")'],
  ])('%s', (given, expected) => {
    expect(text(given)).toBe(expected)
  })

  test.each([
    '',
    'AVERAGE',
    'avg(a), pg_sleep(1)',
    'AVG(a + b)',
    'AVG(a) FILTER (WHERE b)',
    'AVG(a, b)',
    'COUNT(DISTINCT *)',
    'COUNT(DISTINCT a, b)',
    'SUM(*)',
    'avg("a)',
    'avg(a.b)',
    'pg_sleep(a)',
    'constructor',
    'AVG) from t; drop table t; --',
  ])('refuses %j', (given) => {
    expect(() => text(given)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', hint: expect.stringContaining('countDistinct') }),
    )
  })

  test('refuses what is neither text nor function', () => {
    // @ts-expect-error not an aggregate
    expect(() => toAggregate('x', 5, 'time')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })
})

test('the types of results', () => {
  const aggregations = {
    temperature: 'AVG',
    n: 'COUNT(*)',
    top: 'MAX',
    high: max('price'),
    name: last<string>('name', 'time'),
    bars: histogram('v', { min: 0, max: 1, buckets: 2 }),
    different: countDistinct('v'),
  } as const
  expectTypeOf<AggregateRow<typeof aggregations>>().toEqualTypeOf<{
    temperature: number | null
    n: number
    top: unknown
    high: number | null
    name: string | null
    bars: number[] | null
    different: number
  }>()
})
