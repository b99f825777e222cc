import { UsageError } from '../errors.ts'
import type { ColumnBatch, ColumnType, ColumnValues } from '../wire/column.ts'
import { joinedValues } from '../wire/column-batch.ts'
import { type Access, exactAccess } from './column-value.ts'

/** Where a batch begins among all rows, and how its values are read. */
interface Part {
  readonly start: number
  readonly end: number
  readonly access: Access
}

/**
 * A column of a result: its buffers in Arrow's layout, and its values one by one. `batches` is one for all rows, or
 * several where long texts were cut into pieces; what is in them says {@link ColumnBatch}.
 */
export class Column implements Iterable<unknown> {
  readonly name: string
  /** The type's oid in pg_type. */
  readonly typeId: number
  readonly type: ColumnType
  readonly length: number
  readonly nullCount: number
  /** numeric read as float64: how many values the number does not say exactly. */
  readonly inexact: number
  /** How many values are infinite dates or times. */
  readonly infinite: number
  readonly batches: readonly ColumnBatch[]
  #parts: readonly Part[] | undefined

  /** Made by `queryToColumns()`. */
  constructor(name: string, typeId: number, batches: readonly ColumnBatch[]) {
    this.name = name
    this.typeId = typeId
    this.type = batches[0]?.type ?? { kind: 'text' }
    this.batches = batches
    this.length = total(batches, (batch) => batch.length)
    this.nullCount = total(batches, (batch) => batch.nullCount)
    this.inexact = total(batches, (batch) => batch.inexact ?? 0)
    this.infinite = total(batches, infiniteValues)
  }

  /** One bit a row, the lowest first; 1: there is a value. Empty without NULL. @throws UsageError as {@link values} */
  get validity(): Uint8Array {
    return this.#onlyBatch().validity
  }

  /** The buffer of the values; what is in it depends on `type.kind`. @throws UsageError INVALID_VALUE with several batches */
  get values(): ColumnValues {
    return this.#onlyBatch().values
  }

  /** Where each text, bytea or list begins in its buffer. @throws UsageError as {@link values} */
  get offsets(): Int32Array | undefined {
    return this.#onlyBatch().offsets
  }

  /** The words of a text column whose `values` are numbers of words. @throws UsageError as {@link values} */
  get dictionary(): ColumnBatch | undefined {
    return this.#onlyBatch().dictionary
  }

  /** The elements of lists, or the parts of intervals. @throws UsageError as {@link values} */
  get children(): readonly ColumnBatch[] | undefined {
    return this.#onlyBatch().children
  }

  /**
   * The value of a row: boolean, number, bigint (int8), string (text, numeric as decimal, json), Buffer (bytea), days
   * since 1970 (date), bigint of microseconds (timestamps since 1970, time since midnight), {@link IntervalValue},
   * array; ±Infinity for infinite dates and times; null for NULL, undefined beyond the rows.
   */
  get(row: number): unknown {
    if (!(Number.isInteger(row) && row >= 0 && row < this.length)) return undefined
    const parts = this.#access()
    let low = 0
    for (let high = parts.length - 1; low < high; ) {
      const middle = (low + high) >> 1
      if (row < (parts[middle]?.end ?? 0)) high = middle
      else low = middle + 1
    }
    const part = parts[low]
    return part?.access(row - part.start)
  }

  /**
   * All values as {@link get} gives them. A typed array where each is a number or bigint of the buffer as it is: without
   * a copy from one batch. Else a list.
   */
  toArray(): ColumnValues | unknown[] {
    if (this.nullCount === 0 && this.infinite === 0 && isDirect(this.type)) return joinedValues(this.batches)
    return [...this]
  }

  *[Symbol.iterator](): IterableIterator<unknown> {
    for (const { start, end, access } of this.#access()) {
      for (let row = 0; row < end - start; row++) yield access(row)
    }
  }

  #access(): readonly Part[] {
    if (this.#parts !== undefined) return this.#parts
    let start = 0
    this.#parts = this.batches.map((batch) => {
      const part = { start, end: start + batch.length, access: exactAccess(batch) }
      start = part.end
      return part
    })
    return this.#parts
  }

  #onlyBatch(): ColumnBatch {
    const [batch] = this.batches
    if (batch !== undefined && this.batches.length === 1) return batch
    throw new UsageError(
      'INVALID_VALUE',
      `The column ${JSON.stringify(this.name)} has ${this.batches.length} batches.`,
      {
        hint: 'Read the buffers of each of its batches, or its values with toArray().',
      },
    )
  }
}

function total(batches: readonly ColumnBatch[], count: (batch: ColumnBatch) => number): number {
  return batches.reduce((sum, batch) => sum + count(batch), 0)
}

function infiniteValues(batch: ColumnBatch): number {
  return (batch.infinite ?? 0) + (batch.type.kind === 'list' ? total(batch.children ?? [], infiniteValues) : 0)
}

/** Whether a value is an element of the buffer. */
function isDirect({ kind }: ColumnType): boolean {
  return /^(?:u?int|float)\d+$|^date$|^time/.test(kind)
}

/** @throws UsageError INVALID_VALUE for two columns of one name, of which a table could keep only one */
export function requireDifferentNames(columns: readonly Column[]): void {
  const names = columns.map((column) => column.name)
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice === undefined) return
  throw new UsageError('INVALID_VALUE', `Two columns of the result are named ${JSON.stringify(twice)}.`, {
    hint: 'Name one of them with AS.',
  })
}
