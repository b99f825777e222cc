import type { RelationName } from '../catalog/relation.ts'
import { isLockTimeout, LOCK_TIMEOUT } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { PlanError, QueryError, UsageError } from '../errors.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import type { RejectedRow, RowBatch } from './batch.ts'
import { createLedgerTables } from './ledger-table.ts'
import type { SkippedBatch } from './load-option.ts'
import { changedOptions, type Reading } from './reading.ts'
import type { Delivery } from './sender.ts'
import { changedBytes, type SourceMark } from './source/source-mark.ts'
import type { Baseline, RangeFigures } from './verify/verify.ts'

/** What an import is, so that it is not gone on with as another. */
export interface ImportIdentity {
  readonly table: RelationName
  /** What a window's start counts: rows of the source, or lines of its text. */
  readonly unit: 'row' | 'line'
  readonly batchRows: number
  readonly batchBytes: number
  /** Size and hash of a file; undefined where the source cannot be known again. */
  readonly fingerprint: string | undefined
  /** The options by which a row of the source becomes one of the table; a writer has none. */
  readonly reading?: Reading
}

/** What a window leaves for those after it and for a later run. */
export interface WindowState {
  /** The rows declared sorted: for each segment its first and last place in the order. */
  readonly ranges?: readonly (readonly [segment: string, low: number, high: number])[]
  /** Chunks that were made by it, with what their entry in the catalog is known again by. */
  readonly chunks?: readonly (readonly [id: number, version: string])[]
  /** Chunks that were decompressed for it. */
  readonly decompressed?: readonly RelationName[]
}

interface WindowRow {
  readonly start: number
  readonly rows: number | null
  readonly state: WindowState | null
  readonly bytes: number | null
  readonly crc: number | null
}

interface DeliveredRow {
  readonly rows: number | null
  readonly written: number | null
  readonly skipped: number | null
  readonly rejected: RejectedRow[] | null
  readonly state: WindowState | null
  readonly leftOut: boolean
}

interface ImportRow {
  readonly target: string
  readonly unit: string
  readonly batchRows: number
  readonly batchBytes: number
  readonly fingerprint: string | null
  /** NULL in a ledger of an earlier version. */
  readonly reading: Reading | null
  readonly finished: boolean
}

const claimWaitMs = 60_000

/** A statement whose commit does not wait for the disk: that of a window writes what was committed before it too. */
function unhurried({ inTransaction }: Session): Sql {
  // In a transaction the setting would be that of its own commit.
  const setting = inTransaction ? sql`''` : sql`set_config('synchronous_commit', 'off', true)`
  return sql`with unhurried as materialized (select ${setting} as v)`
}

/**
 * The windows of a source that are in the table, in two tables of the schema `tsdbkit`. A window's row is written in the
 * transaction of its rows, first: a second loader, or one whose COMMIT had no answer, waits there and then sees it.
 */
export class Ledger {
  readonly id: string
  readonly batchRows: number
  readonly batchBytes: number
  /** Whether a run before has done all that there was to do. */
  readonly finished: boolean
  /** Rows of the windows that were in the table at the start, by start. */
  readonly done: ReadonlyMap<number, number>
  /** What those windows left for the next ones to know. */
  readonly states: readonly WindowState[]
  /** By the start of the window. */
  readonly #marks: ReadonlyMap<number, SourceMark>
  readonly #starts: readonly number[]
  /** The place of the next start that was not reached yet. */
  #next = 0

