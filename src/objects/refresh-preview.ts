import { can, readCapabilities } from '../catalog/capabilities.ts'
import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { type Dimension, isIntegerTime, listDimensions } from '../catalog/dimension.ts'
import {
  type BucketSql,
  bucketFromSql,
  frameOf,
  fromInternalSql,
  hypertableInvalidationSql,
  type InternalRange,
  isWithin,
  materializationInvalidationSql,
  mergeRanges,
  readBucketSql,
  readRefreshRanges,
  toRefreshedBuckets,
  toTime,
} from '../catalog/invalidation.ts'
import type { Session } from '../connection/session.ts'
import { type Sql, sql } from '../sql/template.ts'
import { readLoss } from './refresh-loss.ts'

/** From `start` up to, not including, `end`; bigints for an integer time column. */
export interface TimeRange {
  readonly start: Date | bigint
  readonly end: Date | bigint
}

/** What the next run of a refresh policy would do. */
export interface RefreshPreview {
  /** The whole buckets between the policy's offsets; undefined where the window is open. */
  readonly windowStart: Date | bigint | undefined
  readonly windowEnd: Date | bigint | undefined
  /** What would be made anew: whole buckets, also those without rows. Empty where the aggregate is up to date. */
  readonly ranges: readonly TimeRange[]
  /** Buckets that would be written. */
  readonly buckets: number
  /** Materialized buckets that would be deleted or falsified because the rows they were made from were dropped. */
  readonly bucketsLost: number
}

/** What {@link previewRefresh} needs to know of a policy. */
export interface RefreshRun {
  readonly config: Readonly<Record<string, unknown>>
  /** Those of the aggregate's other refresh policies. */
  readonly otherConfigs: readonly Readonly<Record<string, unknown>>[]
  /** When it runs, as SQL of type timestamptz. */
  readonly at: Sql
  /** The time of an integer column then, as SQL. */
  readonly integerNow: Sql | undefined
  /** False: what is materialized now is counted instead of what would be. */
  readonly exact: boolean
}

interface WindowRow {
  readonly low: string | null
  readonly high: string | null
  readonly innerHigh: string | null
  readonly threshold: string | null
  readonly dataEnd: string | null
  readonly oldest: string | null
  readonly newest: string | null
  readonly firstBatch: string | null
  readonly lastBatch: string | null
  readonly width: string | null
  readonly maxRanges: number
}

interface Window {
  readonly low: bigint | undefined
  readonly high: bigint | undefined
  /** What there is to refresh, at most. */
  readonly reach: InternalRange
  /** The window as far as there are chunks, which the server cuts into batches. */
  readonly batched: InternalRange
  /** The length of a bucket. */
  readonly width: bigint
  /** How far every batch goes beyond its end: a bucket, or 0. */
  readonly extra: bigint
  /** More ranges than this are refreshed as one. */
  readonly maxRanges: number
}

/** What a refresh policy would do; `rows` are those of the aggregate that would be written. */
export async function previewRefresh(
  session: Session,
  aggregate: ContinuousAggregate,
  run: RefreshRun,
): Promise<RefreshPreview & { readonly rows: number; readonly reach: readonly InternalRange[] }> {
  const buckets = await readBucketSql(session, aggregate)
  const frame = frameOf(buckets)
  const window = await readWindow(session, aggregate, frame, run)
  const invalid = window === undefined ? [] : await readRefreshRanges(session, aggregate, frame, window.reach)
  const batches = window === undefined ? [] : await toBatches(session, aggregate, window, run.config, invalid)
  const refreshed = await toRefreshedBuckets(session, buckets, batches)
  const ranges = refreshed.filter(({ low, high }) => low < high)
  const [edges] = await toRefreshedBuckets(session, buckets, windowRange(window))
  const { rows, count } = await countRows(session, aggregate, ranges, run.exact)
  const bucket = sql`m.${sql.column(aggregate.bucketColumn)}`
  const within = isWithin(aggregate, bucket, ranges)
  const loss = ranges.length === 0 ? undefined : await readLoss(session, aggregate, buckets, within)
  const toEdge = (internal: bigint | undefined): Date | bigint | undefined =>
    internal === undefined ? undefined : toTime(aggregate.bucketColumnType, internal)
  return {
    windowStart: toEdge(window?.low === undefined ? undefined : edges?.low),
    windowEnd: toEdge(window?.high === undefined ? undefined : edges?.high),
    ranges: ranges.map((range) => toTimeRange(aggregate.bucketColumnType, range)),
    buckets: count,
    rows,
    bucketsLost: loss?.buckets ?? 0,
    reach: ranges,
  }
}

