import Table from 'cli-table3'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Printable, type PrintableColumn, printableColumns } from './printable.ts'

/** How a table is shown. */
export interface PrintOptions {
  /** At most so many rows: the first ones. Default 20. */
  readonly rows?: number
  /** Columns of the terminal; what does not fit is named below. Default: the terminal's, 100 where there is none. */
  readonly width?: number
  /** Characters of a value before it is cut. Default 40. */
  readonly cellWidth?: number
  /** True shows each row as a block of lines, one for each column, with nothing cut or hidden. */
  readonly expanded?: boolean
  /** Gets the text. Default: standard output. */
  readonly write?: (text: string) => void
}

const OPTIONS = ['rows', 'width', 'cellWidth', 'expanded', 'write']
const BORDERS = { 'top-left': '', 'top-right': '', 'bottom-left': '', 'bottom-right': '' }
const LINES = { ...BORDERS, top: '', 'top-mid': '', bottom: '', 'bottom-mid': '', left: '', 'left-mid': '' }
const CHARS = { ...LINES, right: '', 'right-mid': '', mid: '', 'mid-mid': '', middle: '' }
/** Made when first needed: it loads tables, a twentieth of the start of a program. */
let segments: Intl.Segmenter | undefined

/**
 * Shows a DataFrame, the columns of a result or rows as a table: names, types, values; numbers to the right. NULL is
 * `null`, a text that could be mistaken for it, or for nothing, is in quotes. Long values are cut, marked by `…`.
 * @throws UsageError INVALID_OPTION
 * @example
 * print(await db.queryToDataFrame('select now() as time, 1.5 as value'))
 */
export function print(source: Printable, options: PrintOptions = {}): void {
  checkKeys(options, OPTIONS, 'print')
  const { rows = 20, width = process.stdout.columns ?? 100, cellWidth = 40 } = options
  if (!Number.isInteger(rows) || rows < 0) throw invalidOption('rows must be a whole number, 0 or more.')
  const write = options.write ?? ((text: string) => process.stdout.write(`${text}\n`))
  write(options.expanded === true ? blockText(source, rows) : tableText(source, rows, width, cellWidth))
}

function blockText(source: Printable, limit: number): string {
  const { columns, length } = printableColumns(source)
  const shown = Math.min(limit, length)
  const names = columns.map(({ name }) => visible(name))
  const width = columnWidth(names)
  const lines: string[] = []
  for (let row = 0; row < shown; row++) {
    lines.push(`─ row ${row + 1} ${'─'.repeat(Math.max(3, width))}`)
    for (const [index, column] of columns.entries()) {
      const name = names[index] ?? ''
      lines.push(`${name}${' '.repeat(width - columnWidth([name]))}  ${cellText(column, row)}`)
    }
  }
  return [...lines, countText(shown, length)].join('\n')
}

function countText(shown: number, length: number): string {
  return length > shown ? `… ${length - shown} more rows of ${length}` : `${length} ${length === 1 ? 'row' : 'rows'}`
}

function tableText(source: Printable, limit: number, width: number, cellWidth: number): string {
  const { columns, length } = printableColumns(source)
  const shown = Math.min(limit, length)
  const cells = columns.map((column) => columnCells(column, shown, cellWidth))
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
    countText(shown, length),
    ...(hidden.length === 0
      ? []
      : [`and ${hidden.length} more ${hidden.length === 1 ? 'column' : 'columns'}: ${hidden.map(visible).join(', ')}`]),
  ].join('\n')
}

/** Name, type and values of a column. */
function columnCells(column: PrintableColumn, shown: number, cellWidth: number): string[] {
  const cells = [cut(visible(column.name), cellWidth), column.type]
  for (let row = 0; row < shown; row++) cells.push(cut(cellText(column, row), cellWidth))
  return cells
}

function cellText(column: PrintableColumn, row: number): string {
  const value = column.value(row)
  if (value === null || value === undefined) return 'null'
  const text = column.text(value)
  const ambiguous = typeof value === 'string' && /^(?:null|\s.*|.*\s|)$/s.test(text)
  return ambiguous ? JSON.stringify(text) : visible(text)
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

function cut(text: string, longest: number): string {
  if (text.length <= longest) return text
  segments ??= new Intl.Segmenter()
  const [...parts] = segments.segment(text.slice(0, longest * 20))
  if (parts.length <= longest) return text
  return `${parts
    .slice(0, longest - 1)
    .map(({ segment }) => segment)
    .join('')}…`
}
