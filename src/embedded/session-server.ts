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
import { InProcessSocket } from './in-process-socket.ts'
import { type Batch, greeting, LogicalConnection, type TransactionStatus } from './logical-connection.ts'
import { OutputScanner } from './output-scanner.ts'
import { lossOf, OwnState, timeoutError, waitRefusal } from './refusal.ts'

export interface SessionServerOptions {
  /** How long a statement waits for another connection's open transaction before it is refused. */
  readonly lockWaitMs: number
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

const STATUS: Readonly<Record<string, TransactionStatus>> = { I: 'idle', T: 'transaction', E: 'failed' }

interface InternalWork {
  readonly text: string
  readonly resolve: (rows: string[][]) => void
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
  reason: 'request' | 'timeout'
  failed: boolean
  answer: string[][]
  error: string | undefined
}

export class SessionServer {
  readonly #options: SessionServerOptions
  readonly #openEngine: (events: EngineEvents) => Promise<Engine>
  readonly #observer: ServerObserver
  readonly #connections = new Map<number, LogicalConnection>()
  readonly #bySocket = new WeakMap<Duplex, LogicalConnection>()
  readonly #waiting: LogicalConnection[] = []
  readonly #work: InternalWork[] = []
  #engine: Engine | undefined
  #broken: Error | undefined
  #owner: LogicalConnection | undefined
  #ownerSince = 0
  #ownerIdleSince = 0
  #running: Running | undefined
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

  /** Serves a connection that arrived on `stream`. */
  attach(stream: Duplex): LogicalConnection {
    const connection = new LogicalConnection(this.#nextId++, stream, {
      startup: (started) => this.#startup(started),
      batch: (started) => this.#enqueue(started),
      copyData: (_, bytes) => this.#engine?.post(connection.id, bytes),
      cancel: (processId, key) => this.#cancelRequest(processId, key),
      closed: (gone) => this.#disconnected(gone),
    })
    return connection
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
  run(text: string): Promise<string[][]> {
    return new Promise((resolve, reject) => {
      this.#work.push({ text, resolve, reject })
      this.#next()
    })
  }

  /** True while a connection waits for its turn. */
  get contended(): boolean {
    return this.#waiting.length > 0
  }

