import type { Duplex } from 'node:stream'
import { ConnectionError, type TimescaleError } from '../errors.ts'
import { type ArrayElement, arrayTypesText } from '../wire/array-type.ts'
import type { BoundValue } from '../wire/bind-value.ts'
import type { TextTypeOptions } from '../wire/text-type.ts'
import {
  type CancelTarget,
  type Interruptible,
  Interruption,
  type InterruptOptions,
  sendCancelRequest,
} from './cancel.ts'
import { ResultQuery, type ResultRequest, type ResultSummary, type RowTarget } from './result-query.ts'
import { cancelledError, databaseError } from './server-error.ts'
import type { Notice, NoticeOptions, QueryResult } from './session.ts'
import { StatementQuery, SyncQuery, type WireQuery } from './statement-query.ts'

/** What is used of the driver's client. */
export interface DriverClient {
  readonly stream: Duplex
  readonly transactionStatus: 'I' | 'T' | 'E' | null
  query(query: WireQuery): void
  release(destroy: boolean): void
  cancelTarget(): CancelTarget
}

/** How one statement runs on a connection. */
export interface RunOptions extends InterruptOptions {
  /** True inside a transaction that has not begun to commit: losing the connection undoes the statement. */
  readonly undone?: boolean
  /** False where a cancel does harm: a transaction without a savepoint around the statement. Default: not `undone`. */
  readonly cancellable?: boolean
}

/** A query that needs to know types. */
type TypeUser = Pick<ResultQuery, 'types' | 'unknownTypes'>

/** Makes what the driver runs; it calls `done` once, with the driver's error or the result. */
export type CreateQuery<T> = (done: (error: unknown, result: T | undefined) => void) => WireQuery

/** One connection of the pool, checked out by one user at a time. It lives as long as the driver's client. */
export class PoolConnection implements Interruptible {
  /** Why the connection cannot be used any more. */
  lost: Error | undefined
  /** `performance.now()` of when its last user gave it back. */
  idleSince = 0
  /** Whether the last statement may have reached the server. */
  sent = false
  /** The server-side limit of statements on this connection, as far as it is known. */
  statementTimeoutMs: number
  readonly #client: DriverClient
  readonly #target: string
  #active: WireQuery | undefined
  #onIdle: (() => void)[] = []

  constructor(client: DriverClient, target: string, statementTimeoutMs: number) {
    this.#client = client
    this.#target = target
    this.statementTimeoutMs = statementTimeoutMs
  }

  get stream(): Duplex {
    return this.#client.stream
  }

  /** The server's word: idle, in a transaction, in a failed one; null before the first answer. */
  get transactionStatus(): 'I' | 'T' | 'E' | null {
    return this.#client.transactionStatus
  }

  cancelTarget(): CancelTarget {
    return this.#client.cancelTarget()
  }

  destroy(): void {
    this.lost ??= new Error('The connection was given up')
    this.#client.stream.destroy()
  }

  /** Cancels what runs and closes the connection: closing alone would leave the server working. */
  abandon(): void {
    const destroy = (): void => this.destroy()
    sendCancelRequest(this.cancelTarget(), 1000).then(destroy, destroy)
  }

  interrupted(): void {
    this.#active?.interrupt?.()
  }

  handleNotice(notice: Notice): void {
    this.#active?.handleNotice(notice)
  }

  /** Runs one statement; at most one at a time. @throws QueryError, ConnectionError */
  async run<R extends object>(
    text: string,
    values: BoundValue[],
    options: RunOptions & TextTypeOptions & NoticeOptions = {},
  ): Promise<QueryResult<R>> {
    if (settingPattern.test(text)) this.statementTimeoutMs = Number.POSITIVE_INFINITY
    let query: StatementQuery<R> | undefined
    const result = await this.submit<QueryResult<R>>((done) => {
      query = new StatementQuery<R>(text, values, options, done)
      return query
    }, options)
    if (query !== undefined && query.unknownTypes.length > 0) {
      await this.#lookUp(query)
      query.readArrays()
    }
    return result
  }

