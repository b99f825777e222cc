import { type Batch, Column, type DataType, Precision, TimeUnit, Type, tableFromIPC } from '@uwdata/flechette'
import { UsageError } from '../errors.ts'

/** A column of an Arrow table, read value by value. */
export interface ReadColumn {
  readonly name: string
  readonly length: number
  /** The type of the server that takes all of its values, as SQL; undefined where none is obvious. */
  readonly sqlType: string | undefined
  /** What its memory holds, where that can be taken as it is. */
  readonly form: ArrowForm
  /** The memory, in the pieces that it came in. */
  readonly pieces: readonly ArrowPiece[]
  /** Why its values cannot be trusted; undefined for all but a few types. */
  readonly problem: string | undefined
  /** The value of a row; null for NULL. */
  get(row: number): unknown
}

/** A count of the unit since 1970, UTF-8, numbers as typed arrays have them, or else. */
export type ArrowForm =
  | { readonly kind: 'timestamp'; readonly unit: ArrowUnit; readonly zoned: boolean }
  | { readonly kind: 'text' | 'float' | 'integer' | 'other' }

export type ArrowUnit = 's' | 'ms' | 'us' | 'ns'

/** As Arrow lays it out. */
export interface ArrowPiece {
  readonly length: number
  readonly values: unknown
  /** Where each text begins, and the last ends. */
  readonly offsets: unknown
  /** A bit for each row, 0 for NULL; undefined where there is none. */
  readonly validity: Uint8Array | undefined
}

/**
 * The columns of Arrow IPC streams, one after another where several have a column of one name. Exact: 64-bit integers, and
 * microseconds of timestamps and times, are bigints; dates Dates; decimals their decimal text; lists arrays; structs objects.
 * @throws UsageError INVALID_VALUE for two columns of one name
 */
export function readArrow(streams: readonly Uint8Array[]): readonly ReadColumn[] {
  const columns = new Map<string, { readonly type: DataType; readonly batches: Batch<unknown>[] }>()
  for (const stream of streams) {
    const table = tableFromIPC(stream, { useBigInt: true, useDate: true, useDecimalBigInt: true })
    const { fields } = table.schema
    for (const { name, type } of fields) {
      if (fields.filter((field) => field.name === name).length > 1) {
        throw new UsageError('INVALID_VALUE', `There are two columns ${JSON.stringify(name)}`)
      }
      const batches: readonly Batch<unknown>[] = table.getChild(name).data
      for (const batch of batches) keepMarks(batch)
      const known = columns.get(name)
      if (known === undefined) columns.set(name, { type, batches: [...batches] })
      else known.batches.push(...batches)
    }
  }
  return [...columns].map(([name, { type, batches }]) => {
    const column = new Column(batches, type)
    return {
      name,
      length: column.length,
      sqlType: sqlTypeOf(type),
      problem: problemOf(type),
      form: formOf(type),
      pieces: batches.map(pieceOf),
      get: reader(column, type),
    }
  })
}

/** Makes a batch, and what is in it, give texts as they are: the library drops a byte order mark that one begins with. */
function keepMarks(batch: Batch<unknown>): void {
  const { type, values, offsets } = batch
  if ((type.typeId === Type.Utf8 || type.typeId === Type.LargeUtf8) && values instanceof Uint8Array) {
    const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    batch.value = (row) => bytes.toString('utf8', Number(offsets[row]), Number(offsets[row + 1]))
  } else if (type.typeId === Type.Utf8View && 'view' in batch && typeof batch.view === 'function') {
    const view = batch.view.bind(batch)
    batch.value = (row) => Buffer.from(view(row)).toString('utf8')
  } else if ('setDictionary' in batch && typeof batch.setDictionary === 'function' && 'dictionary' in batch) {
    const { dictionary } = batch
    if (!(dictionary instanceof Column)) return
    for (const words of dictionary.data) keepMarks(words)
    // Another one: this one's words are read already.
    batch.setDictionary(new Column([...dictionary.data], dictionary.type))
  }
  for (const child of batch.children ?? []) keepMarks(child)
}

const units: Readonly<Record<number, ArrowUnit>> = {
  [TimeUnit.SECOND]: 's',
  [TimeUnit.MILLISECOND]: 'ms',
  [TimeUnit.MICROSECOND]: 'us',
  [TimeUnit.NANOSECOND]: 'ns',
}

function formOf(type: DataType): ArrowForm {
  if (type.typeId === Type.Timestamp) {
    return { kind: 'timestamp', unit: units[type.unit] ?? 'us', zoned: type.timezone !== null }
  }
  if (type.typeId === Type.Utf8) return { kind: 'text' }
  if (type.typeId === Type.Float) return { kind: 'float' }
  return { kind: type.typeId === Type.Int ? 'integer' : 'other' }
}

