import { randomUUID } from 'node:crypto'
import { types } from 'node:util'
import type { ColumnType } from '../../catalog/column.ts'
import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import { writeInet, writeMacAddress, writeUuid } from '../../wire/encode-network.ts'
import { writeNumeric } from '../../wire/encode-numeric.ts'
import { kindOf, Misfit, type ValueOptions, type ValueWriter } from './value.ts'
import { arrayWriter } from './value-array.ts'
import { dateWriter, intervalWriter, timestampWriter, timeWithZoneWriter, timeWriter } from './value-time.ts'

/** The writer of a type by the function that reads it on the server; undefined where its binary form is not known. */
export function valueWriter(type: ColumnType, options: ValueOptions): ValueWriter | undefined {
  if (type.element !== undefined) {
    const element = scalarWriter(type.element.receive, options)
    return element === undefined ? undefined : arrayWriter(type.element, element)
  }
  return scalarWriter(type.receive, options)
}

function scalarWriter(receive: string, options: ValueOptions): ValueWriter | undefined {
  switch (receive) {
    case 'timestamptz_recv':
      return timestampWriter(true, options)
    case 'timestamp_recv':
      return timestampWriter(false, options)
    case 'date_recv':
      return dateWriter(options)
    default:
      return writers.get(receive)
  }
}

const writeBoolean: ValueWriter = (buffer, value) => {
  const truth = typeof value === 'boolean' ? value : typeof value === 'string' ? booleanText(value) : undefined
  if (truth === undefined) throw new Misfit(kindOf(value))
  const at = buffer.reserve(5)
  buffer.view.setInt32(at, 1)
  buffer.bytes[at + 4] = truth ? 1 : 0
}

function booleanText(text: string): boolean | undefined {
  const word = text.trim().toLowerCase()
  if (word === '') return undefined
  if (word === '1' || word === 'on' || 'true'.startsWith(word) || 'yes'.startsWith(word)) return true
  if (word === '0' || word === 'of' || word === 'off' || 'false'.startsWith(word) || 'no'.startsWith(word)) return false
  return undefined
}

/** A whole number from what may stand for one. */
function wholeNumber(value: unknown): number | bigint {
  if (typeof value === 'number') {
    if (Number.isInteger(value)) return value
    throw new Misfit(Number.isFinite(value) ? 'a number with a fraction' : 'a number that is not finite')
  }
  if (typeof value === 'bigint') return value
  if (typeof value !== 'string') throw new Misfit(kindOf(value))
  if (!/^\s*[+-]?\d+\s*$/.test(value))
    throw new Misfit(value === '' ? 'an empty text' : 'a text that is no whole number')
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : BigInt(value.trim().replace(/^\+/, ''))
}

function smallInteger(least: number, most: number, size: 2 | 4): ValueWriter {
  return (buffer, value) => {
    const whole = typeof value === 'number' && Number.isInteger(value) ? value : wholeNumber(value)
    if (whole < least || whole > most) throw new Misfit(`${kindOf(value)} out of range`)
    const at = buffer.reserve(4 + size)
    buffer.view.setInt32(at, size)
    if (size === 2) buffer.view.setInt16(at + 4, Number(whole))
    else buffer.view.setInt32(at + 4, Number(whole))
  }
}

const int8 = { least: -(2n ** 63n), most: 2n ** 63n - 1n }

const writeInt8: ValueWriter = (buffer, value) => {
  const whole = wholeNumber(value)
  if (typeof whole === 'number' && Number.isSafeInteger(whole)) {
    buffer.safeInteger(whole)
    return
  }
  // A number beyond 2^53 stands for several integers, and the one it was meant for is not known.
  if (typeof whole === 'number') throw new Misfit('a number beyond ±(2^53 − 1), where a bigint is exact,')
  if (whole < int8.least || whole > int8.most) throw new Misfit(`${kindOf(value)} out of range`)
  buffer.bigInteger(whole)
}

const floatText = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/i
const floatWord = /^\s*(?:nan|[+-]?inf(?:inity)?)\s*$/i

