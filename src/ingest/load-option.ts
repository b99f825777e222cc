import { checkKeys, invalidOption } from '../sql/option.ts'
import type { ConflictOptions } from './conflict.ts'
import { type CreateOptions, checkCreate } from './create/create-option.ts'
import { timeFormatOf } from './encode/time-format.ts'
import { checkTimeZone } from './encode/time-zone.ts'
import type { ValueOptions } from './encode/value.ts'
import type { VerifyReport } from './verify/verify.ts'

/** How a source is loaded. */
export interface LoadOptions extends ConflictOptions, ValueOptions {
  /**
   * Which values go where. A list: the columns of rows that are arrays, or of all there is only these; an object: names
   * in the source and the columns they go to, of all there is only these. Default: names are the same, and a name that
   * no column has is an error.
   */
  readonly columns?: readonly string[] | Readonly<Record<string, string>>
  /** Values that are the same in all rows, by column. */
  readonly constants?: Readonly<Record<string, unknown>>
  /** What a file or stream holds. Default: by the file's name. */
  readonly format?: 'csv' | 'tsv' | 'ndjson' | 'json' | 'influx' | 'parquet'
  /** CSV: whether the first record names the columns. Default true. */
  readonly header?: boolean
  /** CSV: what stands between fields. Default a comma; in TSV a tab. */
  readonly delimiter?: string
  /** CSV: what is NULL where it is not quoted. Default nothing at all. */
  readonly nullText?: string
  /** InfluxDB: only points of this measurement are loaded. Default: all points must be of one. */
  readonly measurement?: string
  /** InfluxDB: the column that takes the name of the measurement; points may then be of several. */
  readonly measurementColumn?: string
  /** InfluxDB: what a point without a time is: a row that cannot be written, or one of the time the load began. */
  readonly missingTime?: 'error' | 'now'
  /** Of text formats. Default `utf-8`, in which bytes that are none are an error. */
  readonly encoding?: 'utf-8' | 'latin1'
  /** Rows sent in one transaction. Default 50,000; 20,000 on a server that does not compress them as they come in, without `importId`. */
  readonly batchRows?: number
  /** Bytes after which a batch ends though it has fewer rows. Default 8 MiB. */
  readonly batchBytes?: number
  /**
   * Batches sent at once, each on a connection. Default 1 in a transaction and with onConflict; else what the server's
   * setting max_parallel_workers was set to, at most 4 and no more than the pool has connections, or 2 where it never was.
   */
  readonly parallel?: number
  /** `auto`: batches that are compressed as they come in are sorted first. Default `auto`. */
  readonly sort?: 'auto' | 'off'
  /**
   * Whether the server compresses rows as they come in: `auto` where the table allows it and a batch has at least 50 rows
   * per segment and chunk; `on` fails where the table does not allow it. Default `auto`.
   */
  readonly directCompress?: 'auto' | 'on' | 'off'
  /**
   * Whether batches that are in the order of compression are declared so, which saves the server its own sorting: `auto`
   * where it cannot lie, since the server believes it and would answer queries wrongly. Default `auto`.
   */
  readonly clientSorted?: 'auto' | 'off'
  /**
   * What happens to chunks that direct compression left unordered, and to those that were decompressed for an update: they
   * are compressed at the `end`; or left to the table's compression `policy`, which there must be; or not. Default `end`.
   */
  readonly recompress?: 'end' | 'policy' | 'never'
  /**
   * Makes the table where it does not exist: its columns by a sample of the source, a hypertable by its times, compressed
   * by a column with few values. A table that exists is used as it is. Default false.
   */
  readonly create?: boolean | CreateOptions
  /** What happens to a row that cannot be written: `stop` fails; `skip` goes on; `{ file }` too, and notes it there. */
  readonly onBadRow?: 'stop' | 'skip' | { readonly file: string }
  /**
   * Makes the load exactly-once: run again with the same id after any failure, it goes on where it stopped, and ends with
   * exactly the source's rows. The source must be the same, in the same order.
   */
  readonly importId?: string
  /**
   * Decides about a batch that failed for good, by an error of the server, of the connection or of a value: `retry` sends
   * it again, `skip` leaves all of its rows out and goes on, `stop` fails the load. Default `stop`.
   */
  readonly onBatchError?: (error: unknown, batch: FailedBatch) => BatchDecision | Promise<BatchDecision>
  /**
   * Compares the table with the source at the end, by ranges of time: how many rows and values, the least and greatest,
   * and sums. What was in the table before is taken into account. The source is then always parsed.
   */
  readonly verify?: boolean
  /** How often a batch, or what is asked before and after them, is sent again after an error that may pass. Default 5. */
  readonly retries?: number
  /** Whether the table is analyzed at the end. Default true. */
  readonly analyze?: boolean
  readonly signal?: AbortSignal
  /** Called after each batch. */
  readonly onProgress?: (progress: LoadProgress) => void
}

