import { setTimeout as wait } from 'node:timers/promises'
import { QueryError, UsageError } from '../errors.ts'
import type { Statement } from '../sql/template.ts'
import { bindValues } from '../wire/bind-value.ts'
import type { InterruptOptions } from './cancel.ts'
import type { ColumnChunk } from './column-rows.ts'
import { type CopyInResult, type CopySource, runCopyIn } from './copy-in.ts'
import { runCopyOut } from './copy-out.ts'
import type { PoolConnection } from './pool-connection.ts'
import type { PoolOptions } from './pool-option.ts'
import { columnTarget, readColumns, rowTarget } from './result-reading.ts'
import { type MakeTarget, ResultStream, runStream } from './result-stream.ts'
import { cancelledError, isSerializationFailure } from './server-error.ts'
import type {
  ColumnQueryOptions,
  ColumnResult,
  ColumnStreamOptions,
  CopyOptions,
  NoticeOptions,
  QueryOptions,
  QueryResult,
  Row,
  Session,
  TransactionOptions,
} from './session.ts'
import { currentTransaction } from './transaction-context.ts'
import { beginText, checkQueryOptions } from './transaction-option.ts'
import { TransactionSession } from './transaction-session.ts'

/** Where a session's connections come from. */
export interface ConnectionSource {
  readonly options: PoolOptions
  /** The most connections there can be; undefined where it is only one. */
  readonly size?: number
  /** Set where there is one connection, on which a transaction may stay open: the server's word of it. */
  readonly heldStatus?: 'I' | 'T' | 'E'
  /** `reading`: it is given back only when a loop ends. */
  acquire(signal?: AbortSignal, hint?: string, reading?: boolean): Promise<PoolConnection>
  release(connection: PoolConnection): void
}

/** A whole database: each statement and each transaction takes a free connection of the pool. */
export class DatabaseSession implements Session {
  readonly database: object
  readonly #pool: ConnectionSource

  /** @param database - the key of caches and of open transactions; default the session itself */
  constructor(pool: ConnectionSource, database?: object) {
    this.#pool = pool
    this.database = database ?? this
  }

