import type { Duplex } from 'node:stream'
import { UsageError } from '../errors.ts'
import { type BoundValue, bindValues } from '../wire/bind-value.ts'
import { tagCount, type WireConnection, type WireQuery } from './statement-query.ts'

/** Rows for one statement: the values of its parameters, one list per execution. */
export type BatchRows = Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>

/** Written at once; large enough that the cost of a write does not count. */
const chunkRows = 512
const chunkBytes = 64 * 1024
/** Executions sent and not yet answered. Bounds the memory; one network trip carries that many rows. */
const windowRows = 8192

/**
 * One statement, parsed once and executed for every row without waiting for answers: Parse, then Bind and Execute per
 * row, a Flush per chunk, one Sync at the end. It must run inside a transaction. Rows it returns are not kept.
 */
export class BatchQuery implements WireQuery {
  sent = false
  settled = false
  failure: unknown
  /** The row an error belongs to, counted from 0; undefined when it belongs to the statement or the connection. */
  failedRow: number | undefined
  /** Rows read so far. */
  rowCount = 0
  readonly #text: string
  readonly #rows: BatchRows
  readonly #done: (error: unknown, affected: number | undefined) => void
  /** Bound values of the rows under way, the oldest at `#head`: kept so that errors can hide them. */
  #pending: BoundValue[][] = []
  #head = 0
  #completed = 0
  #affected = 0
  #width: number | undefined
  #parsed = false
  #stopped = false
  #synced = false
  #wake: (() => void) | undefined

  /** @param done - called once with the driver's error, or the sum of the rows affected */
  constructor(text: string, rows: BatchRows, done: (error: unknown, affected: number | undefined) => void) {
    this.#text = text
    this.#rows = rows
    this.#done = done
  }

  get boundValues(): readonly BoundValue[] {
    return this.#pending[this.#head] ?? []
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('The connection was closed')
    this.sent = true
    connection.once('parseComplete', this.#onParsed)
    connection.stream.once('close', this.#stop)
    connection.parse({ name: '', text: this.#text, types: [] }, true)
    this.#pump(connection).then(
      () => this.#sync(connection),
      (error) => {
        this.failure ??= error
        this.#sync(connection)
      },
    )
    return null
  }

  handleRowDescription(): void {}

  handleDataRow(): void {}

  handleNotice(): void {}

  handlePortalSuspended(): void {}

  handleEmptyQuery(): void {
    this.#complete(0)
  }

  handleCommandComplete(message: { readonly text: string }): void {
    this.#complete(tagCount(message.text))
  }

  handleCopyInResponse(connection: WireConnection): void {
    connection.sendCopyFail?.('COPY FROM STDIN cannot run in a batch')
  }

  handleCopyData(): void {}

  handleError(error: unknown, connection: WireConnection): void {
    // A server error belongs to the first row without an answer: they are executed in order.
    if (this.#parsed && error instanceof Error && 'severity' in error) this.failedRow = this.#completed
    this.#stop()
    this.#sync(connection)
    this.#settle(connection, this.failure ?? error)
  }

  handleReadyForQuery(connection: WireConnection): void {
    this.#settle(connection, this.failure)
  }

  readonly #onParsed = (): void => {
    this.#parsed = true
  }

  readonly #stop = (): void => {
    this.#stopped = true
    this.#wake?.()
  }

  #settle(connection: WireConnection, error: unknown): void {
    if (this.settled) return
    this.settled = true
    connection.off('parseComplete', this.#onParsed)
    connection.stream.off('close', this.#stop)
    this.#done(error, error === undefined ? this.#affected : undefined)
  }

  #complete(affected: number): void {
    this.#affected += affected
    this.#completed++
    this.#head++
    if (this.#head === windowRows) {
      this.#pending = this.#pending.slice(this.#head)
      this.#head = 0
    }
    if (this.#pending.length - this.#head <= windowRows / 2) this.#wake?.()
  }

  /** Exactly one Sync ends the batch; nothing of it may be written afterwards. */
  #sync(connection: WireConnection): void {
    if (this.#synced) return
    this.#synced = true
    this.#stopped = true
    connection.sync()
  }

  async #pump(connection: WireConnection): Promise<void> {
    let chunk: BoundValue[][] = []
    let bytes = 0
    const add = (row: readonly unknown[]): boolean => {
      const values = this.#bind(row)
      chunk.push(values)
      for (const value of values) bytes += 8 + (value === null ? 0 : value.length)
      return chunk.length >= chunkRows || bytes >= chunkBytes
    }
    const send = async (): Promise<void> => {
      this.#write(connection, chunk)
      chunk = []
      bytes = 0
      await this.#room(connection.stream)
    }
    if (Symbol.asyncIterator in this.#rows) {
      for await (const row of this.#rows) {
        if (this.#stopped) return
        if (add(row)) await send()
      }
    } else {
      for (const row of this.#rows) {
        if (add(row)) await send()
        if (this.#stopped) return
      }
    }
    if (!this.#stopped) this.#write(connection, chunk)
  }

  #bind(row: readonly unknown[]): BoundValue[] {
    const index = this.rowCount
    try {
      if (!Array.isArray(row)) throw new UsageError('INVALID_VALUE', 'A row of a batch must be an array of values')
      this.#width ??= row.length
      if (row.length !== this.#width) {
        throw new UsageError('INVALID_VALUE', `A row has ${row.length} values, the first one ${this.#width}`)
      }
      const values = bindValues(row)
      this.rowCount++
      return values
    } catch (error) {
      this.failedRow = index
      throw error
    }
  }

  #write(connection: WireConnection, chunk: readonly BoundValue[][]): void {
    if (chunk.length === 0) return
    connection.stream.cork()
    for (const values of chunk) {
      this.#pending.push(values)
      connection.bind({ values }, true)
      connection.execute(null, true)
    }
    connection.flush()
    connection.stream.uncork()
  }

  /** Waits until the stream takes more and the window has room. */
  async #room(stream: Duplex): Promise<void> {
    while (!this.#stopped && (stream.writableNeedDrain || this.#pending.length - this.#head >= windowRows)) {
      const { promise, wake } = pause()
      this.#wake = wake
      stream.once('drain', wake)
      await promise
      stream.off('drain', wake)
      this.#wake = undefined
    }
  }
}

function pause(): { readonly promise: Promise<void>; readonly wake: () => void } {
  let wake = (): void => undefined
  const promise = new Promise<void>((resolve) => {
    wake = resolve
  })
  return { promise, wake }
}
