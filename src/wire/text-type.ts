import { UsageError } from '../errors.ts'
import type { ArrayElement, ArrayTypes } from './array-type.ts'

/** Turns the server's text of one value into a JavaScript value. `column` names the column in errors. */
export type TextParser = (text: string, column: string) => unknown

/** How the types that have no single right JavaScript type arrive. */
export interface TextTypeOptions {
  /** `'number'` (default; beyond ±(2^53 − 1) is an error), `'bigint'` or `'string'`. */
  readonly int8?: 'number' | 'bigint' | 'string' | undefined
  /** `'string'` (default, exact) or `'number'` (the nearest float). */
  readonly numeric?: 'string' | 'number' | undefined
  /** `'date'` (default, cut to milliseconds) or `'string'`: ISO 8601 in UTC, with microseconds where there are any. */
  readonly timestamps?: 'date' | 'string' | undefined
  /** `'value'` (default, parsed) or `'string'`: the server's text, whose numbers have all of their digits. */
  readonly json?: 'value' | 'string' | undefined
}

/**
 * The parser of a result column, to be chosen once per column and called once per value that is not NULL.
 *
 * - `boolean` → boolean; `smallint`, `integer`, `oid`, `real`, `double precision` → number; `bigint` and `numeric` by option
 * - `timestamptz` → Date; `timestamp` without time zone → Date that reads the text as UTC, in every process time zone;
 *   `date` → Date at midnight UTC. Microseconds are cut to milliseconds (downwards). `infinity` and `-infinity` →
 *   the numbers `Infinity` and `-Infinity`. An instant beyond JavaScript's Date (year 275760) is an error.
 * - `bytea` → Buffer; `json`, `jsonb` → the parsed value, or by option; arrays of all these → arrays, nested as on the server, with null
 * - `time`, `timetz`, `interval`, `uuid`, ranges, enums and every type not named here → the server's text
 * - arrays of the types in `arrays` → arrays of what their elements become
 *
 * The parsers throw UsageError INVALID_VALUE for a value that does not fit; the message names the column, not the value.
 */
export function textParser(typeId: number, options: TextTypeOptions = {}, arrays?: ArrayTypes): TextParser {
  const scalar = scalarParser(typeId, options)
  if (scalar !== undefined) return scalar
  const elementType = arrayElement(typeId, arrays)
  if (elementType === undefined) return text
  const element = scalarParser(elementType.typeId, options) ?? text
  const delimiter = arrayDelimiter(typeId)
  return (source, column) => parseArray(source, element, column, delimiter)
}

/** The element type of an array type, a built-in one or one of `arrays`; undefined for what is no array, or is like none. */
export function arrayElement(typeId: number, arrays: ArrayTypes | undefined): ArrayElement | undefined {
  const builtIn = elementTypes.get(typeId)
  if (builtIn !== undefined) return { typeId: builtIn, typeModifier: -1 }
  const own = arrays?.get(typeId)
  return own?.typeId === 0 ? undefined : own
}

/** What stands between the elements in an array's text. */
export function arrayDelimiter(typeId: number): string {
  return typeId === boxArray ? ';' : ','
}

function scalarParser(typeId: number, options: TextTypeOptions): TextParser | undefined {
  switch (typeId) {
    case 20:
      return options.int8 === 'bigint' ? BigInt : options.int8 === 'string' ? text : safeInteger
    case 1700:
      return options.numeric === 'number' ? Number : text
    case 1114:
    case 1184:
      return options.timestamps === 'string' ? exactInstant : instant
    case 114:
    case 3802:
      return options.json === 'string' ? text : json
    default:
      return scalarParsers.get(typeId)
  }
}

const boxArray = 1020

const scalarParsers: ReadonlyMap<number, TextParser> = new Map<number, TextParser>([
  [16, (source) => source === 't'],
  [17, bytes],
  [21, Number],
  [23, Number],
  [26, Number],
  [700, Number],
  [701, Number],
  [1082, instant],
  // The most common ones that stay text, found here at once.
  [25, text],
  [1043, text],
])

