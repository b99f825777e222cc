import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import { nearest } from '../sql/nearest.ts'
import { sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'

/** What an option that names a column can be checked against. */
interface NamedColumn {
  readonly name: string
  /** As the server prints it, such as `timestamp with time zone`; of a domain the type below it. */
  readonly type: string
}

const TIME_TYPES: ReadonlyMap<string, TimeType> = new Map<string, TimeType>([
  ['timestamp with time zone', 'timestamptz'],
  ['timestamp without time zone', 'timestamp'],
  ['date', 'date'],
  ['bigint', 'bigint'],
  ['integer', 'integer'],
  ['smallint', 'smallint'],
])

/** The type of a time column by the server's name of it; undefined for any other type. */
export function toTimeType(type: string): TimeType | undefined {
  return TIME_TYPES.get(type)
}

/** The columns of a table or view in their order; empty where there is none of that name. */
export async function listColumns(session: Session, table: ObjectName): Promise<NamedColumn[]> {
  const { rows } = await session.query<NamedColumn>(sql`
    select a.attname::text as name, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text as type
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = pg_catalog.to_regclass(${formatName(table)}) and a.attnum > 0 and not a.attisdropped
    order by a.attnum`)
  return rows
}

/**
 * Refuses a name that is none of the columns; `option` says where it was given.
 * @throws QueryError NOT_FOUND; the hint names the nearest.
 */
export function requireColumns(
  table: ObjectName,
  columns: readonly NamedColumn[],
  wanted: readonly string[],
  option: string,
): void {
  const names = columns.map(({ name }) => name)
  const missing = wanted.find((name) => !names.includes(name))
  if (missing === undefined) return
  const candidate = nearest(missing, names)
  throw new QueryError('NOT_FOUND', `${option}: ${formatName(table)} has no column ${JSON.stringify(missing)}.`, {
    sqlState: '42703',
    column: missing,
    hint:
      candidate === undefined ? `Its columns are ${names.join(', ')}.` : `Did you mean ${JSON.stringify(candidate)}?`,
  })
}
