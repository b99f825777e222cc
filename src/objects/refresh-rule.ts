/** Refresh policies by which an aggregate shows wrong or old values. */
import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { isIntegerTime, timeTypeOf } from '../catalog/dimension.ts'
import { type InternalRange, readBucketSql, readDifferences, readStaleRanges } from '../catalog/invalidation.ts'
import type { Job } from '../catalog/job.ts'
import { formatName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { alterConfigSql, describeLength, describeTime, type PolicyFinding, type RuleContext } from './policy-finding.ts'
import {
  configSpan,
  type PolicyNode,
  roundUp,
  spanLengthAtLeast,
  spanLengthAtMost,
  toConfigSpan,
} from './policy-tree.ts'
import { refreshContinuousAggregateSql } from './refresh.ts'

/** The rules about one aggregate's refresh policies. */
export async function findStaleness(context: RuleContext, source: PolicyNode | undefined): Promise<PolicyFinding[]> {
  const { node } = context
  const { aggregate } = node
  if (aggregate === undefined || node.refreshes.length === 0) return []
  const findings: PolicyFinding[] = []
  for (const refresh of node.refreshes) {
    const end = configSpan(refresh, 'end_offset')
    if (end === undefined || spanLengthAtLeast(end) < 0n) findings.push(await openBucket(context, aggregate, refresh))
  }
  return [...findings, ...(await findUnreached(context, aggregate, source))]
}

/** A window that has no end takes the bucket that is still being filled. */
async function openBucket(
  { session, capabilities, node }: RuleContext,
  aggregate: ContinuousAggregate,
  refresh: Job,
): Promise<PolicyFinding> {
  const bucket = spanLengthAtMost(aggregate.bucketInterval ?? '0')
  const start = configSpan(refresh, 'start_offset')
  const isShort = start !== undefined && spanLengthAtLeast(start) < 3n * bucket
  const changes = { end_offset: toConfigSpan(node.columnType, bucket) }
  const longer = { start_offset: toConfigSpan(node.columnType, 3n * bucket) }
  const type = aggregate.bucketColumnType
  const { rows } = await session.query<{ last: string | null }>(sql`
    select _timescaledb_functions.time_to_internal(max(${sql.column(aggregate.bucketColumn)}))::text as last
    from ${sql.name(aggregate.materialization)}`)
  const last = rows[0]?.last ?? undefined
  const isOpen = last !== undefined && node.now !== undefined && BigInt(last) + bucket > node.now
  const newest =
    last === undefined
      ? 'Nothing is materialized yet'
      : `Its newest materialized bucket begins at ${describeTime(type, BigInt(last))}`
  return {
    rule: 'open-bucket-refreshed',
    severity: 'wrong',
    relation: { schema: aggregate.schema, name: aggregate.name },
    jobId: refresh.jobId,
    reason: `The refresh window of ${formatName(aggregate)} has no end before now: a bucket (${aggregate.bucketInterval}) is materialized while it is still being filled, and shows what it held then until the next refresh.`,
    evidence: `${newest}${isOpen ? ', and is not over' : ''}.`,
    fix: alterConfigSql(capabilities, refresh, isShort ? { ...changes, ...longer } : changes),
  }
}

/** Rows that no run of the policies will ever reach: they are older than the window. */
async function findUnreached(
  { session, capabilities, node }: RuleContext,
  aggregate: ContinuousAggregate,
  source: PolicyNode | undefined,
): Promise<PolicyFinding[]> {
  const starts = node.refreshes.map((refresh) => configSpan(refresh, 'start_offset'))
  const spans = starts.flatMap((start) => (start === undefined ? [] : [spanLengthAtLeast(start)]))
  const widest = node.refreshes[spans.indexOf(spans.reduce((left, right) => (left > right ? left : right), 0n))]
  if (spans.length < starts.length || widest === undefined || node.now === undefined) return []
  const window = spanLengthAtLeast(configSpan(widest, 'start_offset') ?? '0')
  const unreached = await readStaleRanges(session, aggregate, node.now - window)
  const first = await firstBucket({ session, capabilities, node }, aggregate)
  const isLate = ({ low }: InternalRange): boolean => first !== undefined && low >= first
  const buckets = await readBucketSql(session, aggregate)
  const late = await readDifferences(session, aggregate, buckets, unreached.filter(isLate))
  const never = unreached.filter((range) => !isLate(range))
  const { schema, name } = aggregate
  const own = { relation: { schema, name }, jobId: widest.jobId, severity: 'wrong' } as const
  const findings: PolicyFinding[] = []
  if (never.length > 0) {
    const range = hull(never)
    findings.push({
      ...own,
      rule: 'history-never-refreshed',
      reason: `The refresh policy of ${formatName(aggregate)} begins ${describeLength(node.columnType, window)} before each run; what is older was never materialized, and never will be.`,
      evidence: describeRange(node, range, aggregate),
      fix: refreshContinuousAggregateSql(capabilities, aggregate, {
        timeType: timeTypeOf(aggregate.bucketColumnType),
        startTime: toInput(node, range.low),
        endTime: toInput(node, range.high),
      }),
    })
  }
  if (late.length > 0) {
    const range = hull(late)
    // The next run is up to an interval away, and takes whole buckets only.
    const later = isIntegerTime(node.columnType) ? 0n : spanLengthAtMost(widest.scheduleInterval)
    const bucket = spanLengthAtMost(aggregate.bucketInterval ?? '0')
    const wanted = roundUp(node.columnType, node.now - range.low + bucket + later)
    const most = source?.retention === undefined ? undefined : configSpan(source.retention, 'drop_after')
    const isTooLong = most !== undefined && wanted > spanLengthAtLeast(most)
    findings.push({
      ...own,
      rule: 'late-data-not-refreshed',
      reason: `Rows arrive later than ${describeLength(node.columnType, window)}, where the refresh window of ${formatName(aggregate)} begins: their buckets stay as they were.`,
      evidence: describeRange(node, range, aggregate),
      fix: alterConfigSql(capabilities, widest, {
        start_offset: toConfigSpan(node.columnType, isTooLong ? spanLengthAtLeast(most) : wanted),
      }),
    })
  }
  return findings
}

async function firstBucket({ session }: RuleContext, aggregate: ContinuousAggregate): Promise<bigint | undefined> {
  const { rows } = await session.query<{ first: string | null }>(sql`
    select _timescaledb_functions.time_to_internal(min(${sql.column(aggregate.bucketColumn)}))::text as first
    from ${sql.name(aggregate.materialization)}`)
  const first = rows[0]?.first ?? undefined
  return first === undefined ? undefined : BigInt(first)
}

/** From the first to the last of ranges that are in their order. */
function hull(ranges: readonly InternalRange[]): InternalRange {
  return { low: ranges[0]?.low ?? 0n, high: ranges.at(-1)?.high ?? 0n }
}

function describeRange(
  { columnType }: PolicyNode,
  { low, high }: InternalRange,
  aggregate: ContinuousAggregate,
): string {
  const edge = (time: bigint): string => describeTime(columnType, time)
  return `${formatName(aggregate.source)} has rows between ${edge(low)} and ${edge(high)} that are not in it.`
}

const toInput = ({ columnType }: PolicyNode, internal: bigint): Date | bigint =>
  isIntegerTime(columnType) ? internal : new Date(Number(internal / 1000n))
