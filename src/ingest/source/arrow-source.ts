/** Columns of Parquet files as a load takes them: common types are written from Arrow's memory, without a value for each. */
import { type ArrowForm, type ArrowPiece, PiecePlace, type ReadColumn } from '../../results/arrow-read.ts'
import { formatTimestamp } from '../../sql/timestamp.ts'
import { zoneOffset } from '../encode/time-zone.ts'
import { Misfit, type ValueOptions } from '../encode/value.ts'
import {
  type ColumnSource,
  type FieldWriter,
  type FixedField,
  fieldWriter,
  float8,
  int4,
  int8,
  time,
  timeTypes,
} from './column-source.ts'
import { unreadableColumn } from './parquet.ts'

const texts = new Set(['textrecv', 'varcharrecv', 'bpcharrecv', 'namerecv', 'citextrecv', 'enum_recv'])

/**
 * A column on its way into one of the server's.
 * @param receive - the function of the server's type; undefined for a column that nothing takes
 */
export function arrowSource(column: ReadColumn, receive: string | undefined, options: ValueOptions): ColumnSource {
  const { length, form, pieces, problem } = column
  // One that is not loaded may be one that cannot be read.
  if (problem !== undefined) return { length, typed: undefined, get: () => refuse(column.name, problem) }
  // What clocks show is a time only with a zone; what has one, and what the server shall keep as it is, need none.
  const naive = form.kind === 'timestamp' && !form.zoned && receive === 'timestamptz_recv'
  const zone = naive && options.timeZone !== 'UTC' ? options.timeZone : undefined
  return {
    length,
    typed: undefined,
    get: form.kind === 'timestamp' ? timeOf(column, zone, options) : column.get,
    writer: (into) => {
      const writers = pieces.map((piece) => pieceWriter(piece, form, into, zone)).filter((one) => one !== undefined)
      if (writers.length < pieces.length) return undefined
      if (writers.length <= 1) return writers[0]
      const place = new PiecePlace(pieces)
      const fields = writers.map(fieldWriter)
      return (buffer, row) => {
        place.seek(row)
        fields[place.piece]?.(buffer, place.index)
      }
    },
  }
}

function refuse(name: string, problem: string): never {
  throw unreadableColumn(name, problem)
}

/** The value of a time: its type says the unit, so that the option `timeUnit` must not. */
function timeOf(column: ReadColumn, zone: string | undefined, { timeUnit = 'us' }: ValueOptions): ReadColumn['get'] {
  if (zone === undefined && timeUnit === 'us') return column.get
  return (row) => {
    const value = column.get(row)
    if (typeof value !== 'bigint') return value
    const micros = zone === undefined ? value : inUtc(value, zone)
    return timeUnit === 'us' ? micros : formatTimestamp(micros, { zone: true })
  }
}

function pieceWriter(
  { values, offsets, validity }: ArrowPiece,
  form: ArrowForm,
  into: string,
  zone: string | undefined,
): FieldWriter | FixedField | undefined {
  const toUtc = zone === undefined ? undefined : (micros: bigint) => inUtc(micros, zone)
  const write = (() => {
    if (form.kind === 'timestamp') {
      return timeTypes.has(into) && values instanceof BigInt64Array ? time(values, form.unit, toUtc) : undefined
    }
    if (form.kind === 'text') {
      const plain = values instanceof Uint8Array && offsets instanceof Int32Array
      return texts.has(into) && plain ? text(values, offsets) : undefined
    }
    if (form.kind === 'float') {
      const plain = values instanceof Float64Array || values instanceof Float32Array
      return into === 'float8recv' && plain ? float8(values) : undefined
    }
    if (form.kind !== 'integer') return undefined
    if (into === 'int8recv' && values instanceof BigInt64Array) return int8(values)
    const plain = values instanceof Int32Array || values instanceof Int16Array || values instanceof Int8Array
    return into === 'int4recv' && plain ? int4(values) : undefined
  })()
  if (write === undefined || validity === undefined) return write
  const field = fieldWriter(write)
  return (buffer, row) => {
    if (((validity[row >> 3] ?? 0) & (1 << (row & 7))) === 0) buffer.null()
    else field(buffer, row)
  }
}

/** The time at which the clocks of a zone show one. */
function inUtc(micros: bigint, zone: string): bigint {
  return micros - BigInt(zoneOffset(zone, Math.floor(Number(micros) / 1000))) * 1000n
}

/** Bytes as they are: the library has seen that they are UTF-8. @throws Misfit as for any text with NUL */
function text(values: Uint8Array, offsets: Int32Array): FieldWriter {
  return (buffer, row) => {
    const start = offsets[row] ?? 0
    const end = offsets[row + 1] ?? start
    const at = buffer.reserve(4 + end - start)
    const { bytes } = buffer
    buffer.view.setInt32(at, end - start)
    // Short texts are the most, and a loop is faster than a call into the runtime.
    let zero = false
    if (end - start > 32) {
      const piece = values.subarray(start, end)
      zero = piece.includes(0)
      bytes.set(piece, at + 4)
    } else {
      for (let from = start, to = at + 4; from < end; from++, to++) {
        const byte = values[from] ?? 0
        if (byte === 0) zero = true
        bytes[to] = byte
      }
    }
    if (!zero) return
    buffer.at = at
    throw new Misfit('a text with NUL or half a surrogate pair')
  }
}
