/**
 * A clock that is moved: the engine's time is the machine's monotonic clock plus an offset in shared memory, so it goes
 * on between moves, and jobs find the time they were due at. The wall clock would not do: it is adjusted now and then,
 * and a statement could find a time before the one that was set.
 */
import { UsageError } from '../errors.ts'
import { formatInterval, type IntervalInput } from '../sql/interval.ts'
import { quoteLiteral } from '../sql/literal.ts'
import { parseTime, type TimeInput } from '../sql/time-expression.ts'
import { formatTimestamp } from '../sql/timestamp.ts'
import { readClock } from './engine-hook.ts'
import type { RunWork } from './engine-work.ts'
import type { FinishedRun, JobEffect, Scheduler } from './scheduler.ts'
import type { SessionServer } from './session-server.ts'

/** What one job did while the clock was moved. */
export interface ClockRun extends JobEffect {
  readonly jobId: number
  /** What the server calls the job, such as `Retention Policy [1000]`. */
  readonly name: string
  /** When it ran, by the database's clock. */
  readonly at: Date
  readonly outcome: 'success' | 'failure'
  /** What it really took. */
  readonly durationMs: number
  /** Set for a failure. */
  readonly error: { readonly sqlState: string; readonly message: string } | undefined
}

/** What happened while the clock was moved. */
export interface ClockReport {
  readonly from: Date
  readonly until: Date
  /** In the order in which they ran. */
  readonly runs: readonly ClockRun[]
}

/** How the clock is moved. */
export interface ClockOptions {
  /** Stops after the job that runs now; the clock stays at its time. */
  readonly signal?: AbortSignal
}

/** The offset that the engine's thread reads at each look at the time. */
export class EngineClock {
  readonly shared: SharedArrayBuffer = new SharedArrayBuffer(8)
  readonly #offset = new BigInt64Array(this.shared)
  /** Where it began, in microseconds since 1970. */
  started = 0n

  constructor(time: Date) {
    this.start(time)
  }

  start(time: Date): void {
    this.started = BigInt(time.getTime()) * 1000n
    this.set(this.started)
  }

