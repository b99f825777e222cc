import type { TableColumn, TableDescription } from '../../catalog/column.ts'
import { BatchError, UsageError } from '../../errors.ts'
import { formatName } from '../../sql/identifier.ts'
import { nearest } from '../../sql/nearest.ts'
import { bindValue } from '../../wire/bind-value.ts'
import { CopyBuffer } from '../../wire/copy-buffer.ts'
import { type ColumnSource, type FieldWriter, fieldWriter, sourceWriter } from '../source/column-source.ts'
import { ColumnWriter } from './column-writer.ts'
import { kindOf, Misfit, type ValueOptions, type ValueWriter } from './value.ts'
import { valueWriter } from './value-writer.ts'

/** A row by column name, or its values in the order of the columns. */
export type InputRow = object | readonly unknown[]

/** A row whose values are made when they are needed: those of a whole batch would take many times the memory. */
export abstract class LazyRow {
  /** About the bytes that it weighs. */
  abstract get size(): number
  /** The values, made anew. */
  abstract values(): readonly unknown[]
  /** The line of the source it begins in, from 1; undefined where it is not known. */
  line: number | undefined
}

/** What a source could not make a row of. */
export class UnreadableRow {
  readonly reason: string
  readonly text: string

  /** @param text - what the source has there */
  constructor(reason: string, text: string) {
    this.reason = reason
    this.text = text
  }
}

/** A column as the encoder writes it. */
export interface EncodedColumn extends TableColumn {
  readonly write: ValueWriter
  /** True for a type whose binary form is not known: its text is sent, to be cast by the server. */
  readonly asText: boolean
}

/** Where the values of the columns are in a row of the source, and what is the same in all rows. */
export interface RowLayout {
  /** By column: the property of an object, or of a table of columns. */
  readonly properties: readonly string[]
  /** By column: the place in an array of `width` values. */
  readonly places: readonly number[]
  readonly width: number
  /** Whether a property that no column takes is an error. */
  readonly strict: boolean
  /** Columns with one value for all rows. */
  readonly constants: readonly { readonly column: EncodedColumn; readonly value: unknown }[]
}

/** Writes rows of columns by their numbers. */
export interface ColumnRows {
  /** @param index - the row's number in the source @throws BatchError */
  readonly write: (buffer: CopyBuffer, row: number, index: number) => void
  /**
   * Many of them at once.
   * @param order - the rows, counted from `first`
   * @throws Misfit for a value that does not fit, after which what was written is of no use; {@link write} says which it is
   */
  readonly writeAll: (buffer: CopyBuffer, order: ArrayLike<number>, first: number) => void
}

/**
 * Writes rows of one table in COPY's binary format.
 *
 * A value that a column cannot hold is a BatchError, which names row, column, type and kind of value, never the value.
 * null is NULL. In an object, a property that is missing or undefined is NULL too, where the column has no default;
 * one that no column takes is an error.
 */
export class TableEncoder {
  /** All columns written, those of constants last. */
  readonly columns: readonly EncodedColumn[]
  readonly #own: readonly EncodedColumn[]
  readonly #layout: RowLayout
  readonly #writers: readonly ValueWriter[]
  readonly #constants: Buffer

  constructor(columns: readonly EncodedColumn[], layout: RowLayout) {
    this.#own = columns
    this.columns = [...columns, ...layout.constants.map(({ column }) => column)]
    this.#layout = layout
    this.#writers = columns.map(({ write }) => write)
    this.#constants = constantFields(layout)
  }

  /** True where rows must go through a table of texts. */
  get asText(): boolean {
    return this.columns.some((column) => column.asText)
  }

  /** What the source calls the column at this place; undefined for a constant. */
  propertyOf(at: number): string | undefined {
    return this.#layout.properties[at]
  }

  /** The value that a column has in all rows; undefined for any other. */
  constantOf(name: string): unknown {
    return this.#layout.constants.find(({ column }) => column.name === name)?.value
  }

  /** Reads the value of a column in a row; undefined for a column that the rows do not have. */
  valueReader(name: string): (row: InputRow) => unknown {
    const { places, properties } = this.#layout
    const at = this.#own.findIndex((column) => column.name === name)
    if (at < 0) {
      const value = this.constantOf(name)
      return () => value
    }
    const place = places[at] ?? 0
    const property = properties[at] ?? ''
    return (row) => {
      const values = row instanceof LazyRow ? row.values() : row
      return Array.isArray(values) ? values[place] : (row as Readonly<Record<string, unknown>>)[property]
    }
  }