// pg_type.typelem of every built-in array type; the numbers are fixed (PostgreSQL's pg_type.dat).
const elementTypes: ReadonlyMap<number, number> = new Map([
  ...[
    [1000, 16],
    [1001, 17],
    [1002, 18],
    [1003, 19],
    [1016, 20],
    [1005, 21],
    [1006, 22],
    [1007, 23],
    [1008, 24],
  ],
  ...[
    [1009, 25],
    [1028, 26],
    [1010, 27],
    [1011, 28],
    [1012, 29],
    [1013, 30],
    [199, 114],
    [143, 142],
    [271, 5069],
  ],
  ...[
    [1017, 600],
    [1018, 601],
    [1019, 602],
    [boxArray, 603],
    [1027, 604],
    [629, 628],
    [651, 650],
    [1021, 700],
  ],
  ...[
    [1022, 701],
    [719, 718],
    [775, 774],
    [791, 790],
    [1040, 829],
    [1041, 869],
    [1034, 1033],
    [1014, 1042],
  ],
  ...[
    [1015, 1043],
    [1182, 1082],
    [1183, 1083],
    [1115, 1114],
    [1185, 1184],
    [1187, 1186],
    [1270, 1266],
    [1561, 1560],
  ],
  ...[
    [1563, 1562],
    [1231, 1700],
    [2201, 1790],
    [2207, 2202],
    [2208, 2203],
    [2209, 2204],
    [2210, 2205],
    [2211, 2206],
  ],
  ...[
    [2951, 2950],
    [3221, 3220],
    [3643, 3614],
    [3645, 3615],
    [3735, 3734],
    [3770, 3769],
    [3807, 3802],
    [4073, 4072],
  ],
  ...[
    [4090, 4089],
    [4097, 4096],
    [4192, 4191],
    [3905, 3904],
    [3907, 3906],
    [3909, 3908],
    [3911, 3910],
    [3913, 3912],
  ],
  ...[
    [3927, 3926],
    [6150, 4451],
    [6151, 4532],
    [6152, 4533],
    [6153, 4534],
    [6155, 4535],
    [6157, 4536],
    [2287, 2249],
    [1263, 2275],
    [2949, 2970],
    [3644, 3642],
    [5039, 5038],
  ],
] as [number, number][])

function text(source: string): string {
  return source
}

function json(source: string, column: string): unknown {
  try {
    return JSON.parse(source)
  } catch {
    // Not as the cause: its message quotes the value.
    throw unreadable(column, 'holds JSON that JavaScript cannot read', 'Select it as text: column::text.')
  }
}

function safeInteger(source: string, column: string): number {
  const value = Number(source)
  if (Number.isSafeInteger(value)) return value
  throw unreadable(column, 'holds a bigint beyond ±(2^53 − 1)', "Pass the option int8: 'bigint' or 'string'.")
}

/** `bytea` in both forms of bytea_output: `\x` and hexadecimal digits, or the older escape form. */
function bytes(source: string): Buffer {
  if (source.startsWith('\\x')) return Buffer.from(source.slice(2), 'hex')
  const octets = source.replace(/\\(\\|[0-3][0-7]{2})/g, (_match, code: string) =>
    code === '\\' ? '\\' : String.fromCharCode(Number.parseInt(code, 8)),
  )
  return Buffer.from(octets, 'latin1')
}

