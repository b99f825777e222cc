import Table from 'cli-table3'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Printable, type PrintableColumn, printableColumns } from './printable.ts'

/** How a table is shown. */
export interface PrintOptions {
  /** At most so many rows: the first ones. Default 20. */
  readonly rows?: number
  /** Columns of the terminal; what does not fit is named below. Default: the terminal's, 100 where there is none. */
  readonly width?: number
  /** Gets the text. Default: standard output. */
  readonly write?: (text: string) => void
}

const LONGEST_CELL = 40
const BORDERS = { 'top-left': '', 'top-right': '', 'bottom-left': '', 'bottom-right': '' }
const LINES = { ...BORDERS, top: '', 'top-mid': '', bottom: '', 'bottom-mid': '', left: '', 'left-mid': '' }
const CHARS = { ...LINES, right: '', 'right-mid': '', mid: '', 'mid-mid': '', middle: '' }
const segments = new Intl.Segmenter()

/**
 * Shows a DataFrame, the columns of a result or rows as a table: names, types, values; numbers to the right. NULL is
 * `null`, a text that could be mistaken for it, or for nothing, is in quotes. Long values are cut, marked by `…`.
 * @throws UsageError INVALID_OPTION
 * @example
 * print(await db.queryToDataFrame('select now() as time, 1.5 as value'))
 */
export function print(source: Printable, options: PrintOptions = {}): void {
  checkKeys(options, ['rows', 'width', 'write'], 'print')
  const { rows = 20, width = process.stdout.columns ?? 100 } = options
  if (!Number.isInteger(rows) || rows < 0) throw invalidOption('rows must be a whole number, 0 or more.')
  const write = options.write ?? ((text: string) => process.stdout.write(`${text}\n`))
  write(tableText(source, rows, width))
}

function tableText(source: Printable, limit: number, width: number): string {
  const { columns, length } = printableColumns(source)
  const shown = Math.min(limit, length)
  const cells = columns.map((column) => columnCells(column, shown))
  const widths = cells.map(columnWidth)
  let fitting = 0
  for (let used = 0; fitting < columns.length; fitting++) {
    used += (widths[fitting] ?? 0) + (fitting === 0 ? 0 : 2)
    if (used > width && fitting > 0) break
  }
  const hidden = columns.slice(fitting).map(({ name }) => name)
  const rows = Array.from({ length: shown + 2 }, (_, row) => cells.slice(0, fitting).map((column) => column[row] ?? ''))
  const table = makeTable(columns.slice(0, fitting).map(({ numeric }) => (numeric ? 'right' : 'left')))
  table.push(...rows)
  const lines = table.toString().split('\n')
  return [
    ...(columns.length === 0 ? [] : lines.map((line) => line.trimEnd())),
    length > shown ? `… ${length - shown} more rows of ${length}` : `${length} ${length === 1 ? 'row' : 'rows'}`,
    ...(hidden.length === 0
      ? []
      : [`and ${hidden.length} more ${hidden.length === 1 ? 'column' : 'columns'}: ${hidden.map(visible).join(', ')}`]),
  ].join('\n')
}

/** Name, type and values of a column. */
function columnCells(column: PrintableColumn, shown: number): string[] {
  const cells = [cut(visible(column.name)), column.type]
  for (let row = 0; row < shown; row++) {
    const value = column.value(row)
    if (value === null || value === undefined) cells.push('null')
    else {
      const text = column.text(value)
      const ambiguous = typeof value === 'string' && /^(?:null|\s.*|.*\s|)$/s.test(text)
      cells.push(cut(ambiguous ? JSON.stringify(text) : visible(text)))
    }
  }
  return cells
}

/** The width in the terminal, where some characters take two places and some none, as the table measures it. */
function columnWidth(cells: readonly string[]): number {
  const table = new Table({ chars: { ...CHARS, top: '-' }, style: { ...PLAIN } })
  for (const cell of cells) table.push([cell])
  return table.toString().indexOf('\n')
}

const PLAIN = { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true }

function makeTable(colAligns: ('left' | 'right')[]): InstanceType<typeof Table> {
  return new Table({ colAligns, chars: { ...CHARS, middle: '  ' }, style: { ...PLAIN } })
}

/** Control characters would move the cursor, or do worse. */
function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/^[^\\]$/, (plain) => `\\u${plain.charCodeAt(0).toString(16).padStart(4, '0')}`),
  )
}

function cut(text: string): string {
  if (text.length <= LONGEST_CELL) return text
  const [...parts] = segments.segment(text.slice(0, LONGEST_CELL * 20))
  if (parts.length <= LONGEST_CELL) return text
  return `${parts
    .slice(0, LONGEST_CELL - 1)
    .map(({ segment }) => segment)
    .join('')}…`
}
