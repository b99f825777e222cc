/**
 * One engine in its worker thread, seen from the main thread: takes protocol bytes, gives protocol bytes, can be
 * cancelled while it computes. One user at a time: the session server.
 */
import { Worker } from 'node:worker_threads'
import { ConnectionError } from '../errors.ts'
import {
  ControlWord,
  type FromWorker,
  type Setting,
  type SharedHeap,
  type ToWorker,
  UNREAD_LIMIT,
  type WorkerStart,
} from './engine-message.ts'
import { engineModules, enginePackageDirectory, extensionScripts } from './engine-package.ts'

// The worker is compiled code also when this file runs from src (tests): from both src/embedded and dist/embedded
// this path leads to dist/embedded.
const WORKER = new URL('../../dist/embedded/engine-worker.js', import.meta.url)
const STACK_MB = 16

export interface EngineEvents {
  /** Bytes of the running connection. Call `taken` when they were passed on: until then the engine may be held back. */
  output(bytes: Buffer, taken: () => void): void
  /** All inputs posted so far were worked on. */
  idle(): void
  /** A COPY took so many bytes of what was posted for it. */
  copied(bytes: number): void
  /** The session of the connection whose input came last could not be restored; the input was not run. */
  refused(message: string): void
  /** The engine is gone: it trapped, or its thread ended. Nothing more comes. */
  gone(message: string): void
}

export interface EngineOptions {
  readonly dataDirectory: string
  readonly durability: 'fsync' | 'process'
  /** True for a directory without the extension, which is then created. */
  readonly create?: boolean
  /** Nanoseconds between the machine's monotonic clock and the engine's, read at each look at the time. */
  readonly clock?: SharedArrayBuffer | undefined
}

/** Opens a data directory in a worker. The caller holds the directory's lock. */
export async function openEngine(options: EngineOptions, events: EngineEvents): Promise<Engine> {
  const { dataDirectory, durability, create = false, clock } = options
  // Looked up first: a package that is missing is reported as that.
  enginePackageDirectory()
  const control = new SharedArrayBuffer(8)
  const worker = new Worker(WORKER, {
    workerData: { dataDirectory, durability, create, control, clock } satisfies WorkerStart,
    resourceLimits: { stackSizeMb: STACK_MB },
    // Flags of the main program, such as --input-type or a loader of its own, are not for this compiled file.
    execArgv: [],
    // The package prints nothing of use; its chatter must not reach the user's terminal.
    stdout: true,
    stderr: true,
  })
  const ready = await started(worker, create).catch(async (cause: unknown) => {
    await worker.terminate()
    throw new ConnectionError('CONNECTION_FAILED', `The embedded engine could not open ${dataDirectory}.`, {
      hint: 'Free disk space if the disk is full; otherwise restore the directory from a copy.',
      cause,
    })
  })
  for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event)
  return new Engine(worker, new Int32Array(control), ready.heap, ready.parameters, events)
}

async function started(worker: Worker, create: boolean): Promise<Extract<FromWorker, { kind: 'ready' }>> {
  const ready = new Promise<Extract<FromWorker, { kind: 'ready' }>>((resolve, reject) => {
    worker.once('message', (message: FromWorker) => {
      if (message.kind === 'ready') resolve(message)
      else reject(new Error(`unexpected ${message.kind}`))
    })
    worker.once('error', reject)
    worker.once('exit', (code) => reject(new Error(`the engine's thread ended with ${code}`)))
  })
  const send = async (): Promise<never> => {
    const [modules, scripts] = await Promise.all([engineModules(), create ? extensionScripts() : []])
    worker.postMessage({ kind: 'modules', modules, scripts } satisfies ToWorker)
    return new Promise(() => undefined)
  }
  return Promise.race([ready, send()])
}

/** A running engine. */
export class Engine {
  /** The settings a server reports at the start of a session. */
  readonly parameters: readonly Setting[]
  readonly #worker: Worker
  readonly #control: Int32Array
  readonly #heap: SharedHeap
  #events: EngineEvents
  #posted = 0
  #consumed = 0
  /** Bytes passed on that the engine was not told of yet. */
  #taken = 0
  #closed: (() => void) | undefined
  #rewound: ((done: boolean) => void) | undefined
  #gone = false

