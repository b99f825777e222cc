import { BatchError, ConnectionError, QueryError, UsageError } from '../errors.ts'
import type { Statement } from '../sql/template.ts'
import { bindValues } from '../wire/bind-value.ts'
import { BatchQuery, type BatchRows } from './batch-query.ts'
import type { PoolConnection } from './pool-connection.ts'
import { cancelledError } from './server-error.ts'
import type { QueryOptions, QueryResult, Row, Session, TransactionOptions } from './session.ts'
import { insideTransaction, runInTransaction, type TransactionState } from './transaction-context.ts'
import { checkQueryOptions, checkSavepointOptions } from './transaction-option.ts'

/** What all levels of one transaction share: its connection and what is known about it. */
class Trunk {
  running = 0
  lastEnd: number = performance.now()
  savepoints = 0
  /** Set when a statement of the function itself was COMMIT or ROLLBACK. */
  endedByStatement = false
  readonly connection: PoolConnection

  constructor(connection: PoolConnection) {
    this.connection = connection
  }
}

class Level implements TransactionState {
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

const ignore = (): void => undefined

/**
 * One open transaction, or one savepoint in it. Statements run one after another, in the order of the calls. It ends
 * with the function it was passed to; later calls throw UsageError CLOSED.
 */
export class TransactionSession implements Session {
  readonly database: object
  readonly inTransaction = true
  /** The statement that aborted this level, unless it was rolled back to a savepoint since. */
  failure: QueryError | ConnectionError | undefined
  readonly #level: Level
  readonly #trunk: Trunk
  readonly #signal: AbortSignal | undefined
  #tail: Promise<unknown> = Promise.resolve()
  #child: TransactionSession | undefined
  #doomed = false

  /** @param connection - one on which BEGIN has succeeded (or for a savepoint, its parent's trunk) */
  constructor(database: object, connection: PoolConnection | Trunk, signal: AbortSignal | undefined) {
    this.database = database
    this.#trunk = connection instanceof Trunk ? connection : new Trunk(connection)
    this.#level = new Level(database, this.#trunk)
    this.#signal = signal
  }

  query<R extends object = Row>(statement: Statement, options: QueryOptions = {}): Promise<QueryResult<R>> {
    const child = this.#innerLevel()
    if (child !== undefined) return child.query(statement, options)
    const result = this.#query<R>(statement, options)
    // transaction() reports it too, so a call that is not awaited does not end the process.
    result.catch(ignore)
    return result
  }

  transaction<T>(run: (session: Session) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const child = this.#innerLevel()
    if (child !== undefined) return child.transaction(run, options)
    const result = this.#transaction(run, options)
    result.catch(ignore)
    return result
  }

  /** Executes `text` once per row, see `executeMany`. Resolves to the number of rows affected. */
  async executeBatch(text: string, rows: BatchRows, options: QueryOptions): Promise<number> {
    this.#checkUsable(options)
    return this.#enqueue(() => this.#executeBatch(text, rows, options))
  }

  /** Runs the transaction's function; the session is closed to new calls when it has ended. */
  async use<T>(run: (session: Session) => Promise<T>): Promise<T> {
    try {
      const value = await runInTransaction(this.#level, async () => run(this))
      this.#level.open = false
      await this.#tail
      this.#checkWhole()
      return value
    } catch (error) {
      this.#level.open = false
      this.#doom()
      // What the function left running is of no use any more.
      if (this.#trunk.running > 0) await this.#trunk.connection.cancelRunning()
      await this.#tail
      throw error
    }
  }

  async #query<R extends object>(statement: Statement, options: QueryOptions): Promise<QueryResult<R>> {
    this.#checkUsable(options)
    const values = bindValues(statement.values)
    return this.#enqueue(() =>
      this.#running(
        (connection, signal) => connection.run<R>(statement.text, values, { ...options, signal, undone: true }),
        options,
      ),
    )
  }