  /** Writes one row. @param index - its number in the source, from 0 @throws BatchError */
  row(buffer: CopyBuffer, row: InputRow, index: number): void {
    if (Array.isArray(row)) this.#array(buffer, row, index)
    else if (row instanceof LazyRow) this.#array(buffer, row.values(), index, row.line)
    else if (row instanceof UnreadableRow) throw rowError(index, row.reason)
    else if (typeof row === 'object' && row !== null) this.#object(buffer, row, index)
    else throw notRow(index, row)
    if (this.#constants.length > 0) this.#append(buffer)
  }

  /** For columns given one by one. */
  fromColumns(sources: ReadonlyMap<string, ColumnSource>, options: ValueOptions): ColumnRows {
    const fields = this.#own.map((column, at) => {
      const source = sources.get(this.#layout.properties[at] ?? '')
      if (source === undefined) throw new UsageError('INVALID_VALUE', `There is no data for column ${column.name}`)
      return sourceWriter(column, source, options)
    })
    const append: FieldWriter = (buffer) => this.#append(buffer)
    const constants = this.#constants.length > 0 ? [append] : []
    const all = new ColumnWriter(this.columns.length, [...fields, ...constants])
    const writers = fields.map(fieldWriter)
    return {
      write: (buffer, row, index) => {
        buffer.int16(this.columns.length)
        let at = 0
        try {
          for (; at < writers.length; at++) writers[at]?.(buffer, row)
        } catch (error) {
          throw this.#misfit(error, at, index)
        }
        for (const constant of constants) constant(buffer, row)
      },
      writeAll: (buffer, order, first) => all.write(buffer, order, first),
    }
  }

  #append(buffer: CopyBuffer): void {
    const at = buffer.reserve(this.#constants.length)
    buffer.bytes.set(this.#constants, at)
  }

  #array(buffer: CopyBuffer, row: readonly unknown[], index: number, line?: number): void {
    const writers = this.#writers
    const { places, width } = this.#layout
    if (row.length !== width) throw raggedRow(index, row.length, width, line)
    buffer.int16(this.columns.length)
    let at = 0
    try {
      for (; at < writers.length; at++) {
        const value = row[places[at] ?? 0]
        if (value === null) buffer.null()
        else writers[at]?.(buffer, value)
      }
    } catch (error) {
      throw this.#misfit(error, at, index)
    }
  }

  #object(buffer: CopyBuffer, row: object, index: number): void {
    const { properties, strict } = this.#layout
    const writers = this.#writers
    // Any property may be there; each value is checked by its writer.
    const values = row as Readonly<Record<string, unknown>>
    buffer.int16(this.columns.length)
    let present = 0
    let at = 0
    try {
      for (; at < writers.length; at++) {
        const value = values[properties[at] ?? '']
        if (value === undefined) this.#missing(buffer, at)
        else {
          present++
          if (value === null) buffer.null()
          else writers[at]?.(buffer, value)
        }
      }
    } catch (error) {
      throw this.#misfit(error, at, index)
    }
    if (!strict) return
    let given = 0
    for (const key in row) if (values[key] !== undefined) given++
    if (given !== present) this.#refuseUnknown(row, index)
  }

  #missing(buffer: CopyBuffer, at: number): void {
    if (this.#own[at]?.hasDefault) throw new Misfit('undefined, where the column has a default (pass null for NULL),')
    buffer.null()
  }

  #refuseUnknown(row: object, index: number): void {
    const { properties } = this.#layout
    const unknown = Object.entries(row).find(([key, value]) => value !== undefined && !properties.includes(key))
    if (unknown === undefined) return
    const candidate = nearest(unknown[0], properties)
    const hint =
      candidate === undefined
        ? `The columns written are ${properties.join(', ')}.`
        : `Did you mean ${JSON.stringify(candidate)}?`
    throw rowError(index, `The row has a property ${JSON.stringify(unknown[0])}, which no column takes`, hint)
  }

  #misfit(error: unknown, at: number, index: number): unknown {
    return error instanceof Misfit ? misfitError(error, this.#own[at], index) : error
  }
}

function constantFields({ constants }: RowLayout): Buffer {
  const buffer = new CopyBuffer()
  for (const { column, value } of constants) {
    try {
      if (value === null) buffer.null()
      else column.write(buffer, value)
    } catch (error) {
      if (!(error instanceof Misfit)) throw error
      throw new UsageError(
        'INVALID_VALUE',
        `The constant for column ${JSON.stringify(column.name)} (${column.typeName}): ${error.message} does not fit`,
      )
    }
  }
  return Buffer.concat(buffer.take())
}

