import type { ArrayTypes } from '../wire/array-type.ts'
import type { ColumnBatch, ColumnOptions, ColumnReader, ResultField } from '../wire/column.ts'
import { keptRows } from '../wire/column-fixed.ts'
import { columnReader, resultFormat } from '../wire/column-reader.ts'
import type { RowTarget } from './result-query.ts'
import type { KeptReaders } from './statement-cache.ts'

/** Consecutive rows of a result, one batch for each column. */
export interface ColumnChunk {
  readonly fields: readonly ResultField[]
  readonly columns: readonly ColumnBatch[]
  readonly rowCount: number
}

const DATA_ROW = 68
/** Each time all is copied. What was never written takes address space only. */
const growth = 4
/**
 * Bytes of values of changing length after which a batch ends: long texts are never joined beyond that, and Arrow's
 * 32-bit offsets are far away.
 */
const batchBytes = 8 * 1024 * 1024

/** Reads the rows of one result into columns. */
export class ColumnRows implements RowTarget {
  readonly formatOf: (typeId: number, arrays: ArrayTypes) => 0 | 1
  readonly #options: ColumnOptions
  readonly #batchRows: number
  readonly #onBatch: (chunk: ColumnChunk) => void
  readonly #onInterrupt: (() => void) | undefined
  #fields: readonly ResultField[] = []
  #readers: readonly ColumnReader<ColumnBatch>[] = []
  #kept: KeptReaders | undefined
  #rows = 0
  /** Rows there is room for; 0 before the first row of a batch. */
  #capacity = 0
  #lastCapacity = keptRows
  #batches = 0

  /**
   * @param batchRows - the most rows of a batch
   * @param onBatch - gets every batch; of a result without rows one that is empty, so that its columns are known
   */
  constructor(
    options: ColumnOptions,
    batchRows: number,
    onBatch: (chunk: ColumnChunk) => void,
    onInterrupt?: () => void,
  ) {
    this.formatOf = (typeId, arrays) => resultFormat(typeId, options, arrays)
    this.#options = options
    this.#batchRows = batchRows
    this.#onBatch = onBatch
    this.#onInterrupt = onInterrupt
  }

  describe(fields: readonly ResultField[], arrays: ArrayTypes, kept?: KeptReaders): void {
    this.#fields = fields
    this.#kept = kept
    const readers = kept?.numeric === this.#options.numeric ? kept?.readers : undefined
    // Until they are given back: those of a result that failed are in the middle of something.
    if (kept !== undefined) kept.readers = undefined
    this.#readers = readers ?? fields.map((field) => columnReader(field, this.#options, arrays))
  }

  readRows(bytes: Buffer, view: DataView, start: number, end: number): number {
    const readers = this.#readers
    const count = readers.length
    let at = start
    let row = this.#rows
    while (at + 7 <= end && bytes[at] === DATA_ROW) {
      const next = at + 1 + view.getInt32(at + 1)
      if (next > end || next < at + 7) break
      if (row === this.#capacity) row = this.#makeRoom(row)
      at += 7
      for (let index = 0; index < count; index++) {
        const size = view.getInt32(at)
        at += 4
        const reader = readers[index]
        if (size < 0) reader?.null(row)
        else {
          reader?.read(bytes, view, row, at, size)
          at += size
        }
      }
      if (at !== next) throw new Error('A row does not have the columns that were announced')
      row++
    }
    this.#rows = row
    if (this.#bytes > batchBytes) this.#cut()
    return at
  }

  finish(): void {
    if (this.#fields.length > 0 && (this.#rows > 0 || this.#batches === 0)) this.#cut()
    const kept = this.#kept
    if (kept === undefined) return
    for (const reader of this.#readers) reader.reset()
    kept.numeric = this.#options.numeric
    kept.readers = this.#readers
  }

  interrupt(): void {
    this.#onInterrupt?.()
  }

  get #bytes(): number {
    let bytes = 0
    for (const reader of this.#readers) bytes += reader.bytes
    return bytes
  }

  /** Grows all columns, or ends the batch when it has its rows; gives the number of the row that is next. */
  #makeRoom(row: number): number {
    let next = row
    if (row > 0 && row >= this.#batchRows) {
      this.#rows = row
      this.#cut()
      next = 0
    }
    const capacity = Math.min(next === 0 ? this.#lastCapacity : next * growth, this.#batchRows)
    for (const reader of this.#readers) reader.grow(capacity)
    this.#lastCapacity = capacity
    this.#capacity = capacity
    return next
  }

  #cut(): void {
    const rowCount = this.#rows
    if (this.#capacity === 0) for (const reader of this.#readers) reader.grow(keptRows)
    const columns = this.#readers.map((reader) => reader.take(rowCount))
    this.#rows = 0
    this.#capacity = 0
    this.#batches++
    this.#onBatch({ fields: this.#fields, columns, rowCount })
  }
}
