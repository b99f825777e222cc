import { readTable, type TableDescription } from '../../catalog/column.ts'
import type { LoadTarget } from '../../catalog/load-target.ts'
import type { Session } from '../../connection/session.ts'
import { BatchError, ConnectionError, QueryError } from '../../errors.ts'
import { formatName } from '../../sql/identifier.ts'
import { sql } from '../../sql/template.ts'
import type { RejectedRow } from '../batch.ts'
import type { ConflictRule } from '../conflict.ts'
import { DeadLetterFile } from '../dead-letter.ts'
import { Ledger } from '../ledger.ts'
import { isRowFailure } from '../row-failure.ts'
import { type Delivery, Sender } from '../sender.ts'
import { answered } from './wait.ts'
import { encodedBatch, type Lane, rowsOf, type WriterBatch } from './writer-batch.ts'
import type { WriterSettings } from './writer-option.ts'

/** A window of the ledger. */
interface Window {
  readonly importId: string
  readonly number: number
}

/** Where batches go. */
export interface DeliveryRules {
  readonly session: Session
  readonly table: TableDescription
  readonly target: LoadTarget
  readonly conflict: ConflictRule
  readonly settings: WriterSettings
  /** Told when the table's columns are not those of a batch any more. */
  readonly onChanged: (table: TableDescription) => void
}

type Sent = Pick<Delivery, 'written' | 'skipped' | 'rejected'>

interface Attempt {
  /** Whether the server shall convert from the batch's types to the table's. */
  readonly staged: boolean
  /** Whether constraints that wait for the end are checked at once, where a row can be found that breaks them. */
  readonly immediate: boolean
  readonly signal: AbortSignal
}

/** The table's columns are not those that the rows were encoded for. */
class Changed extends Error {}

function tookTooLong(ms: number, cause: QueryError): QueryError {
  return new QueryError('STATEMENT_TIMEOUT', `A batch was not written within ${ms} ms.`, {
    sqlState: cause.sqlState,
    hint: 'Another transaction may hold a lock that it waits for: pg_locks shows those that are not granted.',
    cause,
  })
}

/** Writes batches, each in one transaction with its window of the ledger, so that sending one again does no harm. */
export class WriterDelivery {
  /** What all batches came to. */
  readonly count = { written: 0, skipped: 0, rejected: 0 }
  readonly #rules: DeliveryRules
  readonly #timeoutMs: Record<Lane, number>
  readonly #ledgers = new Map<string, Ledger>()
  readonly #senders = new Map<string, Sender>()
  readonly #deadLetters: DeadLetterFile | undefined
  /** Windows nobody will ask for again. */
  #forgettable: Window[] = []

  constructor(rules: DeliveryRules) {
    this.#rules = rules
    const { onBadRow, sendTimeoutMs } = rules.settings
    this.#timeoutMs = { live: sendTimeoutMs, late: sendTimeoutMs }
    this.#deadLetters = typeof onBadRow === 'object' ? new DeadLetterFile(onBadRow.file) : undefined
  }

  /** Makes the ledger know an import. */
  async openImport(importId: string): Promise<Ledger> {
    const known = this.#ledgers.get(importId)
    if (known !== undefined) return known
    const { session, table } = this.#rules
    const identity = { table, unit: 'row', batchRows: 0, batchBytes: 0, fingerprint: undefined } as const
    const ledger = await Ledger.open(session, importId, identity)
    this.#ledgers.set(importId, ledger)
    return ledger
  }

