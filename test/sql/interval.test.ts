import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatInterval, type IntervalInput, parseInterval } from '../../src/sql/interval.ts'

describe('parseInterval', () => {
  test.each<[IntervalInput, string]>([
    ['1 day', '1 day'],
    ['15 minutes', '00:15:00'],
    ['1 hour 30 min', '01:30:00'],
    ['1.5 hours', '01:30:00'],
    ['-3 days', '-3 days'],
    ['1 day 02:03:04.5', '1 day 02:03:04.5'],
    ['-1 day 02:03:04', '-1 days +02:03:04'],
    ['1 day -02:03', '1 day -02:03:00'],
    ['P1DT2H', '1 day 02:00:00'],
    ['P1Y2M', '1 year 2 mons'],
    ['PT1M', '00:01:00'],
    ['P-1DT-2.5H', '-1 days -02:30:00'],
    ['P1W', '7 days'],
    ['2 weeks', '14 days'],
    ['1 mon', '1 mon'],
    ['3 mons', '3 mons'],
    ['1 M', '00:01:00'],
    ['2 Yrs 1 decade', '12 years'],
    ['1 century', '100 years'],
    ['1.5 years', '1 year 6 mons'],
    ['1.5 months', '1 mon 15 days'],
    ['1.1 weeks', '7 days 16:48:00'],
    ['0.5 day', '12:00:00'],
    ['.5 day', '12:00:00'],
    ['5day', '5 days'],
    ['1d2h', '1 day 02:00:00'],
    ['1 day ago', '-1 days'],
    ['@ 1 day 2 hours ago', '-1 days -02:00:00'],
    ['1500 ms', '00:00:01.5'],
    ['7 us', '00:00:00.000007'],
    ['36:00', '36:00:00'],
    ['  7   days  ', '7 days'],
    ['0 s', '00:00:00'],
    [{ days: 7 }, '7 days'],
    [{ hours: 1.5, minutes: -15 }, '01:15:00'],
    [{ years: 1, months: -1, weeks: 1 }, '11 mons 7 days'],
    [{ milliseconds: 1, microseconds: 1 }, '00:00:00.001001'],
    [{ seconds: 1e-6 }, '00:00:00.000001'],
    [{ seconds: 1.5, milliseconds: 500 }, '00:00:02'],
  ])('%j is %s', (input, text) => {
    expect(formatInterval(input)).toBe(text)
  })

  test.each<[unknown, RegExp]>([
    ['', /empty/],
    ['   ', /empty/],
    ['5', /without a unit/],
    ['day', /not understood/],
    ['1 huor', /unknown unit/],
    ['1 day 1 day', /twice/],
    ['1 hour 02:00', /twice/],
    ['5 ms 02:00', /twice/],
    ['1.5 s 5 ms', /twice/],
    ['02:60', /out of range/],
    ['1 quarter', /unknown unit/],
    ['1 day; drop table t', /not understood/],
    ["1 day' --", /not understood/],
    ['P', /ISO 8601/],
    ['P1DT', /ISO 8601/],
    ['P1D2H', /ISO 8601/],
    ['P1.2.3D', /no number/],
    ['infinity', /not understood/],
    ['1-2', /not understood/],
    ['ago', /empty/],
    ['1 day ago 2 hours', /not understood/],
    ['1e3 days', /unknown unit/],
    ['2147483648 days', /longer/],
    ['178956971 years', /longer/],
    ['99999999999999999999 seconds', /longer/],
    [{}, /empty/],
    [{ day: 1 }, /unknown unit/],
    [{ days: Number.NaN }, /no number/],
    [{ days: '1' }, /no number/],
    [null, /neither/],
    [7, /neither/],
  ])('refuses %j', (input, message) => {
    const call = (): unknown => parseInterval(input as IntervalInput)
    expect(call).toThrow(message)
    expect(call).toThrow(expect.objectContaining({ code: 'INVALID_INTERVAL', hint: expect.any(String) }))
  })

  test.each([
    ['1 huor', /hour/],
    ['3 mintues', /minutes/],
    ['2 wekes', /weeks/],
  ])('%s has the near unit as hint', (text, hint) => {
    expect(() => parseInterval(text)).toThrow(expect.objectContaining({ hint: expect.stringMatching(hint) }))
  })

  test('keeps months, days and the clock apart', () => {
    expect(parseInterval('1 year 2 weeks 24 hours')).toEqual({ months: 12, days: 14, microseconds: 86_400_000_000n })
  })
})

test('what is formatted is parsed to the same', () => {
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
  const span = fc.record({
    months: fc.oneof(int32, fc.constant(0)),
    days: fc.oneof(int32, fc.constant(0)),
    microseconds: fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.bigInt(-100_000_000n, 100_000_000n)),
  })
  fc.assert(
    fc.property(span, (interval) => {
      expect(parseInterval(formatInterval(interval))).toEqual(interval)
    }),
    { numRuns: 1000 },
  )
})

test('any text is either read or refused as an interval, and never anything else', () => {
  const words = fc.constantFrom('1', '-2.5', '.', ' ', 'day', 'P', 'T', 'D', '02:03', ':', 'ago', '@', "'", 'mons')
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(words).map((list) => list.join('')),
      ),
      (text) => {
        try {
          expect(formatInterval(text)).toMatch(/^[-+0-9a-z:. ]+$/)
        } catch (error) {
          expect(error).toMatchObject({ code: 'INVALID_INTERVAL' })
        }
      },
    ),
    { numRuns: 1000 },
  )
})