const instantPattern =
  /^(\d{4,7})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:([+-])(\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?( BC)?$/

/** `timestamptz`, `timestamp` and `date` in DateStyle ISO; a text without a time zone is read as UTC. */
function instant(source: string, column: string): Date | number {
  const common = commonInstant(source)
  if (common !== undefined) return common
  if (source === 'infinity') return Number.POSITIVE_INFINITY
  if (source === '-infinity') return Number.NEGATIVE_INFINITY
  const match = instantPattern.exec(source)
  if (match === null) {
    throw unreadable(column, 'holds a time that is not in DateStyle ISO', 'Leave the setting DateStyle at ISO.')
  }
  const field = (group: number): number => Number(match[group] ?? 0)
  const date = new Date(0)
  date.setUTCFullYear(match[12] === undefined ? field(1) : 1 - field(1), field(2) - 1, field(3))
  const milliseconds = Number((match[7] ?? '').padEnd(3, '0').slice(0, 3))
  const time = ((field(4) * 60 + field(5)) * 60 + field(6)) * 1000 + milliseconds
  const offset = ((field(9) * 60 + field(10)) * 60 + field(11)) * 1000
  date.setTime(date.getTime() + time - (match[8] === '-' ? -offset : offset))
  if (Number.isNaN(date.getTime())) {
    throw unreadable(column, "holds a time beyond JavaScript's Date", 'Select it as text: column::text.')
  }
  return date
}

/** The text of an instant in ISO 8601, UTC, with all of its digits; `infinity` and `-infinity` as they are. */
function exactInstant(source: string, column: string): string {
  const date = instant(source, column)
  if (typeof date === 'number') return source
  const micros = /\.\d{3}(\d{1,3})/.exec(source)?.[1]
  const iso = date.toISOString()
  return micros === undefined ? iso : `${iso.slice(0, -1)}${micros.padEnd(3, '0')}Z`
}

/** The usual shape `2024-05-01[ 10:00:00[.123456][+00]]`, years 1000 to 9999, about ten times faster than the pattern. */
function commonInstant(source: string): Date | undefined {
  const { length } = source
  if (source.charCodeAt(4) !== 45 || source.charCodeAt(0) === 48) return undefined
  const year = twoDigits(source, 0) * 100 + twoDigits(source, 2)
  const month = twoDigits(source, 5) - 1
  const day = twoDigits(source, 8)
  if (length === 10) return new Date(Date.UTC(year, month, day))
  let end = length
  const sign = source.charCodeAt(length - 3)
  // A zone west of Greenwich, or BC.
  if (sign === 45 || source.charCodeAt(length - 1) > 57) return undefined
  if (sign === 43) {
    if (source.charCodeAt(length - 2) !== 48 || source.charCodeAt(length - 1) !== 48) return undefined
    end = length - 3
  }
  if (end < 19 || end > 26 || end === 20) return undefined
  let milliseconds = 0
  if (end > 19) {
    if (source.charCodeAt(19) !== 46) return undefined
    for (let at = 20; at < 23; at++) milliseconds = milliseconds * 10 + (at < end ? source.charCodeAt(at) - 48 : 0)
  }
  const hour = twoDigits(source, 11)
  const time = Date.UTC(year, month, day, hour, twoDigits(source, 14), twoDigits(source, 17), milliseconds)
  return Number.isNaN(time) ? undefined : new Date(time)
}

function twoDigits(source: string, at: number): number {
  return (source.charCodeAt(at) - 48) * 10 + source.charCodeAt(at + 1) - 48
}

/** Reads an array's text, nested as it is; follows "Array Input and Output Syntax" of the PostgreSQL manual. */
export function parseArray(source: string, element: TextParser, column: string, delimiter: string): unknown[] {
  // Lower bounds other than 1 come first, as in [0:1]={a,b}; JavaScript has no place for them.
  let at = source.startsWith('[') ? source.indexOf('=') + 1 : 0
  const readQuoted = (): string => {
    let value = ''
    for (at++; source[at] !== '"'; at++) {
      if (source[at] === '\\') at++
      if (at >= source.length) throw unreadable(column, 'holds an array that ends within quotes')
      value += source[at]
    }
    at++
    return value
  }
  const readPlain = (): string => {
    const start = at
    while (at < source.length && source[at] !== delimiter && source[at] !== '}') at++
    return source.slice(start, at)
  }
  const readItem = (): unknown => {
    if (source[at] === '{') return readList()
    if (source[at] === '"') return element(readQuoted(), column)
    const plain = readPlain()
    return plain === 'NULL' ? null : element(plain, column)
  }
  const readList = (): unknown[] => {
    const items: unknown[] = []
    at++
    while (source[at] !== '}') {
      items.push(readItem())
      if (source[at] === delimiter) at++
      else if (source[at] !== '}') throw unreadable(column, 'holds an array that does not end')
    }
    at++
    return items
  }
  return readList()
}

function unreadable(column: string, reason: string, hint?: string): UsageError {
  return new UsageError('INVALID_VALUE', `Column "${column}" ${reason}`, { hint })
}
