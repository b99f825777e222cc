/** The thread of parquet-thread.ts: opens one file to be read, or makes one, and answers one request after another. */
import { openAsBlob } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setFlagsFromString } from 'node:v8'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import type { ParquetFile, RecordBatch } from 'parquet-wasm/esm'
import { PageChecksums } from './parquet-checksum.ts'
import type { ParquetAnswer, ParquetModules, ParquetReply, ParquetRequest, ParquetStart } from './parquet-thread.ts'

type Library = typeof import('parquet-wasm/esm')

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
  #bytes: Blob | undefined
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
    if (request.kind === 'group') await this.#check(request.group)
    const table = await this.#file?.read(
      request.kind === 'group' ? { rowGroups: [request.group] } : { limit: request.rows },
    )
    return { ...nothing, blocks: table === undefined ? [] : [table.intoIPCStream()] }
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
    await this.#bytes?.slice(0, 4).arrayBuffer()
    const damage = await this.#checksums?.damage(group)
    if (damage === undefined) return
    const { column, page } = damage
    throw new Damage(`page ${page} of column ${JSON.stringify(column)} is not as its checksum says`)
  }

  async #open(path: string): Promise<ParquetAnswer> {
    const { ParquetFile: Opened } = await this.#library('reading')
    this.#bytes = await openAsBlob(path)
    this.#file = await Opened.fromFile(this.#bytes)
    this.#checksums = await PageChecksums.open(this.#bytes)
    const groups = this.#file
      .metadata()
      .rowGroups()
      .map((group) => group.numRows())
    return { ...nothing, groups }
  }
}

const plainFlags = ['--no-wasm-dynamic-tiering', '--no-wasm-tier-up', '--no-wasm-lazy-compilation']
const usualFlags = ['--wasm-dynamic-tiering', '--wasm-tier-up', '--wasm-lazy-compilation']

/** A section without meaning: V8 knows the same bytes again, with the code it has for them. */
const otherBytes = Buffer.of(0, 2, 1, 0x70)

/**
 * Compiles the library. V8's optimised code, with what it takes to make it, is 60 MB, more than most row groups, and gains
 * nothing where a file is read; where one is written it saves a fifth of the time.
 * @param plain - without it. The flags are those of the whole process: nothing else is to be compiled meanwhile.
 */
async function compile(plain: boolean): Promise<WebAssembly.Module> {
  const bytes = await readFile(new URL(import.meta.resolve('parquet-wasm/esm/parquet_wasm_bg.wasm')))
  if (!plain) return WebAssembly.compile(bytes)
  for (const flag of plainFlags) setFlagsFromString(flag)
  try {
    return new WebAssembly.Module(Buffer.concat([bytes, otherBytes]))
  } finally {
    for (const flag of usualFlags) setFlagsFromString(flag)
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
  if (error instanceof Damage) return { kind: 'damaged', message }
  // The file's size or time is not what it was when it was opened.
  if (error instanceof DOMException && error.name === 'NotReadableError') {
    return { kind: 'damaged', message: 'it was changed while it was read' }
  }
  const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
  return { kind: missing ? 'missing' : 'failed', message }
}

if (parentPort !== null) serve(parentPort)
