/**
 * Puts an engine, its memory and its files, back to an earlier moment: a new database in milliseconds. Runs in the
 * engine's thread, between statements, with no transaction open, for directories that are thrown away.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { EngineHandle, EngineModule, FileStream } from './engine-hook.ts'

const PAGE = 65536
const ZEROS = Buffer.alloc(PAGE)
/** Emscripten's O_CREAT, O_EXCL and O_TRUNC: a file that is opened again is there, with its contents. */
const CREATES = 64 | 128 | 512

interface FileState {
  readonly mtimeMs: number
  readonly size: number
  readonly bytes: Buffer
}

interface OpenFile {
  stream: FileStream
  readonly path: string
  readonly flags: number
  readonly position: number
}

export class Snapshot {
  readonly #engine: EngineHandle
  readonly #module: EngineModule
  readonly #directory: string
  /** By address; the others were all zeros, which is most of the heap. */
  readonly #pages = new Map<number, Buffer>()
  readonly #files = new Map<string, FileState>()
  readonly #directories: ReadonlySet<string>
  readonly #streams: (OpenFile | undefined)[]
  readonly #tableLength: number

  constructor(engine: EngineHandle, module: EngineModule, directory: string) {
    this.#engine = engine
    this.#module = module
    this.#directory = directory
    const heap = Buffer.from(engine.memory.buffer)
    for (let at = 0; at < heap.length; at += PAGE) {
      const page = heap.subarray(at, at + PAGE)
      if (ZEROS.compare(page) !== 0) this.#pages.set(at, Buffer.from(page))
    }
    const { files, directories } = list(directory)
    this.#directories = directories
    for (const name of files) {
      const { mtimeMs, size } = fs.statSync(path.join(directory, name))
      this.#files.set(name, { mtimeMs, size, bytes: fs.readFileSync(path.join(directory, name)) })
    }
    this.#streams = module.FS.streams.map((stream) =>
      stream ? { stream, path: stream.path, flags: stream.flags, position: stream.position } : undefined,
    )
    this.#tableLength = engine.tableLength()
  }

  /** False where a library was loaded since: its code cannot be taken out again, and the engine is of no more use. */
  rewind(): boolean {
    if (this.#engine.tableLength() !== this.#tableLength) return false
    this.#rewindFiles()
    this.#rewindStreams()
    const heap = Buffer.from(this.#engine.memory.buffer)
    for (let at = 0; at < heap.length; at += PAGE) {
      const wanted = this.#pages.get(at) ?? ZEROS
      const page = heap.subarray(at, at + PAGE)
      if (wanted.compare(page) !== 0) page.set(wanted)
    }
    return true
  }

  #rewindFiles(): void {
    const { files, directories } = list(this.#directory)
    const made = [
      ...files.filter((name) => !this.#files.has(name)),
      ...[...directories].filter((name) => !this.#directories.has(name)),
    ].map((name) => path.join(this.#directory, name))
    for (const place of made) fs.rmSync(place, { recursive: true, force: true })
    this.#forget(new Set(made))
    for (const name of this.#directories) if (!directories.has(name)) fs.mkdirSync(path.join(this.#directory, name))
    for (const [name, was] of this.#files) this.#rewindFile(name, was)
  }

  /** Emscripten would still take these files for there, and refuse to make them anew. */
  #forget(places: ReadonlySet<string>): void {
    const { FS } = this.#module
    for (let node of FS.nameTable) {
      for (; node; node = node.name_next) {
        if (node.mount.opts.root === undefined) continue
        if (places.has(FS.filesystems.NODEFS.realPath(node))) FS.hashRemoveNode(node)
      }
    }
  }

  #rewindFile(name: string, was: FileState): void {
    const place = path.join(this.#directory, name)
    const is = fs.statSync(place, { throwIfNoEntry: false })
    if (is?.mtimeMs === was.mtimeMs && is.size === was.size) return
    // In place, so that descriptors that are open stay valid.
    fs.writeFileSync(place, was.bytes, { flag: is === undefined ? 'w' : 'r+' })
    if (is !== undefined && is.size > was.size) fs.truncateSync(place, was.size)
    this.#files.set(name, { ...was, mtimeMs: fs.statSync(place).mtimeMs })
  }

  #rewindStreams(): void {
    const { FS } = this.#module
    FS.streams.forEach((stream, descriptor) => {
      if (!stream || this.#streams[descriptor]?.stream === stream) return
      try {
        FS.close(stream)
      } catch {
        FS.streams[descriptor] = null
      }
    })
    this.#streams.forEach((was, descriptor) => {
      if (was === undefined) return
      if (!FS.streams[descriptor]) {
        const stream = FS.open(was.path, was.flags & ~CREATES)
        FS.streams[stream.fd] = null
        stream.fd = descriptor
        FS.streams[descriptor] = stream
        was.stream = stream
      }
      was.stream.position = was.position
    })
  }
}

/** Relative paths, directories before what is in them. */
function list(root: string): { files: string[]; directories: Set<string> } {
  const files: string[] = []
  const directories = new Set<string>()
  const walk = (directory: string): void => {
    for (const entry of fs.readdirSync(path.join(root, directory), { withFileTypes: true })) {
      const name = directory === '' ? entry.name : `${directory}/${entry.name}`
      if (entry.isDirectory()) {
        directories.add(name)
        walk(name)
      } else files.push(name)
    }
  }
  walk('')
  return { files, directories }
}
