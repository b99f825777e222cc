/** What depends on time passing while connections take turns: when a statement is cancelled, and a waiter refused. */
import type { ErrorFields } from '../wire/message.ts'
import type { Engine } from './engine.ts'
import type { CancelReason } from './engine-work.ts'
import type { LogicalConnection } from './logical-connection.ts'
import { readerRefusal, waitRefusal } from './refusal.ts'
import type { RunningStatement } from './running-statement.ts'

/** A statement inside the open transaction it waits for is refused after this time; promised are 250 ms. */
const NESTED_WAIT_MS = 200

/** Whose turn it is. Times are those of performance.now(). */
export interface Turn {
  readonly owner: LogicalConnection | undefined
  readonly ownerSince: number
  /** When the owner's last statement ended. */
  readonly ownerIdleSince: number
  readonly isRunning: boolean
  /** Since when the running statement waits for its client to read. */
  readonly heldSince: number | undefined
}

/** Why the running statement has to be cancelled now; undefined where it may go on. */
export function dueCancel(
  { work, startedAt }: RunningStatement,
  waiting: readonly LogicalConnection[],
  engine: Engine,
  now: number,
): CancelReason | undefined {
  if (work === undefined) {
    const limit = engine.statementTimeoutMs()
    return limit > 0 && now - startedAt >= limit ? 'timeout' : undefined
  }
  const { limitMs = 0, yieldAfterMs, signal } = work.options
  if (signal?.aborted) return 'request'
  if (limitMs > 0 && now - startedAt >= limitMs) return 'timeout'
  const since = waiting.reduce((first, { waitingSince }) => Math.min(first, waitingSince), now)
  return yieldAfterMs !== undefined && now - Math.max(since, startedAt) >= yieldAfterMs ? 'yield' : undefined
}

/** What a waiting connection is told that has waited too long; undefined where it goes on waiting. */
export function dueRefusal(
  waiter: LogicalConnection,
  { owner, ownerSince, ownerIdleSince, isRunning, heldSince }: Turn,
  lockWaitMs: number,
  now: number,
): ErrorFields | undefined {
  // It only tidies up what it left in the session, and nobody else would.
  if (waiter.closed) return undefined
  const unread = heldSince === undefined ? 0 : now - Math.max(waiter.waitingSince, heldSince)
  if (unread > lockWaitMs) return readerRefusal(unread)
  // A single statement, however long, is waited for; a transaction is not.
  if (owner === undefined || !(isRunning ? owner.status !== 'idle' : owner.inTransaction)) return undefined
  const nested = waiter.outer === owner && !isRunning
  const waited = now - Math.max(waiter.waitingSince, nested ? ownerIdleSince : ownerSince)
  const limit = nested ? Math.min(NESTED_WAIT_MS, lockWaitMs) : lockWaitMs
  return waited < limit ? undefined : waitRefusal(nested, waited)
}