/** The window as a range: empty at its only edge where the other one is open. */
function windowRange(window: Window | undefined): InternalRange[] {
  const [low, high] = [window?.low ?? window?.high, window?.high ?? window?.low]
  return low === undefined || high === undefined ? [] : [{ low, high }]
}

/** A range of the server's own counting as callers see it. */
export function toTimeRange(columnType: string, { low, high }: InternalRange): TimeRange {
  return { start: toTime(columnType, low), end: toTime(columnType, high) }
}

/** A policy's offset before a time, as a value of the time column. */
export function beforeSql(columnType: string, at: Sql, integerNow: Sql | undefined, offset: string): Sql {
  if (isIntegerTime(columnType)) {
    return sql`((${integerNow ?? sql.raw('0')}) - ${offset}::bigint)::${sql.raw(columnType)}`
  }
  if (columnType === 'timestamp without time zone') return sql`(${at}::timestamp - ${offset}::interval)`
  if (columnType === 'date') return sql`(${at}::timestamp - ${offset}::interval)::date`
  return sql`(${at} - ${offset}::interval)`
}

async function readWindow(
  session: Session,
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  run: RefreshRun,
): Promise<Window | undefined> {
  const type = aggregate.bucketColumnType
  const [time] = await listDimensions(session, aggregate.sourceStorage)
  const offset = (key: string, config = run.config): Sql | undefined => {
    const text = config[key]
    return text === undefined || text === null ? undefined : beforeSql(type, run.at, run.integerNow, String(text))
  }
  const otherEnds = run.otherConfigs.map((config) => offset('end_offset', config))
  const { rows } = await session.query<WindowRow>(windowSql(aggregate, buckets, time, offset, otherEnds))
  const row = rows[0]
  if (row === undefined || row.oldest === null || row.newest === null) return undefined
  const edge = (text: string | null): bigint | undefined => (text === null ? undefined : BigInt(text))
  const [low, high] = [edge(row.low), edge(row.high)]
  const [oldest, newest] = [BigInt(row.oldest), BigInt(row.newest)]
  const open = max(edge(row.threshold) ?? oldest, edge(row.dataEnd) ?? oldest)
  const end = high ?? open
  const reach = { low: low === undefined ? oldest : max(low, oldest), high: end < newest ? end : newest }
  // What a window takes more than its own is not looked at where it is cut into batches.
  const inner = edge(row.innerHigh)
  const batched = { low: low ?? edge(row.firstBatch) ?? reach.low, high: inner ?? edge(row.lastBatch) ?? reach.high }
  const extra = (high ?? 0n) - (inner ?? 0n)
  return { low, high, reach, batched, width: BigInt(row.width ?? 1), extra, maxRanges: row.maxRanges }
}

/**
 * The window's edges are moved inwards to whole buckets, as the server does. Where another policy's window is later (an
 * end that is undefined is open), it takes one bucket more (2.23), so that none is left between the two.
 */
