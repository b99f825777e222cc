import { cancelledError } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import type { Statement } from '../sql/template.ts'
import {
  type ExportOptions,
  type ExportReport,
  type ExportSettings,
  type ExportStage,
  type ExportTarget,
  exportSettings,
  targetPath,
} from './export-option.ts'
import { ExportSink } from './export-sink.ts'
import { ParquetWriter } from './parquet-writer.ts'
import { type ColumnPart, csvHeader, csvRows, ndjsonRows } from './text-row.ts'

/** Makes the bytes of a format and passes them on. */
interface Writer {
  /** Makes the bytes of rows; what it gives passes them on, when it is called. */
  encode(columns: readonly ColumnPart[], rows: number): () => Promise<void>
  finish(): Promise<void>
  abort(): Promise<void>
}

/** Rows that are encoded together. */
const batchRows = 8192

/**
 * Writes the result of a statement to a file or stream while it comes, in constant memory. A file has its name only when
 * it is whole and on the disk. The statement runs in a transaction, which ends after that: what a DELETE … RETURNING
 * gave is in the file, or still in the table.
 *
 * @throws UsageError INVALID_VALUE for a file that exists, INVALID_OPTION; QueryError, ConnectionError; TimescaleError
 * DISK_FULL; what the stream fails with
 */
export async function exportTo(
  session: Session,
  target: ExportTarget,
  statement: Statement,
  options: ExportOptions = {},
): Promise<ExportReport> {
  const file = targetPath(target)
  const settings = exportSettings(file, options)
  const { signal, gzip, overwrite = false } = settings
  if (signal?.aborted) throw cancelledError(signal)
  const out = file ?? (typeof target === 'object' && 'write' in target ? target : process.stdout)
  const sink = await ExportSink.open(out, { gzip, overwrite, signal })
  const run = new ExportRun(settings, sink, file)
  try {
    return await session.transaction((tx) => run.run(tx, statement), signal === undefined ? {} : { signal })
  } catch (error) {
    await run.abort(error)
    throw error
  }
}

/** One export under way. */
class ExportRun {
  readonly #settings: ExportSettings
  readonly #sink: ExportSink
  readonly #file: string | undefined
  readonly #start: number = performance.now()
  readonly #seconds: Record<ExportStage, number> = { server: 0, encode: 0, write: 0 }
  #rows = 0
  #writer: Writer | undefined

  constructor(settings: ExportSettings, sink: ExportSink, file: string | undefined) {
    this.#settings = settings
    this.#sink = sink
    this.#file = file
  }

  async run(tx: Session, statement: Statement): Promise<ExportReport> {
    await this.#writeRows(tx, statement)
    await this.#timed('write', async () => {
      await this.#writer?.finish()
      await this.#sink.finish()
    })
    return this.#report()
  }

  async abort(error: unknown): Promise<void> {
    await this.#writer?.abort()
    await this.#sink.abort(error)
  }

  async #writeRows(tx: Session, statement: Statement): Promise<void> {
    const { format, signal, timeoutMs, numeric } = this.#settings
    const chunks = tx.streamColumns(statement, {
      batchRows,
      numeric: format === 'parquet' ? (numeric ?? 'exact') : 'string',
      ...(signal === undefined ? {} : { signal }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    })
    try {
      for (;;) {
        const { done, value } = await this.#timed('server', () => chunks.next())
        if (done === true) break
        const { fields, columns, rowCount } = value
        const parts = columns.map((batch, at) => ({ ...nameOf(fields[at]), batch }))
        this.#writer ??= await openWriter(parts, this.#settings, this.#sink)
        const { encode } = this.#writer
        const pass = await this.#timed('encode', async () => encode(parts, rowCount))
        await this.#timed('write', pass)
        this.#rows += rowCount
        this.#progress()
      }
    } finally {
      await chunks.return?.()
    }
    if (this.#writer !== undefined) return
    throw new UsageError('INVALID_VALUE', 'The statement gives no columns.', { hint: 'Export a SELECT.' })
  }

  #report(): ExportReport {
    return {
      rows: this.#rows,
      bytes: this.#sink.bytes,
      format: this.#settings.format,
      file: this.#file,
      seconds: { ...this.#seconds, total: this.#elapsed },
      limit: this.#limit,
    }
  }

  #progress(): void {
    const { bytes } = this.#sink
    this.#settings.onProgress?.({ rows: this.#rows, bytes, seconds: this.#elapsed, limit: this.#limit })
  }

  get #elapsed(): number {
    return (performance.now() - this.#start) / 1000
  }

  get #limit(): ExportStage {
    const { server, encode, write } = this.#seconds
    if (server >= encode && server >= write) return 'server'
    return encode > write ? 'encode' : 'write'
  }

  async #timed<T>(stage: ExportStage, run: () => Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await run()
    } finally {
      this.#seconds[stage] += (performance.now() - start) / 1000
    }
  }
}

function nameOf(field: { readonly name: string; readonly typeId: number } | undefined): Omit<ColumnPart, 'batch'> {
  return { name: field?.name ?? '', typeId: field?.typeId ?? 0 }
}

async function openWriter(columns: readonly ColumnPart[], settings: ExportSettings, sink: ExportSink): Promise<Writer> {
  const names = columns.map(({ name }) => name)
  if (settings.format === 'parquet') {
    const writer = await ParquetWriter.open(settings, sink)
    return {
      encode: (parts) => {
        const rows = writer.encode(parts)
        return () => writer.write(rows)
      },
      finish: () => writer.finish(),
      abort: () => writer.abort(),
    }
  }
  const csv = settings.format !== 'ndjson'
  if (!csv || settings.header !== false) requireDifferent(names)
  let head = csv ? csvHeader(names, settings) : ''
  const rowsOf = csv ? csvRows : ndjsonRows
  return {
    encode: (parts, rows) => {
      const bytes = Buffer.from(head + rowsOf(parts, rows, settings))
      head = ''
      return () => sink.write(bytes)
    },
    finish: async () => undefined,
    abort: async () => undefined,
  }
}

/** @throws UsageError INVALID_VALUE for two columns of one name, which nobody could tell apart */
function requireDifferent(names: readonly string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) < index)
  if (twice === undefined) return
  throw new UsageError('INVALID_VALUE', `Two columns of the result are named ${JSON.stringify(twice)}.`, {
    hint: 'Name one of them with AS.',
  })
}
