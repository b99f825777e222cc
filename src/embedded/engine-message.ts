/**
 * What the main thread and the engine's worker say to each other. Bytes are whole messages of the PostgreSQL
 * frontend/backend protocol 3.0; results come back as the bytes the engine wrote, in any portions.
 */

/** What the worker is started with. The modules follow in a message, so that both threads work meanwhile. */
export interface WorkerStart {
  readonly dataDirectory: string
  readonly durability: 'fsync' | 'process'
  /** True for a directory without the extension: it is created. */
  readonly create: boolean
  /** Words both threads read and write; see `ControlWord`. */
  readonly control: SharedArrayBuffer
  /** Nanoseconds between the machine's monotonic clock and the engine's. */
  readonly clock: SharedArrayBuffer | undefined
}

/** A file of the engine's package, by its path in the engine's own file system. */
export interface EngineFile {
  readonly name: string
  readonly bytes: Uint8Array
}

/** WASM compiled once per process: the engine, and the libraries it loads. */
export interface EngineModules {
  readonly main: WebAssembly.Module
  readonly libraries: readonly (EngineFile & { readonly module: WebAssembly.Module })[]
}

/** Indexes into the shared control words. */
export const ControlWord: { readonly posted: 0; readonly unread: 1 } = {
  /** Counts inputs posted; the worker sleeps on it when a COPY wants more. */
  posted: 0,
  /** Bytes written by the engine and not yet taken by their connection; the worker sleeps on it when too many. */
  unread: 1,
}

/** Bytes the engine may be ahead of a slow reader. */
export const UNREAD_LIMIT: number = 8 << 20

export type ToWorker =
  /** The first message. */
  | { readonly kind: 'modules'; readonly modules: EngineModules; readonly scripts: readonly EngineFile[] }
  /** Files for CREATE EXTENSION, which no start needs. */
  | { readonly kind: 'scripts'; readonly scripts: readonly EngineFile[] }
  /** Frontend messages of one connection. Another connection than before: its session settings are restored first. */
  | { readonly kind: 'input'; readonly connection: number; readonly bytes: Uint8Array }
  /**
   * A new connection with the settings of its start-up message, applied before its first input; `checked` where they
   * are our own and valid.
   */
  | {
      readonly kind: 'open'
      readonly connection: number
      readonly settings: readonly Setting[]
      readonly checked: boolean
      readonly resets: boolean
    }
  | { readonly kind: 'forget'; readonly connection: number }
  /** Remembers this moment, of an engine that nobody uses. */
  | { readonly kind: 'snapshot' }
  /** Goes back to the moment of the snapshot. */
  | { readonly kind: 'rewind' }
  | { readonly kind: 'close' }

export type FromWorker =
  | { readonly kind: 'ready'; readonly heap: SharedHeap; readonly parameters: readonly Setting[] }
  /** Bytes the engine wrote for the connection whose input it works on. */
  | { readonly kind: 'output'; readonly bytes: Uint8Array }
  /** The engine waits for input; `consumed` inputs were taken since it started. */
  | { readonly kind: 'idle'; readonly consumed: number; readonly bytes?: Uint8Array }
  /** A COPY took so many bytes of input. */
  | { readonly kind: 'copied'; readonly bytes: number }
  /** The session settings of this connection could not be restored; its input was not run. */
  | { readonly kind: 'refused'; readonly consumed: number; readonly message: string }
  /** The snapshot was taken, or put back; false: it cannot be put back any more. */
  | { readonly kind: 'rewound'; readonly done: boolean }
  | { readonly kind: 'closed' }
  /** The engine trapped: this worker is of no more use. */
  | { readonly kind: 'trap'; readonly message: string }

/** A session setting, by name and text. */
export type Setting = readonly [name: string, value: string]

/** Where in the shared heap the main thread finds what it writes and reads while the engine works. Byte addresses. */
export interface SharedHeap {
  readonly memory: WebAssembly.Memory
  readonly interruptPending: number
  readonly queryCancelPending: number
  /** Address of a pointer to the latch that wakes pg_sleep and other waits. */
  readonly latchPointer: number
  /** uint64: bytes of WAL this engine wrote since it started. */
  readonly walBytes: number
  readonly statementTimeout: number
  readonly idleInTransactionTimeout: number
}
