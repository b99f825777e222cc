/**
 * Many PostgreSQL connections over the one session of the engine. They take turns: a connection owns the engine from
 * its first message to the ReadyForQuery that says no transaction is open; the others wait in order of arrival.
 * Over 400 lines, because what is left here is one state machine over owner, running statement and waiters.
 */
import type { Duplex } from 'node:stream'
import { ConnectionError, UsageError } from '../errors.ts'
import { type ErrorFields, errorResponse, message, query } from '../wire/message.ts'
import type { Engine, EngineEvents } from './engine.ts'
import {
  type CancelReason,
  type EngineWork,
  type RunWork,
  type WorkOptions,
  WorkQueue,
  type WorkResult,
} from './engine-work.ts'
import { InProcessSocket } from './in-process-socket.ts'
import {
  type Admission,
  type Batch,
  type ConnectionEvents,
  greeting,
  LogicalConnection,
  type TransactionStatus,
} from './logical-connection.ts'
import { listenSql, notify } from './notification.ts'
import { lossOf, OwnState } from './refusal.ts'
import { type OutputEvents, RunningStatement, type Task } from './running-statement.ts'
import { dueCancel, dueRefusal, type Turn } from './turn-limit.ts'

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
  /** The engine became free; what is asked of it now runs before the next connection's turn. */
  free(): void
  /** An engine was opened, the first or a new one after a crash. */
  opened(engine: Engine): void
}

const TICK_MS = 20
const CANCEL_PATIENCE_MS = 2000
const INTERNAL = 0
/** The session of work that has one of its own. */
const FRESH = -1

const LETTER: Readonly<Record<TransactionStatus, string>> = { idle: 'I', transaction: 'T', failed: 'E' }

export class SessionServer {
  readonly #options: SessionServerOptions
  readonly #openEngine: (events: EngineEvents) => Promise<Engine>
  readonly #observer: ServerObserver
  readonly #connections = new Map<number, LogicalConnection>()
  readonly #bySocket = new WeakMap<Duplex, LogicalConnection>()
  readonly #waiting: LogicalConnection[] = []
  readonly #work = new WorkQueue(() => this.#next())
  #engine: Engine | undefined
  #broken: Error | undefined
  #owner: LogicalConnection | undefined
  #ownerSince = 0
  #ownerIdleSince = 0
  #running: RunningStatement | undefined
  /** Since when the running statement waits for its client to read. */
  #heldSince: number | undefined
  #nextId = 1
  #timer: NodeJS.Timeout | undefined
  #closed = false
  readonly #outputEvents: OutputEvents = {
    completed: (tag) => this.#observer.completed(tag),
    notified: (bytes) => notify(this.#connections.values(), bytes, this.#running?.connection),
  }

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
    return (await this.#work.run(text)).rows
  }

