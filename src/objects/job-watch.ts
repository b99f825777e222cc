import type { Session } from '../connection/session.ts'
import { TimescaleError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type JobMemory, type JobProblem, listJobProblems } from './job-problem.ts'

/** A problem that began, or that is over. */
export interface JobEvent {
  readonly type: 'opened' | 'closed'
  readonly at: Date
  readonly problem: JobProblem
}

/** How jobs are watched. */
export interface WatchOptions {
  /** Called once when a problem begins and once when it is over. What it throws ends the watch. */
  readonly onProblem: (event: JobEvent) => void | Promise<void>
  /** The time between two looks. Default 30,000. */
  readonly intervalMs?: number
  /** Ends the watch. */
  readonly signal?: AbortSignal
}

const KEYS = Object.keys({ onProblem: true, intervalMs: true, signal: true } satisfies Record<keyof WatchOptions, true>)
const DEFAULT_INTERVAL_MS = 30_000

/** A watch over the jobs, made by `watchJobs()`. `await using` ends it at the end of the block. */
export class JobWatch implements AsyncDisposable {
  readonly #session: Session
  readonly #options: WatchOptions
  readonly #memory: JobMemory = { stale: new Map() }
  readonly #open = new Map<string, JobProblem>()
  readonly #ended: Promise<void>
  #stopped = false
  /** Ends the wait for the next look. */
  #wake: () => void = () => undefined
  #timer: NodeJS.Timeout | undefined
  #isAwaited = false
  #failure: { readonly error: unknown } | undefined

  /** Made by `watchJobs()`. */
  constructor(session: Session, options: WatchOptions) {
    this.#session = session
    this.#options = options
    options.signal?.addEventListener('abort', this.#end, { once: true })
    this.#ended = this.#run()
  }

  /** What is wrong now, as far as it was seen. */
  get problems(): readonly JobProblem[] {
    return [...this.#open.values()]
  }

  /**
   * Waits until the watch has ended, also because the database was closed, and keeps the process alive meanwhile; nothing else of a watch does.
   * @throws what `onProblem` threw
   */
  async untilStopped(): Promise<void> {
    this.#isAwaited = true
    this.#timer?.ref()
    await this.#ended
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Ends the watch, and waits for the look that is under way. */
  async stop(): Promise<void> {
    this.#end()
    await this.#ended
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  readonly #end = (): void => {
    this.#stopped = true
    this.#wake()
  }

  async #run(): Promise<void> {
    if (this.#options.signal?.aborted === true) this.#stopped = true
    try {
      while (!this.#stopped) {
        const found = await this.#look()
        if (!this.#stopped) await this.#tell(found)
        if (!this.#stopped) await this.#pause()
      }
    } catch (error) {
      this.#failure = { error }
      // Nobody waits for it, and it must not be lost.
      if (!this.#isAwaited) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
    this.#options.signal?.removeEventListener('abort', this.#end)
    this.#stopped = true
  }

  /** A database that does not answer is a problem like any other: the watch goes on. */
  async #look(): Promise<readonly JobProblem[]> {
    try {
      return await listJobProblems(this.#session, this.#memory)
    } catch (error) {
      if (!(error instanceof TimescaleError)) throw error
      if (error.code === 'CLOSED') {
        this.#stopped = true
        return []
      }
      const message = `${error.code}: ${error.message}`
      const jobs = [...this.#open.values()].filter(({ kind }) => kind !== 'unreachable')
      const since = this.#open.get('unreachable')?.since ?? new Date()
      return [
        ...jobs,
        { kind: 'unreachable', jobId: undefined, name: 'the database', relation: undefined, message, since },
      ]
    }
  }

  async #tell(found: readonly JobProblem[]): Promise<void> {
    const keyed = new Map(found.map((problem) => [`${problem.kind} ${problem.jobId ?? ''}`.trim(), problem]))
    for (const [key, problem] of this.#open) {
      if (keyed.has(key)) continue
      this.#open.delete(key)
      await this.#options.onProblem({ type: 'closed', at: new Date(), problem })
    }
    for (const [key, problem] of keyed) {
      const isKnown = this.#open.has(key)
      this.#open.set(key, problem)
      if (!isKnown) await this.#options.onProblem({ type: 'opened', at: new Date(), problem })
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = (): void => {
        clearTimeout(this.#timer)
        resolve()
      }
      this.#timer = setTimeout(this.#wake, this.#options.intervalMs ?? DEFAULT_INTERVAL_MS)
      if (!this.#isAwaited) this.#timer.unref()
    })
  }
}

/**
 * Looks at the jobs again and again, and says when one of them is in trouble and when it is over it.
 * @throws UsageError INVALID_OPTION
 */
export function watchJobs(session: Session, options: WatchOptions): JobWatch {
  checkKeys(options, KEYS, 'watchJobs')
  if (typeof options.onProblem !== 'function') throw invalidOption('watchJobs needs onProblem: a function.')
  const { intervalMs } = options
  if (intervalMs !== undefined && !(Number.isFinite(intervalMs) && intervalMs > 0 && intervalMs < 2 ** 31)) {
    throw invalidOption('intervalMs must be a number of milliseconds above 0.')
  }
  return new JobWatch(session, options)
}
