import { type ColumnSet, type Printable, print, UsageError } from '../../../index.ts'
import { type ChartColumns, type Drawable, drawChart } from '../chart.ts'
import { printTable } from '../output.ts'
import type { Listing } from './describe.ts'

/** How results are shown. */
export interface Display {
  expanded: boolean
  timing: boolean
  /** The most rows shown; undefined: what fits the terminal, or all where there is none. */
  rows: number | undefined
}

/** Shows what a statement gave: its rows, or its command tag. */
export function printResult(result: ColumnSet, display: Display): void {
  for (const notice of result.notices) process.stderr.write(`${notice.severity}: ${notice.message}\n`)
  if (result.columns.length > 0) printSource(result, display, result.columns.length)
  else {
    const { command, rowCount } = result
    process.stdout.write(`${rowCount > 0 ? `${command} ${rowCount}` : command}\n`)
  }
}

/** Shows a list of the shell's own, all of it. */
export function printListing({ title, rows }: Listing): void {
  process.stdout.write(`${title}\n`)
  if (rows.length === 0) process.stdout.write('(none)\n')
  else printTable(Object.keys(rows[0] ?? {}), rows)
}

function printSource(source: Printable, { expanded, rows }: Display, columns: number): void {
  const { columns: width = Number.POSITIVE_INFINITY, rows: height } = process.stdout
  // Heading, type and count, and the next prompt.
  const fitting = height === undefined ? Number.MAX_SAFE_INTEGER : Math.max(5, height - 5)
  // One long text, such as a plan's line, may have the whole width.
  const cellWidth = columns === 1 ? width : Math.max(40, Math.floor(width / 2))
  print(source, { expanded, rows: rows ?? fitting, width, cellWidth })
}

/** Draws a result. @throws UsageError INVALID_OPTION where there is nothing to draw */
export function printChart(result: ColumnSet | undefined, columns: ChartColumns | undefined): void {
  if (result === undefined || result.columns.length === 0) {
    throw new UsageError('INVALID_OPTION', 'There is no result to draw.', { hint: 'Write \\chart behind a query.' })
  }
  if (result.length === 0) process.stdout.write('0 rows\n')
  else drawChart(result, result.columns.map(toDrawable), columns)
}

function toDrawable(column: ColumnSet['columns'][number]): Drawable {
  const { name, type, typeId } = column
  const isNumber = /^(?:u?int|float|decimal)/.test(type.kind) || typeId === NUMERIC
  return { name, values: column, kind: /^(?:date|timestamp)/.test(type.kind) ? 'time' : isNumber ? 'number' : 'other' }
}

/** The oid of numeric, which the shell reads as exact text. */
const NUMERIC = 1700
