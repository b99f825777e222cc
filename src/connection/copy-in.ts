import type { Duplex } from 'node:stream'
import { QueryError, UsageError } from '../errors.ts'
import { HEADER_BYTES } from '../wire/message.ts'
import type { PoolConnection, RunOptions } from './pool-connection.ts'
import type { Notice } from './session.ts'
import { tagCount, type WireConnection, type WireQuery } from './statement-query.ts'

/** The bytes of a COPY, cut anywhere. */
export type CopySource = Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** What a COPY FROM did. */
export interface CopyInResult {
  /** Rows the server took in. */
  readonly rowCount: number
  /** Bytes sent to it. */
  readonly byteCount: number
  readonly notices: readonly Notice[]
}

/**
 * COPY … FROM STDIN in the extended protocol ("COPY Operations" in the manual's chapter "Frontend/Backend Protocol"):
 * CopyData as fast as the server takes it, then CopyDone, or CopyFail when the source fails or the call is interrupted,
 * and exactly one Sync, until which the server ignores what was under way when it refused a row.
 */
export class CopyInQuery implements WireQuery {
  sent = false
  settled = false
  failure: unknown
  /** Nothing is bound, but the data's values must be kept out of errors just so. */
  readonly boundValues: readonly null[] = [null]
  readonly #text: string
  readonly #source: CopySource
  readonly #done: (error: unknown, result: CopyInResult | undefined) => void
  #notices: Notice[] = []
  #tag = ''
  #byteCount = 0
  #block: Buffer = Buffer.alloc(0)
  #used = 0
  #copying = false
  #interrupted = false
  #stopped = false
  #synced = false
  #connection: WireConnection | undefined
  #wake: (() => void) | undefined
  #closeSource: (() => void) | undefined

  /** @param done - called once, with the driver's error or the result */
  constructor(text: string, source: CopySource, done: (error: unknown, result: CopyInResult | undefined) => void) {
    this.#text = text
    this.#source = source
    this.#done = done
  }