function windowSql(
  aggregate: ContinuousAggregate,
  buckets: BucketSql,
  time: Dimension | undefined,
  offset: (key: string) => Sql | undefined,
  otherEnds: readonly (Sql | undefined)[],
): Sql {
  const { bucketColumn, bucketColumnType: type, materialization, sourceStorage: source } = aggregate
  const [from, to] = [offset('start_offset'), offset('end_offset')]
  const internal = (value: Sql): Sql => sql`_timescaledb_functions.time_to_internal(${value})`
  const open = sql.raw('null::bigint')
  const none = sql`null::${sql.raw(type)}`
  const inwards = (value: Sql): Sql => bucketFromSql(buckets, value)
  const chunk = (edge: string): Sql => buckets.fromInternal(sql.raw(edge))
  const newest = time === undefined || time.columnType === 'uuid' ? none : sql`max(s.${sql.column(time.column)})`
  const edge = (name: string): Sql =>
    sql.raw(`coalesce(c.range_${name}_integer, _timescaledb_functions.time_to_internal(c.range_${name}))`)
  const later = otherEnds.map((other) => (other === undefined ? sql.raw('true') : sql`${other} > t.highest`))
  const isBefore = later.reduce((any, one) => sql`${any} or ${one}`, sql.raw('false'))
  const last = buckets.start(sql`t.highest`)
  const end = sql`case when ${isBefore} then ${buckets.end(last)} else ${last} end`
  return sql`
    with t as (select ${from ?? none} as lowest, ${to ?? none} as highest
    ), d as (select ${newest} as newest from ${sql.name(source)} s
    ), m as (
      select ${internal(sql`min(${sql.column(bucketColumn)})`)} as low,
        ${internal(buckets.end(sql`max(${sql.column(bucketColumn)})`))} as high
      from ${sql.name(materialization)}
    ), k as (
      select min(${edge('start')}) as low, max(${edge('end')}) as high from timescaledb_information.chunks c
      where c.hypertable_schema = ${source.schema} and c.hypertable_name = ${source.name}
    )
    select
      ${from === undefined ? open : internal(inwards(sql`t.lowest`))}::text as low,
      ${to === undefined ? open : internal(end)}::text as high,
      ${to === undefined ? open : internal(last)}::text as "innerHigh",
      (select x.watermark::text from _timescaledb_catalog.continuous_aggs_invalidation_threshold x
        join _timescaledb_catalog.hypertable h on h.id = x.hypertable_id
        where h.schema_name = ${source.schema} and h.table_name = ${source.name}) as threshold,
      ${internal(buckets.end(buckets.start(sql`d.newest`)))}::text as "dataEnd",
      ${internal(inwards(chunk('k.low')))}::text as "firstBatch", ${internal(buckets.start(chunk('k.high')))}::text as "lastBatch",
      ${internal(buckets.start(chunk('least(k.low, m.low)')))}::text as oldest, greatest(k.high, m.high)::text as newest,
      (${widthSql(aggregate, buckets)})::text as width,
      coalesce(current_setting('timescaledb.materializations_per_refresh_window', true)::int, 10) as "maxRanges"
    from t, d, m, k`
}

/** The length of a bucket as the server counts it for batches: a month has 30 days. */
function widthSql({ bucketColumnType: type, bucketInterval }: ContinuousAggregate, buckets: BucketSql): Sql {
  if (bucketInterval !== undefined && /mon|year/.test(bucketInterval)) {
    const part = (name: string): Sql => sql`extract(${sql.raw(name)} from ${sql.literal(bucketInterval)}::interval)`
    return sql`((${part('year')} * 12 + ${part('month')}) * 30 * ${sql.raw(String(86_400_000_000n))})::bigint`
  }
  const first = buckets.start(fromInternalSql(type, sql.raw('0::bigint')))
  const internal = sql.raw('_timescaledb_functions.time_to_internal')
  return sql`${internal}(${buckets.end(first)}) - ${internal}(${first})`
}

const max = (left: bigint, right: bigint): bigint => (left > right ? left : right)
const min = (left: bigint, right: bigint): bigint => (left < right ? left : right)

/** What of the invalid ranges one run refreshes, and what it refreshes with them. */
async function toBatches(
  session: Session,
  aggregate: ContinuousAggregate,
  window: Window,
  config: Readonly<Record<string, unknown>>,
  invalid: readonly InternalRange[],
): Promise<InternalRange[]> {
  const atOnce = (ranges: readonly InternalRange[]): InternalRange[] => {
    const [first, last] = [ranges[0], ranges.at(-1)]
    if (first === undefined || last === undefined || ranges.length <= window.maxRanges) return [...ranges]
    return [{ low: first.low, high: last.high }]
  }
  const perBatch = await bucketsPerBatch(session, config)
  const batches = perBatch > 0 ? await listBatches(session, aggregate, window, BigInt(perBatch)) : []
  if (batches.length <= 1) return atOnce(invalid)
  if (config['refresh_newest_first'] !== false) batches.reverse()
  const most = Number(config['max_batches_per_execution'] ?? 0)
  const wanted = most > 0 ? batches.slice(0, most) : batches
  return mergeRanges(wanted.flatMap((batch) => atOnce(cut(invalid, batch))))
}

