import { backgroundOf } from '../connection/background.ts'
import type { Session } from '../connection/session.ts'
import type { MaintenanceJob } from '../embedded/maintenance.ts'
import { QueryError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys, invalidOption, toList } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { readCapabilities, requireFeature } from './capabilities.ts'
import { getTimeRelation, type Relation, type RelationName } from './relation.ts'

/** What a policy does. */
export type PolicyKind = 'retention' | 'compression' | 'refresh' | 'reorder'

/** A job that the server runs for one hypertable or continuous aggregate. */
export interface Policy {
  readonly jobId: number
  readonly kind: PolicyKind
  readonly scheduleInterval: string
  /** False while it is paused. */
  readonly scheduled: boolean
  readonly fixedSchedule: boolean
  readonly initialStart: Date | undefined
  readonly nextStart: Date | undefined
  readonly timezone: string | undefined
  /** The policy's own settings as the server keeps them, such as `drop_after`. */
  readonly config: Readonly<Record<string, unknown>>
}

/** What a job does: a policy, a user-defined action, or something of the server's own. */
export type JobKind = PolicyKind | 'action' | 'internal'

/** A job of the database: when it runs, and how its runs went. */
export interface Job {
  readonly jobId: number
  readonly kind: JobKind
  /** What the server calls it, such as `Retention Policy [1000]`. */
  readonly name: string
  /** The procedure or function it calls. */
  readonly procedure: RelationName
  /** The role it runs as. */
  readonly owner: string
  /** The hypertable or continuous aggregate of a policy. */
  readonly relation: RelationName | undefined
  readonly scheduleInterval: string
  /** True: runs keep to multiples of the interval from `initialStart` on. False: it counts from the last run. */
  readonly fixedSchedule: boolean
  readonly initialStart: Date | undefined
  readonly timezone: string | undefined
  /** `'00:00:00'` is without limit. */
  readonly maxRuntime: string
  /** Failures in a row after which it is paused; -1 is never. */
  readonly maxRetries: number
  readonly retryPeriod: string
  /** False while it is paused. */
  readonly scheduled: boolean
  readonly config: Readonly<Record<string, unknown>>
  /** The function that checks a changed configuration. */
  readonly check: RelationName | undefined
  /** Undefined while it runs, and before the first run of a job without initial start: then it is due. */
  readonly nextStart: Date | undefined
  readonly status: 'scheduled' | 'paused' | 'running'
  readonly lastStart: Date | undefined
  readonly lastSuccessfulFinish: Date | undefined
  /** Undefined before the first run, and while one is under way or was interrupted. */
  readonly lastOutcome: 'success' | 'failure' | undefined
  readonly lastDurationMs: number | undefined
  readonly totalRuns: number
  readonly totalSuccesses: number
  readonly totalFailures: number
}

/** What to list. */
export interface JobFilter {
  readonly kind?: JobKind | 'maintenance' | readonly (JobKind | 'maintenance')[]
  /** Only the policies of this hypertable or continuous aggregate. */
  readonly relation?: ObjectName
  readonly scheduled?: boolean
}

const FILTER_KEYS = Object.keys({ kind: true, relation: true, scheduled: true } satisfies Record<keyof JobFilter, true>)

interface PolicyRow {
  readonly jobId: number
  readonly procName: string
  readonly scheduleInterval: string
  readonly scheduled: boolean
  readonly fixedSchedule: boolean
  readonly initialStart: Date | null
  readonly nextStart: Date | null
  readonly timezone: string | null
  readonly config: Record<string, unknown> | null
}

const KINDS: Readonly<Record<string, PolicyKind>> = {
  policy_retention: 'retention',
  policy_compression: 'compression',
  policy_refresh_continuous_aggregate: 'refresh',
  policy_reorder: 'reorder',
}

const OWN_SCHEMAS: readonly string[] = ['_timescaledb_functions', '_timescaledb_internal']

const ALL_KINDS: readonly string[] = [
  'retention',
  'compression',
  'refresh',
  'reorder',
  'action',
  'internal',
  'maintenance',
]

