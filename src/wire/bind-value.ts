import { types } from 'node:util'
import { UsageError } from '../errors.ts'

/** What is sent for one parameter: text, the bytes of a `bytea`, or NULL. */
export type BoundValue = string | Buffer | null

/**
 * What is sent for each parameter of a statement.
 *
 * - null → NULL; string; boolean; number (also `NaN`, `Infinity`, `-0`); bigint
 * - Date → ISO text in UTC: the same instant for `timestamptz`, its UTC date and time for `timestamp` and `date`
 * - Buffer, Uint8Array, ArrayBuffer, DataView → `bytea`
 * - arrays and the other typed arrays → a PostgreSQL array, nested as given. For a `json` parameter pass
 *   `JSON.stringify(array)`: the type of a parameter is known to the server only. It refuses an array there, except the
 *   empty one, whose text `{}` is an empty object in JSON.
 * - plain objects and objects with `toJSON` → JSON
 *
 * @throws UsageError INVALID_VALUE for anything else (undefined, an invalid Date, a function, a Promise, a Map …), a text
 * with NUL or half a surrogate pair, or JSON that cannot be written. The message names the parameter, never the value.
 */
export function bindValues(values: readonly unknown[]): BoundValue[] {
  const bound: BoundValue[] = new Array(values.length)
  for (let index = 0; index < values.length; index++) bound[index] = bindValue(values[index], `$${index + 1}`)
  return bound
}

/**
 * What is sent for one value; see {@link bindValues}.
 * @param parameter - how errors name it, such as `$1`
 * @throws UsageError INVALID_VALUE
 */
export function bindValue(value: unknown, parameter: string): BoundValue {
  switch (typeof value) {
    case 'string':
      return checkText(value, parameter)
    case 'number':
      // String(-0) is '0'.
      return value === 0 && Object.is(value, -0) ? '-0' : String(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return String(value)
    case 'object':
      return value === null ? null : bindObject(value, parameter)
    default:
      throw refuse(parameter, typeof value, value === undefined ? 'Pass null for NULL.' : undefined)
  }
}

function bindObject(value: object, parameter: string): BoundValue {
  if (types.isDate(value)) return formatDate(value, parameter)
  if (Array.isArray(value)) return formatArray(value, parameter, 1)
  if (ArrayBuffer.isView(value)) {
    if (value instanceof Uint8Array || value instanceof DataView) {
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    // Every view but DataView is a typed array, which TypeScript does not narrow to.
    return formatArray(Array.from(value as unknown as Iterable<number | bigint>), parameter, 1)
  }
  if (types.isAnyArrayBuffer(value)) return Buffer.from(value)
  return formatJson(value, parameter)
}

/**
 * The text the server reads to the same instant (`timestamptz`), or to its UTC fields (`timestamp`, `date`): these two
 * ignore the zone. `toISOString` writes years before 1 and after 9999 as the server does not read them.
 */
function formatDate(date: Date, parameter: string): string {
  if (Number.isNaN(date.getTime())) throw refuse(parameter, 'an invalid Date')
  const iso = date.toISOString()
  const year = date.getUTCFullYear()
  if (year >= 1 && year <= 9999) return iso
  const rest = iso.slice(iso.indexOf('-', 1))
  return year > 9999 ? `${year}${rest}` : `${String(1 - year).padStart(4, '0')}${rest} BC`
}

// PostgreSQL's MAXDIM; it also ends a list that contains itself.
const maxDimensions = 6

function formatArray(items: readonly unknown[], parameter: string, depth: number): string {
  if (depth > maxDimensions) throw refuse(parameter, `an array of more than ${maxDimensions} dimensions`)
  let text = '{'
  for (let index = 0; index < items.length; index++) {
    if (index > 0) text += ','
    text += formatItem(items[index], parameter, depth)
  }
  return `${text}}`
}

function formatItem(item: unknown, parameter: string, depth: number): string {
  if (item === null) return 'NULL'
  if (Array.isArray(item)) return formatArray(item, parameter, depth + 1)
  if (item === undefined) throw refuse(parameter, 'an array with undefined', 'Pass null for NULL.')
  const bound = bindValue(item, parameter)
  if (bound === null) return 'NULL'
  if (typeof item === 'number' || typeof item === 'bigint' || typeof item === 'boolean') return String(bound)
  const text = typeof bound === 'string' ? bound : `\\x${bound.toString('hex')}`
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

function formatJson(value: object, parameter: string): string {
  const prototype = Object.getPrototypeOf(value)
  const plain = prototype === null || prototype === Object.prototype
  if (!plain && !('toJSON' in value && typeof value.toJSON === 'function')) {
    const name = prototype?.constructor?.name
    const hint = types.isPromise(value) ? 'Await it first.' : 'Pass a plain object to bind JSON.'
    throw refuse(parameter, typeof name === 'string' && name !== '' ? `an object of class ${name}` : 'an object', hint)
  }
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (error) {
    throw refuse(parameter, 'an object that JSON cannot hold', 'A bigint or a cycle inside?', error)
  }
  if (text === undefined) throw refuse(parameter, 'an object whose toJSON gives nothing')
  return checkText(noInterval(text), parameter)
}

/**
 * Servers before PostgreSQL 17 pass over punctuation in an interval: `{"days":7}` was seven seconds to them, instead of an
 * error. The same JSON with one letter escaped is no interval to any.
 */
function noInterval(json: string): string {
  // More fields than a server reads in an interval.
  if (json.length > 1000) return json
  const words = json.replace(/\d[\d.]*(?:e[+-]?\d+)?/g, ' ').match(/[a-z]+/gi) ?? []
  if (words.length === 0 || !words.every((word) => intervalWord.test(word))) return json
  return json.replace(/[a-z]/i, (letter) => `\\u00${letter.charCodeAt(0).toString(16)}`)
}

/** The words of "deltatktbl" in the server's datetime.c. */
const intervalWord =
  /^(?:ago|c|cent|centur(?:y|ies)|d|days?|dec|decs|decades?|h|hours?|hrs?|m|mils?|millennia|millennium[a-z]*|mins?|minutes?|mons?|months?|ms|msecs?|mseconds?|millisecon[a-z]*|microsecon[a-z]*|qtr|quarters?|s|secs?|seconds?|us|usecs?|useconds?|w|weeks?|y|years?|yrs?)$/i

// Half a surrogate pair would be sent as U+FFFD, a silent change; NUL is in no text of the server.
const unsendable = /[\0\ud800-\udfff]/u

function checkText(text: string, parameter: string): string {
  if (unsendable.test(text)) throw refuse(parameter, 'a text with NUL or half a surrogate pair')
  return text
}

function refuse(parameter: string, what: string, hint?: string, cause?: unknown): UsageError {
  return new UsageError('INVALID_VALUE', `Parameter ${parameter} is ${what}, which cannot be bound`, { hint, cause })
}
