import { toTimeType } from '../catalog/column-name.ts'
import { isIntegerTime } from '../catalog/dimension.ts'
import { UsageError } from '../errors.ts'
import { formatInterval, type Interval, type IntervalInput, parseInterval } from '../sql/interval.ts'
import { type Sql, sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'

/** A span along a time column: an interval, or a whole number for an integer time column. */
export type Span = IntervalInput | number | bigint

/**
 * A span as SQL: `interval '7 days'`, or the number. `timeType` is the type of the time column, where it is known: a
 * smallint needs a number of its own type where the server compares types or wants the column itself, without a cast.
 * @throws UsageError INVALID_INTERVAL, INVALID_VALUE
 */
export function spanSql(span: Span, timeType?: TimeType): Sql {
  if (!isNumber(span)) return sql`interval ${sql.literal(formatInterval(span))}`
  const number = wholeNumber(span)
  if (timeType !== 'smallint') return sql.literal(number)
  if (BigInt.asIntN(16, number) === number) return sql`(${sql.literal(number)})::smallint`
  throw new UsageError('INVALID_VALUE', `The span ${number} is longer than a time column of type smallint.`)
}

/** Whether a span is along an integer time column. */
export function isNumber(span: Span): span is number | bigint {
  return typeof span === 'number' || typeof span === 'bigint'
}

/** An interval as SQL, or undefined where there is none. @throws UsageError INVALID_INTERVAL */
export function optionalInterval(interval: IntervalInput | undefined): Sql | undefined {
  return interval === undefined ? undefined : spanSql(interval)
}

/** A span as people and the server write it. */
export function formatSpan(span: Span): string {
  return isNumber(span) ? String(wholeNumber(span)) : formatInterval(span)
}

/** True where two spans, as the server or {@link formatSpan} writes them, are as long as each other. */
export function isSameSpan(left: string, right: string): boolean {
  return compareSpans(left, right) === 0
}

/** Negative where the first is shorter. A month counts as 30 days and a day as 24 hours, as the server compares. */
export function compareSpans(left: string, right: string): number {
  const difference = spanLength(left) - spanLength(right)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

/**
 * Refuses a span that is not longer than nothing.
 * @throws UsageError INVALID_OPTION
 */
export function requirePositive(option: string, span: Span | undefined): void {
  if (span === undefined || spanLength(formatSpan(span)) > 0n) return
  throw new UsageError('INVALID_OPTION', `${option} must be longer than nothing, not ${formatSpan(span)}.`)
}

/**
 * Refuses a number where the time column is no integer, which the server would take for microseconds, and an interval
 * where it is one. A column of any other type is left to the server.
 * @throws UsageError INVALID_OPTION
 */
export function requireSpanKind(option: string, span: Span | null | undefined, columnType: string | undefined): void {
  if (span === undefined || span === null || columnType === undefined) return
  const type = columnType === 'uuid' ? 'timestamptz' : toTimeType(columnType)
  if (type === undefined || isIntegerTime(type) === isNumber(span)) return
  throw new UsageError(
    'INVALID_OPTION',
    `${option} must be ${isNumber(span) ? 'an interval' : 'a number'} for a time column of type ${columnType}.`,
    {
      hint: isNumber(span)
        ? "Write a number and a unit, such as '7 days' or { days: 7 }."
        : "Write a whole number in the column's own unit.",
    },
  )
}

/** How long a span is, as the server or {@link formatSpan} writes it: microseconds, or the number itself. */
export function spanLength(span: string): bigint {
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