/** What becomes of a batch that failed. */
export type BatchDecision = 'retry' | 'skip' | 'stop'

/** A batch that failed. */
export interface FailedBatch {
  /** The number of its first row in the source, from 0; of CSV that is passed through, how many lines come before it. */
  readonly first: number
  /** How many rows it has; of CSV that is passed through, lines. */
  readonly rows: number
  /** How often the batch has failed, 1 at first. What `retries` has sent again is not counted. */
  readonly failures: number
}

/** A batch that was left out. */
export interface SkippedBatch extends Pick<FailedBatch, 'first' | 'rows'> {
  readonly reason: string
}

/** The names of all options. */
export const LOAD_KEYS: readonly string[] = Object.keys({
  columns: true,
  constants: true,
  format: true,
  header: true,
  delimiter: true,
  nullText: true,
  measurement: true,
  measurementColumn: true,
  missingTime: true,
  encoding: true,
  batchRows: true,
  batchBytes: true,
  parallel: true,
  sort: true,
  directCompress: true,
  clientSorted: true,
  create: true,
  recompress: true,
  onBadRow: true,
  importId: true,
  onBatchError: true,
  verify: true,
  retries: true,
  analyze: true,
  signal: true,
  onProgress: true,
  onConflict: true,
  conflictColumns: true,
  timeUnit: true,
  timeFormat: true,
  timeZone: true,
} satisfies Record<keyof LoadOptions, true>)

/** How far a load is. */
export interface LoadProgress {
  /** Rows read from the source; of CSV that is passed through, rows written. */
  readonly rowsRead: number
  readonly rowsWritten: number
  /** Bytes read from a file or stream; of other sources, bytes encoded. */
  readonly bytes: number
  /** The size of a file; undefined where it is not known. */
  readonly totalBytes: number | undefined
  readonly seconds: number
  /** The stage that has held the others up. */
  readonly limit: LoadReport['limit']
}

/** What a load did. */
export interface LoadReport {
  readonly rowsRead: number
  /** Rows inserted or, with onConflict 'update', updated. */
  readonly rowsWritten: number
  /**
   * Rows left out because their key was there already, or came again later in the same batch, or because a trigger dropped
   * them; of those only where the file was not passed through.
   */
  readonly rowsSkipped: number
  /** Rows that could not be written, with onBadRow other than `stop`. */
  readonly rowsRejected: number
  /** Rows of the source that an earlier run with the same importId, or one beside this, has dealt with. */
  readonly rowsResumed: number
  /** Whether the table was made by the option create. */
  readonly created: boolean
  readonly batches: number
  /** Batches that onBatchError left out; with importId those of runs before too. */
  readonly skippedBatches: readonly SkippedBatch[]
  /** What was compared, with the option verify. */
  readonly verified: VerifyReport | undefined
  /** Batches that were sent again. */
  readonly retried: number
  /** Bytes that came to the end of the file while it was read, and were not loaded. */
  readonly grownBytes: number
  /**
   * How values were written, and why: `csv` is the file's own bytes, `binary` values encoded here. Of a CSV that is parsed
   * because the embedded engine is slower at it, single batches may have been the file's own bytes: the reason says so.
   */
  readonly path: { readonly kind: 'binary' | 'csv'; readonly reason: string }
  /** Batches compressed as they came in, and why not all were. */
  readonly directCompress: { readonly batches: number; readonly reason: string | undefined }
  /** Batches declared sorted, those compressed as they came in that were not, and why not. */
  readonly clientSorted: { readonly batches: number; readonly without: number; readonly reason: string | undefined }
  /** Chunks put in order, or compressed again, at the end. */
  readonly recompressedChunks: number
  /** The compression policy to which unordered chunks are left, with recompress `policy`. */
  readonly recompressPolicy: { readonly jobId: number; readonly scheduleInterval: string } | undefined
  readonly seconds: LoadSeconds
  /** The stage that held the others up. */
  readonly limit: 'read' | 'encode' | 'server'
  /** Batches that were sent at once at most. */
  readonly parallel: number
  /** Different messages the server sent beside the results. */
  readonly notices: readonly string[]
}

