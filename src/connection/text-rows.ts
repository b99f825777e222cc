import type { ArrayTypes } from '../wire/array-type.ts'
import type { ResultField } from '../wire/column.ts'
import { type TextParser, type TextTypeOptions, textParser } from '../wire/text-type.ts'
import type { RowTarget } from './result-query.ts'
import type { Row } from './session.ts'
import { emptyRow } from './statement-query.ts'

const DATA_ROW = 68

/** Reads the rows of one result into row objects, those of each block of bytes at once. */
export class TextRows<R extends object> implements RowTarget {
  readonly #options: TextTypeOptions
  readonly #onRows: (rows: R[]) => void
  readonly #onInterrupt: () => void
  #names: string[] = []
  #parsers: TextParser[] = []
  #empty: Row = {}

  constructor(options: TextTypeOptions, onRows: (rows: R[]) => void, onInterrupt: () => void) {
    this.#options = options
    this.#onRows = onRows
    this.#onInterrupt = onInterrupt
  }

  /** All as text; yet the types are asked for first, since some are to be looked up. */
  formatOf(): 0 {
    return 0
  }

  describe(fields: readonly ResultField[], arrays: ArrayTypes): void {
    this.#names = fields.map(({ name }) => name)
    this.#parsers = fields.map(({ typeId }) => textParser(typeId, this.#options, arrays))
    this.#empty = emptyRow(fields)
  }

  readRows(bytes: Buffer, view: DataView, start: number, end: number): number {
    const rows: R[] = []
    let at = start
    while (at + 7 <= end && bytes[at] === DATA_ROW) {
      const next = at + 1 + view.getInt32(at + 1)
      if (next > end || next < at + 7) break
      rows.push(this.#readRow(bytes, view, at + 7, next))
      at = next
    }
    if (rows.length > 0) this.#onRows(rows)
    return at
  }

  finish(): void {}

  interrupt(): void {
    this.#onInterrupt()
  }

  #readRow(bytes: Buffer, view: DataView, start: number, end: number): R {
    const row = { ...this.#empty }
    let at = start
    for (let index = 0; index < this.#names.length; index++) {
      const size = view.getInt32(at)
      at += 4
      const name = this.#names[index]
      if (size < 0 || name === undefined) continue
      row[name] = this.#parsers[index]?.(bytes.toString('utf8', at, at + size), name)
      at += size
    }
    if (at !== end) throw new Error('A row does not have the columns that were announced')
    // The caller names the row's type; the server decides what is in it.
    return row as R
  }
}
