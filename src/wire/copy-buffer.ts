/**
 * The bytes of COPY … (FORMAT binary): "Binary Format" in the manual's page of COPY. A row is an int16 count of fields;
 * a field an int32 length (−1 for NULL) and its bytes; integers are big-endian.
 */

/** What a binary COPY begins with: signature, flags, no header extension. */
export const COPY_HEADER: Buffer = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
/** What it ends with: a row of −1 fields. */
export const COPY_TRAILER: Buffer = Buffer.from([0xff, 0xff])

const blockBytes = 256 * 1024
const twoTo32 = 4294967296
// Half a surrogate pair would be written as U+FFFD, a silent change; NUL is in no text of the server.
const unsendable = /[\0\ud800-\udfff]/u

/** Where a row begins, so that it can be taken back. */
export interface CopyMark {
  readonly blocks: number
  readonly bytes: Buffer
  readonly view: DataView
  readonly at: number
}

/** Most that waits to be used again: 16 MB, the batches of two or three connections. */
const freeBlocks = 64

/**
 * Blocks that are used again: memory that is new for each batch is work for the collector and the system.
 */
export class BlockPool {
  readonly #free: Buffer[] = []

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafe(blockBytes)
  }

  /** Takes back what {@link CopyBuffer.take} gave, once nobody reads it any more: not before the server has all of it. */
  give(blocks: readonly Buffer[]): void {
    for (const { buffer } of blocks) {
      if (buffer.byteLength === blockBytes && this.#free.length < freeBlocks) this.#free.push(Buffer.from(buffer))
    }
  }
}

/** Grows by blocks and copies nothing; what was written can be patched until `take`. */
export class CopyBuffer {
  bytes: Buffer = Buffer.alloc(0)
  view: DataView = new DataView(new ArrayBuffer(0))
  /** Where the next byte goes in the present block. */
  at = 0
  #full: Buffer[] = []
  #fullBytes = 0
  readonly #pool: BlockPool | undefined

  constructor(pool?: BlockPool) {
    this.#pool = pool
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#fullBytes + this.at
  }

  /** Room for `size` bytes in one piece; gives where it starts in `bytes` and `view`. */
  reserve(size: number): number {
    if (this.at + size > this.bytes.length) this.#nextBlock(size)
    const { at } = this
    this.at = at + size
    return at
  }

  /** All that was written; the buffer is empty afterwards, and its blocks belong to the caller. */
  take(): Buffer[] {
    const blocks = this.#full
    if (this.at > 0) blocks.push(this.bytes.subarray(0, this.at))
    this.#full = []
    this.#fullBytes = 0
    this.bytes = Buffer.alloc(0)
    this.at = 0
    return blocks
  }

  mark(): CopyMark {
    return { blocks: this.#full.length, bytes: this.bytes, view: this.view, at: this.at }
  }

  /** Takes back all that was written since the mark. */
  rewind(mark: CopyMark): void {
    // To the very beginning: the block that was made since can be used again.
    if (mark.bytes.length === 0 && this.#full.length === 0) {
      this.at = 0
      return
    }
    this.#full.length = mark.blocks
    this.#fullBytes = this.#full.reduce((sum, block) => sum + block.length, 0)
    this.bytes = mark.bytes
    this.view = mark.view
    this.at = mark.at
  }

  int16(value: number): void {
    const at = this.reserve(2)
    this.view.setInt16(at, value)
  }

  int32(value: number): void {
    const at = this.reserve(4)
    this.view.setInt32(at, value)
  }

  /** A NULL field. */
  null(): void {
    const at = this.reserve(4)
    this.view.setInt32(at, -1)
  }

  /** A field of 8 bytes: an integer within ±2^53. */
  safeInteger(value: number): void {
    const at = this.reserve(12)
    const high = Math.floor(value / twoTo32)
    this.view.setInt32(at, 8)
    this.view.setInt32(at + 4, high)
    this.view.setUint32(at + 8, value - high * twoTo32)
  }

  /** A field of 8 bytes. */
  bigInteger(value: bigint): void {
    const at = this.reserve(12)
    this.view.setInt32(at, 8)
    this.view.setBigInt64(at + 4, value)
  }

  /** A field with these bytes. */
  field(value: Uint8Array): void {
    const at = this.reserve(4 + value.length)
    this.view.setInt32(at, value.length)
    this.bytes.set(value, at + 4)
  }

  /**
   * A field with the text in UTF-8, after a `prefix` byte where one is given.
   * @returns false, and writes nothing, for a text with NUL or half a surrogate pair: the server can hold neither
   */
  text(value: string, prefix?: number): boolean {
    const before = prefix === undefined ? 0 : 1
    const start = this.#ascii(value, before) ?? this.#utf8(value, before)
    if (start === undefined) return false
    if (prefix !== undefined) this.bytes[start + 4] = prefix
    return true
  }

  /** Short texts are mostly ASCII, and a loop is faster than a call into the runtime. */
  #ascii(value: string, before: number): number | undefined {
    const size = value.length
    if (size > 32) return undefined
    const start = this.reserve(4 + before + size)
    const { bytes } = this
    for (let index = 0, to = start + 4 + before; index < size; index++, to++) {
      const code = value.charCodeAt(index)
      if (code > 127 || code === 0) {
        this.at = start
        return undefined
      }
      bytes[to] = code
    }
    this.view.setInt32(start, before + size)
    return start
  }

  #utf8(value: string, before: number): number | undefined {
    if (unsendable.test(value)) return undefined
    const most = value.length * 3
    // Of a long text the exact size is worth a pass over it.
    const size = most > 4096 ? Buffer.byteLength(value) : most
    const start = this.reserve(4 + before + size)
    const written = this.bytes.write(value, start + 4 + before, 'utf8')
    this.view.setInt32(start, before + written)
    this.at = start + 4 + before + written
    return start
  }

  #nextBlock(size: number): void {
    if (this.at > 0) {
      this.#full.push(this.bytes.subarray(0, this.at))
      this.#fullBytes += this.at
    }
    this.bytes = (size <= blockBytes ? this.#pool?.take() : undefined) ?? Buffer.allocUnsafe(Math.max(blockBytes, size))
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
    this.at = 0
  }
}
