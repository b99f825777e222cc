import { stat } from 'node:fs/promises'
import { whyNotSorted } from '../catalog/chunk-version.ts'
import type { TableDescription } from '../catalog/column.ts'
import { UsageError } from '../errors.ts'
import type { RowBatch } from './batch.ts'
import { type OrderPlan, orderPlan } from './compressed/order-check.ts'
import { conflictRule } from './conflict.ts'
import {
  type ColumnRows,
  emptyRow,
  type InputRow,
  LazyRow,
  type TableEncoder,
  UnreadableRow,
  writable,
} from './encode/encoder.ts'
import { layoutEncoder } from './encode/layout.ts'
import type { LoadReport, LoadSettings } from './load-option.ts'
import type { LoadRun } from './load-run.ts'
import { Sender, type SendRules } from './sender.ts'
import { arrowSource } from './source/arrow-source.ts'
import type { ColumnSource } from './source/column-source.ts'
import { parquetGroups, type RowGroup } from './source/parquet.ts'
import { type RowsInput, rowChunks, valueSize } from './source/row-source.ts'
import { markOf } from './source/source-mark.ts'

/**
 * Loads rows one after another.
 * @param given - the names of their values, where they are arrays of a known order
 * @param isSparse - whether it is usual that a later row has a property the first ones lack
 */
export async function loadRows(
  run: LoadRun,
  source: RowsInput,
  given?: readonly string[],
  isSparse = false,
): Promise<LoadReport> {
  const { settings, table } = run
  let prepared: { readonly encoder: TableEncoder; readonly sender: Sender } | undefined
  return run.drive(rowChunks(source, settings, settings.signal), async ({ rows, first }) => {
    prepared ??= await prepare(
      run,
      layoutEncoder(table, given ?? givenColumns(rows, table, settings, isSparse), settings),
    )
    const { encoder, sender } = prepared
    const batch: RowBatch = {
      first,
      rows: rows.length,
      write: (buffer, row) => encoder.row(buffer, rows[row] ?? [], first + row),
      valuesOf: (column) => {
        const valueAt = encoder.valueReader(column)
        return (row) => valueAt(rows[row] ?? [])
      },
      source: (row) => originalOf(rows[row]),
    }
    return { batch, sender }
  })
}

/** The names of the values in rows: the properties of objects, or for arrays the option, or all columns of the table. */
function givenColumns(
  rows: readonly InputRow[],
  table: TableDescription,
  { columns, constants }: LoadSettings,
  isSparse: boolean,
): readonly string[] {
  if (rows.some((row) => Array.isArray(row))) return Array.isArray(columns) ? columns : writable(table)
  const names = new Set<string>()
  for (const row of rows) {
    if (row instanceof UnreadableRow) continue
    if (row instanceof Uint8Array) throw bytesForRow()
    if (typeof row === 'object') for (const name in row) names.add(name)
  }
  if (isSparse && columns === undefined) {
    // Where nothing is left out, NULL is what there would be anyway.
    for (const { name, hasDefault, generated } of table.columns) {
      if (!hasDefault && generated === undefined && constants?.[name] === undefined) names.add(name)
    }
  }
  if (names.size === 0 && constants === undefined && !isSparse) throw emptyRow(0, rows[0])
  return [...names]
}

function bytesForRow(): UsageError {
  return new UsageError('INVALID_VALUE', 'The source gives bytes where rows are needed', {
    hint: "Give the option format: 'csv', 'tsv', 'ndjson', 'json' or 'influx'.",
  })
}

/** Loads columns, a range of rows after another. */
export async function loadColumns(run: LoadRun, columns: Map<string, ColumnSource>): Promise<LoadReport> {
  const { settings, table } = run
  const encoder = layoutEncoder(table, [...columns.keys()], settings)
  const { sender } = await prepare(run, encoder, columns.size > 0)
  const writers = encoder.fromColumns(columns, settings)
  const total = columns.values().next().value?.length ?? 0
  const size = rowBytes(columns, total)
  return run.drive(ranges(total, settings, run, size), async ({ first, rows }) => ({
    sender,
    batch: columnBatch(encoder, columns, { first, offset: first, rows }, writers),
  }))
}

async function* ranges(
  total: number,
  { batchRows, batchBytes }: LoadSettings,
  run: LoadRun,
  rowSize: number,
): AsyncGenerator<{ readonly first: number; readonly rows: number }> {
  for (let first = 0; first < total; ) {
    // The windows of an import are all of one size.
    const fitting =
      run.ledger === undefined ? Math.floor(batchBytes / Math.max(run.bytesPerRow, rowSize, 1)) : batchRows
    const rows = Math.min(Math.max(1, Math.min(batchRows, fitting)), total - first)
    yield { first, rows }
    first += rows
  }
}

/** About what a row will weigh when it is sent, from some of all. */
function rowBytes(columns: ReadonlyMap<string, ColumnSource>, total: number): number {
  const samples = Math.min(total, 200)
  let bytes = 2 * samples
  for (let sample = 0; sample < samples; sample++) {
    const row = Math.floor((sample * total) / samples)
    for (const { typed, get } of columns.values()) bytes += typed === undefined ? valueSize(get(row)) : 12
  }
  return samples === 0 ? 0 : bytes / samples
}

