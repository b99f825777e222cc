import type { ColumnBatch } from '../wire/column.ts'
import { exactAccess, intervalAccess, listAccess, textAccess } from './column-value.ts'
import { dateText, intervalText, timestampText, timeText } from './time-text.ts'

/** The text of the value of a row, without a look at NULL. */
export type TextOf = (row: number) => string

/**
 * The server's own text of the values of a batch, as COPY writes it: DateStyle ISO, IntervalStyle postgres, times in UTC,
 * bytea in hexadecimal.
 *
 * @param delimiter - what stands between the elements of an array
 */
export function serverText(batch: ColumnBatch, delimiter = ','): TextOf {
  const { values, type } = batch
  const exact = exactAccess(batch)
  switch (type.kind) {
    case 'bool':
      return (row) => (exact(row) === true ? 't' : 'f')
    case 'text':
    case 'json':
      return textAccess(batch)
    case 'float32':
      return (row) => float4Text(Number(values[row]))
    case 'float64':
      return (row) => float8Text(Number(values[row]))
    case 'binary':
      return (row) => bytesText(exact(row))
    case 'date':
      return (row) => dateText(Number(exact(row)))
    case 'timestamp':
      return instantText(batch, ' ', '')
    case 'timestamptz':
      return instantText(batch, ' ', '+00')
    case 'time':
      return (row) => timeText(BigInt(values[row] ?? 0))
    case 'interval': {
      const interval = intervalAccess(batch)
      return (row) => intervalText(interval(row))
    }
    case 'list': {
      const list = listAccess(batch, (elements) => elementAccess(elements, delimiter))
      return (row) => listText(list(row), delimiter)
    }
    default:
      return (row) => String(exact(row))
  }
}

const minuteMicros = 60_000_000
const high = 2 ** 32
/** From the year 1 up to, not including, 10000: what has four digits and no era. */
const firstMinute = Date.parse('0001-01-01T00:00:00Z') / 60_000
const endMinute = Date.UTC(10_000, 0, 1) / 60_000
const pairs: readonly string[] = Array.from({ length: 100 }, (_, n) => String(n).padStart(2, '0'))

/**
 * The text of timestamps, with microseconds where there are any.
 *
 * @param between - what stands between day and time
 * @param zone - what follows; in the years before 1 and after 9999 the server's text is given instead
 */
export function instantText(batch: ColumnBatch, between: ' ' | 'T', zone: '' | '+00' | 'Z'): TextOf {
  const { values, length } = batch
  const halves = new Int32Array(values.buffer, values.byteOffset, length * 2)
  const exact = exactAccess({ ...batch, nullCount: 0 })
  let last = Number.NaN
  let minuteText = ''
  return (row) => {
    const micros = (halves[2 * row + 1] ?? 0) * high + ((halves[2 * row] ?? 0) >>> 0)
    const minute = Math.floor(micros / minuteMicros)
    if (minute !== last) {
      // Without exact microseconds, or without four digits for the year.
      if (!(Number.isSafeInteger(micros) && minute >= firstMinute && minute < endMinute)) {
        const value = exact(row)
        return timestampText(typeof value === 'bigint' ? value : Number(value), zone === '' ? '' : '+00')
      }
      const iso = new Date(minute * 60_000).toISOString()
      minuteText = `${iso.slice(0, 10)}${between}${iso.slice(11, 17)}`
      last = minute
    }
    const rest = micros - minute * minuteMicros
    const second = Math.floor(rest / 1_000_000)
    const fraction = rest - second * 1_000_000
    const clock = minuteText + (pairs[second] ?? '')
    return fraction === 0 ? clock + zone : `${clock}.${String(fraction).padStart(6, '0').replace(/0+$/, '')}${zone}`
  }
}

/** The shortest text that gives the same double, with the server's exponents (snprintf's %g). */
function float8Text(value: number): string {
  const size = Math.abs(value)
  if (!(size >= 2 ** 53 && size < 1e24)) return floatText(value, 1e15)
  // Only here a short number can be halfway between two doubles. JavaScript takes it, the server does not.
  const text = value.toExponential()
  if (!isHalfway(text, value)) return text
  const longer = value.toExponential(15)
  return Number(longer) === value && !isHalfway(longer, value) ? longer.replace(/\.?0+e/, 'e') : value.toExponential(16)
}

function isHalfway(text: string, value: number): boolean {
  const [, sign, whole = '', fraction = '', exponent] = /^(-?)(\d)(?:\.(\d+))?e\+(\d+)$/.exec(text) ?? []
  const zeros = Number(exponent) - fraction.length
  if (!(zeros >= 0)) return false
  const twice = 2n * BigInt(`${sign}${whole}${fraction}`) * 10n ** BigInt(zeros)
  const bits = new BigInt64Array(Float64Array.of(value).buffer)
  return [1n, -1n].some((step) => {
    const [neighbour] = new Float64Array(BigInt64Array.of((bits[0] ?? 0n) + step).buffer)
    return twice === BigInt(value) + BigInt(neighbour ?? 0)
  })
}

/** The shortest text that gives the same float of 32 bits. */
function float4Text(value: number): string {
  if (value === 0) return floatText(value, 1e6)
  // Subnormal numbers have fewer digits.
  for (let digits = Math.abs(value) < 1.2e-38 ? 1 : 6; digits < 9; digits++) {
    const rounded = roundedEven(value, digits)
    if (isWithin(rounded, value)) return floatText(rounded, 1e6)
  }
  return floatText(Number(value.toPrecision(9)), 1e6)
}

/** The nearest number of so many digits; of two, the one that ends with an even digit, as the server chooses. */
function roundedEven(value: number, digits: number): number {
  const longer = value.toExponential(digits)
  const [, lower, exponent] = /^(.*[02468])\.?5(e.*)$/.exec(longer) ?? []
  const isHalfway = lower !== undefined && Number(longer) === value
  return Number(isHalfway ? `${lower}${exponent}` : value.toPrecision(digits))
}

/** Whether a number is read as this float, however a reader rounds what is halfway between two floats. */
function isWithin(number: number, float: number): boolean {
  return Math.fround(number * (1 + 2 ** -50)) === float && Math.fround(number * (1 - 2 ** -50)) === float
}

function floatText(value: number, exponentFrom: number): string {
  const size = Math.abs(value)
  if ((size >= 1e-4 && size < exponentFrom) || !Number.isFinite(value)) return String(value)
  if (size === 0) return Object.is(value, -0) ? '-0' : '0'
  return value.toExponential().replace(/([+-])(\d)$/, '$10$2')
}

function bytesText(value: unknown): string {
  return value instanceof Uint8Array
    ? `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`
    : ''
}

function elementAccess(elements: ColumnBatch, delimiter: string): (row: number) => string | null {
  const text = serverText({ ...elements, nullCount: 0 }, delimiter)
  const { nullCount, validity } = elements
  return (row) => (nullCount === 0 || ((validity[row >> 3] ?? 0) >> (row & 7)) & 1 ? text(row) : null)
}

/** The text of an array (arrayfuncs.c, array_out). */
function listText(value: unknown, delimiter: string): string {
  if (!Array.isArray(value)) return value === null ? 'NULL' : quotedElement(String(value), delimiter)
  return `{${value.map((item: unknown) => listText(item, delimiter)).join(delimiter)}}`
}

function quotedElement(text: string, delimiter: string): string {
  const plain = text !== '' && !/["\\{} \t\n\r\v\f]/.test(text) && !text.includes(delimiter) && !/^null$/i.test(text)
  return plain ? text : `"${text.replaceAll(/["\\]/g, '\\$&')}"`
}
