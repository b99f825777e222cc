import { AsyncResource } from 'node:async_hooks'
import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { readTable } from '../../catalog/column.ts'
import { listCompressedRanges } from '../../catalog/compressed-range.ts'
import { readLoadTarget, whyNotCopied } from '../../catalog/load-target.ts'
import type { Session } from '../../connection/session.ts'
import { BatchError, UsageError } from '../../errors.ts'
import { formatName, type ObjectName } from '../../sql/identifier.ts'
import { invalidOption } from '../../sql/option.ts'
import type { RejectedRow } from '../batch.ts'
import { conflictRule } from '../conflict.ts'
import { type InputRow, writable } from '../encode/encoder.ts'
import { valueWriter } from '../encode/value-writer.ts'
import { SpillLog } from './spill-log.ts'
import type { Lane } from './writer-batch.ts'
import { type CollectedBatch, RowCollector, toJson } from './writer-collector.ts'
import { WriterDelivery } from './writer-delivery.ts'
import { type WriterOptions, type WriterSettings, writerSettings } from './writer-option.ts'
import { WriterQueue } from './writer-queue.ts'

/** How a writer is doing. Rows are in one place each: accepted + recovered = written + skipped + rejected + buffered + spilled. */
export interface WriterMetrics {
  /** Rows that `write` has taken. */
  readonly accepted: number
  /** Rows that an earlier writer left in the spill directory. */
  readonly recovered: number
  /** Rows inserted or, with onConflict 'update', updated. */
  readonly written: number
  /** Rows left out because their key was there already. */
  readonly skipped: number
  readonly rejected: number
  /** Rows in memory. */
  readonly buffered: number
  /** Rows on disk. */
  readonly spilled: number
  /** Encoded bytes in memory. */
  readonly bufferedBytes: number
  /** Bytes of the spill directory. */
  readonly spilledBytes: number
  /** How long the oldest row that is not in the table has waited, in milliseconds; 0 where there is none. */
  readonly lagMs: number
  /** How often a batch was sent again. */
  readonly retried: number
  /** Why batches cannot be written at present; undefined while they can. */
  readonly problem: Error | undefined
}

/**
 * Takes rows one by one or many at a time, for as long as a service runs, and writes them together. What it has accepted it
 * writes exactly once; `await using` or `close` at the end waits for all of it.
 */
export class Writer implements AsyncDisposable {
  readonly #settings: WriterSettings
  readonly #collector: RowCollector
  readonly #delivery: WriterDelivery
  readonly #queue: WriterQueue
  readonly #seal: () => void
  #accepted = 0
  #rejectedHere = 0
  #timer: NodeJS.Timeout | undefined
  readonly #turns: Record<Lane, Promise<void>> = { live: Promise.resolve(), late: Promise.resolve() }
  readonly #waiting: Record<Lane, number> = { live: 0, late: 0 }
  #closing: Promise<void> | undefined
  /** Rejected rows that could not be noted. */
  #unnoted: RejectedRow[] = []

  /** Made by `db.writer()`. */
  constructor(settings: WriterSettings, collector: RowCollector, delivery: WriterDelivery, queue: WriterQueue) {
    this.#settings = settings
    this.#collector = collector
    this.#delivery = delivery
    this.#queue = queue
    // Else what is sent later would belong to the transaction in whose function the row was written.
    this.#seal = AsyncResource.bind(() => this.#queue.add(this.#collector.takeAll()))
  }

