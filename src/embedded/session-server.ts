/**
 * Many PostgreSQL connections over the one session of the engine. They take turns: a connection owns the engine from
 * its first message to the ReadyForQuery that says no transaction is open; the others wait in order of arrival.
 * One state machine over owner, running statement and waiters, kept in one file: cut apart, its parts would share all
 * of that state.
 */
import type { Duplex } from 'node:stream'
import {
  type ErrorFields,
  errorResponse,
  HEADER_BYTES,
  message,
  query,
  readFields,
  readText,
  readTextRow,
} from '../wire/message.ts'
import type { Engine, EngineEvents } from './engine.ts'
import type { Setting } from './engine-message.ts'
import { UNREAD_LIMIT } from './engine-message.ts'
import { InProcessSocket } from './in-process-socket.ts'
import {
  type Admission,
  type Batch,
  type ConnectionEvents,
  greeting,
  LogicalConnection,
  type TransactionStatus,
} from './logical-connection.ts'
import { OutputScanner } from './output-scanner.ts'
import { lossOf, OwnState, readerRefusal, timeoutError, waitRefusal } from './refusal.ts'

/** How a statement of the engine's own runs. */
export interface WorkOptions {
  /** `new`: in a session of its own, with the settings of a new connection. `same`: in the one that began with `new`. */
  readonly session?: 'new' | 'same'
  /** Settings that the new session starts with. */
  readonly settings?: readonly Setting[]
  /** It is cancelled after this time; 0 is none. */
  readonly limitMs?: number
  /** It is cancelled when a connection has waited for it so long. */
  readonly yieldAfterMs?: number | undefined
  readonly signal?: AbortSignal
}

/** What a statement of the engine's own gave. */
export interface WorkResult {
  /** As text; NULL is empty. */
  readonly rows: string[][]
  readonly notices: readonly string[]
}

/** Runs SQL while no connection has its turn. */
export type RunWork = (text: string, options?: WorkOptions) => Promise<WorkResult>

/** A statement of the engine's own failed. */
export class WorkError extends Error {
  /** The fields of the server's ErrorResponse, by their letters. */
  readonly fields: ReadonlyMap<string, string>
  /** Set where it was cancelled by this side: on request, by its limit, or for a connection that waits. */
  readonly cancelled: Running['reason'] | undefined

  constructor(fields: ReadonlyMap<string, string>, cancelled: Running['reason'] | undefined) {
    super(fields.get('M') ?? 'unknown error')
    this.fields = fields
    this.cancelled = fields.get('C') === '57014' ? cancelled : undefined
  }
}

export interface SessionServerOptions {
  /** How long a statement waits for another connection's open transaction before it is refused. */
  readonly lockWaitMs: number
}

interface CloseOptions {
  readonly discard?: boolean
  readonly keep?: boolean
}

/** What the server tells its maintenance. */
export interface ServerObserver {
  /** A statement completed, with its command tag such as `INSERT 0 5`. */
  completed(tag: string): void
  /** The engine became free. True: something was started that must run before the next connection's turn. */
  free(): void
  /** An engine was opened, the first or a new one after a crash. */
  opened(engine: Engine): void
}

const TICK_MS = 20
/** A statement inside the open transaction it waits for is refused after this time; promised are 250 ms. */
const NESTED_WAIT_MS = 200
const CANCEL_PATIENCE_MS = 2000
const INTERNAL = 0
/** The session of work that has one of its own. */
const FRESH = -1

const STATUS: Readonly<Record<string, TransactionStatus>> = { I: 'idle', T: 'transaction', E: 'failed' }
const LETTER: Readonly<Record<TransactionStatus, string>> = { idle: 'I', transaction: 'T', failed: 'E' }

interface InternalWork {
  readonly text: string
  readonly options: WorkOptions
  /** Part of a lease: the engine's own business in the background, which keeps no process alive. */
  readonly leased: boolean
  readonly resolve: (result: WorkResult) => void
  readonly reject: (error: Error) => void
}

interface Lease {
  readonly granted: () => void
  readonly reject: (error: Error) => void
}

