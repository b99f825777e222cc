import { HEADER_BYTES, readFields, readText, readTextRow } from '../wire/message.ts'
import { type CancelReason, type EngineWork, WorkError } from './engine-work.ts'
import type { Batch, LogicalConnection, TransactionStatus } from './logical-connection.ts'
import { OutputScanner } from './output-scanner.ts'
import { timeoutError } from './refusal.ts'

const STATUS: Readonly<Record<string, TransactionStatus>> = { I: 'idle', T: 'transaction', E: 'failed' }
const EMPTY = Buffer.alloc(0)

/** What is run: a batch of a connection, or a statement of the engine's own. */
export interface Task {
  readonly connection?: LogicalConnection
  readonly batch?: Batch
  readonly work?: EngineWork
}

/** What its output tells others. */
export interface OutputEvents {
  /** A statement completed, with its command tag such as `INSERT 0 5`. */
  completed(tag: string): void
  /** A NotificationResponse. */
  notified(bytes: Buffer): void
}

/** What the engine works on now, and what its output has said so far. */
export class RunningStatement {
  readonly connection: LogicalConnection | undefined
  readonly batch: Batch | undefined
  readonly work: EngineWork | undefined
  readonly startedAt: number = performance.now()
  cancelledAt: number | undefined
  failed = false
  readonly #scanner: OutputScanner
  #reason: CancelReason = 'request'
  /** False until the answer to a Parse came that the client did not send. */
  #parsed: boolean
  readonly #answer: string[][] = []
  readonly #notices: string[] = []
  #error: ReadonlyMap<string, string> | undefined

  constructor({ connection, batch, work }: Task) {
    this.connection = connection
    this.batch = batch
    this.work = work
    const parsesFirst = batch?.parsesFirst === true
    this.#scanner = new OutputScanner(work !== undefined || batch?.tag !== undefined, parsesFirst)
    this.#parsed = !parsesFirst
  }

  /** Remembers when and why it was cancelled first. */
  cancel(reason: CancelReason): void {
    if (this.cancelledAt !== undefined) return
    this.cancelledAt = performance.now()
    this.#reason = reason
  }

  /** Reads a portion of the output; gives what of it is for the connection. */
  read(bytes: Buffer, events: OutputEvents): Buffer {
    const pass = this.#scanner.scan(bytes, (type, each) => this.#look(type, each, events))
    const swallowed = this.connection === undefined || this.connection.closed || this.batch?.tag !== undefined
    return swallowed ? EMPTY : pass
  }

  /** Tells who waits for the engine's own statement how it ended. */
  settle(): void {
    if (this.#error === undefined) this.work?.resolve({ rows: this.#answer, notices: this.#notices })
    else this.work?.reject(new WorkError(this.#error, this.cancelledAt === undefined ? undefined : this.#reason))
  }

  /** Sees the messages that steer the turn-taking. Gives what the connection gets instead: undefined is as it is. */
  #look(type: string, bytes: Buffer, events: OutputEvents): Buffer | undefined {
    const { connection } = this
    if (type === 'A') events.notified(bytes)
    if (connection === undefined) return this.#keep(type, bytes)
    if (type === '1') {
      const sent = this.#parsed
      this.#parsed = true
      return sent ? undefined : EMPTY
    }
    if (type === 'A') return connection.names.channels.has(readText(bytes, HEADER_BYTES + 4)[0]) ? undefined : EMPTY
    if (type === 'Z') {
      connection.status = STATUS[String.fromCharCode(bytes[HEADER_BYTES] ?? 0)] ?? 'idle'
      connection.unsynced = false
      connection.copying = false
    } else if (type === 'G') connection.copying = true
    else if (type === 'C') {
      // What comes now is no data any more, also where the Sync comes later than the CopyDone.
      connection.copying = false
      events.completed(readText(bytes, HEADER_BYTES)[0])
    } else if (type === 'E') return this.#fail(connection, bytes)
    return undefined
  }

  #fail(connection: LogicalConnection, bytes: Buffer): Buffer | undefined {
    this.failed = true
    connection.copying = false
    if (this.batch?.tag !== undefined) connection.stream.write(Buffer.from(bytes))
    return this.#reason === 'timeout' && this.cancelledAt !== undefined ? timeoutError(bytes) : undefined
  }

  /** What a statement of the engine's own answered goes to nobody's stream. */
  #keep(type: string, bytes: Buffer): Buffer {
    if (type === 'E') this.#error ??= readFields(bytes.subarray(HEADER_BYTES))
    else if (type === 'N') this.#notices.push(readFields(bytes.subarray(HEADER_BYTES)).get('M') ?? '')
    else if (type === 'D') this.#answer.push(readTextRow(bytes))
    return EMPTY
  }
}
