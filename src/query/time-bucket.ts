import type { ColumnQueryOptions, QueryOptions, Row, Session } from '../connection/session.ts'
import { queryToColumns } from '../results/column-query.ts'
import type { ColumnSet } from '../results/column-set.ts'
import { type AggregateRow, type Aggregations, toAggregate } from '../sql/aggregate.ts'
import { functionExpression } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { formatInterval } from '../sql/interval.ts'
import { checkKeys, invalidOption, requireKeys, toList } from '../sql/option.ts'
import { type Sql, type Statement, sql } from '../sql/template.ts'
import { type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { type Where, whereConditions } from '../sql/where.ts'
import { type OrderBy, orderBySql } from './order-by.ts'
import {
  assumedTimeType,
  type BucketInterval,
  type BucketTime,
  bucketWidthSql,
  type Flat,
  isIntegerType,
  isWhole,
  runTyped,
  windowConditions,
} from './time-column.ts'

/** What every query by buckets of time takes. */
export interface SeriesOptions<G extends string, B extends BucketInterval> {
  readonly timeColumn: string
  /** `'15 minutes'`, `{ hours: 1 }`, `'1 month'`, or a whole number for an integer time column. */
  readonly bucketInterval: B
  /** Columns that keep series apart. */
  readonly groupBy?: G | readonly G[]
  /** Rows to take into account. */
  readonly where?: Where
  /**
   * Where days, weeks and months begin, such as `'Europe/Berlin'`; only for timestamptz. Default: UTC. In buckets
   * shorter than a day the server joins the hour that comes twice when the clocks go back.
   */
  readonly timezone?: string
  /** Columns of the result. Default: by bucket, then by the `groupBy` columns. */
  readonly orderBy?: OrderBy
  /** At most so many rows. */
  readonly limit?: number
  /** The time column's type. Asked of the server when it is not given, at the price of one trip. */
  readonly timeType?: TimeType
}

/** What a time-bucket query takes. */
export interface TimeBucketOptions<
  A extends Aggregations = Aggregations,
  G extends string = string,
  B extends BucketInterval = BucketInterval,
> extends SeriesOptions<G, B> {
  /** Result columns: `{ temperature: 'AVG', count: 'COUNT(*)' }` or `{ high: max('price') }`. */
  readonly aggregations: A
  /** Rows from this time on. The first bucket may begin before it and is then not whole. */
  readonly startTime?: TimeInput
  /** Rows before this time: the end does not belong to the window. */
  readonly endTime?: TimeInput
  /** A time at which a bucket begins. */
  readonly origin?: TimeInput
  /** Moves all buckets by so much; a whole number for an integer time column. */
  readonly offset?: BucketInterval
}

/** One row: its bucket's begin, the `groupBy` columns, the aggregates. */
export type TimeBucketRow<A extends Aggregations, G extends string, B extends BucketInterval> = Flat<
  { bucket: BucketTime<B> } & { [K in G]: unknown } & AggregateRow<A>
>

/** The names of the options in {@link SeriesOptions}. */
export const SERIES_KEYS: readonly string[] = [
  'timeColumn',
  'bucketInterval',
  'groupBy',
  'where',
  'timezone',
  'orderBy',
  'limit',
  'timeType',
]
const KEYS = [...SERIES_KEYS, 'aggregations', 'startTime', 'endTime', 'origin', 'offset']

/**
 * The statement of {@link timeBucketQuery}. Without `timeType` the time column is taken to be timestamptz, or bigint
 * where the bucket interval is a number.
 * @throws UsageError INVALID_OPTION, INVALID_TIME, INVALID_INTERVAL, INVALID_VALUE or INVALID_IDENTIFIER.
 * @example
 * timeBucketSql('sensor_data', { timeColumn: 'time', bucketInterval: '1 hour', aggregations: { temperature: 'AVG' } })
 */
export function timeBucketSql(table: ObjectName, options: TimeBucketOptions): Statement {
  checkKeys(options, KEYS, 'timeBucketQuery')
  requireKeys(options, ['timeColumn', 'bucketInterval', 'aggregations'], 'timeBucketQuery')
  const { startTime, endTime, origin } = options
  const type = options.timeType ?? assumedTimeType(options.bucketInterval, [startTime, endTime, origin])
  const column = sql.column(options.timeColumn)
  const groups = toList(options.groupBy)
  const aggregations = Object.entries(options.aggregations)
  if (aggregations.length === 0) throw invalidOption('aggregations must have at least one entry.')
  const outputs = outputColumns(groups, Object.keys(options.aggregations))
  const selected = aggregations.map(
    ([key, given]) => sql`${toAggregate(key, given, options.timeColumn).expression} as ${sql.column(key)}`,
  )
  return seriesSql({
    bucket: bucketSql(options, type),
    table,
    groups,
    selected,
    conditions: [...windowConditions(column, type, startTime, endTime), ...whereConditions(options.where)],
    orderBy: orderBySql(options.orderBy ?? ['bucket', ...groups].map((name) => ({ column: name })), outputs),
    limit: options.limit,
  }).statement
}

/**
 * Aggregates per bucket of time, one row per bucket (and series) that has rows. numeric columns arrive as numbers.
 * Give the row's type to name the types of `groupBy` columns: `timeBucketQuery<{ bucket: Date; symbol: string }>(…)`.
 * @throws UsageError as {@link timeBucketSql}, QueryError from the server.
 * @example
 * await timeBucketQuery(db, 'sensor_data', {
 *   timeColumn: 'time',
 *   bucketInterval: '15 minutes',
 *   aggregations: { temperature: 'AVG', count: 'COUNT(*)' },
 *   startTime: "NOW() - INTERVAL '24 hours'",
 * })
 */
export function timeBucketQuery<
  const A extends Aggregations,
  const G extends string = never,
  const B extends BucketInterval = BucketInterval,
>(
  session: Session,
  table: ObjectName,
  options: TimeBucketOptions<A, G, B>,
  queryOptions?: QueryOptions,
): Promise<TimeBucketRow<A, G, B>[]>
export function timeBucketQuery<R extends object>(
  session: Session,
  table: ObjectName,
  options: TimeBucketOptions,
  queryOptions?: QueryOptions,
): Promise<R[]>
export async function timeBucketQuery(
  session: Session,
  table: ObjectName,
  options: TimeBucketOptions,
  queryOptions: QueryOptions = {},
): Promise<Row[]> {
  const { rows } = await runTyped(session, 'time-bucket', table, options, timeBucketSql, (statement) =>
    session.query(statement, { numeric: 'number', ...queryOptions }),
  )
  return rows
}

/**
 * The same as columns, named as in the rows of {@link timeBucketQuery}. numeric columns are float64.
 * @throws UsageError as {@link timeBucketSql}, QueryError from the server.
 */
export function timeBucketColumns<
  const A extends Aggregations,
  const G extends string = never,
  const B extends BucketInterval = BucketInterval,
>(
  session: Session,
  table: ObjectName,
  options: TimeBucketOptions<A, G, B>,
  queryOptions: ColumnQueryOptions = {},
): Promise<ColumnSet<keyof TimeBucketRow<A, G, B> & string>> {
  return runTyped(session, 'time-bucket', table, options, timeBucketSql, (statement) =>
    queryToColumns(session, statement, { numeric: 'float64', ...queryOptions }),
  )
}

/** The parts of a query by buckets. */
export interface SeriesParts {
  readonly bucket: Sql
  readonly table: ObjectName
  readonly groups: readonly string[]
  readonly selected: readonly Sql[]
  readonly conditions: readonly Sql[]
  readonly orderBy: Sql
  readonly limit: number | undefined
}

/** Puts the parts together. */
export function seriesSql(parts: SeriesParts): Sql {
  const columns = [sql`${parts.bucket} as bucket`, ...parts.groups.map((name) => sql.column(name)), ...parts.selected]
  const where = parts.conditions.length === 0 ? sql.empty : sql` where ${sql.join(parts.conditions, ' and ')}`
  // By position: a name in GROUP BY means a column of the table first, and a bound value is never equal to itself.
  const groupBy = sql.raw(['bucket', ...parts.groups].map((_, index) => index + 1).join(', '))
  const from = sql`select ${sql.join(columns)} from ${sql.name(parts.table)}`
  return sql`${from}${where} group by ${groupBy}${parts.orderBy}${limitSql(parts.limit)}`
}

/** The names of a result's columns in order, refused where two are the same. */
export function outputColumns(groups: readonly string[], values: readonly string[]): string[] {
  const names = ['bucket', ...groups, ...values]
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice !== undefined) {
    throw invalidOption(
      `Two columns of the result would be named ${JSON.stringify(twice)}.`,
      "Give the aggregation another key and name the column in it, such as { total: sum('x') }.",
    )
  }
  return names
}

