import type { ColumnQueryOptions, QueryOptions, Row, Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { queryToColumns } from '../results/column-query.ts'
import type { ColumnSet } from '../results/column-set.ts'
import { type Aggregate, type AggregateResult, type AggregateText, avg, toAggregate } from '../sql/aggregate.ts'
import { functionExpression } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { parseInterval } from '../sql/interval.ts'
import { checkKeys, invalidOption, requireKeys, toList } from '../sql/option.ts'
import { type Sql, type Statement, sql } from '../sql/template.ts'
import { parseTime, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { whereConditions } from '../sql/where.ts'
import { orderBySql } from './order-by.ts'
import { outputColumns, SERIES_KEYS, type SeriesOptions, seriesSql } from './time-bucket.ts'
import {
  assumedTimeType,
  type BucketInterval,
  type BucketTime,
  bucketWidthSql,
  type Flat,
  isWhole,
  runTyped,
  windowConditions,
} from './time-column.ts'

/**
 * What a bucket without rows gets: `'locf'` the last value before it, `'linear'` a point on the line between its
 * neighbours, `'null'` NULL.
 */
export type FillMethod = 'locf' | 'linear' | 'null' | 'NULL'

/** How one column is aggregated and filled. */
export interface GapfillColumn {
  /** Default `'AVG'`. As text it takes the column named by the key. */
  readonly aggregate?: Aggregate<unknown> | AggregateText
  /** Default: the query's `fillMethod`. */
  readonly method?: FillMethod
  /** For locf: also fill buckets that have rows but no value. Default false. */
  readonly treatNullAsMissing?: boolean
}

/** Columns to average and fill, or how to aggregate and fill each. */
export type GapfillColumns = readonly string[] | Readonly<Record<string, GapfillColumn>>

/** What filling gaps takes. */
export interface FillGapsOptions<
  C extends GapfillColumns = GapfillColumns,
  G extends string = string,
  B extends BucketInterval = BucketInterval,
> extends SeriesOptions<G, B> {
  /** The first bucket is the one this time is in; rows before it are not read. */
  readonly startTime: TimeInput
  /** The end, which does not belong to the window. */
  readonly endTime: TimeInput
  readonly columns: C
  /** Default `'null'`. */
  readonly fillMethod?: FillMethod
}

type ColumnResult<D> = D extends { readonly aggregate: infer A } ? AggregateResult<A> | null : number | null

/** One row: its bucket's begin, the `groupBy` columns, the values; null where nothing could be filled in. */
export type FillGapsRow<C extends GapfillColumns, G extends string, B extends BucketInterval> = Flat<
  { bucket: BucketTime<B> } & { [K in G]: unknown } & (C extends readonly (infer N extends string)[]
      ? { [K in N]: number | null }
      : { -readonly [K in keyof C]: ColumnResult<C[K]> })
>

const KEYS = [...SERIES_KEYS, 'startTime', 'endTime', 'columns', 'fillMethod']

/**
 * The statement of {@link fillGaps}. Without `timeType` the time column is taken to be timestamptz, or bigint where the
 * bucket interval is a number.
 * @throws UsageError INVALID_OPTION, INVALID_TIME, INVALID_INTERVAL, INVALID_VALUE or INVALID_IDENTIFIER.
 */
export function fillGapsSql(table: ObjectName, options: FillGapsOptions): Statement {
  checkKeys(options, KEYS, 'fillGaps')
  requireKeys(options, ['timeColumn', 'bucketInterval', 'columns'], 'fillGaps')
  if (options.startTime === undefined || options.endTime === undefined) {
    throw invalidOption('fillGaps needs startTime and endTime.')
  }
  const { startTime, endTime } = options
  const type = options.timeType ?? assumedTimeType(options.bucketInterval, [startTime, endTime])
  const groups = toList(options.groupBy)
  const columns = columnList(options.columns)
  const outputs = outputColumns(
    groups,
    columns.map(([key]) => key),
  )
  return seriesSql({
    bucket: gapfillSql(options, type),
    table,
    groups,
    selected: columns.map(([key, column]) => sql`${filledSql(key, column, options)} as ${sql.column(key)}`),
    conditions: [
      ...windowConditions(sql.column(options.timeColumn), type, startTime, endTime),
      ...whereConditions(options.where),
    ],
    orderBy: orderBySql(options.orderBy ?? ['bucket', ...groups].map((name) => ({ column: name })), outputs),
    limit: options.limit,
  }).statement
}

/**
 * Aggregates per bucket of time with a row for every bucket of the window, also for those without data. With `groupBy`
 * every series that has a row in the window gets all buckets. What lies before the window is not looked at: leading
 * gaps stay null under locf and linear, trailing ones under linear. A bucket that has rows but no value stays null and
 * interrupts the line of `linear`; `where: { x: { isNull: false } }` makes it a gap.
 * @throws UsageError as {@link fillGapsSql}, QueryError from the server.
 * @example
 * await fillGaps(db, 'sensor_data', {
 *   timeColumn: 'time',
 *   bucketInterval: '10 minutes',
 *   startTime: "NOW() - INTERVAL '2 hours'",
 *   endTime: 'NOW()',
 *   columns: ['temperature'],
 *   fillMethod: 'locf',
 * })
 */
export function fillGaps<
  const C extends GapfillColumns,
  const G extends string = never,
  const B extends BucketInterval = BucketInterval,
>(
  session: Session,
  table: ObjectName,
  options: FillGapsOptions<C, G, B>,
  queryOptions?: QueryOptions,
): Promise<FillGapsRow<C, G, B>[]>
export function fillGaps<R extends object>(
  session: Session,
  table: ObjectName,
  options: FillGapsOptions,
  queryOptions?: QueryOptions,
): Promise<R[]>
export async function fillGaps(
  session: Session,
  table: ObjectName,
  options: FillGapsOptions,
  queryOptions: QueryOptions = {},
): Promise<Row[]> {
  const { rows } = await runTyped(session, 'gapfill', table, options, fillGapsSql, (statement) =>
    session.query(statement, { numeric: 'number', ...queryOptions }),
  )
  return rows
}

/**
 * The same as columns, named as in the rows of {@link fillGaps}. numeric columns are float64.
 * @throws UsageError as {@link fillGapsSql}, QueryError from the server.
 */
export function fillGapsColumns<
  const C extends GapfillColumns,
  const G extends string = never,
  const B extends BucketInterval = BucketInterval,
>(
  session: Session,
  table: ObjectName,
  options: FillGapsOptions<C, G, B>,
  queryOptions: ColumnQueryOptions = {},
): Promise<ColumnSet<keyof FillGapsRow<C, G, B> & string>> {
  return runTyped(session, 'gapfill', table, options, fillGapsSql, (statement) =>
    queryToColumns(session, statement, { numeric: 'float64', ...queryOptions }),
  )
}

function gapfillSql(options: FillGapsOptions, type: TimeType): Sql {
  if (options.timezone !== undefined && type !== 'timestamptz') {
    throw invalidOption(`timezone is only for timestamptz, and the time column is of type ${type}.`)
  }
  if (options.timezone !== undefined) checkWholeDays(options.bucketInterval)
  checkFinite(options.startTime, 'startTime')
  checkFinite(options.endTime, 'endTime')
  const positional = [bucketWidthSql(options.bucketInterval, type), sql.column(options.timeColumn)]
  // Named and cast: untyped and by position, the third argument would be read as a time zone.
  return functionExpression('time_bucket_gapfill', positional, {
    timezone: options.timezone === undefined ? undefined : sql`${options.timezone}::text`,
    start: timeSql(options.startTime, type, { round: 'up' }),
    finish: timeSql(options.endTime, type, { round: 'up' }),
  })
}

/**
 * The server steps from gap to gap in hours of UTC but puts rows into local buckets (seen in 2.23): on the days the
 * clocks change, both kinds appear side by side, out of order, and hours with rows show up as gaps.
 */
function checkWholeDays(bucketInterval: BucketInterval): void {
  if (isWhole(bucketInterval) || parseInterval(bucketInterval).microseconds === 0n) return
  throw invalidOption(
    'fillGaps with a timezone needs buckets of whole days, weeks or months.',
    "Leave timezone out for hours and minutes; write '1 day' instead of '24 hours'.",
  )
}

/** An open end would ask for endlessly many buckets, until the server's memory is used up. */
function checkFinite(time: TimeInput, option: string): void {
  const parsed = parseTime(time)
  if (parsed.kind === 'instant' && typeof parsed.microseconds === 'string') {
    throw new UsageError('INVALID_TIME', `${option} must not be infinite.`)
  }
}

function columnList(columns: GapfillColumns): [string, GapfillColumn][] {
  const list = isNameList(columns)
    ? columns.map((name): [string, GapfillColumn] => [name, {}])
    : Object.entries(columns)
  if (list.length === 0) throw invalidOption('columns must name at least one column.')
  return list
}

function isNameList(columns: GapfillColumns): columns is readonly string[] {
  return Array.isArray(columns)
}

function filledSql(key: string, column: GapfillColumn, options: FillGapsOptions): Sql {
  checkKeys(column, ['aggregate', 'method', 'treatNullAsMissing'], `columns.${key}`)
  const aggregate = column.aggregate === undefined ? avg(key) : toAggregate(key, column.aggregate, options.timeColumn)
  const method = column.method ?? options.fillMethod ?? 'null'
  if (method === 'locf') {
    const flag = column.treatNullAsMissing
    return functionExpression('locf', [aggregate.expression], {
      treat_null_as_missing: flag === undefined ? undefined : sql.raw(flag ? 'true' : 'false'),
    })
  }
  if (column.treatNullAsMissing !== undefined) {
    throw invalidOption(`columns.${key}: treatNullAsMissing is only for the method locf.`)
  }
  if (method === 'linear') return functionExpression('interpolate', [asNumber(key, aggregate)])
  if (method === 'null' || method === 'NULL') return aggregate.expression
  throw invalidOption(`The fill method ${JSON.stringify(method)} is unknown.`, "Write 'locf', 'linear' or 'null'.")
}

/** There is no interpolate for numeric, and the one for integers rounds. */
function asNumber(key: string, aggregate: Aggregate<unknown>): Sql {
  if (aggregate.returns === 'list') throw invalidOption(`columns.${key}: a histogram cannot be interpolated.`)
  return aggregate.returns === 'number' ? aggregate.expression : sql`(${aggregate.expression})::float8`
}
