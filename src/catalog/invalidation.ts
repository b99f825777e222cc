import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { type Sql, sql } from '../sql/template.ts'
import { can, readCapabilities } from './capabilities.ts'
import { listColumns } from './column-name.ts'
import type { ContinuousAggregate } from './continuous-aggregate.ts'
import { isIntegerTime, listDimensions } from './dimension.ts'

/** From `low` up to, not including, `high`: microseconds since 1970, or the value of an integer time column. */
export interface InternalRange {
  readonly low: bigint
  readonly high: bigint
}

/** How the buckets of one aggregate are cut, as SQL. */
export interface BucketSql {
  /** A time in the server's own counting as the column's type. */
  fromInternal(internal: Sql): Sql
  /** The start of the bucket that holds a time. */
  start(time: Sql): Sql
  /** Where the bucket that starts at a time ends. */
  end(start: Sql): Sql
  /** True for buckets that are all of one length; others have a calendar or a time zone. */
  readonly isFixed: boolean
  /** How a server cuts the window of a refresh and what has changed, where that is not by these buckets. */
  readonly frame: BucketSql | undefined
  /** False for a server that may cut by these buckets all the same. */
  readonly isFrameKnown: boolean
}

interface BucketRow {
  readonly origin: string | null
  readonly offset: string | null
  readonly isFixed: boolean
}

/** The bucket function of a continuous aggregate as SQL. */
export async function readBucketSql(session: Session, aggregate: ContinuousAggregate): Promise<BucketSql> {
  let row: BucketRow | undefined
  const capabilities = await readCapabilities(session)
  if (can(capabilities, 'bucket-function-catalog')) {
    const { rows } = await session.query<BucketRow>(sql`
      select nullif(b.bucket_origin, '') as origin, nullif(b.bucket_offset, '') as offset, b.bucket_fixed_width as "isFixed"
      from _timescaledb_catalog.continuous_aggs_bucket_function b
      join _timescaledb_catalog.hypertable h on h.id = b.mat_hypertable_id
      where h.schema_name = ${aggregate.materialization.schema} and h.table_name = ${aggregate.materialization.name}`)
    row = rows[0]
  }
  const isFixed = aggregate.bucketTimezone === undefined && !/mon|year/.test(aggregate.bucketInterval ?? '')
  return makeBucketSql(
    aggregate,
    row ?? { origin: null, offset: null, isFixed },
    can(capabilities, 'own-refresh-frame'),
  )
}

/**
 * 2.23 cuts windows and changes by the buckets as they would be without offset, and those of one length without origin
 * too. What it finds it widens to whole buckets where these have one length; of others it takes those that begin in it.
 * Newer servers cut those of one length by the buckets themselves.
 */
function makeBucketSql(
  aggregate: ContinuousAggregate,
  { origin, offset, isFixed }: BucketRow,
  isOwnFrame: boolean,
): BucketSql {
  const make = (from: string | null, by: string | null, frame: BucketSql | undefined): BucketSql => ({
    fromInternal: (internal) => fromInternalSql(aggregate.bucketColumnType, internal),
    start: startSql(aggregate, from, by),
    end: (start) => bucketEndSql(aggregate, start, isFixed ? null : by),
    isFixed,
    frame,
    isFrameKnown: !isFixed || !isOwnFrame,
  })
  const isShifted = offset !== null || (isFixed && origin !== null)
  return make(origin, offset, isShifted ? make(isFixed ? null : origin, null, undefined) : undefined)
}

function startSql(aggregate: ContinuousAggregate, origin: string | null, offset: string | null): (time: Sql) => Sql {
  const { bucketColumnType: type, bucketInterval: width = '1', bucketTimezone: timezone } = aggregate
  const cast = sql.raw(type)
  const named: Sql[] = []
  if (timezone !== undefined) named.push(sql`timezone => ${sql.literal(timezone)}`)
  if (origin !== null) named.push(sql`origin => ${sql.literal(origin)}::${cast}`)
  if (offset !== null) {
    const unit = isIntegerTime(type) ? cast : sql.raw('interval')
    named.push(sql`"offset" => ${sql.literal(offset)}::${unit}`)
  }
  const span = isIntegerTime(type) ? sql`${sql.literal(width)}::${cast}` : sql`${sql.literal(width)}::interval`
  const more = named.map((argument) => sql`, ${argument}`)
  return (time) => sql`time_bucket(${span}, ${time}${sql.join(more, '')})`
}

