import path from 'node:path'
import { checkKeys, invalidOption } from '../../sql/option.ts'
import type { ConflictOptions } from '../conflict.ts'
import { timeFormatOf } from '../encode/time-format.ts'
import { checkTimeZone } from '../encode/time-zone.ts'
import type { ValueOptions } from '../encode/value.ts'

/** How a writer works. */
export interface WriterOptions extends ConflictOptions, ValueOptions {
  /**
   * The columns of rows that are arrays; of rows that are objects, the only ones that are written, with NULL for what a
   * row lacks. Default: of an object its own properties, of an array all columns of the table.
   */
  readonly columns?: readonly string[]
  /** Rows that are sent at the latest together. Default 10,000. */
  readonly batchRows?: number
  /** Bytes that are sent at the latest together. Default 4 MiB. */
  readonly batchBytes?: number
  /** How long a row waits for others at the most, in milliseconds. Default 1000. */
  readonly flushMs?: number
  /** Encoded bytes in memory above which `write` waits; one call may go beyond it. Default 32 MiB. */
  readonly bufferBytes?: number
  /**
   * How long the database may be away, in milliseconds, before `write` (where the buffer is full) and `flush` reject, and how
   * long `close` waits for it. Default 60,000. With a spill directory that has room nothing waits for the database.
   */
  readonly giveUpMs?: number
  /**
   * How long a batch may take, in milliseconds, before it counts as not written and those after it go to disk; each time it
   * does, batches of its kind (late rows, or others) are given twice as long from then on. Default 30,000.
   */
  readonly sendTimeoutMs?: number
  /** Where rows go while the database is away, to be written later, or by the next writer that is given this directory. */
  readonly spillDirectory?: string
  /** Bytes the spill directory may hold. Default: what the disk takes. */
  readonly spillBytes?: number
  /**
   * What happens to a row that cannot be written: `stop` ends the writer, or, where it is known at once, rejects the
   * `write` it is in; `skip` goes on; `{ file }` too, and notes it there. Default `stop`.
   */
  readonly onBadRow?: 'stop' | 'skip' | { readonly file: string }
  /** Told what happens beside the calls: the database goes away, a spill file is damaged. Default: a warning of the process. */
  readonly onError?: (error: Error) => void
}

const WRITER_KEYS = Object.keys({
  columns: true,
  batchRows: true,
  batchBytes: true,
  flushMs: true,
  bufferBytes: true,
  giveUpMs: true,
  sendTimeoutMs: true,
  spillDirectory: true,
  spillBytes: true,
  onBadRow: true,
  onError: true,
  onConflict: true,
  conflictColumns: true,
  timeUnit: true,
  timeFormat: true,
  timeZone: true,
} satisfies Record<keyof WriterOptions, true>)

/** Options with their defaults. */
export interface WriterSettings extends WriterOptions {
  readonly batchRows: number
  readonly batchBytes: number
  readonly flushMs: number
  readonly bufferBytes: number
  readonly giveUpMs: number
  readonly sendTimeoutMs: number
  readonly spillBytes: number
  readonly onBadRow: NonNullable<WriterOptions['onBadRow']>
  readonly onError: (error: Error) => void
}

/** @throws UsageError INVALID_OPTION */
export function writerSettings(options: WriterOptions): WriterSettings {
  checkKeys(options, WRITER_KEYS, 'writer')
  const { columns, onBadRow = 'stop', onError = warn, timeUnit, spillDirectory } = options
  if (columns !== undefined && !(Array.isArray(columns) && columns.every((name) => typeof name === 'string'))) {
    throw invalidOption('Option columns must be a list of names.')
  }
  if (onBadRow !== 'stop' && onBadRow !== 'skip' && typeof onBadRow?.file !== 'string') {
    throw invalidOption("Option onBadRow must be 'stop', 'skip' or { file }.")
  }
  if (typeof onError !== 'function') throw invalidOption('Option onError must be a function.')
  if (timeUnit !== undefined && !['s', 'ms', 'us', 'ns'].includes(timeUnit)) {
    throw invalidOption('Option timeUnit must be one of s, ms, us, ns.')
  }
  if (spillDirectory !== undefined && (typeof spillDirectory !== 'string' || spillDirectory === '')) {
    throw invalidOption('Option spillDirectory must be the path of a directory.')
  }
  checkTimeZone(options.timeZone)
  timeFormatOf(options)
  return {
    ...options,
    ...(spillDirectory !== undefined && { spillDirectory: path.resolve(spillDirectory) }),
    batchRows: whole('batchRows', options.batchRows, 10_000, 1),
    batchBytes: whole('batchBytes', options.batchBytes, 4 * 1024 * 1024, 1),
    flushMs: whole('flushMs', options.flushMs, 1000, 1),
    bufferBytes: whole('bufferBytes', options.bufferBytes, 32 * 1024 * 1024, 1),
    giveUpMs: whole('giveUpMs', options.giveUpMs, 60_000, 0),
    sendTimeoutMs: whole('sendTimeoutMs', options.sendTimeoutMs, 30_000, 1),
    spillBytes: whole('spillBytes', options.spillBytes, Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER),
    onBadRow,
    onError,
  }
}

function whole(name: string, value: number | undefined, standard: number, least: number, most = 2 ** 31 - 1): number {
  if (value === undefined) return standard
  if (Number.isInteger(value) && value >= least && value <= most) return value
  throw invalidOption(`Option ${name} must be a whole number of at least ${least}.`)
}

function warn(error: Error): void {
  process.emitWarning(error)
}
