import { UsageError } from '../../errors.ts'
import type { ReadColumn } from '../../results/arrow-read.ts'
import { invalidOption } from '../../sql/option.ts'
import { type InputRow, rowError, UnreadableRow } from '../encode/encoder.ts'
import { kindOf } from '../encode/value.ts'
import { objectRows } from '../load-file.ts'
import type { LoadOptions, LoadSettings } from '../load-option.ts'
import { type ByteSource, resumed } from '../source/byte-source.ts'
import type { ColumnSource } from '../source/column-source.ts'
import { csvFormat, csvRows, lastRecordEnd } from '../source/csv.ts'
import type { CsvRecord } from '../source/csv-record.ts'
import type { Input } from '../source/input.ts'
import { parquetSample } from '../source/parquet.ts'
import { type RowsInput, rowKeeper, untilAborted } from '../source/row-source.ts'

/** The first rows of a source. */
export interface Sample {
  /** By the names of the source. */
  readonly columns: readonly SampleColumn[]
  readonly rows: number
  /** How many rows the source has, as far as that is known or can be guessed from its size. */
  readonly totalRows: number | undefined
  /** The source as it was before: it gives the rows of the sample again. */
  readonly input: Input
}

/** One column of a sample. */
export interface SampleColumn {
  readonly name: string
  readonly values: readonly unknown[]
  /** Whether the source has nothing but texts, so that `1` may be a number. */
  readonly written: boolean
  /** The type, where the source says it. */
  readonly sqlType: string | undefined
  /** Why its values cannot be loaded. */
  readonly problem?: string | undefined
}

/** More of a file is not read for a sample. */
const sampleBytes = 16 * 1024 * 1024

/** @throws UsageError for a source without rows or names, or that cannot be read; what the source throws */
export async function takeSample(input: Input, options: LoadSettings, limit: number): Promise<Sample> {
  if (input.kind === 'parquet') {
    const { columns, totalRows } = await parquetSample(input.path, limit, options.signal)
    return {
      input,
      rows: columns[0]?.length ?? 0,
      totalRows,
      columns: columns.map((one) => (one.problem === undefined ? fromColumn(one, one, limit) : withoutValues(one))),
    }
  }
  if (input.kind === 'columns') {
    const totalRows = input.columns.values().next().value?.length ?? 0
    const columns = [...input.columns].map(([name, one]) =>
      fromColumn({ name, sqlType: typedArrayType(one) }, one, limit),
    )
    return { input, rows: Math.min(limit, totalRows), totalRows, columns }
  }
  if (input.kind === 'bytes') return sampleBytesOf(input.bytes, options, limit)
  const { first, rows, ended } = await takeRows(input.rows, options.signal, limit)
  return {
    input: { kind: 'rows', rows },
    rows: first.length,
    totalRows: ended ? first.length : undefined,
    columns: fromRows(first, options),
  }
}

function fromColumn(
  { name, sqlType }: { readonly name: string; readonly sqlType: string | undefined },
  column: { readonly length: number; get(row: number): unknown },
  limit: number,
): SampleColumn {
  const values = Array.from({ length: Math.min(limit, column.length) }, (_, row) => column.get(row))
  return { name, values, written: false, sqlType }
}

function withoutValues({ name, problem }: ReadColumn): SampleColumn {
  return { name, values: [], written: false, sqlType: undefined, problem }
}

function typedArrayType({ typed }: ColumnSource): string | undefined {
  if (typed instanceof Float64Array) return 'double precision'
  if (typed instanceof Int32Array) return 'integer'
  return typed === undefined ? undefined : 'bigint'
}

interface TakenRows {
  readonly first: readonly InputRow[]
  readonly rows: RowsInput
  readonly ended: boolean
}

async function takeRows(source: RowsInput, signal: AbortSignal | undefined, limit: number): Promise<TakenRows> {
  if (Array.isArray(source)) return { first: source.slice(0, limit), rows: source, ended: source.length <= limit }
  const keep = rowKeeper()
  const first: InputRow[] = []
  if (Symbol.asyncIterator in source) {
    const iterator = source[Symbol.asyncIterator]()
    const aborted = signal === undefined ? undefined : untilAborted(signal)
    try {
      while (first.length < limit) {
        const next = iterator.next()
        const { done, value } = aborted === undefined ? await next : await Promise.race([next, aborted.promise])
        if (done === true) return { first, rows: first, ended: true }
        first.push(keep(value))
      }
    } finally {
      aborted?.stop()
    }
    return { first, rows: keptRows(resumed(first, iterator), keep), ended: false }
  }
  const iterator = source[Symbol.iterator]()
  while (first.length < limit) {
    const { done, value } = iterator.next()
    if (done === true) return { first, rows: first, ended: true }
    first.push(keep(value))
  }
  return { first, rows: resumedSync(first, iterator, keep), ended: false }
}

async function* keptRows(rows: AsyncIterable<InputRow>, keep: (row: InputRow) => InputRow): AsyncGenerator<InputRow> {
  for await (const row of rows) yield keep(row)
}

