import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import type { LoadOptions, LoadSettings } from '../load-option.ts'
import { type ByteSource, fileSize, isBytes, isWebStream, openBytes, parquetPath } from './byte-source.ts'
import type { ColumnSource, ColumnsInput } from './column-source.ts'
import { isRows, type RowsInput, toColumns } from './row-source.ts'

/**
 * What can be loaded: rows (objects by column name, or arrays in the order of `columns`) from an array, an iterable or an
 * async iterable; columns by name as arrays and typed arrays; a table of Arquero, flechette or apache-arrow; the path of a
 * CSV, TSV, NDJSON, JSON or InfluxDB line protocol file (each also `.gz`) or of a Parquet file, with `-` for standard
 * input; a stream of its bytes (also one of the web's kind, such as the body of a fetch), or of rows.
 */
export type LoadSource = RowsInput | ColumnsInput | string | URL | Readable | ReadableStream

/** A source by the way it is read. Nothing of it is open yet. */
export type Input =
  | { readonly kind: 'parquet'; readonly path: string }
  | { readonly kind: 'bytes'; readonly bytes: ByteSource }
  | { readonly kind: 'rows'; readonly rows: RowsInput }
  | { readonly kind: 'columns'; readonly columns: Map<string, ColumnSource> }

/**
 * @param earlier - what a file was known by when an import began that is gone on with
 * @throws UsageError for what is no source, or whose format is not known; the system's error for a missing file
 */
export async function openInput(given: LoadSource, options: LoadOptions, earlier?: string): Promise<Input> {
  const source = isWebStream(given) && options.format !== undefined ? Readable.fromWeb(given) : given
  const path = parquetPath(source, options)
  if (path !== undefined) {
    await fileSize(path)
    return { kind: 'parquet', path }
  }
  if (isBytes(source, options)) return { kind: 'bytes', bytes: await openBytes(source, options, earlier) }
  return isRows(source) ? { kind: 'rows', rows: source } : { kind: 'columns', columns: toColumns(source) }
}

/** The settings with what the format of the input says. */
export function settingsOf(input: Input, settings: LoadSettings): LoadSettings {
  if (input.kind !== 'bytes' || input.bytes.format !== 'influx') return settings
  return { ...settings, timeUnit: settings.timeUnit ?? 'ns' }
}
