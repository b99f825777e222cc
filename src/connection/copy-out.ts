import { UsageError } from '../errors.ts'
import type { PoolConnection, RunOptions } from './pool-connection.ts'
import type { Notice } from './session.ts'
import type { WireConnection, WireQuery } from './statement-query.ts'

/** Rows are joined into blocks of this size: one by one, each would cost a promise. */
const blockBytes = 64 * 1024
/** Blocks kept for a slow reader before the socket is paused. */
const maxBlocks = 4

/**
 * COPY … TO STDOUT in the extended protocol: its bytes, in blocks that may be cut anywhere, as the reader takes them.
 * The server is held back by pausing the socket.
 */
export class CopyOutQuery implements WireQuery {
  sent = false
  settled = false
  failure: unknown
  readonly boundValues: readonly never[] = []
  readonly #text: string
  readonly #done: (error: unknown, result: true | undefined) => void
  #connection: WireConnection | undefined
  #blocks: Buffer[] = []
  #block: Buffer = Buffer.alloc(0)
  #used = 0
  #copying = false
  #paused = false
  #discarding = false
  #ended = false
  #wake: (() => void) | undefined

  /** @param done - called once, with the driver's error or when all data has been sent */
  constructor(text: string, done: (error: unknown, result: true | undefined) => void) {
    this.#text = text
    this.#done = done
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('The connection was closed')
    this.sent = true
    this.#connection = connection
    connection.stream.cork()
    connection.parse({ name: '', text: this.#text, types: [] }, true)
    connection.bind({ values: [] }, true)
    connection.execute(null, true)
    connection.sync()
    connection.stream.uncork()
    return null
  }

  /** Reads on and throws away, so that the server's last word can come. */
  interrupt(): void {
    this.#discarding = true
    this.#blocks = []
    this.#used = 0
    this.#resume()
  }

  /** The next block; undefined at the end, where the outcome says whether it is that of the data. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const block = this.#blocks.shift() ?? (this.#ended || this.#idle ? this.#takeRest() : undefined)
      if (this.#blocks.length < maxBlocks) this.#resume()
      if (block !== undefined) return block
      if (this.#ended) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
  }

  handleCopyData(message: { readonly chunk: Buffer }): void {
    this.#copying = true
    if (this.#discarding) return
    const { chunk } = message
    // The driver's parser uses its buffer again, so bytes to keep must be copied.
    if (chunk.length > this.#block.length - this.#used) {
      this.#push()
      this.#block = Buffer.allocUnsafe(Math.max(blockBytes, chunk.length))
    }
    this.#used += chunk.copy(this.#block, this.#used)
    this.#wake?.()
  }

  handleNotice(_notice: Notice): void {}

  handleRowDescription(): void {}

  handleDataRow(): void {
    this.failure ??= notCopyOut()
  }

  handlePortalSuspended(): void {}

  handleEmptyQuery(): void {
    this.failure ??= notCopyOut()
  }

  handleCopyInResponse(connection: WireConnection): void {
    this.failure = notCopyOut()
    connection.sendCopyFail?.('COPY FROM STDIN needs copyIn')
    // The server ignored the first Sync, which came in copy mode.
    connection.sync()
  }

  handleCommandComplete(message: { readonly text: string }): void {
    if (!this.#copying && !message.text.startsWith('COPY')) this.failure ??= notCopyOut()
  }

  handleError(error: unknown): void {
    this.#settle(this.failure ?? error)
  }

  handleReadyForQuery(): void {
    this.#settle(this.failure)
  }

  /** A reader that has taken all blocks need not wait for a full one. */
  get #idle(): boolean {
    return this.#used > 0 && this.#blocks.length === 0
  }

  #push(): void {
    const block = this.#takeRest()
    if (block === undefined) return
    this.#blocks.push(block)
    const stream = this.#connection?.stream
    if (this.#blocks.length >= maxBlocks && stream !== undefined && !this.#paused) {
      this.#paused = true
      stream.pause()
    }
  }

  #takeRest(): Buffer | undefined {
    if (this.#used === 0) return undefined
    const block = this.#block.subarray(0, this.#used)
    this.#block = this.#block.subarray(this.#used)
    this.#used = 0
    return block
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#connection?.stream.resume()
  }

  #settle(error: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#resume()
    this.#ended = true
    this.#wake?.()
    this.#done(error, error === undefined ? true : undefined)
  }
}

/** Runs a COPY TO on a connection and gives its bytes; a reader that leaves early has it cancelled on the server. */
export async function* runCopyOut(
  connection: PoolConnection,
  text: string,
  options: RunOptions,
): AsyncGenerator<Buffer, void, undefined> {
  let query: CopyOutQuery | undefined
  const outcome = connection.submit<true>((done) => {
    query = new CopyOutQuery(text, done)
    return query
  }, options)
  // Looked at below, which may be after it has failed.
  outcome.catch(() => undefined)
  let left = true
  try {
    for (let block = await query?.next(); block !== undefined; block = await query?.next()) yield block
    left = false
  } finally {
    if (left) {
      await connection.cancelRunning()
      // That it was cancelled; the reader, who left, has no use for it.
      await outcome.catch(() => undefined)
    }
  }
  await outcome
}

function notCopyOut(): UsageError {
  return new UsageError('INVALID_VALUE', 'The statement is no COPY … TO STDOUT', {
    hint: 'Use executeQuery for other statements, copyIn for COPY … FROM STDIN.',
  })
}