/** The server's default was 0 (all at once) until 2.19, 1 until 2.23, and is 10 since. */
async function bucketsPerBatch(session: Session, config: Readonly<Record<string, unknown>>): Promise<number> {
  const given = config['buckets_per_batch']
  if (typeof given === 'number') return given
  const capabilities = await readCapabilities(session)
  if (!can(capabilities, 'newest-first-refresh')) return 0
  const { major = 2, minor = 0 } = capabilities.timescaleVersion ?? {}
  return major > 2 || minor > 23 ? 10 : 1
}

/** The batches the server makes of a window: those in which there is both a chunk and something that changed. */
async function listBatches(
  session: Session,
  aggregate: ContinuousAggregate,
  { low, high, reach, batched, width, extra }: Window,
  perBatch: bigint,
): Promise<InternalRange[]> {
  const [start, end, size] = [batched.low, batched.high, width * perBatch]
  if (end - start <= size) return []
  const { sourceStorage: source } = aggregate
  const edge = (name: string): Sql =>
    sql.raw(`coalesce(c.range_${name}_integer, _timescaledb_functions.time_to_internal(c.range_${name}))`)
  const { rows } = await session.query<{ low: string; high: string }>(sql`
    with b as (
      select low, least(low::numeric + ${String(size)}::bigint, ${String(end)}::bigint)::bigint as high
      from generate_series(${String(start)}::bigint, ${String(end - 1n)}::bigint, ${String(size)}::bigint) low
    ), i as (${looselyInvalidSql(aggregate)})
    select b.low::text as low, b.high::text as high from b
    where exists (
      select from timescaledb_information.chunks c
      where c.hypertable_schema = ${source.schema} and c.hypertable_name = ${source.name}
        and ${edge('start')} < b.high and ${edge('end')} > b.low
    ) and exists (select from i where i.low < b.high and i.high > b.low and i.high > i.low)
    order by b.low`)
  const batches = rows.map((row) => ({ low: BigInt(row.low), high: BigInt(row.high) }))
  return batches.map((batch, index) => ({
    low: index === 0 && low === undefined ? reach.low : batch.low,
    high: index === batches.length - 1 && high === undefined ? reach.high : batch.high + extra,
  }))
}

/**
 * What the server takes as changed where it makes batches: all that was written to the hypertable is one range there,
 * from the first change to the last, and the last instant of a range does not count.
 */
function looselyInvalidSql(aggregate: ContinuousAggregate): Sql {
  return sql`
    select min(l.low) as low, max(l.high) as high from (${hypertableInvalidationSql(aggregate)}) l where l.high >= l.low
    union all
    select l.low, l.high from (${materializationInvalidationSql(aggregate)}) l`
}

/** The parts of the ranges within another one. */
function cut(ranges: readonly InternalRange[], { low, high }: InternalRange): InternalRange[] {
  return ranges
    .map((range) => ({ low: max(range.low, low), high: min(range.high, high) }))
    .filter((range) => range.low < range.high)
}

async function countRows(
  session: Session,
  aggregate: ContinuousAggregate,
  ranges: readonly InternalRange[],
  exact: boolean,
): Promise<{ readonly rows: number; readonly count: number }> {
  const [first, last] = [ranges[0], ranges.at(-1)]
  if (first === undefined || last === undefined) return { rows: 0, count: 0 }
  const bucket = sql`v.${sql.column(aggregate.bucketColumn)}`
  const value = (internal: bigint): Sql => fromInternalSql(aggregate.bucketColumnType, sql`${String(internal)}::bigint`)
  const source = exact
    ? sql`(${sql.raw(aggregate.definition.replace(/;\s*$/, ''))})`
    : sql.name(aggregate.materialization)
  const { rows } = await session.query<{ rows: number; count: number }>(sql`
    select count(*) as rows, count(distinct ${bucket}) as count from ${source} v
    where ${bucket} >= ${value(first.low)} and ${bucket} < ${value(last.high)} and ${isWithin(aggregate, bucket, ranges)}`)
  return rows[0] ?? { rows: 0, count: 0 }
}