  constructor(
    worker: Worker,
    control: Int32Array,
    heap: SharedHeap,
    parameters: readonly Setting[],
    events: EngineEvents,
  ) {
    this.#worker = worker
    this.#control = control
    this.#heap = heap
    this.parameters = parameters
    this.#events = events
    worker.on('message', (message: FromWorker) => this.#receive(message))
    worker.on('error', (error) => this.#lose(error.message))
    worker.on('exit', () => this.#lose('its thread ended'))
    // An idle engine keeps no process alive; a working one does.
    worker.unref()
    // A late CREATE EXTENSION reports what is missing, should the package be damaged.
    extensionScripts().then(
      (scripts) => this.#send({ kind: 'scripts', scripts }),
      () => undefined,
    )
  }

  get busy(): boolean {
    return this.#posted > this.#consumed
  }

  /** True while the engine waits for a connection to read what it was sent. */
  get held(): boolean {
    return Atomics.load(this.#control, ControlWord.unread) > UNREAD_LIMIT
  }

  /**
   * Whole frontend messages of one connection. While a COPY reads its data they are taken as more of it. Work in the
   * background keeps no process alive.
   */
  post(connection: number, bytes: Uint8Array, { background = false }: { readonly background?: boolean } = {}): void {
    if (!this.busy && !background) this.#worker.ref()
    this.#posted++
    this.#send({ kind: 'input', connection, bytes })
    this.#wake()
  }

  /** `checked`: the settings are our own and valid. `resets`: all are reset when another connection has its turn. */
  openConnection(
    connection: number,
    settings: readonly Setting[],
    { checked = false, resets = false }: { readonly checked?: boolean; readonly resets?: boolean } = {},
  ): void {
    this.#send({ kind: 'open', connection, settings, checked, resets })
  }

  forgetConnection(connection: number): void {
    this.#send({ kind: 'forget', connection })
    this.#wake()
  }

  /** Ends the running statement with 57014, within milliseconds. Only while `busy`: else it would hit the next one. */
  cancel(): void {
    const words = new Int32Array(this.#heap.memory.buffer)
    Atomics.store(words, this.#heap.queryCancelPending >> 2, 1)
    Atomics.store(words, this.#heap.interruptPending >> 2, 1)
    // The latch ends pg_sleep and other waits.
    Atomics.store(words, (words[this.#heap.latchPointer >> 2] ?? 0) >> 2, 1)
    this.#wake()
  }

  /** Bytes of WAL written since the engine started. */
  walBytes(): bigint {
    return new BigUint64Array(this.#heap.memory.buffer)[this.#heap.walBytes >> 3] ?? 0n
  }

  /** `statement_timeout` as the session has it at this moment; 0 is none. */
  statementTimeoutMs(): number {
    return new Int32Array(this.#heap.memory.buffer)[this.#heap.statementTimeout >> 2] ?? 0
  }

  /** `idle_in_transaction_session_timeout` as the session has it at this moment; 0 is none. */
  idleInTransactionTimeoutMs(): number {
    return new Int32Array(this.#heap.memory.buffer)[this.#heap.idleInTransactionTimeout >> 2] ?? 0
  }

  /** Whom it tells from now on. */
  listen(events: EngineEvents): void {
    this.#events = events
  }

  /** Remembers this moment, before the first connection; `rewind` goes back to it. */
  async snapshot(): Promise<void> {
    await this.#ask('snapshot')
  }

  /**
   * Goes back to the snapshot: memory and files. The engine must be idle. False where that is not possible any more,
   * because the engine is gone or has loaded a library since.
   */
  async rewind(): Promise<boolean> {
    return !this.#gone && (await this.#ask('rewind'))
  }

  #ask(kind: 'snapshot' | 'rewind'): Promise<boolean> {
    this.#worker.ref()
    return new Promise((resolve) => {
      this.#rewound = resolve
      this.#send({ kind })
      this.#wake()
    })
  }

  /** Checkpoints and shuts down. The engine must be idle. */
  async close(): Promise<void> {
    if (this.#gone) return
    this.#worker.ref()
    await new Promise<void>((resolve) => {
      this.#closed = resolve
      this.#send({ kind: 'close' })
      this.#wake()
    })
    await this.terminate()
  }

  /** Ends the thread at once, whatever it does. Everything committed is in the WAL. */
  async terminate(): Promise<void> {
    this.#gone = true
    await this.#worker.terminate()
  }

  #send(message: ToWorker): void {
    if (!this.#gone) this.#worker.postMessage(message)
  }

  #wake(): void {
    Atomics.add(this.#control, ControlWord.posted, 1)
    Atomics.notify(this.#control, ControlWord.posted)
  }

  #receive(message: FromWorker): void {
    if (message.kind === 'output') this.#deliver(message.bytes)
    else if (message.kind === 'idle') {
      if (message.bytes !== undefined && message.bytes.length > 0) this.#deliver(message.bytes)
      this.#settle(message.consumed)
      this.#events.idle()
    } else if (message.kind === 'copied') this.#events.copied(message.bytes)
    else if (message.kind === 'refused') {
      this.#settle(message.consumed)
      this.#events.refused(message.message)
    } else if (message.kind === 'trap') this.#lose(message.message)
    else if (message.kind === 'closed') this.#closed?.()
    else if (message.kind === 'rewound') {
      if (!this.busy) this.#worker.unref()
      this.#rewound?.(message.done)
    }
  }

  #deliver(bytes: Uint8Array): void {
    this.#events.output(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), () => this.#take(bytes.length))
  }

  /**
   * Tells the engine what was passed on, after a turn of the event loop. Told at once it would always have the next
   * message ready, of which Node hands out 1000 in a row: no timer and no socket had its turn for seconds.
   */
  #take(bytes: number): void {
    this.#taken += bytes
    if (this.#taken > bytes) return
    setImmediate(() => {
      Atomics.sub(this.#control, ControlWord.unread, this.#taken)
      Atomics.notify(this.#control, ControlWord.unread)
      this.#taken = 0
    })
  }

  #settle(consumed: number): void {
    this.#consumed = consumed
    if (!this.busy) this.#worker.unref()
  }

  #lose(message: string): void {
    if (this.#gone) return
    this.#gone = true
    this.#closed?.()
    this.#rewound?.(false)
    void this.#worker.terminate()
    this.#events.gone(message)
  }
}
