import type { Session } from '../connection/session.ts'
import type { Ledger } from './ledger.ts'
import type { Window } from './prepared.ts'
import type { Delivery } from './sender.ts'

/**
 * Sends a window of an import in a transaction with its row in the ledger, which comes first. To be run again as often as
 * it fails: what is in the table by then, since a COMMIT had no answer or by another loader, is not sent.
 */
export function claimed(
  ledger: Ledger,
  { start, rows, rejected, mark }: Window,
  send: (tx: Session) => Promise<Delivery>,
): (tx: Session) => Promise<Delivery> {
  let isOurs = false
  return async (tx) => {
    if (!(await ledger.claim(tx, start, rows, mark))) return ledger.delivered(tx, start, isOurs ? rejected : undefined)
    const sent = await send(tx)
    const bad = [...rejected, ...sent.rejected]
    // Most windows come to what was noted when they were claimed.
    if (sent.written !== rows || sent.state !== undefined) await ledger.record(tx, start, sent, bad, sent.state)
    // Only a COMMIT comes after this, which may have no answer.
    isOurs = true
    return sent
  }
}
