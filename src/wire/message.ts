/**
 * Messages of the PostgreSQL frontend/backend protocol 3.0 (PostgreSQL documentation, chapter "Frontend/Backend
 * Protocol", "Message Formats"): one type byte, an int32 length that counts itself, the body.
 */

export const HEADER_BYTES = 5

/** A message from its type and the parts of its body; strings are written with their terminating zero. */
export function message(type: string, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const body = parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part))
  const header = Buffer.alloc(HEADER_BYTES)
  header.write(type, 'latin1')
  header.writeInt32BE(4 + body.reduce((sum, part) => sum + part.length, 0), 1)
  return Buffer.concat([header, ...body])
}

/** A 32-bit integer as the protocol writes it. */
export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

/** What an error tells the client. */
export interface ErrorFields {
  readonly severity?: 'ERROR' | 'FATAL'
  readonly sqlState: string
  readonly message: string
  readonly hint?: string
}

/** ErrorResponse. */
export function errorResponse({ severity = 'ERROR', sqlState, message: text, hint }: ErrorFields): Buffer {
  const fields = [
    `S${severity}`,
    `V${severity}`,
    `C${sqlState}`,
    `M${text}`,
    ...(hint === undefined ? [] : [`H${hint}`]),
  ]
  return message('E', ...fields, Buffer.alloc(1))
}

/** The fields of an ErrorResponse or NoticeResponse body by their one-letter codes. */
export function readFields(body: Uint8Array): Map<string, string> {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8')
  return new Map(
    text.split('\0').flatMap((field) => (field === '' ? [] : [[field.charAt(0), field.slice(1)] as const])),
  )
}

/** The columns of a DataRow in text format; NULL comes as an empty text. */
export function readTextRow(row: Buffer): string[] {
  const columns: string[] = []
  let at = HEADER_BYTES + 2
  for (let left = row.readInt16BE(HEADER_BYTES); left > 0; left--) {
    const length = Math.max(row.readInt32BE(at), 0)
    columns.push(row.toString('utf8', at + 4, at + 4 + length))
    at += 4 + length
  }
  return columns
}

/** A simple Query. */
export const query = (text: string): Buffer => message('Q', text)

/** The text that ends at the next zero byte, and where the byte after it is. */
export function readText(bytes: Buffer, start: number): [text: string, next: number] {
  const end = bytes.indexOf(0, start)
  if (end < 0) return [bytes.toString('utf8', start), bytes.length]
  return [bytes.toString('utf8', start, end), end + 1]
}

/**
 * Gathers chunks of a byte stream and hands out whole messages. Bytes are joined only where a message was cut.
 */
export class MessageReader {
  #chunks: Buffer[] = []
  #length = 0
  /** Bytes the first message needs; no attempt to cut before they are there. */
  #needed = 0
  readonly #accept: (type: number, length: number) => boolean

  /** `accept` sees each message's type and length before anything is gathered for it; false: nothing more is read. */
  constructor(accept: (type: number, length: number) => boolean = () => true) {
    this.#accept = accept
  }

  /** Calls `each` for every whole message in order, with its bytes including the header. */
  push(chunk: Buffer, each: (type: number, bytes: Buffer) => void): void {
    if (this.#needed === Number.POSITIVE_INFINITY) return
    this.#chunks.push(chunk)
    this.#length += chunk.length
    if (this.#length < this.#needed) return
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks)
    let at = 0
    this.#needed = HEADER_BYTES
    while (bytes.length - at >= HEADER_BYTES) {
      const size = bytes.readInt32BE(at + 1) + 1
      if (!this.#accept(bytes[at] ?? 0, size - 1)) {
        this.#chunks = []
        this.#length = 0
        this.#needed = Number.POSITIVE_INFINITY
        return
      }
      if (bytes.length - at < size) {
        this.#needed = size
        break
      }
      const start = at
      at += size
      each(bytes[start] ?? 0, bytes.subarray(start, at))
    }
    const rest = bytes.subarray(at)
    this.#chunks = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
  }
}
