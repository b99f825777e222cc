import type { ColumnType } from '../wire/column.ts'
import type { Column } from './column.ts'
import { ColumnSet } from './column-set.ts'
import type { IntervalValue } from './column-value.ts'
import { dateText, intervalText, timestampText, timeText } from './time-text.ts'

/** What is used of an Arquero table. */
export interface FrameLike {
  columnNames(): string[]
  numRows(): number
  get(name: string, row?: number): unknown
  /** The column itself, in the order of the table before filters. */
  column(name: string): object | undefined
}

/** What can be shown: an Arquero table, the result of `queryToColumns`, or rows. */
export type Printable = FrameLike | ColumnSet | readonly object[]

/** A column to be shown. */
export interface PrintableColumn {
  readonly name: string
  readonly type: string
  readonly numeric: boolean
  /** The value of a row; null or undefined where there is none. */
  value(row: number): unknown
  /** The text of a value that is there. */
  text(value: unknown): string
}

/** The oid of numeric. */
const NUMERIC = 1700

/** The columns of anything that can be shown, and how many rows it has. */
export function printableColumns(source: Printable): { readonly columns: PrintableColumn[]; readonly length: number } {
  if (source instanceof ColumnSet) {
    return { columns: source.columns.map(ofColumn), length: source.length }
  }
  if (isRows(source)) return ofRows(source)
  const length = source.numRows()
  const columns = source.columnNames().map((name) => {
    const value = (row: number): unknown => source.get(name, row)
    const buffer = /^(?:Big)?(?:Int|Uint|Float)\d+(?=Array$)/.exec(source.column(name)?.constructor.name ?? '')
    return guessed(name, value, length, buffer?.[0].toLowerCase())
  })
  return { columns, length }
}

function isRows(source: FrameLike | readonly object[]): source is readonly object[] {
  return Array.isArray(source)
}

function ofRows(rows: readonly object[]): { readonly columns: PrintableColumn[]; readonly length: number } {
  const values = rows.map((row) => new Map<string, unknown>(Object.entries(row)))
  const names = [...new Set(values.flatMap((row) => [...row.keys()]))]
  const columns = names.map((name) => guessed(name, (row) => values[row]?.get(name), rows.length, undefined))
  return { columns, length: rows.length }
}

/** A column of which only the values are known: the first one that is there says the type. */
function guessed(
  name: string,
  value: (row: number) => unknown,
  length: number,
  known: string | undefined,
): PrintableColumn {
  let sample: unknown
  for (let row = 0; row < length && (sample === undefined || sample === null); row++) sample = value(row)
  const type = known ?? typeName(sample)
  return { name, type, numeric: /^(?:number|bigint|(?:u?int|float)\d+)$/.test(type), value, text: plainText }
}

function typeName(sample: unknown): string {
  if (sample === undefined || sample === null) return 'null'
  if (sample instanceof Date) return 'date'
  if (Array.isArray(sample) || ArrayBuffer.isView(sample)) return sample instanceof Uint8Array ? 'binary' : 'list'
  return typeof sample === 'string' ? 'text' : typeof sample
}

function ofColumn(column: Column): PrintableColumn {
  const { kind } = column.type
  // numeric read as text is exact, and still a number.
  const exact = kind === 'text' && column.typeId === NUMERIC
  return {
    name: column.name,
    type: exact ? 'numeric' : kindText(column.type),
    numeric: exact || /^(?:u?int|float|decimal)/.test(kind),
    value: (row) => column.get(row),
    text: (value) => exactText(column.type, value),
  }
}

function kindText(type: ColumnType): string {
  if (type.kind === 'decimal') return `decimal(${type.precision},${type.scale})`
  return type.kind === 'list' ? `${kindText(type.element)}[]` : type.kind
}

/** The text of a value as `Column.get()` gives it. */
function exactText(type: ColumnType, value: unknown): string {
  if (type.kind === 'list' && Array.isArray(value)) {
    const items = value.map((item: unknown) =>
      item === null ? 'null' : Array.isArray(item) ? exactText(type, item) : exactText(type.element, item),
    )
    return `[${items.join(', ')}]`
  }
  if (type.kind === 'date' && typeof value === 'number') return dateText(value)
  if (type.kind === 'time' && typeof value === 'bigint') return timeText(value)
  if (isInstant(value)) {
    if (type.kind === 'timestamp') return timestampText(value, '')
    if (type.kind === 'timestamptz') return timestampText(value, '+00')
  }
  if (type.kind === 'interval' && (isInterval(value) || typeof value === 'number')) return intervalText(value)
  return plainText(value)
}

function isInstant(value: unknown): value is bigint | number {
  return typeof value === 'bigint' || typeof value === 'number'
}

function isInterval(value: unknown): value is IntervalValue {
  return typeof value === 'object' && value !== null && 'months' in value
}

function plainText(value: unknown): string {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString()
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? '-0' : String(value)
  if (Array.isArray(value)) {
    return `[${value.map((item: unknown) => (item === null ? 'null' : plainText(item))).join(', ')}]`
  }
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
}
