import type { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { UsageError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'

/** Where a result is written: the path of a file, `-` for standard output, or a stream of bytes. */
export type ExportTarget = string | URL | Writable

/** What a file holds. */
export type ExportFormat = 'csv' | 'tsv' | 'ndjson' | 'parquet'

/** How a result is written. */
export interface ExportOptions {
  /** Default: by the file's name (`.csv`, `.tsv`, `.ndjson`, `.jsonl`, `.parquet`; with `.gz` it is packed). */
  readonly format?: ExportFormat
  /** Whether a text format is packed. Default: by the file's name. */
  readonly gzip?: boolean
  /** Whether a file that exists is replaced, at the end and at once. Default false: it is an error. */
  readonly overwrite?: boolean
  /** CSV: whether the first record names the columns. Default true. */
  readonly header?: boolean
  /** CSV: what stands between fields. Default a comma; in TSV a tab. */
  readonly delimiter?: string
  /** CSV: what stands for NULL; a value of this text is quoted. Default nothing at all, so that an empty text is `""`. */
  readonly nullText?: string
  /** NDJSON: whether a json value is its text (default: exact when it is loaded again) or part of the object. */
  readonly json?: 'text' | 'nested'
  /** Parquet: rows of a row group, which is kept in memory. Default 122,880. */
  readonly rowGroupRows?: number
  /** Parquet: how numeric is written. Default `exact`. See the columns of a result. */
  readonly numeric?: 'exact' | 'float64' | 'decimal128' | 'string'
  /** Parquet: what becomes of infinite dates and times, which it does not have. Default `error`. */
  readonly infinity?: 'error' | 'null'
  readonly signal?: AbortSignal
  /** The server ends the statement after this time. */
  readonly timeoutMs?: number
  /** Called after each batch of rows. */
  readonly onProgress?: (progress: ExportProgress) => void
}

/** The stage that the others wait for: the server, making the file's bytes, or where they go. */
export type ExportStage = 'server' | 'encode' | 'write'

/** How far an export is. */
export interface ExportProgress {
  readonly rows: number
  /** Bytes written, packed where they are. */
  readonly bytes: number
  readonly seconds: number
  readonly limit: ExportStage
}

/** What an export did. */
export interface ExportReport {
  readonly rows: number
  /** Bytes written, packed where they are. */
  readonly bytes: number
  readonly format: ExportFormat
  /** The file's path; undefined for standard output and streams. */
  readonly file: string | undefined
  readonly seconds: Readonly<Record<ExportStage | 'total', number>>
  readonly limit: ExportStage
}

/** Options with their defaults. */
export interface ExportSettings extends ExportOptions {
  readonly format: ExportFormat
  readonly gzip: boolean
  readonly delimiter: string
  readonly nullText: string
  readonly rowGroupRows: number
}

const EXPORT_KEYS = Object.keys({
  format: true,
  gzip: true,
  overwrite: true,
  header: true,
  delimiter: true,
  nullText: true,
  json: true,
  rowGroupRows: true,
  numeric: true,
  infinity: true,
  signal: true,
  timeoutMs: true,
  onProgress: true,
} satisfies Record<keyof ExportOptions, true>)

const formats: ReadonlyMap<string, ExportFormat> = new Map<string, ExportFormat>([
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['ndjson', 'ndjson'],
  ['jsonl', 'ndjson'],
  ['parquet', 'parquet'],
])

/** Options that say something only for some formats. */
const only: readonly (readonly [keyof ExportOptions, readonly ExportFormat[]])[] = [
  ['header', ['csv', 'tsv']],
  ['delimiter', ['csv', 'tsv']],
  ['nullText', ['csv', 'tsv']],
  ['json', ['ndjson']],
  ['rowGroupRows', ['parquet']],
  ['numeric', ['parquet']],
  ['infinity', ['parquet']],
]

const choices: readonly (readonly [keyof ExportOptions, readonly string[]])[] = [
  ['json', ['text', 'nested']],
  ['numeric', ['exact', 'float64', 'decimal128', 'string']],
  ['infinity', ['error', 'null']],
]

/** The path of the target, where it is a file. @throws UsageError for what is no target */
export function targetPath(target: ExportTarget): string | undefined {
  if (target instanceof URL) return fileURLToPath(target)
  if (typeof target === 'string' && target !== '') return target === '-' ? undefined : target
  if (typeof target === 'object' && target !== null && typeof target.write === 'function') return undefined
  throw new UsageError('INVALID_VALUE', 'An export needs the path of a file, - for standard output, or a stream.')
}

/** @throws UsageError INVALID_OPTION */
export function exportSettings(path: string | undefined, options: ExportOptions): ExportSettings {
  checkKeys(options, EXPORT_KEYS, 'exportTo')
  const [, extension, packed] = /\.(\w+?)(\.gz)?$/i.exec(path ?? '') ?? []
  const format = options.format ?? formats.get(extension?.toLowerCase() ?? '')
  if (format === undefined || ![...formats.values()].includes(format)) {
    throw invalidOption(
      `What to write to ${path ?? 'a stream'} is not known.`,
      "Give the option format: 'csv', 'tsv', 'ndjson' or 'parquet'.",
    )
  }
  for (const [name, allowed] of only) {
    if (options[name] !== undefined && !allowed.includes(format)) {
      throw invalidOption(`Option ${name} is not for ${format}.`)
    }
  }
  for (const [name, allowed] of choices) {
    const value = options[name]
    if (value !== undefined && !allowed.some((one) => one === value)) {
      throw invalidOption(`Option ${name} must be one of ${allowed.join(', ')}.`)
    }
  }
  const gzip = options.gzip ?? packed !== undefined
  if (gzip && format === 'parquet') throw invalidOption('Parquet is packed by itself, not by gzip.')
  const { rowGroupRows = 122_880, delimiter = format === 'tsv' ? '\t' : ',', nullText = '' } = options
  if (!(Number.isInteger(rowGroupRows) && rowGroupRows > 0 && rowGroupRows <= 2 ** 24)) {
    throw invalidOption('Option rowGroupRows must be a whole number from 1 to 16777216.')
  }
  checkCsv(delimiter, nullText)
  return { ...options, format, gzip, delimiter, nullText, rowGroupRows }
}

/** The server's own rules for CSV. */
function checkCsv(delimiter: string, nullText: string): void {
  if (typeof delimiter !== 'string' || Buffer.byteLength(delimiter) !== 1 || '\r\n"'.includes(delimiter)) {
    throw invalidOption('Option delimiter must be one character of ASCII, no quote and no line end.')
  }
  if (typeof nullText !== 'string' || /["\r\n]/.test(nullText) || nullText.includes(delimiter)) {
    throw invalidOption('Option nullText must be a text without quotes, line ends and the delimiter.')
  }
}
