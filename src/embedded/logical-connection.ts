/**
 * One client connection of the session server: cuts its bytes into batches that the engine can run in one go, and
 * keeps what belongs to the connection alone (statement names, channels it listens on, its place in a transaction).
 */
import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { HEADER_BYTES, int32, MessageReader, message, readText } from '../wire/message.ts'
import type { Setting } from './engine-message.ts'

const CODE = { ssl: 80877103, gss: 80877104, cancel: 80877102 }
const PROTOCOL_MAJOR = 3
const STARTUP_LIMIT = 10_000

/** Messages up to the next point where the server answers: Sync, a simple Query, or Flush. */
export interface Batch {
  readonly bytes: Buffer
  readonly end: 'sync' | 'flush'
  /** The command these bytes stand in for: its tag is answered instead of theirs. */
  readonly tag?: string
}

export interface ConnectionEvents {
  /** The start-up message came: the client waits for the greeting. */
  startup(connection: LogicalConnection): void
  batch(connection: LogicalConnection): void
  /** A message of a COPY that is running. */
  copyData(connection: LogicalConnection, bytes: Buffer): void
  cancel(processId: number, key: number): void
  closed(connection: LogicalConnection): void
}

/** What the engine's session is in after this connection's last batch, as ReadyForQuery says it. */
export type TransactionStatus = 'idle' | 'transaction' | 'failed'

export class LogicalConnection {
  readonly id: number
  readonly key: number = randomInt(1, 2 ** 31 - 1)
  readonly stream: Duplex
  settings: readonly Setting[] = []
  /** Batches not yet given to the engine. */
  readonly ready: Batch[] = []
  status: TransactionStatus = 'idle'
  /** True between a Flush and the next Sync: the session cannot be given to anybody else. */
  unsynced = false
  /** True while the engine reads COPY data from this connection. */
  copying = false
  /** True after an error that came from here, not from the engine, until the client's next Sync. */
  skipping = false
  closed = false
  /** True once the engine has seen this connection. */
  known = false
  /** When the first of the waiting batches came (performance.now()). */
  waitingSince = 0
  /** The connection whose open transaction the waiting statement was started in, where the caller knows. */
  outer: LogicalConnection | undefined
  readonly statements: Set<string> = new Set()
  /** The channels it listens on; the engine listens on those of all connections. */
  readonly channels: Set<string> = new Set()
  channelsChanged = false
  readonly #events: ConnectionEvents
  readonly #reader = new MessageReader()
  #started = false
  #startup: Buffer = Buffer.alloc(0)
  #batch: Buffer[] = []

  constructor(id: number, stream: Duplex, events: ConnectionEvents) {
    this.id = id
    this.stream = stream
    this.#events = events
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    stream.on('error', () => stream.destroy())
    stream.on('close', () => this.#close())
    stream.on('end', () => this.#close())
  }

  get inTransaction(): boolean {
    return this.status !== 'idle' || this.unsynced
  }

  /** Messages that leave the session as a new connection finds it, or undefined where nothing needs to be done. */
  farewell(): Buffer | undefined {
    if (!this.known || (!this.inTransaction && this.statements.size === 0 && this.channels.size === 0)) return undefined
    const close = [...this.statements].map((name) => message('C', Buffer.from('S'), name))
    return Buffer.concat([
      message('S'),
      ...(this.inTransaction ? [message('Q', 'rollback')] : []),
      ...close,
      message('S'),
    ])
  }

  #receive(chunk: Buffer): void {
    if (this.closed) return
    if (this.#started) this.#reader.push(chunk, (type, bytes) => this.#handle(String.fromCharCode(type), bytes))
    else this.#receiveStartup(chunk)
  }

  #receiveStartup(chunk: Buffer): void {
    const bytes = this.#startup.length === 0 ? chunk : Buffer.concat([this.#startup, chunk])
    this.#startup = bytes
    if (bytes.length < 8) return
    const length = bytes.readInt32BE(0)
    if (length < 8 || length > STARTUP_LIMIT) {
      this.stream.destroy()
      return
    }
    if (bytes.length < length) return
    const code = bytes.readInt32BE(4)
    this.#startup = Buffer.alloc(0)
    const rest = bytes.subarray(length)
    if (code === CODE.ssl || code === CODE.gss) this.stream.write('N')
    else if (code === CODE.cancel) {
      this.#events.cancel(bytes.readInt32BE(8), bytes.readInt32BE(12))
      this.stream.end()
      return
    } else if (code >> 16 === PROTOCOL_MAJOR) {
      this.settings = startupSettings(bytes.subarray(8, length))
      this.#started = true
      this.#events.startup(this)
    } else {
      this.stream.destroy()
      return
    }
    if (rest.length > 0) this.#receive(rest)
  }

  #handle(type: string, bytes: Buffer): void {
    if (type === 'X') {
      this.#close()
      this.stream.end()
      return
    }
    if (this.copying) {
      this.#events.copyData(this, bytes)
      return
    }
    if (this.skipping) {
      if (type !== 'S') return
      this.skipping = false
      this.stream.write(message('Z', Buffer.from('I')))
      return
    }
    const replaced = type === 'Q' ? this.#replaceDiscard(readText(bytes, HEADER_BYTES)[0]) : undefined
    if (replaced !== undefined) {
      this.#push(replaced)
      return
    }
    this.#batch.push(this.#own(type, bytes))
    if (type === 'Q' || type === 'S' || type === 'F') this.#finish('sync')
    else if (type === 'H') this.#finish('flush')
  }