  /** Ends the engine's own statement that runs now, if one does. */
  cancelWork(): void {
    if (this.#running?.work !== undefined) this.#cancelRunning('request')
  }

  /** Ends all connections and closes the engine; `discard` leaves the directory as it is, to be thrown away. */
  async close({ discard = false }: { readonly discard?: boolean } = {}): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const connection of this.#connections.values()) connection.stream.destroy()
    if (this.#running !== undefined) this.#cancelRunning('request')
    const deadline = performance.now() + CANCEL_PATIENCE_MS
    while (this.#engine?.busy && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 1))
    clearInterval(this.#timer)
    for (const work of this.#work.splice(0)) work.reject(new Error('closed'))
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
      const batch = owner.ready.shift()
      if (batch !== undefined) this.#dispatch(engine, owner, batch)
      return
    }
    const work = this.#work.shift()
    if (work !== undefined) {
      this.#start(engine, INTERNAL, query(work.text), { connection: undefined, batch: undefined, work })
      return
    }
    const connection = this.#waiting.shift()
    const batch = connection?.ready.shift()
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

  #start(engine: Engine, id: number, bytes: Buffer, what: Pick<Running, 'connection' | 'batch' | 'work'>): void {
    this.#running = {
      ...what,
      startedAt: performance.now(),
      scanner: new OutputScanner(what.work !== undefined || what.batch?.tag !== undefined),
      cancelledAt: undefined,
      reason: 'request',
      failed: false,
      answer: [],
      error: undefined,
    }
    this.#watch()
    engine.post(id, bytes)
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
      if (type === 'E') running.error = readFields(bytes.subarray(HEADER_BYTES)).get('M') ?? 'unknown error'
      if (type === 'D') running.answer.push(readTextRow(bytes))
      return EMPTY
    }
    if (connection === undefined) return EMPTY
    if (type === 'A') {
      this.#notify(bytes, connection)
      return connection.channels.has(readText(bytes, HEADER_BYTES + 4)[0]) ? undefined : EMPTY
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
  #notify(bytes: Buffer, running: LogicalConnection): void {
    const [channel] = readText(bytes, HEADER_BYTES + 4)
    for (const connection of this.#connections.values())
      if (connection !== running && connection.channels.has(channel)) connection.stream.write(Buffer.from(bytes))
  }

  #idle(): void {
    const running = this.#running
    const engine = this.#engine
    if (running === undefined || engine === undefined || engine.busy) return
    this.#running = undefined
    const { connection, work } = running
    if (work !== undefined) {
      if (running.error === undefined) work.resolve(running.answer)
      else work.reject(new Error(running.error))
    } else if (connection !== undefined) this.#finished(running, connection)
    if (this.#owner === undefined) this.#observer.free()
    this.#next()
  }

  #finished({ batch, failed }: Running, connection: LogicalConnection): void {
    if (batch?.tag !== undefined) {
      if (!failed) connection.stream.write(message('C', batch.tag))
      connection.stream.write(message('Z', Buffer.from('I')))
    }
    if (connection.channelsChanged) this.#listenAgain(connection)
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
    connection.channelsChanged = false
    const channels = new Set([...this.#connections.values()].flatMap((one) => [...one.channels]))
    if (channels.size === 0) return
    const text = [...channels].map((channel) => `listen "${channel.replaceAll('"', '""')}"`).join('; ')
    this.run(text).catch(() => this.#disconnectListeners())
  }

  #disconnectListeners(): void {
    for (const connection of this.#connections.values())
      if (connection.channels.size > 0)
        this.#end(connection, { sqlState: '57P01', message: 'The engine could not listen on the channels any more.' })
  }

  #refusedByEngine(text: string): void {
    const connection = this.#running?.connection
    this.#running = undefined
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
    const batch = connection.ready.shift()
    connection.outer = undefined
    connection.stream.write(errorResponse(fields))
    if (batch?.end === 'flush') connection.skipping = true
    else connection.stream.write(message('Z', Buffer.from('I')))
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
    connection.channels.clear()
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
    if (this.#timer !== undefined || this.#closed) return
    // It keeps the process alive while a statement waits or a transaction is open: else a process whose last hope is a
    // refusal would end before it, in silence.
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
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
    for (const waiter of [...this.#waiting]) this.#watchWaiter(waiter, now)
  }

  #watchRunning(engine: Engine, running: Running, now: number): void {
    if (running.cancelledAt !== undefined) {
      if (now - running.cancelledAt > CANCEL_PATIENCE_MS && !engine.held) void this.#giveUp(engine)
      else engine.cancel()
      return
    }
    if (running.connection === undefined) return
    const limit = engine.statementTimeoutMs()
    if (limit > 0 && now - running.startedAt >= limit) this.#cancelRunning('timeout')
  }

  async #giveUp(engine: Engine): Promise<void> {
    this.#engine = undefined
    await engine.terminate()
    this.#lostEngine(OwnState.unresponsive, `it did not answer a cancel within ${CANCEL_PATIENCE_MS} ms and was ended`)
  }

  #watchIdleTransaction(engine: Engine, owner: LogicalConnection, now: number): void {
    const limit = engine.idleInTransactionTimeoutMs()
    if (limit > 0 && owner.status !== 'idle' && now - this.#ownerIdleSince >= limit)
      this.#end(owner, { sqlState: '25P03', message: 'terminating connection due to idle-in-transaction timeout' })
  }

  #watchWaiter(waiter: LogicalConnection, now: number): void {
    const owner = this.#owner
    const idle = this.#running === undefined
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
