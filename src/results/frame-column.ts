import { UsageError } from '../errors.ts'
import type { ColumnBatch, ColumnValues } from '../wire/column.ts'
import { joinedValues } from '../wire/column-batch.ts'
import { textParser } from '../wire/text-type.ts'
import type { Column } from './column.ts'
import {
  type Access,
  exactAccess,
  intervalAccess,
  LARGEST_32,
  LARGEST_64,
  listAccess,
  SMALLEST_32,
  SMALLEST_64,
  textAccess,
  withNulls,
} from './column-value.ts'
import { intervalText, timeText } from './time-text.ts'

/** How columns become those of a DataFrame. */
export interface FrameOptions {
  /** `'number'` (default; beyond ±2^53 is an error) or `'bigint'`, with which Arquero's arithmetic does not work. */
  readonly int8?: 'number' | 'bigint' | undefined
  /** `'date'` (default): Dates, cut to milliseconds. `'micros'`: numbers, microseconds since 1970 (UTC). */
  readonly timestamps?: 'date' | 'micros' | undefined
}

/** A column as Arquero takes it: a typed array, or what makes a value when it is asked for. */
export type FrameColumn = Exclude<ColumnValues, BigUint64Array> | LazyColumn

/** Values made on access, over the buffers of a column. */
interface LazyColumn {
  readonly length: number
  at(row: number): unknown
  [Symbol.iterator](): Iterator<unknown>
}

const HALF = 2 ** 32
const INT8_HINT = "Ask for int8: 'bigint'."
const MICROS_HINT = 'Read it with queryToColumns, which has microseconds as bigint.'
const JSON_TYPE = 114
const parseJson = textParser(JSON_TYPE)

/**
 * A column for Arquero. Without NULL and conversion it is the typed array of the result itself.
 * @throws UsageError INVALID_VALUE for a number beyond ±2^53 that is to become one of JavaScript's.
 */
export function frameColumn(column: Column, options: FrameOptions): FrameColumn {
  const numbers = numbersOf(column, options)
  if (numbers === undefined) return lazyColumn(column, (batch) => frameAccess(batch, column.name, options))
  if (column.nullCount === 0) return numbers
  let start = 0
  const parts = new Map<ColumnBatch, Access>()
  for (const batch of column.batches) {
    const from = start
    parts.set(batch, (row) => numbers[from + row])
    start += batch.length
  }
  return lazyColumn(column, (batch) => withNulls(batch, parts.get(batch) ?? (() => null)))
}

/** All values as numbers (or bigints, as asked for) in one buffer, where the column holds such. */
function numbersOf(column: Column, options: FrameOptions): Exclude<ColumnValues, BigUint64Array> | undefined {
  const { kind } = column.type
  if (/^(?:u?int(?:16|32)|float\d+)$/.test(kind) || (kind === 'int64' && options.int8 === 'bigint')) {
    const values = joinedValues(column.batches)
    return values instanceof BigUint64Array ? undefined : values
  }
  if (kind === 'int64') return safeNumbers(column, false, INT8_HINT)
  if (kind.startsWith('timestamp') && options.timestamps === 'micros') {
    return safeNumbers(column, true, MICROS_HINT)
  }
  return undefined
}

/** 64-bit numbers as float64, made from their halves: a BigInt for each would take ten times as long. */
function safeNumbers(column: Column, infinite: boolean, hint: string): Float64Array {
  const numbers = new Float64Array(column.length)
  let at = 0
  for (const batch of column.batches) {
    const halves = halvesOf(batch)
    const valid = withNulls(batch, () => true)
    for (let row = 0; row < batch.length; row++, at++) {
      const high = halves[2 * row + 1] ?? 0
      const value = high * HALF + ((halves[2 * row] ?? 0) >>> 0)
      if (Number.isSafeInteger(value)) numbers[at] = value
      else if (valid(row) === true) {
        const exact = batch.values[row]
        if (!infinite || (exact !== LARGEST_64 && exact !== SMALLEST_64)) throw beyond(column.name, hint)
        numbers[at] = high * Number.POSITIVE_INFINITY
      }
    }
  }
  return numbers
}

