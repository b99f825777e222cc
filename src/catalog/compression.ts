import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { getTimeRelation, type Relation, type RelationName } from './relation.ts'

/** One column by which compressed batches are sorted. */
export interface OrderByColumn {
  readonly column: string
  readonly direction: 'asc' | 'desc'
  readonly nulls: 'first' | 'last'
}

/** How a hypertable or continuous aggregate is compressed. */
export interface CompressionSettings {
  readonly enabled: boolean
  /** Empty where the server chooses, or where there is none. */
  readonly segmentBy: readonly string[]
  /** Empty where the server chooses. */
  readonly orderBy: readonly OrderByColumn[]
}

interface SettingRow {
  readonly column: string | null
  readonly segmentIndex: number | null
  readonly orderIndex: number | null
  readonly ascending: boolean | null
  readonly nullsFirst: boolean | null
}

/**
 * How a hypertable or continuous aggregate is compressed.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function getCompressionSettings(session: Session, name: ObjectName): Promise<CompressionSettings> {
  return readCompressionSettings(session, await getTimeRelation(session, name))
}

/** {@link getCompressionSettings} of a relation that is known already. */
export async function readCompressionSettings(
  session: Session,
  relation: Relation & { readonly storage: RelationName },
): Promise<CompressionSettings> {
  const { storage } = relation
  const { rows } = await session.query<SettingRow & { readonly enabled: boolean }>(sql`
    select e.enabled, s.attname as "column", s.segmentby_column_index::int as "segmentIndex",
      s.orderby_column_index::int as "orderIndex", s.orderby_asc as ascending, s.orderby_nullsfirst as "nullsFirst"
    from (
      select coalesce(
        (select compression_enabled from timescaledb_information.hypertables
          where hypertable_schema = ${relation.schema} and hypertable_name = ${relation.name}),
        (select compression_enabled from timescaledb_information.continuous_aggregates
          where view_schema = ${relation.schema} and view_name = ${relation.name}),
        false) as enabled
    ) e
    left join timescaledb_information.compression_settings s
      on (s.hypertable_schema = ${storage.schema} and s.hypertable_name = ${storage.name})
      or (s.hypertable_schema = ${relation.schema} and s.hypertable_name = ${relation.name})
    order by s.segmentby_column_index nulls last, s.orderby_column_index`)
  return {
    enabled: rows[0]?.enabled ?? false,
    segmentBy: rows.flatMap((row) => (row.segmentIndex !== null && row.column !== null ? [row.column] : [])),
    orderBy: rows.flatMap((row) =>
      row.orderIndex !== null && row.column !== null ? [toOrderBy(row, row.column)] : [],
    ),
  }
}

function toOrderBy(row: SettingRow, column: string): OrderByColumn {
  return { column, direction: row.ascending === false ? 'desc' : 'asc', nulls: row.nullsFirst ? 'first' : 'last' }
}

/** True where compression is enabled for the hypertable, or continuous aggregate, of a chunk. */
export async function isCompressible(session: Session, chunk: RelationName): Promise<boolean> {
  const { rows } = await session.query(sql`
    select from _timescaledb_catalog.chunk c join _timescaledb_catalog.hypertable h on h.id = c.hypertable_id
    where c.schema_name = ${chunk.schema} and c.table_name = ${chunk.name} and h.compression_state = 1`)
  return rows.length > 0
}