/** What the engine works on now. */
interface Running {
  readonly connection: LogicalConnection | undefined
  readonly batch: Batch | undefined
  readonly work: InternalWork | undefined
  readonly startedAt: number
  readonly scanner: OutputScanner
  cancelledAt: number | undefined
  reason: 'request' | 'timeout' | 'yield'
  failed: boolean
  /** False until the answer to a Parse came that the client did not send. */
  parsed: boolean
  answer: string[][]
  notices: string[]
  error: ReadonlyMap<string, string> | undefined
}

export class SessionServer {
  readonly #options: SessionServerOptions
  readonly #openEngine: (events: EngineEvents) => Promise<Engine>
  readonly #observer: ServerObserver
  readonly #connections = new Map<number, LogicalConnection>()
  readonly #bySocket = new WeakMap<Duplex, LogicalConnection>()
  readonly #waiting: LogicalConnection[] = []
  readonly #work: InternalWork[] = []
  readonly #leases: Lease[] = []
  /** While a lease is held, connections wait. */
  #leased = false
  /** True after a lease until a connection had its turn: they alternate. */
  #leasedLast = false
  #engine: Engine | undefined
  #broken: Error | undefined
  #owner: LogicalConnection | undefined
  #ownerSince = 0
  #ownerIdleSince = 0
  #running: Running | undefined
  /** Since when the running statement waits for its client to read. */
  #heldSince: number | undefined
  #nextId = 1
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(
    openEngine: (events: EngineEvents) => Promise<Engine>,
    options: SessionServerOptions,
    observer: ServerObserver,
  ) {
    this.#openEngine = openEngine
    this.#options = options
    this.#observer = observer
  }

