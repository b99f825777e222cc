import { QueryError, UsageError } from '../errors.ts'
import type { PoolConnection } from './pool-connection.ts'
import type { TransactionState } from './transaction-context.ts'

/** What all levels of one transaction share: its connection and what is known about it. */
export class Trunk {
  running = 0
  /** True while a COPY … TO STDOUT or a stream is read. */
  reading = false
  lastEnd: number = performance.now()
  savepoints = 0
  /** Set when a statement of the function itself was COMMIT or ROLLBACK. */
  endedByStatement = false
  readonly connection: PoolConnection

  constructor(connection: PoolConnection) {
    this.connection = connection
  }
}

/** One level of a transaction, as other code sees it from inside. */
export class Level implements TransactionState {
  open = true
  readonly database: object
  readonly #trunk: Trunk

  constructor(database: object, trunk: Trunk) {
    this.database = database
    this.#trunk = trunk
  }

  get connection(): TransactionState['connection'] {
    return this.#trunk.connection.stream
  }

  get statementInFlight(): boolean {
    return this.#trunk.running > 0
  }

  get idleSinceMs(): number {
    return this.#trunk.running > 0 ? 0 : performance.now() - this.#trunk.lastEnd
  }
}

/** A statement that would wait for the loop it stands in. */
export function readingError(): UsageError {
  return new UsageError('INVALID_VALUE', 'The transaction is reading a stream or a COPY, which must end first', {
    hint: 'Use the database itself, on another connection, inside the loop.',
  })
}

/** The function ended before a loop of it did. */
export function leftOpen(): QueryError {
  return new QueryError(
    'QUERY_CANCELLED',
    'The function of the transaction ended while a stream or a COPY of it was read',
    {
      sqlState: '57014',
      hint: 'Read it to its end, or leave its loop with break.',
    },
  )
}

/** A call after the end. */
export function closedError(): UsageError {
  return new UsageError('CLOSED', 'The transaction has ended', {
    hint: 'Await every call inside the function passed to transaction().',
  })
}

/** COMMIT or ROLLBACK as a statement. */
export function endedError(): UsageError {
  return new UsageError('INVALID_VALUE', 'A statement of the function ended its transaction (COMMIT or ROLLBACK)', {
    hint: 'Return from the function to commit, throw to roll back.',
  })
}