  private constructor(id: string, row: ImportRow, windows: readonly WindowRow[]) {
    this.id = id
    this.batchRows = row.batchRows
    this.batchBytes = row.batchBytes
    this.finished = row.finished
    this.done = new Map(windows.map((one) => [one.start, one.rows ?? 0]))
    this.#starts = windows.map(({ start }) => start)
    this.#marks = new Map(
      windows.flatMap(({ start, bytes, crc }) => (bytes === null || crc === null ? [] : [[start, { bytes, crc }]])),
    )
    this.states = windows.flatMap(({ state }) => (state === null ? [] : [state]))
  }

  /**
   * Begins an import, or goes on with it: with the window size it began with.
   * @throws PlanError DRIFT where an import of this id has another table, another source or another way to read it
   */
  static async open(session: Session, id: string, identity: ImportIdentity): Promise<Ledger> {
    if (id === '') throw new UsageError('INVALID_OPTION', 'Option importId must not be empty')
    await createLedgerTables(session)
    const target = formatName(identity.table)
    const { unit, batchRows, batchBytes } = identity
    const fingerprint = identity.fingerprint ?? null
    const reading = identity.reading === undefined ? null : JSON.stringify(identity.reading)
    // Waits for the disk: a server that crashes before the first window would forget the import, which windows refer to.
    await session.query(sql`insert into tsdbkit.import (id, target, unit, batch_rows, batch_bytes, fingerprint, reading)
      values (${id}, ${target}, ${unit}, ${batchRows}, ${batchBytes}, ${fingerprint}, ${reading}::jsonb) on conflict do nothing`)
    const { rows } = await session.query<ImportRow>(sql`
      select target, unit, batch_rows as "batchRows", batch_bytes as "batchBytes", fingerprint, reading,
        finished_at is not null as finished
      from tsdbkit.import where id = ${id}`)
    const [row] = rows
    if (row === undefined) throw new TypeError('The import is gone')
    if (row.target !== target) throw drift(id, `goes into ${row.target}, not ${target}`)
    const changed = changedOptions(row.reading, identity.reading)
    if (changed.length > 0) {
      throw drift(
        id,
        `began with other options: ${changed.join(', ')}`,
        'Give the options it began with (they are in tsdbkit.import.reading)',
      )
    }
    if (row.unit !== unit) throw drift(id, `was cut by ${row.unit}s, which other options do not allow any more`)
    if (row.fingerprint !== fingerprint) throw drift(id, 'began with another source: size or content have changed')
    const windows = await session.query<WindowRow>(
      sql`select start, rows, state, source_bytes as bytes, source_crc as crc from tsdbkit.import_window where import_id = ${id} order by start`,
    )
    return new Ledger(id, row, windows.rows)
  }

  /**
   * Looks whether what was read of the file for the windows in the table is still in it.
   * @throws PlanError DRIFT where it is not
   */
  async checkContent(path: string, signal: AbortSignal | undefined): Promise<void> {
    const changed = await changedBytes(path, [...this.#marks.values()], signal)
    if (changed === undefined) return
    const [after, upTo] = changed
    throw drift(this.id, `began with another source: bytes ${after} to ${upTo} of ${path} have changed since`)
  }

  /**
   * Looks whether a window of rows is one that the import was cut into. To be asked in the order of the rows.
   * @param mark - of the rows up to its end, where they are known by one
   * @throws PlanError DRIFT where it is not, or its rows are others
   */
  checkRows({ first, rows }: Pick<RowBatch, 'first' | 'rows'>, mark: SourceMark | undefined): void {
    const before = mark && this.#marks.get(first)
    if (before !== undefined && (before.bytes !== mark?.bytes || before.crc !== mark.crc)) {
      const last = first + rows - 1
      throw drift(this.id, `began with other rows: some up to row ${last} came, went or changed their key since`)
    }
    while (this.#next < this.#starts.length && (this.#starts[this.#next] ?? 0) <= first) this.#next++
    const end = this.#starts[this.#next] ?? Number.POSITIVE_INFINITY
    const known = this.done.get(first) ?? Math.min(rows, end - first)
    if (known === rows) return
    throw drift(
      this.id,
      `began with other rows: ${known} were written together from row ${first} on, now they are ${rows}`,
    )
  }

  /**
   * Takes a window for this transaction, and notes what it will most likely come to: then it is written once only. Where
   * another loader is at it, or a connection whose end the server has not noticed, that one is waited for.
   * @param mark - the source up to the window's end, or beyond it
   * @param waitMs - so long, and no longer than the connection's own lock_timeout
   * @returns false where it is in the table already
   * @throws QueryError of SQLSTATE 55P03 where it was waited for in vain, to be tried again
   */
  async claim(
    tx: Session,
    start: number,
    rows?: number,
    mark?: SourceMark,
    waitMs: number = claimWaitMs,
  ): Promise<boolean> {
    const expected = rows ?? null
    const window = sql`
      insert into tsdbkit.import_window (import_id, start, rows, written, skipped, source_bytes, source_crc)
      values (${this.id}, ${start}, ${expected}, ${expected}::bigint, ${rows === undefined ? null : 0},
        ${mark?.bytes ?? null}, ${mark?.crc ?? null})
      on conflict do nothing`
    try {
      const { rowCount } = await tx.query(window, { timeoutMs: waitMs })
      return rowCount === 1
    } catch (error) {
      if (!(error instanceof QueryError)) throw error
      if (error.code !== 'STATEMENT_TIMEOUT' && !isLockTimeout(error)) throw error
      const place = `The window from ${start} on of the import ${JSON.stringify(this.id)}`
      throw new QueryError(error.code, `${place} is held by another connection.`, {
        sqlState: LOCK_TIMEOUT,
        hint: 'Another loader of this import is at it, or one that is gone without the server knowing: see pg_stat_activity, and end that one with pg_terminate_backend.',
        cause: error,
      })
    }
  }

  /** Notes what a window came to. */
  async record(
    tx: Session,
    start: number,
    delivery: Pick<Delivery, 'written' | 'skipped'>,
    rejected: readonly RejectedRow[],
    state?: WindowState,
  ): Promise<void> {
    const { written, skipped } = delivery
    const noted = rejected.length === 0 ? null : JSON.stringify(rejected, plain)
    await tx.query(sql`update tsdbkit.import_window
      set rows = coalesce(rows, ${written + skipped + rejected.length}), written = ${written}, skipped = ${skipped},
        rejected = ${noted}::jsonb, state = ${state === undefined ? null : JSON.stringify(state)}::jsonb
      where import_id = ${this.id} and start = ${start}`)
  }

  /**
   * What a window came to that is in the table already.
   * @param rejected - where this run has written it: the rows that it had rejected before
   */
  async delivered(tx: Session, start: number, rejected: readonly RejectedRow[] | undefined): Promise<Delivery> {
    const { rows } = await tx.query<DeliveredRow>(sql`
      select rows, written, skipped, rejected, state, error is not null as "leftOut"
      from tsdbkit.import_window where import_id = ${this.id} and start = ${start}`)
    const [window] = rows
    if (rejected === undefined || window === undefined || window.leftOut) {
      return { written: 0, skipped: 0, rejected: [], notices: [], other: window?.rows ?? 0 }
    }
    const before = new Set(rejected.map(({ row }) => row))
    return {
      written: window.written ?? 0,
      skipped: window.skipped ?? 0,
      rejected: (window.rejected ?? []).filter(({ row }) => !before.has(row)),
      notices: [],
      state: window.state ?? undefined,
    }
  }

  /** Notes that a window is left out, with the reason. @returns false where it is in the table already */
  async leaveOut(tx: Session, start: number, rows: number, reason: string): Promise<boolean> {
    const { rowCount } = await tx.query(sql`
      insert into tsdbkit.import_window (import_id, start, rows, written, skipped, error)
      values (${this.id}, ${start}, ${rows}, 0, 0, ${plain('', reason)}) on conflict do nothing`)
    return rowCount === 1
  }

  /** All windows that were left out, also by runs before. */
  async leftOut(session: Session): Promise<SkippedBatch[]> {
    const { rows } = await session.query<SkippedBatch>(sql`
      select start as first, coalesce(rows, 0) as rows, error as reason from tsdbkit.import_window
      where import_id = ${this.id} and error is not null order by start`)
    return rows
  }

  /** What became of a window that this run did not write. @returns the rejected rows; undefined: all were left out */
  async outcome(session: Session, start: number): Promise<ReadonlySet<number> | undefined> {
    const { rows } = await session.query<{ rejected: RejectedRow[] | null; error: string | null }>(sql`
      select rejected, error from tsdbkit.import_window where import_id = ${this.id} and start = ${start}`)
    const [window] = rows
    if (window === undefined || window.error !== null) return undefined
    return new Set((window.rejected ?? []).map(({ row }) => row))
  }

  /** What ranges of the table held before the import, for all of its runs. */
  baseline(session: Session): Baseline {
    return {
      keep: async (range, figures) => {
        await session.query(sql`insert into tsdbkit.import_range (import_id, range, figures)
          values (${this.id}, ${range}, ${JSON.stringify(figures)}::jsonb) on conflict do nothing`)
        const { rows } = await session.query<{ figures: RangeFigures }>(sql`
          select figures from tsdbkit.import_range where import_id = ${this.id} and range = ${range}`)
        return rows[0]?.figures ?? figures
      },
    }
  }

  /** Whether what ranges held before is known: it must be noted from the first window on. */
  async hasBaseline(session: Session): Promise<boolean> {
    if (this.done.size === 0) return true
    const { rows } = await session.query<{ there: boolean }>(
      sql`select exists (select from tsdbkit.import_range where import_id = ${this.id}) as there`,
    )
    return rows[0]?.there === true
  }

  /** Notes all rows that were rejected, also by runs before; other loaders of the import wait meanwhile. */
  async noteRejected(session: Session, note: (rows: readonly RejectedRow[]) => Promise<void>): Promise<void> {
    await session.transaction(async (tx) => {
      // Not as strong that those wait too which write their windows.
      await tx.query(sql`select from tsdbkit.import where id = ${this.id} for no key update`)
      const { rows } = await tx.query<{ rejected: RejectedRow[] }>(sql`
        select rejected from tsdbkit.import_window
        where import_id = ${this.id} and rejected is not null order by start`)
      await note(rows.flatMap(({ rejected }) => rejected))
    })
  }

  async finish(session: Session): Promise<void> {
    await session.query(sql`${unhurried(session)}
      update tsdbkit.import set finished_at = now() from unhurried where id = ${this.id} and v is not null`)
  }
}

/** The fingerprint that an import began with; undefined where there is none, or no such import that is to be gone on with. */
export async function earlierFingerprint(session: Session, id: string): Promise<string | undefined> {
  const { rows } = await session.query<{ there: boolean }>(
    sql`select pg_catalog.to_regclass('tsdbkit.import') is not null as there`,
  )
  if (rows[0]?.there !== true) return undefined
  const found = await session.query<{ fingerprint: string | null }>(
    sql`select fingerprint from tsdbkit.import where id = ${id} and finished_at is null`,
  )
  return found.rows[0]?.fingerprint ?? undefined
}

function drift(id: string, problem: string, mend = 'Use another importId'): PlanError {
  return new PlanError('DRIFT', `The import ${JSON.stringify(id)} ${problem}.`, {
    hint: `${mend}, or delete from tsdbkit.import where id is this one to begin again.`,
  })
}

/** jsonb holds no NUL, and JSON no bigint. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  return typeof value === 'string' ? value.replaceAll(/[\0\ud800-\udfff]/gu, '\ufffd') : value
}
