import { BatchError, ConnectionError, QueryError, UsageError } from '../errors.ts'
import type { Statement } from '../sql/template.ts'
import { bindValues } from '../wire/bind-value.ts'
import { BatchQuery, type BatchRows } from './batch-query.ts'
import type { InterruptOptions } from './cancel.ts'
import type { ColumnChunk } from './column-rows.ts'
import { type CopyInResult, type CopySource, runCopyIn } from './copy-in.ts'
import { runCopyOut } from './copy-out.ts'
import type { PoolConnection } from './pool-connection.ts'
import { columnTarget, readColumns, rowTarget } from './result-reading.ts'
import { leftEarly, type MakeTarget, ResultStream, runStream } from './result-stream.ts'
import { cancelledError } from './server-error.ts'
import type {
  ColumnQueryOptions,
  ColumnResult,
  ColumnStreamOptions,
  CopyOptions,
  QueryOptions,
  QueryResult,
  Row,
  Session,
  TransactionOptions,
} from './session.ts'
import { insideTransaction, runInTransaction } from './transaction-context.ts'
import { closedError, endedError, Level, leftOpen, readingError, Trunk } from './transaction-level.ts'
import { checkQueryOptions, checkSavepointOptions } from './transaction-option.ts'

const ignore = (): void => undefined

