import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { isIntegerTime } from '../catalog/dimension.ts'
import { type BucketSql, bucketFromSql, readBucketSql, toTime } from '../catalog/invalidation.ts'
import type { Session } from '../connection/session.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { requirePositive, requireSpanKind, type Span, spanSql } from './span.ts'

/** A part of a window; a side left out is open. */
export interface RefreshWindow {
  readonly startTime?: TimeInput
  readonly endTime?: TimeInput
}

/**
 * A window in parts, oldest first, that meet where a bucket begins. Newest first, an aggregate that adds what is newer than
 * its last bucket would show nothing of what is not refreshed yet.
 */
export async function splitWindow(
  session: Session,
  aggregate: ContinuousAggregate,
  { startTime, endTime, timeType }: RefreshWindow & { readonly timeType: TimeType },
  batch: Span,
): Promise<RefreshWindow[]> {
  requirePositive('batch', batch)
  requireSpanKind('batch', batch, aggregate.bucketColumnType)
  const buckets = await readBucketSql(session, aggregate)
  const frame = buckets.frame ?? buckets
  const [from, to] = [startTime, endTime].map((time) => (time === undefined ? undefined : timeSql(time, timeType)))
  const { rows } = await session.query<{ edge: string; next: string }>(edgesSql(aggregate, frame, from, to, batch))
  const time = (internal: string): Date | bigint => toTime(aggregate.bucketColumnType, BigInt(internal))
  // Where it is not known how the server cuts, a bucket over an edge must be whole in one of the parts.
  const isSure = buckets.frame === undefined || buckets.isFrameKnown
  const starts = rows.map(({ edge }) => ({ startTime: time(edge) }))
  const ends = rows.map(({ edge, next }) => ({ endTime: time(isSure ? edge : next) }))
  const first = startTime === undefined ? {} : { startTime }
  const last = endTime === undefined ? {} : { endTime }
  return [first, ...starts].map((start, index) => ({ ...start, ...(ends[index] ?? last) }))
}

/** Where the parts meet: the starts of buckets within the window, as far as there are chunks. Each part holds a bucket. */
function edgesSql(
  { bucketColumnType: type, sourceStorage: source }: ContinuousAggregate,
  frame: BucketSql,
  from: Sql | undefined,
  to: Sql | undefined,
  batch: Span,
): Sql {
  const isInteger = isIntegerTime(type)
  const series = sql.raw(isInteger ? 'bigint' : type === 'date' ? 'timestamp' : type)
  const edge = (name: string): Sql =>
    frame.fromInternal(
      sql.raw(`coalesce(c.range_${name}_integer, _timescaledb_functions.time_to_internal(c.range_${name}))`),
    )
  const step = isInteger ? sql`${spanSql(batch, 'bigint')}` : spanSql(batch)
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  const start = frame.start(sql`e.at::${sql.raw(type)}`)
  return sql`
    with c as (
      select greatest(min(${edge('start')}), ${from === undefined ? sql.raw('null') : bucketFromSql(frame, from)}) as low,
        least(max(${edge('end')}), ${to === undefined ? sql.raw('null') : frame.start(to)}) as high
      from timescaledb_information.chunks c
      where c.hypertable_schema = ${source.schema} and c.hypertable_name = ${source.name}
    ), e as (
      select distinct ${start} as edge, c.low, c.high
      from c cross join lateral generate_series(c.low::${series} + ${step}, c.high::${series}, ${step}) e(at)
    )
    select ${internal}(edge)::text as edge, ${internal}(${frame.end(sql`edge`)})::text as next
    from e where edge > low and edge < high order by edge`
}
