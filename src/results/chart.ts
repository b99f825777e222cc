/// <reference path="./asciichart.d.ts" />
import { plot } from 'asciichart'
import { checkKeys, invalidOption, requireKeys } from '../sql/option.ts'
import { type Printable, type PrintableColumn, printableColumns } from './printable.ts'

/** What a chart shows, and where. */
export interface ChartOptions {
  /** The column of the horizontal axis: times or numbers; of other columns the order of rows counts. */
  readonly x: string
  /** The column of the vertical axis: numbers. */
  readonly y: string
  /** A column whose different values are lines of their own. */
  readonly by?: string
  /** Lines of the chart. Default 15. */
  readonly height?: number
  /** Columns of the terminal. Default: the terminal's, 80 where there is none. */
  readonly width?: number
  /** Whether lines have colours; without them, several lines are drawn with letters. Default: in a terminal. */
  readonly color?: boolean
  /** Gets the text. Default: standard output. */
  readonly write?: (text: string) => void
}

interface Point {
  readonly x: number
  /** NaN where the line has a gap. */
  readonly y: number
}

interface Series {
  readonly name: string
  readonly points: Point[]
}

interface Extent {
  readonly min: number
  readonly max: number
}

const COLORS = [34, 31, 32, 35, 36, 33, 94, 91]
const OPTIONS = ['x', 'y', 'by', 'height', 'width', 'color', 'write']

/**
 * Shows a line chart in the terminal. Where several rows share a place, the line goes through their mean; NULL and
 * numbers that are not finite are gaps. Of more than 8 lines only the first ones are drawn, which the legend says.
 * @throws UsageError INVALID_OPTION
 * @example
 * const df = await db.queryToDataFrame('select x, x * x as y from generate_series(1, 30) x')
 * chart(df, { x: 'x', y: 'y' })
 */
export function chart(source: Printable, options: ChartOptions): void {
  checkKeys(options, OPTIONS, 'chart')
  requireKeys(options, ['x', 'y'], 'chart')
  const { height = 15, width = process.stdout.columns ?? 80, color = process.stdout.isTTY === true } = options
  if (!Number.isInteger(height) || height < 2) throw invalidOption('height must be a whole number of at least 2.')
  const write = options.write ?? ((text: string) => process.stdout.write(`${text}\n`))
  write(chartText(source, { ...options, height, width, color }))
}

function chartText(
  source: Printable,
  options: ChartOptions & { readonly height: number; readonly width: number; readonly color: boolean },
): string {
  const { columns, length } = printableColumns(source)
  const x = columnNamed(columns, options.x)
  const all = seriesOf(columns, length, options)
  const series = all.slice(0, COLORS.length)
  const points = series.flatMap((one) => one.points).filter((point) => Number.isFinite(point.y))
  if (points.length === 0) return `no values of ${options.y} to draw`
  const vertical = extentOf(points.map((point) => point.y))
  const horizontal = extentOf(points.map((point) => point.x))
  const format = axisFormat(vertical, options.height)
  const margin = Math.max(format(vertical.min).length, format(vertical.max).length) + 1
  const cells = Math.max(options.width - margin - 2, 10)
  const canvas = Array.from({ length: options.height }, () => Array<string>(cells).fill(' '))
  for (const [index, one] of series.entries()) {
    const letter = series.length > 1 && !options.color ? String.fromCharCode(97 + index) : undefined
    const paint = painter(options.color, index, letter)
    for (const line of linesOf(one.points, horizontal, cells)) drawLine(canvas, line, vertical, paint)
  }
  const rows = canvas.map((row, index) => {
    const value = vertical.max - ((vertical.max - vertical.min) * index) / (options.height - 1)
    const flat = vertical.max === vertical.min && index < options.height - 1
    return `${(flat ? '' : format(value)).padStart(margin)} ┤${row.join('').trimEnd()}`
  })
  return [...rows, axisText(x, length, margin + 2, cells), ...legend(all, options)].join('\n')
}

function columnNamed(columns: readonly PrintableColumn[], name: string): PrintableColumn {
  const found = columns.find((column) => column.name === name)
  if (found !== undefined) return found
  const names = columns.map((column) => column.name).join(', ')
  throw invalidOption(`There is no column ${JSON.stringify(name)} to draw.`, `There are ${names}.`)
}

/** The points of each line, sorted by x. */
function seriesOf(columns: readonly PrintableColumn[], length: number, options: ChartOptions): Series[] {
  const x = columnNamed(columns, options.x)
  const y = columnNamed(columns, options.y)
  const by = options.by === undefined ? undefined : columnNamed(columns, options.by)
  const series = new Map<string, Series>()
  for (let row = 0; row < length; row++) {
    const place = axisNumber(x.value(row), row)
    if (!Number.isFinite(place)) continue
    const key = by?.value(row)
    const name = by === undefined ? y.name : key === null || key === undefined ? 'null' : by.text(key)
    const one = series.get(name) ?? { name, points: [] }
    series.set(name, one)
    const value = y.value(row)
    const number = value === null || value === undefined || value === '' ? Number.NaN : Number(value)
    if (Number.isNaN(number) && typeof value === 'string' && value !== 'NaN') {
      throw invalidOption(`The column ${JSON.stringify(y.name)} holds texts, which cannot be drawn.`)
    }
    one.points.push({ x: place, y: Number.isFinite(number) ? number : Number.NaN })
  }
  for (const { points } of series.values()) points.sort((a, b) => a.x - b.x)
  return [...series.values()]
}