/** Something that is read piece by piece while its statement runs. */
type ReadOnConnection<T> = (
  connection: PoolConnection,
  signal: AbortSignal | undefined,
) => AsyncGenerator<T, void, undefined>

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
  #turn: { end(): void } | undefined

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

  async copyIn(text: string, source: CopySource, options: CopyOptions = {}): Promise<CopyInResult> {
    const child = this.#innerLevel()
    if (child !== undefined) return child.copyIn(text, source, options)
    this.#checkUsable(options)
    return this.#enqueue(() =>
      this.#running(
        (connection, signal) => runCopyIn(connection, text, source, { ...options, signal, undone: true }),
        options,
      ),
    )
  }

  async queryColumns(statement: Statement, options: ColumnQueryOptions = {}): Promise<ColumnResult> {
    const child = this.#innerLevel()
    if (child !== undefined) return child.queryColumns(statement, options)
    this.#checkUsable(options)
    const request = { text: statement.text, values: bindValues(statement.values) }
    return this.#enqueue(() =>
      this.#running(
        (connection, signal) =>
          readColumns(connection, request, options, { timeoutMs: options.timeoutMs, signal, undone: true }),
        options,
      ),
    )
  }

  /** Until the loop over it ends, other statements of the transaction are refused: they would wait for its end. */
  streamColumns(statement: Statement, options: ColumnStreamOptions = {}): ResultStream<ColumnChunk> {
    return this.#stream(statement, columnTarget(options), options)
  }

  /** Until the loop over it ends, other statements of the transaction are refused: they would wait for its end. */
  streamRows<R extends object = Row>(statement: Statement, options: QueryOptions = {}): ResultStream<R> {
    return this.#stream(statement, rowTarget<R>(options), options)
  }

  /** Until the loop over it ends, other statements of the transaction are refused: they would wait for its end. */
  async *copyOut(text: string, options: CopyOptions = {}): AsyncGenerator<Buffer, void, undefined> {
    yield* this.#read(options, (connection, signal) =>
      runCopyOut(connection, text, { ...options, signal, undone: true }),
    )
  }

  #stream<T>(
    statement: Statement,
    makeTarget: MakeTarget<readonly T[]>,
    { signal: given, timeoutMs }: InterruptOptions,
  ): ResultStream<T> {
    const request = { text: statement.text, values: bindValues(statement.values) }
    return new ResultStream<T>(
      (stop) =>
        this.#read({ signal: stop.signal, timeoutMs }, (connection, signal) => {
          const options = { signal, timeoutMs, undone: true, cancellable: true }
          return runStream(connection, request, makeTarget, stop, options)
        }),
      given,
    )
  }

  /** Waits for its turn and holds the transaction until all was read. */
  async *#read<T>(options: InterruptOptions, run: ReadOnConnection<T>): AsyncGenerator<T, void, undefined> {
    const child = this.#innerLevel()
    if (child !== undefined) {
      yield* child.#read(options, run)
      return
    }
    this.#checkUsable(options)
    const turn = await this.#takeTurn()
    this.#turn = turn
    try {
      yield* this.#readBehindSavepoint(options, run)
    } finally {
      this.#turn = undefined
      turn.end()
    }
  }

  async *#readBehindSavepoint<T>(
    options: InterruptOptions,
    run: ReadOnConnection<T>,
  ): AsyncGenerator<T, void, undefined> {
    const trunk = this.#trunk
    const signal = this.#mayRun(options)
    const name = `tsdbkit_${++trunk.savepoints}`
    // A reader that leaves early has the statement cancelled, which would abort the whole transaction.
    await this.#command(`SAVEPOINT ${name}`)
    if (!this.#level.open) throw this.#leftOpen()
    trunk.running++
    trunk.reading = true
    let left = true
    try {
      yield* run(trunk.connection, signal)
      left = false
    } catch (error) {
      left = options.signal?.reason === leftEarly
      if (!left) this.#note(error)
      throw error
    } finally {
      // Else the function ended before this reader, and the connection may serve another by now.
      if (this.#turn !== undefined) {
        this.#endTrunkReading()
        // Also after an error of this side, for which the statement was cancelled.
        const aborted = trunk.connection.transactionStatus === 'E' && this.failure === undefined
        if (left || aborted) await this.#rollbackTo(name, undefined)
        else if (this.failure === undefined) await this.#command(`RELEASE SAVEPOINT ${name}`)
      }
    }
  }

  #endTrunkReading(): void {
    if (!this.#trunk.reading) return
    this.#trunk.reading = false
    this.#trunk.running--
    this.#trunk.lastEnd = performance.now()
  }

  /** Ends a COPY or stream whose reader stopped without leaving its loop. */
  async #endReading(): Promise<void> {
    const turn = this.#turn
    if (turn === undefined) return
    this.#turn = undefined
    this.#leftOpen()
    await this.#trunk.connection.cancelRunning()
    this.#endTrunkReading()
    turn.end()
  }

  /** Fails the transaction because its function ended before a loop of it did. */
  #leftOpen(): QueryError | ConnectionError {
    this.failure ??= leftOpen()
    return this.failure
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
      await this.#endReading()
      await this.#tail
      this.#checkWhole()
      return value
    } catch (error) {
      this.#level.open = false
      this.#doom()
      // What the function left running is of no use any more.
      if (this.#trunk.running > 0) await this.#trunk.connection.cancelRunning()
      await this.#endReading()
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
    options: InterruptOptions,
  ): Promise<T> {
    const trunk = this.#trunk
    const signal = this.#mayRun(options)
    trunk.running++
    try {
      const result = await run(trunk.connection, signal)
      if (trunk.connection.transactionStatus === 'I') trunk.endedByStatement = true
      if (trunk.connection.transactionStatus === 'T') this.failure = undefined
      return result
    } catch (error) {
      this.#note(error)
      throw error
    } finally {
      trunk.running--
      trunk.lastEnd = performance.now()
    }
  }

  /** @returns what may interrupt the statement whose turn has come */
  #mayRun(options: InterruptOptions): AbortSignal | undefined {
    const signal = anySignal(this.#signal, options.signal)
    if (signal?.aborted) throw cancelledError(signal)
    if (this.#doomed) throw closedError()
    if (this.#trunk.endedByStatement) throw endedError()
    return signal
  }

  #note(error: unknown): void {
    if (error instanceof QueryError || error instanceof ConnectionError) this.failure ??= error
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

  /** Waits for the calls before it and holds those after it back until `end`. */
  #takeTurn(): Promise<{ end(): void }> {
    return new Promise((resolve, reject) => {
      this.#enqueue(() => new Promise<void>((end) => resolve({ end }))).catch(reject)
    })
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

  #checkUsable(options: InterruptOptions): void {
    if (!this.#level.open) throw closedError()
    if (this.#trunk.reading) throw readingError()
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
