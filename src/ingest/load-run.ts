import { setTimeout as wait } from 'node:timers/promises'
import type { TableDescription } from '../catalog/column.ts'
import { type LoadTarget, listUnorderedChunks } from '../catalog/load-target.ts'
import { cancelledError, isSerializationFailure } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { BatchError, ConnectionError, QueryError, TimescaleError } from '../errors.ts'
import { formatName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { type EncodedBatch, encodeBatch, type RejectedRow, type RowBatch } from './batch.ts'
import { DeadLetterFile } from './dead-letter.ts'
import { Ledger } from './ledger.ts'
import type { LoadReport, LoadSettings } from './load-option.ts'
import type { Delivery, Sender } from './sender.ts'

/** What is sent for one chunk of the source. */
export type Prepared = PreparedRows | PreparedBytes

interface PreparedRows {
  readonly batch: RowBatch
  readonly sender: Sender
}

interface PreparedBytes {
  /** Whole records, sent as they are. */
  readonly blocks: readonly Buffer[]
  /** How many lines of the source come before them. */
  readonly lines: number
  readonly sender: Sender
}

/** One load under way: reads, encodes and sends beside each other, and counts. */
export class LoadRun {
  readonly session: Session
  readonly table: TableDescription
  readonly target: LoadTarget
  settings: LoadSettings
  /** Set for an import that can be gone on with. */
  ledger: Ledger | undefined
  path: LoadReport['path'] = { kind: 'binary', reason: 'values are encoded here' }
  /** What a file or stream says about how far it is read. */
  input: { readonly bytesRead: number | undefined; readonly totalBytes: number | undefined } | undefined
  readonly #start: number = performance.now()
  readonly #seconds = { read: 0, encode: 0, server: 0, recompress: 0, analyze: 0 }
  readonly #count = {
    read: 0,
    written: 0,
    skipped: 0,
    rejected: 0,
    batches: 0,
    retried: 0,
    resumed: 0,
    direct: 0,
    bytes: 0,
  }
  readonly #notices = new Set<string>()
  readonly #deadLetters: DeadLetterFile | undefined
  readonly #inFlight = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined
  #sender: Sender | undefined

  constructor(session: Session, table: TableDescription, target: LoadTarget, settings: LoadSettings) {
    this.session = session
    this.table = table
    this.target = target
    this.settings = settings
    const { onBadRow } = settings
    this.#deadLetters = typeof onBadRow === 'object' ? new DeadLetterFile(onBadRow.file) : undefined
  }

  /** The mean size of a row as it is sent. */
  get bytesPerRow(): number {
    return this.#count.read === 0 ? 0 : this.#count.bytes / this.#count.read
  }

  /** Begins, or goes on with, the import of the option importId. Windows keep the size they began with. */
  async openLedger(unit: 'row' | 'line', fingerprint?: string): Promise<void> {
    const { importId, batchRows, batchBytes } = this.settings
    if (importId === undefined) return
    const identity = { table: this.table, unit, batchRows, batchBytes, fingerprint }
    this.ledger = await Ledger.open(this.session, importId, identity)
    this.settings = { ...this.settings, batchRows: this.ledger.batchRows, batchBytes: this.ledger.batchBytes }
  }

  /** Sends every chunk. @throws what the source or a batch fails with, after all that was under way has ended */
  async drive<Chunk>(chunks: AsyncGenerator<Chunk>, prepare: (chunk: Chunk) => Promise<Prepared>): Promise<LoadReport> {
    try {
      await this.#pump(chunks, prepare)
      await this.#finish()
      return this.#report()
    } catch (error) {
      await this.#settle()
      throw this.#explain(this.#failure?.error ?? error)
    } finally {
      await chunks.return(undefined)
      await this.#deadLetters?.close()
    }
  }

  async #pump<Chunk>(chunks: AsyncGenerator<Chunk>, prepare: (chunk: Chunk) => Promise<Prepared>): Promise<void> {
    for (;;) {
      const { done, value } = await this.#timed('read', () => chunks.next())
      this.#check()
      if (done === true) break
      const prepared = await prepare(value)
      this.#sender = prepared.sender
      if ('batch' in prepared) await this.#takeRows(prepared)
      else await this.#takeBytes(prepared)
    }
    while (this.#inFlight.size > 0) await this.#timed('server', () => Promise.race(this.#inFlight))
    this.#check()
  }

  async #takeRows({ batch, sender }: PreparedRows): Promise<void> {
    if (this.#isDone(batch.first)) return
    const rejected: RejectedRow[] = []
    const encoded = await this.#timed('encode', async () => this.#encode(batch, rejected))
    this.#count.read += batch.rows
    this.#count.bytes += encoded.bytes
    await this.#room()
    this.#dispatch(this.#deliver((tx) => sender.send(tx, batch, encoded), batch.first, encoded.direct, rejected))
  }

  async #takeBytes({ blocks, lines, sender }: PreparedBytes): Promise<void> {
    if (this.#isDone(lines)) return
    await this.#room()
    const send = async (tx: Session): Promise<Delivery> => sender.sendBytes(tx, blocks, lines)
    const counted = async (): Promise<void> => {
      const delivery = await this.#deliver(send, lines, this.settings.directCompress === 'on', [])
      this.#count.read += delivery.written + delivery.skipped
    }
    this.#dispatch(counted())
  }

  #isDone(start: number): boolean {
    const rows = this.ledger?.done.get(start)
    this.#count.resumed += rows ?? 0
    return rows !== undefined
  }

  #encode(batch: RowBatch, rejected: RejectedRow[]): EncodedBatch {
    const { onBadRow } = this.settings
    const reject =
      onBadRow === undefined || onBadRow === 'stop' ? undefined : (row: RejectedRow): void => void rejected.push(row)
    return encodeBatch(batch, { ...this.settings, target: this.target, reject })
  }

  /** Waits until a connection is free for the next batch. */
  async #room(): Promise<void> {
    while (this.#inFlight.size >= this.settings.parallel) {
      await this.#timed('server', () => Promise.race(this.#inFlight))
    }
    this.#check()
  }

  #dispatch(delivery: Promise<unknown>): void {
    const settled: Promise<void> = delivery
      .then(() => undefined)
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#inFlight.delete(settled))
    this.#inFlight.add(settled)
  }

  async #deliver(
    send: (tx: Session) => Promise<Delivery>,
    start: number,
    direct: boolean,
    rejected: readonly RejectedRow[],
  ): Promise<Delivery> {
    const { ledger } = this
    const delivery = await this.#withRetries(async (tx) => {
      if (ledger === undefined) return send(tx)
      if (!(await ledger.claim(tx, start))) return nothing
      const sent = await send(tx)
      await ledger.record(tx, start, sent, [...rejected, ...sent.rejected])
      return sent
    })
    // Another loader of the same import has written it, or this one whose COMMIT had no answer.
    if (delivery === nothing) return nothing
    this.#count.batches++
    if (direct) this.#count.direct++
    this.#count.written += delivery.written
    this.#count.skipped += delivery.skipped
    for (const notice of delivery.notices) this.#notices.add(notice)
    const bad = [...rejected, ...delivery.rejected]
    this.#count.rejected += bad.length
    if (ledger === undefined) await this.#deadLetters?.write(bad)
    this.#progress()
    return delivery
  }

  async #withRetries(send: (tx: Session) => Promise<Delivery>): Promise<Delivery> {
    const { signal, retries } = this.settings
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.session.transaction(send, signal === undefined ? {} : { signal })
      } catch (error) {
        if (this.session.inTransaction || attempt >= retries || !mayPass(error, this.ledger)) throw error
        this.#count.retried++
        await pause(attempt, signal)
      }
    }
  }

  /** What remains when all rows are written. */
  async #finish(): Promise<void> {
    await this.#sender?.restore(this.session)
    if (this.ledger !== undefined) {
      // From the ledger, where also those of runs before are.
      await this.#deadLetters?.replace(await this.ledger.rejected(this.session))
      await this.ledger.finish(this.session)
    }
    if (this.#count.direct > 0 && this.settings.recompress !== 'never') {
      await this.#timed('recompress', () => this.#recompress())
    }
    if (this.#count.written > 0 && this.settings.analyze !== false) {
      await this.#timed('analyze', () => this.session.query(sql`analyze ${sql.name(this.table)}`))
    }
  }

  #recompressed = 0

  async #recompress(): Promise<void> {
    for (const chunk of await listUnorderedChunks(this.session, this.table)) {
      await this.session.query(sql`select compress_chunk(${formatName(chunk)}::regclass, true)`)
      this.#recompressed++
    }
  }

  #report(): LoadReport {
    const count = this.#count
    const seconds = { ...this.#seconds, total: (performance.now() - this.#start) / 1000 }
    const { directCompress } = this.settings
    const bytes = this.path.kind === 'csv' ? 'records are passed through unsorted' : undefined
    const few = 'batches with too few rows per segment and chunk'
    const why = directCompress === 'off' ? 'directCompress is off' : (this.target.notDirect ?? bytes ?? few)
    return {
      rowsRead: count.read,
      rowsWritten: count.written,
      rowsSkipped: count.skipped,
      rowsRejected: count.rejected,
      rowsResumed: count.resumed,
      batches: count.batches,
      retried: count.retried,
      path: this.path,
      directCompress: { batches: count.direct, reason: count.direct === count.batches ? undefined : why },
      recompressedChunks: this.#recompressed,
      seconds,
      limit: limitOf(seconds),
      notices: [...this.#notices],
    }
  }

  #progress(): void {
    const { read, written, bytes } = this.#count
    this.settings.onProgress?.({
      rowsRead: read,
      rowsWritten: written,
      bytes: this.input?.bytesRead ?? bytes,
      totalBytes: this.input?.totalBytes,
      seconds: (performance.now() - this.#start) / 1000,
    })
  }

  /** @throws what a batch failed with, or that the signal was aborted */
  #check(): void {
    const { signal } = this.settings
    if (this.#failure !== undefined) throw this.#failure.error
    if (signal?.aborted) throw cancelledError(signal)
  }

  async #settle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.race(this.#inFlight)
  }

  async #timed<T>(stage: 'read' | 'encode' | 'server' | 'recompress' | 'analyze', run: () => Promise<T>): Promise<T> {
    const start = performance.now()
    try {
      return await run()
    } finally {
      this.#seconds[stage] += (performance.now() - start) / 1000
    }
  }

  /** The same error, which says what stays. */
  #explain(error: unknown): unknown {
    const { written } = this.#count
    if (written === 0 || this.session.inTransaction) return error
    const stays = `${written} rows of other batches are written and stay.`
    const message = `${error instanceof Error ? error.message : String(error)} ${stays}`
    if (error instanceof BatchError) return new BatchError(message, error)
    if (error instanceof QueryError) return new QueryError(error.code, message, error)
    if (error instanceof ConnectionError) return new ConnectionError(error.code, message, error)
    if (error instanceof TimescaleError) return error
    const { read } = this.#count
    return new BatchError(`The source failed after row ${read}: ${message}`, {
      row: read,
      rowCount: read,
      cause: error,
    })
  }
}

const nothing: Delivery = { written: 0, skipped: 0, rejected: [], notices: [] }

/** Whether the same batch may succeed when it is sent again, and not be written twice. */
function mayPass(error: unknown, ledger: Ledger | undefined): boolean {
  // Whether a lost COMMIT has happened is what the ledger knows.
  if (ledger !== undefined && error instanceof ConnectionError && error.code === 'CONNECTION_LOST') return true
  return (error instanceof ConnectionError && error.retryable) || isSerializationFailure(error)
}

/** 50 ms, doubled each time up to 5 s, and by chance half to one and a half of it. */
async function pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  const delay = Math.min(50 * 2 ** attempt, 5000) * (0.5 + Math.random())
  await wait(delay, undefined, signal === undefined ? {} : { signal }).catch((error: unknown) => {
    throw signal?.aborted ? cancelledError(signal) : error
  })
}

function limitOf({ read, encode, server }: { read: number; encode: number; server: number }): LoadReport['limit'] {
  if (read >= encode && read >= server) return 'read'
  return encode > server ? 'encode' : 'server'
}
