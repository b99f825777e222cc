import { UnreadableRow } from '../encode/encoder.ts'
import { lineTooLong, maxLineLength, textLines } from './text-line.ts'

/** How points of line protocol become rows. */
export interface InfluxRules {
  /** Only points of this measurement are rows. */
  readonly measurement: string | undefined
  /** The property that takes the name of the measurement. */
  readonly measurementColumn: string | undefined
  /** The property that takes the time. */
  readonly timeColumn: string
  /** The time of points without one, in the unit of the others; undefined: they are unreadable. */
  readonly missingTime: bigint | undefined
}

/** A row by name: the time as a bigint in the unit of the file, tags as texts, fields as they are. */
type InfluxRow = Record<string, unknown>

/**
 * The points of InfluxDB line protocol (version 2: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/)
 * as rows. Floats are numbers, integers numbers or beyond ±2^53 bigints. A line that is none is an UnreadableRow, and so
 * is a point of a second measurement where no rule says what to do with it, since its rows would be mixed with others.
 */
export async function* influxRows(
  bytes: AsyncIterable<Buffer>,
  name: string,
  rules: InfluxRules,
): AsyncGenerator<InfluxRow | UnreadableRow> {
  const points = new PointLines(name, rules)
  for await (const { lines, first } of textLines(bytes, name)) {
    for (let at = 0; at < lines.length; at++) {
      const row = points.take(lines[at] ?? '', first + at)
      if (row !== undefined) yield row
    }
  }
  const last = points.end()
  if (last !== undefined) yield last
}

/** Makes rows of lines one after another. */
class PointLines {
  readonly #name: string
  readonly #rules: InfluxRules
  #only: string | undefined
  /** The text of a field may go on over several lines. */
  #open = ''
  #first = 0

  constructor(name: string, rules: InfluxRules) {
    this.#name = name
    this.#rules = rules
  }

