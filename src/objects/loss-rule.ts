/** Policies by which data is lost that nothing else keeps. */
import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { isIntegerTime, timeTypeOf } from '../catalog/dimension.ts'
import { fromInternalSql, readStaleRanges } from '../catalog/invalidation.ts'
import type { Job } from '../catalog/job.ts'
import type { Session } from '../connection/session.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { alterJobSql } from './job.ts'
import { alterConfigSql, describeLength, describeTime, type PolicyFinding, type RuleContext } from './policy-finding.ts'
import {
  configSpan,
  DAY,
  type PolicyNode,
  roundUp,
  spanLengthAtLeast,
  spanLengthAtMost,
  toConfigSpan,
  toOptionSpan,
} from './policy-tree.ts'
import { addContinuousAggregatePolicySql } from './refresh-policy.ts'

/** An aggregate over a relation whose old chunks are dropped by age. */
interface Edge extends RuleContext {
  readonly child: PolicyNode
  readonly aggregate: ContinuousAggregate
  readonly retention: Job
  /** `drop_after`, at least so long. */
  readonly dropAfter: bigint
  /** The length of the aggregate's bucket. */
  readonly bucket: bigint
}

/** The rules about a relation with a retention policy and the aggregates directly on it. */
export async function findLosses(context: RuleContext): Promise<PolicyFinding[]> {
  const { node } = context
  const text = node.retention === undefined ? undefined : configSpan(node.retention, 'drop_after')
  if (node.retention === undefined || text === undefined) return []
  const findings: PolicyFinding[] = []
  for (const child of node.children) {
    if (child.aggregate === undefined) continue
    const bucket = spanLengthAtMost(child.aggregate.bucketInterval ?? '0')
    const dropAfter = spanLengthAtLeast(text)
    const edge: Edge = { ...context, child, aggregate: child.aggregate, retention: node.retention, dropAfter, bucket }
    findings.push(...(child.refreshes.length === 0 ? await findUnrefreshed(edge) : await findContradictions(edge)))
  }
  return findings
}

async function findContradictions(edge: Edge): Promise<PolicyFinding[]> {
  const { child, dropAfter, bucket } = edge
  const findings: PolicyFinding[] = []
  for (const refresh of child.refreshes) {
    const start = configSpan(refresh, 'start_offset')
    const end = spanLengthAtMost(configSpan(refresh, 'end_offset') ?? '0')
    const late = end + bucket + interval(edge, refresh)
    if (dropAfter < late) findings.push(await tooEarly(edge, refresh, late))
    else if (start === undefined || spanLengthAtMost(start) > spanLengthAtMost(dropText(edge))) {
      findings.push(await erasing(edge, refresh, end))
    }
  }
  return findings
}

const dropText = ({ retention }: Edge): string => configSpan(retention, 'drop_after') ?? '0'

/** How long a bucket waits for the policy at most; an integer column has no time in common with the schedule. */
function interval({ child }: Edge, refresh: Job): bigint {
  return isIntegerTime(child.columnType) ? 0n : spanLengthAtMost(refresh.scheduleInterval)
}

/** A refresh whose window reaches below what retention leaves: it takes dropping for a change, and deletes buckets. */
async function erasing(edge: Edge, refresh: Job, end: bigint): Promise<PolicyFinding> {
  const { capabilities, node, aggregate, retention, dropAfter, bucket } = edge
  const start = configSpan(refresh, 'start_offset')
  const named = `${formatName(aggregate)} is refreshed ${start === undefined ? 'from its beginning' : `back to ${start}`}`
  // The server refuses a window of less than two buckets.
  const fits = dropAfter >= end + 2n * bucket || start === undefined
  const least = dropAfter > end + 2n * bucket ? dropText(edge) : toConfigSpan(node.columnType, end + 2n * bucket)
  return {
    rule: 'refresh-erases-history',
    severity: 'loss',
    relation: { schema: aggregate.schema, name: aggregate.name },
    jobId: refresh.jobId,
    reason: `${named}, but rows of ${formatName(node.relation)} are dropped after ${dropText(edge)}: a refresh deletes the buckets whose rows are gone.`,
    evidence: await endangered(edge, start),
    fix: fits
      ? alterConfigSql(capabilities, refresh, { start_offset: sameKind(node, least) })
      : alterConfigSql(capabilities, retention, { drop_after: sameKind(node, start) }),
  }
}

/** A span as the configuration has it: a number for an integer time column. */
function sameKind({ columnType }: PolicyNode, span: string | number): string | number {
  return isIntegerTime(columnType) ? Number(span) : span
}

