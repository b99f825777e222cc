import { HEADER_BYTES } from '../wire/message.ts'

/** Messages the session server has to see whole: results, by far the most bytes, pass unread. */
const WATCHED = new Set(['Z', 'E', 'A', 'C', 'G'].map((type) => type.charCodeAt(0)))
const DATA_ROW = 'D'.charCodeAt(0)
const NOTICE = 'N'.charCodeAt(0)
const PARSE_COMPLETE = '1'.charCodeAt(0)

/** Looks at a watched message; what it gives goes to the client instead, undefined leaves it as it is. */
export type Look = (type: string, bytes: Buffer) => Buffer | undefined

/**
 * Follows the messages in the engine's output, which comes cut anywhere, and lets all but the watched ones through
 * without copying.
 */
export class OutputScanner {
  /** Bytes of the current unwatched message that are still to come. */
  #skip = 0
  /** The start of a message that was cut in its header or that is watched. */
  #rest: Buffer = Buffer.alloc(0)
  readonly #also: ReadonlySet<number>

  /** `everything` watches data rows and notices too, `parses` the answers to Parse. */
  constructor(everything = false, parses = false) {
    this.#also = new Set([...(everything ? [DATA_ROW, NOTICE] : []), ...(parses ? [PARSE_COMPLETE] : [])])
  }

  /** The bytes for the client. */
  scan(chunk: Buffer, look: Look): Buffer {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = bytes.subarray(bytes.length)
    const parts: Buffer[] = []
    let from = 0
    let at = this.#skip
    this.#skip = 0
    while (at < bytes.length) {
      const whole = bytes.length - at >= HEADER_BYTES
      const type = bytes[at] ?? 0
      const watched = WATCHED.has(type) || this.#also.has(type)
      const end = whole ? at + 1 + bytes.readInt32BE(at + 1) : Number.POSITIVE_INFINITY
      if (!whole || (watched && end > bytes.length)) {
        parts.push(bytes.subarray(from, at))
        this.#rest = bytes.subarray(at)
        return join(parts)
      }
      const instead = watched ? look(String.fromCharCode(type), bytes.subarray(at, end)) : undefined
      if (instead !== undefined) {
        parts.push(bytes.subarray(from, at), instead)
        from = end
      }
      at = end
    }
    this.#skip = at - bytes.length
    parts.push(bytes.subarray(from))
    return join(parts)
  }
}

const join = (parts: Buffer[]): Buffer => {
  const filled = parts.filter((part) => part.length > 0)
  return filled.length === 1 ? (filled[0] ?? Buffer.alloc(0)) : Buffer.concat(filled)
}
