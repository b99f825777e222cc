import type { Duplex } from 'node:stream'
import type { PoolConnection, RunOptions } from './pool-connection.ts'
import type { ResultRequest, RowTarget } from './result-query.ts'

/** Batches kept for a slow reader before the socket is paused: one is read while the next one comes. */
const keptBatches = 2

/** What lies between the rows that come and a reader that takes them: the socket is paused while enough is there. */
class Flow<T> {
  readonly #stream: Duplex
  #batches: T[] = []
  #paused = false
  #open = true
  #wake: (() => void) | undefined

  constructor(stream: Duplex) {
    this.#stream = stream
  }

  readonly push = (batch: T): void => {
    if (!this.#open) return
    this.#batches.push(batch)
    if (this.#batches.length >= keptBatches && !this.#paused) {
      this.#paused = true
      this.#stream.pause()
    }
    this.#wake?.()
  }

  /** The next batch; undefined at the end. */
  async next(): Promise<T | undefined> {
    while (this.#batches.length === 0 && this.#open) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#wake = undefined
    const batch = this.#batches.shift()
    if (this.#batches.length < keptBatches) this.#resume()
    return batch
  }

  /** Nothing more comes. */
  readonly end = (): void => {
    this.#open = false
    this.#resume()
    this.#wake?.()
  }

  /** What has come and comes is of no use any more; it must still be read, for the server's last word to come. */
  readonly drop = (): void => {
    this.#batches = []
    this.end()
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#stream.resume()
  }
}

/** Why a statement is ended whose reader does not want the rest. */
export const leftEarly: unique symbol = Symbol('left early')

/** Makes the target of a stream: `push` takes what was read, `drop` is to be called when the server is interrupted. */
export type MakeTarget<T> = (push: (batch: T) => void, drop: () => void) => RowTarget

/**
 * Runs a statement on a connection and gives its batches as the reader takes them. A reader that leaves early has the
 * statement cancelled through `stop`; it has ended when this generator has.
 */
export async function* runStream<T>(
  connection: PoolConnection,
  request: Pick<ResultRequest, 'text' | 'values'>,
  makeTarget: MakeTarget<T>,
  stop: AbortController,
  options: RunOptions,
): AsyncGenerator<T, void, undefined> {
  const flow = new Flow<T>(connection.stream)
  const makeOne = (): RowTarget => makeTarget(flow.push, flow.drop)
  const outcome = connection.runResult(request, makeOne, { signal: stop.signal, ...options })
  outcome.then(flow.end, flow.end)
  let left = true
  try {
    for (let batch = await flow.next(); batch !== undefined; batch = await flow.next()) yield batch
    left = false
  } finally {
    if (left) {
      stop.abort(leftEarly)
      // That it was cancelled; the reader, who left, has no use for it.
      await outcome.catch(() => undefined)
    }
  }
  await outcome
}

/** Opens what a {@link ResultStream} reads, when its first item is asked for. */
export type OpenStream<T> = (stop: AbortController) => AsyncGenerator<readonly T[], void, undefined>

/**
 * The items of a result, one by one, to be read once. Nothing is sent before the first is asked for. Leaving the loop
 * early, `return()`, ends the statement on the server; it resolves when that has happened and the connection is free.
 */
export class ResultStream<T> implements AsyncIterableIterator<T> {
  readonly #open: OpenStream<T>
  readonly #signal: AbortSignal | undefined
  readonly #stop = new AbortController()
  #source: AsyncGenerator<readonly T[], void, undefined> | undefined
  #items: readonly T[] = []
  #at = 0
  #ended = false
  /** The call that waits for the source, so that several do so one after another. */
  #waiting: Promise<unknown> | undefined

  constructor(open: OpenStream<T>, signal: AbortSignal | undefined) {
    this.#open = open
    this.#signal = signal
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const item = this.#items[this.#at]
    if (item !== undefined && this.#waiting === undefined) {
      this.#at++
      return Promise.resolve({ done: false, value: item })
    }
    const next = (this.#waiting ?? Promise.resolve()).then(() => this.#advance())
    const waited = next.then(ignore, ignore).then(() => {
      if (this.#waiting === waited) this.#waiting = undefined
    })
    this.#waiting = waited
    return next
  }

  async return(): Promise<IteratorResult<T, undefined>> {
    const waiting = this.#waiting
    this.#end()
    if (waiting !== undefined) this.#stop.abort(leftEarly)
    await this.#source?.return()
    return { done: true, value: undefined }
  }

  async throw(error?: unknown): Promise<IteratorResult<T, undefined>> {
    await this.return()
    throw error
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return()
  }

  async #advance(): Promise<IteratorResult<T, undefined>> {
    if (!this.#ended) this.#start()
    while (!this.#ended) {
      const item = this.#items[this.#at]
      if (item !== undefined) {
        this.#at++
        return { done: false, value: item }
      }
      try {
        const next = await this.#source?.next()
        if (this.#ended) break
        this.#at = 0
        if (next === undefined || next.done === true) this.#end()
        else this.#items = next.value
      } catch (error) {
        // The statement that return() ended.
        if (this.#ended) break
        this.#end()
        throw error
      }
    }
    return { done: true, value: undefined }
  }

  #start(): void {
    if (this.#source !== undefined) return
    if (this.#signal?.aborted) this.#onAbort()
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#source = this.#open(this.#stop)
  }

  #end(): void {
    this.#ended = true
    this.#items = []
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => this.#stop.abort(this.#signal?.reason)
}

const ignore = (): void => undefined
