/** The thread of parquet-thread.ts: opens one file to be read, or makes one, and answers one request after another. */
import { open, readFile } from 'node:fs/promises'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { ParquetFile, ReaderOptions, RecordBatch } from 'parquet-wasm/esm'
import { setTieringBudget } from '../embedded/compile-turn.ts'
import { PageChecksums } from './parquet-checksum.ts'
import { FileBlob, FileChanged, freeBuffers } from './parquet-file.ts'
import type { ParquetAnswer, ParquetModules, ParquetReply, ParquetRequest, ParquetStart } from './parquet-thread.ts'

type Library = typeof import('parquet-wasm/esm')

/** Rows that are read as one: by the library's own choice, 1024, it takes four times as long. */
const batchSize = 65_536

const nothing: ParquetAnswer = { blocks: [], groups: [] }

/** A file that is made while its rows come. */
class Making {
  readonly #library: Library
  readonly #batches: ReadableStreamDefaultController<RecordBatch>
  readonly #written: Promise<void>
  #blocks: Uint8Array[] = []
  #wanted: (() => void) | undefined

  constructor(library: Library, rowGroupRows: number) {
    this.#library = library
    let controller: ReadableStreamDefaultController<RecordBatch> | undefined
    // It asks for the next batch when it has taken the last: memory holds one.
    const source = new ReadableStream<RecordBatch>(
      {
        start: (made) => {
          controller = made
        },
        pull: () => this.#wanted?.(),
      },
      { highWaterMark: 0 },
    )
    if (controller === undefined) throw new TypeError('A stream starts at once')
    this.#batches = controller
    this.#written = this.#drain(source, rowGroupRows)
    // Its error is that of the next request.
    this.#written.catch(() => undefined)
  }

  /** Takes rows; gives the bytes that were made meanwhile. */
  async add(ipc: Uint8Array): Promise<Uint8Array[]> {
    const table = this.#library.Table.fromIPCStream(ipc)
    const batches = table.recordBatches()
    table.free()
    for (const batch of batches) {
      const wanted = new Promise<void>((resolve) => {
        this.#wanted = resolve
      })
      this.#batches.enqueue(batch)
      await Promise.race([wanted, this.#written])
    }
    return this.#take()
  }

  /** The last row group and the footer. */
  async end(): Promise<Uint8Array[]> {
    this.#batches.close()
    await this.#written
    return this.#take()
  }

  #take(): Uint8Array[] {
    const blocks = this.#blocks
    this.#blocks = []
    return blocks
  }

  async #drain(source: ReadableStream<RecordBatch>, rowGroupRows: number): Promise<void> {
    const { WriterPropertiesBuilder: Builder, Compression, transformParquetStream } = this.#library
    const properties = new Builder().setCompression(Compression.ZSTD).setMaxRowGroupSize(rowGroupRows).build()
    const bytes: ReadableStream<Uint8Array> = await transformParquetStream(source, properties)
    for await (const block of bytes) this.#blocks.push(block)
  }
}

/** What is wrong with the bytes of a file. */
class Damage extends Error {}

/** Answers requests about one file. */
class ParquetWorker {
  readonly #port: MessagePort
  #file: ParquetFile | undefined
  #bytes: FileBlob | undefined
  #checksums: PageChecksums | undefined
  #making: Making | undefined

  constructor(port: MessagePort) {
    this.#port = port
  }

