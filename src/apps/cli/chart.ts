import type { Command } from 'commander'
import { type ChartOptions, chart, UsageError } from '../../index.ts'
import { unquote } from './argument.ts'
import type { Rows } from './output.ts'

/** Which columns a chart draws. */
export type ChartColumns = Pick<ChartOptions, 'x' | 'y' | 'by'>

interface ChartFlags {
  readonly chart?: boolean
  readonly chartColumns?: ChartColumns
}

/** Adds `--chart` to a verb whose rows have a time and numbers. */
export function addChart(command: Command): Command {
  return command
    .option('--chart', 'draw a line chart instead')
    .option('--chart-columns <x,y[,by]>', 'draw these columns, with a line for each value of the third', parseColumns)
}

/** A column as far as a chart is concerned. */
export interface Drawable {
  readonly name: string
  readonly kind: 'time' | 'number' | 'other'
  readonly values: Iterable<unknown>
}

/** Whether the flags ask for a chart. */
export function chartWanted(command: Command): boolean {
  const { chart: plain, chartColumns } = command.opts<ChartFlags>()
  return plain === true || chartColumns !== undefined
}

/** Draws the columns that the flags name, else `usual`, else what the values suggest. @throws UsageError INVALID_OPTION */
export function printChart(command: Command, columns: readonly string[], rows: Rows, usual?: ChartColumns): void {
  const { chartColumns } = command.opts<ChartFlags>()
  drawChart(rows, chartColumns ?? usual ?? guessColumns(columns.map((name) => toDrawable(name, rows))))
}

function toDrawable(name: string, rows: Rows): Drawable {
  const values = rows.map((row) => row[name])
  const there = values.filter((value) => value !== null && value !== undefined)
  const every = (isKind: (value: unknown) => boolean): boolean => there.length > 0 && there.every(isKind)
  return { name, values, kind: every((value) => value instanceof Date) ? 'time' : every(isNumber) ? 'number' : 'other' }
}

/** The first value of each bucket, with a line for each value of the first column that keeps series apart. */
export function chartOfBuckets([by]: readonly string[], [y = '']: readonly string[]): ChartColumns {
  return by === undefined ? { x: 'bucket', y } : { x: 'bucket', y, by }
}

/**
 * Draws a chart on standard output, and says what it shows.
 * @throws UsageError INVALID_OPTION for a column that is not there or holds texts
 */
export function drawChart(source: Parameters<typeof chart>[0], columns: ChartColumns): void {
  const { x, y, by } = columns
  const write = (text: string): boolean => process.stdout.write(`${y} over ${x}\n${text}\n`)
  chart(source, by === undefined ? { x, y, write } : { x, y, by, write })
}

/** `time,temperature` or `time,temperature,sensor`. @throws UsageError INVALID_OPTION */
export function parseColumns(text: string): ChartColumns {
  const [x, y, by, ...more] = (text.match(/(?:"(?:[^"]|"")*"|[^,])+/g) ?? []).map(unquote)
  if (x === undefined || y === undefined || more.length > 0) {
    throw new UsageError('INVALID_OPTION', `${JSON.stringify(text)} is not of the form x,y or x,y,by.`)
  }
  return by === undefined ? { x, y } : { x, y, by }
}

/**
 * The first column with times, the first with numbers that are no ids, and where times repeat what tells the rows apart.
 * @throws UsageError INVALID_OPTION where there is nothing to draw
 */
export function guessColumns(columns: readonly Drawable[]): ChartColumns {
  const x = columns.find(({ kind }) => kind === 'time')
  const numbers = columns.filter(({ kind }) => kind === 'number')
  const y = numbers.find(({ name }) => !isId(name)) ?? numbers[0]
  if (x === undefined || y === undefined) {
    throw new UsageError('INVALID_OPTION', `There is nothing to draw: no column holds ${x ? 'numbers' : 'times'}.`, {
      hint: 'A chart needs a column with times and one with numbers, or names: time,temperature.',
    })
  }
  const rest = columns.filter((column) => column !== x && column !== y)
  const by = repeats([...x.values]) ? rest.find(({ name, kind }) => isId(name) || kind === 'other') : undefined
  return by === undefined ? { x: x.name, y: y.name } : { x: x.name, y: y.name, by: by.name }
}

/** numeric arrives as text. */
function isNumber(value: unknown): boolean {
  if (typeof value === 'number' || typeof value === 'bigint') return true
  return typeof value === 'string' && /^-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|Infinity)$/i.test(value)
}

/** `id`, `sensor_id`, `sensorId`, but not `paid`. */
function isId(name: string): boolean {
  return /^id$|[ _-]id$/i.test(name) || /[a-z0-9]Id$/.test(name)
}

function repeats(values: readonly unknown[]): boolean {
  return new Set(values.map(Number)).size < values.length
}
