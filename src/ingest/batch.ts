import type { LoadTarget } from '../catalog/load-target.ts'
import { BatchError } from '../errors.ts'
import { type BlockPool, COPY_HEADER, COPY_TRAILER, CopyBuffer } from '../wire/copy-buffer.ts'
import { type OrderPlan, type SortedRows, sortedRows } from './compressed/order-check.ts'
import { Misfit, type ValueOptions } from './encode/value.ts'
import { sortedOrder, type ValuesOf } from './sort.ts'

/** Rows of a source that go to the server together. */
export interface RowBatch {
  /** The number of its first row in the source, from 0. */
  readonly first: number
  readonly rows: number
  /** Writes a row of the batch. @throws BatchError */
  write(buffer: CopyBuffer, row: number): void
  /** Writes many, where that is faster. @throws Misfit, after which {@link write} says which row it is */
  readonly writeAll?: (buffer: CopyBuffer, rows: ArrayLike<number>) => void
  readonly valuesOf: ValuesOf
  /** A row as the source had it. */
  source(row: number): unknown
}

/** A row that cannot be written. */
export interface RejectedRow {
  /** Its number in the source, from 0. */
  readonly row: number
  readonly reason: string
  readonly sqlState: string | undefined
  readonly source: unknown
}

/** The bytes of a COPY, and what they are of. */
export interface EncodedBatch {
  readonly blocks: readonly Buffer[]
  readonly bytes: number
  /** The rows in the order they are sent, by their numbers in the batch. */
  readonly order: readonly number[] | Uint32Array
  /** Whether the server is to compress them as they come in. */
  readonly direct: boolean
  /** Set where the bytes are in the order of compression. */
  readonly sorted?: SortedRows | undefined
}

/** How batches are encoded. */
export interface EncodeRules extends ValueOptions {
  readonly target: LoadTarget
  readonly sort: 'auto' | 'off'
  readonly directCompress: 'auto' | 'on' | 'off'
  /** How to see whether the bytes are in order; undefined where nobody asks. */
  readonly order: OrderPlan | undefined
  /** Takes what does not fit out instead of failing. */
  readonly reject: ((rejected: RejectedRow) => void) | undefined
  /** Where the memory for the bytes comes from. */
  readonly pool: BlockPool
}

/** Below this, a compressed batch costs more bytes than it saves time: 13.5 a row at 50, 38 at 10, 307 at 1. */
const leastRowsPerSegment = 50

/** Encodes a batch in the order it is best sent. @throws BatchError for a value that does not fit, with nothing sent */
export function encodeBatch(batch: RowBatch, rules: EncodeRules): EncodedBatch {
  const { target, directCompress } = rules
  const possible = directCompress !== 'off' && target.notDirect === undefined
  const sorted =
    possible && (rules.sort === 'auto' || directCompress === 'auto')
      ? sortedOrder(target, batch.rows, batch.valuesOf, rules)
      : undefined
  const large = sorted !== undefined && batch.rows / sorted.groups >= leastRowsPerSegment
  const direct = possible && (directCompress === 'on' || large)
  const order = direct && sorted !== undefined && rules.sort === 'auto' ? sorted.order : undefined
  const encoded = encodeRows(batch, order ?? inOrder(batch.rows), rules.reject, rules.pool)
  // Of rows declared sorted, each change of the segment ends a compressed batch.
  const plan = large && order !== undefined ? rules.order : undefined
  return { ...encoded, direct, sorted: plan && sortedRows(encoded.blocks, encoded.order.length, plan) }
}

/** Encodes some rows of a batch. */
export function encodeRows(
  batch: RowBatch,
  order: readonly number[] | Uint32Array,
  reject: ((rejected: RejectedRow) => void) | undefined,
  pool?: BlockPool,
): Omit<EncodedBatch, 'direct' | 'sorted'> {
  const buffer = new CopyBuffer(pool)
  let sent = order
  if (!wroteAll(buffer, batch, order)) {
    if (reject !== undefined) sent = writeFitting(buffer, batch, order, reject)
    else for (const row of order) batch.write(buffer, row)
  }
  const bytes = buffer.length
  return { blocks: [COPY_HEADER, ...buffer.take(), COPY_TRAILER], bytes, order: sent }
}

/** @returns whether all were written at once; where they were not, nothing is */
function wroteAll(buffer: CopyBuffer, batch: RowBatch, order: readonly number[] | Uint32Array): boolean {
  if (batch.writeAll === undefined) return false
  const mark = buffer.mark()
  try {
    batch.writeAll(buffer, order)
    return true
  } catch (error) {
    if (!(error instanceof Misfit)) throw error
    buffer.rewind(mark)
    return false
  }
}

function writeFitting(
  buffer: CopyBuffer,
  batch: RowBatch,
  order: readonly number[] | Uint32Array,
  reject: (rejected: RejectedRow) => void,
): number[] {
  const sent: number[] = []
  for (const row of order) {
    const mark = buffer.mark()
    try {
      batch.write(buffer, row)
      sent.push(row)
    } catch (error) {
      if (!(error instanceof BatchError)) throw error
      buffer.rewind(mark)
      reject({ row: batch.first + row, reason: error.message, sqlState: undefined, source: batch.source(row) })
    }
  }
  return sent
}

function inOrder(rows: number): Uint32Array {
  const order = new Uint32Array(rows)
  for (let row = 0; row < rows; row++) order[row] = row
  return order
}
