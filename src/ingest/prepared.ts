import type { BatchError, QueryError } from '../errors.ts'
import type { RejectedRow, RowBatch } from './batch.ts'
import type { Sender } from './sender.ts'
import type { SourceMark } from './source/source-mark.ts'

/** What is sent for one chunk of the source. */
export type Prepared = PreparedRows | PreparedBytes | PreparedPiece

export interface PreparedRows {
  readonly batch: RowBatch
  readonly sender: Sender
}

export interface PreparedBytes {
  /** Whole records, sent as they are. */
  readonly blocks: readonly Buffer[]
  /** How many lines of the source come before them. */
  readonly lines: number
  readonly sender: Sender
}

/** Records that are parsed here, or sent as they are where that may not come to the same. */
export interface PreparedPiece {
  readonly piece: RowBatch
  readonly sender: Sender
  readonly raw: PreparedBytes
  /** Told why the piece is sent as it is. */
  readonly refused: (reason: BatchError | QueryError) => void
}

/** A part of the source that is written in one transaction. */
export interface Window {
  readonly start: number
  /** Undefined where only the server counts them. */
  readonly rows: number | undefined
  readonly direct: boolean
  readonly rejected: readonly RejectedRow[]
  /** The source up to its end, or beyond it. */
  readonly mark: SourceMark | undefined
}
