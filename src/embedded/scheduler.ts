/**
 * Runs due jobs, one at a time, between the users' statements: the engine has no background workers. What it writes
 * about a run is in job-record.ts.
 */
import { quoteLiteral } from '../sql/literal.ts'
import type { Setting } from './engine-message.ts'
import { type RunWork, WorkError, type WorkOptions } from './engine-work.ts'
import {
  type BegunRun,
  beginRun,
  type ChunkCounts,
  type DueTimes,
  endRun,
  pruneHistory,
  readNextDue,
  requeueRun,
} from './job-record.ts'
import { RECOVER } from './job-statement.ts'
import type { ServerObserver, SessionServer } from './session-server.ts'

export interface SchedulerOptions {
  /** A run is cancelled and queued again when a connection has waited for it so long; undefined: never. */
  readonly yieldAfterMs: number | undefined
}

/** What a run did, where it was watched. */
export interface FinishedRun {
  readonly jobId: number
  /** What the server calls the job. */
  readonly name: string
  /** `requeued`: it was cancelled for a connection that waited, and did not count. */
  readonly outcome: 'success' | 'failure' | 'requeued'
  readonly durationMs: number
  readonly error: WorkError | undefined
  readonly effect: JobEffect
}

/** What a policy did to its hypertable or continuous aggregate; 0 for everything else. */
export interface JobEffect {
  readonly chunksDropped: number
  readonly chunksCompressed: number
  /** Rows of the aggregate that were written anew. */
  readonly rowsRefreshed: number
}

const TICK_MS = 500
/** After open: jobs that became due while nothing was open run soon, but do not delay the first statement. */
const FIRST_TICK_MS = 100
/** After a run that made room, or a failure to write down a run. */
const PAUSE_MS = 1000
const SUPERUSER = 'postgres'
const WRITTEN_ROWS = /^inserted (\d+) row\(s\) into materialization table/
const NEVER = Number.POSITIVE_INFINITY

export class Scheduler implements ServerObserver {
  readonly #server: SessionServer
  readonly #options: SchedulerOptions
  /** True where a statement may have changed a job since it was last asked which is due. */
  #changed = true
  #recovered = false
  /** By the clock of this machine, milliseconds. */
  #nextDue = NEVER
  #pausedUntil = 0
  #running: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #stopped = new AbortController()

