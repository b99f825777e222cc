import { setTimeout as wait } from 'node:timers/promises'
import { cancelledError, isLockTimeout, isSerializationFailure } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { BatchError, ConnectionError, QueryError, TimescaleError, UsageError } from '../errors.ts'
import { counted } from '../sql/counted.ts'
import type { LoadSettings } from './load-option.ts'

/** What a load that failed leaves behind. */
export interface Kept {
  readonly read: number
  readonly written: number
  /** Whether it has made the table. */
  readonly created: boolean
  /** Chunks that it has decompressed. */
  readonly decompressed: number
}

/** The same error, which says what stays. */
export function explainFailure(error: unknown, session: Session, kept: Kept): unknown {
  const parts: string[] = []
  if (!session.inTransaction) {
    if (kept.written > 0)
      parts.push(
        `${counted(kept.written, 'row')} of other batches ${kept.written === 1 ? 'is written and stays' : 'are written and stay'}.`,
      )
    else if (kept.created) parts.push('The table was created and stays.')
    if (kept.decompressed > 0)
      parts.push(
        `${counted(kept.decompressed, 'chunk')} decompressed for it ${kept.decompressed === 1 ? 'stays' : 'stay'} so.`,
      )
  }
  const hint = kept.created && error instanceof BatchError ? (error.hint ?? sampleHint) : undefined
  if (parts.length === 0 && hint === undefined) return error
  const message = [ended(error instanceof Error ? error.message : String(error)), ...parts].join(' ')
  const more = hint === undefined ? {} : { hint }
  if (error instanceof BatchError)
    return new BatchError(message, { ...detailsOf(error), ...more, row: error.row, rowCount: error.rowCount })
  if (error instanceof QueryError) return new QueryError(error.code, message, error)
  if (error instanceof ConnectionError) return new ConnectionError(error.code, message, error)
  if (error instanceof UsageError) return new UsageError(error.code, message, error)
  if (error instanceof TimescaleError) return error
  const { read } = kept
  return new BatchError(`The source failed after row ${read}: ${message}`, { row: read, rowCount: read, cause: error })
}

const sampleHint =
  'The types are those of a sample: name them in create.columns, or take a larger one with create.sampleRows.'

function detailsOf({ hint, cause }: TimescaleError): { readonly hint?: string | undefined; readonly cause?: unknown } {
  return { hint, cause }
}

function ended(message: string): string {
  return /[.!?]$/.test(message) ? message : `${message}.`
}

/**
 * Whether the same batch may succeed when it is sent again, and not be written twice.
 * @param isKnown - whether a ledger knows what was committed
 */
function mayPass(error: unknown, isKnown: boolean): boolean {
  // Whether a lost COMMIT has happened is what a ledger knows.
  if (isKnown && error instanceof ConnectionError && error.code === 'CONNECTION_LOST') return true
  return (error instanceof ConnectionError && error.retryable) || isSerializationFailure(error) || isLockTimeout(error)
}

/**
 * Runs a thing again where the connection is lost or the like; in a transaction that cannot help.
 * @param isKnown - whether it does no harm when it happens twice, or knows that it happened
 * @param onAgain - called before each time but the first
 */
export async function repeated<T>(
  session: Session,
  { retries, signal }: Pick<LoadSettings, 'retries' | 'signal'>,
  run: () => Promise<T>,
  isKnown = true,
  onAgain?: () => void,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await run()
    } catch (error) {
      if (session.inTransaction || attempt >= retries || !mayPass(error, isKnown)) throw error
      onAgain?.()
      await pause(attempt, signal)
    }
  }
}

/** 50 ms, doubled each time up to 5 s, and by chance half to one and a half of it. */
async function pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  const delay = Math.min(50 * 2 ** attempt, 5000) * (0.5 + Math.random())
  await wait(delay, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    throw signal?.aborted ? cancelledError(signal) : error
  })
}
