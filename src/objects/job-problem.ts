import { readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { getContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { readStaleRanges } from '../catalog/invalidation.ts'
import { type Job, listJobs } from '../catalog/job.ts'
import { jobErrors, jobHistory } from '../catalog/job-history.ts'
import { ifThere, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { counted } from '../sql/counted.ts'
import { sql } from '../sql/template.ts'
import type { TimeInput } from '../sql/time-expression.ts'
import { previewPolicy } from './policy-preview.ts'
import { spanLengthAtLeast } from './policy-tree.ts'
import { type TimeRange, toTimeRange } from './refresh-preview.ts'

/**
 * What is wrong with a job. `failing`: its last run failed. `stuck`: it runs longer than its `maxRuntime`, or ten times
 * as long as half of its runs did. `starved`: it is due for two intervals, and was not started. `no-progress`: its runs
 * succeed, but what they should have done is not done. `unreachable`: the database does not answer, whatever the jobs do.
 */
export type JobProblemKind = 'failing' | 'stuck' | 'starved' | 'no-progress' | 'unreachable'

/** Something that is wrong with a job. */
export interface JobProblem {
  readonly kind: JobProblemKind
  /** Undefined for `unreachable`. */
  readonly jobId: number | undefined
  /** What the server calls the job. */
  readonly name: string
  readonly relation: RelationName | undefined
  readonly message: string
  /** Since when, as far as the database tells. */
  readonly since: Date | undefined
}

/** What is remembered between two looks: some problems show only over time. */
export interface JobMemory {
  /** By job: what was not refreshed before its last run. */
  readonly stale: Map<
    number,
    { readonly lastStart: number; readonly ranges: readonly TimeRange[]; readonly runs: number }
  >
}

/** A run is not called stuck before this time, milliseconds: ten times next to nothing is nothing. */
const LEAST_STUCK_MS = 60_000
const STUCK_TIMES = 10
const STARVED_INTERVALS = 2
/** The code with which some servers mark runs whose work they have committed. */
const CURSOR_STATE = '24000'

/**
 * What is wrong with the jobs now. A refresh that makes no progress shows only to `watchJobs`, which looks again.
 * @throws UnsupportedError EDITION_REQUIRED
 */
export async function listJobProblems(session: Session, memory?: JobMemory): Promise<JobProblem[]> {
  requireFeature(await readCapabilities(session), 'job')
  const { rows } = await session.query<{ now: Date }>(sql`select now() as now`)
  const now = (rows[0]?.now ?? new Date()).getTime()
  const jobs = (await listJobs(session)).flatMap((job) => (job.kind === 'maintenance' ? [] : [job]))
  const problems: JobProblem[] = []
  for (const job of jobs) {
    const found = await ifThere(() => findProblem(session, job, now, memory))
    if (found !== undefined) problems.push({ jobId: job.jobId, name: job.name, relation: job.relation, ...found })
  }
  return problems
}

async function findProblem(
  session: Session,
  job: Job,
  now: number,
  memory: JobMemory | undefined,
): Promise<Found | undefined> {
  return (
    (await findStuck(session, job, now)) ??
    (await findFailing(session, job)) ??
    findStarved(job, now) ??
    (await findIdle(session, job, memory))
  )
}

type Found = Pick<JobProblem, 'kind' | 'message' | 'since'>

async function findStuck(session: Session, job: Job, now: number): Promise<Found | undefined> {
  if (job.status !== 'running' || job.lastStart === undefined) return undefined
  const running = now - job.lastStart.getTime()
  const { runs } = await jobHistory(session, { jobId: job.jobId, outcome: 'success', limit: 101 })
  const past = runs.flatMap(({ durationMs }) => durationMs ?? [])
  // Most servers keep no runs that succeeded.
  const durations = past.length === 0 && job.lastDurationMs !== undefined ? [job.lastDurationMs] : past
  const limit = stuckLimit(Number(spanLengthAtLeast(job.maxRuntime) / 1000n), durations)
  if (limit === undefined || running <= limit.ms) return undefined
  const message = `It has been running for ${seconds(running)}, longer than ${limit.what}.`
  return { kind: 'stuck', message, since: job.lastStart }
}

/**
 * How long a run may take before it is called stuck; undefined where nothing is known of earlier ones. Milliseconds.
 * @param maxRuntimeMs - 0 is without limit
 */
export function stuckLimit(
  maxRuntimeMs: number,
  durationsMs: readonly number[],
): { readonly ms: number; readonly what: string } | undefined {
  const sorted = [...durationsMs].sort((left, right) => left - right)
  const median = sorted[Math.floor((sorted.length - 1) / 2)]
  const usual = median === undefined ? undefined : Math.max(LEAST_STUCK_MS, STUCK_TIMES * median)
  if (maxRuntimeMs > 0 && (usual === undefined || maxRuntimeMs < usual)) {
    return { ms: maxRuntimeMs, what: `its max_runtime of ${seconds(maxRuntimeMs)}` }
  }
  if (usual === undefined || median === undefined) return undefined
  return { ms: usual, what: `${STUCK_TIMES} times its median of ${seconds(median)}` }
}

/** A run that crashed has no outcome; the history has it. */
async function findFailing(session: Session, job: Job): Promise<Found | undefined> {
  if (job.status === 'running' || job.lastStart === undefined || job.lastOutcome === 'success') return undefined
  const [last] = await jobErrors(session, { jobId: job.jobId, limit: 1 })
  if (last === undefined || last.startedAt < job.lastStart || last.error?.sqlState === CURSOR_STATE) return undefined
  const code = last.error?.sqlState === undefined ? '' : `${last.error.sqlState}: `
  const message = `Its last run ${last.outcome === 'crash' ? 'crashed' : 'failed'}: ${code}${last.error?.message ?? ''}`
  return { kind: 'failing', message, since: last.startedAt }
}

function findStarved(job: Job, now: number): Found | undefined {
  if (job.status !== 'scheduled' || job.nextStart === undefined) return undefined
  const late = now - job.nextStart.getTime()
  const interval = Number(spanLengthAtLeast(job.scheduleInterval) / 1000n)
  if (late <= STARVED_INTERVALS * interval) return undefined
  const message = `It is due since ${job.nextStart.toISOString()}, more than two intervals of ${job.scheduleInterval}, and was not started.`
  return { kind: 'starved', message, since: job.nextStart }
}

/** What a policy's last run should have done, and did not. */
async function findIdle(session: Session, job: Job, memory: JobMemory | undefined): Promise<Found | undefined> {
  const { jobId, kind, lastStart, lastSuccessfulFinish } = job
  if (lastStart === undefined || job.status === 'running') return undefined
  const since = lastSuccessfulFinish ?? lastStart
  if (kind === 'retention' || kind === 'compression') {
    const { chunks } = await previewPolicy(session, jobId, { at: lastStart, rows: 'estimate' })
    // A compressed chunk has taken rows since.
    const left = chunks.filter(({ isCompressed, createdAt }) => {
      return (kind === 'retention' || !isCompressed) && (createdAt === undefined || createdAt < lastStart)
    })
    if (left.length === 0) return undefined
    const verb = kind === 'retention' ? 'dropped' : 'compressed'
    const message = `Its last run succeeded, but has left ${counted(left.length, 'chunk')} that ${left.length === 1 ? 'is' : 'are'} old enough to be ${verb}, from ${left[0]?.chunkName} on.`
    return { kind: 'no-progress', message, since }
  }
  if (kind !== 'refresh' || memory === undefined) return undefined
  return findUnrefreshed(session, job, lastStart, memory)
}

/** Rows may have come after the last run, so only what two more runs have left is called so. */
async function findUnrefreshed(
  session: Session,
  { jobId, lastSuccessfulFinish }: Job,
  lastStart: Date,
  memory: JobMemory,
): Promise<Found | undefined> {
  const { ranges } = await readWaiting(session, jobId, lastStart)
  const before = memory.stale.get(jobId)
  const isLater = before !== undefined && before.lastStart !== lastStart.getTime()
  const left = before === undefined ? [] : ranges.filter((range) => before.ranges.some((one) => meet(one, range)))
  const runs = before === undefined || left.length === 0 ? 0 : before.runs + (isLater ? 1 : 0)
  memory.stale.set(jobId, { lastStart: lastStart.getTime(), ranges: left.length === 0 ? ranges : left, runs })
  const [first] = left
  if (runs < 2 || first === undefined) return undefined
  const start = first.start instanceof Date ? first.start.toISOString() : String(first.start)
  const message = `Its last two runs have not refreshed what has changed, from ${start} on.`
  return { kind: 'no-progress', message, since: lastSuccessfulFinish ?? lastStart }
}

/** What in the window of a refresh policy has rows that are not in the aggregate, and where the window ends. */
export async function readWaiting(
  session: Session,
  jobId: number,
  at: TimeInput,
): Promise<{ readonly ranges: readonly TimeRange[]; readonly end: Date | bigint }> {
  const preview = await previewPolicy(session, jobId, { at, rows: 'estimate' })
  const end = preview.refresh?.windowEnd ?? preview.at
  const start = preview.refresh?.windowStart
  const aggregate = await getContinuousAggregate(session, preview.relation)
  const internal = end instanceof Date ? BigInt(end.getTime()) * 1000n : end
  const stale = await readStaleRanges(session, aggregate, internal)
  const ranges = stale.map((range) => toTimeRange(aggregate.bucketColumnType, range))
  return { ranges: ranges.filter((range) => start === undefined || range.end > start), end }
}

const meet = (left: TimeRange, right: TimeRange): boolean => left.start < right.end && left.end > right.start

const seconds = (ms: number): string => `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`