/** The float of a value; an infinity out of a finite one is not. */
function float(value: unknown): number {
  if (typeof value === 'number') return value
  if (typeof value === 'bigint') return Number(value)
  if (typeof value !== 'string') throw new Misfit(kindOf(value))
  if (floatWord.test(value)) {
    if (/nan/i.test(value)) return Number.NaN
    return value.includes('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY
  }
  if (!floatText.test(value)) throw new Misfit(value === '' ? 'an empty text' : 'a text that is no number')
  const number = Number(value)
  if (!Number.isFinite(number) || (number === 0 && /[1-9]/.test(value.replace(/e.*/i, '')))) {
    throw new Misfit('a text out of range')
  }
  return number
}

const writeFloat8: ValueWriter = (buffer, value) => {
  const number = typeof value === 'number' ? value : float(value)
  const at = buffer.reserve(12)
  buffer.view.setInt32(at, 8)
  buffer.view.setFloat64(at + 4, number)
}

const writeFloat4: ValueWriter = (buffer, value) => {
  const number = float(value)
  const single = Math.fround(number)
  if (!Number.isFinite(single) && Number.isFinite(number)) throw new Misfit(`${kindOf(value)} out of range`)
  // As the server does with a text: nothing becomes 0 silently.
  if (single === 0 && number !== 0) throw new Misfit(`${kindOf(value)} out of range`)
  const at = buffer.reserve(8)
  buffer.view.setInt32(at, 4)
  buffer.view.setFloat32(at + 4, single)
}

const writeDecimal: ValueWriter = (buffer, value) => {
  if (typeof value !== 'number' && typeof value !== 'bigint' && typeof value !== 'string') {
    throw new Misfit(kindOf(value))
  }
  if (!writeNumeric(buffer, String(value))) throw new Misfit(`${kindOf(value)} that is no numeric`)
}

/** Texts of the server: numbers and booleans have one obvious text too; objects have none. */
const writeText: ValueWriter = (buffer, value) => {
  const text = typeof value === 'string' ? value : plainText(value)
  if (!buffer.text(text)) throw new Misfit('a text with NUL or half a surrogate pair')
}

function plainText(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  throw new Misfit(kindOf(value))
}

const writeBytes: ValueWriter = (buffer, value) => {
  if (value instanceof Uint8Array) buffer.field(value)
  else if (value instanceof ArrayBuffer) buffer.field(new Uint8Array(value))
  else if (value instanceof DataView) buffer.field(new Uint8Array(value.buffer, value.byteOffset, value.byteLength))
  else if (typeof value === 'string' && /^\\x(?:[\da-f]{2})*$/i.test(value)) {
    buffer.field(Buffer.from(value.slice(2), 'hex'))
  } else throw new Misfit(typeof value === 'string' ? 'a text that is not \\x and hexadecimal digits' : kindOf(value))
}

/** A text is JSON already, as for a bound parameter; anything else is written as JSON. */
function jsonWriter(prefix: number | undefined): ValueWriter {
  return (buffer, value) => {
    const text = typeof value === 'string' ? checkedJson(value) : toJson(value)
    if (!buffer.text(text, prefix)) throw new Misfit('a JSON text with NUL or half a surrogate pair')
  }
}

function checkedJson(text: string): string {
  try {
    JSON.parse(text)
  } catch {
    throw new Misfit('a text that is not JSON')
  }
  return text
}

function toJson(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Misfit(kindOf(value))
  if (types.isMap(value) || types.isSet(value) || types.isPromise(value)) {
    throw new Misfit(`a ${value.constructor.name}, which is {} in JSON,`)
  }
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch {
    text = exactJson(value)
  }
  if (text === undefined) throw new Misfit(kindOf(value))
  return text
}

/** With bigints, of which JSON.stringify knows nothing, as the numbers they are. @throws Misfit */
function exactJson(value: unknown): string | undefined {
  const mark = randomUUID()
  try {
    const text = JSON.stringify(value, (_, one: unknown) => (typeof one === 'bigint' ? `${mark}${one}` : one))
    return text?.replace(new RegExp(`"${mark}(-?\\d+)"`, 'g'), '$1')
  } catch {
    throw new Misfit('an object that JSON cannot hold')
  }
}

function fromText(write: (buffer: CopyBuffer, text: string) => boolean, what: string): ValueWriter {
  return (buffer, value) => {
    if (typeof value !== 'string') throw new Misfit(kindOf(value))
    if (!write(buffer, value)) throw new Misfit(`a text that is no ${what}`)
  }
}

const writeUuidText = fromText(writeUuid, 'uuid')
const jsonbVersion = 1

const writers: ReadonlyMap<string, ValueWriter> = new Map<string, ValueWriter>([
  ['boolrecv', writeBoolean],
  ['int2recv', smallInteger(-(2 ** 15), 2 ** 15 - 1, 2)],
  ['int4recv', smallInteger(-(2 ** 31), 2 ** 31 - 1, 4)],
  ['int8recv', writeInt8],
  ['float4recv', writeFloat4],
  ['float8recv', writeFloat8],
  ['numeric_recv', writeDecimal],
  ['textrecv', writeText],
  ['varcharrecv', writeText],
  ['bpcharrecv', writeText],
  ['namerecv', writeText],
  ['citextrecv', writeText],
  ['enum_recv', writeText],
  ['bytearecv', writeBytes],
  ['time_recv', timeWriter],
  ['timetz_recv', timeWithZoneWriter],
  ['interval_recv', intervalWriter],
  [
    'uuid_recv',
    (buffer, value) => {
      if (value instanceof Uint8Array && value.length === 16) buffer.field(value)
      else writeUuidText(buffer, value)
    },
  ],
  ['json_recv', jsonWriter(undefined)],
  ['jsonb_recv', jsonWriter(jsonbVersion)],
  ['inet_recv', fromText((buffer, text) => writeInet(buffer, text, false), 'inet')],
  ['cidr_recv', fromText((buffer, text) => writeInet(buffer, text, true), 'cidr')],
  ['macaddr_recv', fromText((buffer, text) => writeMacAddress(buffer, text, 6), 'macaddr')],
  ['macaddr8_recv', fromText((buffer, text) => writeMacAddress(buffer, text, 8), 'macaddr8')],
])
