import type { TableDescription } from '../../catalog/column.ts'
import type { CompressedRange } from '../../catalog/compressed-range.ts'
import type { LoadTarget } from '../../catalog/load-target.ts'
import { BatchError } from '../../errors.ts'
import { CopyBuffer } from '../../wire/copy-buffer.ts'
import type { ConflictRule } from '../conflict.ts'
import { type InputRow, rowError, type TableEncoder, tableEncoder, writable } from '../encode/encoder.ts'
import { layoutEncoder } from '../encode/layout.ts'
import { kindOf } from '../encode/value.ts'
import { timeKey } from '../sort.ts'
import type { Lane, WriterBatch } from './writer-batch.ts'
import type { WriterSettings } from './writer-option.ts'

/** What a batch is but its place in the ledger. */
export type CollectedBatch = Omit<WriterBatch, 'importId' | 'number'>

interface Layout {
  readonly names: readonly string[]
  readonly encoder: TableEncoder
}

interface OpenBatch {
  readonly layout: Layout
  readonly lane: Lane
  readonly buffer: CopyBuffer
  readonly sources: string[]
  readonly since: number
  rows: number
  /** Bytes of the sources. */
  sourceBytes: number
}

/** What the collector works by. */
export interface CollectorRules {
  readonly table: TableDescription
  readonly target: LoadTarget
  readonly conflict: ConflictRule
  readonly settings: WriterSettings
}

/** So many sets of properties are collected beside each other. */
const mostLayouts = 16

/** Takes rows in, encoded at once, so that the caller may change them afterwards; gives them out as batches. */
export class RowCollector {
  /** Where rows are late. */
  ranges: readonly CompressedRange[] = []
  #rules: CollectorRules
  readonly #layouts = new Map<string, Layout>()
  readonly #open = new Map<string, OpenBatch>()
  #last: Layout | undefined
  #check = new CopyBuffer()

  constructor(rules: CollectorRules) {
    this.#rules = rules
  }

