import { isMadeMeanwhile } from '../connection/server-error.ts'
import type { Session } from '../connection/session.ts'
import { PlanError, QueryError } from '../errors.ts'
import { sql } from '../sql/template.ts'

const ledgerSql: readonly string[] = [
  'create schema if not exists tsdbkit',
  `create table if not exists tsdbkit.import (
    id text primary key, target text not null, unit text not null, batch_rows bigint not null,
    batch_bytes bigint not null, fingerprint text, started_at timestamptz not null default now(), finished_at timestamptz,
    reading jsonb)`,
  `create table if not exists tsdbkit.import_window (
    import_id text not null references tsdbkit.import on delete cascade, start bigint not null,
    rows bigint, written bigint, skipped bigint, rejected jsonb, state jsonb, error text,
    source_bytes bigint, source_crc bigint,
    primary key (import_id, start))`,
  `create table if not exists tsdbkit.import_range (
    import_id text not null references tsdbkit.import on delete cascade, range text not null,
    figures jsonb not null, primary key (import_id, range))`,
]

/** Columns that the first version of a table did not have; in the order in which a loader of that version locks them. */
const laterColumns: Readonly<Record<string, readonly (readonly [name: string, type: string])[]>> = {
  import_window: [
    ['state', 'jsonb'],
    ['error', 'text'],
    ['source_bytes', 'bigint'],
    ['source_crc', 'bigint'],
  ],
  import: [['reading', 'jsonb']],
}

/**
 * Makes the tables of the ledger, or adds to those of an earlier version what they lack.
 * @throws PlanError DRIFT where this role may not
 */
export async function createLedgerTables(session: Session): Promise<void> {
  const { rows } = await session.query<{ name: string; columns: string[] }>(sql`
    select relname as name, array(
      select attname::text from pg_catalog.pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped) as columns
    from pg_catalog.pg_class c where relnamespace = pg_catalog.to_regnamespace('tsdbkit') and relname like 'import%'`)
  const there = new Map(rows.map(({ name, columns }) => [name, columns]))
  const lacking = Object.entries(laterColumns).flatMap(([table, later]) => {
    const missing = later.filter(([name]) => there.get(table)?.includes(name) === false)
    return missing.length > 0 ? [{ table, missing }] : []
  })
  if (lacking.length > 0) await addColumns(session, lacking)
  if (there.has('import_range')) return
  for (const text of ledgerSql) {
    try {
      await session.transaction((inner) => inner.query({ text, values: [] }))
    } catch (error) {
      if (!isMadeMeanwhile(error)) throw error
    }
  }
}

interface LackingTable {
  readonly table: string
  readonly missing: readonly (readonly [name: string, type: string])[]
}

async function addColumns(session: Session, lacking: readonly LackingTable[]): Promise<void> {
  const statements = lacking.map(({ table, missing }) => {
    const added = missing.map(([name, type]) => `add column if not exists ${name} ${type}`)
    return `alter table tsdbkit.${table} ${added.join(', ')}`
  })
  try {
    await session.transaction(async (inner) => {
      for (const text of statements) await inner.query({ text, values: [] })
    })
  } catch (error) {
    if (!(error instanceof QueryError && error.code === 'PERMISSION_DENIED')) throw error
    const lacks = lacking.map(({ table, missing }) => `${table} lacks ${missing.map(([name]) => name).join(', ')}`)
    throw new PlanError('DRIFT', `The tables of tsdbkit are of an earlier version: ${lacks.join('; ')}.`, {
      hint: `Run as their owner: ${statements.join('; ')}`,
      cause: error,
    })
  }
}
