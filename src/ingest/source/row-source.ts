import { types } from 'node:util'
import { cancelledError } from '../../connection/server-error.ts'
import { UsageError } from '../../errors.ts'
import { type InputRow, LazyRow } from '../encode/encoder.ts'
import { kindOf } from '../encode/value.ts'
import { type ColumnSource, type ColumnsInput, columnSources } from './column-source.ts'
import { repeatKeeper } from './repeat-keeper.ts'

/** Rows as objects by column name, or arrays in the order of `columns`. */
export type RowsInput = Iterable<InputRow> | AsyncIterable<InputRow>

/** Rows that were read together. */
export interface RowChunk {
  readonly rows: readonly InputRow[]
  /** The number of the first in the source, from 0. */
  readonly first: number
}

/** Limits of a chunk. */
export interface ChunkLimits {
  readonly batchRows: number
  readonly batchBytes: number
}

/** Whether a source gives rows one after another; an Arquero table does too, but its columns are faster. */
export function isRows(source: unknown): source is RowsInput {
  if (typeof source !== 'object' || source === null || 'columnNames' in source || 'getChild' in source) return false
  return Symbol.iterator in source || Symbol.asyncIterator in source
}

/** The columns of a table given by columns. @throws UsageError INVALID_VALUE for anything else */
export function toColumns(source: unknown): Map<string, ColumnSource> {
  if (typeof source === 'object' && source !== null) {
    const columns = columnSources(source as ColumnsInput)
    const isTable = 'getChild' in source || 'columnNames' in source
    // Of a Response or a Promise nothing would be loaded, without a word.
    if (columns.size > 0 || isTable || className(source) === undefined) return columns
  }
  throw new UsageError('INVALID_VALUE', `Cannot load from ${what(source)}`, {
    hint: types.isPromise(source)
      ? 'Await it first.'
      : 'Pass rows, columns, the path of a file or a stream, such as the body of a Response.',
  })
}

function what(source: unknown): string {
  const name = typeof source === 'object' && source !== null ? className(source) : undefined
  return name === undefined ? kindOf(source) : `an object of class ${name}`
}

/** Undefined for a plain object. */
function className(source: object): string | undefined {
  const prototype: unknown = Object.getPrototypeOf(source)
  if (prototype === null || prototype === Object.prototype) return undefined
  return String(source.constructor?.name)
}

/** Cuts rows into chunks that end at either limit. Leaving the loop closes the source. */
export async function* rowChunks(
  source: RowsInput,
  limits: ChunkLimits,
  signal: AbortSignal | undefined,
): AsyncGenerator<RowChunk> {
  const take = Symbol.asyncIterator in source ? asyncTaker(source, signal) : syncTaker(source)
  let first = 0
  try {
    for (;;) {
      const rows = await take.next(limits)
      if (rows.length === 0) return
      yield { rows, first }
      first += rows.length
    }
  } finally {
    await take.close()
  }
}

/** Gives rows that stay what they are; see {@link repeatKeeper}. */
export function rowKeeper(): (row: InputRow) => InputRow {
  return repeatKeeper(copyOf)
}

/** A copy of a plain object or array; what else it may be keeps its values to itself. */
function copyOf(row: InputRow): InputRow {
  if (Array.isArray(row)) return row.slice()
  const isPlain = typeof row === 'object' && row !== null && Object.getPrototypeOf(row) === Object.prototype
  return isPlain ? { ...row } : row
}

interface Taker {
  next(limits: ChunkLimits): Promise<InputRow[]>
  close(): Promise<void>
}

function syncTaker(source: Iterable<InputRow>): Taker {
  // Rows of an array are all there at once.
  const keep = Array.isArray(source) ? undefined : rowKeeper()
  const iterator = source[Symbol.iterator]()
  let ended = false
  return {
    next: async ({ batchRows, batchBytes }) => {
      const rows: InputRow[] = []
      for (let bytes = 0; rows.length < batchRows && bytes < batchBytes; ) {
        const { done, value } = iterator.next()
        if (done === true) {
          ended = true
          break
        }
        rows.push(keep === undefined ? value : keep(value))
        bytes += sizeOf(value)
      }
      return rows
    },
    close: async () => {
      if (ended) return
      try {
        iterator.return?.()
      } catch {
        // It is left because of an error, which says more.
      }
    },
  }
}

function asyncTaker(source: AsyncIterable<InputRow>, signal: AbortSignal | undefined): Taker {
  const keep = rowKeeper()
  const iterator = source[Symbol.asyncIterator]()
  const aborted = signal === undefined ? undefined : untilAborted(signal)
  let ended = false
  return {
    next: async ({ batchRows, batchBytes }) => {
      const rows: InputRow[] = []
      for (let bytes = 0; rows.length < batchRows && bytes < batchBytes; ) {
        const next = iterator.next()
        const { done, value } = aborted === undefined ? await next : await Promise.race([next, aborted.promise])
        if (done === true) {
          ended = true
          break
        }
        rows.push(keep(value))
        bytes += sizeOf(value)
      }
      return rows
    },
    close: async () => {
      aborted?.stop()
      if (ended) return
      const closing = Promise.resolve(iterator.return?.()).catch(() => undefined)
      // A source that never gives its next row never closes either.
      if (!signal?.aborted) await closing
    },
  }
}

/** Rejects when the signal is aborted. */
export function untilAborted(signal: AbortSignal): { readonly promise: Promise<never>; stop(): void } {
  let stop = (): void => undefined
  const promise = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(cancelledError(signal))
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    stop = () => signal.removeEventListener('abort', onAbort)
  })
  promise.catch(() => undefined)
  return { promise, stop }
}

/** About what a row will weigh when it is sent: what has no fixed size decides. */
function sizeOf(row: unknown): number {
  if (typeof row !== 'object' || row === null) return 8
  if (row instanceof LazyRow) return row.size
  let size = 8
  if (Array.isArray(row)) for (const value of row) size += valueSize(value)
  // Any property may be there.
  else for (const key in row) size += valueSize((row as Readonly<Record<string, unknown>>)[key])
  return size
}

/** About what a value will weigh when it is sent. */
export function valueSize(value: unknown): number {
  if (typeof value === 'string') return value.length + 4
  if (typeof value !== 'object' || value === null) return 12
  if ('byteLength' in value && typeof value.byteLength === 'number') return value.byteLength + 4
  if (value instanceof Date) return 12
  return sizeOf(value)
}
