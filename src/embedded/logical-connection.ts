/**
 * One client connection of the session server: cuts its bytes into batches that the engine can run in one go, and
 * keeps what belongs to the connection alone (names, its place in a transaction).
 */
import { randomInt } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { frontendFault } from '../wire/frontend-message.ts'
import { type ErrorFields, HEADER_BYTES, int32, MessageReader, message, readText } from '../wire/message.ts'
import { type Parameter, readStartup, STARTUP_HEADER_BYTES, startupLength, startupSettings } from '../wire/startup.ts'
import type { Setting } from './engine-message.ts'
import { OwnNames } from './own-name.ts'

/** A server's limit to one message. */
const MESSAGE_LIMIT = 0x3fffffff
/** Bytes read from a client beyond what the engine took; then the client is not read from for a while. */
const AHEAD_LIMIT = 4 << 20
/** A pipeline without a Sync is given to the engine in portions of this size. */
const PORTION_BYTES = 1 << 20

/** Messages up to the next point where the server answers: Sync, a simple Query, or Flush. */
export interface Batch {
  readonly bytes: Buffer
  readonly end: 'sync' | 'flush'
  /** The command these bytes stand in for: its tag is answered instead of theirs. */
  readonly tag?: string
  /** True where the first ParseComplete answers a Parse that the client did not send. */
  readonly parsesFirst?: boolean
}

export interface ConnectionEvents {
  /** The start-up message came: the client waits for the greeting. */
  startup(connection: LogicalConnection): void
  batch(connection: LogicalConnection): void
  /** Messages of a COPY that is running. */
  copyData(connection: LogicalConnection, bytes: Buffer): void
  cancel(processId: number, key: number): void
  /** The client broke the protocol: nothing more can be read from it. */
  broken(connection: LogicalConnection, fields: ErrorFields): void
  closed(connection: LogicalConnection): void
}

/** A client that was admitted before its stream came here. */
export interface Admission {
  readonly parameters: readonly Parameter[]
  /** Bytes of the longest message it may send. */
  readonly messageLimit: number
}

/** What the engine's session is in after this connection's last batch, as ReadyForQuery says it. */
export type TransactionStatus = 'idle' | 'transaction' | 'failed'

export class LogicalConnection {
  readonly id: number
  readonly key: number = randomInt(1, 2 ** 31 - 1)
  readonly stream: Duplex
  readonly names: OwnNames
  settings: readonly Setting[] = []
  /** Batches not yet given to the engine. */
  readonly ready: Batch[] = []
  status: TransactionStatus = 'idle'
  /** True between a Flush and the next Sync: the session cannot be given to anybody else. */
  unsynced = false
  closed = false
  /** True once the engine has seen this connection. */
  known = false
  /** When the first of the waiting batches came (performance.now()). */
  waitingSince = 0
  /** The connection whose open transaction the waiting statement was started in, where the caller knows. */
  outer: LogicalConnection | undefined
  readonly #events: ConnectionEvents
  readonly #reader = new MessageReader((type, length) => this.#check(String.fromCharCode(type), length))
  readonly #messageLimit: number
  #started = false
  #startup: Buffer = Buffer.alloc(0)
  #batch: Buffer[] = []
  #batchBytes = 0
  #copying = false
  #copyData: Buffer[] = []
  #skipping = false
  /** Bytes given on that the engine has not taken yet. */
  #ahead = 0
  #copyAhead = 0