  /** The row that ends with this line; undefined for one that is none, or is not wanted. */
  take(text: string, number: number): InfluxRow | UnreadableRow | undefined {
    const { measurement, measurementColumn } = this.#rules
    if (this.#open === '') this.#first = number
    const first = this.#first
    const line = this.#open === '' ? text : `${this.#open}\n${text}`
    if (/^\s*(?:#|$)/.test(line)) return undefined
    const point = parsePoint(line)
    this.#open = point === unclosed ? line : ''
    if (this.#open.length > maxLineLength) throw lineTooLong(this.#name, first)
    if (point === unclosed) return undefined
    if (typeof point === 'string') return new UnreadableRow(`line ${first} ${point}`, line)
    if (measurement !== undefined && point.measurement !== measurement) return undefined
    this.#only ??= point.measurement
    if (measurementColumn !== undefined || point.measurement === this.#only)
      return toRow(point, this.#rules, first, line)
    const hint = 'give the option measurement or measurementColumn'
    return new UnreadableRow(`line ${first} is of another measurement than the first: ${hint}`, line)
  }

  /** What is left at the end. */
  end(): UnreadableRow | undefined {
    if (this.#open === '') return undefined
    return new UnreadableRow(`line ${this.#first} has a text that is not closed`, this.#open)
  }
}

function toRow(
  { measurement, values, time }: Point,
  { measurementColumn, timeColumn, missingTime }: InfluxRules,
  number: number,
  line: string,
): InfluxRow | UnreadableRow {
  const row: InfluxRow = {}
  const at = time ?? missingTime
  if (at === undefined) return new UnreadableRow(`line ${number} has no time (see the option missingTime)`, line)
  const own: (readonly [string, unknown])[] = [[timeColumn, at]]
  if (measurementColumn !== undefined) own.push([measurementColumn, measurement])
  for (const [name, value] of [...own, ...values]) {
    if (Object.hasOwn(row, name)) {
      return new UnreadableRow(`line ${number} has two values of the name ${JSON.stringify(name)}`, line)
    }
    // An assignment would set the prototype, and lose the value.
    if (name === '__proto__') Object.defineProperty(row, name, { value, enumerable: true })
    else row[name] = value
  }
  return row
}

interface Point {
  readonly measurement: string
  /** Tags, then fields. */
  readonly values: readonly (readonly [string, unknown])[]
  readonly time: bigint | undefined
}

const unclosed: unique symbol = Symbol('a text goes on in the next line')

/** One point; a text says what is wrong with the line. */
export function parsePoint(line: string): Point | string | typeof unclosed {
  const reader = new PointReader(line)
  const measurement = reader.name(', ', ', ')
  if (measurement === '') return 'has no measurement'
  const values: (readonly [string, unknown])[] = []
  while (reader.take(',')) {
    const key = reader.name('=', ', =')
    if (key === '' || !reader.take('=')) return 'has a tag without a name or value'
    const value = reader.name(', ', ', =')
    if (value === '') return `has no value for the tag ${JSON.stringify(key)}`
    values.push([key, value])
  }
  if (!reader.spaces()) return 'has no fields'
  do {
    const key = reader.name('=', ', =')
    if (key === '' || !reader.take('=')) return 'has a field without a name or value'
    const value = reader.value()
    if (value === unclosed) return unclosed
    if (value === undefined) return `has a value of the field ${JSON.stringify(key)} that is none`
    values.push([key, value])
  } while (reader.take(','))
  if (!reader.spaces())
    return reader.ended ? { measurement, values, time: undefined } : 'has something after its fields'
  const time = reader.rest()
  if (time === '') return { measurement, values, time: undefined }
  return /^-?\d{1,19}$/.test(time) ? { measurement, values, time: BigInt(time) } : 'has a time that is no whole number'
}

const integerText = /^[+-]?\d+i$/
const unsignedText = /^\+?\d+u$/
const floatText = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i
const booleans: ReadonlyMap<string, boolean> = new Map([
  ...['t', 'T', 'true', 'True', 'TRUE'].map((text) => [text, true] as const),
  ...['f', 'F', 'false', 'False', 'FALSE'].map((text) => [text, false] as const),
])

class PointReader {
  readonly #line: string
  #at: number

  constructor(line: string) {
    this.#line = line
    this.#at = line.length - line.trimStart().length
  }

  get ended(): boolean {
    return this.#at >= this.#line.length
  }

  take(char: string): boolean {
    if (this.#line[this.#at] !== char) return false
    this.#at++
    return true
  }

  spaces(): boolean {
    const start = this.#at
    while (this.#line[this.#at] === ' ') this.#at++
    return this.#at > start
  }

  rest(): string {
    const text = this.#line.slice(this.#at).trimEnd()
    this.#at = this.#line.length
    return text
  }

  /** A name or tag value up to one of `ends`; a backslash before one of `escaped` is left out, any other stays. */
  name(ends: string, escaped: string): string {
    const line = this.#line
    let start = this.#at
    let text = ''
    for (; this.#at < line.length; this.#at++) {
      const char = line[this.#at] ?? ''
      if (char === '\\' && escaped.includes(line[this.#at + 1] ?? '\\')) {
        text += line.slice(start, this.#at)
        start = ++this.#at
      } else if (ends.includes(char)) break
    }
    return text + line.slice(start, this.#at)
  }

  /** The value of a field; undefined for what is none. */
  value(): unknown {
    if (this.#line[this.#at] === '"') return this.#text()
    const start = this.#at
    while (this.#at < this.#line.length && !', '.includes(this.#line[this.#at] ?? '')) this.#at++
    const text = this.#line.slice(start, this.#at)
    if (floatText.test(text)) return Number.isFinite(Number(text)) ? Number(text) : undefined
    if (integerText.test(text)) return whole(text.slice(0, -1), -(2n ** 63n), 2n ** 63n)
    if (unsignedText.test(text)) return whole(text.slice(0, -1), 0n, 2n ** 64n)
    return booleans.get(text)
  }

  /** In a text only the quote and the backslash are escaped. */
  #text(): string | typeof unclosed {
    const line = this.#line
    let start = ++this.#at
    let text = ''
    for (; this.#at < line.length; this.#at++) {
      const char = line[this.#at]
      if (char === '"') {
        text += line.slice(start, this.#at++)
        return text
      }
      if (char !== '\\' || !'"\\'.includes(line[this.#at + 1] ?? ' ')) continue
      text += line.slice(start, this.#at)
      start = ++this.#at
    }
    return unclosed
  }
}

function whole(text: string, least: bigint, end: bigint): number | bigint | undefined {
  const number = Number(text)
  if (Number.isSafeInteger(number)) return number
  const value = BigInt(text.replace('+', ''))
  return value >= least && value < end ? value : undefined
}