  /** True between BEGIN and COMMIT on a connection that is held. */
  get inTransaction(): boolean {
    return (this.#pool.heldStatus ?? 'I') !== 'I'
  }

  get isHeld(): boolean {
    return this.#pool.heldStatus !== undefined
  }

  get connections(): number {
    return this.#pool.size ?? 1
  }

  /**
   * Runs one statement. It is repeated on another connection only when it was surely never sent.
   * When a signal or time-out comes too late and the statement has succeeded, its result is returned.
   *
   * @throws QueryError, ConnectionError, UsageError CLOSED, INVALID_VALUE, INVALID_OPTION
   */
  async query<R extends object = Row>(
    statement: Statement,
    options: QueryOptions & NoticeOptions = {},
  ): Promise<QueryResult<R>> {
    checkQueryOptions(options)
    const values = bindValues(statement.values)
    return this.#onConnection((connection) => connection.run<R>(statement.text, values, options), options.signal)
  }

  /** @throws as {@link query} */
  async queryColumns(statement: Statement, options: ColumnQueryOptions = {}): Promise<ColumnResult> {
    checkQueryOptions(options)
    const request = { text: statement.text, values: bindValues(statement.values) }
    return this.#onConnection((connection) => readColumns(connection, request, options, options), options.signal)
  }

  /** A connection is taken when the first batch is asked for, and given back at the end of the loop. */
  streamColumns(statement: Statement, options: ColumnStreamOptions = {}): ResultStream<ColumnChunk> {
    return this.#stream(statement, columnTarget(options), options)
  }

  /** A connection is taken when the first row is asked for, and given back at the end of the loop. */
  streamRows<R extends object = Row>(statement: Statement, options: QueryOptions = {}): ResultStream<R> {
    return this.#stream(statement, rowTarget<R>(options), options)
  }

  /** @throws QueryError whose message names the line; what `source` throws; ConnectionError */
  async copyIn(text: string, source: CopySource, options: CopyOptions = {}): Promise<CopyInResult> {
    checkQueryOptions(options)
    return this.#onConnection((connection) => runCopyIn(connection, text, source, options), options.signal)
  }

  /** @throws QueryError, ConnectionError */
  async *copyOut(text: string, options: CopyOptions = {}): AsyncGenerator<Buffer, void, undefined> {
    checkQueryOptions(options)
    const { signal } = options
    if (signal?.aborted) throw cancelledError(signal)
    const connection = await this.#acquire(signal, true)
    try {
      yield* runCopyOut(connection, text, options)
    } catch (error) {
      throw await this.#explain(connection, error, signal)
    } finally {
      this.#pool.release(connection)
    }
  }

  #stream<T>(
    statement: Statement,
    makeTarget: MakeTarget<readonly T[]>,
    { signal, timeoutMs }: InterruptOptions,
  ): ResultStream<T> {
    const request = { text: statement.text, values: bindValues(statement.values) }
    const run = (connection: PoolConnection, stop: AbortController): AsyncGenerator<readonly T[], void, undefined> =>
      runStream(connection, request, makeTarget, stop, { timeoutMs })
    return new ResultStream<T>((stop) => this.#read(stop, (connection) => run(connection, stop)), signal)
  }

  /** Reads on a connection of its own, from another one when the statement was surely never sent. */
  async *#read<T>(
    stop: AbortController,
    run: (connection: PoolConnection) => AsyncGenerator<T, void, undefined>,
  ): AsyncGenerator<T, void, undefined> {
    const { signal } = stop
    for (;;) {
      if (signal.aborted) throw cancelledError(signal)
      const connection = await this.#acquire(signal, true)
      try {
        yield* run(connection)
        this.#checkEnded(connection)
        return
      } catch (error) {
        if (!neverSent(connection)) throw await this.#explain(connection, error, signal)
      } finally {
        this.#pool.release(connection)
      }
    }
  }

  /** Runs one thing on a free connection; again on another one when it was surely never sent. */
  async #onConnection<T>(run: (connection: PoolConnection) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    if (signal?.aborted) throw cancelledError(signal)
    for (;;) {
      const connection = await this.#acquire(signal)
      try {
        const result = await run(connection)
        this.#checkEnded(connection)
        this.#pool.release(connection)
        return result
      } catch (error) {
        const explained = await this.#explain(connection, error, signal)
        this.#pool.release(connection)
        if (!neverSent(connection)) throw explained
      }
    }
  }

  /**
   * Runs `run` in a transaction: committed when it returns, rolled back when it throws. A statement that failed and was
   * not rolled back to a savepoint makes the whole fail, also when `run` caught its error.
   *
   * @throws what `run` throws; QueryError, ConnectionError (CONNECTION_LOST during COMMIT: the outcome is unknown)
   */
  async transaction<T>(run: (session: Session) => Promise<T>, options: TransactionOptions = {}): Promise<T> {
    const begin = beginText(options)
    if (this.inTransaction) throw openError()
    const { signal, retries = 0 } = options
    for (let attempt = 0; ; attempt++) {
      if (signal?.aborted) throw cancelledError(signal)
      const connection = await this.#begin(begin, signal)
      const session = new TransactionSession(this.database, connection, signal)
      try {
        return await this.#finish(connection, session, run)
      } catch (error) {
        const again = isSerializationFailure(error) || isSerializationFailure(session.failure)
        if (!again || attempt >= retries) throw error
      }
      await backOff(attempt, signal)
    }
  }

  /** Makes one trip to the server and back; resolves to its milliseconds. @throws ConnectionError */
  async ping(options: QueryOptions = {}): Promise<number> {
    const start = performance.now()
    await this.query({ text: 'select 1', values: [] }, options)
    return performance.now() - start
  }

  /** A free connection, after the hook had its say. */
  #acquire(signal: AbortSignal | undefined, reading = false): Promise<PoolConnection> {
    const outer = currentTransaction(this.database)
    const acquired = this.#pool.acquire(signal, outer?.open === true ? insideHint : undefined, reading)
    const { beforeQuery } = this.#pool.options
    if (beforeQuery === undefined) return acquired
    return acquired.then((connection) => {
      try {
        beforeQuery({ outer, connection: connection.stream })
      } catch (error) {
        this.#pool.release(connection)
        throw error
      }
      return connection
    })
  }

  async #explain(connection: PoolConnection, error: unknown, signal: AbortSignal | undefined): Promise<unknown> {
    // An error comes before the word of what it did to the transaction; one empty trip brings that.
    if (this.#pool.heldStatus !== undefined) await connection.check(checkLimitMs)
    return explain(connection, error, signal)
  }

  /** @throws UsageError INVALID_VALUE for a transaction that nobody would end */
  #checkEnded(connection: PoolConnection): void {
    if (connection.transactionStatus === 'I' || this.#pool.heldStatus !== undefined) return
    connection.destroy()
    throw new UsageError('INVALID_VALUE', 'The statement left a transaction open, which was rolled back', {
      hint: 'Use transaction() instead of BEGIN.',
    })
  }

  /** A connection on which BEGIN has succeeded. */
  async #begin(text: string, signal: AbortSignal | undefined): Promise<PoolConnection> {
    for (;;) {
      const connection = await this.#acquire(signal)
      try {
        await connection.run(text, [], { undone: true })
        return connection
      } catch (error) {
        this.#pool.release(connection)
        if (!neverSent(connection)) throw error
      }
    }
  }

  async #finish<T>(
    connection: PoolConnection,
    session: TransactionSession,
    run: (session: Session) => Promise<T>,
  ): Promise<T> {
    try {
      const value = await session.use(run)
      const { command } = await connection.run('COMMIT', [])
      if (command !== 'COMMIT') throw abortedError()
      return value
    } catch (error) {
      // Also after a COMMIT that failed, where it does nothing but make sure.
      await rollback(connection)
      throw error
    } finally {
      this.#pool.release(connection)
    }
  }
}