  /**
   * Writes a batch, if it is not in the table already.
   * @param giveUp - ends it at once
   * @throws BatchError, QueryError about a row, with onBadRow `stop`; else what will not last, to be tried again
   */
  async deliver(batch: WriterBatch, giveUp: AbortSignal): Promise<void> {
    const { lane } = batch
    const timeout = AbortSignal.timeout(this.#timeoutMs[lane])
    const either = new AbortController()
    const { signal } = either
    // Not AbortSignal.any: one that lives as long as the writer would keep all that were made of it.
    const end = (): void => either.abort(timeout.reason)
    timeout.addEventListener('abort', end)
    giveUp.addEventListener('abort', end)
    if (giveUp.aborted) end()
    try {
      const { written, skipped, rejected } = await answered(this.#deliver(batch, signal), signal)
      this.count.written += written
      this.count.skipped += skipped
      this.count.rejected += rejected.length
    } catch (error) {
      if (!timeout.aborted) throw error
      const ms = this.#timeoutMs[lane]
      // A batch that takes so long for its rows would never be written else.
      this.#timeoutMs[lane] = Math.min(ms * 2, 2 ** 31 - 1)
      throw error instanceof QueryError && error.code === 'QUERY_CANCELLED' ? tookTooLong(ms, error) : error
    } finally {
      timeout.removeEventListener('abort', end)
      giveUp.removeEventListener('abort', end)
    }
  }

  async #deliver(batch: WriterBatch, signal: AbortSignal): Promise<Sent> {
    try {
      return await this.#attempt(batch, { staged: false, immediate: false, signal })
    } catch (error) {
      const changed = await this.#changed(batch, error)
      if (changed !== undefined) {
        this.#rules.onChanged(changed)
        return await this.#attempt(batch, { staged: true, immediate: this.#skipsBad, signal })
      }
      if (!this.#skipsBad || !isRowFailure(error)) throw error
    }
    // The row was refused when the transaction was to end, where no row can be taken out any more.
    try {
      return await this.#attempt(batch, { staged: false, immediate: true, signal })
    } catch (error) {
      if (!isRowFailure(error)) throw error
      return this.#rejectAll(batch, error)
    }
  }

  /** @throws UsageError INVALID_VALUE where rejected rows cannot be noted */
  async checkDeadLetters(): Promise<void> {
    await this.#deadLetters?.check()
  }

  /** Notes rows that were refused before they were in a batch. */
  async noteRejected(rows: readonly RejectedRow[]): Promise<void> {
    await this.#deadLetters?.write(rows)
  }

  /** Windows of the ledger that are removed with the next batch. */
  forget(windows: readonly Window[]): void {
    this.#forgettable.push(...windows)
  }

  /** Ends an import whose windows were all written by this writer, which has noted what it rejected. */
  async endOwnImport(importId: string): Promise<void> {
    await this.#rules.session.query(sql`delete from tsdbkit.import where id = ${importId}`)
    this.#ledgers.delete(importId)
  }

  /**
   * Ends an earlier import of which nothing will be sent any more. What it rejected and could not note is noted now.
   * @param noted - the windows whose rejected rows are noted
   */
  async endImport(importId: string, noted: readonly Window[]): Promise<void> {
    const { session } = this.#rules
    const numbers = noted.filter((window) => window.importId === importId).map(({ number }) => number)
    const { rows } = await session.query<{ rejected: RejectedRow[] }>(sql`
      select rejected from tsdbkit.import_window where import_id = ${importId} and rejected is not null
        and start <> all(${numbers}::bigint[]) order by start`)
    await this.noteRejected(rows.flatMap(({ rejected }) => rejected))
    await this.endOwnImport(importId)
  }

  async close(): Promise<void> {
    await this.#deadLetters?.close()
  }

  get #skipsBad(): boolean {
    return this.#rules.settings.onBadRow !== 'stop'
  }

  async #attempt(batch: WriterBatch, how: Attempt): Promise<Sent> {
    const { session } = this.#rules
    const ledger = await this.openImport(batch.importId)
    // Another lane must not wait for the locks of those that this one removes.
    const forgotten = this.#forgettable
    this.#forgettable = []
    const send = async (tx: Session): Promise<Sent> => {
      if (!(await this.#claim(tx, ledger, batch))) {
        this.forget(forgotten.splice(0))
        return this.#claimed(tx, batch)
      }
      if (how.immediate) await tx.query(sql`set constraints all immediate`)
      const sent = await this.#sender(batch, how.staged).send(tx, rowsOf(batch), encodedBatch(batch), () => undefined)
      if (sent.skipped > 0 || sent.rejected.length > 0) await ledger.record(tx, batch.number, sent, sent.rejected)
      await this.#checkColumns(tx, batch, how.staged, forgotten)
      return sent
    }
    const done = await session.transaction(send, { signal: how.signal }).catch((error: unknown) => {
      this.forget(forgotten)
      throw error
    })
    await this.noteRejected(done.rejected)
    return done
  }

  /** Takes the batch's window. @returns false where it is in the table already */
  async #claim(tx: Session, ledger: Ledger, { importId, number, rows }: WriterBatch): Promise<boolean> {
    try {
      return await ledger.claim(tx, number, rows)
    } catch (error) {
      const isGone = error instanceof QueryError && error.code === 'NOT_FOUND'
      if (!isGone && !isRowFailure(error)) throw error
      // The import, or all of the ledger, is not there any more: no row of the batch is to blame.
      this.#ledgers.delete(importId)
      throw new ConnectionError('CONNECTION_LOST', 'The import is gone from the ledger, and is begun again.', {
        retryable: true,
        cause: error,
      })
    }
  }

