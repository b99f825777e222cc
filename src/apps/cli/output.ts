import { randomUUID } from 'node:crypto'
import Table from 'cli-table3'
import type { Command } from 'commander'
import { UsageError } from '../../index.ts'
import { addChart, type ChartColumns, chartWanted, printChart } from './chart.ts'
import type { GlobalOptions } from './open.ts'

/** Rows by column name. */
export type Rows = readonly Readonly<Record<string, unknown>>[]

/** Adds `--csv` and `--chart` to a verb that reads; `--json` is there everywhere. */
export function addFormats(command: Command): Command {
  return addChart(command.option('--csv', 'print rows as CSV with a header'))
}

/** Which format the flags ask for. @throws UsageError INVALID_OPTION for two at once */
export function formatOf(command: Command): 'json' | 'csv' | 'chart' | 'text' {
  const { json, csv } = command.optsWithGlobals<GlobalOptions & { readonly csv?: boolean }>()
  const wanted = { json, csv, chart: chartWanted(command) }
  const [format, more] = (['json', 'csv', 'chart'] as const).filter((one) => wanted[one] === true)
  if (more === undefined) return format ?? 'text'
  throw new UsageError('INVALID_OPTION', 'Give one of --json, --csv and --chart.')
}

/**
 * Prints rows as a table, CSV, JSON or chart. `columns` are the columns and their order, also where there is no row;
 * `drawn` are those of a chart where the user names none.
 * @throws UsageError INVALID_OPTION for two formats at once, and where there is nothing to draw
 */
export function printRows(command: Command, columns: readonly string[], rows: Rows, drawn?: ChartColumns): void {
  const format = formatOf(command)
  if (format === 'json') writeJson(rows)
  else if (format === 'chart' && rows.length > 0) printChart(command, columns, rows, drawn)
  else if (format === 'csv') {
    const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))]
    process.stdout.write(lines.map(csvLine).join(''))
  } else if (rows.length === 0) print('No rows.')
  else printTable(columns, rows)
}

/**
 * Prints rows as a table with lines around its cells; what is not there is empty. On a terminal that is too narrow for it,
 * the fields of a row stand below each other.
 */
export function printTable(columns: readonly string[], rows: Rows): void {
  // The library would colour by its own rules.
  const table = new Table({ head: [...columns], style: { head: [], border: [], compact: true } })
  for (const row of rows) table.push(columns.map((column) => formatCell(row[column])))
  const text = table.toString()
  const isNarrow = process.stdout.isTTY && text.indexOf('\n') > process.stdout.columns
  print(isNarrow ? rows.map((row, index) => blockText(columns, row, index + 1)).join('\n') : text)
}

function blockText(columns: readonly string[], row: Rows[number], number: number): string {
  const width = Math.max(...columns.map((column) => column.length))
  const filled = columns.filter((column) => formatCell(row[column]) !== '')
  const fields = filled.map((column) => `${column.padEnd(width)}  ${formatCell(row[column])}`)
  return [`─ ${number} `.padEnd(Math.min(process.stdout.columns, 40), '─'), ...fields].join('\n')
}

/** Prints what a verb did: as JSON the whole result, else the sentence. */
export function printResult(command: Command, result: unknown, sentence: string): void {
  if (command.optsWithGlobals<GlobalOptions>().json === true) writeJson(result)
  else print(sentence)
}

/** Prints the fields of one object below each other; in the other formats the object itself, a chart of `parts`. */
export function printFields(
  command: Command,
  result: object,
  fields: readonly (readonly [string, unknown])[],
  parts?: Rows,
): void {
  const format = formatOf(command)
  if (format === 'json') writeJson(result)
  else if (format === 'text') {
    const width = Math.max(...fields.map(([name]) => name.length))
    print(fields.map(([name, value]) => `${name.padEnd(width)}  ${formatCell(value)}`.trimEnd()).join('\n'))
  } else {
    const rows = format === 'chart' && parts !== undefined ? parts : [{ ...result }]
    printRows(command, Object.keys(rows[0] ?? {}), rows)
  }
}

/** JSON as the server writes it: read and written again, its numbers would lose digits. */
export class ServerJson {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

function writeJson(value: unknown): void {
  // A text that no result holds stands for each of them until the rest is written.
  const mark = randomUUID()
  const texts: string[] = []
  const written = JSON.stringify(
    value,
    function (this: Readonly<Record<string, unknown>>, key: string, one: unknown) {
      return one instanceof ServerJson ? `${mark} ${texts.push(one.text) - 1}` : toJson.call(this, key, one)
    },
    2,
  )
  print(
    texts.length === 0
      ? written
      : written.replace(new RegExp(`"${mark} (\\d+)"`, 'g'), (_, at) => texts[Number(at)] ?? ''),
  )
}

/** A text and the end of its line, on stdout. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** A bigint as a number as long as JSON readers do not change it, else as text; so are NaN and Infinity, which JSON lacks. */
function toJson(this: Readonly<Record<string, unknown>>, key: string, value: unknown): unknown {
  // The value itself: a Buffer has become an object with a list of numbers before this is called.
  const own = this[key]
  if (own instanceof Uint8Array) return formatCell(own)
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value !== 'bigint') return value
  return Number.isSafeInteger(Number(value)) ? Number(value) : String(value)
}

/** A value as people read it. */
export function formatCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`
  return typeof value === 'object' ? JSON.stringify(value, toJson) : String(value)
}

/** A line of CSV with its end. */
export function csvLine(cells: readonly unknown[]): string {
  return `${cells.map(formatCsv).join(',')}\r\n`
}

/** RFC 4180; an empty text is quoted, so that it differs from NULL. */
function formatCsv(value: unknown): string {
  const text = formatCell(value)
  return value === '' || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** What a call left as it is, as the end of a sentence: empty where it is as asked for. */
export function formatDifferences(
  differences: readonly { readonly setting: string; readonly existing: string; readonly wanted: string }[],
): string {
  return differences.map((one) => ` ${one.setting} is ${one.existing}, not ${one.wanted}.`).join('')
}

/** A number with its noun: `1 chunk`, `1,234 chunks`. */
export function formatCount(value: number, noun: string): string {
  return `${value.toLocaleString('en-US')} ${noun}${value === 1 ? '' : 's'}`
}

/** Bytes as people read them: `1.5 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

/** A name as SQL writes it. */
export function formatObject(name: { readonly schema: string; readonly name: string }): string {
  return [name.schema, name.name].map((part) => (/^[a-z_][a-z0-9_]*$/.test(part) ? part : quote(part))).join('.')
}

function quote(part: string): string {
  return `"${part.replaceAll('"', '""')}"`
}