function* resumedSync(
  read: readonly InputRow[],
  rest: Iterator<InputRow>,
  keep: (row: InputRow) => InputRow,
): Generator<InputRow> {
  try {
    yield* read
    for (let next = rest.next(); next.done !== true; next = rest.next()) yield keep(next.value)
  } finally {
    rest.return?.()
  }
}

function fromRows(rows: readonly InputRow[], { columns }: LoadOptions): SampleColumn[] {
  const strange = rows.findIndex((row) => typeof row !== 'object' || row === null)
  if (strange >= 0) throw rowError(strange, `The row is ${kindOf(rows[strange])}, not an object or an array`)
  const readable = rows.filter((row) => !(row instanceof UnreadableRow))
  if (readable.some((row) => Array.isArray(row))) {
    if (!Array.isArray(columns)) throw invalidOption('Rows that are arrays have no names: give the option columns.')
    return columns.map((name, at) => ({
      name,
      values: readable.map((row) => (Array.isArray(row) ? row[at] : undefined)),
      written: false,
      sqlType: undefined,
    }))
  }
  const byName = new Map<string, unknown[]>()
  for (const row of readable) {
    for (const [name, value] of Object.entries(row)) {
      const values = byName.get(name)
      if (values === undefined) byName.set(name, [value])
      else values.push(value)
    }
  }
  return [...byName].map(([name, values]) => {
    // So that a missing property counts as NULL.
    while (values.length < readable.length) values.push(null)
    return { name, values, written: false, sqlType: undefined }
  })
}

async function sampleBytesOf(source: ByteSource, options: LoadSettings, limit: number): Promise<Sample> {
  const iterator = source.bytes[Symbol.asyncIterator]()
  const head: Buffer[] = []
  let size = 0
  let lines = 0
  let ended = false
  try {
    while (size < sampleBytes && lines <= limit) {
      const next = await iterator.next()
      if (next.done === true) {
        ended = true
        break
      }
      head.push(next.value)
      size += next.value.length
      lines += countEnds(next.value)
    }
    const read = Buffer.concat(head, size)
    const whole = ended ? read : read.subarray(0, wholeRecords(read, source.format))
    const { columns, rows } = await parseHead(whole, source, options, limit, ended)
    const packing = source.packed && source.bytesRead !== undefined ? size / source.bytesRead : 1
    const guess =
      source.totalBytes === undefined || rows === 0
        ? undefined
        : Math.round((source.totalBytes * packing * rows) / whole.length)
    const bytes = source.from(ended ? resumed(head, emptyIterator) : resumed(head, iterator))
    return { columns, rows, totalRows: ended ? rows : guess, input: { kind: 'bytes', bytes } }
  } catch (error) {
    await iterator.return?.()
    throw error
  }
}

const emptyIterator: AsyncIterator<Buffer> = { next: () => Promise.resolve({ done: true, value: undefined }) }

function countEnds(chunk: Buffer): number {
  let ends = 0
  for (const byte of chunk) if (byte === 10 || byte === 13) ends++
  return ends
}

/** Where the last record of a beginning ends; 0 where none does. */
function wholeRecords(bytes: Buffer, format: ByteSource['format']): number {
  if (format === 'json') return bytes.length
  if (format !== 'csv' && format !== 'tsv') return bytes.lastIndexOf(10) + 1
  const { end } = lastRecordEnd(bytes, false)
  if (end > 0 || !bytes.includes(13)) return end
  const carriage = Buffer.from(bytes.map((byte) => (byte === 13 ? 10 : byte)))
  return lastRecordEnd(carriage, false).end
}

interface Parsed {
  readonly columns: readonly SampleColumn[]
  readonly rows: number
}

async function parseHead(
  head: Buffer,
  source: ByteSource,
  options: LoadSettings,
  limit: number,
  isWhole: boolean,
): Promise<Parsed> {
  async function* bytes(): AsyncGenerator<Buffer> {
    yield head
  }
  const { name } = source
  const objects = objectRows(source, bytes(), options, 'time', isWhole)
  if (objects !== undefined) {
    const rows = await firstOf(objects, limit)
    return { columns: fromRows(rows, options), rows: rows.length }
  }
  const records = csvRows(bytes(), name, csvFormat(source, options))
  const header = options.header === false ? givenNames(options) : await headerOf(records, name)
  const rows = (await firstOf(records, limit)).map((record) => record.values())
  const columns = header.map((column, at) => ({
    name: column,
    values: rows.map((row) => row[at] ?? null),
    written: true,
    sqlType: undefined,
  }))
  return { columns, rows: rows.length }
}

async function headerOf(records: AsyncGenerator<CsvRecord>, name: string): Promise<string[]> {
  const first = await records.next()
  if (first.done === true) throw new UsageError('INVALID_VALUE', `${name} is empty: it has no header`)
  return first.value.values().map((value) => value ?? '')
}

function givenNames({ columns }: LoadOptions): readonly string[] {
  if (Array.isArray(columns)) return columns
  throw invalidOption('A file without a header has no names: give them in the option columns, as a list.')
}

async function firstOf<T>(source: AsyncGenerator<T>, limit: number): Promise<T[]> {
  const taken: T[] = []
  for await (const one of source) {
    taken.push(one)
    if (taken.length >= limit) break
  }
  return taken
}
