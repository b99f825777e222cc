import { openAsBlob } from 'node:fs'
import type { ParquetFile } from 'parquet-wasm'
import { UnsupportedError, UsageError } from '../../errors.ts'
import { type ReadColumn, readArrow } from '../../results/arrow-read.ts'
import type { ColumnSource } from './column-source.ts'

/** The rows of one row group, by columns. */
export interface RowGroup {
  /** The number of its first row in the file. */
  readonly first: number
  readonly rows: number
  readonly columns: ReadonlyMap<string, ColumnSource>
  /** Of the whole file. */
  readonly totalRows: number
}

/**
 * The row groups of a Parquet file, one in memory at a time.
 * @throws UnsupportedError PACKAGE_MISSING; UsageError INVALID_VALUE for a file that is none or is cut off
 */
export async function* parquetGroups(path: string): AsyncGenerator<RowGroup> {
  const file = await openParquet(path)
  try {
    const groups = file.metadata().numRowGroups()
    const totalRows = file.metadata().fileMetadata().numRows()
    let first = 0
    for (let group = 0; group < groups; group++) {
      const ipc = await readable(path, async () => (await file.read({ rowGroups: [group] })).intoIPCStream())
      const columns = readArrow(ipc)
      const rows = columns[0]?.length ?? 0
      const sources = new Map(columns.map((column) => [column.name, { ...column, typed: undefined }]))
      yield { first, rows, totalRows, columns: sources }
      first += rows
    }
  } finally {
    file.free()
  }
}

/** The first rows of a Parquet file, and how many it has. @throws as {@link parquetGroups} */
export async function parquetSample(
  path: string,
  limit: number,
): Promise<{ readonly columns: readonly ReadColumn[]; readonly totalRows: number }> {
  const file = await openParquet(path)
  try {
    const ipc = await readable(path, async () => (await file.read({ limit })).intoIPCStream())
    return { columns: readArrow(ipc), totalRows: file.metadata().fileMetadata().numRows() }
  } finally {
    file.free()
  }
}

async function openParquet(path: string): Promise<ParquetFile> {
  const library = await import('parquet-wasm').catch((error: unknown) => {
    throw new UnsupportedError('PACKAGE_MISSING', 'Parquet needs the package parquet-wasm.', {
      feature: 'parquet',
      hint: 'npm install parquet-wasm@0.7.2',
      cause: error,
    })
  })
  const blob = await openAsBlob(path)
  return readable(path, () => library.ParquetFile.fromFile(blob))
}

async function readable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw new UsageError('INVALID_VALUE', `${path} cannot be read as Parquet`, { cause: error })
  }
}
