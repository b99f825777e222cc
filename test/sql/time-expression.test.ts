import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareTimes, parseTime, type TimeInput, type TimeType, timeSql } from '../../src/sql/time-expression.ts'
import { formatTimestamp, parseTimestamp } from '../../src/sql/timestamp.ts'

const timestamptz = (input: TimeInput): unknown => timeSql(input, 'timestamptz').statement

describe('timeSql', () => {
  test.each<[TimeInput, string]>([
    [new Date('2024-02-29T12:00:00.001Z'), '2024-02-29T12:00:00.001Z'],
    [new Date('-000043-03-15T00:00:00Z'), '0044-03-15T00:00:00Z BC'],
    [new Date(8.64e15), '275760-09-13T00:00:00Z'],
    ['2024-02-29', '2024-02-29T00:00:00Z'],
    ['2024-02-29T12:30', '2024-02-29T12:30:00Z'],
    ['2024-02-29 12:30:01.123456', '2024-02-29T12:30:01.123456Z'],
    ['2024-02-29T12:30:01.120000000Z', '2024-02-29T12:30:01.12Z'],
    ['2024-02-29t12:30:01z', '2024-02-29T12:30:01Z'],
    ['2024-01-01T00:30:00+05:30', '2023-12-31T19:00:00Z'],
    ['2024-01-01 00:30:00+02', '2023-12-31T22:30:00Z'],
    ['2024-01-01T00:30:00-0800', '2024-01-01T08:30:00Z'],
    ['12024-01-01', '12024-01-01T00:00:00Z'],
    ['+012024-01-01', '12024-01-01T00:00:00Z'],
    ['0000-12-31', '0001-12-31T00:00:00Z BC'],
    ['-000043-03-15', '0044-03-15T00:00:00Z BC'],
    ['0044-03-15 00:00:00+00 BC', '0044-03-15T00:00:00Z BC'],
    ['1969-12-31T23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'],
    ['infinity', 'infinity'],
    ['-Infinity', '-infinity'],
  ])('%s', (input, text) => {
    expect(timestamptz(input)).toEqual({ text: '$1::timestamptz', values: [text] })
  })

  test.each<[TimeInput, string, string[]]>([
    ['NOW()', 'now()', []],
    ['current_timestamp', 'now()', []],
    ["NOW() - INTERVAL '24 hours'", 'now() - $1::interval', ['24:00:00']],
    ["  now ( )-interval'1 day 2 hours'  ", 'now() - $1::interval', ['1 day 02:00:00']],
    ["CURRENT_TIMESTAMP + interval '1 mon'", 'now() + $1::interval', ['1 mon']],
    ["now() - interval '1 day -2 hours'", 'now() + $1::interval', ['-1 days +02:00:00']],
    [{ ago: '24 hours' }, 'now() - $1::interval', ['24:00:00']],
    [{ ago: { days: 7 } }, 'now() - $1::interval', ['7 days']],
    [{ ago: '-1 day' }, 'now() + $1::interval', ['1 day']],
    [{ ago: '0 days' }, 'now() + $1::interval', ['00:00:00']],
  ])('%j is read, not sent', (input, text, values) => {
    expect(timestamptz(input)).toEqual({ text, values })
  })

  test.each<[TimeInput, TimeType, string, unknown[]]>([
    ['2024-01-01T01:00+02:00', 'timestamp', '$1::timestamp', ['2023-12-31T23:00:00']],
    ['2024-01-01T01:00+02:00', 'date', '$1::date', ['2023-12-31']],
    ['0044-03-15 BC', 'date', '$1::date', ['0044-03-15 BC']],
    ['infinity', 'date', '$1::date', ['infinity']],
    ['NOW()', 'timestamp', "((now()) at time zone 'UTC')", []],
    [{ ago: '1 day' }, 'date', "((now() - $1::interval) at time zone 'UTC')::date", ['1 day']],
    [7, 'bigint', '$1::bigint', ['7']],
    [2n ** 63n - 1n, 'bigint', '$1::bigint', ['9223372036854775807']],
    [-1, 'smallint', '$1::smallint', ['-1']],
  ])('%s as %s', (input, type, text, values) => {
    expect(timeSql(input, type).statement).toEqual({ text, values })
  })

  test('a date rounds up for half-open windows', () => {
    expect(timeSql('2024-01-31T00:00:00.000001Z', 'date', { round: 'up' }).values).toEqual(['2024-02-01'])
    expect(timeSql('2024-01-31', 'date', { round: 'up' }).values).toEqual(['2024-01-31'])
    expect(timeSql('1969-12-31T01:00Z', 'date').values).toEqual(['1969-12-31'])
  })

  test.each<[unknown, TimeType]>([
    [new Date(Number.NaN), 'timestamptz'],
    ['', 'timestamptz'],
    ['now', 'timestamptz'],
    ['yesterday', 'timestamptz'],
    ['2024', 'timestamptz'],
    ['2024-13-01', 'timestamptz'],
    ['2023-02-29', 'timestamptz'],
    ['1900-02-29', 'timestamptz'],
    ['2024-01-01T24:00', 'timestamptz'],
    ['2024-01-01T23:59:60', 'timestamptz'],
    ['2024-01-01T00:00 Europe/Berlin', 'timestamptz'],
    ['2024-01-01T00:00:00.0000001Z', 'timestamptz'],
    ['2024-01-01T00:00+16', 'timestamptz'],
    ['-000000-01-01', 'timestamptz'],
    ['4714-11-23 BC', 'timestamptz'],
    ['294277-01-01', 'timestamptz'],
    ["2024-01-01'; drop table t; --", 'timestamptz'],
    ["NOW() - INTERVAL '1 day'; drop table t", 'timestamptz'],
    ["NOW() - INTERVAL '1 day' - INTERVAL '1 day'", 'timestamptz'],
    ['NOW() - 5', 'timestamptz'],
    ['pg_sleep(1)', 'timestamptz'],
    [5, 'timestamptz'],
    [5n, 'date'],
    [1.5, 'bigint'],
    [2 ** 53, 'bigint'],
    [2n ** 63n, 'bigint'],
    [40_000, 'smallint'],
    [new Date(0), 'bigint'],
    ['NOW()', 'integer'],
    [{}, 'timestamptz'],
    [{ ago: '1 day', from: 'x' }, 'timestamptz'],
    [null, 'timestamptz'],
    [true, 'timestamptz'],
  ])('refuses %s as %s', (input, type) => {
    expect(() => timeSql(input as TimeInput, type)).toThrow(expect.objectContaining({ code: 'INVALID_TIME' }))
  })

  test('a bad span inside is refused as an interval', () => {
    expect(() => parseTime("NOW() - INTERVAL '1 huor'")).toThrow(
      expect.objectContaining({ code: 'INVALID_INTERVAL', hint: "Did you mean 'hour'?" }),
    )
  })
})