  submit(connection: WireConnection): Error | null {
    if (!connection.stream.writable) return new Error('The connection was closed')
    this.sent = true
    this.#connection = connection
    connection.stream.once('close', this.#stop)
    connection.stream.cork()
    connection.parse({ name: '', text: this.#text, types: [] }, true)
    connection.bind({ values: [] }, true)
    connection.execute(null, true)
    connection.flush()
    connection.stream.uncork()
    return null
  }

  /** Ends the data with CopyFail: a server that waits for more of it does not look at a CancelRequest. */
  interrupt(): void {
    this.#interrupted = true
    if (this.#copying) this.#end(interruptReason)
  }

  handleCopyInResponse(connection: WireConnection): void {
    this.#copying = true
    if (this.#interrupted) {
      this.#end(interruptReason)
      return
    }
    this.#pump(connection.stream).then(
      () => this.#end(undefined),
      (error) => {
        if (this.#stopped) return
        this.failure = error
        this.#end('The source of the data failed')
      },
    )
  }

  handleNotice(notice: Notice): void {
    this.#notices.push(notice)
  }

  handleRowDescription(): void {}

  handleDataRow(): void {}

  handlePortalSuspended(): void {}

  handleEmptyQuery(): void {
    this.#refuse()
  }

  handleCopyData(): void {
    this.failure ??= notCopyIn()
  }

  handleCommandComplete(message: { readonly text: string }): void {
    this.#tag = message.text
    if (!this.#copying) this.#refuse()
  }

  handleError(error: unknown): void {
    this.#stop()
    this.#sync()
    this.#settle(this.failure ?? error)
  }

  handleReadyForQuery(): void {
    this.#settle(this.failure)
  }

  /** The statement was none that reads from the client, and has run. */
  #refuse(): void {
    this.failure = notCopyIn()
    this.#sync()
  }

  readonly #stop = (): void => {
    this.#stopped = true
    this.#wake?.()
    this.#closeSource?.()
    this.#closeSource = undefined
  }

  #end(reason: string | undefined): void {
    const connection = this.#connection
    if (this.#synced || connection === undefined) return
    this.#stop()
    if (connection.stream.writable) {
      if (reason === undefined) connection.stream.write(copyDone)
      else connection.sendCopyFail?.(reason)
    }
    this.#sync()
  }

  #sync(): void {
    if (this.#synced) return
    this.#synced = true
    this.#connection?.sync()
  }

  #settle(error: unknown): void {
    if (this.settled) return
    this.settled = true
    this.#stop()
    this.#connection?.stream.off('close', this.#stop)
    if (error !== undefined) this.#done(error, undefined)
    else this.#done(undefined, { rowCount: tagCount(this.#tag), byteCount: this.#byteCount, notices: this.#notices })
  }

  async #pump(stream: Duplex): Promise<void> {
    const source = this.#source
    if (Symbol.asyncIterator in source) {
      const iterator = source[Symbol.asyncIterator]()
      // A source that waits for its next data would hold an interrupted call back: it is told, and not waited for.
      this.#closeSource = () => void Promise.resolve(iterator.return?.()).catch(() => undefined)
      for (;;) {
        const { done, value } = await iterator.next()
        if (this.#stopped) return
        if (done === true) break
        if (this.#take(stream, value)) await this.#room(stream)
      }
      this.#closeSource = undefined
    } else {
      for (const chunk of source) {
        if (this.#take(stream, chunk)) await this.#room(stream)
        if (this.#stopped) return
      }
    }
    this.#writeBlock(stream)
  }

  /** @returns whether something was written, after which it is time for a pause */
  #take(stream: Duplex, chunk: Uint8Array): boolean {
    if (!(chunk instanceof Uint8Array)) {
      throw new UsageError('INVALID_VALUE', `The source of a COPY gave a ${typeof chunk} where bytes are needed`)
    }
    this.#byteCount += chunk.length
    const small = chunk.length < smallBytes
    const full = !small || this.#used + chunk.length > blockBytes
    if (full) this.#writeBlock(stream)
    if (small) {
      if (this.#block.length === 0) this.#block = Buffer.allocUnsafe(blockBytes)
      this.#block.set(chunk, this.#used)
      this.#used += chunk.length
      return full
    }
    for (let at = 0; at < chunk.length; at += maxMessageBytes) {
      this.#write(stream, chunk.length <= maxMessageBytes ? chunk : chunk.subarray(at, at + maxMessageBytes))
    }
    return true
  }

  #writeBlock(stream: Duplex): void {
    if (this.#used === 0) return
    this.#write(stream, this.#block.subarray(0, this.#used))
    this.#block = Buffer.alloc(0)
    this.#used = 0
  }

  #write(stream: Duplex, part: Uint8Array): void {
    const header = Buffer.allocUnsafe(HEADER_BYTES)
    header[0] = copyDataType
    header.writeInt32BE(4 + part.length, 1)
    stream.cork()
    stream.write(header)
    stream.write(part)
    stream.uncork()
  }

  /** Waits until the stream takes more; at least one turn of the event loop, in which the server's word can come. */
  async #room(stream: Duplex): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (!this.#stopped && stream.writableNeedDrain) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        stream.once('drain', resolve)
      })
      if (this.#wake !== undefined) stream.off('drain', this.#wake)
      this.#wake = undefined
    }
  }
}

const interruptReason = 'The COPY was interrupted'
const copyDataType = 0x64
const copyDone = Buffer.from([0x63, 0, 0, 0, 4])
/** A CopyData message of this size is taken as it is; the server holds each as a whole. */
const maxMessageBytes = 1024 * 1024
/** Chunks below this size are joined to blocks: each message costs the client a write and the server a read. */
const smallBytes = 16 * 1024
const blockBytes = 64 * 1024

/** Runs a COPY FROM on a connection. @throws QueryError whose message names the line; what the source throws */
export async function runCopyIn(
  connection: PoolConnection,
  text: string,
  source: CopySource,
  options: RunOptions,
): Promise<CopyInResult> {
  try {
    return await connection.submit<CopyInResult>((done) => new CopyInQuery(text, source, done), options)
  } catch (error) {
    // A cancelled COPY has a line too, but it is nothing about that line.
    const ofData = error instanceof QueryError && !error.sqlState.startsWith('57')
    const line = ofData ? copyLine(error) : undefined
    if (line === undefined || !(error instanceof QueryError)) throw error
    throw new QueryError(error.code, `Line ${line}: ${error.message}`, error)
  }
}

/**
 * The column that a COPY failed at, as the server's context names it behind the line; undefined where it names none of these.
 * @param names - those that it may be: what stands behind the name is the value, and both may hold anything
 */
export function copyColumn(error: unknown, names: readonly string[]): string | undefined {
  const context = copyContext(error)
  const rest = context === undefined ? undefined : /^, [^\s\d,"]+ ([\s\S]*)/.exec(context.rest)?.[1]
  if (rest === undefined) return undefined
  const found = names.filter((name) => rest === name || rest.startsWith(`${name}: `) || rest.startsWith(`${name}\n`))
  return found.length === 1 ? found[0] : undefined
}

function notCopyIn(): UsageError {
  return new UsageError('INVALID_VALUE', 'The statement is no COPY … FROM STDIN', {
    hint: 'Use executeQuery for other statements, copyOut for COPY … TO STDOUT.',
  })
}

/**
 * The line of the data (from 1) or, in binary format, the row (from 1) that a COPY failed at, as the server's context
 * names it; undefined where it names none, as for an error at commit.
 * @param error - what copyIn threw, or its cause
 */
export function copyLine(error: unknown): number | undefined {
  return copyContext(error)?.line
}

/** What the server says of where in the data it was: the line, and what stands behind it. */
function copyContext(error: unknown): { readonly line: number; readonly rest: string } | undefined {
  for (let link = error, depth = 0; link instanceof Error && depth < 10; link = link.cause, depth++) {
    // `COPY table, line 3, column "x": …`; the words are translated, their order is not.
    if (!('where' in link) || typeof link.where !== 'string') continue
    const match = /^COPY .*?, [^\s\d,"]+ (\d+)(?=[,:]|$)/m.exec(link.where)
    if (match !== null) return { line: Number(match[1]), rest: link.where.slice(match.index + match[0].length) }
  }
  return undefined
}
