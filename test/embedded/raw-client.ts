import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import {
  HEADER_BYTES,
  int32,
  MessageReader,
  message,
  readFields,
  readText,
  readTextRow,
} from '../../src/wire/message.ts'

export interface Reply {
  readonly type: string
  readonly bytes: Buffer
}

/** A client that speaks the protocol byte by byte, for what a driver never does. */
export class RawClient {
  readonly stream: Duplex
  processId = 0
  key = 0
  readonly replies: Reply[] = []
  /** Payloads of the notifications so far; they are not among the replies. */
  readonly notifications: string[] = []
  readonly #reader = new MessageReader()
  #wake: (() => void) | undefined

  constructor(stream: Duplex) {
    this.stream = stream
    stream.on('error', () => undefined)
    stream.on('close', () => this.#wake?.())
    stream.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk, (type, bytes) => {
        const reply = { type: String.fromCharCode(type), bytes: Buffer.from(bytes) }
        if (reply.type === 'K') {
          this.processId = bytes.readInt32BE(HEADER_BYTES)
          this.key = bytes.readInt32BE(HEADER_BYTES + 4)
        }
        if (reply.type === 'A') this.notifications.push(readText(bytes, readText(bytes, HEADER_BYTES + 4)[1])[0])
        else this.replies.push(reply)
      })
      this.#wake?.()
    })
  }

  static async open(database: EmbeddedDatabase, settings: Readonly<Record<string, string>> = {}): Promise<RawClient> {
    const stream = database.connect()
    const client = new RawClient(stream)
    const words = Object.entries({ user: 'postgres', ...settings }).flat()
    const body = Buffer.concat([int32(196608), ...words.map((word) => Buffer.from(`${word}\0`)), Buffer.alloc(1)])
    stream.write(Buffer.concat([int32(body.length + 4), body]))
    await client.until('Z')
    return client
  }

  send(...messages: readonly Buffer[]): void {
    this.stream.write(Buffer.concat(messages))
  }

  /** Takes the replies up to the first of one of these types; rejects when the connection ends before. */
  async until(types: string): Promise<Reply[]> {
    for (let seen = 0; ; ) {
      const at = this.replies.findIndex((reply, index) => index >= seen && types.includes(reply.type))
      if (at >= 0) return this.replies.splice(0, at + 1)
      seen = this.replies.length
      if (this.stream.destroyed) throw new Error(`closed after ${describe(this.replies)}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Runs a simple query; gives its rows as text, or throws with the SQLSTATE first. */
  async query(text: string): Promise<string[][]> {
    this.send(message('Q', text))
    return readRows(await this.until('Z'))
  }

  close(): void {
    this.stream.end(message('X'))
  }
}

/** Sends a CancelRequest for a connection on a stream of its own. */
export async function cancel(database: EmbeddedDatabase, client: RawClient): Promise<void> {
  const stream = database.connect()
  stream.resume()
  stream.write(Buffer.concat([int32(16), int32(80877102), int32(client.processId), int32(client.key)]))
  await once(stream, 'close')
}

export const describe = (replies: readonly Reply[]): string => replies.map(({ type }) => type).join('')

export const fieldsOf = (reply: Reply): Map<string, string> => readFields(reply.bytes.subarray(HEADER_BYTES))

export function readRows(replies: readonly Reply[]): string[][] {
  for (const reply of replies)
    if (reply.type === 'E') {
      const fields = fieldsOf(reply)
      throw new Error(`${fields.get('C')} ${fields.get('M')}`)
    }
  return replies.filter(({ type }) => type === 'D').map(({ bytes }) => readTextRow(bytes))
}

/** The command tags in the replies. */
export const tagsOf = (replies: readonly Reply[]): string[] =>
  replies.filter(({ type }) => type === 'C').map(({ bytes }) => readText(bytes, HEADER_BYTES)[0])

/** Parse, Bind, Describe, Execute and Sync of one statement without parameters. */
export function extended(text: string, name = ''): Buffer {
  return Buffer.concat([
    message('P', name, text, Buffer.alloc(2)),
    message('B', '', name, Buffer.alloc(6)),
    message('D', Buffer.from('P\0')),
    message('E', Buffer.alloc(5)),
    message('S'),
  ])
}