  async answer(request: ParquetRequest): Promise<ParquetAnswer> {
    if (request.kind === 'open') return this.#open(request.path)
    if (request.kind === 'create') {
      this.#making = new Making(await this.#library('writing'), request.rowGroupRows)
      return nothing
    }
    if (request.kind === 'batch') return { ...nothing, blocks: (await this.#making?.add(request.ipc)) ?? [] }
    if (request.kind === 'end') return { ...nothing, blocks: (await this.#making?.end()) ?? [] }
    if (request.kind === 'sample') return { ...nothing, blocks: await this.#read({ limit: request.rows }) }
    await this.#check(request.group)
    return { ...nothing, blocks: await this.#group(request.group) }
  }

  /** A column at a time, where that can be: the library's memory never shrinks. */
  async #group(group: number): Promise<Uint8Array[]> {
    const names = this.#checksums?.columns(group)
    if (names === undefined) return this.#read({ rowGroups: [group] })
    const blocks: Uint8Array[] = []
    for (const name of names) blocks.push(...(await this.#read({ rowGroups: [group], columns: [name] })))
    return blocks
  }

  async #read(wanted: ReaderOptions): Promise<Uint8Array[]> {
    const table = await this.#file?.read({ ...wanted, batchSize })
    this.#bytes?.free()
    // Batch by batch: of a table that has some of the columns the library writes the schema of all.
    const batches = table?.recordBatches() ?? []
    if (batches.length === 0) return table === undefined ? [] : [table.intoIPCStream()]
    table?.free()
    return batches.map((batch) => batch.intoIPCStream())
  }

  async #library(purpose: keyof ParquetModules): Promise<Library> {
    const library = await import('parquet-wasm/esm')
    const { compiled, plainCode }: ParquetStart = workerData
    const known = compiled[purpose]
    const module = known ?? (await compile(plainCode && purpose === 'reading'))
    library.initSync({ module })
    if (known === undefined) {
      this.#port.postMessage({ kind: 'compiled', modules: { [purpose]: module } } satisfies ParquetReply)
    }
    return library
  }

  async #check(group: number): Promise<void> {
    // Refused when the file is another one since: the library would panic.
    await this.#bytes?.check()
    const damage = await this.#checksums?.damage(group)
    this.#bytes?.free()
    if (damage === undefined) return
    const { column, page } = damage
    throw new Damage(`page ${page} of column ${JSON.stringify(column)} is not as its checksum says`)
  }

  async #open(path: string): Promise<ParquetAnswer> {
    const { ParquetFile: Opened } = await this.#library('reading')
    this.#bytes = await FileBlob.open(path)
    this.#file = await Opened.fromFile(this.#bytes)
    this.#checksums = await PageChecksums.open(this.#bytes)
    const groups = this.#file
      .metadata()
      .rowGroups()
      .map((group) => group.numRows())
    return { ...nothing, groups }
  }
}

/** A section without meaning: V8 knows the same bytes again, with the code it has for them. */
const otherBytes = Buffer.of(0, 2, 1, 0x70)

/**
 * Compiles the library. V8's optimised code, with what it takes to make it, needs more memory than most row groups, and gains
 * nothing where a file is read; where one is written it saves time.
 * @param plain - with little of it; nothing else is to be compiled meanwhile
 */
async function compile(plain: boolean): Promise<WebAssembly.Module> {
  const path = new URL(import.meta.resolve('parquet-wasm/esm/parquet_wasm_bg.wasm'))
  if (!plain) return WebAssembly.compile(await readFile(path))
  const bytes = await readBefore(path, otherBytes)
  setTieringBudget('most')
  try {
    return new WebAssembly.Module(bytes)
  } finally {
    setTieringBudget('usual')
    freeBuffers([bytes.buffer])
  }
}

/** A file with more bytes behind it, in memory once. */
async function readBefore(path: URL, more: Uint8Array): Promise<Buffer<ArrayBuffer>> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const bytes = Buffer.from(new ArrayBuffer(size + more.length))
    const { bytesRead } = await file.read(bytes, 0, size, 0)
    if (bytesRead < size) throw new Error(`${bytesRead} of ${size} bytes of the library could be read`)
    bytes.set(more, size)
    return bytes
  } finally {
    await file.close()
  }
}

function serve(port: MessagePort): void {
  const worker = new ParquetWorker(port)
  port.on('message', (request: ParquetRequest) => {
    worker.answer(request).then(
      (answer) => {
        const blocks = answer.blocks.map(alone)
        const reply: ParquetReply = { ...answer, kind: 'answer', blocks }
        port.postMessage(
          reply,
          blocks.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer),
        )
      },
      (error: unknown) => port.postMessage(failure(error)),
    )
  })
}

/** The same bytes in a buffer that nobody else has. */
function alone(bytes: Uint8Array): Uint8Array {
  return bytes.length === bytes.buffer.byteLength ? bytes : bytes.slice()
}

function failure(error: unknown): ParquetReply {
  // What the library throws out of a panic leaves its memory as it happens to be.
  if (error instanceof WebAssembly.RuntimeError) throw error
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof Damage || error instanceof FileChanged) return { kind: 'damaged', message }
  const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
  return { kind: missing ? 'missing' : 'failed', message }
}

if (parentPort !== null) serve(parentPort)
