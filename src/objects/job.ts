import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { checkJobId, findJob, getJob, type Job } from '../catalog/job.ts'
import { requireTimeZone } from '../catalog/time-zone.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callFunction } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { checkKeys, invalidOption, requireKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { type TimeInput, timeSql } from '../sql/time-expression.ts'
import { withHints } from './hint.ts'
import { optionalFlag, POLICY_HINTS, REMOVE_KEYS, type RemoveOptions, type RemoveResult, regproc } from './policy.ts'
import { optionalInterval, requirePositive } from './span.ts'

/** What a job finds in its argument `config`: anything JSON can hold. */
export type JobConfig = Readonly<Record<string, unknown>>

/** How a user-defined action is run. What is left out is the server's choice. */
export interface AddJobOptions {
  readonly scheduleInterval: IntervalInput
  readonly config?: JobConfig
  /** The first run; left out, at once. */
  readonly initialStart?: TimeInput
  /** True (the server's default): runs keep to multiples of the interval. False: it counts from the end of the last run. */
  readonly fixedSchedule?: boolean
  /** The time zone in which a fixed schedule keeps its hour, such as `'Europe/Berlin'`. */
  readonly timezone?: string
  /** A function `(config jsonb)` that raises an error for a configuration that is wrong. */
  readonly checkConfig?: ObjectName
  /** False adds it paused. */
  readonly scheduled?: boolean
}

/** What is changed about a job; what is left out stays. */
export interface AlterJobOptions {
  readonly scheduleInterval?: IntervalInput
  readonly fixedSchedule?: boolean
  readonly initialStart?: TimeInput
  readonly timezone?: string
  /** Zero is without limit. */
  readonly maxRuntime?: IntervalInput
  /** Failures in a row after which it is paused; -1 is never. */
  readonly maxRetries?: number
  /** The wait after a failure; doubled for each further one, up to five schedule intervals. */
  readonly retryPeriod?: IntervalInput
  /** False pauses it. */
  readonly scheduled?: boolean
  /** Replaces the whole configuration. A policy keeps which hypertable it is for. */
  readonly config?: JobConfig
  /** When it runs next, once. */
  readonly nextStart?: TimeInput
}

/** What has to be known of a job whose configuration is changed. */
type AlteredJob = Pick<Job, 'jobId' | 'kind' | 'name' | 'config'>

/** What adding a job did. */
export interface AddJobResult {
  readonly jobId: number
}

const ADD_KEYS = Object.keys({
  scheduleInterval: true,
  config: true,
  initialStart: true,
  fixedSchedule: true,
  timezone: true,
  checkConfig: true,
  scheduled: true,
} satisfies Record<keyof AddJobOptions, true>)

const ALTER_KEYS = Object.keys({
  scheduleInterval: true,
  fixedSchedule: true,
  initialStart: true,
  timezone: true,
  maxRuntime: true,
  maxRetries: true,
  retryPeriod: true,
  scheduled: true,
  config: true,
  nextStart: true,
} satisfies Record<keyof AlterJobOptions, true>)

/**
 * The statement of {@link addJob}.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL, INVALID_TIME
 */
export function addJobSql(capabilities: Capabilities, procedure: ObjectName, options: AddJobOptions): Sql {
  checkKeys(options, ADD_KEYS, 'addJob')
  requireKeys(options, ['scheduleInterval'], 'addJob')
  requirePositive('scheduleInterval', options.scheduleInterval)
  requireFeature(capabilities, 'job')
  return callFunction('add_job', [regproc(procedure), optionalInterval(options.scheduleInterval) ?? sql.empty], {
    config: configSql(options.config),
    initial_start: optionalTime(options.initialStart),
    scheduled: optionalFlag(options.scheduled),
    check_config: options.checkConfig === undefined ? undefined : regproc(options.checkConfig),
    fixed_schedule: optionalFlag(options.fixedSchedule),
    timezone: options.timezone === undefined ? undefined : sql.literal(options.timezone),
  })
}

/**
 * Runs a procedure or function `(job_id int, config jsonb)` from now on, again and again.
 * @throws QueryError NOT_FOUND where there is no such procedure; UsageError; UnsupportedError EDITION_REQUIRED
 */
export async function addJob(session: Session, procedure: ObjectName, options: AddJobOptions): Promise<AddJobResult> {
  const statement = addJobSql(await readCapabilities(session), procedure, options)
  await requireTimeZone(session, options.timezone)
  const { rows } = await session.query<{ add_job: number }>(statement)
  const row = rows[0]
  if (row === undefined) throw new TypeError('The database answered no row.')
  return { jobId: row.add_job }
}

/**
 * The statement of {@link alterJob}. A new `config` of a policy needs the job itself, as `getJob` gives it: which
 * hypertable it is for stands in there too.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL, INVALID_TIME
 */