  constructor(server: SessionServer, options: SchedulerOptions) {
    this.#server = server
    this.#options = options
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.#tick()
      this.#timer = setInterval(() => this.#tick(), TICK_MS).unref()
    }, FIRST_TICK_MS).unref()
  }

  /**
   * Where no job runs by itself: closes what another process left open before the first statement of a connection, which
   * would else be told that a run is under way. Where this fails, on a full disk for example, the next open tries again.
   */
  recoverFirst(): void {
    this.#server.lease((run) => this.recover(run)).catch(() => undefined)
  }

  /** An engine was opened: what the one before left open has to be closed. */
  opened(): void {
    this.#recovered = false
    this.#changed = true
  }

  /** Any statement may have changed a job. */
  completed(): void {
    this.#changed = true
  }

  free(): void {}

  /** Cancels the run under way, which is queued again and did not count, and starts no other. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    clearInterval(this.#timer)
    // One that waits for a transaction, or for an engine that cannot be opened, would wait for ever.
    this.#server.refuseLeases()
    // Work in the background keeps no process alive, but whoever closes waits for it.
    const alive = setInterval(() => undefined, TICK_MS)
    await this.#running
    clearInterval(alive)
  }

  /** Closes what an engine that ended left open. */
  async recover(run: RunWork): Promise<void> {
    if (this.#recovered) return
    await run(RECOVER)
    this.#recovered = true
  }

  /**
   * Runs the first job that is due; undefined where none is. Where it is watched, `began` is told at what time, in
   * microseconds since 1970, after the start was written and before the job runs, and what it did is looked at.
   */
  async runDue(
    run: RunWork,
    times: DueTimes,
    began?: (microseconds: bigint) => void,
  ): Promise<FinishedRun | undefined> {
    const watched = began !== undefined
    const begun = await beginRun(run, times, watched)
    if (begun === undefined) return undefined
    began?.(begun.microseconds)
    const started = performance.now()
    let rowsRefreshed = 0
    let error: WorkError | undefined
    try {
      // Only the log says how many rows a refresh wrote.
      const notices = await this.#call(run, begun, watched ? [['client_min_messages', 'log']] : [])
      rowsRefreshed = notices.reduce((sum, notice) => sum + Number(WRITTEN_ROWS.exec(notice)?.[1] ?? 0), 0)
    } catch (cause) {
      if (!(cause instanceof WorkError)) throw cause
      error = cause
    }
    const { outcome, chunks } = await this.#finish(run, begun, error)
    const durationMs = performance.now() - started
    const effect = {
      chunksDropped: Math.max(begun.chunks.all - chunks.all, 0),
      chunksCompressed: Math.max(chunks.compressed - begun.chunks.compressed, 0),
      rowsRefreshed,
    }
    return { jobId: begun.jobId, name: begun.name, outcome, durationMs, error, effect }
  }

  /** Gives the notices of the run. */
  async #call(run: RunWork, begun: BegunRun, settings: readonly Setting[]): Promise<readonly string[]> {
    const limits: WorkOptions = {
      limitMs: begun.limitMs,
      yieldAfterMs: this.#options.yieldAfterMs,
      signal: this.#stopped.signal,
    }
    const asOther = begun.owner !== SUPERUSER
    if (begun.kind === 'history' && !asOther) {
      await pruneHistory(run, begun.jobId, limits)
      return []
    }
    // Settings with a dot in their names that a function sets are not among those that are swapped.
    const session: WorkOptions = { session: 'new', settings, resets: begun.kind === 'action' }
    if (asOther) await run(`set session authorization ${quoteLiteral(begun.owner)}`, session)
    const call = `call public.run_job(${begun.jobId})`
    return (await run(call, { ...(asOther ? { session: 'same' } : session), ...limits })).notices
  }

  async #finish(
    run: RunWork,
    begun: BegunRun,
    error: WorkError | undefined,
  ): Promise<{ outcome: FinishedRun['outcome']; chunks: ChunkCounts }> {
    if (error?.cancelled === 'yield' || error?.cancelled === 'request') {
      await requeueRun(run, begun)
      this.#pausedUntil = performance.now() + PAUSE_MS
      return { outcome: 'requeued', chunks: begun.chunks }
    }
    const fields = error?.cancelled === 'timeout' ? overTime(error.fields, begun) : error?.fields
    const ended = await endRun(run, begun, fields)
    // As the server does after the last retry.
    if (ended?.failedForGood) await run(`select public.alter_job(${begun.jobId}, scheduled => false)`)
    return { outcome: error === undefined ? 'success' : 'failure', chunks: ended?.chunks ?? begun.chunks }
  }

  #tick(): void {
    const isDue = this.#changed || Date.now() >= this.#nextDue
    if (this.#running !== undefined || !isDue || performance.now() < this.#pausedUntil) return
    this.#running = this.#work().finally(() => {
      this.#running = undefined
    })
  }

  async #work(): Promise<void> {
    try {
      while (!this.#stopped.signal.aborted && (await this.#server.lease((run) => this.#step(run))));
    } catch {
      // The engine ended, or could not write: the next one, or a later try, finds the job due.
      this.#changed = true
      this.#pausedUntil = performance.now() + PAUSE_MS
    }
  }

  /** Gives true where a job was run and the next may be due. */
  async #step(run: RunWork): Promise<boolean> {
    if (this.#stopped.signal.aborted) return false
    await this.recover(run)
    if (Date.now() < this.#nextDue && !(await this.#isDue(run))) return false
    const finished = await this.runDue(run, { floor: 'now()', until: 'now()' })
    if (finished === undefined) return this.#isDue(run)
    return finished.outcome !== 'requeued'
  }

  async #isDue(run: RunWork): Promise<boolean> {
    this.#changed = false
    const due = await readNextDue(run, 'now()')
    this.#nextDue = due === undefined ? NEVER : Math.ceil(Number(due) / 1000)
    return this.#nextDue <= Date.now()
  }
}

function overTime(fields: ReadonlyMap<string, string>, { maxRuntime }: BegunRun): ReadonlyMap<string, string> {
  return new Map([...fields, ['M', `canceling job that ran longer than its max_runtime of ${maxRuntime}`]])
}
