import { parseTimestamp } from '../../sql/timestamp.ts'
import { type TimeFormat, timeFormatOf } from '../encode/time-format.ts'
import { isoText } from '../encode/time-text.ts'
import type { ValueOptions } from '../encode/value.ts'
import { clockMicros } from '../encode/value-time.ts'

/** A type that holds all values of a sample, and why it was chosen. */
export interface InferredType {
  /** As SQL; undefined where no type takes all of the values. */
  readonly type: string | undefined
  readonly reason: string
}

/** What one value looks like. */
export type ValueKind =
  | 'boolean'
  | 'letter'
  | 'integer'
  | 'big'
  | 'decimal'
  | 'word'
  | 'long'
  | 'date'
  | 'naive'
  | 'zoned'
  | 'moment'
  | 'clock'
  | 'uuid'
  | 'json'
  | 'object'
  | 'bytes'
  | 'text'
  | 'string'

/**
 * The type of a column by the values of a sample, none of which it changes: digits that a double does not keep make it
 * numeric, leading zeros text. NULLs say nothing.
 * @param written - whether values are texts of a file in which everything is one, so that `1` is a number
 */
export function inferType(values: Iterable<unknown>, written: boolean, options: ValueOptions = {}): InferredType {
  const kinds = new Set<ValueKind>()
  const letters = new Set<unknown>()
  const format = timeFormatOf(options)
  for (const value of values) {
    if (value === null || value === undefined) continue
    const kind = written && typeof value === 'string' ? kindOfText(value, format) : kindOfValue(value, format)
    kinds.add(kind)
    if (kind === 'letter') letters.add(value)
  }
  if (kinds.size === 0) return { type: 'text', reason: 'no value in the sample' }
  if (isWithin(kinds, ['boolean', 'letter']) && (kinds.has('boolean') || letters.size > 1)) {
    return { type: 'boolean', reason: 'true and false' }
  }
  return numberType(kinds) ?? timeType(kinds, options) ?? otherType(kinds)
}

function numberType(kinds: ReadonlySet<ValueKind>): InferredType | undefined {
  if (isWithin(kinds, ['integer', 'big'])) return { type: 'bigint', reason: 'whole numbers' }
  if (!isWithin(kinds, ['integer', 'big', 'decimal', 'word', 'long']) || isWithin(kinds, ['word'])) return undefined
  if (isWithin(kinds, ['integer', 'decimal', 'word'])) {
    return { type: 'double precision', reason: 'numbers of at most 15 digits' }
  }
  return { type: 'numeric', reason: 'numbers with more digits than double precision keeps' }
}

function timeType(kinds: ReadonlySet<ValueKind>, { timeZone }: ValueOptions): InferredType | undefined {
  if (isWithin(kinds, ['date'])) return { type: 'date', reason: 'days' }
  if (isWithin(kinds, ['date', 'naive'])) {
    if (timeZone === undefined) return { type: 'timestamp', reason: 'times without a time zone' }
    return { type: 'timestamptz', reason: `times in the zone ${timeZone}` }
  }
  if (isWithin(kinds, ['clock'])) return { type: 'time', reason: 'times of a day' }
  if (isWithin(kinds, ['date', 'naive', 'zoned', 'moment'])) return { type: 'timestamptz', reason: 'points in time' }
  return undefined
}

function otherType(kinds: ReadonlySet<ValueKind>): InferredType {
  const [only] = kinds
  if (kinds.size === 1 && only === 'uuid') return { type: 'uuid', reason: 'UUIDs' }
  if (isWithin(kinds, ['json', 'object'])) return { type: 'jsonb', reason: 'JSON objects and arrays' }
  if (isWithin(kinds, ['bytes'])) return { type: 'bytea', reason: 'bytes' }
  const unfit = ['moment', 'object', 'bytes'] as const
  if (unfit.some((kind) => kinds.has(kind))) return { type: undefined, reason: `values of several kinds` }
  return { type: 'text', reason: kinds.size === 1 ? 'texts' : 'texts, or values of several kinds' }
}

function isWithin(kinds: ReadonlySet<ValueKind>, allowed: readonly ValueKind[]): boolean {
  return [...kinds].every((kind) => allowed.includes(kind))
}

const int8 = { least: -(2n ** 63n), most: 2n ** 63n - 1n }

function kindOfValue(value: unknown, format: TimeFormat | undefined): ValueKind {
  switch (typeof value) {
    case 'boolean':
      return 'boolean'
    case 'number':
      return Number.isSafeInteger(value) && !Object.is(value, -0) ? 'integer' : 'decimal'
    case 'bigint':
      if (value < int8.least || value > int8.most) return 'long'
      return Number.isSafeInteger(Number(value)) ? 'integer' : 'big'
    case 'string':
      return momentOfText(value, format) ?? clockOfText(value) ?? (uuidText.test(value) ? 'uuid' : 'string')
    default:
      if (value instanceof Date) return 'moment'
      return value instanceof Uint8Array || value instanceof ArrayBuffer || value instanceof DataView
        ? 'bytes'
        : 'object'
  }
}

const wholeText = /^-?(?:0|[1-9]\d*)$/
const decimalText = /^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i
const wordText = /^(?:nan|-?inf(?:inity)?)$/i
const uuidText = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i
const timeText = /^\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d(?::\d\d(?:\.\d+)?)? ?(Z|[+-]\d\d(?::?\d\d)?)?)?$/i

function kindOfText(value: string, format: TimeFormat | undefined): ValueKind {
  const text = value.trim()
  // A format may look like a number.
  if (format?.(text) !== undefined) return momentOfText(text, format) ?? 'text'
  if (/^(?:true|false)$/i.test(text)) return 'boolean'
  if (text === 't' || text === 'f') return 'letter'
  if (wholeText.test(text) && text !== '-0') return wholeKind(text)
  if (decimalText.test(text)) return isExactDouble(text) ? 'decimal' : 'long'
  if (wordText.test(text)) return 'word'
  return (
    momentOfText(text, format) ?? clockOfText(text) ?? (uuidText.test(value) ? 'uuid' : isJson(text) ? 'json' : 'text')
  )
}

function wholeKind(text: string): ValueKind {
  if (Number.isSafeInteger(Number(text))) return 'integer'
  const whole = BigInt(text)
  return whole < int8.least || whole > int8.most ? 'long' : 'big'
}

/** Below it a double has fewer digits. */
const leastNormal = 2 ** -1022

/** Whether a double has all the digits: 15 always survive. */
function isExactDouble(text: string): boolean {
  const digits = text.replace(/e.*$/i, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
  const number = Number(text)
  return digits.length <= 15 && Number.isFinite(number) && (Math.abs(number) >= leastNormal || digits === '')
}

function momentOfText(given: string, format: TimeFormat | undefined): 'date' | 'naive' | 'zoned' | undefined {
  const text = format === undefined ? (isoText(given) ?? given) : (format(given) ?? '')
  const match = timeText.exec(text)
  if (match === null) return undefined
  try {
    parseTimestamp(text)
  } catch {
    return undefined
  }
  return match[1] === undefined ? 'date' : match[2] === undefined ? 'naive' : 'zoned'
}

/** Seconds or a half of the day say that it is no length of time, and no score. */
function clockOfText(text: string): 'clock' | undefined {
  return /:\d\d:|[ap]m$/i.test(text) && clockMicros(text) !== undefined ? 'clock' : undefined
}

function isJson(text: string): boolean {
  if (!/^[[{]/.test(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