  /** Rows that no batch was made of yet. */
  get rows(): number {
    let rows = 0
    for (const open of this.#open.values()) rows += open.rows
    return rows
  }

  /** Their bytes. */
  bytesOf(lane: Lane): number {
    let bytes = 0
    for (const open of this.#open.values()) if (open.lane === lane) bytes += open.buffer.length + open.sourceBytes
    return bytes
  }

  /** Whether one of the rows is late; what does not fit is not. */
  hasLate(rows: readonly InputRow[]): boolean {
    return this.ranges.length > 0 && rows.some((row, index) => this.#isLate(row, index))
  }

  /** When the oldest of them came. */
  get since(): number | undefined {
    const times = [...this.#open.values()].map(({ since }) => since)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  /** Goes on with a table whose columns have changed. */
  use(table: TableDescription): CollectedBatch[] {
    const batches = this.takeAll()
    this.#rules = { ...this.#rules, table }
    this.#layouts.clear()
    this.#last = undefined
    return batches
  }

  /** Looks whether a row can be taken, and takes nothing. @throws BatchError */
  check(row: InputRow, index: number): void {
    const mark = this.#check.mark()
    try {
      this.#layoutOf(row, index).encoder.row(this.#check, row, index)
    } finally {
      this.#check.rewind(mark)
    }
  }

  /**
   * Takes one row.
   * @param index - its number for an error
   * @param give - is given the batches that are full
   * @throws BatchError, and the row is not taken
   */
  add(row: InputRow, index: number, give: (batches: readonly CollectedBatch[]) => void): void {
    const layout = this.#layoutOf(row, index)
    const lane = this.#laneOf(layout, row)
    const open = this.#openFor(layout, lane, give)
    const mark = open.buffer.mark()
    try {
      layout.encoder.row(open.buffer, row, index)
    } catch (error) {
      open.buffer.rewind(mark)
      throw error
    }
    const isNoted = typeof this.#rules.settings.onBadRow === 'object'
    const source = isNoted ? toJson(row) : ''
    if (isNoted) open.sources.push(source)
    open.sourceBytes += source.length
    open.rows++
    const { batchRows, batchBytes } = this.#rules.settings
    if (open.rows >= batchRows || open.buffer.length >= batchBytes) give(this.#take(open))
  }

  /** All rows that are here. */
  takeAll(): CollectedBatch[] {
    return [...this.#open.values()].flatMap((open) => this.#take(open))
  }

  #layoutOf(row: InputRow, index: number): Layout {
    if (typeof row !== 'object' || row === null) {
      throw rowError(index, `The row is ${kindOf(row)}, not an object or an array`)
    }
    const { columns } = this.#rules.settings
    const own = columns === undefined && !Array.isArray(row)
    if (own && this.#last !== undefined && hasKeys(row, this.#last.names)) return this.#last
    const names = own ? Object.keys(row) : (columns ?? writable(this.#rules.table))
    const key = own ? names.toSorted().join('\0') : Array.isArray(row) ? '[]' : '{}'
    let layout = this.#layouts.get(key)
    if (layout === undefined) {
      layout = { names, encoder: this.#makeEncoder(names, own || Array.isArray(row), index) }
      this.#layouts.set(key, layout)
    }
    if (own) this.#last = layout
    return layout
  }

  #makeEncoder(names: readonly string[], strict: boolean, index: number): TableEncoder {
    const { table, settings, conflict } = this.#rules
    if (names.length === 0) throw rowError(index, 'The row has no properties')
    const missing = conflict.key.find((column) => !names.includes(column))
    if (missing !== undefined)
      throw rowError(index, `The row has no ${JSON.stringify(missing)}, which is part of the key`)
    const { timeUnit, timeFormat, timeZone } = settings
    const options = { timeUnit, timeFormat, timeZone }
    return strict ? tableEncoder(table, names, options) : layoutEncoder(table, names, { ...options, columns: names })
  }

  #isLate(row: InputRow, index: number): boolean {
    try {
      return this.#laneOf(this.#layoutOf(row, index), row) === 'late'
    } catch (error) {
      if (error instanceof BatchError) return false
      throw error
    }
  }

  #laneOf({ encoder }: Layout, row: InputRow): Lane {
    const { target, settings } = this.#rules
    if (this.ranges.length === 0 || target.time === undefined) return 'live'
    const time = timeKey(target, encoder.valueReader(target.time.column)(row), settings)
    return this.ranges.some(({ start, end }) => time >= start && time < end) ? 'late' : 'live'
  }

  #openFor(layout: Layout, lane: Lane, give: (batches: readonly CollectedBatch[]) => void): OpenBatch {
    const key = `${lane} ${layout.names.join('\0')}`
    const there = this.#open.get(key)
    if (there !== undefined) return there
    // Which row of a key comes first matters where they conflict: rows of other properties must not overtake.
    const most = this.#rules.conflict.onConflict === 'error' ? mostLayouts : 1
    const ofLane = [...this.#open.values()].filter((open) => open.lane === lane)
    if (ofLane.length >= most) for (const open of ofLane) give(this.#take(open))
    const made = { layout, lane, buffer: new CopyBuffer(), sources: [], since: Date.now(), rows: 0, sourceBytes: 0 }
    this.#open.set(key, made)
    return made
  }

  #take(open: OpenBatch): CollectedBatch[] {
    for (const [key, value] of this.#open) if (value === open) this.#open.delete(key)
    if (open.rows === 0) return []
    const columns = open.layout.encoder.columns.map(({ name, baseName, typeName, asText }) => ({
      name,
      baseName,
      typeName,
      asText,
    }))
    const { lane, rows, since, sources, buffer } = open
    return [{ lane, columns, rows, since, blocks: buffer.take(), sources: Buffer.from(sources.join('\n')) }]
  }
}

function hasKeys(row: object, names: readonly string[]): boolean {
  let at = 0
  for (const key in row) {
    if (key !== names[at]) return false
    at++
  }
  return at === names.length
}

/** What a dead letter says of a row; empty where JSON cannot say it. */
export function toJson(row: InputRow): string {
  try {
    return JSON.stringify(row, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value)) ?? ''
  } catch {
    return ''
  }
}