  /** Microseconds since 1970. */
  now(): bigint {
    return readClock(this.#offset) / 1000n
  }

  set(microseconds: bigint): void {
    Atomics.store(this.#offset, 0, microseconds * 1000n - process.hrtime.bigint())
  }
}

/** The clock of a temporary database, which runs due jobs as it is moved. */
export class VirtualClock {
  readonly #clock: EngineClock
  readonly #server: SessionServer
  readonly #scheduler: Scheduler
  readonly #isInTransaction: () => boolean
  /** The time it was last set to: where a move by a span begins, so that the same moves end at the same times. */
  #set: bigint
  #moving: Promise<unknown> = Promise.resolve()

  /** Made by `connect()`. */
  constructor(
    clock: EngineClock,
    { server, scheduler }: { readonly server: SessionServer; readonly scheduler: Scheduler },
    isInTransaction: () => boolean,
  ) {
    this.#clock = clock
    this.#set = clock.started
    this.#server = server
    this.#scheduler = scheduler
    this.#isInTransaction = isInTransaction
  }

  /** The database's time at this moment. */
  now(): Date {
    return toDate(this.#clock.now())
  }

  /**
   * Moves the clock on by a span, from the time it was last set to, and runs each job at its own due time meanwhile, in
   * the order of these times, then of ids. Months are counted in UTC.
   * @throws UsageError INVALID_INTERVAL, INVALID_TIME for a span that leads backwards, INVALID_OPTION in a transaction
   */
  async advance(span: IntervalInput, options: ClockOptions = {}): Promise<ClockReport> {
    const interval = formatInterval(span)
    return this.#move(async (run) => {
      const start = quoteLiteral(formatTimestamp(this.#set, { zone: true }))
      const sum = `${start}::timestamptz + interval ${quoteLiteral(interval)}`
      const [row] = (await run(`select (extract(epoch from ${sum}) * 1000000)::bigint`)).rows
      const target = BigInt(row?.[0] ?? 0)
      if (target < this.#set) throw backwards(target, this.#set)
      return target
    }, options)
  }

  /**
   * Moves the clock on to a time, and runs each job at its own due time meanwhile.
   * @throws UsageError INVALID_TIME for a time that has passed, INVALID_OPTION in a transaction
   */
  async runUntil(time: Date | string, options: ClockOptions = {}): Promise<ClockReport> {
    const target = instant(time)
    return this.#move(async () => {
      if (target < this.#clock.now()) throw backwards(target, this.#clock.now())
      return target
    }, options)
  }

  #move(findTarget: (run: RunWork) => Promise<bigint>, options: ClockOptions): Promise<ClockReport> {
    if (this.#isInTransaction()) {
      throw new UsageError('INVALID_OPTION', 'The clock cannot be moved within a transaction: no job could run.', {
        hint: 'Move it after the commit.',
      })
    }
    const moved = this.#moving.then(() => stayAlive(() => this.#run(findTarget, options)))
    // The caller has the error; the next move only waits for the end.
    this.#moving = moved.catch(() => undefined)
    return moved
  }

  async #run(findTarget: (run: RunWork) => Promise<bigint>, { signal }: ClockOptions): Promise<ClockReport> {
    const from = this.#clock.now()
    const target = await this.#server.lease(async (run) => {
      await this.#scheduler.recover(run)
      return findTarget(run)
    })
    const runs: ClockRun[] = []
    // Not before what the users have seen of the time already.
    let floor = from
    while (signal?.aborted !== true) {
      const step = await this.#server.lease((run) => this.#step(run, floor, target))
      if (step === undefined) break
      floor = step.at
      runs.push(step.run)
    }
    if (signal?.aborted !== true) this.#clock.set(target > from ? target : from)
    this.#set = signal?.aborted === true ? floor : target
    return { from: toDate(from), until: toDate(this.#set), runs }
  }

  /** Runs the next job that is due until `target`, at its own time. */
  async #step(run: RunWork, floor: bigint, target: bigint): Promise<{ at: bigint; run: ClockRun } | undefined> {
    let at = floor
    const times = { floor: timestamp(floor), until: timestamp(target) }
    const finished = await this.#scheduler.runDue(run, times, (microseconds) => {
      at = microseconds
      this.#clock.set(at)
    })
    return finished === undefined ? undefined : { at, run: toRun(finished, at) }
  }
}

/** Jobs keep no process alive, but whoever moves the clock waits for them. */
async function stayAlive<T>(run: () => Promise<T>): Promise<T> {
  const timer = setInterval(() => undefined, 60_000)
  try {
    return await run()
  } finally {
    clearInterval(timer)
  }
}

const timestamp = (microseconds: bigint): string =>
  `${quoteLiteral(formatTimestamp(microseconds, { zone: true }))}::timestamptz`

const toDate = (microseconds: bigint): Date => new Date(Number(microseconds / 1000n))

function instant(time: TimeInput): bigint {
  const parsed = parseTime(time)
  if (parsed.kind === 'instant' && typeof parsed.microseconds === 'bigint') return parsed.microseconds
  throw new UsageError('INVALID_TIME', 'The clock needs a Date or a text such as 2025-04-01T12:00:00Z.')
}

function backwards(target: bigint, now: bigint): UsageError {
  const message = `The clock cannot go back to ${toDate(target).toISOString()}: it is ${toDate(now).toISOString()}.`
  return new UsageError('INVALID_TIME', message, { hint: 'Open another database for an earlier time.' })
}

function toRun({ jobId, name, outcome, durationMs, error, effect }: FinishedRun, at: bigint): ClockRun {
  return {
    jobId,
    name,
    at: toDate(at),
    outcome: outcome === 'success' ? 'success' : 'failure',
    durationMs,
    error: error === undefined ? undefined : { sqlState: error.fields.get('C') ?? '', message: error.message },
    ...effect,
  }
}
