import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { isIntegerTime } from '../catalog/dimension.ts'
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
  readonly timeType: TimeType
}

interface LossRow {
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
  const { rows } = await session.query<LossRow>(lossSql(aggregate, window))
  const row = rows[0]
  if (row === undefined || row.buckets === 0) return
  const [first, last, safeStart] = [row.first, row.last, row.safeStart].map((time) => formatTime(aggregate, time))
  const range = row.buckets === 1 ? `the bucket ${first}` : `${row.buckets} buckets from ${first} to ${last}`
  const safe = safeStart === '' ? 'Give ' : `Give startTime: ${safeStart} or later, or `
  throw new PlanError(
    'DATA_LOSS_REFUSED',
    `Refreshing ${formatName(aggregate)} would lose ${range}: the raw data they were made from is gone.`,
    { hint: `${safe}allowLoss: true to lose them.` },
  )
}

/** A time of the server's own counting as one writes it in a call. */
function formatTime(aggregate: ContinuousAggregate, internal: string | null): string {
  if (internal === null) return ''
  if (isIntegerTime(aggregate.bucketColumnType)) return internal
  return `'${formatTimestamp(BigInt(internal), { zone: aggregate.bucketColumnType === 'timestamp with time zone' })}'`
}

/**
 * Counts the materialized buckets in the window that the refresh would make anew from chunks that no longer exist.
 *
 * A bucket counts when it lies in an invalidated range (or the refresh is forced) and no chunk of the source overlaps
 * it; or when it reaches below the oldest chunk and the part below is invalidated, which only dropping a chunk does to
 * a bucket that is materialized. Rows deleted from a chunk that still exists are meant to disappear.
 *
 * The server keeps all times as bigint: microseconds since 1970, or the value itself for integers. It widens nothing:
 * only buckets that lie wholly in the window are refreshed.
 */
function lossSql(aggregate: ContinuousAggregate, window: Window): Sql {
  const { materialization, sourceStorage } = aggregate
  const bucket = sql`m.${sql.column(aggregate.bucketColumn)}`
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const edges: Sql[] = []
  if (window.startTime !== undefined) edges.push(sql`${bucket} >= ${timeSql(window.startTime, window.timeType)}`)
  if (window.endTime !== undefined)
    edges.push(sql`${bucketEnd(aggregate, bucket)} <= ${timeSql(window.endTime, window.timeType)}`)
  const inWindow = edges.length === 0 ? sql`true` : sql.join(edges, ' and ')
  const invalid = (from: Sql, to: Sql): Sql =>
    window.force === true ? sql`true` : sql`exists (select from invalid i where i.low < ${to} and i.high >= ${from})`
  const chunk = (column: string): Sql =>
    sql.raw(`coalesce(c.range_${column}_integer, _timescaledb_functions.time_to_internal(c.range_${column}))`)
  return sql`
    with chunk as materialized (
      select ${chunk('start')} as low, ${chunk('end')} as high
      from timescaledb_information.chunks c
      where c.hypertable_schema = ${sourceStorage.schema} and c.hypertable_name = ${sourceStorage.name}
    ), oldest as materialized (select min(low) as low from chunk
    ), invalid as materialized (
      select l.lowest_modified_value as low, l.greatest_modified_value as high
      from _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log l
      join _timescaledb_catalog.hypertable h on h.id = l.hypertable_id
      where h.schema_name = ${sourceStorage.schema} and h.table_name = ${sourceStorage.name}
      union all
      select l.lowest_modified_value, l.greatest_modified_value
      from _timescaledb_catalog.continuous_aggs_materialization_invalidation_log l
      join _timescaledb_catalog.hypertable h on h.id = l.materialization_id
      where h.schema_name = ${materialization.schema} and h.table_name = ${materialization.name}
    ), bucket as materialized (
      select distinct ${internal}(${bucket}) as low, ${internal}(${bucketEnd(aggregate, bucket)}) as high
      from ${sql.name(materialization)} m
      where ${inWindow}
    ), lost as (
      select b.low from bucket b cross join oldest o
      where (not exists (select from chunk c where c.low < b.high and c.high > b.low) and ${invalid(sql`b.low`, sql`b.high`)})
        or (b.low < o.low and b.high > o.low and ${invalid(sql`b.low`, sql`o.low`)})
    )
    select count(*)::int as buckets, min(low)::text as first, max(low)::text as last,
      (select min(b.low)::text from bucket b where b.low > (select max(low) from lost)) as "safeStart"
    from lost`
}

/** Where a bucket ends. Days and months of a bucket with a time zone are counted in that zone. */
function bucketEnd(aggregate: ContinuousAggregate, bucket: Sql): Sql {
  const { bucketColumnType: type, bucketInterval: width, bucketTimezone: timezone } = aggregate
  if (width === undefined) return bucket
  if (isIntegerTime(type)) return sql`(${bucket} + ${sql.literal(BigInt(width))})`
  const span = sql`${sql.literal(width)}::interval`
  if (type !== 'timestamp with time zone') return sql`(${bucket} + ${span})::${sql.raw(type)}`
  const zone = sql.literal(timezone ?? 'UTC')
  return sql`((${bucket} at time zone ${zone} + ${span}) at time zone ${zone})`
}
