import type { ColumnChunk } from '../connection/column-rows.ts'
import type { ColumnStreamOptions, QueryOptions, Row, Session } from '../connection/session.ts'
import { checkKeys } from '../sql/option.ts'
import type { Statement } from '../sql/template.ts'
import { checkNumeric } from './column-query.ts'
import { type ColumnSet, toColumns } from './column-set.ts'

/**
 * A result as it comes, in batches of columns. To be read once; until then nothing is sent. Reading no further holds
 * the server back, with some batches in memory. Leaving the loop cancels the statement on the server.
 * @throws UsageError INVALID_OPTION; while reading QueryError, ConnectionError
 */
export function streamColumns<N extends string = string>(
  session: Session,
  statement: Statement,
  options: ColumnStreamOptions = {},
): AsyncIterableIterator<ColumnSet<N>> {
  checkKeys(options, ['batchRows', 'numeric', 'signal', 'timeoutMs'], 'streamColumns')
  checkNumeric(options)
  const chunks = session.streamColumns(statement, options)
  const columns: AsyncIterableIterator<ColumnSet<N>> = {
    [Symbol.asyncIterator]: () => columns,
    next: async () => toSet(await chunks.next()),
    return: async () => toSet((await chunks.return?.()) ?? { done: true, value: undefined }),
    throw: async (error) => toSet((await chunks.throw?.(error)) ?? { done: true, value: undefined }),
  }
  return columns
}

/**
 * The rows of a result as they come, one by one; as {@link streamColumns} in everything else.
 * @throws UsageError INVALID_OPTION; while reading QueryError, ConnectionError
 */
export function streamRows<R extends object = Row>(
  session: Session,
  statement: Statement,
  options: QueryOptions = {},
): AsyncIterableIterator<R> {
  checkKeys(options, ['int8', 'numeric', 'timestamps', 'json', 'signal', 'timeoutMs'], 'stream')
  return session.streamRows<R>(statement, options)
}

function toSet<N extends string>(
  result: IteratorResult<ColumnChunk, undefined>,
): IteratorResult<ColumnSet<N>, undefined> {
  if (result.done === true) return { done: true, value: undefined }
  const { fields, columns, rowCount } = result.value
  const whole = { fields, columns: columns.map((batch) => [batch]), rowCount, command: 'SELECT', notices: [] }
  return { done: false, value: toColumns(whole) }
}
