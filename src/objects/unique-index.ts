import type { RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { formatName, quoteIdentifier } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'

/** TimescaleDB's own code for a unique index without a partitioning column. */
const BAD_UNIQUE_INDEX = 'TS103'

interface IndexRow {
  readonly indexName: string
  readonly constraintName: string | null
  readonly constraintType: string | null
  readonly columns: readonly string[]
  readonly definition: string
}

/**
 * The server's refusal of a unique index without a partitioning column, in words that help: it names no index itself.
 * Every other error is given back as it is.
 */
export async function explainUniqueIndexes(
  session: Session,
  table: RelationName,
  partitioningColumns: readonly string[],
  error: QueryError,
): Promise<QueryError> {
  if (error.sqlState !== BAD_UNIQUE_INDEX) return error
  const { rows } = await session.query<IndexRow>(sql`
    select r.relname as "indexName", c.conname as "constraintName", c.contype::text as "constraintType",
      array(
        select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(attnum, position)
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where k.position <= i.indnkeyatts
        order by k.position
      ) as columns,
      pg_catalog.pg_get_indexdef(i.indexrelid) as definition
    from pg_catalog.pg_index i
    join pg_catalog.pg_class r on r.oid = i.indexrelid
    left join pg_catalog.pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x')
    where i.indrelid = ${formatName(table)}::regclass and (i.indisunique or i.indisexclusion)
    order by i.indisprimary desc, r.relname`)
  const faults = rows.flatMap((row) => {
    const missing = partitioningColumns.filter((column) => !row.columns.includes(column))
    return missing.length === 0 ? [] : [{ row, missing }]
  })
  if (faults.length === 0) return error
  const sentences = faults.map(
    ({ row, missing }) => `${describe(row)} lacks ${missing.map(quoteIdentifier).join(', ')}`,
  )
  return new QueryError(
    'CONSTRAINT_VIOLATION',
    `${formatName(table)} cannot become a hypertable: ${sentences.join('; ')}. ` +
      'Every primary key and unique index must hold all partitioning columns.',
    {
      sqlState: error.sqlState,
      schema: table.schema,
      table: table.name,
      constraint: faults[0]?.row.constraintName ?? faults[0]?.row.indexName,
      hint: faults.map(({ row, missing }) => repair(table, row, missing)).join('; '),
      cause: error,
    },
  )
}

function describe(row: IndexRow): string {
  const kinds: Readonly<Record<string, string>> = {
    p: 'the primary key',
    u: 'the unique constraint',
    x: 'the exclusion constraint',
  }
  const kind = kinds[row.constraintType ?? ''] ?? 'the unique index'
  return `${kind} ${quoteIdentifier(row.constraintName ?? row.indexName)}`
}

/** The statement that puts the missing columns in, or at least takes the index away. */
function repair(table: RelationName, row: IndexRow, missing: readonly string[]): string {
  const name = formatName(table)
  const columns = [...missing, ...row.columns].map(quoteIdentifier).join(', ')
  if (row.constraintName === null) {
    const drop = `drop index ${formatName({ schema: table.schema, name: row.indexName })}`
    const isPlain = / USING btree \([^()]*\)$/.test(row.definition)
    return isPlain ? `${drop}; create unique index ${quoteIdentifier(row.indexName)} on ${name} (${columns})` : drop
  }
  const constraint = quoteIdentifier(row.constraintName)
  const drop = `alter table ${name} drop constraint ${constraint}`
  if (row.constraintType === 'x') return drop
  const kind = row.constraintType === 'p' ? 'primary key' : 'unique'
  return `${drop}, add constraint ${constraint} ${kind} (${columns})`
}
