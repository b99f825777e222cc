import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { checkJobId, getJob } from '../catalog/job.ts'
import type { JobFailure } from '../catalog/job-history.ts'
import type { Notice, Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import { callProcedure } from '../sql/call.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'

/** How a job is run now. */
export interface RunJobOptions {
  /** Ends the run; runJob then rejects with QUERY_CANCELLED. */
  readonly signal?: AbortSignal
  /**
   * Called when a refresh policy that works in batches begins another one (TimescaleDB 2.19 or newer; other jobs tell
   * nothing). What it throws rejects the call when the job has ended.
   */
  readonly onProgress?: (progress: JobProgress) => void
}

/** How far a run is. */
export interface JobProgress {
  /** The batch that begins, from 1 on. */
  readonly batch: number
  readonly batches: number
}

/** How a run ended. */
export interface RunJobResult {
  readonly jobId: number
  readonly outcome: 'success' | 'failure'
  readonly durationMs: number
  /** Set for a failure. */
  readonly error: JobFailure | undefined
}

const KEYS = Object.keys({ signal: true, onProgress: true } satisfies Record<keyof RunJobOptions, true>)

/** What the server logs of each batch of a refresh policy. */
const BATCH = /\(batch (\d+) of (\d+)\)$/

/** The statement of {@link runJob}. @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION */
export function runJobSql(capabilities: Capabilities, jobId: number): Sql {
  checkJobId(jobId)
  requireFeature(capabilities, 'job')
  return callProcedure('run_job', [sql.literal(jobId)])
}

/**
 * Runs a job now, as the role of this connection, and waits for its end. A job that fails is a result with
 * `outcome: 'failure'`, not an error. The server keeps no record of such a run, and its schedule stays as it is.
 * @throws QueryError NOT_FOUND, QUERY_CANCELLED by the signal, PERMISSION_DENIED; UsageError INVALID_OPTION within a transaction
 */
export async function runJob(session: Session, jobId: number, options: RunJobOptions = {}): Promise<RunJobResult> {
  checkKeys(options, KEYS, 'runJob')
  const statement = runJobSql(await readCapabilities(session), jobId)
  if (session.inTransaction) {
    throw new UsageError('INVALID_OPTION', 'A job cannot be run within a transaction: it makes its own.', {
      hint: 'Run it after the commit.',
    })
  }
  const { signal, onProgress } = options
  if (onProgress !== undefined && session.isHeld !== true) {
    throw new UsageError('INVALID_OPTION', 'onProgress needs a connection of its own.', {
      hint: 'Call runJob of the database, or of an openConnection().',
    })
  }
  await getJob(session, jobId)
  const interrupt = signal === undefined ? {} : { signal }
  const started = performance.now()
  const end = (error: JobFailure | undefined): RunJobResult => ({
    jobId,
    outcome: error === undefined ? 'success' : 'failure',
    durationMs: performance.now() - started,
    error,
  })
  try {
    if (onProgress === undefined) await session.query(statement, interrupt)
    else await withLog(session, (onNotice) => session.query(statement, { ...interrupt, onNotice }), onProgress)
    return end(undefined)
  } catch (error) {
    if (!(error instanceof QueryError) || signal?.aborted === true) throw error
    return end(failureOf(error))
  }
}

/** Runs something with the server's log messages, of which those about batches are told. */
async function withLog(
  session: Session,
  run: (onNotice: (notice: Notice) => void) => Promise<unknown>,
  onProgress: (progress: JobProgress) => void,
): Promise<void> {
  const { rows } = await session.query<{ level: string }>(sql`
    select pg_catalog.current_setting('client_min_messages') as level,
      pg_catalog.set_config('client_min_messages', 'log', false)`)
  const restore = (): Promise<unknown> =>
    session.query(sql`select pg_catalog.set_config('client_min_messages', ${rows[0]?.level ?? 'notice'}, false)`)
  try {
    await run(({ message }) => {
      const [, batch, batches] = BATCH.exec(message) ?? []
      if (batch !== undefined) onProgress({ batch: Number(batch), batches: Number(batches) })
    })
  } catch (error) {
    // Where the connection is lost, so is the setting, and the first error is the one to tell.
    await restore().catch(() => undefined)
    throw error
  }
  await restore()
}

/** The statement bound no values, so what the server said about the job's own work can be shown whole. */
function failureOf(error: QueryError): JobFailure {
  const fields = new Map<string, unknown>()
  if (error.cause instanceof Error) {
    for (const name of ['detail', 'hint', 'where']) fields.set(name, Reflect.get(error.cause, name))
  }
  const text = (name: string): string | undefined => {
    const value = fields.get(name)
    return typeof value === 'string' ? value : undefined
  }
  return {
    sqlState: error.sqlState,
    message: error.message,
    detail: text('detail'),
    hint: text('hint'),
    context: text('where'),
  }
}