export function alterJobSql(capabilities: Capabilities, job: number | AlteredJob, options: AlterJobOptions): Sql {
  const jobId = typeof job === 'object' && job !== null ? job.jobId : job
  checkAlter(jobId, options)
  const config =
    options.config === undefined || typeof job === 'number' ? options.config : keepRelation(job, options.config)
  requireFeature(capabilities, 'job')
  return callFunction('alter_job', [sql.literal(jobId)], {
    schedule_interval: optionalInterval(options.scheduleInterval),
    max_runtime: optionalInterval(options.maxRuntime),
    max_retries: options.maxRetries === undefined ? undefined : sql.literal(options.maxRetries),
    retry_period: optionalInterval(options.retryPeriod),
    scheduled: optionalFlag(options.scheduled),
    config: configSql(config),
    next_start: optionalTime(options.nextStart),
    fixed_schedule: optionalFlag(options.fixedSchedule),
    initial_start: optionalTime(options.initialStart),
    timezone: options.timezone === undefined ? undefined : sql.literal(options.timezone),
  })
}

/**
 * Changes when and how a job runs, and gives it as it is then.
 * @throws QueryError NOT_FOUND; UsageError INVALID_OPTION for a configuration that names another hypertable
 */
export async function alterJob(session: Session, jobId: number, options: AlterJobOptions): Promise<Job> {
  checkAlter(jobId, options)
  const capabilities = await readCapabilities(session)
  const job = await getJob(session, jobId)
  await requireTimeZone(session, options.timezone)
  await session.query(alterJobSql(capabilities, job, options))
  return getJob(session, jobId)
}

/** Lets a paused job run again. @throws QueryError NOT_FOUND */
export function enableJob(session: Session, jobId: number): Promise<Job> {
  return alterJob(session, jobId, { scheduled: true })
}

/** Pauses a job: it stays, with its history, and does not run. @throws QueryError NOT_FOUND */
export function disableJob(session: Session, jobId: number): Promise<Job> {
  return alterJob(session, jobId, { scheduled: false })
}

/** The statement of {@link deleteJob}. @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION */
export function deleteJobSql(capabilities: Capabilities, jobId: number): Sql {
  checkJobId(jobId)
  requireFeature(capabilities, 'job')
  return callFunction('delete_job', [sql.literal(jobId)])
}

/**
 * Removes a job, also a policy's. Its history is gone from the views where it had errors, too.
 * @throws QueryError NOT_FOUND where there is none and `ifExists` is not given.
 */
export async function deleteJob(session: Session, jobId: number, options: RemoveOptions = {}): Promise<RemoveResult> {
  checkKeys(options, REMOVE_KEYS, 'deleteJob')
  const statement = deleteJobSql(await readCapabilities(session), jobId)
  if (options.ifExists === true && (await findJob(session, jobId)) === undefined) return { removed: false }
  await withHints(POLICY_HINTS, () => session.query(statement))
  return { removed: true }
}

function checkAlter(jobId: number, options: AlterJobOptions): void {
  checkJobId(jobId)
  checkKeys(options, ALTER_KEYS, 'alterJob')
  if (Object.values(options).every((value) => value === undefined))
    throw invalidOption('alterJob was told to change nothing.')
  requirePositive('scheduleInterval', options.scheduleInterval)
  requirePositive('retryPeriod', options.retryPeriod)
  configText(options.config)
  const { maxRetries } = options
  if (maxRetries !== undefined && !(Number.isInteger(maxRetries) && maxRetries >= -1 && maxRetries < 2 ** 31)) {
    throw invalidOption('maxRetries must be a whole number, or -1 for no limit.')
  }
}

/** The server takes a configuration with the id of any hypertable, and the policy then drops that one's data. */
function keepRelation(job: AlteredJob, config: JobConfig): JobConfig {
  const kept: Record<string, unknown> = {}
  for (const key of ['hypertable_id', 'mat_hypertable_id']) {
    const existing = job.config[key]
    if (job.kind === 'action' || existing === undefined) continue
    if (config[key] !== undefined && config[key] !== existing) {
      throw invalidOption(
        `config.${key} of ${job.name} cannot be changed.`,
        'Add a policy to the other hypertable instead.',
      )
    }
    kept[key] = existing
  }
  return { ...config, ...kept }
}

function configSql(config: JobConfig | undefined): Sql | undefined {
  const text = configText(config)
  return text === undefined ? undefined : sql`${text}::jsonb`
}

function configText(config: JobConfig | undefined): string | undefined {
  if (config === undefined) return undefined
  if (typeof config !== 'object' || config === null || Array.isArray(config))
    throw invalidOption('config must be an object.')
  try {
    return JSON.stringify(config)
  } catch (cause) {
    throw new UsageError('INVALID_OPTION', 'config must hold nothing but what JSON can hold.', { cause })
  }
}

function optionalTime(time: TimeInput | undefined): Sql | undefined {
  return time === undefined ? undefined : timeSql(time, 'timestamptz')
}
