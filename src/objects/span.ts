import { UsageError } from '../errors.ts'
import { formatInterval, type Interval, type IntervalInput, parseInterval } from '../sql/interval.ts'
import { type Sql, sql } from '../sql/template.ts'

/** A span along a time column: an interval, or a whole number for an integer time column. */
export type Span = IntervalInput | number | bigint

/**
 * A span as SQL: `interval '7 days'`, or the number.
 * @throws UsageError INVALID_INTERVAL, INVALID_VALUE
 */
export function spanSql(span: Span): Sql {
  if (typeof span === 'number' || typeof span === 'bigint') return sql.literal(wholeNumber(span))
  return sql`interval ${sql.literal(formatInterval(span))}`
}

/** An interval as SQL, or undefined where there is none. @throws UsageError INVALID_INTERVAL */
export function optionalInterval(interval: IntervalInput | undefined): Sql | undefined {
  return interval === undefined ? undefined : spanSql(interval)
}

/** A span as people and the server write it. */
export function formatSpan(span: Span): string {
  return typeof span === 'number' || typeof span === 'bigint' ? String(wholeNumber(span)) : formatInterval(span)
}

/** True where two spans, as the server or {@link formatSpan} writes them, are as long as each other. */
export function isSameSpan(left: string, right: string): boolean {
  return compareSpans(left, right) === 0
}

/** Negative where the first is shorter. A month counts as 30 days and a day as 24 hours, as the server compares. */
export function compareSpans(left: string, right: string): number {
  const difference = lengthOf(left) - lengthOf(right)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

/**
 * Refuses a span that is not longer than nothing.
 * @throws UsageError INVALID_OPTION
 */
export function requirePositive(option: string, span: Span | undefined): void {
  if (span === undefined || lengthOf(formatSpan(span)) > 0n) return
  throw new UsageError('INVALID_OPTION', `${option} must be longer than nothing, not ${formatSpan(span)}.`)
}

function lengthOf(span: string): bigint {
  if (/^-?\d+$/.test(span)) return BigInt(span)
  const interval: Interval = parseInterval(span)
  return BigInt(interval.months * 30 + interval.days) * 86_400_000_000n + interval.microseconds
}

function wholeNumber(span: number | bigint): bigint {
  if (typeof span === 'number' && !Number.isSafeInteger(span)) {
    throw new UsageError('INVALID_VALUE', 'A span in numbers must be a whole number within ±2^53; use bigint beyond.')
  }
  return BigInt(span)
}