  #finish(end: Batch['end']): void {
    const bytes = this.#batch.length === 1 ? (this.#batch[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#batch)
    this.#batch = []
    this.#push({ bytes, end })
  }

  #push(batch: Batch): void {
    this.ready.push(batch)
    this.#events.batch(this)
  }

  /** Statement names are the connection's own on a server; here the one session would mix them up. */
  #own(type: string, bytes: Buffer): Buffer {
    if (type === 'Q') {
      const [text] = readText(bytes, HEADER_BYTES)
      this.#watchChannels(text)
      const refusal = refusalOf(text)
      return refusal === undefined ? bytes : message('Q', refusal)
    }
    if (type === 'P') {
      const [name, next] = readText(bytes, HEADER_BYTES)
      const [text] = readText(bytes, next)
      this.#watchChannels(text)
      const refusal = refusalOf(text)
      if (refusal !== undefined) return message('P', name === '' ? '' : this.#ownName(name), refusal, Buffer.alloc(2))
      if (name === '') return bytes
      this.statements.add(this.#ownName(name))
      return message('P', this.#ownName(name), bytes.subarray(next))
    }
    if (type === 'B') {
      const [portal, next] = readText(bytes, HEADER_BYTES)
      const [name, rest] = readText(bytes, next)
      return name === '' ? bytes : message('B', portal, this.#ownName(name), bytes.subarray(rest))
    }
    if ((type === 'D' || type === 'C') && bytes[HEADER_BYTES] === 0x53) {
      const [name] = readText(bytes, HEADER_BYTES + 1)
      if (name === '') return bytes
      if (type === 'C') this.statements.delete(this.#ownName(name))
      return message(type, Buffer.from('S'), this.#ownName(name))
    }
    return bytes
  }

  #ownName(name: string): string {
    return `${this.id}:${name}`
  }

  /** DISCARD ALL and DEALLOCATE ALL would take the prepared statements and channels of all connections. */
  #replaceDiscard(text: string): Batch | undefined {
    const [, command, plans] = DISCARD.exec(text) ?? []
    if (command === undefined) return undefined
    const discards = command.toLowerCase() === 'discard'
    // In a transaction the engine itself refuses DISCARD ALL, and nothing is lost.
    if (plans !== undefined || (discards && this.inTransaction)) return undefined
    const close = [...this.statements].map((name) => message('C', Buffer.from('S'), name))
    this.statements.clear()
    if (discards) this.#setChannels(() => this.channels.clear())
    const reset = discards ? [message('Q', 'reset session authorization; reset all')] : []
    return {
      bytes: Buffer.concat([...close, message('S'), ...reset]),
      end: 'sync',
      tag: `${command.toUpperCase()} ALL`,
    }
  }

  #watchChannels(text: string): void {
    if (!LISTENS.test(text)) return
    for (const [, stop, quoted, plain] of text.matchAll(LISTEN)) {
      const channel = quoted === undefined ? (plain ?? '').toLowerCase() : quoted.replaceAll('""', '"')
      this.#setChannels(() => {
        if (stop === undefined) this.channels.add(channel)
        else if (channel === '*') this.channels.clear()
        else this.channels.delete(channel)
      })
    }
  }

  #setChannels(change: () => void): void {
    change()
    this.channelsChanged = true
  }

  #close(): void {
    if (this.closed) return
    this.closed = true
    this.#events.closed(this)
  }
}