async function prepare(
  run: LoadRun,
  encoder: TableEncoder,
  hasData = true,
): Promise<{ readonly encoder: TableEncoder; readonly sender: Sender }> {
  const columns = encoder.columns
  if (columns.length === 0 && hasData) {
    throw new UsageError('INVALID_VALUE', 'There is no column to be loaded', {
      hint: 'Name some in the option columns, or leave it out; rows have properties.',
    })
  }
  await run.verifyColumns(columns)
  return { encoder, sender: new Sender(await sendRules(run, columns, 'format binary')) }
}

/** Loads a Parquet file, a range of rows of a row group after another. */
export async function loadParquet(run: LoadRun, path: string): Promise<LoadReport> {
  const { settings, table } = run
  let prepared: { readonly encoder: TableEncoder; readonly sender: Sender } | undefined
  let group: RowGroup | undefined
  let columns: ReadonlyMap<string, ColumnSource> = new Map()
  let writers: ColumnRows | undefined
  run.path = { kind: 'binary', reason: 'Parquet is read by columns' }
  const { size } = await stat(path)
  // Not read from front to back: what was read so far is as good as all of it.
  const mark = run.ledger === undefined ? undefined : await markOf(path, settings.signal)
  return run.drive(groupRanges(path, settings), async ({ group: from, first, rows }) => {
    // The file is not read from front to back: its bytes are taken by rows.
    const share = (from.first + first + rows) / from.totalRows
    run.input = { bytesRead: Math.round(size * share), totalBytes: size, mark }
    const names = from.columns.map(({ name }) => name)
    prepared ??= await prepare(run, layoutEncoder(table, names, settings))
    const { encoder, sender } = prepared
    if (group !== from || writers === undefined) {
      columns = arrowSources(encoder, from.columns, settings)
      writers = encoder.fromColumns(columns, settings)
    }
    group = from
    return {
      sender,
      batch: columnBatch(encoder, columns, { first: from.first + first, offset: first, rows }, writers),
    }
  })
}

function arrowSources(
  encoder: TableEncoder,
  columns: RowGroup['columns'],
  settings: LoadSettings,
): ReadonlyMap<string, ColumnSource> {
  const taken = new Map(encoder.columns.map(({ receive }, at) => [encoder.propertyOf(at), receive]))
  return new Map(columns.map((column) => [column.name, arrowSource(column, taken.get(column.name), settings)]))
}

interface GroupRange {
  readonly group: RowGroup
  /** Its first row in the group. */
  readonly first: number
  readonly rows: number
}

async function* groupRanges(path: string, { batchRows, signal }: LoadSettings): AsyncGenerator<GroupRange> {
  for await (const group of parquetGroups(path, signal)) {
    for (let first = 0; first < group.rows; first += batchRows) {
      yield { group, first, rows: Math.min(batchRows, group.rows - first) }
    }
  }
}

/** A range of rows of columns: `offset` in the columns, `first` in the source. */
function columnBatch(
  encoder: TableEncoder,
  columns: ReadonlyMap<string, ColumnSource>,
  { first, offset, rows }: { readonly first: number; readonly offset: number; readonly rows: number },
  { write, writeAll }: ColumnRows,
): RowBatch {
  const sources = new Map(encoder.columns.map(({ name }, at) => [name, columns.get(encoder.propertyOf(at) ?? '')]))
  return {
    first,
    rows,
    write: (buffer, row) => write(buffer, offset + row, first + row),
    writeAll: (buffer, order) => writeAll(buffer, order, offset),
    valuesOf: (column) => {
      const get = sources.get(column)?.get
      if (get !== undefined) return (row) => get(offset + row)
      const value = encoder.constantOf(column)
      return () => value
    },
    source: (row) => Object.fromEntries([...columns].map(([name, source]) => [name, source.get(offset + row)])),
  }
}

/** How batches of these columns are sent. @throws UsageError for an onConflict that is not possible */
export async function sendRules(
  run: LoadRun,
  columns: SendRules['columns'],
  format: string,
  transaction: ReadonlyMap<string, string> = new Map(),
): Promise<SendRules> {
  const { session, table, target, settings } = run
  const names = columns.map(({ name }) => name)
  const conflict = await run.again(() => conflictRule(session, table, names, settings))
  const skipBad = settings.onBadRow !== undefined && settings.onBadRow !== 'stop'
  const direct = settings.directCompress === 'on'
  const order =
    format === 'format binary' ? await run.again(() => orderRules(run, names)) : 'records are passed through unsorted'
  const compressed = target.owned && (settings.recompress ?? 'end') === 'end'
  const decompress = conflict.onConflict === 'update' && compressed
  return { table, columns, target, conflict, format, settings: transaction, direct, skipBad, order, decompress }
}

/** How to see whether rows are in the order of compression, or why they are not declared so. */
async function orderRules(
  { session, table, target, settings }: LoadRun,
  names: readonly string[],
): Promise<OrderPlan | string> {
  const { directCompress, clientSorted, sort } = settings
  if (clientSorted === 'off') return 'clientSorted is off'
  if (sort === 'off') return 'sort is off'
  if (directCompress === 'off' || target.notDirect !== undefined) return 'rows are not compressed as they come in'
  const sent = names.flatMap((name) => table.columns.find((column) => column.name === name) ?? [])
  const plan = orderPlan(target, sent)
  return typeof plan === 'string' ? plan : ((await whyNotSorted(session, table, target.segmentBy)) ?? plan)
}

function originalOf(row: InputRow | undefined): unknown {
  if (row instanceof LazyRow) return row.values()
  return row instanceof UnreadableRow ? row.text : row
}
