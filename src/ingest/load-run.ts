import type { TableDescription } from '../catalog/column.ts'
import type { LoadTarget } from '../catalog/load-target.ts'
import { cancelledError } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { BatchError } from '../errors.ts'
import { invalidOption } from '../sql/option.ts'
import { sql } from '../sql/template.ts'
import { BlockPool } from '../wire/copy-buffer.ts'
import { type EncodedBatch, encodeBatch, type RejectedRow, type RowBatch } from './batch.ts'
import { decided, type SkippedPart } from './batch-decision.ts'
import { claimed } from './claimed.ts'
import { LoadCompression } from './compressed/load-compression.ts'
import { OrderDoubt } from './compressed/sorted-load.ts'
import { DeadLetterFile } from './dead-letter.ts'
import type { EncodedColumn } from './encode/encoder.ts'
import { InFlight } from './in-flight.ts'
import { Ledger } from './ledger.ts'
import { explainFailure, repeated } from './load-failure.ts'
import { type InputProgress, LoadMeter } from './load-meter.ts'
import type { LoadReport, LoadSettings, SkippedBatch } from './load-option.ts'
import type { Prepared, PreparedBytes, PreparedPiece, PreparedRows, Window } from './prepared.ts'
import { readingOf } from './reading.ts'
import { isRowFailure } from './row-failure.ts'
import type { BatchOrder, Delivery, Sender } from './sender.ts'
import { countLines } from './source/csv.ts'
import type { SourceMark } from './source/source-mark.ts'
import { Verification, type VerifyReport } from './verify/verify.ts'

/** What the source of an import is known again by. */
interface ImportSource {
  readonly fingerprint?: string | undefined
  readonly path?: string | undefined
  readonly format?: string
  /** Of rows: those that were read so far. */
  readonly markOfRows?: () => SourceMark
}

/** One load under way: reads, encodes and sends beside each other, and counts. */
export class LoadRun {
  readonly session: Session
  readonly table: TableDescription
  readonly target: LoadTarget
  settings: LoadSettings
  /** Set for an import that can be gone on with. */
  ledger: Ledger | undefined
  /** Whether the table was made by this load. */
  created = false
  path: LoadReport['path'] = { kind: 'binary', reason: 'values are encoded here' }
  readonly compression: LoadCompression
  /** What a file or stream says about how far it is read. */
  input: InputProgress | undefined
  readonly #meter = new LoadMeter()
  readonly #deadLetters: DeadLetterFile | undefined
  readonly #inFlight = new InFlight()
  readonly #blocks = new BlockPool()
  #markOfRows: (() => SourceMark) | undefined
  #verification: Verification | undefined
  #verified: VerifyReport | undefined
  #skipped: SkippedBatch[] = []
  #failure: { readonly error: unknown } | undefined
  #sender: Sender | undefined

  constructor(session: Session, table: TableDescription, target: LoadTarget, settings: LoadSettings) {
    this.session = session
    this.table = table
    this.target = target
    this.settings = settings
    this.compression = new LoadCompression(session, table, target, settings)
    const { onBadRow } = settings
    this.#deadLetters = typeof onBadRow === 'object' ? new DeadLetterFile(onBadRow.file) : undefined
  }

  /** The mean size of a row as it is sent. */
  get bytesPerRow(): number {
    return this.#meter.bytesPerRow
  }

  /**
   * Begins, or goes on with, the import of the option importId. Windows keep the size they began with.
   * @throws PlanError DRIFT where it is another one, is read by other options, or what was read of the file has changed
   */
  async openLedger(unit: 'row' | 'line', source: ImportSource = {}): Promise<void> {
    const { importId, batchRows, batchBytes, signal } = this.settings
    if (importId === undefined) return
    const { fingerprint, path, format, markOfRows } = source
    this.#markOfRows = markOfRows
    const reading = readingOf(this.settings, format)
    const identity = { table: this.table, unit, batchRows, batchBytes, fingerprint, reading }
    this.ledger = await this.again(() => Ledger.open(this.session, importId, identity))
    if (path !== undefined) await this.ledger.checkContent(path, signal)
    this.settings = { ...this.settings, batchRows: this.ledger.batchRows, batchBytes: this.ledger.batchBytes }
    this.compression.resume(this.ledger.states)
  }

