import { UsageError } from '../errors.ts'
import { formatInterval, type Interval, type IntervalInput, parseInterval } from './interval.ts'
import { type Sql, sql } from './template.ts'
import { formatDate, formatTimestamp, type Microseconds, parseTimestamp, toMicroseconds } from './timestamp.ts'

/**
 * A point in time: a Date; an ISO 8601 text (without a zone it is UTC, whatever the session's TimeZone is);
 * `'infinity'`, `'-infinity'`; `{ ago: '24 hours' }`; `"NOW()"` or `"NOW() - INTERVAL '24 hours'"` by the server's
 * clock; or, for an integer time column, a number or bigint.
 */
export type TimeInput = Date | string | { readonly ago: IntervalInput } | number | bigint

/** A point in time that has been understood. Nothing of the original text is left in it. */
export type TimeExpression =
  | { readonly kind: 'instant'; readonly microseconds: Microseconds }
  /** The start of the server's transaction, and what to add to it. */
  | { readonly kind: 'now'; readonly plus?: Interval }
  | { readonly kind: 'integer'; readonly value: bigint }

/** The types a time column can have. */
export type TimeType = 'timestamptz' | 'timestamp' | 'date' | 'bigint' | 'integer' | 'smallint'

const NOW = /^\s*(?:now\s*\(\s*\)|current_timestamp)\s*(?:([+-])\s*interval\s*'([^']*)'\s*)?$/i
const INTEGER_BITS = new Map<TimeType, number>([
  ['bigint', 64],
  ['integer', 32],
  ['smallint', 16],
])
const TIME_TYPES: readonly string[] = ['timestamptz', 'timestamp', 'date', ...INTEGER_BITS.keys()] satisfies TimeType[]

/**
 * What a time means.
 * @throws UsageError INVALID_TIME, or INVALID_INTERVAL for the span in `ago` or after INTERVAL.
 */
export function parseTime(input: TimeInput): TimeExpression {
  if (typeof input === 'bigint') return { kind: 'integer', value: input }
  if (typeof input === 'number') {
    if (!Number.isSafeInteger(input)) throw invalid('A number must be a whole one within ±2^53; use bigint beyond.')
    return { kind: 'integer', value: BigInt(input) }
  }
  if (input instanceof Date) return { kind: 'instant', microseconds: toMicroseconds(input) }
  if (typeof input === 'string') return parseTimeText(input)
  if (typeof input !== 'object' || input === null || input.ago === undefined || Object.keys(input).length > 1) {
    throw invalid('A time is a Date, a text, a number or { ago: interval }.')
  }
  return { kind: 'now', plus: negate(parseInterval(input.ago)) }
}

/**
 * A time as SQL of the given type, bound and cast: `$1::timestamptz`, `now() - $1::interval`.
 * For `timestamp` and `date` it is the time in UTC. A time within a day becomes that day as `date`, or with
 * `round: 'up'` the next one, which keeps comparisons with `>=` and `<` exact. `now()` adds days and months in the
 * session's TimeZone, as the server always does.
 * @throws UsageError INVALID_TIME also where a number meets a timestamp, or a time an integer.
 */
export function timeSql(
  time: TimeInput | TimeExpression,
  type: TimeType,
  options: { readonly round?: 'down' | 'up' } = {},
): Sql {
  checkTimeType(type)
  const expression = isExpression(time) ? time : parseTime(time)
  const round = options.round ?? 'down'
  if (expression.kind === 'integer') return integerSql(expression.value, type)
  if (INTEGER_BITS.has(type)) {
    throw invalid('An integer time column needs a number or bigint as time.')
  }
  if (expression.kind === 'now') return nowSql(expression.plus, type, round)
  const { microseconds } = expression
  if (type === 'date') return sql`${formatDate(microseconds, { round })}::date`
  if (type === 'timestamp') return sql`${formatTimestamp(microseconds, { zone: false })}::timestamp`
  return sql`${formatTimestamp(microseconds, { zone: true })}::timestamptz`
}

/**
 * Refuses what is no type of a time column, whatever the types said.
 * @throws UsageError INVALID_OPTION
 */
