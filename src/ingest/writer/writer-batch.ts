import { COPY_HEADER, COPY_TRAILER } from '../../wire/copy-buffer.ts'
import type { EncodedBatch, RowBatch } from '../batch.ts'
import type { TargetColumn } from '../sender.ts'

/** Rows into compressed chunks go apart from the others: they take longer. */
export type Lane = 'live' | 'late'

export const lanes: readonly Lane[] = ['live', 'late']

/** Rows that are written together, encoded; the same bytes go to the server and to the spill. */
export interface WriterBatch {
  /** The ledger's import, and in it the window, that this batch is. */
  readonly importId: string
  readonly number: number
  readonly lane: Lane
  readonly columns: readonly TargetColumn[]
  readonly rows: number
  /** The rows of a binary COPY. */
  readonly blocks: readonly Buffer[]
  /** The rows as they were given, a line of JSON for each; empty where nobody will ask for them. */
  readonly sources: Buffer
  /** When its first row was accepted: `Date.now()`. */
  readonly since: number
}

/** What a batch weighs in memory and on disk. */
export function batchBytes({ blocks, sources }: WriterBatch): number {
  return blocks.reduce((sum, block) => sum + block.length, sources.length)
}

/** The bytes of the COPY of a whole batch. */
export function encodedBatch({ blocks, rows }: WriterBatch): EncodedBatch {
  const bytes = blocks.reduce((sum, block) => sum + block.length, 0)
  const order = Uint32Array.from({ length: rows }, (_, row) => row)
  return { blocks: [COPY_HEADER, ...blocks, COPY_TRAILER], bytes, order, direct: false }
}

/** The rows of a batch one by one, as the search for a bad one wants them. */
export function rowsOf(batch: WriterBatch): RowBatch {
  let parts: readonly Buffer[] | undefined
  let lines: readonly string[] | undefined
  return {
    first: 0,
    rows: batch.rows,
    write: (buffer, row) => {
      parts ??= cutRows(Buffer.concat(batch.blocks), batch.rows)
      const part = parts[row] ?? Buffer.alloc(0)
      const at = buffer.reserve(part.length)
      buffer.bytes.set(part, at)
    },
    valuesOf: () => () => undefined,
    source: (row) => {
      lines ??= batch.sources.toString('utf8').split('\n')
      const line = lines[row] ?? ''
      return line === '' ? undefined : JSON.parse(line)
    },
  }
}

function cutRows(bytes: Buffer, rows: number): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; parts.length < rows; ) {
    const start = at
    const fields = bytes.readInt16BE(at)
    at += 2
    for (let field = 0; field < fields; field++) at += 4 + Math.max(0, bytes.readInt32BE(at))
    parts.push(bytes.subarray(start, at))
  }
  return parts
}
