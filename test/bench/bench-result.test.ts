import { expect, it } from 'vitest'
import { median, ratio } from '../../bench/bench-result.ts'

it('takes the middle, or between the two middle ones', () => {
  expect(median([30, 1, 2])).toBe(2)
  expect(median([10, 1, 2, 3])).toBe(2.5)
  expect(median([])).toBeNaN()
})

it('divides medians, so that one outlier does not count', () => {
  expect(ratio([2, 2, 1000], [1, 1, 1])).toBe(2)
})
