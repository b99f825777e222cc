import { UsageError } from '../../errors.ts'
import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import type { ValueWriter } from '../encode/value.ts'

/** The values of one column: an array, a typed array, or a column of an Arquero or Arrow table. */
export type ColumnInput = ArrayLike<unknown> | { readonly length: number; at(row: number): unknown }

/** Columns by name, or a table of Arquero, flechette or apache-arrow. */
export type ColumnsInput = Readonly<Record<string, ColumnInput>> | ColumnTableLike | ArrowTableLike

/** What is used of an Arquero table. */
export interface ColumnTableLike {
  columnNames(): string[]
  numRows(): number
  column(name: string): unknown
  reify(): ColumnTableLike
}

/** What is used of an Arrow table. */
export interface ArrowTableLike {
  readonly schema: { readonly fields: readonly { readonly name: string }[] }
  getChild(name: string): unknown
}

/** One column, and how many rows it has. */
export interface ColumnSource {
  readonly length: number
  /** Set for a plain typed array: its bytes can be taken without a look at each value. */
  readonly typed: Float64Array | Int32Array | BigInt64Array | undefined
  /** Writes the field of a row for a type's function of the server, faster than by its value; undefined where it cannot. */
  readonly writer?: (receive: string) => FieldWriter | undefined
  get(row: number): unknown
}

/** Writes the field of a row. */
export type FieldWriter = (buffer: CopyBuffer, row: number) => void

/** The columns of any accepted input by name. @throws UsageError INVALID_VALUE for columns of different lengths */
export function columnSources(input: ColumnsInput): Map<string, ColumnSource> {
  const sources = new Map<string, ColumnSource>()
  for (const [name, column] of entries(input)) sources.set(name, columnSource(name, column))
  const lengths = new Set([...sources.values()].map(({ length }) => length))
  if (lengths.size > 1) {
    const shown = [...sources].map(([name, { length }]) => `${name} ${length}`).join(', ')
    throw new UsageError('INVALID_VALUE', `The columns do not have the same number of rows: ${shown}`)
  }
  return sources
}

function entries(input: ColumnsInput): [string, unknown][] {
  if (isColumnTable(input)) {
    // Filters and orders are only noted in the table: its columns still hold all rows.
    const table = input.reify()
    return table.columnNames().map((name) => [name, table.column(name)])
  }
  if (isArrowTable(input)) return input.schema.fields.map(({ name }) => [name, input.getChild(name)])
  return Object.entries(input)
}

function isColumnTable(input: object): input is ColumnTableLike {
  return 'columnNames' in input && typeof input.columnNames === 'function' && 'reify' in input
}

function isArrowTable(input: object): input is ArrowTableLike {
  return 'getChild' in input && typeof input.getChild === 'function' && 'schema' in input
}

function columnSource(name: string, column: unknown): ColumnSource {
  if (column instanceof Float64Array || column instanceof Int32Array || column instanceof BigInt64Array) {
    return { length: column.length, typed: column, get: (row) => column[row] }
  }
  if (Array.isArray(column) || (ArrayBuffer.isView(column) && !(column instanceof DataView))) {
    // Every view but DataView has elements, which TypeScript does not see.
    const list = column as unknown as ArrayLike<unknown>
    return { length: list.length, typed: undefined, get: (row) => list[row] }
  }
  if (typeof column === 'object' && column !== null && 'length' in column && typeof column.length === 'number') {
    const get = 'get' in column ? column.get : 'at' in column ? column.at : undefined
    if (typeof get === 'function')
      return { length: column.length, typed: undefined, get: (row) => get.call(column, row) }
  }
  throw new UsageError('INVALID_VALUE', `The data of column ${JSON.stringify(name)} is no array or column`)
}

/** Writes the field of a row of this column. */
export function sourceWriter(
  column: { readonly write: ValueWriter; readonly receive: string },
  source: ColumnSource,
): FieldWriter {
  const { typed, get } = source
  const { write, receive } = column
  const own = source.writer?.(receive)
  if (own !== undefined) return own
  if (typed instanceof Float64Array && receive === 'float8recv') return float8(typed)
  if (typed instanceof Int32Array && receive === 'int4recv') return int4(typed)
  if (typed instanceof BigInt64Array && receive === 'int8recv') return int8(typed)
  return (buffer, row) => {
    const value = get(row)
    if (value === null || value === undefined) buffer.null()
    else write(buffer, value)
  }
}

export function float8(values: Float64Array | Float32Array): FieldWriter {
  return (buffer, row) => {
    const at = buffer.reserve(12)
    const { view } = buffer
    view.setInt32(at, 8)
    view.setFloat64(at + 4, values[row] ?? 0)
  }
}

export function int4(values: Int32Array | Int16Array | Int8Array): FieldWriter {
  return (buffer, row) => {
    const at = buffer.reserve(8)
    const { view } = buffer
    view.setInt32(at, 4)
    view.setInt32(at + 4, values[row] ?? 0)
  }
}

export function int8(values: BigInt64Array): FieldWriter {
  // Read by halves: a bigint is an allocation.
  const words = new Int32Array(values.buffer, values.byteOffset, values.length * 2)
  return (buffer, row) => {
    const at = buffer.reserve(12)
    const { view } = buffer
    view.setInt32(at, 8)
    view.setInt32(at + 4, words[row * 2 + high] ?? 0)
    view.setInt32(at + 8, words[row * 2 + 1 - high] ?? 0)
  }
}

/** Which half of a bigint is its high one in memory: 1 on little-endian machines. */
export const high: 0 | 1 = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 1 : 0
