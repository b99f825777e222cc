import type { RelationName } from '../catalog/relation.ts'
import { copyLine } from '../connection/copy-in.ts'
import type { Session } from '../connection/session.ts'
import type { QueryError } from '../errors.ts'
import { encodeRows, type RejectedRow, type RowBatch } from './batch.ts'
import { isRowFailure, rejectedRow } from './row-failure.ts'
import type { Delivery } from './sender.ts'

/** Writes the bytes of a COPY. */
export type CopyRows = (tx: Session, blocks: Iterable<Buffer>) => Promise<Delivery>

/** Where bad rows are looked for: in savepoints of a transaction. */
interface Search {
  readonly tx: Session
  readonly batch: RowBatch
  readonly copy: CopyRows
}

/**
 * Rows that the server took and did not write, as for a trigger that drops them, are left out as those are whose key is
 * there.
 */
export function counted(delivery: Delivery, rows: number): Delivery {
  return { ...delivery, skipped: Math.max(delivery.skipped, rows - delivery.written) }
}

/**
 * Writes the rows that the server takes, and says which it does not.
 * @param order - the rows in the order they are sent
 * @param blocks - all of them
 */
export async function sendFitting(
  search: Search,
  order: readonly number[],
  blocks: Iterable<Buffer>,
): Promise<Delivery> {
  const total = { written: 0, skipped: 0, rejected: [] as RejectedRow[], notices: [] as string[] }
  const decompressed: RelationName[] = []
  let notDirect: string | undefined
  const attempt = async (part: readonly number[], bytes: Iterable<Buffer>): Promise<void> => {
    if (part.length === 0) return
    try {
      const done = counted(await search.tx.transaction((inner) => search.copy(inner, bytes)), part.length)
      total.written += done.written
      total.skipped += done.skipped
      total.notices.push(...done.notices)
      notDirect ??= done.notDirect
      decompressed.push(...(done.state?.decompressed ?? []))
    } catch (error) {
      if (!isRowFailure(error)) throw error
      await withoutBad(search, part, error, total.rejected, (rest) =>
        attempt(rest, encodeRows(search.batch, rest, undefined).blocks),
      )
    }
  }
  await attempt(order, blocks)
  return { ...total, notDirect, ...(decompressed.length > 0 && { state: { decompressed } }) }
}

/** Finds what is bad: by the line the server names, where that row fails alone too; else by halves. */
async function withoutBad(
  search: Search,
  order: readonly number[],
  error: QueryError,
  rejected: RejectedRow[],
  attempt: (rest: readonly number[]) => Promise<void>,
): Promise<void> {
  const line = copyLine(error)
  const suspect = line === undefined ? undefined : order[line - 1]
  const alone = order.length === 1 ? order[0] : suspect
  if (alone !== undefined) {
    const reason = order.length === 1 ? error : await failureOf(search, [alone])
    if (reason !== undefined) {
      rejected.push(rejectedRow(search.batch, alone, reason))
      // Those before it were taken, so that all bad rows together cost about one more sending.
      const at = order.indexOf(alone)
      await attempt(order.slice(0, at))
      await attempt(order.slice(at + 1))
      return
    }
  }
  const half = Math.ceil(order.length / 2)
  await attempt(order.slice(0, half))
  await attempt(order.slice(half))
}

/** A row that the server refuses also where it is alone, found by halves; undefined where there is none such. */
export async function firstBad(
  search: Search,
  order: readonly number[],
): Promise<{ readonly row: number; readonly error: QueryError } | undefined> {
  let rest = order
  while (rest.length > 1) {
    const half = rest.slice(0, Math.ceil(rest.length / 2))
    rest = (await failureOf(search, half)) === undefined ? rest.slice(half.length) : half
  }
  const [row] = rest
  const error = row === undefined ? undefined : await failureOf(search, rest)
  return row === undefined || error === undefined ? undefined : { row, error }
}

/** Why some rows cannot be written without the others; nothing of them is kept. */
async function failureOf({ tx, batch, copy }: Search, rows: readonly number[]): Promise<QueryError | undefined> {
  const undo = new Error('undo')
  try {
    await tx.transaction(async (inner) => {
      await copy(inner, encodeRows(batch, rows, undefined).blocks)
      throw undo
    })
  } catch (error) {
    if (error === undo) return undefined
    if (isRowFailure(error)) return error
    throw error
  }
  return undefined
}
