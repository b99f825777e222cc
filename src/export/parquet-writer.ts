import { TimescaleError, UsageError } from '../errors.ts'
import { toIPC } from '../results/arrow.ts'
import { Column } from '../results/column.ts'
import { type ParquetAnswer, ParquetCrash, type ParquetRequest, ParquetThread } from '../results/parquet-thread.ts'
import type { ColumnBatch } from '../wire/column.ts'
import { spelledOut } from '../wire/column-batch.ts'
import type { ExportSettings } from './export-option.ts'
import type { ExportSink } from './export-sink.ts'
import type { ColumnPart } from './text-row.ts'

/** Writes rows as Parquet, packed with zstd, a row group in memory at a time, in a thread beside this one. */
export class ParquetWriter {
  readonly #thread = new ParquetThread()
  readonly #sink: ExportSink
  readonly #infinity: 'error' | 'null'
  /** What becomes of the rows that were given last, while the next ones are made. */
  #pending: Promise<ParquetAnswer> | undefined

  private constructor(settings: ExportSettings, sink: ExportSink) {
    this.#infinity = settings.infinity ?? 'error'
    this.#sink = sink
  }

  /** @throws UnsupportedError PACKAGE_MISSING */
  static async open(settings: ExportSettings, sink: ExportSink): Promise<ParquetWriter> {
    const writer = new ParquetWriter(settings, sink)
    try {
      await writer.#ask({ kind: 'create', rowGroupRows: settings.rowGroupRows })
      return writer
    } catch (error) {
      await writer.abort()
      throw error
    }
  }

  /** Rows as Arrow's bytes: all of one schema. @throws UsageError for infinite times and lists of lists */
  encode(columns: readonly ColumnPart[]): Uint8Array {
    const spelled = columns.map(({ name, typeId, batch }) => new Column(name, typeId, [withoutWords(batch)]))
    return toIPC(spelled, { infinity: this.#infinity })
  }

  /** Takes rows; resolves when more may come. @throws what the sink fails with, or what the rows before came to */
  async write(ipc: Uint8Array): Promise<void> {
    await this.#pass()
    this.#pending = this.#ask({ kind: 'batch', ipc }, [ipc.buffer])
    this.#pending.catch(() => undefined)
  }

  /** Writes the last row group and the footer. */
  async finish(): Promise<void> {
    await this.#pass()
    this.#pending = this.#ask({ kind: 'end' })
    await this.#pass()
    await this.#thread.close()
  }

  /** Ends without a file. */
  abort(): Promise<void> {
    return this.#thread.close()
  }

  async #pass(): Promise<void> {
    const answer = await this.#pending
    this.#pending = undefined
    for (const block of answer?.blocks ?? []) await this.#sink.write(block)
  }

  async #ask(request: ParquetRequest, transfer: readonly ArrayBufferLike[] = []): Promise<ParquetAnswer> {
    try {
      return await this.#thread.ask(request, transfer)
    } catch (error) {
      if (error instanceof TimescaleError) throw error
      const hint =
        error instanceof ParquetCrash ? 'A row group must fit into memory: give a smaller rowGroupRows.' : undefined
      throw new UsageError('INVALID_VALUE', 'The rows cannot be written as Parquet.', { hint, cause: error })
    }
  }
}

/** Whether a text column has words changes with the data; the schema of a file does not. */
function withoutWords(batch: ColumnBatch): ColumnBatch {
  const { children } = batch
  const spelled = spelledOut(batch)
  return children === undefined ? spelled : { ...spelled, children: children.map(withoutWords) }
}
