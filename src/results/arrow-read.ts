import { type Column, type DataType, Precision, TimeUnit, Type, tableFromIPC } from '@uwdata/flechette'

/** A column of an Arrow table, read value by value. */
export interface ReadColumn {
  readonly name: string
  readonly length: number
  /** The type of the server that takes all of its values, as SQL; undefined where none is obvious. */
  readonly sqlType: string | undefined
  /** The value of a row; null for NULL. */
  get(row: number): unknown
}

/**
 * The columns of an Arrow IPC stream, exact: 64-bit integers, and microseconds of timestamps and times, are bigints;
 * dates Dates; decimals their decimal text; lists arrays; structs objects.
 */
export function readArrow(ipc: Uint8Array): readonly ReadColumn[] {
  const table = tableFromIPC(ipc, { useBigInt: true, useDate: true, useDecimalBigInt: true })
  return table.schema.fields.map(({ name, type }) => {
    const column = table.getChild(name)
    return { name, length: column.length, sqlType: sqlTypeOf(type), get: reader(column, type) }
  })
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

function sqlTypeOf(type: DataType): string | undefined {
  if (type.typeId === Type.Dictionary) return sqlTypeOf(type.dictionary)
  if (type.typeId === Type.Int) {
    if (type.bitWidth === 64) return type.signed ? 'bigint' : 'numeric'
    return type.bitWidth < 32 || (type.bitWidth === 32 && type.signed) ? 'integer' : 'bigint'
  }
  if (type.typeId === Type.Float) return type.precision === Precision.DOUBLE ? 'double precision' : 'real'
  if (type.typeId === Type.Decimal) return 'numeric'
  if (type.typeId === Type.Timestamp) return type.timezone === null ? 'timestamp' : 'timestamptz'
  return plainTypes.get(type.typeId)
}

function reader(column: Column<unknown>, type: DataType): (row: number) => unknown {
  if (type.typeId === Type.Timestamp || (type.typeId === Type.Time && type.unit !== undefined)) {
    return rawReader(column, scale(type.unit))
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
function scale(unit: number): (value: bigint) => bigint {
  if (unit === TimeUnit.SECOND) return (value) => value * 1_000_000n
  if (unit === TimeUnit.MILLISECOND) return (value) => value * 1000n
  if (unit === TimeUnit.MICROSECOND) return (value) => value
  return (value) => (value - (((value % 1000n) + 1000n) % 1000n)) / 1000n
}

/** Values as they are stored: the library's own reading makes milliseconds of timestamps. */
function rawReader(column: Column<unknown>, toMicros: (value: bigint) => bigint): (row: number) => unknown {
  const batches = column.data
  const starts: number[] = []
  let start = 0
  for (const batch of batches) {
    starts.push(start)
    start += batch.length
  }
  let at = 0
  return (row) => {
    // Rows are mostly read in order.
    if (row < (starts[at] ?? 0)) at = 0
    while (at + 1 < starts.length && row >= (starts[at + 1] ?? 0)) at++
    const batch = batches[at]
    const index = row - (starts[at] ?? 0)
    if (batch === undefined || batch.at(index) === null) return null
    const value: unknown = Reflect.get(batch.values ?? [], index)
    return typeof value === 'bigint' || typeof value === 'number' ? toMicros(BigInt(value)) : null
  }
}

function decimalText(value: bigint, places: number): string {
  if (places <= 0) return String(value * 10n ** BigInt(-places))
  const digits = String(value < 0n ? -value : value).padStart(places + 1, '0')
  return `${value < 0n ? '-' : ''}${digits.slice(0, -places)}.${digits.slice(-places)}`
}