  /** What the ledger says of a batch that is in the table already: its COMMIT had no answer. */
  async #claimed(tx: Session, batch: WriterBatch): Promise<Sent> {
    const { rows } = await tx.query<{ written: number | null; skipped: number | null; rejected: RejectedRow[] | null }>(
      sql`select written, skipped, rejected from tsdbkit.import_window
        where import_id = ${batch.importId} and start = ${batch.number}`,
    )
    const { written, skipped, rejected } = rows[0] ?? { written: null, skipped: null, rejected: null }
    return { written: written ?? batch.rows, skipped: skipped ?? 0, rejected: rejected ?? [] }
  }

  #sender({ columns }: WriterBatch, staged: boolean): Sender {
    const key = JSON.stringify([staged, columns])
    let sender = this.#senders.get(key)
    if (sender === undefined) {
      const { table, target, conflict } = this.#rules
      sender = new Sender({
        table,
        columns,
        target,
        conflict,
        format: 'format binary',
        settings: new Map(),
        // Small batches would make compressed chunks larger than uncompressed ones: 307 bytes a row for one row.
        direct: false,
        skipBad: this.#skipsBad,
        staged,
      })
      this.#senders.set(key, sender)
    }
    return sender
  }

  /**
   * Looks whether the columns are still of the types the rows were encoded for: eight bytes of one type are a valid value
   * of another. The COPY holds its lock on the table, so they stay what they are until the commit.
   */
  async #checkColumns(tx: Session, batch: WriterBatch, staged: boolean, forgotten: readonly Window[]): Promise<void> {
    const { table } = this.#rules
    const names = batch.columns.map(({ name }) => name)
    const types = batch.columns.map(({ baseName }) => baseName)
    const { rows } = await tx.query<{ same: number }>(sql`
      with forgotten as (
        delete from tsdbkit.import_window w using unnest(
          ${forgotten.map(({ importId }) => importId)}::text[], ${forgotten.map(({ number }) => number)}::bigint[]
        ) f (import_id, start) where w.import_id = f.import_id and w.start = f.start
      )
      select count(*)::int as same from unnest(${names}::text[], ${types}::text[]) c (name, type)
      join pg_catalog.pg_attribute a on a.attname = c.name and pg_catalog.format_type(a.atttypid, -1) = c.type
      where a.attrelid = pg_catalog.to_regclass(${formatName(table)}) and a.attnum > 0 and not a.attisdropped`)
    if (!staged && rows[0]?.same !== names.length) throw new Changed('The columns have changed')
  }

  /** The table as it is now, where the failure may come from its columns having changed. */
  async #changed(batch: WriterBatch, error: unknown): Promise<TableDescription | undefined> {
    if (!(error instanceof Changed || error instanceof QueryError || error instanceof BatchError)) return undefined
    const { session, table } = this.#rules
    const now = await readTable(session, table).catch(() => undefined)
    const same = batch.columns.every(({ name, baseName }) =>
      now?.columns.some((column) => column.name === name && column.baseName === baseName),
    )
    return same ? undefined : now
  }

  async #rejectAll(batch: WriterBatch, reason: QueryError): Promise<Sent> {
    const view = rowsOf(batch)
    const rejected = Array.from({ length: batch.rows }, (_, row) => ({
      row,
      reason: reason.message,
      sqlState: reason.sqlState,
      source: view.source(row),
    }))
    const ledger = await this.openImport(batch.importId)
    await this.#rules.session.transaction(async (tx) => {
      if (!(await this.#claim(tx, ledger, batch))) return
      await ledger.record(tx, batch.number, { written: 0, skipped: 0 }, rejected)
    })
    await this.noteRejected(rejected)
    return { written: 0, skipped: 0, rejected }
  }
}