/** A time in the server's own counting as a value of a time column's type. */
export function fromInternalSql(columnType: string, internal: Sql): Sql {
  if (isIntegerTime(columnType)) return sql`(${internal})::${sql.raw(columnType)}`
  const functions: Readonly<Record<string, string>> = {
    date: '_timescaledb_functions.to_date',
    'timestamp without time zone': '_timescaledb_functions.to_timestamp_without_timezone',
  }
  return sql`${sql.raw(functions[columnType] ?? '_timescaledb_functions.to_timestamp')}(${internal})`
}

/** Where a bucket ends. Days and months of a bucket with a time zone are counted in that zone, before the offset. */
function bucketEndSql(aggregate: ContinuousAggregate, start: Sql, offset: string | null = null): Sql {
  const { bucketColumnType: type, bucketInterval: width, bucketTimezone: timezone } = aggregate
  if (width === undefined) return start
  if (offset !== null) {
    const by = sql`${sql.literal(offset)}::interval`
    return sql`(${bucketEndSql(aggregate, sql`(${start} - ${by})`)} + ${by})::${sql.raw(type)}`
  }
  if (isIntegerTime(type)) return sql`(${start} + ${sql.literal(BigInt(width))})`
  const span = sql`${sql.literal(width)}::interval`
  if (type !== 'timestamp with time zone') return sql`(${start} + ${span})::${sql.raw(type)}`
  const zone = sql.literal(timezone ?? 'UTC')
  return sql`((${start} at time zone ${zone} + ${span}) at time zone ${zone})`
}

/**
 * What the server has written down as changed and not yet refreshed: columns `low` and `high`, both included. What was
 * never refreshed is among it, from the server's earliest time and to its last.
 */
export function invalidationSql(aggregate: ContinuousAggregate): Sql {
  return sql`${hypertableInvalidationSql(aggregate)} union all ${materializationInvalidationSql(aggregate)}`
}

/** The part of {@link invalidationSql} that the server has not yet handed on to the aggregates of the hypertable. */
export function hypertableInvalidationSql({ sourceStorage }: ContinuousAggregate): Sql {
  return sql`
    select l.lowest_modified_value as low, l.greatest_modified_value as high
    from _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log l
    join _timescaledb_catalog.hypertable h on h.id = l.hypertable_id
    where h.schema_name = ${sourceStorage.schema} and h.table_name = ${sourceStorage.name}`
}

/** The part of {@link invalidationSql} that is the aggregate's own. */
export function materializationInvalidationSql({ materialization }: ContinuousAggregate): Sql {
  return sql`
    select l.lowest_modified_value as low, l.greatest_modified_value as high
    from _timescaledb_catalog.continuous_aggs_materialization_invalidation_log l
    join _timescaledb_catalog.hypertable h on h.id = l.materialization_id
    where h.schema_name = ${materialization.schema} and h.table_name = ${materialization.name}`
}

interface RangeRow {
  readonly low: string
  readonly high: string
}

/** The whole buckets within a range that are not up to date; ranges that touch are one. `except`: what is left out. */
export async function readInvalidRanges(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  range: InternalRange,
  except: Sql = sql`false`,
): Promise<InternalRange[]> {
  return readChanges(session, aggregate, buckets, range, sql`i.high`, except)
}

/**
 * The same as a refresh of the range takes it. Where the server has to ask the calendar, it takes the instant after what
 * has changed for changed too (2.23), and so the next bucket.
 */
export async function readRefreshRanges(
  session: Session,
  aggregate: ContinuousAggregate,
  frame: BucketSql,
  range: InternalRange,
): Promise<InternalRange[]> {
  const last = sql`least(i.high, ${String(range.high - 1n)}::bigint)`
  const after = sql`_timescaledb_functions.time_to_internal(${bucketFromSql(frame, frame.fromInternal(last))})`
  return readChanges(session, aggregate, frame, range, frame.isFixed ? sql`i.high` : after, sql`false`)
}