  /**
   * Keeps the engine for several statements, while no transaction is open: connections wait until `use` is done. Leases
   * and connections take turns. Rejects when the engine ends meanwhile, whatever was opened in its place.
   */
  async lease<T>(use: (run: RunWork) => Promise<T>): Promise<T> {
    return this.#work.lease(() => {
      const engine = this.#engine
      return use((text, options = {}) => this.#runLeased(engine, text, options))
    })
  }

  /** Refuses the leases that were not granted yet. */
  refuseLeases(): void {
    this.#work.refuseLeases(closedError())
  }

  #runLeased(engine: Engine | undefined, text: string, options: WorkOptions): Promise<WorkResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) reject(closedError())
      else if (engine === undefined || engine !== this.#engine)
        reject(new ConnectionError('ENGINE_TRAPPED', 'The embedded engine was restarted.'))
      else this.#startWork(engine, { text, options, leased: true, resolve, reject })
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
    this.#work.end(closedError())
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
    if (this.#work.leased) return
    const work = this.#work.take()
    if (work !== undefined) {
      this.#startWork(engine, work)
      return
    }
    if (this.#work.grant(this.#waiting.length > 0)) return
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
    this.#start(engine, connection.id, batch.bytes, { connection, batch })
  }

  #startWork(engine: Engine, work: EngineWork): void {
    const { session, settings = [], resets = false } = work.options
    if (session === 'new') engine.openConnection(FRESH, settings, { checked: true, resets })
    const id = session === undefined ? INTERNAL : FRESH
    this.#start(engine, id, query(work.text), { work })
  }

  #start(engine: Engine, id: number, bytes: Buffer, task: Task): void {
    this.#running = new RunningStatement(task)
    this.#watch()
    engine.post(id, bytes, { background: task.work?.leased === true })
  }

  #output(bytes: Buffer, taken: () => void): void {
    const running = this.#running
    const pass = running?.read(bytes, this.#outputEvents)
    if (pass === undefined || pass.length === 0) taken()
    else running?.connection?.stream.write(pass, () => taken())
  }

  #idle(): void {
    const running = this.#running
    const engine = this.#engine
    if (running === undefined || engine === undefined || engine.busy) return
    this.#running = undefined
    if (running.connection === undefined) running.settle()
    else this.#finished(running, running.connection)
    if (this.#owner === undefined) this.#observer.free()
    this.#next()
  }

  #finished({ batch, failed }: RunningStatement, connection: LogicalConnection): void {
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
    const text = listenSql(this.#connections.values())
    if (text === undefined) return
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
    else if (this.#waiting.includes(connection) && !connection.closed)
      this.#refuse(connection, { sqlState: '57014', message: 'canceling statement due to user request' })
  }

  #cancelRunning(reason: CancelReason): void {
    if (this.#running === undefined || !this.#engine?.busy) return
    this.#running.cancel(reason)
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
    running?.work?.reject(lossError(sqlState, text))
    const connections = [...this.#connections.values()]
    this.#connections.clear()
    for (const connection of connections) {
      const lost = { running: connection === running?.connection, inTransaction: connection.inTransaction }
      this.#end(connection, lossOf(lost, sqlState, text))
    }
    if (this.#closed) return
    this.start().catch((error: unknown) => this.#break(error instanceof Error ? error : new Error(String(error))))
  }

  /** The directory cannot be opened again: nothing runs any more. */
  #break(error: Error): void {
    this.#broken = error
    this.#work.end(error)
    for (const connection of this.#connections.values())
      this.#end(connection, { sqlState: '57P03', message: error.message })
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
    for (const waiter of [...this.#waiting]) {
      const refusal = dueRefusal(waiter, this.#turn(), this.#options.lockWaitMs, now)
      if (refusal !== undefined) this.#refuse(waiter, refusal)
    }
  }

  #watchRunning(engine: Engine, running: RunningStatement, now: number): void {
    if (running.cancelledAt !== undefined) {
      if (now - running.cancelledAt > CANCEL_PATIENCE_MS && !engine.held) void this.#giveUp(engine)
      else engine.cancel()
      return
    }
    const reason = dueCancel(running, this.#waiting, engine, now)
    if (reason !== undefined) this.#cancelRunning(reason)
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

  #turn(): Turn {
    return {
      owner: this.#owner,
      ownerSince: this.#ownerSince,
      ownerIdleSince: this.#ownerIdleSince,
      isRunning: this.#running !== undefined,
      heldSince: this.#heldSince,
    }
  }
}

const closedError = (): UsageError => new UsageError('CLOSED', 'The database is closed.')

/** What is told whoever waits for a statement of the engine's own in which the engine ended. */
function lossError(sqlState: string, text: string): ConnectionError {
  const { message: told, hint } = lossOf({ running: true, inTransaction: false }, sqlState, text)
  const code = sqlState === OwnState.unresponsive ? 'ENGINE_UNRESPONSIVE' : 'ENGINE_TRAPPED'
  return new ConnectionError(code, told, { hint })
}