  /** Opens the engine; connections may come before. */
  async start(): Promise<void> {
    const engine = await this.#openEngine({
      output: (bytes, taken) => this.#output(bytes, taken),
      idle: () => this.#idle(),
      copied: (bytes) => this.#running?.connection?.copyTaken(bytes),
      refused: (text) => this.#refusedByEngine(text),
      gone: (text) => this.#lostEngine(OwnState.trapped, text),
    })
    if (this.#closed) {
      await engine.close()
      return
    }
    this.#engine = engine
    for (const connection of this.#connections.values()) this.#greet(connection, engine)
    this.#observer.opened(engine)
    this.#next()
  }

  /** The client's end of a new connection inside this process. */
  connect(): InProcessSocket {
    const [client, server] = InProcessSocket.pair()
    this.#bySocket.set(client, this.attach(server))
    return client
  }

  /** Serves a connection that arrived on `stream`; `admission` where its start-up was read already. */
  attach(stream: Duplex, admission?: Admission): LogicalConnection {
    const events: ConnectionEvents = {
      startup: (started) => this.#startup(started),
      batch: (started) => this.#enqueue(started),
      copyData: (started, bytes) => this.#engine?.post(started.id, bytes),
      cancel: (processId, key) => this.cancel(processId, key),
      broken: (broken, fields) => this.end(broken, fields),
      closed: (gone) => this.#disconnected(gone),
    }
    return new LogicalConnection(this.#nextId++, stream, events, admission)
  }

  /** Cancels the statement that this connection runs or waits with; its key is what its client was given. */
  cancel(processId: number, key: number): void {
    this.#cancelRequest(processId, key)
  }

  /** Ends a connection with an error; its transaction is rolled back. */
  end(connection: LogicalConnection, fields: ErrorFields): void {
    if (!connection.closed) this.#end(connection, fields)
  }

  /**
   * Says that what `waiter` sends next was started inside the open transaction of `holder`: if it has to wait for
   * that transaction while no statement of it runs, it would wait for itself.
   */
  declareNested(waiter: Duplex, holder: Duplex | undefined): void {
    const connection = this.#bySocket.get(waiter)
    if (connection !== undefined) connection.outer = holder === undefined ? undefined : this.#bySocket.get(holder)
  }

  /** Runs SQL as the engine's own when nobody else needs it; gives its rows as text. */
  async run(text: string): Promise<string[][]> {
    const { rows } = await new Promise<WorkResult>((resolve, reject) => {
      this.#work.push({ text, options: {}, leased: false, resolve, reject })
      this.#next()
    })
    return rows
  }

  /**
   * Keeps the engine for several statements, while no transaction is open: connections wait until `use` is done. Leases
   * and connections take turns. Rejects when the engine ends meanwhile, whatever was opened in its place.
   */
  async lease<T>(use: (run: RunWork) => Promise<T>): Promise<T> {
    await new Promise<void>((granted, reject) => {
      this.#leases.push({ granted, reject })
      this.#next()
    })
    const engine = this.#engine
    try {
      return await use((text, options = {}) => this.#runLeased(engine, text, options))
    } finally {
      this.#leased = false
      this.#next()
    }
  }

  #runLeased(engine: Engine | undefined, text: string, options: WorkOptions): Promise<WorkResult> {
    return new Promise((resolve, reject) => {
      if (engine === undefined || engine !== this.#engine || this.#closed) {
        reject(new Error('the engine ended'))
        return
      }
      this.#startWork(engine, { text, options, leased: true, resolve, reject })
    })
  }

  /**
   * Ends all connections and closes the engine; `discard` leaves the directory as it is, to be thrown away, and `keep`
   * leaves the engine to whoever opened it.
   */
  async close({ discard = false, keep = false }: CloseOptions = {}): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const connection of this.#connections.values()) connection.stream.destroy()
    if (this.#running !== undefined) this.#cancelRunning('request')
    const deadline = performance.now() + CANCEL_PATIENCE_MS
    while (this.#engine?.busy && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1))
    clearInterval(this.#timer)
    for (const work of [...this.#work.splice(0), ...this.#leases.splice(0)]) work.reject(new Error('closed'))
    if (keep && !this.#engine?.busy) return
    if (discard || this.#engine?.busy) await this.#engine?.terminate()
    else await this.#engine?.close()
    this.#engine = undefined
  }

  #startup(connection: LogicalConnection): void {
    this.#connections.set(connection.id, connection)
    if (this.#broken !== undefined) this.#end(connection, { sqlState: '57P03', message: this.#broken.message })
    else if (this.#engine !== undefined) this.#greet(connection, this.#engine)
  }

  #greet(connection: LogicalConnection, engine: Engine): void {
    if (connection.settings.length > 0) engine.openConnection(connection.id, connection.settings)
    connection.stream.write(greeting(connection, engine.parameters))
  }

  #enqueue(connection: LogicalConnection): void {
    if (connection !== this.#owner && !this.#waiting.includes(connection)) this.#wait(connection)
    this.#next()
  }

  #wait(connection: LogicalConnection): void {
    connection.waitingSince = performance.now()
    this.#waiting.push(connection)
    this.#watch()
  }

  /** Gives the engine to whoever is next, if it is free. */
  #next(): void {
    const engine = this.#engine
    if (engine === undefined || engine.busy || this.#running !== undefined) return
    const owner = this.#owner
    if (owner !== undefined) {
      const batch = owner.take()
      if (batch !== undefined) this.#dispatch(engine, owner, batch)
      return
    }
    if (this.#leased) return
    const work = this.#work.shift()
    if (work !== undefined) {
      this.#startWork(engine, work)
      return
    }
    if (this.#leases.length > 0 && (this.#waiting.length === 0 || !this.#leasedLast)) {
      this.#leased = true
      this.#leasedLast = true
      this.#leases.shift()?.granted()
      return
    }
    this.#leasedLast = false
    const connection = this.#waiting.shift()
    const batch = connection?.take()
    if (connection === undefined || batch === undefined) return
    this.#owner = connection
    this.#ownerSince = performance.now()
    this.#dispatch(engine, connection, batch)
  }

  #dispatch(engine: Engine, connection: LogicalConnection, batch: Batch): void {
    connection.known = true
    connection.unsynced = true
    this.#start(engine, connection.id, batch.bytes, { connection, batch, work: undefined })
  }

  #startWork(engine: Engine, work: InternalWork): void {
    const { session, settings = [] } = work.options
    if (session === 'new') engine.openConnection(FRESH, settings)
    const id = session === undefined ? INTERNAL : FRESH
    this.#start(engine, id, query(work.text), { connection: undefined, batch: undefined, work })
  }

  #start(engine: Engine, id: number, bytes: Buffer, what: Pick<Running, 'connection' | 'batch' | 'work'>): void {
    this.#running = {
      ...what,
      startedAt: performance.now(),
      scanner: new OutputScanner(
        what.work !== undefined || what.batch?.tag !== undefined,
        what.batch?.parsesFirst === true,
      ),
      parsed: what.batch?.parsesFirst !== true,
      cancelledAt: undefined,
      reason: 'request',
      failed: false,
      answer: [],
      notices: [],
      error: undefined,
    }
    this.#watch()
    engine.post(id, bytes, { background: what.work?.leased === true })
  }

  #output(bytes: Buffer, taken: () => void): void {
    const running = this.#running
    if (running === undefined) {
      taken()
      return
    }
    const { connection } = running
    const pass = running.scanner.scan(bytes, (type, body) => this.#look(running, type, body))
    const swallowed = connection === undefined || connection.closed || running.batch?.tag !== undefined
    if (swallowed || pass.length === 0) taken()
    else connection.stream.write(pass, () => taken())
  }

  /** Sees the messages that steer the turn-taking. Gives what the connection gets instead: undefined is as it is. */
  #look(running: Running, type: string, bytes: Buffer): Buffer | undefined {
    const { connection, batch, work } = running
    if (work !== undefined) {
      if (type === 'E') running.error ??= readFields(bytes.subarray(HEADER_BYTES))
      else if (type === 'N') running.notices.push(readFields(bytes.subarray(HEADER_BYTES)).get('M') ?? '')
      else if (type === 'D') running.answer.push(readTextRow(bytes))
      else if (type === 'A') this.#notify(bytes, undefined)
      return EMPTY
    }
    if (connection === undefined) return EMPTY
    if (type === '1') {
      const sent = running.parsed
      running.parsed = true
      return sent ? undefined : EMPTY
    }
    if (type === 'A') {
      this.#notify(bytes, connection)
      return connection.names.channels.has(readText(bytes, HEADER_BYTES + 4)[0]) ? undefined : EMPTY
    }
    if (type === 'Z') {
      connection.status = STATUS[String.fromCharCode(bytes[HEADER_BYTES] ?? 0)] ?? 'idle'
      connection.unsynced = false
      connection.copying = false
    } else if (type === 'G') connection.copying = true
    else if (type === 'C') this.#observer.completed(readText(bytes, HEADER_BYTES)[0])
    else if (type === 'E') {
      running.failed = true
      connection.copying = false
      if (batch?.tag !== undefined) connection.stream.write(Buffer.from(bytes))
      if (running.reason === 'timeout' && running.cancelledAt !== undefined) return timeoutError(bytes)
    }
    return undefined
  }

  /** A notification goes to everybody who listens on its channel; the running connection gets it in its own stream. */
  #notify(bytes: Buffer, running: LogicalConnection | undefined): void {
    const [channel] = readText(bytes, HEADER_BYTES + 4)
    for (const connection of this.#connections.values())
      if (connection !== running && connection.names.channels.has(channel)) this.#tell(connection, Buffer.from(bytes))
  }

  /** A listener that reads nothing must not fill this process's memory. */
  #tell(connection: LogicalConnection, bytes: Buffer): void {
    if (connection.stream.writableLength > UNREAD_LIMIT) connection.stream.destroy()
    else connection.stream.write(bytes)
  }

  #idle(): void {
    const running = this.#running
    const engine = this.#engine
    if (running === undefined || engine === undefined || engine.busy) return
    this.#running = undefined
    const { connection, work } = running
    if (work !== undefined) {
      const { error, answer: rows, notices, cancelledAt, reason } = running
      if (error === undefined) work.resolve({ rows, notices })
      else work.reject(new WorkError(error, cancelledAt === undefined ? undefined : reason))
    } else if (connection !== undefined) this.#finished(running, connection)
    if (this.#owner === undefined) this.#observer.free()
    this.#next()
  }

  #finished({ batch, failed }: Running, connection: LogicalConnection): void {
    if (batch?.tag !== undefined) {
      if (!failed) connection.stream.write(message('C', batch.tag))
      connection.stream.write(message('Z', Buffer.from(LETTER[connection.status])))
    }
    if (connection.names.channelsChanged) this.#listenAgain(connection)
    this.#ownerIdleSince = performance.now()
    if (connection.inTransaction && !connection.closed) return
    if (connection.closed && connection.ready.length > 0) return
    this.#owner = undefined
    connection.outer = undefined
    if (connection.closed) this.#forget(connection)
    else if (connection.ready.length > 0) this.#wait(connection)
  }

  /** One connection's UNLISTEN ended the engine's listening for all: the others' channels are taken up again. */
  #listenAgain(connection: LogicalConnection): void {
    connection.names.channelsChanged = false
    const channels = new Set([...this.#connections.values()].flatMap((one) => [...one.names.channels]))
    if (channels.size === 0) return
    const text = [...channels].map((channel) => `listen "${channel.replaceAll('"', '""')}"`).join('; ')
    this.run(text).catch(() => this.#disconnectListeners())
  }

  #disconnectListeners(): void {
    for (const connection of this.#connections.values())
      if (connection.names.channels.size > 0)
        this.#end(connection, { sqlState: '57P01', message: 'The engine could not listen on the channels any more.' })
  }

  #refusedByEngine(text: string): void {
    const connection = this.#running?.connection
    const work = this.#running?.work
    this.#running = undefined
    work?.reject(new Error(text))
    if (connection !== undefined) {
      connection.known = false
      connection.unsynced = false
      this.#owner = undefined
      this.#end(connection, { sqlState: '22023', message: text })
    }
    this.#next()
  }

  #cancelRequest(processId: number, key: number): void {
    const connection = this.#connections.get(processId)
    if (connection === undefined || connection.key !== key) return
    if (this.#running?.connection === connection) this.#cancelRunning('request')
    else if (this.#waiting.includes(connection))
      this.#refuse(connection, { sqlState: '57014', message: 'canceling statement due to user request' })
  }

  #cancelRunning(reason: Running['reason']): void {
    const running = this.#running
    if (running === undefined || !this.#engine?.busy) return
    if (running.cancelledAt === undefined) {
      running.cancelledAt = performance.now()
      running.reason = reason
    }
    this.#engine.cancel()
  }

  /** Answers a waiting connection's next batch with an error; it was never given to the engine. */
  #refuse(connection: LogicalConnection, fields: ErrorFields): void {
    const at = this.#waiting.indexOf(connection)
    if (at >= 0) this.#waiting.splice(at, 1)
    const batch = connection.take()
    connection.outer = undefined
    connection.stream.write(errorResponse(fields))
    if (!connection.skipPipeline(batch)) connection.stream.write(message('Z', Buffer.from('I')))
    if (connection.ready.length > 0) this.#enqueue(connection)
  }

  #end(connection: LogicalConnection, fields: ErrorFields): void {
    connection.stream.end(errorResponse({ ...fields, severity: 'FATAL' }))
    if (!connection.closed) {
      connection.closed = true
      this.#disconnected(connection)
    }
  }

  #disconnected(connection: LogicalConnection): void {
    const at = this.#waiting.indexOf(connection)
    if (at >= 0) this.#waiting.splice(at, 1)
    connection.ready.length = 0
    const running = this.#running?.connection === connection
    // Nobody reads the answer any more: the engine is freed for the others.
    if (running) this.#cancelRunning('request')
    const bytes = running || this.#owner === connection || connection.known ? connection.farewell() : undefined
    if (bytes === undefined && !running) {
      if (this.#owner === connection) this.#owner = undefined
      this.#forget(connection)
      this.#next()
      return
    }
    connection.names.channels.clear()
    if (bytes !== undefined) connection.ready.push({ bytes, end: 'sync' })
    if (!running && this.#owner !== connection) this.#waiting.push(connection)
    this.#next()
  }

  #forget(connection: LogicalConnection): void {
    this.#connections.delete(connection.id)
    this.#engine?.forgetConnection(connection.id)
  }

  /** The engine crashed or was ended: its session is gone for everybody. The directory is opened again at once. */
  #lostEngine(sqlState: string, text: string): void {
    const running = this.#running
    this.#engine = undefined
    this.#running = undefined
    this.#owner = undefined
    this.#waiting.length = 0
    running?.work?.reject(new Error(text))
    const connections = [...this.#connections.values()]
    this.#connections.clear()
    for (const connection of connections) {
      const lost = { running: connection === running?.connection, inTransaction: connection.inTransaction }
      this.#end(connection, lossOf(lost, sqlState, text))
    }
    if (this.#closed) return
    this.start().catch((error: unknown) => {
      this.#broken = error instanceof Error ? error : new Error(String(error))
      for (const connection of this.#connections.values())
        this.#end(connection, { sqlState: '57P03', message: this.#broken.message })
    })
  }

  #watch(): void {
    if (this.#closed) return
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS)
    // It keeps the process alive while a statement waits or a transaction is open: else a process whose last hope is a
    // refusal would end before it, in silence.
    const background = this.#running?.work?.leased === true && this.#waiting.length === 0
    if (background) this.#timer.unref()
    else this.#timer.ref()
  }

  /** Everything that depends on time passing; runs only while there is something to watch. */
  #tick(): void {
    const engine = this.#engine
    if (engine === undefined) return
    const now = performance.now()
    const running = this.#running
    if (running !== undefined) this.#watchRunning(engine, running, now)
    else if (this.#owner !== undefined) this.#watchIdleTransaction(engine, this.#owner, now)
    else if (this.#waiting.length === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    this.#heldSince = running !== undefined && engine.held ? (this.#heldSince ?? now) : undefined
    for (const waiter of [...this.#waiting]) this.#watchWaiter(waiter, now)
  }

  #watchRunning(engine: Engine, running: Running, now: number): void {
    if (running.cancelledAt !== undefined) {
      if (now - running.cancelledAt > CANCEL_PATIENCE_MS && !engine.held) void this.#giveUp(engine)
      else engine.cancel()
      return
    }
    if (running.work !== undefined) {
      this.#watchWork(running, running.work.options, now)
      return
    }
    const limit = engine.statementTimeoutMs()
    if (limit > 0 && now - running.startedAt >= limit) this.#cancelRunning('timeout')
  }

  #watchWork({ startedAt }: Running, { limitMs = 0, yieldAfterMs, signal }: WorkOptions, now: number): void {
    const since = this.#waiting.reduce((first, { waitingSince }) => Math.min(first, waitingSince), now)
    if (signal?.aborted) this.#cancelRunning('request')
    else if (limitMs > 0 && now - startedAt >= limitMs) this.#cancelRunning('timeout')
    else if (yieldAfterMs !== undefined && now - Math.max(since, startedAt) >= yieldAfterMs)
      this.#cancelRunning('yield')
  }

  async #giveUp(engine: Engine): Promise<void> {
    this.#engine = undefined
    await engine.terminate()
    this.#lostEngine(OwnState.unresponsive, `it did not answer a cancel within ${CANCEL_PATIENCE_MS} ms and was ended`)
  }

  #watchIdleTransaction(engine: Engine, owner: LogicalConnection, now: number): void {
    const limit = engine.idleInTransactionTimeoutMs()
    if (limit > 0 && owner.inTransaction && now - this.#ownerIdleSince >= limit)
      this.#end(owner, { sqlState: '25P03', message: 'terminating connection due to idle-in-transaction timeout' })
  }

  #watchWaiter(waiter: LogicalConnection, now: number): void {
    const owner = this.#owner
    const idle = this.#running === undefined
    const unread = this.#heldSince === undefined ? 0 : now - Math.max(waiter.waitingSince, this.#heldSince)
    if (unread > this.#options.lockWaitMs) {
      this.#refuse(waiter, readerRefusal(unread))
      return
    }
    // A single statement, however long, is waited for; a transaction is not.
    if (owner === undefined || !(idle ? owner.inTransaction : owner.status !== 'idle')) return
    const nested = waiter.outer === owner && idle
    const waited = now - Math.max(waiter.waitingSince, nested ? this.#ownerIdleSince : this.#ownerSince)
    const limit = nested ? Math.min(NESTED_WAIT_MS, this.#options.lockWaitMs) : this.#options.lockWaitMs
    if (waited < limit) return
    this.#refuse(waiter, waitRefusal(nested, waited))
  }
}

const EMPTY = Buffer.alloc(0)
