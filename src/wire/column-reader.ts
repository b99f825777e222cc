import type { ArrayTypes } from './array-type.ts'
import type { ColumnBatch, ColumnOptions, ColumnReader, ColumnType, ResultField } from './column.ts'
import {
  BoolReader,
  Float32Reader,
  Float64Reader,
  Int16Reader,
  Int32Reader,
  Int64Reader,
  Uint32Reader,
} from './column-fixed.ts'
import { ListReader, TextListReader } from './column-list.ts'
import { NumericDecimalReader, NumericFloatReader, NumericTextReader, numericType } from './column-numeric.ts'
import { BytesReader, TextReader } from './column-text.ts'
import { DateReader, IntervalReader, TimeReader, TimestampReader } from './column-time.ts'
import { arrayDelimiter, arrayElement } from './text-type.ts'

type MakeReader = (field: ResultField) => ColumnReader<ColumnBatch>

const JSON_TEXT = 114
const JSONB = 3802
const text: ColumnType = { kind: 'text' }
const json: ColumnType = { kind: 'json' }
const makeText: MakeReader = (field) => new TextReader(text, field.name)

/** The types read from their binary form, by their oid in pg_type; of all others the server's text is asked for. */
const binaryTypes: ReadonlyMap<number, MakeReader> = new Map<number, MakeReader>([
  [16, () => new BoolReader()],
  [17, (field) => new BytesReader({ kind: 'binary' }, field.name)],
  [19, makeText],
  [20, () => new Int64Reader()],
  [21, () => new Int16Reader()],
  [23, () => new Int32Reader()],
  [25, makeText],
  [26, () => new Uint32Reader()],
  [700, () => new Float32Reader()],
  [701, () => new Float64Reader()],
  [1042, makeText],
  [1043, makeText],
  [1082, () => new DateReader()],
  [1083, () => new TimeReader()],
  [1114, (field) => new TimestampReader('timestamp', field.name)],
  [1184, (field) => new TimestampReader('timestamptz', field.name)],
  [1186, () => new IntervalReader()],
])

const NUMERIC = 1700

/** The format to ask for: 1, binary, where the type's binary form is read; 0, text, for every other type. */
export function resultFormat(typeId: number, options: ColumnOptions, arrays: ArrayTypes): 0 | 1 {
  if (typeId === NUMERIC) return options.numeric === 'string' ? 0 : 1
  const element = arrayElement(typeId, arrays)
  return element === undefined ? (binaryTypes.has(typeId) ? 1 : 0) : resultFormat(element.typeId, options, arrays)
}

/**
 * A reader for one column of a result, with an empty batch; it reads the format of the field.
 * Readers throw UsageError INVALID_VALUE for a value that does not fit the column's layout.
 */
export function columnReader(
  field: ResultField,
  options: ColumnOptions,
  arrays: ArrayTypes,
): ColumnReader<ColumnBatch> {
  const { typeId, name } = field
  const element = arrayElement(typeId, arrays)
  if (element !== undefined) {
    const typeModifier = element.typeModifier === -1 ? field.typeModifier : element.typeModifier
    const reader = columnReader({ ...field, typeId: element.typeId, typeModifier }, options, arrays)
    return field.format === 1 ? new ListReader(reader) : new TextListReader(reader, name, arrayDelimiter(typeId))
  }
  if (field.format === 0) return new TextReader(typeId === JSON_TEXT || typeId === JSONB ? json : text, name)
  if (typeId === NUMERIC) return numericReader(field, options)
  const make = binaryTypes.get(typeId)
  if (make === undefined) throw new TypeError(`The binary form of type ${typeId} is not known.`)
  return make(field)
}

function numericReader(field: ResultField, options: ColumnOptions): ColumnReader<ColumnBatch> {
  const type = numericType(field.typeModifier, options.numeric)
  if (type.kind === 'decimal') return new NumericDecimalReader(field.name, type.precision, type.scale)
  return type.kind === 'float64' ? new NumericFloatReader(field.name) : new NumericTextReader(text, field.name)
}
