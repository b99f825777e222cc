/**
 * What this library changes in the engine while it starts, through the one seam the package offers: an "extension"
 * whose `setup` rewrites the options of the WASM module. Three things are needed to keep data safe: a stack of 64 MB
 * (the build has 64 KB, unchecked, and TimescaleDB uses 50 of them), a real fsync (the build has none), and a heap that
 * the main thread shares (to cancel a running statement). The fourth, a clock that can be moved, is for tests.
 */
import fs from 'node:fs'
import { join } from 'node:path'
import { MAXIMUM_PAGES } from './wasm-memory.ts'

/** An open file of the engine. */
export interface FileStream {
  fd: number
  position: number
  readonly path: string
  readonly flags: number
  /** The descriptor of the process, for files of the host. */
  readonly nfd?: number
}

/** A file or directory that the engine knows. */
export interface FileNode {
  readonly name_next?: FileNode | null
  /** `root`: the directory of this machine that is mounted; undefined for files in memory. */
  readonly mount: { readonly opts: { readonly root?: string } }
}

/** The part of an Emscripten module that is used here. */
export interface EngineModule {
  readonly FS: {
    readonly streams: (FileStream | null | undefined)[]
    open(path: string, flags: number): FileStream
    close(stream: FileStream): void
    mkdirTree(path: string): void
    writeFile(path: string, bytes: Uint8Array): void
    /** What has been looked up, by a hash of its name; a name is not looked up again. */
    readonly nameTable: (FileNode | null | undefined)[]
    hashRemoveNode(node: FileNode): void
    readonly filesystems: {
      readonly NODEFS: { readonly stream_ops: Record<string, unknown>; realPath(node: FileNode): string }
    }
  }
  readonly HEAPU8: Uint8Array
  addFunction(call: (pointer: number, length: number) => number, signature: string): number
  _set_read_write_cbs(read: number, write: number): void
  _interactive_one(length: number, firstByte: number): void
  _pgl_shutdown(): void
}

type Done = (instance: WebAssembly.Instance, module: WebAssembly.Module) => void

interface ModuleOptions {
  instantiateWasm(imports: WebAssembly.Imports, done: Done): unknown
  onRuntimeInitialized?: () => void
  preRun?: ((module: EngineModule) => void)[]
  INITIAL_MEMORY?: number
  wasmMemory?: WebAssembly.Memory
}

/** The engine from outside: its memory, its exported functions and where its data lies. */
export interface EngineHandle {
  readonly memory: WebAssembly.Memory
  /** Calls an exported C function; pointers are numbers. */
  call(name: string, ...args: number[]): number
  /** The address of an exported C variable. */
  address(name: string): number
  /** How many functions can be called by address: it grows with each library that is loaded. */
  tableLength(): number
}

export interface HookOptions {
  readonly dataDirectory: string
  readonly fsync: boolean
  /** Nanoseconds between the machine's monotonic clock and the engine's; undefined: its clock is the machine's. */
  readonly clock: SharedArrayBuffer | undefined
  readonly onInstance: (engine: EngineHandle) => void
}

const STACK_BYTES = 64 << 20
const ERRNO_IO = 29
const ERRNO_ABSENT = 44
/** Emscripten's O_CREAT. */
const CREATE = 64
/** WASI's clock id. */
const REALTIME = 0

/** The package's extension object that installs the hooks; `onInstance` gets the engine before its main() runs. */
export function engineHook({ dataDirectory, fsync, clock, onInstance }: HookOptions): {
  name: string
  setup: (instance: unknown, options: ModuleOptions) => Promise<{ emscriptenOpts: ModuleOptions }>
} {
  return {
    name: 'tsdbkit',
    setup: async (_instance, options) => {
      const memory = new WebAssembly.Memory({
        initial: (options.INITIAL_MEMORY ?? 16777216) / 65536,
        maximum: MAXIMUM_PAGES,
        shared: true,
      })
      let module: EngineModule | undefined
      let moveStack: (() => void) | undefined
      return {
        emscriptenOpts: {
          ...options,
          wasmMemory: memory,
          preRun: [
            ...(options.preRun ?? []),
            (started) => {
              module = started
              if (fsync) syncFiles(started)
            },
          ],
          instantiateWasm: (imports, done) => {
            const environment = imports['env'] ?? {}
            if (fsync) environment['__syscall_fdatasync'] = (fd: number) => syncData(module, fd)
            answerAbsent(environment, () => module?.HEAPU8, dataDirectory)
            if (clock !== undefined) moveClock(imports, memory, new BigInt64Array(clock))
            return options.instantiateWasm(imports, (instance, compiled) => {
              const engine = handle(memory, instance, environment)
              moveStack = () => useLargeStack(engine, environment)
              onInstance(engine)
              done(instance, compiled)
            })
          },
          onRuntimeInitialized: () => {
            moveStack?.()
            options.onRuntimeInitialized?.()
          },
        },
      }
    },
  }
}

