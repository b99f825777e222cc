import type { Duplex } from 'node:stream'
import { int32, MessageReader, message } from '../../src/wire/message.ts'

/** What a server sends: messages, and where a client's Flush or Sync is awaited before the next. */
export type Script = readonly (Buffer | 'wait')[]

const int16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255])

/** A column as RowDescription has it. */
const column = (name: string, typeId: number, format: number): Buffer =>
  Buffer.concat([Buffer.from(`${name}\0`), int32(0), int16(0), int32(typeId), int16(-1), int32(-1), int16(format)])

export const server = {
  parseComplete: message('1'),
  parameters: message('t', int16(0)),
  bindComplete: message('2'),
  noData: message('n'),
  columns: (...columns: readonly (readonly [name: string, typeId: number, format: number])[]): Buffer =>
    message('T', int16(columns.length), ...columns.map((each) => column(...each))),
  row: (...values: readonly (Buffer | string | null)[]): Buffer =>
    message(
      'D',
      int16(values.length),
      ...values.map((value) => {
        if (value === null) return int32(-1)
        const bytes = Buffer.from(value)
        return Buffer.concat([int32(bytes.length), bytes])
      }),
    ),
  complete: (tag: string): Buffer => message('C', tag),
  ready: (status = 'I'): Buffer => message('Z', Buffer.from(status)),
  notification: (channel: string, payload: string): Buffer => message('A', int32(7), channel, payload),
  notice: (text: string): Buffer => message('N', 'SNOTICE', 'VNOTICE', 'C00000', `M${text}`, Buffer.alloc(1)),
  error: (sqlState: string, text: string): Buffer =>
    message('E', 'SERROR', 'VERROR', `C${sqlState}`, `M${text}`, Buffer.alloc(1)),
}

/**
 * The server's end of a connection that answers with recorded bytes, cut where it is told: what a client must
 * understand whatever TCP makes of it.
 */
export class ReplayServer {
  /** Client messages by their type, in order. */
  readonly received: string[] = []
  readonly #stream: Duplex
  readonly #reader = new MessageReader()
  #started = false
  #pieces: (Buffer | 'wait')[] = []

  constructor(stream: Duplex) {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    stream.on('error', () => stream.destroy())
  }

  /** Lets the next answers come as this script says, cut at these offsets of all its bytes. */
  play(script: Script, cuts: readonly number[]): void {
    let offset = 0
    for (const part of script) {
      if (part === 'wait') {
        this.#pieces.push(part)
        continue
      }
      const inside = cuts.map((cut) => cut - offset).filter((cut) => cut > 0 && cut < part.length)
      const bounds = [0, ...inside, part.length]
      for (let index = 0; index + 1 < bounds.length; index++) {
        this.#pieces.push(part.subarray(bounds[index], bounds[index + 1]))
      }
      offset += part.length
    }
    this.#send()
  }

  #receive(chunk: Buffer): void {
    if (!this.#started) {
      this.#started = true
      this.#stream.write(Buffer.concat([message('R', int32(0)), message('K', int32(1), int32(2)), server.ready()]))
      return
    }
    this.#reader.push(chunk, (code) => {
      const type = String.fromCharCode(code)
      this.received.push(type)
      if (type !== 'H' && type !== 'S') return
      if (this.#pieces[0] === 'wait') this.#pieces.shift()
      this.#send()
    })
  }

  #send(): void {
    while (this.#pieces.length > 0 && this.#pieces[0] !== 'wait') {
      const piece = this.#pieces.shift()
      if (piece !== undefined && piece !== 'wait') this.#stream.write(piece)
    }
  }
}

/** Between two 'wait's everything in one part, so that a cut is where it says. */
export function script(...parts: readonly (readonly Buffer[] | 'wait')[]): Script {
  return parts.map((part) => (part === 'wait' ? part : Buffer.concat(part)))
}

export function scriptLength(script: Script): number {
  return script.reduce((sum, part) => sum + (part === 'wait' ? 0 : part.length), 0)
}
