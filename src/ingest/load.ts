import type { Readable } from 'node:stream'
import { readTable } from '../catalog/column.ts'
import { readLoadTarget } from '../catalog/load-target.ts'
import { cancelledError } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { invalidOption } from '../sql/option.ts'
import { fingerprint, isBytes, openBytes, parquetPath } from './byte-source.ts'
import type { ColumnsInput } from './column-source.ts'
import { loadBytes } from './load-file.ts'
import { type LoadOptions, type LoadReport, loadSettings } from './load-option.ts'
import { loadColumns, loadParquet, loadRows } from './load-rows.ts'
import { LoadRun } from './load-run.ts'
import { isRows, type RowsInput, toColumns } from './row-source.ts'

/**
 * What can be loaded: rows (objects by column name, or arrays in the order of `columns`) from an array, an iterable or an
 * async iterable; columns by name as arrays and typed arrays; a table of Arquero, flechette or apache-arrow; the path of a
 * CSV, TSV, NDJSON (each also `.gz`) or Parquet file, with `-` for standard input; a stream of its bytes, or of rows.
 */
export type LoadSource = RowsInput | ColumnsInput | string | URL | Readable

/**
 * Loads a source of any length into a table, in constant memory. Each batch is one transaction; inside of a transaction
 * all of them belong to it. When it fails, the batches before stay, and the error says how many rows that are.
 *
 * @throws BatchError BATCH_FAILED naming the row that does not fit or that the server refuses
 * @throws QueryError, ConnectionError; UsageError for columns that do not exist; what the source throws
 */
export async function load(
  session: Session,
  name: ObjectName,
  source: LoadSource,
  options: LoadOptions = {},
): Promise<LoadReport> {
  const settings = loadSettings(options, session.inTransaction)
  if (settings.signal?.aborted) throw cancelledError(settings.signal)
  const table = await readTable(session, name)
  const target = await readLoadTarget(session, table)
  if (settings.directCompress === 'on' && target.notDirect !== undefined) {
    throw invalidOption(`directCompress 'on' is not possible: ${target.notDirect}.`)
  }
  const parquet = parquetPath(source, settings)
  const bytes = parquet === undefined && isBytes(source) ? await openBytes(source, settings) : undefined
  const run = new LoadRun(session, table, target, settings)
  if (parquet !== undefined) {
    await run.openLedger('row', settings.importId === undefined ? undefined : await fingerprint(parquet))
    return loadParquet(run, parquet)
  }
  if (bytes !== undefined) return loadBytes(run, bytes)
  await run.openLedger('row')
  return isRows(source) ? loadRows(run, source) : loadColumns(run, toColumns(source))
}