function handle(
  memory: WebAssembly.Memory,
  instance: WebAssembly.Instance,
  environment: WebAssembly.ModuleImports,
): EngineHandle {
  const base = globalValue(environment['__memory_base'])
  return {
    memory,
    call: (name, ...args) => {
      const exported = instance.exports[name]
      if (typeof exported !== 'function') throw new Error(`the engine does not export ${name}`)
      const result: unknown = exported(...args)
      return typeof result === 'number' ? result : 0
    },
    address: (name) => base + globalValue(instance.exports[name]),
    tableLength: () => {
      const table = environment['__indirect_function_table']
      if (table instanceof WebAssembly.Table) return table.length
      throw new Error('the engine lacks its table of functions')
    },
  }
}

function globalValue(value: unknown): number {
  if (value instanceof WebAssembly.Global) return Number(value.value)
  throw new Error('the engine lacks an expected global')
}

/** Points the stack into a block of its own before main() runs; nothing of the old stack is in use then. */
function useLargeStack(engine: EngineHandle, environment: WebAssembly.ModuleImports): void {
  const base = engine.call('malloc', STACK_BYTES)
  const pointer = environment['__stack_pointer']
  if (base === 0 || !(pointer instanceof WebAssembly.Global)) throw new Error('no memory for the stack of the engine')
  pointer.value = ((base + STACK_BYTES) & ~15) - 16
}

/** Nanoseconds since 1970, by a clock that is moved. The monotonic clock is the same in all threads. */
export const readClock = (offset: BigInt64Array): bigint => process.hrtime.bigint() + Atomics.load(offset, 0)

/** The monotonic clock stays true: the engine measures durations and waits with it. */
function moveClock(imports: WebAssembly.Imports, memory: WebAssembly.Memory, offset: BigInt64Array): void {
  for (const library of new Set([imports['env'], imports['wasi_snapshot_preview1']])) {
    replace(library, 'emscripten_date_now', () => () => Number(readClock(offset)) / 1e6)
    replace(library, 'clock_time_get', (read) => (id, precision, pointer) => {
      const result: unknown = read(id, precision, pointer)
      if (id === REALTIME && typeof pointer === 'number') {
        new DataView(memory.buffer).setBigInt64(pointer, readClock(offset), true)
      }
      return result
    })
  }
}

/**
 * Answers for maps of free space that are not there. A growing index asks for its own at each new page, which took 4 % of
 * the time of a COPY: the engine's file system looks up a path in parts, and fails with an error object for each.
 */
function answerAbsent(
  environment: WebAssembly.ModuleImports,
  memory: () => Uint8Array | undefined,
  dataDirectory: string,
): void {
  replace(environment, '__syscall_openat', (open) => (directory, pointer, flags, more) => {
    const path = typeof pointer === 'number' && typeof flags === 'number' && (flags & CREATE) === 0 ? pointer : 0
    const name = path === 0 ? '' : textAt(memory(), path)
    return freeSpaceMap.test(name) && !fs.existsSync(join(dataDirectory, name))
      ? -ERRNO_ABSENT
      : open(directory, pointer, flags, more)
  })
}

const freeSpaceMap = /^base\/\d+\/\d+_fsm$/

function textAt(memory: Uint8Array | undefined, start: number): string {
  if (memory === undefined) return ''
  const end = memory.indexOf(0, start)
  return Buffer.from(memory.subarray(start, end)).toString('latin1')
}

type Imported = (...args: unknown[]) => unknown

function replace(
  library: WebAssembly.ModuleImports | undefined,
  name: string,
  wrap: (original: Imported) => Imported,
): void {
  const original = library?.[name]
  if (library === undefined || typeof original !== 'function') return
  // The loader of libraries reads the signature that Emscripten keeps on its functions.
  library[name] = Object.assign(
    wrap((...args) => original(...args)),
    { ...original },
  )
}

function syncData(module: EngineModule | undefined, fd: number): number {
  const descriptor = module?.FS.streams[fd]?.nfd
  if (descriptor === undefined) return 0
  try {
    fs.fdatasyncSync(descriptor)
    return 0
  } catch {
    // The engine reports it as its own I/O error, with the file's name.
    return -ERRNO_IO
  }
}

function syncFiles(module: EngineModule): void {
  module.FS.filesystems.NODEFS.stream_ops['fsync'] = (stream: { readonly nfd?: number }) => {
    if (stream.nfd !== undefined) fs.fsyncSync(stream.nfd)
    return 0
  }
}