/**
 * All jobs by id, and on the embedded engine its own maintenance behind them.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION; QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function listJobs(session: Session, filter: JobFilter = {}): Promise<(Job | MaintenanceJob)[]> {
  checkKeys(filter, FILTER_KEYS, 'listJobs')
  const kinds = toList(filter.kind)
  const unknown = kinds.find((kind) => !ALL_KINDS.includes(kind))
  if (unknown !== undefined)
    throw invalidOption(`There is no kind of job ${unknown}.`, `Known are ${ALL_KINDS.join(', ')}.`)
  const isWanted = (job: Job | MaintenanceJob): boolean =>
    (kinds.length === 0 || kinds.includes(job.kind)) &&
    (filter.scheduled === undefined || filter.scheduled === job.scheduled)
  const relation = filter.relation === undefined ? undefined : await getTimeRelation(session, filter.relation)
  const jobs = await readJobs(session, relation === undefined ? sql`true` : ofRelation(relation))
  const maintenance = relation === undefined ? (backgroundOf(session)?.maintenance() ?? []) : []
  return [...jobs, ...maintenance].filter(isWanted)
}

/** One job. @throws QueryError NOT_FOUND; UnsupportedError EDITION_REQUIRED */
export async function getJob(session: Session, jobId: number): Promise<Job> {
  const job = await findJob(session, jobId)
  if (job !== undefined) return job
  throw new QueryError('NOT_FOUND', `There is no job ${jobId}.`, { sqlState: '42704', hint: 'listJobs() shows all.' })
}

/** One job, or undefined where there is none of that id. @throws UnsupportedError EDITION_REQUIRED */
export async function findJob(session: Session, jobId: number): Promise<Job | undefined> {
  checkJobId(jobId)
  return (await readJobs(session, sql`j.job_id = ${jobId}`))[0]
}

/** @throws UsageError INVALID_OPTION for what cannot be a job's id */
export function checkJobId(jobId: number): void {
  if (Number.isInteger(jobId) && jobId >= 0 && jobId < 2 ** 31) return
  throw invalidOption('A job id is a whole number, as listJobs and the results of adding a policy show it.')
}

interface JobRow extends PolicyRow {
  readonly name: string
  readonly procSchema: string
  readonly owner: string
  readonly relationSchema: string | null
  readonly relationName: string | null
  readonly maxRuntime: string
  readonly maxRetries: number
  readonly retryPeriod: string
  readonly checkSchema: string | null
  readonly checkName: string | null
  readonly status: string | null
  readonly lastStart: Date | null
  readonly lastSuccessfulFinish: Date | null
  readonly lastStatus: string | null
  readonly lastDurationMs: number | null
  readonly totalRuns: number | null
  readonly totalSuccesses: number | null
  readonly totalFailures: number | null
}

async function readJobs(session: Session, where: Sql): Promise<Job[]> {
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'job')
  // The view has a line more for every other session that calls itself by the job's name.
  const { rows } = await session.query<JobRow>(sql`
    select j.job_id as "jobId", j.application_name as name, j.proc_schema as "procSchema", j.proc_name as "procName",
      j.owner::text as owner, j.hypertable_schema as "relationSchema", j.hypertable_name as "relationName",
      j.schedule_interval::text as "scheduleInterval", j.scheduled, j.fixed_schedule as "fixedSchedule",
      case when isfinite(j.initial_start) then j.initial_start end as "initialStart",
      case when isfinite(j.next_start) then j.next_start end as "nextStart",
      b.timezone, j.config, j.max_runtime::text as "maxRuntime", j.max_retries as "maxRetries",
      j.retry_period::text as "retryPeriod", j.check_schema as "checkSchema", j.check_name as "checkName",
      s.job_status as status, case when isfinite(s.last_run_started_at) then s.last_run_started_at end as "lastStart",
      case when isfinite(s.last_successful_finish) then s.last_successful_finish end as "lastSuccessfulFinish",
      s.last_run_status as "lastStatus",
      (extract(epoch from s.last_run_duration) * 1000)::float8 as "lastDurationMs",
      s.total_runs::float8 as "totalRuns", s.total_successes::float8 as "totalSuccesses",
      s.total_failures::float8 as "totalFailures"
    from timescaledb_information.jobs j
    left join ${sql.raw(capabilities.jobSchema)}.bgw_job b on b.id = j.job_id
    left join (
      select distinct on (job_id) * from timescaledb_information.job_stats order by job_id, job_status
    ) s on s.job_id = j.job_id
    where ${where}
    order by j.job_id`)
  return rows.map(toJob)
}