function axisNumber(value: unknown, row: number): number {
  if (value === null || value === undefined) return Number.NaN
  if (value instanceof Date || typeof value === 'number' || typeof value === 'bigint') return Number(value)
  return row
}

function extentOf(values: readonly number[]): Extent {
  let min = Number.POSITIVE_INFINITY
  let max = Number.NEGATIVE_INFINITY
  for (const value of values) {
    if (value < min) min = value
    if (value > max) max = value
  }
  return { min, max }
}

/** A value for each column of the terminal that a line goes through, cut where it has a gap. */
function linesOf(points: readonly Point[], { min, max }: Extent, cells: number): { start: number; values: number[] }[] {
  const lines: { start: number; values: number[] }[] = []
  const placeOf = (x: number): number => (max === min ? 0 : Math.round(((x - min) / (max - min)) * (cells - 1)))
  let open: { start: number; values: number[]; count: number } | undefined
  for (const { x, y } of points) {
    if (Number.isNaN(y)) {
      open = undefined
      continue
    }
    const place = placeOf(x)
    if (open === undefined) {
      open = { start: place, values: [y], count: 1 }
      lines.push(open)
      continue
    }
    const last = open.start + open.values.length - 1
    const before = open.values.at(-1) ?? y
    if (place === last) {
      open.count++
      open.values[open.values.length - 1] = before + (y - before) / open.count
    } else {
      for (let at = last + 1; at <= place; at++)
        open.values.push(before + ((y - before) * (at - last)) / (place - last))
      open.count = 1
    }
  }
  return lines
}

function drawLine(
  canvas: string[][],
  { start, values }: { readonly start: number; readonly values: readonly number[] },
  { min, max }: Extent,
  paint: (character: string) => string,
): void {
  const height = canvas.length - 1
  const put = (row: number, column: number, character: string): void => {
    const line = canvas[row]
    if (character !== ' ' && line !== undefined && column < line.length) line[column] = paint(character)
  }
  const [first] = values
  if (values.length === 1 && first !== undefined) {
    put(max === min ? height : Math.round(((max - first) / (max - min)) * height), start, '•')
    return
  }
  // Scaled to lines: the library rounds the whole range to lines of its own otherwise.
  const scaled = values.map((value) => (max === min ? 0 : ((value - min) / (max - min)) * height))
  // The last value has no line to a next one; it is drawn as if it stayed.
  const drawn = plot([...scaled, scaled.at(-1) ?? 0], { min: 0, max: height, height, offset: 1, format: () => '' })
  for (const [row, line] of drawn.split('\n').entries()) {
    for (const [column, character] of [...line].slice(1).entries()) put(row, start + column, character)
  }
}

function painter(color: boolean, index: number, letter: string | undefined): (character: string) => string {
  if (color) return (character) => `\u001b[${COLORS[index]}m${character}\u001b[39m`
  return (character) => letter ?? character
}

/** As many decimals as tell the lines apart. */
function axisFormat({ min, max }: Extent, height: number): (value: number) => string {
  const step = (max - min) / (height - 1)
  const size = Math.max(Math.abs(min), Math.abs(max))
  if (size >= 1e9 || (size > 0 && size < 1e-4)) return (value) => value.toPrecision(4)
  const decimals = step === 0 ? 2 : Math.min(Math.max(0, Math.ceil(1 - Math.log10(step))), 8)
  return (value) => value.toFixed(decimals)
}

/** The first and the last place of the horizontal axis. */
function axisText(x: PrintableColumn, length: number, margin: number, cells: number): string {
  let first: number | undefined
  let last: number | undefined
  for (let row = 0; row < length; row++) {
    const place = axisNumber(x.value(row), row)
    if (!Number.isFinite(place)) continue
    if (first === undefined || place < axisNumber(x.value(first), first)) first = row
    if (last === undefined || place >= axisNumber(x.value(last), last)) last = row
  }
  if (first === undefined || last === undefined) return ''
  const left = x.text(x.value(first))
  const right = x.text(x.value(last))
  return ' '.repeat(margin) + left + right.padStart(Math.max(cells - left.length, right.length + 1))
}

function legend(all: readonly Series[], { by, y, color }: ChartOptions): string[] {
  if (by === undefined) return []
  const shown = all.slice(0, COLORS.length).map(({ name }, index) => {
    const letter = all.length > 1 && color !== true ? `${String.fromCharCode(97 + index)}: ` : ''
    return color === true ? `\u001b[${COLORS[index]}m── ${name}\u001b[39m` : `${letter}${name}`
  })
  const rest = all.length - shown.length
  return [`${y} by ${by}   ${shown.join('   ')}${rest > 0 ? `   and ${rest} more` : ''}`]
}
