import { functionExpression } from './call.ts'
import { invalidOption } from './option.ts'
import { type Sql, sql } from './template.ts'

declare const RESULT: unique symbol

/** A function over the rows of a bucket, as SQL, carrying the type of its result. */
export interface Aggregate<T> {
  readonly kind: 'aggregate'
  readonly expression: Sql
  /** `'number'` and `'count'` are numbers for certain, so a gap in them can be interpolated without a cast. */
  readonly returns: 'number' | 'count' | 'column' | 'list'
  readonly [RESULT]?: T
}

/**
 * An aggregate as text: `'AVG'`, `'SUM'`, `'MIN'`, `'MAX'`, `'COUNT'`, `'STDDEV'`, `'MEDIAN'`, `'FIRST'`, `'LAST'` over
 * the column named by the key, or `'COUNT(*)'`, `'COUNT(DISTINCT x)'`, `'AVG(x)'`, `'FIRST(x, time)'` over the one
 * named in it. Column names are taken as written.
 */
export type AggregateText = string

/** Result columns by name. */
export type Aggregations = Readonly<Record<string, Aggregate<unknown> | AggregateText>>

/** What one aggregation gives. MIN, MAX, FIRST and LAST as text have the column's type, which is not known here. */
export type AggregateResult<A> =
  A extends Aggregate<infer T>
    ? T
    : A extends string
      ? Uppercase<A> extends `COUNT${string}`
        ? number
        : Uppercase<A> extends `${'AVG' | 'SUM' | 'STDDEV' | 'MEDIAN'}${string}`
          ? number | null
          : unknown
      : never

/** The aggregates' part of a row. */
export type AggregateRow<A extends Aggregations> = { -readonly [K in keyof A]: AggregateResult<A[K]> }

/** The mean of a numeric column, as a number; null where all values are NULL. */
export function avg(column: string): Aggregate<number | null> {
  return aggregate(sql`avg(${sql.column(column)})::float8`, 'number')
}

/** The sum of a numeric column, as a double (exact for whole numbers up to 2^53); null where all values are NULL. */
export function sum(column: string): Aggregate<number | null> {
  return aggregate(sql`sum(${sql.column(column)})::float8`, 'number')
}

/** The least value; the type is the column's, so name it for anything but numbers: `min<string>('name')`. */
export function min<T = number>(column: string): Aggregate<NoInfer<T> | null> {
  return aggregate(sql`min(${sql.column(column)})`, 'column')
}

/** The greatest value; the type is the column's, so name it for anything but numbers: `max<string>('name')`. */
export function max<T = number>(column: string): Aggregate<NoInfer<T> | null> {
  return aggregate(sql`max(${sql.column(column)})`, 'column')
}

/** The number of rows, or of values of a column that are not NULL. */
export function count(column?: string): Aggregate<number> {
  return aggregate(column === undefined ? sql`count(*)` : sql`count(${sql.column(column)})`, 'count')
}

/** The number of different values that are not NULL. */
export function countDistinct(column: string): Aggregate<number> {
  return aggregate(sql`count(distinct ${sql.column(column)})`, 'count')
}

/** The value of the earliest row by `time`; that value may be NULL. Rows with a NULL time do not count. */
export function first<T = number>(value: string, time: string): Aggregate<NoInfer<T> | null> {
  return aggregate(sql`first(${sql.column(value)}, ${sql.column(time)})`, 'column')
}

/** The value of the latest row by `time`; that value may be NULL. Rows with a NULL time do not count. */
export function last<T = number>(value: string, time: string): Aggregate<NoInfer<T> | null> {
  return aggregate(sql`last(${sql.column(value)}, ${sql.column(time)})`, 'column')
}

/** The sample standard deviation; null for fewer than two values. */
export function stddev(column: string): Aggregate<number | null> {
  return aggregate(sql`stddev(${sql.column(column)})::float8`, 'number')
}

/** The median, interpolated between the two middle values; null where all values are NULL. */
export function median(column: string): Aggregate<number | null> {
  return percentile(column, 0.5)
}

/**
 * The exact percentile, interpolated between neighbours; `fraction` is 0 to 1. All values of a bucket are sorted for it.
 * @throws UsageError INVALID_OPTION for a fraction outside of 0 to 1.
 */
