import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { type Dimension, isIntegerTime, listDimensions } from '../catalog/dimension.ts'
import { type BucketSql, bucketFromSql, readBucketSql } from '../catalog/invalidation.ts'
import type { RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { PlanError } from '../errors.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { formatTimestamp } from '../sql/timestamp.ts'

/** A window that is about to be refreshed. */
interface Window {
  readonly startTime?: TimeInput
  readonly endTime?: TimeInput
  readonly force?: boolean
  readonly signal?: AbortSignal
  readonly timeType: TimeType
}

/** The materialized buckets that a refresh would lose; times in the server's own counting. */
export interface LossRow {
  readonly buckets: number
  readonly first: string | null
  readonly last: string | null
  readonly safeStart: string | null
}

/**
 * Refuses a refresh that would delete or falsify materialized buckets because their raw data was dropped.
 * @throws PlanError DATA_LOSS_REFUSED
 */
export async function refuseLoss(session: Session, aggregate: ContinuousAggregate, window: Window): Promise<void> {
  const buckets = await readBucketSql(session, aggregate)
  const row = await readLoss(session, aggregate, buckets, refreshedSql(aggregate, buckets, window), window)
  if (row.buckets === 0) return
  const [first, last, safeStart] = [row.first, row.last, row.safeStart].map((time) => formatTime(aggregate, time))
  const range = row.buckets === 1 ? `the bucket ${first}` : `${row.buckets} buckets from ${first} to ${last}`
  const safe = safeStart === '' ? 'Give ' : `Give startTime: ${safeStart} or later, or `
  throw new PlanError(
    'DATA_LOSS_REFUSED',
    `Refreshing ${formatName(aggregate)} would lose ${range}: the raw data they were made from is gone.`,
    { hint: `${safe}allowLoss: true to lose them.` },
  )
}

/** True for a bucket that a refresh of the window makes anew, or may make anew where that is not known for sure. */
function refreshedSql(aggregate: ContinuousAggregate, buckets: BucketSql, window: Window): Sql {
  const { startTime, endTime, timeType } = window
  const bucket = sql`m.${sql.column(aggregate.bucketColumn)}`
  const [from, to] = [startTime, endTime].map((time) => (time === undefined ? undefined : timeSql(time, timeType)))
  const both = (low: Sql | undefined, high: Sql | undefined): Sql => sql`(${low ?? sql`true`} and ${high ?? sql`true`})`
  const end = buckets.end(bucket)
  const whole = both(from && sql`${bucket} >= ${from}`, to && sql`${end} <= ${to}`)
  if (buckets.frame === undefined) return whole
  const { first, last } = frameEdges(aggregate, buckets.frame, from, to)
  // Buckets of one length are taken where they overlap the window, others where they begin in it.
  const low = first && (buckets.isFixed ? sql`${end} > ${first}` : sql`${bucket} >= ${first}`)
  const framed = both(low, last && sql`${bucket} < ${last}`)
  return buckets.isFrameKnown ? framed : sql`(${framed} or ${whole})`
}

/** The window as the server cuts it. Numbers are counted without a type that has an end. */
function frameEdges(
  { bucketColumnType, bucketInterval = '1' }: ContinuousAggregate,
  frame: BucketSql,
  from: Sql | undefined,
  to: Sql | undefined,
): { readonly first: Sql | undefined; readonly last: Sql | undefined } {
  if (!isIntegerTime(bucketColumnType))
    return { first: from && bucketFromSql(frame, from), last: to && frame.start(to) }
  const width = sql`${sql.literal(bucketInterval)}::numeric`
  return {
    first: from && sql`ceil(${from} / ${width}) * ${width}`,
    last: to && sql`floor(${to} / ${width}) * ${width}`,
  }
}

/**
 * What a refresh of the materialized buckets would lose for which `where` is true; `m` stands for the materialization.
 */
export async function readLoss(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  where: Sql,
  { force = false, signal }: { readonly force?: boolean; readonly signal?: AbortSignal } = {},
): Promise<LossRow> {
  const [time] = await listDimensions(session, aggregate.sourceStorage)
  const statement = lossSql(aggregate, buckets, time, where, force)
  const { rows } = await session.query<LossRow>(statement, signal === undefined ? {} : { signal })
  return rows[0] ?? { buckets: 0, first: null, last: null, safeStart: null }
}

/** A time of the server's own counting as one writes it in a call. */
function formatTime(aggregate: ContinuousAggregate, internal: string | null): string {
  if (internal === null) return ''
  if (isIntegerTime(aggregate.bucketColumnType)) return internal
  return `'${formatTimestamp(BigInt(internal), { zone: aggregate.bucketColumnType === 'timestamp with time zone' })}'`
}

/** Counts the materialized buckets among these that the refresh would make anew from chunks that no longer exist. */
function lossSql(
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  time: Dimension | undefined,
  where: Sql,
  force: boolean,
): Sql {
  const bucket = sql`m.${sql.column(aggregate.bucketColumn)}`
  const end = buckets.end(bucket)
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  return sql`
    with ${rangesSql(aggregate)}, bucket as materialized (
      select distinct ${bucket} as starts, ${end} as ends, ${internal}(${bucket}) as low, ${internal}(${end}) as high
      from ${sql.name(aggregate.materialization)} m
      where ${where}
    ), lost as (
      select b.low from bucket b cross join oldest o where ${isLost(aggregate, time, force)}
    )
    select count(*)::int as buckets, min(low)::text as first, max(low)::text as last,
      (select min(b.low)::text from bucket b where b.low > (select max(low) from lost)) as "safeStart"
    from lost`
}

/**
 * The chunks of the source and what has changed in it since the last refresh. The server keeps all times as bigint:
 * microseconds since 1970, or the value itself for integers.
 */
function rangesSql({ source, sourceStorage, materialization }: ContinuousAggregate): Sql {
  // What an aggregate below has refreshed is written down in whole buckets, whether they have rows or not.
  const exact = sql.literal(source.schema === sourceStorage.schema && source.name === sourceStorage.name)
  const edge = (column: string): Sql =>
    sql.raw(`coalesce(c.range_${column}_integer, _timescaledb_functions.time_to_internal(c.range_${column}))`)
  return sql`chunk as materialized (
      select ${edge('start')} as low, ${edge('end')} as high
      from timescaledb_information.chunks c
      where c.hypertable_schema = ${sourceStorage.schema} and c.hypertable_name = ${sourceStorage.name}
    ), oldest as materialized (select min(low) as low from chunk
    ), invalid as materialized (
      select l.lowest_modified_value as low, l.greatest_modified_value as high, ${exact} as exact
      from _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log l
      join _timescaledb_catalog.hypertable h on h.id = l.hypertable_id
      where h.schema_name = ${sourceStorage.schema} and h.table_name = ${sourceStorage.name}
      union all
      select l.lowest_modified_value, l.greatest_modified_value, false
      from _timescaledb_catalog.continuous_aggs_materialization_invalidation_log l
      join _timescaledb_catalog.hypertable h on h.id = l.materialization_id
      where h.schema_name = ${materialization.schema} and h.table_name = ${materialization.name}
    )`
}

/**
 * True for a bucket that will be made anew, in four cases:
 * no chunk overlaps it;
 * it reaches below the oldest chunk and has changed there, as only dropping a chunk does to a materialized bucket;
 * something changed in it where no chunk is;
 * it has no row left, and a chunk of it has changed from end to end, which dropping does: a late row then makes the
 * chunk anew.
 * Rows deleted from a chunk that still exists are meant to disappear. The server writes down the first and the last of
 * them, which hardly ever are the ends of the chunk; the oldest row alone could not tell the two apart.
 */
function isLost(aggregate: ContinuousAggregate, time: Dimension | undefined, force: boolean): Sql {
  const changed = (from: Sql, to: Sql): Sql =>
    sql`exists (select from invalid i where i.low < ${to} and i.high >= ${from})`
  const remade = (from: Sql, to: Sql): Sql => (force ? sql`true` : changed(from, to))
  const whole = sql`exists (select from invalid i where i.low <= c.low and i.high >= c.high - 1)`
  const suspicious = force ? sql`(${whole} or not ${changed(sql`b.low`, sql`b.high`)})` : whole
  return sql`(
        not exists (select from chunk c where c.low < b.high and c.high > b.low)
        and ${remade(sql`b.low`, sql`b.high`)}
      ) or (b.low < o.low and b.high > o.low and ${remade(sql`b.low`, sql`o.low`)}
      ) or exists (
        select from invalid i where i.exact and i.low >= b.low and i.low < b.high
          and not exists (select from chunk c where c.low <= i.low and c.high > i.low)
      ) or (
        exists (select from chunk c where c.low < b.high and c.high > b.low and ${suspicious})
        and ${isEmpty(aggregate.sourceStorage, time)}
      )`
}

/** True where the source has no row of the bucket any more. */
function isEmpty(source: RelationName, time: Dimension | undefined): Sql {
  // A uuid has no order with a time.
  if (time === undefined || time.columnType === 'uuid') return sql`false`
  const column = sql`s.${sql.column(time.column)}`
  return sql`not exists (select from ${sql.name(source)} s where ${column} >= b.starts and ${column} < b.ends)`
}
