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

const DATA_ROW = 68
const ROW_DESCRIPTION = 84
const READY_FOR_QUERY = 90
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
  #parts: Buffer[] = []
  #held = 0
  #needed = 0
  #broken = false

  /**
   * @param pass - takes whole messages, one or many
   * @param refuse - is told once that these bytes are no messages; later ones are ignored
   */
  constructor(pass: (bytes: Buffer) => void, refuse: (reason: Error) => void) {
    this.#pass = pass
    this.#refuse = refuse
  }

  push(chunk: Buffer): void {
    let at = 0
    if (this.#held > 0) {
      at = this.#join(chunk)
      if (this.#held > 0) return
    }
    at = this.#route(chunk, at)
    if (this.#broken || at === chunk.length) return
    // A copy, so that a short rest does not keep the memory of the whole chunk.
    this.#parts = [Buffer.from(chunk.subarray(at))]
    this.#held = chunk.length - at
    this.#needed = this.#held < HEADER_BYTES ? HEADER_BYTES : 1 + chunk.readInt32BE(at + 1)
  }

  /** Completes the message that was cut and hands it on; gives where the next one begins. */
  #join(chunk: Buffer): number {
    let at = 0
    while (at < chunk.length && !this.#broken) {
      const next = Math.min(chunk.length, at + this.#needed - this.#held)
      this.#parts.push(chunk.subarray(at, next))
      this.#held += next - at
      at = next
      if (this.#held < this.#needed) break
      const joined = Buffer.concat(this.#parts, this.#held)
      if (this.#needed === HEADER_BYTES) {
        this.#parts = [joined]
        this.#needed = 1 + joined.readInt32BE(1)
        if (this.#needed > HEADER_BYTES && this.#needed <= SIZE_LIMIT) continue
      }
      this.#parts = []
      this.#held = 0
      this.#route(joined, 0)
      break
    }
    return at
  }

  /** Hands on all whole messages from `start` on; gives where the one that is cut begins. */
  #route(bytes: Buffer, start: number): number {
    const end = bytes.length
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
      if (sink === undefined) {
        at += size
        continue
      }
      const type = bytes[at]
      if (type === DATA_ROW) {
        if (from < at) this.#pass(bytes.subarray(from, at))
        view ??= new DataView(bytes.buffer, bytes.byteOffset, end)
        at = this.#readRows(sink, bytes, view, at)
        from = at
        continue
      }
      const next = at + size
      if (sink.take(type ?? 0, bytes, at, next)) {
        if (from < at) this.#pass(bytes.subarray(from, at))
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
    if (from < at && !this.#broken) this.#pass(from === 0 && at === end ? bytes : bytes.subarray(from, at))
    return at
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
