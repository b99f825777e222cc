import type { Session } from '../connection/session.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { can, readCapabilities } from './capabilities.ts'
import { type RelationSize, toRangeEdge } from './chunk.ts'
import type { RelationName } from './relation.ts'

/** The sums over all chunks of a hypertable. */
export interface StorageSummary extends RelationSize {
  readonly numChunks: number
  readonly compressedChunks: number
  readonly beforeBytes: number
  readonly afterBytes: number
  readonly oldestRange: Date | bigint | undefined
  readonly newestRange: Date | bigint | undefined
}

interface SummaryRow {
  readonly numChunks: number
  readonly compressedChunks: number
  readonly oldest: Date | null
  readonly newest: Date | null
  readonly oldestInteger: string | null
  readonly newestInteger: string | null
  readonly tableBytes: number | null
  readonly indexBytes: number | null
  readonly toastBytes: number | null
  readonly totalBytes: number | null
  readonly beforeBytes: number | null
  readonly afterBytes: number | null
}

/** Chunks, bytes and range of a hypertable, in one query. `uuid`: its time column is a uuid. */
export async function readStorageSummary(
  session: Session,
  hypertable: RelationName,
  uuid: boolean,
): Promise<StorageSummary> {
  const table = sql`${formatName(hypertable)}::regclass`
  const { rows } = await session.query<SummaryRow>(sql`
    select c.*, z.table_bytes as "tableBytes", z.index_bytes as "indexBytes", z.toast_bytes as "toastBytes",
      z.total_bytes as "totalBytes", p.before as "beforeBytes", p.after as "afterBytes"
    from (
      select count(*)::int as "numChunks", (count(*) filter (where is_compressed))::int as "compressedChunks",
        min(range_start) filter (where isfinite(range_start)) as oldest,
        max(range_end) filter (where isfinite(range_end)) as newest,
        min(range_start_integer)::text as "oldestInteger", max(range_end_integer)::text as "newestInteger"
      from timescaledb_information.chunks
      where hypertable_schema = ${hypertable.schema} and hypertable_name = ${hypertable.name}
    ) c
    left join (
      select sum(table_bytes)::bigint as table_bytes, sum(index_bytes)::bigint as index_bytes,
        sum(toast_bytes)::bigint as toast_bytes, sum(total_bytes)::bigint as total_bytes
      from hypertable_detailed_size(${table})
    ) z on true
    left join (
      select sum(before_compression_total_bytes)::bigint as before,
        sum(after_compression_total_bytes)::bigint as after
      from chunk_compression_stats(${table})
      where compression_status = 'Compressed'
    ) p on true`)
  const row = rows[0]
  if (row === undefined) throw new TypeError('The database answered no row.')
  const { oldest, newest, oldestInteger, newestInteger, ...rest } = row
  return {
    numChunks: rest.numChunks,
    compressedChunks: rest.compressedChunks,
    tableBytes: rest.tableBytes ?? 0,
    indexBytes: rest.indexBytes ?? 0,
    toastBytes: rest.toastBytes ?? 0,
    totalBytes: rest.totalBytes ?? 0,
    beforeBytes: rest.beforeBytes ?? 0,
    afterBytes: rest.afterBytes ?? 0,
    oldestRange: toRangeEdge(oldest, oldestInteger, uuid),
    newestRange: toRangeEdge(newest, newestInteger, uuid),
  }
}

/**
 * About how many rows a hypertable has, without reading them. Compressed rows are counted as they were compressed;
 * `approximate_row_count` takes 1,000 for each batch instead and is off by up to that factor. A chunk that was never
 * analyzed counts by its size, as the planner does it.
 */
export async function readRowEstimate(session: Session, hypertable: RelationName): Promise<number> {
  const { rows } = await session.query<{ readonly rows: number | null }>(
    sql`select sum(e.rows)::bigint as rows from (${await estimateSql(session, hypertable)}) e`,
  )
  return rows[0]?.rows ?? 0
}

/** {@link readRowEstimate} of each chunk, by its schema and name. */
export async function readChunkRowEstimates(
  session: Session,
  hypertable: RelationName,
): Promise<readonly (RelationName & { readonly rows: number })[]> {
  const { rows } = await session.query<RelationName & { readonly rows: number | null }>(
    sql`select e.schema, e.name, e.rows::bigint as rows from (${await estimateSql(session, hypertable)}) e`,
  )
  return rows.map((row) => ({ ...row, rows: row.rows ?? 0 }))
}

async function estimateSql(session: Session, hypertable: RelationName): Promise<Sql> {
  const capabilities = await readCapabilities(session)
  const sameChunk = can(capabilities, 'chunk-relid')
    ? 'k.relid = r.oid'
    : 'k.schema_name = c.chunk_schema and k.table_name = c.chunk_name'
  return sql`
    select c.chunk_schema as schema, c.chunk_name as name,
      case when r.reltuples > 0 and r.relpages > 0 then r.reltuples / r.relpages else w.density end
        * (pg_relation_size(r.oid) / current_setting('block_size')::float8)
      + coalesce(s.numrows_pre_compression, 0) as rows
    from timescaledb_information.chunks c
    join pg_catalog.pg_namespace n on n.nspname = c.chunk_schema
    join pg_catalog.pg_class r on r.relnamespace = n.oid and r.relname = c.chunk_name
    left join _timescaledb_catalog.chunk k on ${sql.raw(sameChunk)}
    left join _timescaledb_catalog.compression_chunk_size s on s.chunk_id = k.id and c.is_compressed
    cross join (
      select (current_setting('block_size')::float8 - 24)
        / (28 + sum(case when attlen > 0 then attlen else 32 end)) as density
      from pg_catalog.pg_attribute
      where attrelid = ${formatName(hypertable)}::regclass and attnum > 0 and not attisdropped
    ) w
    where c.hypertable_schema = ${hypertable.schema} and c.hypertable_name = ${hypertable.name}`
}