function misfitError(error: Misfit, column: EncodedColumn | undefined, index: number): BatchError {
  const what = column === undefined ? 'A value' : `Column ${JSON.stringify(column.name)} (${column.typeName})`
  return rowError(index, `${what}: ${error.message} does not fit`)
}

function raggedRow(index: number, found: number, width: number, line: number | undefined): BatchError {
  const message = `The row has ${found} values for ${width} columns`
  return line === undefined ? rowError(index, message) : rowError(index, `${message}, in line ${line}`, raggedHint)
}

/** For a line of a file that has another number of fields than the header. */
export const raggedHint =
  'Quote values that hold a delimiter, a quote or a line end: each line has as many fields as the header.'

/** For the first row of a source whose rows have nothing that could be written. */
export function emptyRow(index: number, row: unknown): BatchError {
  const isRow = typeof row === 'object' && row !== null
  return isRow ? rowError(index, 'The row has no properties') : notRow(index, row)
}

function notRow(index: number, row: unknown): BatchError {
  return rowError(index, `The row is ${kindOf(row)}, not an object or an array`)
}

/** An error about one row, counted from 0. */
export function rowError(row: number, message: string, hint?: string): BatchError {
  return new BatchError(`Row ${row}: ${message}.`, { row, rowCount: row + 1, hint })
}

/**
 * The encoder for rows that have exactly these columns, in this order.
 * @throws UsageError INVALID_VALUE for a column that does not exist, is there twice, or cannot be written
 */
export function tableEncoder(
  table: TableDescription,
  names: readonly string[],
  options: ValueOptions = {},
): TableEncoder {
  const columns = encodedColumns(table, names, options)
  const places = [...names.keys()]
  return new TableEncoder(columns, { properties: names, places, width: names.length, strict: true, constants: [] })
}

/** @throws UsageError INVALID_VALUE for a column that does not exist, is there twice, or cannot be written */
export function encodedColumns(
  table: TableDescription,
  names: readonly string[],
  options: ValueOptions,
): EncodedColumn[] {
  const seen = new Set<string>()
  return names.map((name) => {
    if (seen.has(name)) throw new UsageError('INVALID_VALUE', `The column ${JSON.stringify(name)} is given twice`)
    seen.add(name)
    const column = findColumn(table, name)
    const write = valueWriter(column, options)
    return { ...column, write: write ?? writeAsText, asText: write === undefined }
  })
}

function findColumn(table: TableDescription, name: string): TableColumn {
  const column = table.columns.find((candidate) => candidate.name === name)
  if (column === undefined) {
    const known = writable(table)
    const candidate = nearest(name, known)
    // The header of a CSV that was not cut.
    const delimiter = known.every((one) => name.includes(one)) ? /[;\t|]/.exec(name)?.[0] : undefined
    const columns = candidate === undefined ? `Its columns are ${known.join(', ')}.` : `Did you mean ${candidate}?`
    throw new UsageError('INVALID_VALUE', `${formatName(table)} has no column ${JSON.stringify(name)}`, {
      hint:
        delimiter === undefined
          ? columns
          : `Fields are apart by something else: give delimiter: '${delimiter === '\t' ? '\\t' : delimiter}'.`,
    })
  }
  if (column.generated === undefined) return column
  const how = column.generated === 'identity' ? 'is GENERATED ALWAYS AS IDENTITY' : 'is computed'
  throw new UsageError('INVALID_VALUE', `The column ${JSON.stringify(name)} of ${formatName(table)} ${how}`, {
    hint: 'Leave it out: the server fills it.',
  })
}

/** The columns that can be written, in the table's order. */
export function writable(table: TableDescription): string[] {
  return table.columns.filter(({ generated }) => generated === undefined).map(({ name }) => name)
}

/** Writes a value as a bound parameter is sent, as text. */
export const writeAsText: ValueWriter = (buffer, value) => {
  let bound: string | Buffer | null
  try {
    bound = bindValue(value, '')
  } catch {
    throw new Misfit(kindOf(value))
  }
  const text = bound === null || typeof bound === 'string' ? (bound ?? '') : `\\x${bound.toString('hex')}`
  if (!buffer.text(text)) throw new Misfit('a text with NUL or half a surrogate pair')
}