function bucketSql(options: TimeBucketOptions, type: TimeType): Sql {
  const { origin, offset, timezone } = options
  if (timezone !== undefined && type !== 'timestamptz') {
    throw invalidOption(`timezone is only for timestamptz, and the time column is of type ${type}.`)
  }
  if (origin !== undefined && isIntegerType(type))
    throw invalidOption('An integer time column takes offset, not origin.')
  const both = origin !== undefined && offset !== undefined
  if (both && type !== 'timestamptz') {
    throw invalidOption(`The server takes either origin or offset for ${type}.`, 'Move the origin by the offset.')
  }
  // Without a time zone no overload takes both; in UTC the one with a time zone gives the same buckets.
  const zone = timezone ?? (both ? 'UTC' : undefined)
  return functionExpression(
    'time_bucket',
    [bucketWidthSql(options.bucketInterval, type), sql.column(options.timeColumn)],
    {
      timezone: zone === undefined ? undefined : sql`${zone}::text`,
      origin: origin === undefined ? undefined : timeSql(origin, type),
      offset: offset === undefined ? undefined : offsetSql(offset, type),
    },
  )
}

function offsetSql(offset: BucketInterval, type: TimeType): Sql {
  if (isWhole(offset) !== isIntegerType(type)) {
    throw invalidOption(`offset must be ${isIntegerType(type) ? 'a whole number' : 'an interval'} for ${type}.`)
  }
  return isWhole(offset) ? timeSql(offset, type) : sql`${formatInterval(offset)}::interval`
}

function limitSql(limit: number | undefined): Sql {
  if (limit === undefined) return sql.empty
  if (!Number.isSafeInteger(limit) || limit < 0) throw invalidOption('limit must be a whole number, 0 or more.')
  return sql` limit ${limit}`
}
