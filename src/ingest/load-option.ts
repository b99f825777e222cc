import { checkKeys, invalidOption } from '../sql/option.ts'
import type { ConflictOptions } from './conflict.ts'
import { checkTimeZone } from './time-zone.ts'
import type { ValueOptions } from './value.ts'

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
  readonly format?: 'csv' | 'tsv' | 'ndjson' | 'parquet'
  /** CSV: whether the first record names the columns. Default true. */
  readonly header?: boolean
  /** CSV: what stands between fields. Default a comma; in TSV a tab. */
  readonly delimiter?: string
  /** CSV: what is NULL where it is not quoted. Default nothing at all. */
  readonly nullText?: string
  /** Of text formats. Default `utf-8`, in which bytes that are none are an error. */
  readonly encoding?: 'utf-8' | 'latin1'
  /** Rows sent in one transaction. Default 50,000. */
  readonly batchRows?: number
  /** Bytes after which a batch ends though it has fewer rows. Default 8 MiB. */
  readonly batchBytes?: number
  /** Batches sent at once, each on a connection. Default 2; 1 in a transaction and with onConflict. */
  readonly parallel?: number
  /** `auto`: batches that are compressed as they come in are sorted first. Default `auto`. */
  readonly sort?: 'auto' | 'off'
  /**
   * Whether the server compresses rows as they come in: `auto` where the table allows it and a batch has at least 50 rows
   * per segment and chunk; `on` fails where the table does not allow it. Default `auto`.
   */
  readonly directCompress?: 'auto' | 'on' | 'off'
  /** Whether chunks that direct compression left unordered are put in order at the end. Default `end`. */
  readonly recompress?: 'end' | 'never'
  /** What happens to a row that cannot be written: `stop` fails; `skip` goes on; `{ file }` too, and notes it there. */
  readonly onBadRow?: 'stop' | 'skip' | { readonly file: string }
  /**
   * Makes the load exactly-once: run again with the same id after any failure, it goes on where it stopped, and ends with
   * exactly the source's rows. The source must be the same, in the same order.
   */
  readonly importId?: string
  /** How often a batch is sent again after an error that may pass. Default 5. */
  readonly retries?: number
  /** Whether the table is analyzed at the end. Default true. */
  readonly analyze?: boolean
  readonly signal?: AbortSignal
  /** Called after each batch. */
  readonly onProgress?: (progress: LoadProgress) => void
}

const LOAD_KEYS = Object.keys({
  columns: true,
  constants: true,
  format: true,
  header: true,
  delimiter: true,
  nullText: true,
  encoding: true,
  batchRows: true,
  batchBytes: true,
  parallel: true,
  sort: true,
  directCompress: true,
  recompress: true,
  onBadRow: true,
  importId: true,
  retries: true,
  analyze: true,
  signal: true,
  onProgress: true,
  onConflict: true,
  conflictColumns: true,
  timeUnit: true,
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
}

/** What a load did. */
export interface LoadReport {
  readonly rowsRead: number
  /** Rows inserted or, with onConflict 'update', updated. */
  readonly rowsWritten: number
  /** Rows left out because their key was there already, or came again later in the same batch. */
  readonly rowsSkipped: number
  /** Rows that could not be written, with onBadRow other than `stop`. */
  readonly rowsRejected: number
  /** Rows of the source that an earlier run with the same importId has dealt with. */
  readonly rowsResumed: number
  readonly batches: number
  /** Batches that were sent again. */
  readonly retried: number
  /** How values were written, and why: `csv` is the file's own bytes, `binary` values encoded here. */
  readonly path: { readonly kind: 'binary' | 'csv'; readonly reason: string }
  /** Batches compressed as they came in, and why not all were. */
  readonly directCompress: { readonly batches: number; readonly reason: string | undefined }
  /** Chunks put in order at the end. */
  readonly recompressedChunks: number
  readonly seconds: LoadSeconds
  /** The stage that held the others up. */
  readonly limit: 'read' | 'encode' | 'server'
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
}

const choices: readonly (readonly [keyof LoadOptions, readonly unknown[]])[] = [
  ['sort', ['auto', 'off']],
  ['directCompress', ['auto', 'on', 'off']],
  ['recompress', ['end', 'never']],
  ['format', ['csv', 'tsv', 'ndjson', 'parquet']],
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
  }
}

function whole(name: string, value: number | undefined, standard: number, least: number): number {
  if (value === undefined) return standard
  if (Number.isInteger(value) && value >= least && value < 2 ** 31) return value
  throw invalidOption(`Option ${name} must be a whole number of at least ${least}.`)
}
