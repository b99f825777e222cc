import { HEADER_BYTES } from './message.ts'

/** What takes the rows of one result. */
export interface MessageSink {
  /**
   * Reads the DataRow at `at`, which is whole, and those that follow it. Gives where the first message begins that is
   * cut or no DataRow. The bytes are reused afterwards. An error says that they are not the rows that were announced.
   */
  readRows(bytes: Buffer, view: DataView, at: number, end: number): number
  /** Gets every other message, from `at` to `end`, before the parser; true where the parser has no need of it. */
  take(type: number, bytes: Buffer, at: number, end: number): boolean
}

const AUTHENTICATION = 82
const COPY_DATA = 100
const DATA_ROW = 68
const ROW_DESCRIPTION = 84
const READY_FOR_QUERY = 90
const noBytes = Buffer.alloc(0)
/** The server makes none longer: an allocation of PostgreSQL ends at 1 GB. */
const SIZE_LIMIT = 2 ** 30 + HEADER_BYTES

/**
 * Frames the bytes of a connection, which come cut anywhere: DataRows of a result with a sink go to it, all other
 * messages go on whole and in order. Bytes are copied only where a message was cut.
 */
export class MessageRouter {
  /** Takes the rows of the running query until its ReadyForQuery; undefined leaves them to the parser. */
  sink: MessageSink | undefined
  readonly #pass: (bytes: Buffer) => void
  readonly #refuse: (reason: Error) => void
  /** The start of the message that was cut: `#held` bytes of the `#needed`, which are its header's until that is there. */
  #cut = noBytes
  #held = 0
  #needed = 0
  #broken = false

  /**
   * @param pass - takes whole messages, one or many; may keep the bytes of CopyData and Authentication only
   * @param refuse - is told once that these bytes are no messages; later ones are ignored
   */
  constructor(pass: (bytes: Buffer) => void, refuse: (reason: Error) => void) {
    this.#pass = pass
    this.#refuse = refuse
  }

  /** @param reused - whether the chunk's memory is written anew when this returns */
  push(chunk: Buffer, reused = false): void {
    let at = 0
    if (this.#held > 0) {
      at = this.#join(chunk)
      if (this.#held > 0) return
    }
    at = this.#route(chunk, at, reused)
    if (this.#broken || at === chunk.length) return
    // A copy, so that a short rest does not keep the memory of the whole chunk.
    this.#hold(chunk, at, chunk.length)
    this.#needed = this.#held < HEADER_BYTES ? HEADER_BYTES : 1 + this.#cut.readInt32BE(1)
  }

  /** Adds bytes to the message that was cut. */
  #hold(chunk: Buffer, at: number, next: number): void {
    const held = this.#held + next - at
    if (held > this.#cut.length) {
      // Not all that was announced at once: it is the server's word only.
      const wider = Buffer.allocUnsafe(Math.min(Math.max(held, 2 * this.#held), Math.max(held, this.#needed)))
      this.#cut.copy(wider, 0, 0, this.#held)
      this.#cut = wider
    }
    chunk.copy(this.#cut, this.#held, at, next)
    this.#held = held
  }

  /** Completes the message that was cut and hands it on; gives where the next one begins. */
  #join(chunk: Buffer): number {
    let at = 0
    while (at < chunk.length && !this.#broken) {
      const next = Math.min(chunk.length, at + this.#needed - this.#held)
      this.#hold(chunk, at, next)
      at = next
      if (this.#held < this.#needed) break
      if (this.#needed === HEADER_BYTES) {
        this.#needed = 1 + this.#cut.readInt32BE(1)
        if (this.#needed > HEADER_BYTES && this.#needed <= SIZE_LIMIT) continue
      }
      const joined = this.#cut.subarray(0, this.#held)
      this.#cut = noBytes
      this.#held = 0
      this.#route(joined, 0, false)
      break
    }
    return at
  }

  /** Hands on all whole messages from `start` on; gives where the one that is cut begins. */
  #route(bytes: Buffer, start: number, reused: boolean): number {
    const end = bytes.length
    // Whether the parser may keep some of the bytes that it has not got yet.
    let kept = false
    let view: DataView | undefined
    let at = start
    // Where the messages begin that the parser has not got yet.
    let from = start
    while (at + HEADER_BYTES <= end && !this.#broken) {
      const size = 1 + bytes.readInt32BE(at + 1)
      if (size < HEADER_BYTES || size > SIZE_LIMIT) {
        this.#break(new Error(`A message of ${size - 1} bytes was announced`))
        return end
      }
      if (at + size > end) break
      const { sink } = this
      const type = bytes[at]
      if (type === COPY_DATA || type === AUTHENTICATION) kept = reused
      if (sink === undefined) {
        at += size
        continue
      }
      if (type === DATA_ROW) {
        this.#handOn(bytes, from, at, kept)
        view ??= new DataView(bytes.buffer, bytes.byteOffset, end)
        at = this.#readRows(sink, bytes, view, at)
        from = at
        continue
      }
      const next = at + size
      if (sink.take(type ?? 0, bytes, at, next)) {
        this.#handOn(bytes, from, at, kept)
        from = next
      } else if (type === ROW_DESCRIPTION) {
        // Now: the columns must be known before the first row is read.
        this.#pass(bytes.subarray(from, next))
        from = next
      }
      // Before the parser has it: the driver sends its next query from within.
      if (type === READY_FOR_QUERY) this.sink = undefined
      at = next
    }
    if (!this.#broken) this.#handOn(bytes, from, at, kept)
    return at
  }

  #handOn(bytes: Buffer, from: number, at: number, kept: boolean): void {
    if (from === at) return
    const messages = from === 0 && at === bytes.length ? bytes : bytes.subarray(from, at)
    this.#pass(kept ? Buffer.from(messages) : messages)
  }

  #readRows(sink: MessageSink, bytes: Buffer, view: DataView, at: number): number {
    try {
      const next = sink.readRows(bytes, view, at, bytes.length)
      if (next <= at) throw new Error('A row is too short for its columns')
      return next
    } catch (error) {
      this.#break(error instanceof Error ? error : new Error('A row cannot be read'))
      return bytes.length
    }
  }

  #break(reason: Error): void {
    this.#broken = true
    this.#refuse(reason)
  }
}