function halvesOf({ values, length }: ColumnBatch): Int32Array {
  return new Int32Array(values.buffer, values.byteOffset, length * 2)
}

function lazyColumn(column: Column, accessOf: (batch: ColumnBatch) => Access): LazyColumn {
  const { batches, length } = column
  const ends: number[] = []
  const accesses = batches.map(accessOf)
  for (const batch of batches) ends.push((ends.at(-1) ?? 0) + batch.length)
  const [only] = accesses
  const at: Access =
    only !== undefined && accesses.length === 1
      ? only
      : (row) => {
          let index = 0
          while (row >= (ends[index] ?? Number.POSITIVE_INFINITY)) index++
          return accesses[index]?.(row - (ends[index - 1] ?? 0))
        }
  return {
    length,
    at,
    *[Symbol.iterator]() {
      for (let row = 0; row < length; row++) yield at(row)
    },
  }
}

/** The values of a batch as they are in a DataFrame, like those of rows. */
function frameAccess(batch: ColumnBatch, name: string, options: FrameOptions): Access {
  return withNulls(batch, frameValue(batch, name, options))
}

function frameValue(batch: ColumnBatch, name: string, options: FrameOptions): Access {
  const { type, values } = batch
  const exact = exactAccess(batch)
  switch (type.kind) {
    case 'json': {
      const text = textAccess(batch)
      return (row) => parseJson(text(row), name)
    }
    case 'decimal':
      return (row) => Number(exact(row))
    case 'int64':
      return options.int8 === 'bigint' ? exact : (row) => safeNumber(values[row], name)
    case 'date':
      return (row) => dayDate(Number(values[row]), name)
    case 'timestamp':
    case 'timestamptz':
      return timestampAccess(batch, name, options)
    case 'time':
      return (row) => timeText(BigInt(values[row] ?? 0))
    case 'interval':
      return intervalTexts(batch)
    case 'list':
      return listAccess(batch, (elements) => frameAccess(elements, name, options))
    default:
      return exact
  }
}

function timestampAccess(batch: ColumnBatch, name: string, options: FrameOptions): Access {
  const { values } = batch
  const micros = options.timestamps === 'micros'
  const halves = halvesOf(batch)
  return (row) => {
    const high = halves[2 * row + 1] ?? 0
    const value = high * HALF + ((halves[2 * row] ?? 0) >>> 0)
    if (Number.isSafeInteger(value)) return micros ? value : new Date(Math.floor(value / 1000))
    const exact = BigInt(values[row] ?? 0)
    if (exact === LARGEST_64 || exact === SMALLEST_64) return high * Number.POSITIVE_INFINITY
    if (micros) throw beyond(name, MICROS_HINT)
    return checkedDate(Number((exact - (((exact % 1000n) + 1000n) % 1000n)) / 1000n), name)
  }
}

function dayDate(days: number, name: string): Date | number {
  if (days === LARGEST_32) return Number.POSITIVE_INFINITY
  return days === SMALLEST_32 ? Number.NEGATIVE_INFINITY : checkedDate(days * 86_400_000, name)
}

function checkedDate(milliseconds: number, name: string): Date {
  const date = new Date(milliseconds)
  if (!Number.isNaN(date.getTime())) return date
  throw new UsageError('INVALID_VALUE', `Column ${JSON.stringify(name)} holds a time beyond JavaScript's Date.`, {
    hint: 'Select it as text: column::text.',
  })
}

function intervalTexts(batch: ColumnBatch): Access {
  const access = intervalAccess(batch)
  return (row) => intervalText(access(row))
}

function safeNumber(value: number | bigint | undefined, name: string): number {
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  throw beyond(name, INT8_HINT)
}

function beyond(name: string, hint: string): UsageError {
  return new UsageError('INVALID_VALUE', `A value of the column ${JSON.stringify(name)} is beyond ±2^53.`, { hint })
}