/** Where the time went. Stages run beside each other, so they need not add up. */
export interface LoadSeconds {
  /** Waiting for the source, parsing included. */
  readonly read: number
  readonly encode: number
  /** Waiting for the server when there was something to send. */
  readonly server: number
  readonly recompress: number
  readonly analyze: number
  readonly total: number
}

/** Options with their defaults. */
export interface LoadSettings extends LoadOptions {
  readonly batchRows: number
  readonly batchBytes: number
  readonly parallel: number
  readonly retries: number
  readonly sort: 'auto' | 'off'
  readonly directCompress: 'auto' | 'on' | 'off'
  readonly clientSorted: 'auto' | 'off'
}

const choices: readonly (readonly [keyof LoadOptions, readonly unknown[]])[] = [
  ['sort', ['auto', 'off']],
  ['directCompress', ['auto', 'on', 'off']],
  ['clientSorted', ['auto', 'off']],
  ['recompress', ['end', 'policy', 'never']],
  ['format', ['csv', 'tsv', 'ndjson', 'json', 'influx', 'parquet']],
  ['missingTime', ['error', 'now']],
  ['encoding', ['utf-8', 'latin1']],
  ['timeUnit', ['s', 'ms', 'us', 'ns']],
]

/** @throws UsageError INVALID_OPTION */
export function loadSettings(options: LoadOptions, inTransaction: boolean): LoadSettings {
  checkKeys(options, LOAD_KEYS, 'load')
  for (const [name, allowed] of choices) {
    const value = options[name]
    if (value !== undefined && !allowed.includes(value)) {
      throw invalidOption(`Option ${name} must be one of ${allowed.join(', ')}.`)
    }
  }
  const { onBadRow } = options
  if (onBadRow !== undefined && onBadRow !== 'stop' && onBadRow !== 'skip' && typeof onBadRow?.file !== 'string') {
    throw invalidOption("Option onBadRow must be 'stop', 'skip' or { file }.")
  }
  checkTimeZone(options.timeZone)
  timeFormatOf(options)
  checkCreate(options.create)
  const { onBatchError, verify } = options
  if (onBatchError !== undefined && typeof onBatchError !== 'function') {
    throw invalidOption('Option onBatchError must be a function.')
  }
  if (verify === true && (options.onConflict ?? 'error') !== 'error') {
    throw invalidOption(
      'Option verify is not possible with onConflict: which rows of the source should be in the table is not known.',
    )
  }
  const ordered = inTransaction || (options.onConflict ?? 'error') !== 'error'
  const parallel = whole('parallel', options.parallel, ordered ? 1 : 2, 1)
  if (ordered && parallel > 1) {
    throw invalidOption(
      'Option parallel must be 1 in a transaction and with onConflict.',
      'Rows must go in one by one.',
    )
  }
  return {
    ...options,
    batchRows: whole('batchRows', options.batchRows, 50_000, 1),
    batchBytes: whole('batchBytes', options.batchBytes, 8 * 1024 * 1024, 1),
    retries: whole('retries', options.retries, 5, 0),
    parallel,
    sort: options.sort ?? 'auto',
    directCompress: options.directCompress ?? 'auto',
    clientSorted: options.clientSorted ?? 'auto',
  }
}

function whole(name: string, value: number | undefined, standard: number, least: number): number {
  if (value === undefined) return standard
  if (Number.isInteger(value) && value >= least && value < 2 ** 31) return value
  throw invalidOption(`Option ${name} must be a whole number of at least ${least}.`)
}
