import { AsyncLocalStorage } from 'node:async_hooks'
import type { Duplex } from 'node:stream'

/** An open or ended transaction, live: its fields change as it goes on. */
export interface TransactionState {
  /** What `Session.database` is for it. */
  readonly database: object
  /** The stream of the connection that holds it. */
  readonly connection: Duplex
  /** False once its function has ended and no statement can be added. */
  readonly open: boolean
  /** True while a statement of it is waiting or running. */
  readonly statementInFlight: boolean
  /** Milliseconds since its last statement ended; 0 while one is in flight. */
  readonly idleSinceMs: number
}

interface ContextEntry {
  readonly state: TransactionState
  readonly outer: ContextEntry | undefined
}

const storage = new AsyncLocalStorage<ContextEntry>()

/**
 * The innermost open transaction of `database` in whose function this code runs, also in what that function started and
 * did not await; or one that has ended meanwhile (see `open`). Undefined outside of any.
 */
export function currentTransaction(database: object): TransactionState | undefined {
  let ended: TransactionState | undefined
  for (let entry = storage.getStore(); entry !== undefined; entry = entry.outer) {
    if (entry.state.database !== database) continue
    if (entry.state.open) return entry.state
    ended ??= entry.state
  }
  return ended
}

/** Whether this code runs inside the function of exactly this transaction or savepoint. */
export function insideTransaction(state: TransactionState): boolean {
  for (let entry = storage.getStore(); entry !== undefined; entry = entry.outer) {
    if (entry.state === state) return true
  }
  return false
}

/** Runs `run` so that it, and all it starts, finds `state` with {@link currentTransaction}. */
export function runInTransaction<T>(state: TransactionState, run: () => T): T {
  return storage.run({ state, outer: storage.getStore() }, run)
}
