import { UsageError } from '../errors.ts'
import type { BatchRows } from './batch-query.ts'
import type { QueryOptions, Session } from './session.ts'
import { TransactionSession } from './transaction-session.ts'

/** What a batch did. */
export interface BatchResult {
  /** Rows inserted, updated or deleted, as the server counted them. */
  readonly rowCount: number
}

/**
 * Runs one statement for every row of values: in one transaction (a savepoint inside of one), parsed once, without
 * waiting for the answer of one row before sending the next. Either all rows are kept or none. Rows are read as fast as
 * the server takes them, so an iterable of any length needs little memory. What the statement returns is not kept.
 *
 * @throws BatchError BATCH_FAILED naming the first failing row; nothing is kept
 * @throws QueryError when the statement itself is wrong, QUERY_CANCELLED, STATEMENT_TIMEOUT (for the whole batch)
 * @throws ConnectionError, and what the iterable throws
 */
export async function executeMany(
  session: Session,
  text: string,
  rows: BatchRows,
  options: QueryOptions = {},
): Promise<BatchResult> {
  const rowCount = await session.transaction(
    async (inner) => {
      if (inner instanceof TransactionSession) return inner.executeBatch(text, rows, options)
      throw new UsageError('INVALID_OPTION', 'executeMany needs a session of this library')
    },
    options.signal === undefined ? {} : { signal: options.signal },
  )
  return { rowCount }
}