test('every instant comes back from its text, to the microsecond', () => {
  fc.assert(
    fc.property(fc.bigInt(-210_866_803_200_000_000n, 9_224_318_015_999_999_999n), (microseconds) => {
      expect(parseTimestamp(formatTimestamp(microseconds, { zone: true }))).toBe(microseconds)
    }),
    { numRuns: 1000 },
  )
})

test('the calendar agrees with JavaScript where both have it', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }), (date) => {
      expect(parseTimestamp(date.toISOString())).toBe(BigInt(date.getTime()) * 1000n)
      expect(Date.parse(formatTimestamp(BigInt(date.getTime()) * 1000n, { zone: true }))).toBe(date.getTime())
    }),
  )
})

test.each<[TimeInput, TimeInput, number | undefined]>([
  ['2025-01-01', '2025-01-02', -1],
  ['2025-01-01T01:00+01', new Date('2025-01-01'), 0],
  ['infinity', '2025-01-01', 1],
  ['-infinity', 'infinity', -1],
  [5, 5n, 0],
  [6n, 5, 1],
  [{ ago: '1 hour' }, { ago: '2 hours' }, 1],
  [{ ago: '2 hours' }, 'NOW()', -1],
  ["NOW() - INTERVAL '1 day'", { ago: '1 day' }, 0],
  ['NOW()', "NOW() + INTERVAL '1 day'", -1],
  [{ ago: '5 weeks' }, { ago: '1 month' }, -1],
  [{ ago: '1 month' }, { ago: '3 weeks' }, -1],
  // Depends on the month, and on whether the clocks change.
  [{ ago: '1 month' }, { ago: '30 days' }, undefined],
  [{ ago: '1 day' }, { ago: '24 hours' }, undefined],
  // Depends on the server's clock.
  ['NOW()', '2025-01-01', undefined],
  [5, '2025-01-01', undefined],
])('of %s and %s the first is before (-1), after (1), or only the server knows', (left, right, expected) => {
  expect(compareTimes(left, right)).toBe(expected)
  expect(compareTimes(right, left)).toBe(expected === undefined || expected === 0 ? expected : -expected)
})