  /** Sends every chunk. @throws what the source or a batch fails with, after all that was under way has ended */
  async drive<Chunk>(chunks: AsyncGenerator<Chunk>, prepare: (chunk: Chunk) => Promise<Prepared>): Promise<LoadReport> {
    try {
      await this.#deadLetters?.check()
      await this.#pump(chunks, prepare)
      await this.#finish()
      return this.#report()
    } catch (error) {
      await this.#settle()
      const left = this.session.inTransaction ? 0 : await this.compression.abandon()
      const { written, read } = this.#meter
      const kept = { written, read, created: this.created, decompressed: left }
      throw explainFailure(this.#failure?.error ?? error, this.session, kept)
    } finally {
      await chunks.return(undefined)
      await this.#deadLetters?.close()
    }
  }

  async #pump<Chunk>(chunks: AsyncGenerator<Chunk>, prepare: (chunk: Chunk) => Promise<Prepared>): Promise<void> {
    for (;;) {
      const { done, value } = await this.#meter.timed('read', () => chunks.next())
      this.#check()
      if (done === true) break
      const prepared = await prepare(value)
      this.#sender = prepared.sender
      if ('batch' in prepared) await this.#takeRows(prepared)
      else if ('piece' in prepared) await this.#takePiece(prepared)
      else await this.#takeBytes(prepared)
    }
    while (this.#inFlight.size > 0) await this.#meter.timed('server', () => this.#inFlight.ended())
    this.#check()
  }

  /** Begins to count what is written, for the option verify. @throws UsageError where an import began without it */
  async verifyColumns(columns: readonly EncodedColumn[]): Promise<void> {
    if (this.settings.verify !== true) return
    if ((await this.again(async () => this.ledger?.hasBaseline(this.session))) === false) {
      throw invalidOption('Option verify must be given from the first run of an import on.')
    }
    const baseline = this.ledger?.baseline(this.session)
    this.#verification = new Verification(this.table, this.target, columns, this.settings, baseline)
  }

  async #takeRows({ batch, sender }: PreparedRows): Promise<void> {
    const markOfRows = this.#markOfRows?.()
    const mark = markOfRows ?? this.input?.mark
    this.ledger?.checkRows(batch, markOfRows)
    await this.again(async () => this.#verification?.before(this.session, batch))
    if (this.#isDone(batch.first)) return this.#countOther(batch)
    const part = { first: batch.first, rows: batch.rows }
    this.#meter.read += batch.rows
    let rejected: RejectedRow[] = []
    await this.#handedOver()
    const encoded = await this.#decided(part, () => {
      rejected = []
      return this.#meter.timed('encode', async () => this.#encode(batch, sender, rejected))
    })
    if (encoded === undefined) return
    this.#meter.bytes += encoded.bytes
    await this.#room()
    const window = { start: batch.first, rows: batch.rows, direct: encoded.direct, rejected, mark }
    this.#dispatch((handedOver) => {
      const deliver = this.#sending(sender, batch, encoded, window, handedOver)
      return this.#decided(part, deliver).then((delivery) => this.#countRows(batch, rejected, delivery))
    })
  }

  #sending(
    sender: Sender,
    batch: RowBatch,
    encoded: EncodedBatch,
    window: Window,
    handedOver: () => void,
  ): () => Promise<Delivery> {
    // Only the first sending is in its place in the order.
    let order = this.compression.order(encoded)
    let sendings = 0
    const send = (tx: Session, place?: BatchOrder): Promise<Delivery> => {
      sendings++
      return sender.send(tx, batch, encoded, handedOver, place)
    }
    return async () => {
      const own = order
      order = undefined
      const delivery = await this.#deliver((tx) => send(tx, own), window).catch((error: unknown) => {
        if (!(error instanceof OrderDoubt)) throw error
        return this.#deliver((tx) => send(tx), window)
      })
      // After another sending its connection may still hold some of the bytes.
      if (sendings === 1) this.#blocks.give(encoded.blocks)
      return delivery
    }
  }

  async #takePiece({ piece, sender, raw, refused }: PreparedPiece): Promise<void> {
    if (this.ledger?.done.has(raw.lines)) return this.#takeBytes(raw)
    const mark = this.input?.mark
    let encoded: EncodedBatch
    await this.#handedOver()
    try {
      encoded = await this.#meter.timed('encode', async () => this.#encode(piece, sender, []))
    } catch (error) {
      if (!(error instanceof BatchError)) throw error
      refused(error)
      return this.#takeBytes(raw)
    }
    this.#meter.bytes += encoded.bytes
    await this.#room()
    const window = { start: raw.lines, rows: piece.rows, direct: encoded.direct, rejected: [], mark }
    const part = { first: raw.lines, rows: countLines(raw.blocks) }
    this.#dispatch((handedOver) => {
      const deliver = this.#sending(sender, piece, encoded, window, handedOver)
      const either = (): Promise<Delivery> =>
        deliver().catch((error: unknown) => {
          if (!(error instanceof BatchError || isRowFailure(error))) throw error
          // What the server says of the row names its line, or that it takes it after all.
          refused(error)
          return this.#deliver(...this.#sendingBytes(raw, mark, handedOver))
        })
      return this.#countedBytes(part, either)
    })
  }

  async #countRows(batch: RowBatch, rejected: readonly RejectedRow[], delivery: Delivery | undefined): Promise<void> {
    if (delivery === undefined) return
    if (delivery.other !== undefined) {
      this.#meter.read -= batch.rows
      return this.#countOther(batch)
    }
    this.#verification?.add(batch, new Set([...rejected, ...delivery.rejected].map(({ row }) => row)))
  }

  /** Counts a batch that another run or loader has written. */
  async #countOther(batch: RowBatch): Promise<void> {
    if (this.#verification === undefined) return
    const rejected = await this.again(async () => this.ledger?.outcome(this.session, batch.first))
    if (rejected !== undefined) this.#verification.add(batch, rejected)
  }

  #decided<T>(batch: SkippedPart, run: () => Promise<T>): Promise<T | undefined> {
    return decided(this.settings, batch, run, (error) => this.#leaveOut(batch, error))
  }

  async #leaveOut(batch: SkippedPart, error: unknown): Promise<void> {
    const reason = error instanceof Error ? error.message : String(error)
    this.#skipped.push({ ...batch, reason })
    const { ledger } = this
    if (ledger === undefined) return
    await this.again(() => this.session.transaction((tx) => ledger.leaveOut(tx, batch.first, batch.rows, reason)))
  }

  async #takeBytes(raw: PreparedBytes): Promise<void> {
    const mark = this.input?.mark
    if (this.#isDone(raw.lines)) return
    await this.#room()
    const part = { first: raw.lines, rows: countLines(raw.blocks) }
    this.#dispatch((handedOver) =>
      this.#countedBytes(part, () => this.#deliver(...this.#sendingBytes(raw, mark, handedOver))),
    )
  }

  #sendingBytes(
    { blocks, lines, sender }: PreparedBytes,
    mark: SourceMark | undefined,
    handedOver: () => void,
  ): [send: (tx: Session) => Promise<Delivery>, window: Window] {
    const direct = this.settings.directCompress === 'on' && !sender.staged
    const window = { start: lines, rows: undefined, direct, rejected: [], mark }
    return [async (tx) => sender.sendBytes(tx, blocks, lines, handedOver), window]
  }

  async #countedBytes(part: SkippedPart, deliver: () => Promise<Delivery>): Promise<void> {
    const delivery = await this.#decided(part, deliver)
    this.#meter.read += delivery === undefined ? part.rows : delivery.written + delivery.skipped
  }

  #isDone(start: number): boolean {
    const rows = this.ledger?.done.get(start)
    this.#meter.resumed += rows ?? 0
    return rows !== undefined
  }

  #encode(batch: RowBatch, sender: Sender, rejected: RejectedRow[]): EncodedBatch {
    const { onBadRow } = this.settings
    const reject =
      onBadRow === undefined || onBadRow === 'stop' ? undefined : (row: RejectedRow): void => void rejected.push(row)
    return encodeBatch(batch, {
      ...this.settings,
      ...this.compression.encoding(sender),
      target: this.target,
      reject,
      pool: this.#blocks,
    })
  }

  /** Waits until a connection is free for the next batch. */
  async #room(): Promise<void> {
    while (this.#inFlight.size >= this.settings.parallel) {
      await this.#meter.timed('server', () => this.#inFlight.ended())
    }
    this.#check()
  }

  async #handedOver(): Promise<void> {
    if (this.#inFlight.size > 0) await this.#meter.timed('server', () => this.#inFlight.handedOver())
  }

  #dispatch(deliver: (handedOver: () => void) => Promise<unknown>): void {
    this.#inFlight.add(deliver, (error) => {
      this.#failure ??= { error }
    })
  }

  async #deliver(send: (tx: Session) => Promise<Delivery>, window: Window): Promise<Delivery> {
    const { ledger, session } = this
    const { signal } = this.settings
    const once = ledger === undefined ? send : claimed(ledger, window, send)
    const delivery = await repeated(
      session,
      this.settings,
      () => session.transaction(once, signal === undefined ? {} : { signal }),
      ledger !== undefined,
      () => void this.#meter.retried++,
    )
    if (delivery.other !== undefined) {
      this.#meter.resumed += delivery.other
      return delivery
    }
    this.compression.count(delivery, window.direct)
    const bad = [...window.rejected, ...delivery.rejected]
    this.#meter.deliver(delivery, bad.length)
    if (ledger === undefined) await this.#deadLetters?.write(bad)
    this.settings.onProgress?.(this.#meter.progress(this.input))
    return delivery
  }

  /** What does no harm when it happens twice. */
  again<T>(run: () => Promise<T>): Promise<T> {
    return repeated(this.session, this.settings, run)
  }

  /** What remains when all rows are written. */
  async #finish(): Promise<void> {
    const { ledger, session } = this
    await this.#sender?.restore(session)
    const deadLetters = this.#deadLetters
    // From the ledger, where also those of runs before are.
    if (ledger !== undefined && deadLetters !== undefined) {
      await this.again(() => ledger.noteRejected(session, (rows) => deadLetters.complete(ledger.id, rows)))
    }
    this.#verified = await this.again(async () => this.#verification?.compare(session))
    if (ledger !== undefined && this.settings.onBatchError !== undefined) {
      this.#skipped = await this.again(() => ledger.leftOut(session))
    }
    await this.#meter.timed('recompress', () => this.again(() => this.compression.finish()))
    // Also what a run has written that was ended before it came to this.
    const isNew = this.#meter.written > 0 || (this.#meter.resumed > 0 && ledger?.finished === false)
    if (isNew && this.settings.analyze !== false) {
      const analyze = sql`analyze ${sql.name(this.table)}`
      await this.#meter.timed('analyze', () => this.again(() => session.query(analyze)))
    }
    if (ledger !== undefined) await this.again(() => ledger.finish(session))
  }

  #report(): LoadReport {
    return {
      ...this.#meter.figures(),
      created: this.created,
      skippedBatches: this.#skipped,
      verified: this.#verified,
      path: this.path,
      grownBytes: this.input?.grownBytes ?? 0,
      ...this.compression.report(this.path),
      parallel: this.settings.parallel,
    }
  }

  /** @throws what a batch failed with, or that the signal was aborted */
  #check(): void {
    const { signal } = this.settings
    if (this.#failure !== undefined) throw this.#failure.error
    if (signal?.aborted) throw cancelledError(signal)
  }

  async #settle(): Promise<void> {
    while (this.#inFlight.size > 0) await this.#inFlight.ended()
  }
}