function toJob(row: JobRow): Job {
  return {
    jobId: row.jobId,
    kind: kindOf(row),
    name: row.name,
    procedure: { schema: row.procSchema, name: row.procName },
    owner: row.owner,
    relation: toName(row.relationSchema, row.relationName),
    scheduleInterval: row.scheduleInterval,
    fixedSchedule: row.fixedSchedule,
    initialStart: row.initialStart ?? undefined,
    timezone: row.timezone ?? undefined,
    maxRuntime: row.maxRuntime,
    maxRetries: row.maxRetries,
    retryPeriod: row.retryPeriod,
    scheduled: row.scheduled,
    config: row.config ?? {},
    check: toName(row.checkSchema, row.checkName),
    nextStart: row.nextStart ?? undefined,
    status: row.status === 'Running' ? 'running' : row.scheduled ? 'scheduled' : 'paused',
    lastStart: row.lastStart ?? undefined,
    lastSuccessfulFinish: row.lastSuccessfulFinish ?? undefined,
    lastOutcome: row.lastStatus === null ? undefined : row.lastStatus === 'Success' ? 'success' : 'failure',
    lastDurationMs: row.lastDurationMs ?? undefined,
    totalRuns: row.totalRuns ?? 0,
    totalSuccesses: row.totalSuccesses ?? 0,
    totalFailures: row.totalFailures ?? 0,
  }
}

function kindOf({ procSchema, procName }: JobRow): JobKind {
  if (!OWN_SCHEMAS.includes(procSchema)) return 'action'
  return KINDS[procName] ?? 'internal'
}

function toName(schema: string | null, name: string | null): RelationName | undefined {
  return schema === null || name === null ? undefined : { schema, name }
}

/** Jobs of a relation. Servers differ in whether they show a policy of an aggregate under the view or its storage. */
function ofRelation(relation: Relation): Sql {
  const storage: RelationName = relation.storage ?? relation
  return sql`((j.hypertable_schema = ${relation.schema} and j.hypertable_name = ${relation.name})
        or (j.hypertable_schema = ${storage.schema} and j.hypertable_name = ${storage.name}))`
}

/** The policies of a hypertable or continuous aggregate, oldest first. */
export async function listPolicies(session: Session, relation: Relation): Promise<Policy[]> {
  const { jobSchema } = await readCapabilities(session)
  const { rows } = await session.query<PolicyRow>(sql`
    select j.job_id as "jobId", j.proc_name as "procName", j.schedule_interval::text as "scheduleInterval",
      j.scheduled, j.fixed_schedule as "fixedSchedule",
      case when isfinite(j.initial_start) then j.initial_start end as "initialStart",
      case when isfinite(j.next_start) then j.next_start end as "nextStart",
      b.timezone, j.config
    from timescaledb_information.jobs j
    left join ${sql.raw(jobSchema)}.bgw_job b on b.id = j.job_id
    where j.proc_schema = any(${OWN_SCHEMAS}::text[])
      and j.proc_name = any(${Object.keys(KINDS)}::text[])
      and ${ofRelation(relation)}
    order by j.job_id`)
  return rows.flatMap((row) => {
    const kind = KINDS[row.procName]
    return kind === undefined ? [] : [toPolicy(row, kind)]
  })
}

function toPolicy(row: PolicyRow, kind: PolicyKind): Policy {
  return {
    jobId: row.jobId,
    kind,
    scheduleInterval: row.scheduleInterval,
    scheduled: row.scheduled,
    fixedSchedule: row.fixedSchedule,
    initialStart: row.initialStart ?? undefined,
    nextStart: row.nextStart ?? undefined,
    timezone: row.timezone ?? undefined,
    config: row.config ?? {},
  }
}
