import * as flechette from '@uwdata/flechette'
import { UsageError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import type { ColumnBatch, ColumnType } from '../wire/column.ts'
import { spelledOut } from '../wire/column-batch.ts'
import { type Column, requireDifferentNames } from './column.ts'
import { exactAccess } from './column-value.ts'

/** A flechette table. */
export type ArrowTable = flechette.Table

/** How columns become Arrow's. */
export interface ArrowOptions {
  /** What becomes of infinite dates and times, which Arrow does not have: `'error'` (default) or `'null'`. */
  readonly infinity?: 'error' | 'null' | undefined
}

/** How Arrow's bytes are written. */
export interface IpcOptions extends ArrowOptions {
  /** `'stream'` (default) or `'file'`, also known as Feather. */
  readonly format?: 'stream' | 'file' | undefined
}

/** A column, or a part of one, for Arrow: all batches have one type. */
interface ArrowPart {
  readonly type: flechette.DataType
  readonly batches: flechette.Batch<unknown>[]
}

/**
 * The columns as a flechette table over the same buffers.
 * @throws UsageError INVALID_VALUE for two columns of one name, arrays of several dimensions, and infinite dates and times
 * without `infinity: 'null'`; INVALID_OPTION
 */
export function toArrow(columns: readonly Column[], options: ArrowOptions = {}): ArrowTable {
  checkKeys(options, ['infinity'], 'queryToArrow')
  return arrowTable(columns, options)
}

/**
 * The columns as bytes of Arrow IPC, which polars, pandas, DuckDB and Arrow itself read: microseconds, decimals and
 * NULLs as they are in the result.
 * @throws UsageError as {@link toArrow}
 */
export function toIPC(columns: readonly Column[], options: IpcOptions = {}): Uint8Array {
  checkKeys(options, ['infinity', 'format'], 'toIPC')
  const { format = 'stream' } = options
  if (format !== 'stream' && format !== 'file') throw invalidOption("format must be 'stream' or 'file'.")
  const bytes = flechette.tableToIPC(arrowTable(columns, options), { format })
  // Null is only for a sink of one's own.
  return bytes ?? new Uint8Array(0)
}

function arrowTable(columns: readonly Column[], options: ArrowOptions): ArrowTable {
  const { infinity = 'error' } = options
  if (infinity !== 'error' && infinity !== 'null') throw invalidOption("infinity must be 'error' or 'null'.")
  requireDifferentNames(columns)
  const parts = columns.map((column) => arrowPart(column.name, column.batches, infinity))
  const fields = columns.map((column, index) =>
    flechette.field(column.name, parts[index]?.type ?? flechette.nullType(), true, metadataOf(column)),
  )
  const { Version, Endianness } = flechette
  const schema = {
    version: Version.V5,
    endianness: Endianness.Little,
    fields,
    metadata: null,
    dictionaryTypes: new Map(),
  }
  return new flechette.Table(
    schema,
    parts.map(({ batches, type }) => new flechette.Column(batches, type)),
  )
}

function manyDimensions(name: string): UsageError {
  return new UsageError('INVALID_VALUE', `Column ${JSON.stringify(name)} holds arrays of several dimensions.`, {
    hint: 'Arrow has lists of one dimension for them: select to_json(column), or the elements with unnest().',
  })
}

function metadataOf({ inexact }: Column): Map<string, string> | null {
  return inexact > 0 ? new Map([['inexact', String(inexact)]]) : null
}

function arrowPart(name: string, all: readonly ColumnBatch[], infinity: 'error' | 'null'): ArrowPart {
  const type: ColumnType = all[0]?.type ?? { kind: 'text' }
  const batches = all.map((batch) => withoutInfinity(name, batch, infinity))
  const words = batches.at(-1)?.dictionary
  if (words !== undefined && batches.every(({ dictionary }) => dictionary !== undefined)) {
    return dictionaryPart(batches, words)
  }
  if (batches.some(({ shapes }) => shapes !== undefined && shapes.size > 0)) throw manyDimensions(name)
  const spelled = batches.map(spelledOut)
  const children = partsOf(type).map((_, index) =>
    arrowPart(
      name,
      spelled.flatMap(({ children: parts = [] }) => parts.slice(index, index + 1)),
      infinity,
    ),
  )
  const given = arrowType(type, children)
  return { type: given, batches: spelled.map((batch, index) => batchOf(batch, given, children, index)) }
}

/** Text as numbers of words. The words of the last batch begin with those of all others, so that it serves for them. */
function dictionaryPart(batches: readonly ColumnBatch[], words: ColumnBatch): ArrowPart {
  const text = flechette.utf8()
  const dictionary = new flechette.Column([batchOf(words, text, [], 0)], text)
  const type = flechette.dictionary(text, flechette.int32())
  const Batch = flechette.batchType(type)
  return {
    type,
    batches: batches.map(({ length, nullCount, validity, values }) =>
      new Batch({ length, nullCount, type, validity, values }).setDictionary(dictionary),
    ),
  }
}

function batchOf(
  batch: ColumnBatch,
  type: flechette.DataType,
  children: readonly ArrowPart[],
  index: number,
): flechette.Batch<unknown> {
  const { length, nullCount, validity, values, offsets } = batch
  const Batch = flechette.batchType(type)
  const parts = children.map(({ batches }) => batches[index])
  return new Batch({ length, nullCount, type, validity, values, offsets, children: parts })
}

function partsOf(type: ColumnType): readonly string[] {
  if (type.kind === 'list') return ['item']
  return type.kind === 'interval' ? ['months', 'days', 'microseconds'] : []
}

function arrowType(type: ColumnType, children: readonly ArrowPart[]): flechette.DataType {
  const fields = partsOf(type).map((name, index) =>
    flechette.field(name, children[index]?.type ?? flechette.nullType()),
  )
  switch (type.kind) {
    case 'bool':
      return flechette.bool()
    case 'int16':
      return flechette.int16()
    case 'int32':
      return flechette.int32()
    case 'int64':
      return flechette.int64()
    case 'uint32':
      return flechette.uint32()
    case 'float32':
      return flechette.float32()
    case 'float64':
      return flechette.float64()
    case 'decimal':
      return flechette.decimal(type.precision, type.scale, 128)
    case 'text':
    case 'json':
      return flechette.utf8()
    case 'binary':
      return flechette.binary()
    case 'date':
      return flechette.dateDay()
    case 'timestamp':
      return flechette.timestamp(flechette.TimeUnit.MICROSECOND)
    case 'timestamptz':
      return flechette.timestamp(flechette.TimeUnit.MICROSECOND, 'UTC')
    case 'time':
      return flechette.timeMicrosecond()
    case 'interval':
      // polars and Parquet know no interval of Arrow's.
      return flechette.struct(fields)
    case 'list':
      return flechette.list(fields[0] ?? flechette.nullType())
  }
}

/** The batch as it is, or with NULL instead of infinite dates and times. */
function withoutInfinity(name: string, batch: ColumnBatch, infinity: 'error' | 'null'): ColumnBatch {
  if (!batch.infinite) return batch
  if (infinity === 'error') {
    throw new UsageError('INVALID_VALUE', `Column ${JSON.stringify(name)} holds infinity, which Arrow does not have.`, {
      hint: "Ask for infinity: 'null', or select nullif(column, 'infinity').",
    })
  }
  const { length } = batch
  const access = exactAccess(batch)
  const validity = new Uint8Array((length + 7) >> 3).fill(255)
  validity.set(batch.validity)
  let { nullCount } = batch
  for (let row = 0; row < length; row++) {
    if (Math.abs(Number(access(row))) !== Number.POSITIVE_INFINITY) continue
    validity[row >> 3] = (validity[row >> 3] ?? 0) & ~(1 << (row & 7))
    nullCount++
  }
  return { ...batch, validity, nullCount, infinite: 0 }
}