  /**
   * Takes a row, or a list of rows (objects by column name, or arrays), as a whole or not at all. It resolves when they are
   * in memory and will be written; while the buffer is full it waits, as late rows do where they fill half of it. A process that is killed loses what was in memory:
   * `flush` says what is safe.
   *
   * @throws BatchError for a row that does not fit, with its number in the list
   * @throws UsageError CLOSED; ConnectionError DISK_FULL where rejected rows cannot be noted, or with SPILL_FAILED where the database is away and the spill is full
   * @throws what keeps the database away, after giveUpMs; with onBadRow `stop` the error of a row that was refused
   */
  async write(rows: InputRow | readonly InputRow[]): Promise<void> {
    const list: readonly InputRow[] = isList(rows) ? rows : [rows]
    this.#checkOpen(list)
    if (this.#hasRoom('live') && this.#hasRoom('late')) {
      await this.#take(list)
      return
    }
    const lane = this.#queue.waitingLane(list)
    this.#waiting[lane]++
    const turn = this.#turns[lane].then(async () => {
      await this.#queue.room(lane)
      this.#checkOpen(list)
      await this.#take(list)
    })
    this.#turns[lane] = turn.catch(() => undefined)
    await turn.finally(() => this.#waiting[lane]--)
  }

  /**
   * Sends what is in memory. It resolves when all that was accepted before is in the table or, while the database is away, on
   * the disk of the spill directory.
   * @throws what keeps it in memory; nothing is dropped, and a later flush may succeed
   */
  async flush(): Promise<void> {
    this.#seal()
    await this.#queue.settled()
    await this.#note()
  }

  /** How it is doing, at this moment. */
  get metrics(): WriterMetrics {
    const queue = this.#queue
    const oldest = [this.#collector.since, queue.since].filter((since) => since !== undefined)
    return {
      accepted: this.#accepted,
      recovered: queue.recovered,
      written: this.#delivery.count.written,
      skipped: this.#delivery.count.skipped,
      rejected: this.#delivery.count.rejected + this.#rejectedHere,
      buffered: this.#collector.rows + queue.lanes.rows,
      spilled: queue.spilledRows,
      bufferedBytes: queue.bytes,
      spilledBytes: queue.spilledBytes,
      lagMs: oldest.length === 0 ? 0 : Math.max(0, Date.now() - Math.min(...oldest)),
      retried: queue.retried,
      problem: queue.trouble.problem,
    }
  }

  /**
   * Takes no more rows, and waits until all are in the table or, while the database is away, on disk. May be called again.
   * @throws what rows that were accepted could not be written for; the message says how many are lost
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #hasRoom(lane: Lane): boolean {
    return this.#waiting[lane] === 0 && this.#queue.hasRoom(lane)
  }

  async #close(): Promise<void> {
    await Promise.all(Object.values(this.#turns))
    this.#seal()
    clearTimeout(this.#timer)
    try {
      await this.#queue.close()
      await this.#note()
    } finally {
      await this.#delivery.close()
    }
  }

  #checkOpen(rows: readonly InputRow[]): void {
    if (this.#closing !== undefined) throw new UsageError('CLOSED', 'The writer was closed before the call')
    this.#queue.check(rows)
  }

  async #take(rows: readonly InputRow[]): Promise<void> {
    // Nothing of these is accepted as long as earlier ones are not noted.
    if (this.#unnoted.length > 0) await this.#note()
    const rejected: RejectedRow[] = []
    const stops = this.#settings.onBadRow === 'stop'
    if (stops && rows.length > 1) for (const [index, row] of rows.entries()) this.#collector.check(row, index)
    let full = false
    const give = (batches: readonly CollectedBatch[]): void => {
      full = true
      this.#queue.add(batches)
    }
    for (const [index, row] of rows.entries()) {
      try {
        this.#collector.add(row, index, give)
        this.#accepted++
      } catch (error) {
        if (stops || !(error instanceof BatchError)) throw error
        this.#accepted++
        this.#rejectedHere++
        const source = toJson(row)
        rejected.push({ row: index, reason: error.message, sqlState: undefined, source: source && JSON.parse(source) })
      }
    }
    if (this.#collector.rows > 0) this.#wakeLater()
    if (rejected.length > 0) {
      this.#unnoted.push(...rejected)
      // The others of these rows are accepted: what is in the way is an error of the next call.
      await this.#note().catch(this.#settings.onError)
    }
    // A loop that does nothing but write would keep timers and sockets waiting until the buffer is full.
    if (full) await setImmediate()
  }

  /** Notes rejected rows. @throws why that is not possible; they are kept */
  async #note(): Promise<void> {
    const rows = this.#unnoted
    if (rows.length === 0) return
    this.#unnoted = []
    try {
      await this.#delivery.noteRejected(rows)
    } catch (error) {
      this.#unnoted = [...rows, ...this.#unnoted]
      throw error
    }
  }

  #wakeLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#seal()
    }, this.#settings.flushMs)
  }
}

/**
 * Opens a writer. What an earlier one left in the spill directory is written first.
 * @throws UsageError; QueryError NOT_FOUND; ConnectionError, DIRECTORY_LOCKED where another writer has the spill directory
 * @throws PlanError DRIFT where the spill directory holds rows of another table
 */
export async function openWriter(session: Session, name: ObjectName, options: WriterOptions = {}): Promise<Writer> {
  const settings = writerSettings(options)
  if (session.inTransaction) throw invalidOption('A writer needs the database, not a transaction.')
  const table = await readTable(session, name)
  const conflict = await conflictRule(session, table, settings.columns ?? writable(table), settings)
  // Every batch that does not go through a temporary table would fail, and be tried again as if the database were away.
  const isStaged = conflict.onConflict !== 'error' || table.columns.some((column) => !valueWriter(column, {}))
  const obstacle = isStaged ? undefined : await whyNotCopied(session, table)
  if (obstacle !== undefined) {
    throw new UsageError('INVALID_VALUE', `${formatName(table)} ${obstacle}: a writer's COPY is refused there`, {
      hint: 'Use insert.',
    })
  }
  const target = await readLoadTarget(session, table)
  const importId = `writer ${randomUUID()}`
  const collector = new RowCollector({ table, target, conflict, settings })
  const queue: { current?: WriterQueue } = {}
  const onChanged = (now: typeof table): void => queue.current?.add(collector.use(now))
  const delivery = new WriterDelivery({ session, table, target, conflict, settings, onChanged })
  const { spillDirectory: directory, spillBytes: maxBytes, onError } = settings
  const owner = { importId, target: formatName(table), maxBytes, onError }
  const log = directory === undefined ? undefined : await SpillLog.open({ ...owner, directory })
  try {
    await delivery.checkDeadLetters()
    await delivery.openImport(importId)
    const readRanges = target.time === undefined ? undefined : () => listCompressedRanges(session, table)
    const ordered = conflict.onConflict !== 'error'
    queue.current = new WriterQueue({ importId, settings, delivery, collector, log, readRanges, ordered })
    await queue.current.start()
    return new Writer(settings, collector, delivery, queue.current)
  } catch (error) {
    await log?.close()
    throw error
  }
}

function isList(rows: InputRow | readonly InputRow[]): rows is readonly InputRow[] {
  return Array.isArray(rows)
}
