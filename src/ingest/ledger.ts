import type { RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { PlanError, QueryError, UsageError } from '../errors.ts'
import { formatName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import type { RejectedRow } from './batch.ts'
import type { Delivery } from './sender.ts'

/** What an import is, so that it is not gone on with as another. */
export interface ImportIdentity {
  readonly table: RelationName
  /** What a window's start counts: rows of the source, or lines of its text. */
  readonly unit: 'row' | 'line'
  readonly batchRows: number
  readonly batchBytes: number
  /** Size and hash of a file; undefined where the source cannot be known again. */
  readonly fingerprint: string | undefined
}

interface ImportRow {
  readonly target: string
  readonly unit: string
  readonly batchRows: number
  readonly batchBytes: number
  readonly fingerprint: string | null
}

/** A concurrent CREATE … IF NOT EXISTS fails on the catalog's unique indexes; the other one has made it. */
const madeMeanwhile: ReadonlySet<string> = new Set(['23505', '42P06', '42P07'])

const ledgerSql: readonly string[] = [
  'create schema if not exists tsdbkit',
  `create table if not exists tsdbkit.import (
    id text primary key, target text not null, unit text not null, batch_rows bigint not null,
    batch_bytes bigint not null, fingerprint text, started_at timestamptz not null default now(), finished_at timestamptz)`,
  `create table if not exists tsdbkit.import_window (
    import_id text not null references tsdbkit.import on delete cascade, start bigint not null,
    rows bigint, written bigint, skipped bigint, rejected jsonb, primary key (import_id, start))`,
]

/**
 * The windows of a source that are in the table, in two tables of the schema `tsdbkit`. A window's row is written in the
 * transaction of its rows, first: a second loader, or one whose COMMIT had no answer, waits there and then sees it.
 */
export class Ledger {
  readonly batchRows: number
  readonly batchBytes: number
  /** Rows of the windows that were in the table at the start, by start. */
  readonly done: ReadonlyMap<number, number>
  readonly #id: string

  private constructor(id: string, row: ImportRow, done: ReadonlyMap<number, number>) {
    this.#id = id
    this.batchRows = row.batchRows
    this.batchBytes = row.batchBytes
    this.done = done
  }

  /**
   * Begins an import, or goes on with it: with the window size it began with.
   * @throws PlanError DRIFT where an import of this id has another table, another source or another way to read it
   */
  static async open(session: Session, id: string, identity: ImportIdentity): Promise<Ledger> {
    if (id === '') throw new UsageError('INVALID_OPTION', 'Option importId must not be empty')
    await createTables(session)
    const target = formatName(identity.table)
    const { unit, batchRows, batchBytes } = identity
    const fingerprint = identity.fingerprint ?? null
    await session.query(sql`insert into tsdbkit.import (id, target, unit, batch_rows, batch_bytes, fingerprint)
      values (${id}, ${target}, ${unit}, ${batchRows}, ${batchBytes}, ${fingerprint}) on conflict do nothing`)
    const { rows } = await session.query<ImportRow>(sql`
      select target, unit, batch_rows as "batchRows", batch_bytes as "batchBytes", fingerprint
      from tsdbkit.import where id = ${id}`)
    const [row] = rows
    if (row === undefined) throw new TypeError('The import is gone')
    if (row.target !== target) throw drift(id, `goes into ${row.target}, not ${target}`)
    if (row.unit !== unit) throw drift(id, `was cut by ${row.unit}s, which other options do not allow any more`)
    if (row.fingerprint !== fingerprint) throw drift(id, 'began with another source: size or content have changed')
    const windows = await session.query<{ start: number; rows: number | null }>(
      sql`select start, rows from tsdbkit.import_window where import_id = ${id}`,
    )
    return new Ledger(id, row, new Map(windows.rows.map((one) => [one.start, one.rows ?? 0])))
  }

  /** Takes a window for this transaction. @returns false where it is in the table already */
  async claim(tx: Session, start: number): Promise<boolean> {
    const { rowCount } = await tx.query(sql`insert into tsdbkit.import_window (import_id, start)
      values (${this.#id}, ${start}) on conflict do nothing`)
    return rowCount === 1
  }

  /** Notes what a window came to. */
  async record(tx: Session, start: number, delivery: Delivery, rejected: readonly RejectedRow[]): Promise<void> {
    const { written, skipped } = delivery
    const noted = rejected.length === 0 ? null : JSON.stringify(rejected, plain)
    await tx.query(sql`update tsdbkit.import_window
      set rows = ${written + skipped + rejected.length}, written = ${written}, skipped = ${skipped},
        rejected = ${noted}::jsonb
      where import_id = ${this.#id} and start = ${start}`)
  }

  /** All rows that were rejected, also by runs before. */
  async rejected(session: Session): Promise<RejectedRow[]> {
    const { rows } = await session.query<{ rejected: RejectedRow[] }>(sql`
      select rejected from tsdbkit.import_window
      where import_id = ${this.#id} and rejected is not null order by start`)
    return rows.flatMap(({ rejected }) => rejected)
  }

  async finish(session: Session): Promise<void> {
    await session.query(sql`update tsdbkit.import set finished_at = now() where id = ${this.#id}`)
  }
}

async function createTables(session: Session): Promise<void> {
  const { rows } = await session.query<{ there: boolean }>(
    sql`select pg_catalog.to_regclass('tsdbkit.import_window') is not null as there`,
  )
  if (rows[0]?.there) return
  for (const text of ledgerSql) {
    try {
      await session.transaction((inner) => inner.query({ text, values: [] }))
    } catch (error) {
      if (!(error instanceof QueryError && madeMeanwhile.has(error.sqlState))) throw error
    }
  }
}

function drift(id: string, problem: string): PlanError {
  return new PlanError('DRIFT', `The import ${JSON.stringify(id)} ${problem}.`, {
    hint: 'Use another importId, or delete from tsdbkit.import where id is this one to begin again.',
  })
}

/** jsonb holds no NUL, and JSON no bigint. */
function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  return typeof value === 'string' ? value.replaceAll(/[\0\ud800-\udfff]/gu, '\ufffd') : value
}
