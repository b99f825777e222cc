import { type ContinuousAggregate, listContinuousAggregates } from '../catalog/continuous-aggregate.ts'
import { formatMicroseconds, isIntegerTime, listDimensions } from '../catalog/dimension.ts'
import { listHypertables } from '../catalog/hypertable.ts'
import { type Job, listJobs } from '../catalog/job.ts'
import { getTimeRelation, isSameRelation, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import { parseInterval } from '../sql/interval.ts'
import { sql } from '../sql/template.ts'

/** A hypertable or continuous aggregate with its policies, and the aggregates made from it. */
export interface PolicyNode {
  readonly relation: RelationName
  /** The hypertable that holds its rows. */
  readonly storage: RelationName
  /** Undefined for the hypertable at the bottom. */
  readonly aggregate: ContinuousAggregate | undefined
  readonly columnType: string
  /** The length of a chunk, in the server's own counting. */
  readonly chunkLength: bigint
  /** The present time of the time column, in the server's own counting; undefined where the server does not know it. */
  readonly now: bigint | undefined
  /** Policies that are not paused. */
  readonly retention: Job | undefined
  readonly compression: Job | undefined
  readonly refreshes: readonly Job[]
  /** All policies, also paused ones. */
  readonly policies: readonly Job[]
  readonly children: readonly PolicyNode[]
}

/** The trees of all hypertables, or the one that a hypertable or continuous aggregate belongs to. */
export async function readPolicyTrees(session: Session, table?: ObjectName): Promise<PolicyNode[]> {
  const aggregates = await listContinuousAggregates(session)
  const listed = await listJobs(session, { kind: ['retention', 'compression', 'refresh', 'reorder'] })
  const jobs = listed.flatMap((job) => (job.kind === 'maintenance' ? [] : [job]))
  const roots = table === undefined ? await listHypertables(session) : [await findRoot(session, table, aggregates)]
  const trees: PolicyNode[] = []
  for (const { schema, name } of roots) {
    const root = { schema, name }
    const own = { relation: root, storage: root, aggregate: undefined }
    trees.push(await readNode(session, own, aggregates, jobs))
  }
  return trees
}

async function findRoot(
  session: Session,
  table: ObjectName,
  aggregates: readonly ContinuousAggregate[],
): Promise<RelationName> {
  let { storage }: { readonly storage: RelationName } = await getTimeRelation(session, table)
  for (;;) {
    const below = aggregates.find(({ materialization }) => isSameRelation(materialization, storage))
    if (below === undefined) return storage
    storage = below.sourceStorage
  }
}

async function readNode(
  session: Session,
  own: Pick<PolicyNode, 'relation' | 'storage' | 'aggregate'>,
  aggregates: readonly ContinuousAggregate[],
  jobs: readonly Job[],
  below?: PolicyNode,
): Promise<PolicyNode> {
  const { relation, storage } = own
  const [time] = await listDimensions(session, storage)
  const columnType = time?.columnType ?? ''
  const length = time?.kind === 'range' ? time.interval : 0n
  const policies = jobs.filter(
    (job) =>
      job.relation !== undefined && (isSameRelation(job.relation, relation) || isSameRelation(job.relation, storage)),
  )
  const active = policies.filter(({ scheduled }) => scheduled)
  const children: PolicyNode[] = []
  const node: PolicyNode = {
    ...own,
    columnType,
    chunkLength: typeof length === 'bigint' ? length : spanLengthAtMost(length),
    now: below === undefined ? await readNow(session, storage, columnType) : below.now,
    retention: active.find(({ kind }) => kind === 'retention'),
    compression: active.find(({ kind }) => kind === 'compression'),
    refreshes: active.filter(({ kind }) => kind === 'refresh'),
    policies,
    children,
  }
  for (const aggregate of aggregates.filter((other) => isSameRelation(other.sourceStorage, storage))) {
    const { schema, name, materialization } = aggregate
    const child = { relation: { schema, name }, storage: materialization, aggregate }
    children.push(await readNode(session, child, aggregates, jobs, node))
  }
  return node
}

async function readNow(session: Session, storage: RelationName, columnType: string): Promise<bigint | undefined> {
  const [time] = await listDimensions(session, storage)
  if (!isIntegerTime(columnType)) {
    const { rows } = await session.query<{ now: string }>(
      sql`select _timescaledb_functions.time_to_internal(now())::text as now`,
    )
    return BigInt(rows[0]?.now ?? 0)
  }
  if (time?.kind !== 'range' || time.integerNowFunction === undefined) return undefined
  const { rows } = await session.query<{ now: string }>(sql`
    select _timescaledb_functions.subtract_integer_from_now(${sql.literal(formatName(storage))}::regclass, 0)::text as now`)
  return BigInt(rows[0]?.now ?? 0)
}

/** A span in a policy's configuration; undefined where it has none. */
export function configSpan(job: Job, key: string): string | undefined {
  const value = job.config[key]
  return value === undefined || value === null ? undefined : String(value)
}

/** How long a span is at most, in the server's own counting: a month may have 31 days. */
export function spanLengthAtMost(span: string): bigint {
  if (/^-?\d+$/.test(span)) return BigInt(span)
  const { months, days, microseconds } = parseInterval(span)
  return BigInt(months * (months > 0 ? 31 : 28) + days) * DAY + microseconds
}

/** How long a span is at least: a month may have 28 days. */
export function spanLengthAtLeast(span: string): bigint {
  if (/^-?\d+$/.test(span)) return BigInt(span)
  const { months, days, microseconds } = parseInterval(span)
  return BigInt(months * (months > 0 ? 28 : 31) + days) * DAY + microseconds
}

/** Microseconds. */
export const DAY = 86_400_000_000n

/** A length as a policy's configuration has it: an interval text, or a number for an integer time column. */
export function toConfigSpan(columnType: string, length: bigint): string | number {
  return isIntegerTime(columnType) ? Number(length) : formatMicroseconds(length)
}

/** The same as an option of our functions. */
export function toOptionSpan(columnType: string, length: bigint): string | bigint {
  return isIntegerTime(columnType) ? length : formatMicroseconds(length)
}

/** The length rounded up to whole days, or hours below two days; a number of an integer column stays. */
export function roundUp(columnType: string, length: bigint): bigint {
  if (isIntegerTime(columnType)) return length
  const unit = length < 2n * DAY ? DAY / 24n : DAY
  return ((length + unit - 1n) / unit) * unit
}