function pieceOf({ length, nullCount, values, offsets, validity }: Batch<unknown>): ArrowPiece {
  const some = nullCount > 0 && validity instanceof Uint8Array && validity.length > 0
  return { length, values, offsets, validity: some ? validity : undefined }
}

const plainTypes: ReadonlyMap<number, string> = new Map([
  [Type.Bool, 'boolean'],
  [Type.Utf8, 'text'],
  [Type.LargeUtf8, 'text'],
  [Type.Utf8View, 'text'],
  [Type.Binary, 'bytea'],
  [Type.LargeBinary, 'bytea'],
  [Type.BinaryView, 'bytea'],
  [Type.FixedSizeBinary, 'bytea'],
  [Type.Date, 'date'],
  [Type.Time, 'time'],
  [Type.Struct, 'jsonb'],
  [Type.Map, 'jsonb'],
])

/** Of Parquet's 12 bytes parquet-wasm gives days and milliseconds only: a month would be nothing. */
function problemOf(type: DataType): string | undefined {
  return type.typeId === Type.Interval
    ? 'it is an interval of Parquet, of which the reader leaves out the months'
    : undefined
}

/** As `exportTo` writes an interval. */
const intervalParts = 'days,microseconds,months'

function sqlTypeOf(type: DataType): string | undefined {
  if (type.typeId === Type.Dictionary) return sqlTypeOf(type.dictionary)
  if (type.typeId === Type.Int) {
    if (type.bitWidth === 64) return type.signed ? 'bigint' : 'numeric'
    return type.bitWidth < 32 || (type.bitWidth === 32 && type.signed) ? 'integer' : 'bigint'
  }
  if (type.typeId === Type.Float) return type.precision === Precision.DOUBLE ? 'double precision' : 'real'
  if (type.typeId === Type.Decimal) return 'numeric'
  if (type.typeId === Type.Timestamp) return type.timezone === null ? 'timestamp' : 'timestamptz'
  if (type.typeId === Type.Struct) {
    const names = type.children.map(({ name }) => name).sort()
    if (names.join() === intervalParts) return 'interval'
  }
  return plainTypes.get(type.typeId)
}

function reader(column: Column<unknown>, type: DataType): (row: number) => unknown {
  if (type.typeId === Type.Timestamp || (type.typeId === Type.Time && type.unit !== undefined)) {
    return rawReader(column, toMicros(units[type.unit] ?? 'us'))
  }
  if (type.typeId === Type.Decimal) {
    const places = type.scale
    return (row) => {
      const value = column.at(row)
      return typeof value === 'bigint' || typeof value === 'number' ? decimalText(BigInt(value), places) : value
    }
  }
  return (row) => column.at(row)
}

/** Microseconds from a count of the unit; nanoseconds are cut down, as the server keeps no more. */
export function toMicros(unit: ArrowUnit): (value: bigint) => bigint {
  if (unit === 's') return (value) => value * 1_000_000n
  if (unit === 'ms') return (value) => value * 1000n
  if (unit === 'us') return (value) => value
  return (value) => (value - (((value % 1000n) + 1000n) % 1000n)) / 1000n
}

/** Values as they are stored: the library's own reading makes milliseconds of timestamps. */
function rawReader({ data }: Column<unknown>, scaled: (value: bigint) => bigint): (row: number) => unknown {
  const place = new PiecePlace(data)
  return (row) => {
    place.seek(row)
    const batch = data[place.piece]
    if (batch === undefined || batch.at(place.index) === null) return null
    const value: unknown = Reflect.get(batch.values ?? [], place.index)
    return typeof value === 'bigint' || typeof value === 'number' ? scaled(BigInt(value)) : null
  }
}

/** Where a row is in the pieces of a column. */
export class PiecePlace {
  piece = 0
  index = 0
  readonly #starts: readonly number[]

  constructor(pieces: readonly { readonly length: number }[]) {
    const starts = [0]
    for (const { length } of pieces) starts.push((starts.at(-1) ?? 0) + length)
    this.#starts = starts.slice(0, -1)
  }

  seek(row: number): void {
    const starts = this.#starts
    // Rows are mostly read in order.
    if (row < (starts[this.piece] ?? 0)) this.piece = 0
    while (this.piece + 1 < starts.length && row >= (starts[this.piece + 1] ?? 0)) this.piece++
    this.index = row - (starts[this.piece] ?? 0)
  }
}

function decimalText(value: bigint, places: number): string {
  if (places <= 0) return String(value * 10n ** BigInt(-places))
  const digits = String(value < 0n ? -value : value).padStart(places + 1, '0')
  return `${value < 0n ? '-' : ''}${digits.slice(0, -places)}.${digits.slice(-places)}`
}