  /** `admission`: no start-up message comes. */
  constructor(id: number, stream: Duplex, events: ConnectionEvents, admission?: Admission) {
    this.id = id
    this.stream = stream
    this.names = new OwnNames(id)
    this.#events = events
    this.#messageLimit = admission?.messageLimit ?? MESSAGE_LIMIT
    stream.on('data', (chunk: Buffer) => this.#receive(chunk))
    stream.on('error', () => stream.destroy())
    stream.on('close', () => this.#close())
    stream.on('end', () => this.#close())
    if (admission !== undefined) this.#start(admission.parameters)
  }

  get inTransaction(): boolean {
    return this.status !== 'idle' || this.unsynced
  }

  /** True while the engine reads COPY data from this connection. */
  get copying(): boolean {
    return this.#copying
  }

  set copying(copying: boolean) {
    this.#copying = copying
    if (!copying) this.copyTaken(this.#copyAhead)
  }

  /** The next batch, which the caller gives to the engine. */
  take(): Batch | undefined {
    const batch = this.ready.shift()
    if (batch !== undefined) this.#ahead -= batch.bytes.length
    this.#readOn()
    return batch
  }

  /** The engine took so many bytes of COPY data. */
  copyTaken(bytes: number): void {
    this.#copyAhead -= Math.min(bytes, this.#copyAhead)
    this.#readOn()
  }

  /** Takes what is left of a pipeline whose start was refused; gives true where its Sync is still to come. */
  skipPipeline(first: Batch | undefined): boolean {
    let batch = first
    while (batch?.end === 'flush' && this.ready.length > 0) batch = this.take()
    this.#skipping = batch?.end === 'flush'
    if (this.#skipping) this.#clear()
    return this.#skipping
  }

  /** Messages that leave the session as a new connection finds it, or undefined where nothing needs to be done. */
  farewell(): Buffer | undefined {
    if (!this.known || (!this.inTransaction && this.names.none)) return undefined
    const rollback = this.inTransaction ? [message('Q', 'rollback')] : []
    return Buffer.concat([message('S'), ...rollback, ...this.names.closeAll(), message('S')])
  }

  #receive(chunk: Buffer): void {
    if (this.closed) return
    if (!this.#started) {
      this.#receiveStartup(chunk)
      return
    }
    this.#reader.push(chunk, (type, bytes) => this.#handle(String.fromCharCode(type), bytes))
    if (this.#copyData.length === 0) return
    const data = Buffer.concat(this.#copyData)
    this.#copyData = []
    this.#copyAhead += data.length
    this.#pauseIfAhead()
    this.#events.copyData(this, data)
  }

  #receiveStartup(chunk: Buffer): void {
    const bytes = this.#startup.length === 0 ? chunk : Buffer.concat([this.#startup, chunk])
    this.#startup = bytes
    if (bytes.length < STARTUP_HEADER_BYTES) return
    const length = startupLength(bytes)
    if (length === undefined) {
      this.stream.destroy()
      return
    }
    if (bytes.length < length) return
    this.#startup = Buffer.alloc(0)
    const request = readStartup(bytes.subarray(0, length))
    if (request.kind === 'start') this.#start(request.parameters)
    else if (request.kind === 'cancel') {
      this.#events.cancel(request.processId, request.key)
      this.stream.end()
      return
    } else if (request.kind === 'unknown') {
      this.stream.destroy()
      return
    } else this.stream.write('N')
    if (bytes.length > length) this.#receive(bytes.subarray(length))
  }

  #start(parameters: readonly Parameter[]): void {
    this.settings = startupSettings(parameters)
    this.#started = true
    this.#events.startup(this)
  }

  #check(type: string, length: number): boolean {
    if (this.closed) return false
    const fault = frontendFault(type, length, this.copying, this.#messageLimit)
    if (fault === undefined) return true
    this.#clear()
    this.#copyData = []
    this.#events.broken(this, { sqlState: '08P01', message: fault })
    return false
  }

  #handle(type: string, bytes: Buffer): void {
    if (type === 'X') {
      this.#close()
      this.stream.end()
      return
    }
    if (this.copying) {
      this.#copyData.push(bytes)
      return
    }
    if (this.#skipping) {
      if (type !== 'S') return
      this.#skipping = false
      this.stream.write(message('Z', Buffer.from('I')))
      return
    }
    // What is left of a COPY that failed: a server ignores it too.
    if ('dcf'.includes(type) && this.#batch.length === 0) return
    const replaced = type === 'Q' ? this.names.replace(readText(bytes, HEADER_BYTES)[0], this.inTransaction) : undefined
    if (replaced !== undefined) {
      this.#push({ ...replaced, end: 'sync' })
      return
    }
    this.#batch.push(this.names.rewrite(type, bytes))
    this.#batchBytes += bytes.length
    if (type === 'Q' || type === 'S' || type === 'F') this.#finish('sync')
    else if (type === 'H' || this.#batchBytes > PORTION_BYTES) this.#finish('flush')
  }

  #finish(end: Batch['end']): void {
    const missing = this.names.takeMissing()
    if (missing !== undefined) this.#batch.unshift(missing)
    const bytes = this.#batch.length === 1 ? (this.#batch[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#batch)
    this.#clear()
    if (end === 'sync') this.names.endTurn()
    this.#push({ bytes, end, parsesFirst: missing !== undefined })
  }

  #clear(): void {
    this.#batch = []
    this.#batchBytes = 0
  }

  #push(batch: Batch): void {
    this.ready.push(batch)
    this.#ahead += batch.bytes.length
    this.#pauseIfAhead()
    this.#events.batch(this)
  }

  #pauseIfAhead(): void {
    if (this.#ahead + this.#copyAhead > AHEAD_LIMIT) this.stream.pause()
  }

  #readOn(): void {
    if (this.#ahead + this.#copyAhead <= AHEAD_LIMIT && this.stream.isPaused()) this.stream.resume()
  }

  #close(): void {
    if (this.closed) return
    this.closed = true
    this.#events.closed(this)
  }
}

/** The greeting after a start-up message, to a client that need not say any more who it is. */
export function greeting(connection: LogicalConnection, parameters: readonly Setting[]): Buffer {
  const own = new Map(connection.settings.map(([name, value]) => [name.toLowerCase(), value]))
  return Buffer.concat([
    message('R', int32(0)),
    ...parameters.map(([name, value]) => message('S', name, own.get(name.toLowerCase()) ?? value)),
    message('K', int32(connection.id), int32(connection.key)),
    message('Z', Buffer.from('I')),
  ])
}
