import { UsageError } from '../errors.ts'
import type { BoundValue } from '../wire/bind-value.ts'
import type { ColumnBatch, ColumnOptions } from '../wire/column.ts'
import { type ColumnChunk, ColumnRows } from './column-rows.ts'
import type { PoolConnection, RunOptions } from './pool-connection.ts'
import type { MakeTarget } from './result-stream.ts'
import type { ColumnResult, ColumnStreamOptions, QueryOptions } from './session.ts'
import { TextRows } from './text-rows.ts'
import { checkQueryOptions } from './transaction-option.ts'

const defaultBatchRows = 65_536

/** Runs a statement on a connection and gives its whole result as columns. */
export async function readColumns(
  connection: PoolConnection,
  request: { readonly text: string; readonly values: readonly BoundValue[] },
  options: ColumnOptions,
  run: RunOptions,
): Promise<ColumnResult> {
  let chunks: ColumnChunk[] = []
  const makeTarget = (): ColumnRows => {
    chunks = []
    return new ColumnRows(options, Number.POSITIVE_INFINITY, (chunk) => chunks.push(chunk))
  }
  const summary = await connection.runResult(request, makeTarget, run)
  const columns = summary.fields.map((): ColumnBatch[] => [])
  for (const chunk of chunks) {
    for (const [index, batch] of chunk.columns.entries()) columns[index]?.push(batch)
  }
  return { ...summary, columns }
}

/** Reads a result into batches of columns. @throws UsageError INVALID_OPTION */
export function columnTarget(options: ColumnStreamOptions): MakeTarget<readonly ColumnChunk[]> {
  const { batchRows = defaultBatchRows } = options
  checkQueryOptions(options)
  if (!(Number.isInteger(batchRows) && batchRows > 0 && batchRows < 2 ** 31)) {
    throw new UsageError('INVALID_OPTION', 'Option batchRows must be a whole number above 0 and below 2^31')
  }
  return (push, drop) => new ColumnRows(options, batchRows, (chunk) => push([chunk]), drop)
}

/** Reads a result into rows. @throws UsageError INVALID_OPTION */
export function rowTarget<R extends object>(options: QueryOptions): MakeTarget<readonly R[]> {
  checkQueryOptions(options)
  return (push, drop) => new TextRows<R>(options, push, drop)
}
