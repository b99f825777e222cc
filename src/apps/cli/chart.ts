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

/** Adds `--chart` to a verb that shows rows. */
export function addChart(command: Command): Command {
  return command
    .option('--chart', 'draw lines over a time, or bars, instead')
    .option('--chart-columns <x,y[,by]>', 'draw these columns; a third has a line for each value', parseColumns)
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
  const chosen = command.opts<ChartFlags>().chartColumns ?? usual
  const names = new Set([...columns, ...Object.values(chosen ?? {})])
  drawChart(
    rows,
    [...names].map((name) => toDrawable(name, rows)),
    chosen,
  )
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
 * Draws the chosen columns, else what the values suggest, on standard output, and says what it shows: lines over times or
 * numbers, a bar for each text.
 * @throws UsageError INVALID_OPTION for a column that is not there or holds texts
 */
export function drawChart(
  source: Parameters<typeof chart>[0],
  drawables: readonly Drawable[],
  chosen: ChartColumns | undefined,
): void {
  const { x, y, by } = chosen ?? guessColumns(drawables)
  const find = (name: string | undefined): Drawable | undefined => drawables.find((one) => one.name === name)
  const [labels, numbers] = [find(x), find(y)]
  if (labels?.kind === 'other' && numbers?.kind === 'number') {
    drawBars(labels, numbers, find(by))
    return
  }
  const write = (text: string): boolean => process.stdout.write(`${y} over ${x}\n${text}\n`)
  chart(source, by === undefined ? { x, y, write } : { x, y, by, write })
}

/** A bar for each row, as long as its number is large; what is not there has none. */
function drawBars(labels: Drawable, numbers: Drawable, by: Drawable | undefined): void {
  const more = by === undefined ? [] : [...by.values]
  const names = [...labels.values].map((label, index) =>
    [label, ...more.slice(index, index + 1)].map(nameOf).join(', '),
  )
  const values = [...numbers.values].map((value) =>
    value === null || value === undefined ? Number.NaN : Number(value),
  )
  const most = Math.max(...values.map(Math.abs).filter(Number.isFinite), 0)
  const texts = values.map((value) => (Number.isNaN(value) ? '' : String(value)))
  const longest = (all: readonly string[]): number => all.reduce((width, text) => Math.max(width, text.length), 0)
  const room = Math.max((process.stdout.columns ?? 80) - longest(names) - longest(texts) - 3, 10)
  const lines = values.map((value, index) => {
    const share = most === 0 || !Number.isFinite(value) ? 0 : Math.abs(value) / most
    return `${(names[index] ?? '').padEnd(longest(names))} ┤${'█'.repeat(Math.round(share * room))} ${texts[index]}`.trimEnd()
  })
  process.stdout.write(`${numbers.name} by ${labels.name}\n${lines.join('\n')}\n`)
}

const nameOf = (value: unknown): string =>
  value === null || value === undefined ? '(none)' : typeof value === 'object' ? JSON.stringify(value) : String(value)

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
 * Without times the first column with texts, else with numbers, and one with numbers beside it.
 * @throws UsageError INVALID_OPTION where there is nothing to draw
 */
function guessColumns(columns: readonly Drawable[]): ChartColumns {
  const x = columns.find(({ kind }) => kind === 'time')
  const numbers = columns.filter(({ kind }) => kind === 'number')
  const named = numbers.find(({ name }) => !isId(name))
  const label = columns.find(({ kind }) => kind === 'other')
  if (x === undefined && label !== undefined && named !== undefined) return { x: label.name, y: named.name }
  const [first, ...others] = numbers
  const second = others.find(({ name }) => !isId(name))
  if (x === undefined && label === undefined && first !== undefined && second !== undefined) {
    return { x: first.name, y: second.name }
  }
  const y = named
  if (x === undefined || y === undefined) {
    throw new UsageError(
      'INVALID_OPTION',
      `There is nothing to draw: no column holds ${x !== undefined || label !== undefined ? 'numbers' : 'times'}.`,
      {
        hint: 'A chart needs a column with numbers, and one with times or names.',
      },
    )
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
