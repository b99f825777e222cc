/** What a bench gives, and how its samples become one figure. */

/** One thing measured; a target makes it pass or fail. */
export interface Measure {
  readonly name: string
  readonly value: number
  readonly unit: 's' | 'ms' | 'µs' | 'MB' | '×' | '%' | 'rows/s'
  /** The most that `value` may be. */
  readonly target?: number
}

/** What a subject gives. */
export interface BenchResult {
  readonly measures: readonly Measure[]
  /** Every single measurement, by what was measured. */
  readonly samples: Readonly<Record<string, readonly number[]>>
}

/** The middle of the numbers; NaN for none. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return Number.isInteger(middle)
    ? ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
    : (sorted[Math.floor(middle)] ?? Number.NaN)
}

/** The ratio of the medians. */
export function ratio(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours) / median(theirs)
}