async function readChanges(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  { low, high }: InternalRange,
  highest: Sql,
  except: Sql,
): Promise<InternalRange[]> {
  if (low >= high) return []
  const first = buckets.start(buckets.fromInternal(sql`greatest(i.low, ${String(low)}::bigint)`))
  const last = buckets.start(buckets.fromInternal(sql`least(i.highest, ${String(high - 1n)}::bigint)`))
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const { rows } = await session.query<RangeRow>(sql`
    select ${internal}(${first})::text as low, ${internal}(${buckets.end(last)})::text as high
    from (select i.*, ${highest} as highest from (${invalidationSql(aggregate)}) i) i
    where i.low < ${String(high)}::bigint and i.highest >= ${String(low)}::bigint and not (${except})`)
  return mergeRanges(rows.map((row) => ({ low: BigInt(row.low), high: BigInt(row.high) })))
}

/** The buckets by which the server most likely cuts the window of a refresh. */
export function frameOf(buckets: BucketSql): BucketSql {
  return buckets.isFrameKnown ? (buckets.frame ?? buckets) : buckets
}

/** The buckets that a refresh makes anew of ranges of its frame; a range may become empty. */
export async function toRefreshedBuckets(
  session: Session,
  buckets: BucketSql,
  ranges: readonly InternalRange[],
): Promise<InternalRange[]> {
  const frame = frameOf(buckets)
  if ((frame === buckets && buckets.isFixed) || ranges.length === 0) return [...ranges]
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const [low, high] = [buckets.fromInternal(sql`r.low`), buckets.fromInternal(sql`r.high`)]
  const first = buckets.isFixed ? buckets.start(low) : bucketFromSql(buckets, frame.start(low))
  const end = bucketFromSql(buckets, bucketFromSql(frame, high))
  const { rows } = await session.query<RangeRow>(sql`
    select ${internal}(${first})::text as low, ${internal}(${end})::text as high
    from unnest(${ranges.map((range) => String(range.low))}::bigint[], ${ranges.map((range) => String(range.high))}::bigint[])
      as r(low, high)`)
  return mergeRanges(rows.map((row) => ({ low: BigInt(row.low), high: BigInt(row.high) })))
}

/** The start of the first bucket that begins at a time or after it. */
export function bucketFromSql(buckets: Pick<BucketSql, 'start' | 'end'>, time: Sql): Sql {
  const start = buckets.start(time)
  return sql`case when ${start} = ${time} then ${time} else ${buckets.end(start)} end`
}

/** Ranges in their order; those that overlap or touch are one. */
export function mergeRanges(ranges: readonly InternalRange[]): InternalRange[] {
  const merged: { low: bigint; high: bigint }[] = []
  for (const range of [...ranges].sort((left, right) => Number(left.low - right.low))) {
    const last = merged.at(-1)
    if (last === undefined || range.low > last.high) merged.push({ ...range })
    else if (range.high > last.high) last.high = range.high
  }
  return merged
}

/** The ranges in which the aggregate's source has rows, each from the first to the last bucket that has one. */
export async function withRows(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  ranges: readonly InternalRange[],
): Promise<InternalRange[]> {
  const [time] = await listDimensions(session, aggregate.sourceStorage)
  // A uuid has no order with a time.
  if (time === undefined || time.columnType === 'uuid') return [...ranges]
  if (ranges.length === 0) return []
  const column = sql`s.${sql.column(time.column)}`
  const [low, high] = [buckets.fromInternal(sql`r.low`), buckets.fromInternal(sql`r.high`)]
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const { rows } = await session.query<RangeRow>(sql`
    select ${internal}(${buckets.start(sql`f.first`)})::text as low,
      ${internal}(${buckets.end(buckets.start(sql`f.last`))})::text as high
    from unnest(${ranges.map((range) => String(range.low))}::bigint[], ${ranges.map((range) => String(range.high))}::bigint[])
      as r(low, high)
    cross join lateral (
      select min(${column}) as first, max(${column}) as last from ${sql.name(aggregate.sourceStorage)} s
      where ${column} >= ${low} and ${column} < ${high}
    ) f
    where f.first is not null
    order by r.low`)
  return rows.map((row) => ({ low: BigInt(row.low), high: BigInt(row.high) }))
}