  /** Asks what the database's own types are. Not under the limits of the statement that they are for, which has run. */
  async #lookUp({ types, unknownTypes: typeIds = [] }: TypeUser): Promise<void> {
    const values = [`{${typeIds.join(',')}}`]
    try {
      const { rows } = await this.submit<QueryResult<ArrayElement & { readonly id: number }>>(
        (done) => new StatementQuery(arrayTypesText, values, {}, done),
        {},
      )
      types?.learn(typeIds, rows)
    } finally {
      // It comes second: what was sent before it must not be repeated on another connection.
      this.sent = true
    }
  }

  /** Runs one statement whose rows go to a target; it may be made twice, before any row. */
  async runResult(
    request: Pick<ResultRequest, 'text' | 'values'>,
    makeTarget: () => RowTarget,
    options: RunOptions,
  ): Promise<ResultSummary> {
    if (settingPattern.test(request.text)) this.statementTimeoutMs = Number.POSITIVE_INFINITY
    const { undone = false, cancellable = !undone, signal } = options
    let again = false
    for (;;) {
      const inTransaction = this.transactionStatus === 'T'
      let query: ResultQuery | undefined
      let cancelling: Promise<void> | undefined
      const onFailure = (): void => {
        if (cancellable) cancelling ??= this.cancelRunning()
      }
      const create: CreateQuery<ResultSummary> = (done) => {
        query = new ResultQuery({ ...request, target: makeTarget(), inTransaction }, done, onFailure)
        return query
      }
      try {
        return await this.submit(create, options)
      } catch (error) {
        await cancelling
        if (query?.unknownTypes !== undefined) {
          await this.#lookUp(query)
          continue
        }
        if (again || inTransaction || query?.outdated !== true || signal?.aborted) throw error
        again = true
      }
    }
  }

  /** Runs anything the driver can run, under the same rules. */
  async submit<T>(create: CreateQuery<T>, options: RunOptions): Promise<T> {
    const { signal, timeoutMs } = options
    // While the connection was looked at, nobody listened.
    if (signal?.aborted) throw cancelledError(signal)
    const limited = signal !== undefined || timeoutMs !== undefined
    const interruption = limited ? new Interruption(this, options) : undefined
    let query: WireQuery | undefined
    try {
      return await this.#submit<T>((done) => {
        query = create(done)
        return query
      })
    } catch (error) {
      if (query?.failure !== undefined) throw query.failure
      // Made here, in the caller's asynchronous stack, and not where the socket was read.
      throw this.#failure(error, query?.boundValues, options, interruption?.reason)
    } finally {
      if (interruption !== undefined) await this.#calmDown(interruption)
    }
  }

  /** Cancels what runs, if anything, and resolves when it has ended. */
  async cancelRunning(): Promise<void> {
    if (this.#active === undefined) return
    const ended = new Promise<void>((resolve) => {
      this.#onIdle.push(resolve)
    })
    const interruption = new Interruption(this, {})
    interruption.interrupt('signal')
    await ended
    await this.#calmDown(interruption)
  }

  /** Whether the server still answers, found out with one empty trip of at most `limitMs`. */
  async check(limitMs: number): Promise<boolean> {
    if (this.lost !== undefined) return false
    const timer = setTimeout(() => this.destroy(), limitMs)
    try {
      await this.#submit<true>((done) => new SyncQuery((error) => done(error, error === undefined ? true : undefined)))
      return this.lost === undefined
    } catch {
      return false
    } finally {
      clearTimeout(timer)
    }
  }

  /** Gives the connection back; a lost one, or one with `destroy`, is closed. */
  release(destroy = false): void {
    this.#client.release(destroy || this.lost !== undefined)
  }

  #submit<T>(create: CreateQuery<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const query = create((error, result) => {
        this.sent = query.sent
        this.#active = undefined
        for (const wake of this.#onIdle.splice(0)) wake()
        if (result === undefined) reject(error)
        else resolve(result)
      })
      this.#active = query
      this.#client.query(query)
    })
  }

  /** After a cancel: wait until no request is under way, then make one empty trip that a late one can hit instead. */
  async #calmDown(interruption: Interruption): Promise<void> {
    await interruption.finish()
    if (interruption.reason !== undefined) await this.check(5000)
  }

  #failure(
    error: unknown,
    values: readonly BoundValue[] | undefined,
    options: RunOptions,
    interrupted: 'signal' | 'timeout' | undefined,
  ): TimescaleError {
    const cause = this.lost !== undefined && !(error instanceof Error && 'severity' in error) ? this.lost : error
    const failure = databaseError(cause, {
      target: this.#target,
      phase: 'statement',
      interrupted,
      limitMs: options.timeoutMs,
      timeoutMs: this.statementTimeoutMs,
      values,
      undone: options.undone,
    })
    if (failure instanceof ConnectionError && failure.code === 'CONNECTION_LOST') this.lost ??= failure
    return failure
  }
}

/** A statement that may set a limit of its own: from then on 57014 without a cancel means that time ran out. */
const settingPattern = /statement_timeout/i
