import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import type { FieldWriter, FixedField } from '../source/column-source.ts'

/** Fields of one size that follow each other in a row, then one of any size. */
interface Run {
  readonly bytes: number
  readonly fixed: readonly { readonly field: FixedField; readonly shift: number }[]
  readonly last: FieldWriter | undefined
  /** Where the fields of a row begin, and which row it is, for those that are not written yet. */
  readonly places: Uint32Array
  readonly rows: Uint32Array
  count: number
}

/** Rows whose room is made before their fields are written. */
const most = 1024

/**
 * Writes many rows of columns, a column after another where its fields have one size: a loop over one array is faster than
 * a call for each field.
 */
export class ColumnWriter {
  readonly #runs: readonly Run[]

  /** @param count - of the fields of a row, those of `fields` the first of them */
  constructor(count: number, fields: readonly (FieldWriter | FixedField)[]) {
    const runs: Run[] = []
    let bytes = 2
    let fixed: Run['fixed'][number][] = [{ field: fieldCount(count), shift: 0 }]
    const end = (last: FieldWriter | undefined): void => {
      runs.push({ bytes, fixed, last, places: new Uint32Array(most), rows: new Uint32Array(most), count: 0 })
      bytes = 0
      fixed = []
    }
    for (const field of fields) {
      if (typeof field === 'function') end(field)
      else {
        fixed.push({ field, shift: bytes })
        bytes += field.bytes
      }
    }
    if (bytes > 0) end(undefined)
    this.#runs = runs
  }

  /** @param order - the rows, counted from `first` @throws Misfit, after which what was written is of no use */
  write(buffer: CopyBuffer, order: ArrayLike<number>, first: number): void {
    for (const run of this.#runs) run.count = 0
    let { view } = buffer
    for (let at = 0; at < order.length; at++) {
      const row = first + (order[at] ?? 0)
      for (const run of this.#runs) {
        if (run.bytes > 0) {
          const place = buffer.reserve(run.bytes)
          // What waits is of the block before.
          if (buffer.view !== view || run.count === most) {
            this.#flush(view)
            view = buffer.view
          }
          run.places[run.count] = place
          run.rows[run.count++] = row
        }
        if (run.last === undefined) continue
        run.last(buffer, row)
        if (buffer.view === view) continue
        this.#flush(view)
        view = buffer.view
      }
    }
    this.#flush(view)
  }

  #flush(view: DataView): void {
    for (const run of this.#runs) {
      for (const { field, shift } of run.fixed) field.put(view, run, shift)
      run.count = 0
    }
  }
}

function fieldCount(count: number): FixedField {
  return {
    bytes: 2,
    put: (view, { places, count: rows }, shift) => {
      for (let at = 0; at < rows; at++) view.setInt16((places[at] ?? 0) + shift, count)
    },
  }
}