/** What the aggregate has not taken up as it is now of its source's rows before a time, as whole buckets. */
export async function readStaleRanges(
  session: Session,
  aggregate: ContinuousAggregate,
  before: bigint,
): Promise<InternalRange[]> {
  const { schema, name } = aggregate.sourceStorage
  const edge = 'coalesce(c.range_start_integer, _timescaledb_functions.time_to_internal(c.range_start))'
  const { rows } = await session.query<{ low: string | null }>(sql`
    select min(${sql.raw(edge)})::text as low from timescaledb_information.chunks c
    where c.hypertable_schema = ${schema} and c.hypertable_name = ${name}`)
  const low = rows[0]?.low ?? undefined
  if (low === undefined) return []
  const buckets = await readBucketSql(session, aggregate)
  const firstEnd = buckets.end(buckets.start(buckets.fromInternal(sql`${low}::bigint`)))
  // Dropping a chunk is written down with the first instant of the next one, which has not changed.
  const dropped = sql`i.low < ${low}::bigint and i.high < _timescaledb_functions.time_to_internal(${firstEnd})`
  const invalid = await readInvalidRanges(session, aggregate, buckets, { low: BigInt(low), high: before }, dropped)
  return withRows(session, aggregate, buckets, invalid)
}

/** What a value without an order or equality, such as json, makes of a comparison. */
const NO_OPERATOR = '42883'

/**
 * The buckets within ranges whose rows are not in the aggregate as they are now; ranges that touch are one. The server
 * writes down what one transaction has changed as one range, from the first row to the last: what lies between may be
 * up to date. Makes the aggregate's rows of these ranges anew to compare them.
 */
export async function readDifferences(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  ranges: readonly InternalRange[],
): Promise<readonly InternalRange[]> {
  const [first, last] = [ranges[0], ranges.at(-1)]
  if (first === undefined || last === undefined) return []
  const { bucketColumn, materialization, definition } = aggregate
  const names = (await listColumns(session, aggregate)).map(({ name }) => sql.column(name))
  const bucket = sql`v.${sql.column(bucketColumn)}`
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const [low, high] = [first.low, last.high].map((edge) => buckets.fromInternal(sql`${String(edge)}::bigint`))
  // The outer edges, which the planner understands, keep other chunks out.
  const where = sql`${bucket} >= ${low} and ${bucket} < ${high} and ${isWithin(aggregate, bucket, ranges)}`
  const rowsOf = (source: Sql): Sql => sql`select ${sql.join(names)} from ${source} v where ${where}`
  const statement = sql`
    select distinct ${internal}(${bucket})::text as low, ${internal}(${buckets.end(bucket)})::text as high
    from (
      ${rowsOf(sql`(${sql.raw(definition.replace(/;\s*$/, ''))})`)} except ${rowsOf(sql.name(materialization))}
    ) v`
  try {
    const { rows } = await session.query<RangeRow>(statement)
    return mergeRanges(rows.map((row) => ({ low: BigInt(row.low), high: BigInt(row.high) })))
  } catch (error) {
    if (error instanceof QueryError && error.sqlState === NO_OPERATOR) return ranges
    throw error
  }
}

/** True for a time of a continuous aggregate in one of the ranges. */
export function isWithin(aggregate: ContinuousAggregate, time: Sql, ranges: readonly InternalRange[]): Sql {
  const value = (internal: Sql): Sql => fromInternalSql(aggregate.bucketColumnType, internal)
  return sql`exists (
    select from unnest(${ranges.map(({ low }) => String(low))}::bigint[], ${ranges.map(({ high }) => String(high))}::bigint[])
      as r(low, high)
    where ${time} >= ${value(sql`r.low`)} and ${time} < ${value(sql`r.high`)})`
}

/** A time in the server's own counting as callers see it: a Date, or a bigint for an integer time column. */
export function toTime(columnType: string, internal: bigint): Date | bigint {
  return isIntegerTime(columnType) ? internal : new Date(Number(internal / 1000n))
}
