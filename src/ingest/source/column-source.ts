import { UsageError } from '../../errors.ts'
import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import type { ValueOptions, ValueWriter } from '../encode/value.ts'
import { putMicroseconds, scaled } from '../encode/value-time.ts'

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
  readonly writer?: (receive: string) => FieldWriter | FixedField | undefined
  get(row: number): unknown
}

/** Writes the field of a row. */
export type FieldWriter = (buffer: CopyBuffer, row: number) => void

/** A field that has one size in all rows and is never NULL: those of a row that follow each other need room only once. */
export interface FixedField {
  /** With its length in front. */
  readonly bytes: number
  /** Writes the fields of some rows. @param shift - how far behind the place of its row each begins @throws Misfit */
  readonly put: (view: DataView, at: RowPlaces, shift: number) => void
}

/** Rows, and where in a block there is room for fields of theirs. */
export interface RowPlaces {
  readonly rows: Uint32Array
  readonly places: Uint32Array
  readonly count: number
}

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
  throw new UsageError('INVALID_VALUE', `The data of column ${JSON.stringify(name)} is no array or column`, {
    hint: 'A single row stands in a list: [row].',
  })
}

/** Writes the field of a row of this column. */
export function sourceWriter(
  column: { readonly write: ValueWriter; readonly receive: string },
  source: ColumnSource,
  { timeUnit = 'us' }: Pick<ValueOptions, 'timeUnit'>,
): FieldWriter | FixedField {
  const { typed, get } = source
  const { write, receive } = column
  const own = source.writer?.(receive)
  if (own !== undefined) return own
  if (typed instanceof Float64Array && receive === 'float8recv') return float8(typed)
  if (typed instanceof Int32Array && receive === 'int4recv') return int4(typed)
  if (typed instanceof BigInt64Array && receive === 'int8recv') return int8(typed)
  if (typed instanceof BigInt64Array && timeTypes.has(receive)) return time(typed, timeUnit)
  return (buffer, row) => {
    const value = get(row)
    if (value === null || value === undefined) buffer.null()
    else write(buffer, value)
  }
}

/** A field of one size where it stands alone. */
export function fieldWriter(field: FieldWriter | FixedField): FieldWriter {
  if (typeof field === 'function') return field
  const { bytes, put } = field
  const one = { rows: new Uint32Array(1), places: new Uint32Array(1), count: 1 }
  return (buffer, row) => {
    // Room first: it may be in another block.
    one.places[0] = buffer.reserve(bytes)
    one.rows[0] = row
    put(buffer.view, one, 0)
  }
}

/** The functions of the server's types that hold a point in time in microseconds. */
export const timeTypes: ReadonlySet<string> = new Set(['timestamptz_recv', 'timestamp_recv'])

export function float8(values: Float64Array | Float32Array): FixedField {
  return {
    bytes: 12,
    put: (view, { rows, places, count }, shift) => {
      for (let index = 0; index < count; index++) {
        const at = (places[index] ?? 0) + shift
        view.setInt32(at, 8)
        view.setFloat64(at + 4, values[rows[index] ?? 0] ?? 0)
      }
    },
  }
}

export function int4(values: Int32Array | Int16Array | Int8Array): FixedField {
  return {
    bytes: 8,
    put: (view, { rows, places, count }, shift) => {
      for (let index = 0; index < count; index++) {
        const at = (places[index] ?? 0) + shift
        view.setInt32(at, 4)
        view.setInt32(at + 4, values[rows[index] ?? 0] ?? 0)
      }
    },
  }
}

export function int8(values: BigInt64Array): FixedField {
  const words = halves(values)
  return {
    bytes: 12,
    put: (view, { rows, places, count }, shift) => {
      for (let index = 0; index < count; index++) {
        const at = (places[index] ?? 0) + shift
        const word = (rows[index] ?? 0) * 2
        view.setInt32(at, 8)
        view.setInt32(at + 4, words[word + high] ?? 0)
        view.setInt32(at + 8, words[word + 1 - high] ?? 0)
      }
    },
  }
}

/** @param inUtc - from microseconds that the clocks of a zone show */
export function time(values: BigInt64Array, unit: TimeUnit, inUtc?: (micros: bigint) => bigint): FixedField {
  const words = halves(values)
  const rough = roughMicros[unit]
  return {
    bytes: 12,
    put: (view, { rows, places, count }, shift) => {
      for (let index = 0; index < count; index++) {
        const row = rows[index] ?? 0
        const number = rough(words[row * 2 + high] ?? 0, (words[row * 2 + 1 - high] ?? 0) >>> 0)
        const micros = Math.abs(number) < 2 ** 52 ? number : scaled(values[row] ?? 0n, unit)
        putMicroseconds(view, (places[index] ?? 0) + shift, inUtc === undefined ? micros : inUtc(BigInt(micros)))
      }
    },
  }
}

/** Read by halves, and as numbers where those are exact: a bigint is an allocation. */
function halves(values: BigInt64Array): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, values.length * 2)
}

type TimeUnit = NonNullable<ValueOptions['timeUnit']>

/** Which half of a bigint is its high one in memory: 1 on little-endian machines. */
const high: 0 | 1 = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 1 : 0
const twoTo32 = 4294967296

/** Microseconds by unit from the halves of a count, exact within ±2^52; nanoseconds are cut down as by {@link scaled}. */
const roughMicros: Readonly<Record<TimeUnit, (high: number, low: number) => number>> = {
  s: (high, low) => (high * twoTo32 + low) * 1_000_000,
  ms: (high, low) => (high * twoTo32 + low) * 1000,
  us: (high, low) => high * twoTo32 + low,
  // 2^32 is 4,294,967 thousands and 296.
  ns: (high, low) => high * 4_294_967 + Math.floor((high * 296 + low) / 1000),
}