const DISCARD = /^\s*(discard|deallocate)\s+(?:all|(plans|temp|temporary|sequences))\s*;?\s*$/i
const LISTENS = /listen/i
const LISTEN = /\b(un)?listen\s+(?:"((?:[^"]|"")+)"|(\*|[a-z_\u0080-\uffff][\w$\u0080-\uffff]*))/gi

/** What would harm the engine, each as a statement that raises a clear error instead. */
function refusalOf(text: string): string | undefined {
  const encoding = ENCODING.exec(text)?.[1]
  if (encoding !== undefined && !/^(utf-?8|unicode|default)$/i.test(encoding)) return REFUSE_ENCODING
  return CONCURRENTLY.test(text) ? REFUSE_CONCURRENTLY : undefined
}

// The engine traps at the first text it converts: its build lacks the conversions.
const ENCODING = /(?:\bclient_encoding\s*(?:=|\bto\b)|\bset\s+names)\s*['"]?([\w-]+)/i
const REFUSE_ENCODING =
  "do $$ begin raise 'the embedded engine speaks UTF8 only' using errcode = '0A000', hint = 'Convert in the client, or use a server.'; end $$"

// They need several sessions: with one they leave an index, and then a table, that cannot be dropped before a re-open.
const CONCURRENTLY =
  /(?:^|;)\s*(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\s+(?:\([^)]*\)\s*)?\w+)\s+concurrently\b/i
const REFUSE_CONCURRENTLY =
  "do $$ begin raise 'the embedded engine has one session and cannot work on indexes concurrently' using errcode = '0A000', hint = 'Leave CONCURRENTLY out.'; end $$"

/** The settings in a start-up message: its own parameters and those of `options` (`-c name=value`, `--name=value`). */
function startupSettings(body: Buffer): Setting[] {
  const words = body.toString('utf8').split('\0')
  const settings: Setting[] = []
  for (let at = 0; at + 1 < words.length && words[at] !== ''; at += 2) {
    const name = words[at] ?? ''
    const value = words[at + 1] ?? ''
    if (name === 'options') settings.push(...optionSettings(value))
    else if (!['user', 'database', 'replication'].includes(name) && !name.startsWith('_pq_.'))
      settings.push([name, value])
  }
  return settings
}

function optionSettings(text: string): Setting[] {
  // A backslash makes the next character, such as a space, part of the word.
  const words = (text.match(/(?:\\.|\S)+/g) ?? []).map((word) => word.replace(/\\(.)/g, '$1'))
  const settings: Setting[] = []
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? ''
    const setting = word === '-c' ? (words[++at] ?? '') : word.replace(/^--?c?/, '')
    const equals = setting.indexOf('=')
    if (equals > 0) settings.push([setting.slice(0, equals).replaceAll('-', '_'), setting.slice(equals + 1)])
  }
  return settings
}

/** The greeting after a start-up message: no password is asked for inside the process. */
export function greeting(connection: LogicalConnection, parameters: readonly Setting[]): Buffer {
  const own = new Map(connection.settings.map(([name, value]) => [name.toLowerCase(), value]))
  return Buffer.concat([
    message('R', int32(0)),
    ...parameters.map(([name, value]) => message('S', name, own.get(name.toLowerCase()) ?? value)),
    message('K', int32(connection.id), int32(connection.key)),
    message('Z', Buffer.from('I')),
  ])
}
