import { backgroundOf } from '../connection/background.ts'
import type { Session } from '../connection/session.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type TimeInput, timeSql } from '../sql/time-expression.ts'
import { onCatalog, readCapabilities, requireFeature } from './capabilities.ts'
import { checkJobId } from './job.ts'
import type { RelationName } from './relation.ts'

/** Why a job failed, in the server's words. */
export interface JobFailure {
  /** The five-character SQLSTATE; undefined for a crash, and where the server kept none. */
  readonly sqlState: string | undefined
  readonly message: string
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** Where in the procedure it happened: PL/pgSQL's call stack. */
  readonly context: string | undefined
}

/** One run of a job. */
export interface JobRun {
  readonly jobId: number
  /** What it called then; undefined where the server kept nothing and the job is gone. */
  readonly procedure: RelationName | undefined
  /** `crash`: the process that ran it ended in the middle. `running`: it has not ended yet. */
  readonly outcome: 'success' | 'failure' | 'crash' | 'running'
  readonly startedAt: Date
  readonly finishedAt: Date | undefined
  readonly durationMs: number | undefined
  /** The configuration it ran with. */
  readonly config: Readonly<Record<string, unknown>>
  /** Set for a failure and a crash. */
  readonly error: JobFailure | undefined
}

/** Runs of jobs, and whether they are all. */
export interface JobHistory {
  /**
   * False where the server keeps failures only (`timescaledb.enable_job_execution_logging` is off). Runs by runJob are
   * kept nowhere, and a retention job of the server's own removes old entries, by default after a month.
   */
  readonly complete: boolean
  /** The newest first. */
  readonly runs: readonly JobRun[]
}

/** Which runs to list. */
export interface JobHistoryFilter {
  readonly jobId?: number
  readonly outcome?: JobRun['outcome'] | readonly JobRun['outcome'][]
  /** Runs that started at this time or later. */
  readonly since?: TimeInput
  /** Runs that started before this time. */
  readonly until?: TimeInput
  /** At most so many. Default 1,000. */
  readonly limit?: number
}

/** Which failures to list. */
export type JobErrorFilter = Omit<JobHistoryFilter, 'outcome'>

const OUTCOMES: readonly JobRun['outcome'][] = ['success', 'failure', 'crash', 'running']
const ERROR_KEYS = ['jobId', 'since', 'until', 'limit']
const DEFAULT_LIMIT = 1000

interface RunRow {
  readonly jobId: number
  readonly procSchema: string | null
  readonly procName: string | null
  readonly outcome: JobRun['outcome']
  readonly startedAt: Date
  readonly finishedAt: Date | null
  readonly durationMs: number | null
  readonly config: Record<string, unknown> | null
  readonly sqlState: string | null
  readonly message: string | null
  readonly failure: {
    readonly message?: string
    readonly detail?: string
    readonly hint?: string
    readonly context?: string
  } | null
}

/**
 * The runs of jobs that the server has kept, the newest first. A role sees those of jobs it may run.
 * @throws UnsupportedError EDITION_REQUIRED, VERSION_REQUIRED (2.15); UsageError INVALID_OPTION, INVALID_TIME
 */
export async function jobHistory(session: Session, filter: JobHistoryFilter = {}): Promise<JobHistory> {
  checkKeys(filter, [...ERROR_KEYS, 'outcome'], 'jobHistory')
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'job-history')
  const { rows: access } = await session.query<{ readable: boolean; logging: boolean }>(sql`
    select pg_catalog.has_table_privilege('_timescaledb_internal.bgw_job_stat_history', 'select') as readable,
      coalesce(pg_catalog.current_setting('timescaledb.enable_job_execution_logging', true), 'off') = 'on' as logging`)
  const readable = access[0]?.readable === true
  const { rows } = await onCatalog(session, () => session.query<RunRow>(historySql(filter, readable)))
  const complete = access[0]?.logging === true || backgroundOf(session)?.runsJobs === true
  return { complete, runs: rows.map(toRun) }
}

/**
 * The runs that failed or crashed, the newest first: the same entries as jobHistory gives.
 * @throws UnsupportedError EDITION_REQUIRED, VERSION_REQUIRED (2.15); UsageError INVALID_OPTION, INVALID_TIME
 */
export async function jobErrors(session: Session, filter: JobErrorFilter = {}): Promise<readonly JobRun[]> {
  checkKeys(filter, ERROR_KEYS, 'jobErrors')
  return (await jobHistory(session, { ...filter, outcome: ['failure', 'crash'] })).runs
}

/** The view joins message, detail and hint into one text; the table that has them apart is not everybody's to read. */
function historySql(filter: JobHistoryFilter, readable: boolean): Sql {
  const [failure, table] = readable
    ? [sql`t.data -> 'error_data'`, sql`left join _timescaledb_internal.bgw_job_stat_history t on t.id = h.id`]
    : [sql`null::jsonb`, sql``]
  return sql`
    select * from (
      select h.id, h.job_id as "jobId", h.proc_schema as "procSchema", h.proc_name as "procName",
        case when h.succeeded then 'success' when not h.succeeded then 'failure'
          when h.pid is null then 'crash' else 'running' end as outcome,
        h.start_time as "startedAt", h.finish_time as "finishedAt",
        (extract(epoch from h.finish_time - h.start_time) * 1000)::float8 as "durationMs",
        h.config, h.sqlerrcode as "sqlState", h.err_message as message, ${failure} as failure
      from timescaledb_information.job_history h ${table}
    ) runs
    where ${sql.join(conditions(filter), ' and ')}
    order by "startedAt" desc, id desc
    limit ${filter.limit ?? DEFAULT_LIMIT}`
}

function conditions({ jobId, outcome, since, until, limit }: JobHistoryFilter): Sql[] {
  const found: Sql[] = [sql`true`]
  if (jobId !== undefined) {
    checkJobId(jobId)
    found.push(sql`"jobId" = ${jobId}`)
  }
  if (outcome !== undefined) {
    const wanted = typeof outcome === 'string' ? [outcome] : outcome
    const unknown = wanted.find((one) => !OUTCOMES.includes(one))
    if (unknown !== undefined)
      throw invalidOption(`A run has no outcome ${unknown}.`, `Known are ${OUTCOMES.join(', ')}.`)
    found.push(sql`outcome = any(${[...wanted]}::text[])`)
  }
  if (since !== undefined) found.push(sql`"startedAt" >= ${timeSql(since, 'timestamptz')}`)
  if (until !== undefined) found.push(sql`"startedAt" < ${timeSql(until, 'timestamptz')}`)
  if (limit !== undefined && !(Number.isInteger(limit) && limit > 0))
    throw invalidOption('limit must be a whole number from 1 on.')
  return found
}

function toRun(row: RunRow): JobRun {
  const { failure } = row
  const failed = row.outcome === 'failure' || row.outcome === 'crash'
  return {
    jobId: row.jobId,
    procedure:
      row.procSchema === null || row.procName === null ? undefined : { schema: row.procSchema, name: row.procName },
    outcome: row.outcome,
    startedAt: row.startedAt,
    finishedAt: row.finishedAt ?? undefined,
    durationMs: row.durationMs ?? undefined,
    config: row.config ?? {},
    error: failed
      ? {
          sqlState: row.sqlState ?? undefined,
          message: failure?.message ?? row.message ?? 'The server kept no message.',
          detail: failure?.detail,
          hint: failure?.hint,
          context: failure?.context,
        }
      : undefined,
  }
}