const insideHint = 'This call waits inside a transaction of the same database: use the session passed to its function.'

/** The connection was found dead before a byte was written: the statement may be repeated on another one. */
function neverSent(connection: PoolConnection): boolean {
  return connection.lost !== undefined && !connection.sent
}

/** Tells a cancel by another session from a limit of the role or database, which only the server knows. */
async function explain(connection: PoolConnection, error: unknown, signal: AbortSignal | undefined): Promise<unknown> {
  if (!(error instanceof QueryError) || error.code !== 'QUERY_CANCELLED' || signal?.aborted) return error
  const limited = await connection.run<{ limit: string }>(limitText, []).then(
    ({ rows }) => rows[0]?.limit !== '0',
    () => false,
  )
  const { message, sqlState, cause } = error
  return limited ? new QueryError('STATEMENT_TIMEOUT', message, { sqlState, cause }) : error
}

const checkLimitMs = 5000

const limitText = `select current_setting('statement_timeout') as "limit"`

async function rollback(connection: PoolConnection): Promise<void> {
  if (connection.lost !== undefined) return
  try {
    await connection.run('ROLLBACK', [], { timeoutMs: 10_000 })
  } catch {
    // What the connection holds is unknown: it must not be used again. The caller throws the error that led here.
    connection.destroy()
  }
}

/** 10 ms, doubled each time up to 1 s, and by chance half to one and a half of it, so that two rivals part. */
async function backOff(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  const delay = Math.min(10 * 2 ** attempt, 1000) * (0.5 + Math.random())
  try {
    await wait(delay, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    if (signal?.aborted) throw cancelledError(signal)
    throw error
  }
}

function abortedError(): QueryError {
  return new QueryError('QUERY_FAILED', 'The server rolled the transaction back instead of committing it', {
    sqlState: '25P02',
  })
}

function openError(): UsageError {
  return new UsageError('INVALID_OPTION', 'A transaction is open on this connection already', {
    hint: 'End it with COMMIT or ROLLBACK first, or use SAVEPOINT.',
  })
}