  async #executeBatch(text: string, rows: BatchRows, options: QueryOptions): Promise<number> {
    let batch: BatchQuery | undefined
    try {
      return await this.#running((connection, signal) => {
        const create = (done: (error: unknown, affected: number | undefined) => void): BatchQuery => {
          batch = new BatchQuery(text, rows, done)
          return batch
        }
        return connection.submit(create, { ...options, signal, undone: true })
      }, options)
    } catch (error) {
      const row = batch?.failedRow
      const ofRow = error instanceof UsageError || (error instanceof QueryError && error.sqlState !== '57014')
      if (row === undefined || batch === undefined || !ofRow) throw error
      const { hint, message } = error
      throw new BatchError(`Row ${row}: ${message}`, { row, rowCount: batch.rowCount, hint, cause: error })
    }
  }

  /** Runs one statement whose turn has come. */
  async #running<T>(
    run: (connection: PoolConnection, signal: AbortSignal | undefined) => Promise<T>,
    options: QueryOptions,
  ): Promise<T> {
    const trunk = this.#trunk
    const signal = anySignal(this.#signal, options.signal)
    if (signal?.aborted) throw cancelledError(signal)
    if (this.#doomed) throw closedError()
    if (trunk.endedByStatement) throw endedError()
    trunk.running++
    try {
      const result = await run(trunk.connection, signal)
      if (trunk.connection.transactionStatus === 'I') trunk.endedByStatement = true
      if (trunk.connection.transactionStatus === 'T') this.failure = undefined
      return result
    } catch (error) {
      if (error instanceof QueryError || error instanceof ConnectionError) this.failure ??= error
      throw error
    } finally {
      trunk.running--
      trunk.lastEnd = performance.now()
    }
  }

  async #transaction<T>(run: (session: Session) => Promise<T>, options: TransactionOptions): Promise<T> {
    checkSavepointOptions(options)
    this.#checkUsable(options)
    return this.#enqueue(() => this.#savepoint(run, options))
  }

  async #savepoint<T>(run: (session: Session) => Promise<T>, options: TransactionOptions): Promise<T> {
    const name = `tsdbkit_${++this.#trunk.savepoints}`
    await this.#command(`SAVEPOINT ${name}`)
    const child = new TransactionSession(this.database, this.#trunk, anySignal(this.#signal, options.signal))
    this.#child = child
    try {
      const value = await child.use(run)
      await this.#command(`RELEASE SAVEPOINT ${name}`)
      return value
    } catch (error) {
      await this.#rollbackTo(name, child.failure)
      throw error
    } finally {
      this.#child = undefined
    }
  }

  async #rollbackTo(name: string, failure: QueryError | ConnectionError | undefined): Promise<void> {
    const { connection, endedByStatement } = this.#trunk
    if (connection.lost !== undefined || endedByStatement) {
      if (failure !== undefined) this.failure ??= failure
      return
    }
    try {
      await connection.run(`ROLLBACK TO SAVEPOINT ${name}`, [], rollbackOptions)
      await connection.run(`RELEASE SAVEPOINT ${name}`, [], rollbackOptions)
      this.failure = undefined
    } catch (error) {
      // Whether the savepoint's work is undone is unknown: nothing of this transaction may be committed.
      connection.destroy()
      if (error instanceof QueryError || error instanceof ConnectionError) this.failure ??= error
    }
  }

  #command(text: string): Promise<unknown> {
    return this.#running((connection) => connection.run(text, [], { undone: true }), {})
  }

  /** Waits for the calls before it. */
  #enqueue<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task)
    this.#tail = result.then(ignore, ignore)
    return result
  }

  /** The open savepoint this code runs in, when it uses an outer session there: its statement belongs to the savepoint. */
  #innerLevel(): TransactionSession | undefined {
    const child = this.#child
    if (child === undefined || !child.#level.open) return undefined
    return insideTransaction(child.#level) ? child : undefined
  }

  /** Refuses what has not begun yet, in this level and those inside it. */
  #doom(): void {
    this.#doomed = true
    if (this.#child !== undefined) this.#child.#doom()
  }

  #checkUsable(options: QueryOptions): void {
    if (!this.#level.open) throw closedError()
    checkQueryOptions(options)
    if (options.signal?.aborted) throw cancelledError(options.signal)
    if (this.#signal?.aborted) throw cancelledError(this.#signal)
  }

  #checkWhole(): void {
    if (this.#signal?.aborted) throw cancelledError(this.#signal)
    if (this.#trunk.endedByStatement) throw endedError()
    // The server would answer COMMIT with ROLLBACK, without an error.
    if (this.failure !== undefined) throw this.failure
  }
}

/** A ROLLBACK that takes longer than this costs the connection. */
const rollbackOptions = { timeoutMs: 10_000, undone: true } as const

function anySignal(first: AbortSignal | undefined, second: AbortSignal | undefined): AbortSignal | undefined {
  if (first === undefined || second === undefined || first === second) return first ?? second
  return AbortSignal.any([first, second])
}

function closedError(): UsageError {
  return new UsageError('CLOSED', 'The transaction has ended', {
    hint: 'Await every call inside the function passed to transaction().',
  })
}

function endedError(): UsageError {
  return new UsageError('INVALID_VALUE', 'A statement of the function ended its transaction (COMMIT or ROLLBACK)', {
    hint: 'Return from the function to commit, throw to roll back.',
  })
}