export function checkTimeType(type: TimeType): void {
  if (TIME_TYPES.includes(type)) return
  throw new UsageError('INVALID_OPTION', `${JSON.stringify(type)} is no type of a time column.`, {
    hint: `Known are ${TIME_TYPES.join(', ')}.`,
  })
}

/**
 * Below 0 where the first time is before the second, above 0 where it is after it. Undefined where only the server
 * could tell: between its clock and a fixed time, or between a month and a number of days.
 * @throws UsageError INVALID_TIME, INVALID_INTERVAL
 */
export function compareTimes(left: TimeInput, right: TimeInput): number | undefined {
  const [one, other] = [parseTime(left), parseTime(right)]
  if (one.kind === 'integer' && other.kind === 'integer') return order(one.value, other.value)
  if (one.kind === 'instant' && other.kind === 'instant') {
    return order(rank(one.microseconds), rank(other.microseconds))
  }
  return one.kind === 'now' && other.kind === 'now' ? compareFromNow(one.plus, other.plus) : undefined
}

function compareFromNow(one: Interval | undefined, other: Interval | undefined): number | undefined {
  const months = (one?.months ?? 0) - (other?.months ?? 0)
  const days = (one?.days ?? 0) - (other?.days ?? 0)
  const microseconds = (one?.microseconds ?? 0n) - (other?.microseconds ?? 0n)
  if (months === 0 && days === 0) return order(microseconds, 0n)
  // A month has 28 to 31 days, and where the clocks change a day has an hour less or more.
  const hour = 3_600_000_000n
  const bounds = [28, 31].map((length) => BigInt(months * length + days) * 24n * hour + microseconds)
  if (bounds.every((bound) => bound > hour)) return 1
  return bounds.every((bound) => bound < -hour) ? -1 : undefined
}

function order(left: bigint | number, right: bigint | number): number {
  return left < right ? -1 : left > right ? 1 : 0
}

function rank(microseconds: Microseconds): bigint | number {
  if (microseconds === 'infinity') return Number.POSITIVE_INFINITY
  return microseconds === '-infinity' ? Number.NEGATIVE_INFINITY : microseconds
}

function parseTimeText(text: string): TimeExpression {
  const now = NOW.exec(text)
  if (now === null) return { kind: 'instant', microseconds: parseTimestamp(text) }
  const [, sign, span] = now
  if (span === undefined) return { kind: 'now' }
  const interval = parseInterval(span)
  return { kind: 'now', plus: sign === '-' ? negate(interval) : interval }
}

function nowSql(plus: Interval | undefined, type: TimeType, round: 'down' | 'up'): Sql {
  const instant = plus === undefined ? sql`now()` : shift(plus)
  if (type === 'timestamptz') return instant
  const utc = sql`((${instant}) at time zone 'UTC')`
  if (type === 'timestamp') return utc
  return round === 'up' ? sql`(${utc} + interval '1 day' - interval '1 microsecond')::date` : sql`${utc}::date`
}

/** Subtracting where possible keeps the text readable: `now() - $1::interval` with `1 day`. */
function shift(plus: Interval): Sql {
  const parts = [plus.months, plus.days, Number(plus.microseconds)]
  return parts.every((part) => part <= 0) && parts.some((part) => part < 0)
    ? sql`now() - ${formatInterval(negate(plus))}::interval`
    : sql`now() + ${formatInterval(plus)}::interval`
}

function integerSql(value: bigint, type: TimeType): Sql {
  const bits = INTEGER_BITS.get(type)
  if (bits === undefined) {
    throw invalid(`A number is a time only for an integer time column, not for ${type}.`, 'Use new Date(milliseconds).')
  }
  if (BigInt.asIntN(bits, value) !== value) throw invalid(`The time does not fit into ${type}.`)
  return sql`${String(value)}::${sql.raw(type)}`
}

function negate(interval: Interval): Interval {
  // 0 - x: unary minus would make -0 of a zero.
  return { months: 0 - interval.months, days: 0 - interval.days, microseconds: -interval.microseconds }
}

function isExpression(time: TimeInput | TimeExpression): time is TimeExpression {
  return typeof time === 'object' && time !== null && 'kind' in time
}

function invalid(message: string, hint?: string): UsageError {
  return new UsageError('INVALID_TIME', message, { hint })
}