export function percentile(column: string, fraction: number): Aggregate<number | null> {
  if (!(fraction >= 0 && fraction <= 1)) throw invalidOption('The fraction of a percentile must be between 0 and 1.')
  const order = sql`within group (order by ${sql.column(column)}::float8)`
  return aggregate(sql`percentile_cont(${fraction}::float8) ${order}`, 'number')
}

/**
 * How many values fall into each of `buckets` equal parts of `min` to `max`. The list is two longer: it starts with the
 * values below `min` and ends with those at or above `max`. Null where all values are NULL.
 * @throws UsageError INVALID_OPTION for an empty range or a number of buckets that is not 1 to 1,000,000.
 */
export function histogram(
  column: string,
  options: { readonly min: number; readonly max: number; readonly buckets: number },
): Aggregate<number[] | null> {
  if (!(Number.isFinite(options.min) && Number.isFinite(options.max) && options.min < options.max)) {
    throw invalidOption('A histogram needs finite numbers min < max.')
  }
  if (!Number.isInteger(options.buckets) || options.buckets < 1 || options.buckets > 1_000_000) {
    throw invalidOption('The buckets of a histogram must be a whole number from 1 to 1,000,000.')
  }
  const { min: low, max: high, buckets } = options
  const list = [sql`${sql.column(column)}::float8`, sql`${low}::float8`, sql`${high}::float8`, sql`${buckets}::integer`]
  // Seen in 2.23: without the filter a NULL counts as the value 0.
  const values = sql`filter (where ${sql.column(column)} is not null)`
  return aggregate(sql`${functionExpression('histogram', list)} ${values}`, 'list')
}

/**
 * An aggregation as it was given, text included, as one with SQL. A bare text such as `'AVG'` takes the column `key`.
 * @throws UsageError INVALID_OPTION for a text that is not one of the known forms.
 */
export function toAggregate(
  key: string,
  given: Aggregate<unknown> | AggregateText,
  timeColumn: string,
): Aggregate<unknown> {
  if (typeof given === 'string') return parseAggregate(key, given, timeColumn)
  if (typeof given === 'object' && given !== null && given.kind === 'aggregate') return given
  throw invalidOption(`The aggregation ${JSON.stringify(key)} is neither a text nor a function such as avg('x').`)
}

const NAME = String.raw`("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)`
const BARE = /^\s*([a-z]+)\s*$/i
const STAR = /^\s*count\s*\(\s*\*\s*\)\s*$/i
const DISTINCT = new RegExp(String.raw`^\s*count\s*\(\s*distinct\s+${NAME}\s*\)\s*$`, 'iu')
const CALL = new RegExp(String.raw`^\s*([a-z]+)\s*\(\s*${NAME}\s*(?:,\s*${NAME}\s*)?\)\s*$`, 'iu')

const OF_COLUMN = new Map<string, (column: string) => Aggregate<unknown>>([
  ['avg', avg],
  ['sum', sum],
  ['min', min],
  ['max', max],
  ['count', count],
  ['stddev', stddev],
  ['median', median],
])
const OF_COLUMN_AND_TIME = new Map<string, (value: string, time: string) => Aggregate<unknown>>([
  ['first', first],
  ['last', last],
])

function parseAggregate(key: string, text: string, timeColumn: string): Aggregate<unknown> {
  if (STAR.test(text)) return count()
  const distinct = DISTINCT.exec(text)?.[1]
  if (distinct !== undefined) return countDistinct(unquote(distinct))
  const [, name = '', column, time] = CALL.exec(text) ?? BARE.exec(text) ?? []
  const value = column === undefined ? key : unquote(column)
  const byTime = OF_COLUMN_AND_TIME.get(name.toLowerCase())
  if (byTime !== undefined) return byTime(value, time === undefined ? timeColumn : unquote(time))
  const plain = OF_COLUMN.get(name.toLowerCase())
  if (plain !== undefined && time === undefined) return plain(value)
  throw invalidOption(
    `The aggregation ${JSON.stringify(key)}: ${JSON.stringify(text)} is not understood.`,
    "Write 'AVG', 'COUNT(*)', 'COUNT(DISTINCT x)' or 'MAX(x)', or use avg, sum, min, max, count, countDistinct, first, last, stddev, median, percentile or histogram.",
  )
}

function unquote(name: string): string {
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name
}

function aggregate<T>(expression: Sql, returns: Aggregate<T>['returns']): Aggregate<T> {
  return { kind: 'aggregate', expression, returns }
}