/** The materialized buckets that are older than what retention leaves, and in the window. */
async function endangered({ session, node, aggregate, dropAfter }: Edge, start: string | undefined): Promise<string> {
  if (node.now === undefined) return 'The present time of the integer column is not known.'
  const value = (internal: bigint): Sql => fromInternalSql(aggregate.bucketColumnType, sql`${String(internal)}::bigint`)
  const column = sql.column(aggregate.bucketColumn)
  const from = start === undefined ? sql`true` : sql`${column} >= ${value(node.now - spanLengthAtMost(start))}`
  const { rows } = await session.query<{ count: number; first: string | null }>(sql`
    select count(distinct ${column}) as count, _timescaledb_functions.time_to_internal(min(${column}))::text as first
    from ${sql.name(aggregate.materialization)} where ${from} and ${column} < ${value(node.now - dropAfter)}`)
  const { count = 0, first = null } = rows[0] ?? {}
  if (first === null) return 'No bucket is that old yet.'
  const time = describeTime(aggregate.bucketColumnType, BigInt(first))
  return `${count} materialized buckets, from ${time} on, are older than that and would be deleted.`
}

/** Retention that takes rows before every bucket they belong to has been made. */
async function tooEarly(edge: Edge, refresh: Job, late: bigint): Promise<PolicyFinding> {
  const { capabilities, node, aggregate, retention } = edge
  const start = configSpan(refresh, 'start_offset')
  const window = start === undefined ? 0n : spanLengthAtMost(start)
  const needed = roundUp(node.columnType, window > late ? window : late)
  const width = aggregate.bucketInterval ?? '?'
  return {
    rule: 'retention-before-refresh',
    severity: 'loss',
    relation: { schema: aggregate.schema, name: aggregate.name },
    jobId: retention.jobId,
    reason: `Rows of ${formatName(node.relation)} are dropped after ${dropText(edge)}, but a bucket of ${formatName(aggregate)} (${width}) is made up to ${describeLength(node.columnType, late)} after its first row: it is made, or made again, from a part of its rows.`,
    evidence: await waiting(edge),
    fix: alterConfigSql(capabilities, retention, { drop_after: toConfigSpan(node.columnType, needed) }),
  }
}

/** What the aggregate has not taken up of its source, and what the chunks are like. */
async function waiting({ session, node, aggregate, dropAfter }: Edge): Promise<string> {
  const chunks = `A chunk of ${formatName(node.relation)} holds ${describeLength(node.columnType, node.chunkLength)}`
  if (node.now === undefined) return `${chunks}.`
  const [oldest] = await readStaleRanges(session, aggregate, node.now)
  if (oldest === undefined) return `${chunks}; nothing waits to be refreshed now.`
  const left = dropAfter - (node.now - oldest.low)
  const when = left > 0n ? `may be dropped in ${describeLength(node.columnType, left)}` : 'may be dropped at any time'
  return `${chunks}; rows from ${describeTime(node.columnType, oldest.low)} on wait to be refreshed and ${when}.`
}

/** An aggregate that nothing refreshes, over rows that are dropped. */
async function findUnrefreshed(edge: Edge): Promise<PolicyFinding[]> {
  const { session, node, aggregate, child, dropAfter } = edge
  const paused = child.policies.find(({ kind }) => kind === 'refresh')
  const behind = node.now === undefined ? undefined : node.now - dropAfter / 2n
  const stale = behind === undefined ? [] : await readStaleRanges(session, aggregate, behind)
  if (paused === undefined && stale.length === 0 && (await isRefreshed(session, aggregate))) return []
  const state =
    paused === undefined ? 'has no refresh policy' : `has a refresh policy that is paused, job ${paused.jobId}`
  return [
    {
      rule: 'retention-without-refresh',
      severity: 'loss',
      relation: { schema: aggregate.schema, name: aggregate.name },
      jobId: paused?.jobId,
      reason: `${formatName(aggregate)} ${state}, and rows of ${formatName(node.relation)} are dropped after ${dropText(edge)}: what was not refreshed until then is lost.`,
      evidence: await waiting(edge),
      fix:
        paused === undefined
          ? refreshPolicySql(edge)
          : alterJobSql(edge.capabilities, paused.jobId, { scheduled: true }),
    },
  ]
}

/** True for an aggregate with rows: somebody refreshes it by other means. */
async function isRefreshed(session: Session, { materialization }: ContinuousAggregate): Promise<boolean> {
  return (await session.query(sql`select from ${sql.name(materialization)} limit 1`)).rows.length > 0
}

function refreshPolicySql({ capabilities, node, aggregate, dropAfter, bucket }: Edge): Sql {
  const start = dropAfter > 3n * bucket ? dropAfter : 3n * bucket
  const isInteger = isIntegerTime(node.columnType)
  return addContinuousAggregatePolicySql(capabilities, aggregate, {
    startOffset: toOptionSpan(node.columnType, start),
    endOffset: toOptionSpan(node.columnType, bucket),
    scheduleInterval: isInteger || bucket > DAY ? '1 day' : String(toOptionSpan(node.columnType, bucket)),
    timeType: timeTypeOf(aggregate.bucketColumnType),
  })
}
