import { type ChunkInfo, getChunkInfo } from '../catalog/chunk.ts'
import { type ContinuousAggregate, listContinuousAggregates } from '../catalog/continuous-aggregate.ts'
import type { InternalRange } from '../catalog/invalidation.ts'
import { getJob, listPolicies, type PolicyKind } from '../catalog/job.ts'
import { getTimeRelation, isSameRelation, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import { checkKeys, invalidOption, requireKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type TimeInput, timeSql } from '../sql/time-expression.ts'
import { type KeptHistory, readHistory, toInternalRange } from './kept-history.ts'
import {
  countChunkRows,
  findOldChunks,
  findReorderChunk,
  type PolicyRun,
  type PolicyTarget,
  readIntegerNow,
} from './policy-chunk.ts'
import { previewRefresh, type RefreshPreview } from './refresh-preview.ts'

/** Which policy is meant: its job's id, or its kind and the hypertable or continuous aggregate it is for. */
export type PolicyReference = number | { readonly table: ObjectName; readonly kind: PolicyKind }

/** How a policy is previewed. */
export interface PreviewOptions {
  /** When it runs. Default: its next start, or now where that has passed or is not known. */
  readonly at?: TimeInput
  /** `'exact'` (default) reads the rows to count them; `'estimate'` takes what the last ANALYZE knew. */
  readonly rows?: 'exact' | 'estimate'
}

/** A chunk that the run would drop, compress or reorder; for a refresh, that it would read. */
export interface PreviewChunk
  extends Pick<
    ChunkInfo,
    'chunkSchema' | 'chunkName' | 'rangeStart' | 'rangeEnd' | 'isCompressed' | 'totalBytes' | 'createdAt'
  > {
  /** Undefined for a refresh. */
  readonly rows: number | undefined
}

/** What the next run of a policy would do, with the data as it is now. */
export interface PolicyPreview {
  readonly jobId: number
  readonly kind: PolicyKind
  readonly relation: RelationName
  /** False where the policy is paused, and would only run by hand. */
  readonly scheduled: boolean
  /** The time it was previewed for. */
  readonly at: Date
  /** Oldest first. */
  readonly chunks: readonly PreviewChunk[]
  /** Rows in these chunks; for a refresh, the aggregate's rows that would be written. */
  readonly rows: number
  /** Bytes of these chunks. */
  readonly bytes: number
  /** Set for a refresh policy. */
  readonly refresh: RefreshPreview | undefined
  /** For a retention policy: what the aggregates above, all the way up, keep of it. Empty where nothing keeps anything. */
  readonly history: readonly KeptHistory[]
}

/**
 * Which chunks the next run of a policy would drop, compress, reorder or refresh, and what history is gone afterwards.
 * Nothing is changed.
 * @throws QueryError NOT_FOUND; UsageError INVALID_OPTION for a job that is no policy
 */
export async function previewPolicy(
  session: Session,
  policy: PolicyReference,
  options: PreviewOptions = {},
): Promise<PolicyPreview> {
  checkOptions(options)
  const job = await getJob(session, await findJobId(session, policy))
  const { kind, jobId, config, scheduled, relation } = job
  if (relation === undefined || kind === 'action' || kind === 'internal') {
    throw invalidOption(`Job ${jobId} is no policy.`, 'listJobs() shows which kind a job is of.')
  }
  const { at, date } = await readTime(session, jobId, options.at)
  const aggregates = await listContinuousAggregates(session)
  const isOwn = ({ schema, name, materialization: own }: ContinuousAggregate): boolean =>
    isSameRelation({ schema, name }, relation) || isSameRelation(own, relation)
  const aggregate = aggregates.find(isOwn)
  const run: PolicyRun = { jobId, kind, config, at, exact: options.rows !== 'estimate' }
  const target: PolicyTarget = { relation: aggregate ?? relation, aggregate, aggregates }
  const found = kind === 'refresh' ? await refreshPart(session, target, run) : await chunkPart(session, target, run)
  const { schema, name } = target.relation
  return { jobId, kind, relation: { schema, name }, scheduled, at: date, ...found }
}

type PreviewPart = Pick<PolicyPreview, 'chunks' | 'rows' | 'bytes' | 'refresh' | 'history'>

function checkOptions(options: PreviewOptions): void {
  checkKeys(options, ['at', 'rows'] satisfies (keyof PreviewOptions)[], 'previewPolicy')
  if (options.rows !== undefined && !['exact', 'estimate'].includes(options.rows)) {
    throw invalidOption("rows must be 'exact' or 'estimate'.")
  }
}

const KINDS: readonly string[] = ['retention', 'compression', 'refresh', 'reorder']

async function findJobId(session: Session, policy: PolicyReference): Promise<number> {
  if (typeof policy === 'number') return policy
  checkKeys(policy, ['table', 'kind'], 'previewPolicy')
  requireKeys(policy, ['table', 'kind'], 'previewPolicy')
  if (!KINDS.includes(policy.kind)) throw invalidOption(`kind must be one of ${KINDS.join(', ')}.`)
  const relation = await getTimeRelation(session, policy.table)
  const found = (await listPolicies(session, relation)).filter(({ kind }) => kind === policy.kind)
  const [first, second] = found
  if (second !== undefined) {
    const ids = found.map(({ jobId }) => jobId).join(', ')
    throw invalidOption(`${formatName(relation)} has several ${policy.kind} policies: jobs ${ids}.`, 'Give a job id.')
  }
  if (first !== undefined) return first.jobId
  throw new QueryError('NOT_FOUND', `${formatName(relation)} has no ${policy.kind} policy.`, { sqlState: '42704' })
}

/** When it runs, in microseconds: a Date would cut them off, and an edge decides about a chunk. */
async function readTime(
  session: Session,
  jobId: number,
  given: TimeInput | undefined,
): Promise<{ readonly at: Sql; readonly date: Date }> {
  const next = sql`(select nullif(j.next_start, '-infinity') from timescaledb_information.jobs j where j.job_id = ${jobId})`
  const wanted = given === undefined ? sql`greatest(${next}, now())` : timeSql(given, 'timestamptz')
  const { rows } = await session.query<{ internal: string }>(
    sql`select _timescaledb_functions.time_to_internal(${wanted})::text as internal`,
  )
  const internal = rows[0]?.internal ?? '0'
  return {
    at: sql`_timescaledb_functions.to_timestamp(${internal}::bigint)`,
    date: new Date(Number(BigInt(internal) / 1000n)),
  }
}

async function refreshPart(
  session: Session,
  { aggregate, aggregates }: PolicyTarget,
  run: PolicyRun,
): Promise<PreviewPart> {
  if (aggregate === undefined) throw new TypeError('A refresh policy is not on a continuous aggregate.')
  const integerNow = await readIntegerNow(session, aggregate, aggregates)
  const policies = await listPolicies(session, {
    ...aggregate,
    kind: 'continuous-aggregate',
    storage: aggregate.materialization,
  })
  const others = policies.filter(({ kind, jobId }) => kind === 'refresh' && jobId !== run.jobId)
  const otherConfigs = others.map(({ config }) => config)
  const { reach, rows, ...refresh } = await previewRefresh(session, aggregate, { ...run, integerNow, otherConfigs })
  const all = reach.length === 0 ? [] : await getChunkInfo(session, aggregate.source)
  const read = all.filter((chunk) => reach.some((range) => overlaps(toInternalRange(chunk), range))).reverse()
  const chunks = read.map((chunk) => toPreviewChunk(chunk, undefined))
  return { chunks, rows, bytes: sum(chunks.map(({ totalBytes }) => totalBytes)), refresh, history: [] }
}

async function chunkPart(session: Session, target: PolicyTarget, run: PolicyRun): Promise<PreviewPart> {
  const { relation, aggregate } = target
  const storage = aggregate?.materialization ?? relation
  const names =
    run.kind === 'reorder'
      ? await findReorderChunk(session, storage, run.jobId)
      : await findOldChunks(session, target, run)
  const wanted = new Set(names.map(formatName))
  const isWanted = (chunk: ChunkInfo): boolean =>
    wanted.has(formatName({ schema: chunk.chunkSchema, name: chunk.chunkName }))
  const found = wanted.size === 0 ? [] : (await getChunkInfo(session, relation)).filter(isWanted).reverse()
  const rows = await countChunkRows(session, storage, found, run.exact)
  const chunks = found.map((chunk, index) => toPreviewChunk(chunk, rows[index]))
  return {
    chunks,
    rows: sum(rows),
    bytes: sum(chunks.map(({ totalBytes }) => totalBytes)),
    refresh: undefined,
    history: run.kind === 'retention' ? await readHistory(session, target, found) : [],
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0)

function toPreviewChunk(chunk: ChunkInfo, rows: number | undefined): PreviewChunk {
  const { chunkSchema, chunkName, rangeStart, rangeEnd, isCompressed, totalBytes, createdAt } = chunk
  return { chunkSchema, chunkName, rangeStart, rangeEnd, isCompressed, totalBytes, createdAt, rows }
}

const overlaps = (left: InternalRange, right: InternalRange): boolean => left.low < right.high && left.high > right.low
