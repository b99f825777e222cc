import { BatchError, ConnectionError, QueryError, UsageError } from '../../errors.ts'
import { isRowFailure } from '../row-failure.ts'

/** What keeps a writer from writing. */
export class WriterTrouble {
  /** Why it cannot go on at all: a row, or the database was closed. */
  failure: Error | undefined
  /** Why nothing can be put on disk. */
  spill: ConnectionError | undefined
  /** Since when batches cannot be written. */
  away: { readonly since: number; readonly error: Error } | undefined

  get problem(): Error | undefined {
    return this.failure ?? this.spill ?? this.away?.error
  }

  /** @returns whether it is news that a batch cannot be written */
  note(error: unknown): boolean {
    const problem = error instanceof Error ? error : new Error(String(error))
    const closed = error instanceof UsageError && error.code === 'CLOSED'
    if (closed || error instanceof BatchError || isRowFailure(error)) {
      this.failure = problem
      return false
    }
    const isNew = this.away === undefined
    this.away = { since: this.away?.since ?? Date.now(), error: problem }
    return isNew
  }

  /** @throws why nothing can be accepted */
  check(): void {
    if (this.failure !== undefined) throw this.failure
    if (this.away !== undefined && this.spill !== undefined) throw this.spill
  }

  /**
   * How long a call that waits may go on, in milliseconds; undefined while nothing is in the way.
   * @param since - from when on the time counts; default when the database went away
   * @throws what is in the way, when the time is over
   */
  patience(giveUpMs: number, spills: boolean, since: number | undefined): number | undefined {
    if (this.away === undefined || (spills && this.spill === undefined)) return undefined
    const left = (since ?? this.away.since) + giveUpMs - Date.now()
    if (left > 0) return left
    throw this.spill ?? givenUp(this.away.error, giveUpMs)
  }
}

function givenUp(error: Error, ms: number): Error {
  if (!(error instanceof ConnectionError)) return error
  const message = `${error.message} Batches cannot be written for ${ms} ms.`
  return new ConnectionError(error.code, message, { hint: error.hint, retryable: true, cause: error })
}

/** The same error, which says what is lost with the writer. */
export function withLost(error: unknown, rows: number): unknown {
  if (rows === 0 || !(error instanceof Error)) return error
  const message = `${error.message} ${rows} rows that were accepted are not written.`
  if (error instanceof BatchError) return new BatchError(message, error)
  if (error instanceof ConnectionError) return new ConnectionError(error.code, message, error)
  if (error instanceof QueryError) return new QueryError(error.code, message, error)
  return new UsageError('CLOSED', message, { cause: error })
}
