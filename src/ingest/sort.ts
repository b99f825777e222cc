import type { LoadTarget } from '../catalog/load-target.ts'
import { timeFormatOf } from './encode/time-format.ts'
import { isoText } from './encode/time-text.ts'
import type { ValueOptions } from './encode/value.ts'

/** In which order a batch is sent. */
export interface SortedOrder {
  /** Row numbers of the batch in the order to send. */
  readonly order: Uint32Array
  /** How many runs of one segment in one chunk there are. */
  readonly groups: number
}

/** The values of a column of a batch, by row. */
export type ValuesOf = (column: string) => (row: number) => unknown

/**
 * Rows by chunk, then segment, then the first column of the table's order: what the server compresses fastest (1.13
 * against 0.78 million rows a second in time order, 2.28). It sorts itself too, so an order that is not exact costs only
 * time: chunks are taken to begin at multiples of their length, texts are compared as code units. Undefined where a value
 * has no order that is known here.
 */
export function sortedOrder(
  target: LoadTarget,
  rows: number,
  valuesOf: ValuesOf,
  options: ValueOptions,
): SortedOrder | undefined {
  const { time, segmentBy, orderBy } = target
  if (time === undefined || rows === 0) return undefined
  const first = orderBy[0] ?? { column: time.column, direction: 'desc', nulls: 'first' }
  const keyOf = time.integer ? integerOf : timeMilliseconds
  const timeKeys = new Float64Array(rows)
  const sortKeys = first.column === time.column ? timeKeys : new Float64Array(rows)
  const groupOf = new Uint32Array(rows)
  const groups = new Groups(segmentBy.map(valuesOf))
  const { chunks, counts } = groups
  const timeAt = valuesOf(time.column)
  const sortAt = valuesOf(first.column)
  for (let row = 0; row < rows; row++) {
    const timeKey = keyOf(timeAt(row), options)
    const sortKey = sortKeys === timeKeys ? timeKey : keyOf(sortAt(row), options)
    if (Number.isNaN(timeKey) || Number.isNaN(sortKey)) return undefined
    timeKeys[row] = timeKey
    sortKeys[row] = first.direction === 'desc' ? -sortKey : sortKey
    groupOf[row] = groups.add(Math.floor(timeKey / time.chunkLength), row)
  }
  // In the direction of time, the rows of a segment are in one order over all chunks, wherever chunks really begin.
  const falling = first.column === time.column && first.direction === 'desc'
  const places = falling ? chunks.map((chunk) => -chunk) : chunks
  return { order: place(groupOf, sortKeys, places, counts), groups: counts.length }
}

/** By the value of one column after another: the next level, or the number of a group. */
type Level = Map<unknown, Level | number>

/** The segments in each chunk. A value that is written in two ways may be two of them, which costs only time. */
class Groups {
  /** By group. */
  readonly chunks: number[] = []
  readonly counts: number[] = []
  readonly #segments: readonly ((row: number) => unknown)[]
  readonly #byChunk: Level = new Map()

  constructor(segments: readonly ((row: number) => unknown)[]) {
    this.#segments = segments
  }

  /** The group of a row, counted. */
  add(chunk: number, row: number): number {
    let level = this.#byChunk
    let key: unknown = chunk
    for (const valueAt of this.#segments) {
      let next = level.get(key)
      if (!(next instanceof Map)) {
        next = new Map()
        level.set(key, next)
      }
      level = next
      const value = valueAt(row)
      key = typeof value === 'object' ? String(value) : value
    }
    let group = level.get(key)
    if (typeof group !== 'number') {
      group = this.counts.length
      level.set(key, group)
      this.chunks.push(chunk)
      this.counts.push(0)
    }
    this.counts[group] = (this.counts[group] ?? 0) + 1
    return group
  }
}

/** Where a value of the time column is, in the unit of the target's chunk length; NaN for what has no known place. */
export function timeKey(target: LoadTarget, value: unknown, options: ValueOptions): number {
  return target.time?.integer === true ? integerOf(value) : timeMilliseconds(value, options)
}

function place(
  groupOf: Uint32Array,
  keys: Float64Array,
  chunks: readonly number[],
  counts: readonly number[],
): Uint32Array {
  const sequence = Array.from(chunks.keys()).sort(
    (one, other) => (chunks[one] ?? 0) - (chunks[other] ?? 0) || one - other,
  )
  const next = new Uint32Array(chunks.length)
  let start = 0
  for (const group of sequence) {
    next[group] = start
    start += counts[group] ?? 0
  }
  const order = new Uint32Array(groupOf.length)
  for (let row = 0; row < groupOf.length; row++) {
    const group = groupOf[row] ?? 0
    const at = next[group] ?? 0
    order[at] = row
    next[group] = at + 1
  }
  const byKey = (one: number, other: number): number => (keys[one] ?? 0) - (keys[other] ?? 0)
  start = 0
  for (const group of sequence) {
    const part = order.subarray(start, start + (counts[group] ?? 0))
    start += part.length
    // Most sources are in time order already, and looking is cheaper than sorting.
    if (!isSorted(part, keys)) part.sort(byKey)
  }
  return order
}

function isSorted(part: Uint32Array, keys: Float64Array): boolean {
  for (let at = 1; at < part.length; at++) {
    if ((keys[part[at] ?? 0] ?? 0) < (keys[part[at - 1] ?? 0] ?? 0)) return false
  }
  return true
}

function integerOf(value: unknown): number {
  return typeof value === 'number' || typeof value === 'bigint' || typeof value === 'string'
    ? Number(value)
    : Number.NaN
}

const unitMs = { s: 1000, ms: 1, us: 1e-3, ns: 1e-6 }

/** Milliseconds for what stands for a time, the number itself for a number; NaN for what is neither. */
export function timeMilliseconds(value: unknown, options: ValueOptions): number {
  const { timeUnit } = options
  if (typeof value === 'number') return timeUnit === undefined ? value : value * unitMs[timeUnit]
  if (typeof value === 'bigint') return Number(value) * unitMs[timeUnit ?? 'us']
  if (value instanceof Date) return value.getTime()
  if (typeof value !== 'string') return Number.NaN
  const format = timeFormatOf(options)
  if (format !== undefined) return Date.parse(withZone(format(value) ?? ''))
  const number = Number(value)
  if (!Number.isNaN(number) && value !== '') return timeUnit === undefined ? number : number * unitMs[timeUnit]
  return Date.parse(withZone(isoText(value) ?? value))
}

function withZone(text: string): string {
  return /[zZ]|:.*[+-]\d\d(:?\d\d)?$/.test(text) ? text : /^\d{4}-\d\d-\d\d$/.test(text) ? text : `${text}Z`
}
