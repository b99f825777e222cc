/**
 * The thread in which Parquet is read and written. The library (WASM) panics on a damaged page and where memory ends, often
 * in a callback of its own, where no caller could catch it: the process would end. In a thread of its own it is only that
 * which ends.
 */
import { Worker } from 'node:worker_threads'
import { compileInTurn, hasWasmOptions } from '../embedded/compile-turn.ts'
import { UnsupportedError } from '../errors.ts'

// As the embedded engine's: compiled code also when this file runs from src. Both src/results and dist/results lead there.
const WORKER = new URL('../../dist/results/parquet-worker.js', import.meta.url)

/** What the thread is asked. A file is read, or one is written. */
export type ParquetRequest =
  | { readonly kind: 'open'; readonly path: string }
  | { readonly kind: 'group'; readonly group: number }
  | { readonly kind: 'sample'; readonly rows: number }
  | { readonly kind: 'create'; readonly rowGroupRows: number }
  | { readonly kind: 'batch'; readonly ipc: Uint8Array }
  | { readonly kind: 'end' }

/** What it answers. */
export interface ParquetAnswer {
  /** Of a file that is read the Arrow IPC stream; of one that is written its next bytes. */
  readonly blocks: readonly Uint8Array[]
  /** Of a file that was opened: the rows of each row group. */
  readonly groups: readonly number[]
}

/** The library, compiled for what a thread does. */
export type ParquetModules = Partial<Record<'reading' | 'writing', WebAssembly.Module>>

/** What the thread is started with. */
export interface ParquetStart {
  /** The library, where a thread before has compiled it. */
  readonly compiled: ParquetModules
  /** Whether V8's optimiser may be held off it, which takes a flag of the whole process. */
  readonly plainCode: boolean
}

/** What the thread sends. */
export type ParquetReply =
  | { readonly kind: 'compiled'; readonly modules: ParquetModules }
  | ({ readonly kind: 'answer' } & ParquetAnswer)
  | { readonly kind: 'failed' | 'damaged' | 'missing'; readonly message: string }

/** The library has ended its thread. */
export class ParquetCrash extends Error {}

/** What is wrong with the bytes of the file, without quoting any. */
export class ParquetDamage extends Error {}

/** Compiled once per process: it takes longer than a small file. */
let compiled: ParquetModules = {}

interface Waiting {
  resolve(answer: ParquetAnswer): void
  reject(error: unknown): void
}

/** One thread for one file. It keeps a process alive only while it is asked something. */
export class ParquetThread {
  readonly #worker: Worker
  #waiting: Waiting | undefined
  #ended: Error | undefined
  /** Called with its first word, and with its end. */
  #heard: (() => void) | undefined
  #first = true

  constructor() {
    // Its output is that of panics, which are reported otherwise.
    this.#worker = new Worker(WORKER, {
      workerData: { compiled, plainCode: !hasWasmOptions } satisfies ParquetStart,
      // Short-lived objects are few: the heap need not grow for them.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
      execArgv: [],
      stdout: true,
      stderr: true,
    })
    this.#worker.on('message', (reply: ParquetReply) => this.#receive(reply))
    this.#worker.on('error', (cause) => this.#end(new ParquetCrash('the library crashed', { cause })))
    this.#worker.on('exit', () => this.#end(new ParquetCrash('its thread ended')))
    this.#worker.unref()
  }

  /**
   * Asks one thing after another.
   * @param transfer - buffers that are given away
   * @throws UnsupportedError PACKAGE_MISSING; ParquetDamage; ParquetCrash, after which nothing can be asked; Error with what the library says
   */
  ask(request: ParquetRequest, transfer: readonly ArrayBufferLike[] = []): Promise<ParquetAnswer> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    if (this.#waiting !== undefined) throw new TypeError('The thread has not answered yet')
    this.#worker.ref()
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      const post = (): void => {
        this.#worker.postMessage(
          request,
          transfer.filter((buffer) => buffer instanceof ArrayBuffer),
        )
      }
      if (this.#first && compiled[request.kind === 'create' ? 'writing' : 'reading'] === undefined)
        this.#inTurn(post).catch(reject)
      else post()
      this.#first = false
    })
  }

  /** With the first request it compiles the library. */
  #inTurn(post: () => void): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      this.#heard = resolve
    })
    return compileInTurn(() => {
      post()
      return heard
    })
  }

  /** Ends the thread, whatever it does; its memory is free then. */
  async close(): Promise<void> {
    this.#end(new ParquetCrash('its thread was ended'))
    await this.#worker.terminate()
  }

  #receive(reply: ParquetReply): void {
    this.#heard?.()
    if (reply.kind === 'compiled') {
      compiled = { ...compiled, ...reply.modules }
      return
    }
    const waiting = this.#waiting
    this.#waiting = undefined
    this.#worker.unref()
    if (reply.kind === 'answer') waiting?.resolve(reply)
    else waiting?.reject(refusal(reply.kind, reply.message))
  }

  #end(error: Error): void {
    this.#heard?.()
    this.#ended ??= error
    this.#waiting?.reject(this.#ended)
    this.#waiting = undefined
  }
}

function refusal(kind: 'failed' | 'damaged' | 'missing', message: string): Error {
  if (kind === 'missing') return packageMissing(message)
  return kind === 'damaged' ? new ParquetDamage(message) : new Error(message)
}

function packageMissing(message: string): UnsupportedError {
  return new UnsupportedError('PACKAGE_MISSING', 'Parquet needs the package parquet-wasm.', {
    feature: 'parquet',
    hint: 'npm install parquet-wasm@0.7.2',
    cause: new Error(message),
  })
}
