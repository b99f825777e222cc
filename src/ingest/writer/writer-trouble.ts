import { BatchError, ConnectionError, QueryError, UsageError } from '../../errors.ts'
import { counted } from '../../sql/counted.ts'
import { isRowFailure } from '../row-failure.ts'
import { type Lane, lanes } from './writer-batch.ts'

/** What keeps a writer from writing. */
export class WriterTrouble {
  /** Why it cannot go on at all: a row, or the database was closed. */
  failure: Error | undefined
  /** Why nothing can be put on disk. */
  spill: ConnectionError | undefined
  /** Since when batches of a lane cannot be written; by a clock that nobody sets, or a step of the machine's would give up. */
  readonly #held = new Map<Lane, { readonly since: number; readonly error: Error }>()

  get problem(): Error | undefined {
    return this.failure ?? this.spill ?? this.#heldOf(lanes)?.error
  }

  /** Whether one of them cannot be written. */
  isHeld(among: readonly Lane[]): boolean {
    return this.#heldOf(among) !== undefined
  }

  /** Of them, what is held for longest. */
  #heldOf(among: readonly Lane[]): { readonly since: number; readonly error: Error } | undefined {
    const held = among.flatMap((lane) => this.#held.get(lane) ?? [])
    return held.toSorted((one, other) => one.since - other.since)[0]
  }

  /** @returns the error, where it is news that these lanes cannot be written */
  note(error: unknown, among: readonly Lane[]): Error | undefined {
    const problem = error instanceof Error ? error : new Error(String(error))
    const closed = error instanceof UsageError && error.code === 'CLOSED'
    if (closed || error instanceof BatchError || isRowFailure(error)) {
      this.failure = problem
      return undefined
    }
    const isNew = !this.isHeld(among)
    for (const lane of among)
      this.#held.set(lane, { since: this.#held.get(lane)?.since ?? performance.now(), error: problem })
    return isNew ? problem : undefined
  }

  /** Batches of these lanes are written again. @returns whether that is news */
  back(among: readonly Lane[]): boolean {
    const were = among.filter((lane) => this.#held.delete(lane))
    if (this.#held.size === 0) this.spill = undefined
    return were.length > 0
  }

  /** @throws why nothing can be accepted for one of these lanes */
  check(among: readonly Lane[]): void {
    if (this.failure !== undefined) throw this.failure
    if (this.spill !== undefined && this.isHeld(among)) throw this.spill
  }

  /**
   * How long a call that waits for lanes may go on, in milliseconds; undefined while nothing is in the way.
   * @param since - from when on the time counts; default when the first of them could not be written any more
   * @throws what is in the way, when the time is over
   */
  patience(giveUpMs: number, spills: boolean, among: readonly Lane[], since: number | undefined): number | undefined {
    const held = this.#heldOf(among)
    if (held === undefined || (spills && this.spill === undefined)) return undefined
    const left = (since ?? held.since) + giveUpMs - performance.now()
    if (left > 0) return left
    throw this.spill ?? givenUp(held.error, giveUpMs)
  }
}

function givenUp(error: Error, ms: number): Error {
  const message = `${error.message} Batches cannot be written for ${ms} ms.`
  if (error instanceof QueryError) return new QueryError(error.code, message, error)
  if (!(error instanceof ConnectionError)) return error
  return new ConnectionError(error.code, message, { hint: error.hint, retryable: true, cause: error })
}

/** The same error, which says what is lost with the writer. */
export function withLost(error: unknown, rows: number): unknown {
  if (rows === 0 || !(error instanceof Error)) return error
  const message = `${error.message} ${counted(rows, 'row')} that ${rows === 1 ? 'was' : 'were'} accepted ${rows === 1 ? 'is' : 'are'} not written.`
  if (error instanceof BatchError) return new BatchError(message, error)
  if (error instanceof ConnectionError) return new ConnectionError(error.code, message, error)
  if (error instanceof QueryError) return new QueryError(error.code, message, error)
  return new UsageError('CLOSED', message, { cause: error })
}
