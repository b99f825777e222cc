import type { RecordBatch, WriterPropertiesBuilder } from 'parquet-wasm'
import { UnsupportedError } from '../errors.ts'
import { toIPC } from '../results/arrow.ts'
import { Column } from '../results/column.ts'
import type { ColumnBatch } from '../wire/column.ts'
import { spelledOut } from '../wire/column-batch.ts'
import type { ExportSettings } from './export-option.ts'
import type { ExportSink } from './export-sink.ts'
import type { ColumnPart } from './text-row.ts'

type Library = typeof import('parquet-wasm')

/** Writes rows as Parquet, packed with zstd, a row group in memory at a time. */
export class ParquetWriter {
  readonly #library: Library
  readonly #infinity: 'error' | 'null'
  readonly #batches: ReadableStreamDefaultController<RecordBatch>
  readonly #written: Promise<void>
  #wanted: (() => void) | undefined
  #done = false
  #discarding = false

  private constructor(library: Library, settings: ExportSettings, sink: ExportSink) {
    this.#library = library
    this.#infinity = settings.infinity ?? 'error'
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
    this.#written = this.#drain(source, settings, sink)
    this.#written.catch(() => this.#end())
  }

  /** @throws UnsupportedError PACKAGE_MISSING */
  static async open(settings: ExportSettings, sink: ExportSink): Promise<ParquetWriter> {
    const library = await import('parquet-wasm').catch((error: unknown) => {
      throw new UnsupportedError('PACKAGE_MISSING', 'Parquet needs the package parquet-wasm.', {
        feature: 'parquet',
        hint: 'npm install parquet-wasm@0.7.2',
        cause: error,
      })
    })
    return new ParquetWriter(library, settings, sink)
  }

  /** Rows as the library's record batches: all of one schema. @throws UsageError for infinite times and lists of lists */
  encode(columns: readonly ColumnPart[]): RecordBatch[] {
    const spelled = columns.map(({ name, typeId, batch }) => new Column(name, typeId, [withoutWords(batch)]))
    const table = this.#library.Table.fromIPCStream(toIPC(spelled, { infinity: this.#infinity }))
    const batches = table.recordBatches()
    table.free()
    return batches
  }

  /** Takes batches; resolves when more may come. @throws what the sink fails with */
  async write(batches: readonly RecordBatch[]): Promise<void> {
    for (const batch of batches) {
      if (this.#done) break
      const wanted = new Promise<void>((resolve) => {
        this.#wanted = resolve
      })
      this.#batches.enqueue(batch)
      await wanted
    }
    if (this.#done) await this.#written
  }

  /** Writes the last row group and the footer. */
  async finish(): Promise<void> {
    if (!this.#done) this.#batches.close()
    await this.#written
  }

  /** Ends without a file; the library's memory is freed. */
  async abort(): Promise<void> {
    this.#discarding = true
    // The error that led here is the one to be thrown.
    await this.finish().catch(() => undefined)
  }

  async #drain(source: ReadableStream<RecordBatch>, settings: ExportSettings, sink: ExportSink): Promise<void> {
    const { WriterPropertiesBuilder: Builder, Compression, transformParquetStream } = this.#library
    const builder: WriterPropertiesBuilder = new Builder()
    const properties = builder.setCompression(Compression.ZSTD).setMaxRowGroupSize(settings.rowGroupRows).build()
    const bytes: ReadableStream<Uint8Array> = await transformParquetStream(source, properties)
    for await (const chunk of bytes) if (!this.#discarding) await sink.write(chunk)
    this.#end()
  }

  #end(): void {
    this.#done = true
    this.#wanted?.()
  }
}

/** Whether a text column has words changes with the data; the schema of a file does not. */
function withoutWords(batch: ColumnBatch): ColumnBatch {
  const { children } = batch
  const spelled = spelledOut(batch)
  return children === undefined ? spelled : { ...spelled, children: children.map(withoutWords) }
}
