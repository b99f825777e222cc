import type { Session } from '../connection/session.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { can, readCapabilities } from './capabilities.ts'
import type { RelationName } from './relation.ts'

/** A chunk, and how its entry in the catalog is known again as long as nothing of it has changed. */
export interface ChunkVersion {
  readonly id: number
  readonly status: number
  /** Every change of the status makes another one, also where it is changed back. */
  readonly version: string
  /** Whether the entry was written by this transaction. */
  readonly own: boolean
  /** How its rows are compressed; null where none are. */
  readonly segmentBy: readonly string[] | null
  readonly orderBy: readonly string[] | null
  readonly descending: readonly boolean[] | null
}

/** Bits of a chunk's status. */
export const CHUNK_COMPRESSED = 1
export const CHUNK_UNORDERED = 2

/** Times as the catalog counts them: microseconds since 1970, or the units of an integer column; both ends included. */
export interface TimeSpan {
  readonly low: bigint
  readonly high: bigint
}

/** The chunks of a hypertable that hold a span of time. */
export async function listChunkVersions(
  session: Session,
  table: RelationName,
  span: TimeSpan,
): Promise<ChunkVersion[]> {
  const { rows } = await session.query<ChunkVersion>(sql`
    select c.id, c.status, c.xmin::text || ' ' || c.ctid::text as version,
      c.xmin::text::bigint = mod(pg_current_xact_id()::text::bigint, 4294967296) as own,
      g.segmentby as "segmentBy", g.orderby as "orderBy", g.orderby_desc as descending
    from (select distinct c.id as chunk ${chunksOfSpan(table, span)}) o
    join _timescaledb_catalog.chunk c on c.id = o.chunk
    left join _timescaledb_catalog.compression_settings g
      on g.relid = to_regclass(format('%I.%I', c.schema_name, c.table_name))`)
  return rows
}

/**
 * A statement that waits until nobody compresses these chunks, and then keeps everybody from it until the transaction
 * ends; loads of the same table do so one after another.
 */
export function lockChunksSql(table: RelationName, span: TimeSpan): Sql {
  const body = sql`
    declare chunk regclass;
    begin
      perform pg_advisory_xact_lock((${sql.literal(loaderLock)}::bigint << 32) | to_regclass(${sql.literal(formatName(table))})::oid::bigint);
      for chunk in select distinct format('%I.%I', c.schema_name, c.table_name)::regclass ${chunksOfSpan(table, span)}
        order by 1
      loop
        execute format('lock table only %s in share update exclusive mode', chunk);
      end loop;
    end`
  return sql`do ${sql.literal(body.text)}`
}

/** The first half of the loader's advisory lock; the other is the table's oid. */
const loaderLock = 1_953_720_427

// Literals, since DO binds nothing.
function chunksOfSpan(table: RelationName, { low, high }: TimeSpan): Sql {
  return sql`
    from _timescaledb_catalog.hypertable h
    join lateral (
      select id from _timescaledb_catalog.dimension
      where hypertable_id = h.id and interval_length is not null order by id limit 1
    ) d on true
    join _timescaledb_catalog.dimension_slice s
      on s.dimension_id = d.id and s.range_start <= ${sql.literal(high)}::bigint and s.range_end > ${sql.literal(low)}::bigint
    join _timescaledb_catalog.chunk_constraint k on k.dimension_slice_id = s.id
    join _timescaledb_catalog.chunk c on c.id = k.chunk_id
    where h.schema_name = ${sql.literal(table.schema)} and h.table_name = ${sql.literal(table.name)} and not c.dropped`
}

/** Why rows cannot be declared sorted to the server; undefined where they can. */
export async function whyNotSorted(
  session: Session,
  table: RelationName,
  segmentBy: readonly string[],
): Promise<string | undefined> {
  if (can(await readCapabilities(session), 'chunk-relid')) return 'the catalog of this version is not known here'
  const { rows } = await session.query<{ setting: boolean; lock: boolean; collation: boolean }>(sql`
    select current_setting('timescaledb.enable_direct_compress_copy_client_sorted', true) is not null as setting,
      has_table_privilege(t.oid, 'update, delete, truncate') as lock,
      exists (
        select from pg_catalog.pg_attribute a join pg_catalog.pg_collation c on c.oid = a.attcollation
        where a.attrelid = t.oid and a.attname = any(${segmentBy}::text[]) and not c.collisdeterministic
      ) as collation
    from (select pg_catalog.to_regclass(${formatName(table)}) as oid) t`)
  const [row] = rows
  if (row?.setting !== true) return 'the server has no such setting'
  if (!row.lock) return 'the role may not lock the chunks, which needs the right to update the table'
  return row.collation ? 'texts of a segment may be equal and not the same' : undefined
}
