import type { Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import { formatName, type ObjectName, parseName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareTimes, type TimeInput, timeSql } from '../sql/time-expression.ts'
import { onCatalog } from './capabilities.ts'
import { type Dimension, isIntegerTime, listDimensions } from './dimension.ts'
import { getTimeRelation, type RelationName } from './relation.ts'

/** Which chunks to list. */
export interface ChunkFilter {
  /** Only chunks that end at or before this time. */
  readonly olderThan?: TimeInput
  /** Only chunks that start at or after this time. */
  readonly newerThan?: TimeInput
  /** Only compressed chunks, or with false only uncompressed ones. */
  readonly compressed?: boolean
  /** The same as `compressed: true`. */
  readonly compressedOnly?: boolean
  readonly signal?: AbortSignal
}

const FILTER_KEYS = Object.keys({
  olderThan: true,
  newerThan: true,
  compressed: true,
  compressedOnly: true,
  signal: true,
} satisfies Record<keyof ChunkFilter, true>)

/** Bytes on disk. */
export interface RelationSize {
  readonly tableBytes: number
  readonly indexBytes: number
  readonly toastBytes: number
  readonly totalBytes: number
}

/** One chunk. */
export interface ChunkInfo extends RelationSize {
  readonly chunkSchema: string
  readonly chunkName: string
  readonly hypertableSchema: string
  readonly hypertableName: string
  /**
   * The first instant of the chunk, or a bigint for an integer time column; undefined where it is open. For `timestamp`
   * and `date` columns it is the wall clock taken as UTC.
   */
  readonly rangeStart: Date | bigint | undefined
  /** The first instant after the chunk. */
  readonly rangeEnd: Date | bigint | undefined
  readonly isCompressed: boolean
  /** True for a compressed chunk with rows that came later and wait to be compressed or sorted. */
  readonly needsRecompression: boolean
  /** Bytes before and after its last compression; undefined for an uncompressed chunk. */
  readonly beforeCompressionBytes: number | undefined
  readonly afterCompressionBytes: number | undefined
  /** Undefined for the database's default tablespace. */
  readonly tablespace: string | undefined
  /** Undefined on servers that do not tell. */
  readonly createdAt: Date | undefined
}

interface ChunkRow {
  readonly chunkSchema: string
  readonly chunkName: string
  readonly start: Date | null
  readonly end: Date | null
  readonly startInteger: string | null
  readonly endInteger: string | null
  readonly isCompressed: boolean
  readonly status: number
  readonly tableBytes: number | null
  readonly indexBytes: number | null
  readonly toastBytes: number | null
  readonly totalBytes: number | null
  readonly beforeBytes: number | null
  readonly afterBytes: number | null
  readonly tablespace: string | null
  readonly createdAt: Date | null
}

/** Bits of a chunk's status: unordered batches, and rows beside the compressed ones. */
const UNORDERED_OR_PARTIAL = 2 | 8

/**
 * Every chunk of a hypertable or continuous aggregate, newest first. The number of queries does not depend on the
 * number of chunks.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND; UsageError INVALID_TIME where a filter does not fit the time column.
 */
export async function getChunkInfo(session: Session, name: ObjectName, filter: ChunkFilter = {}): Promise<ChunkInfo[]> {
  checkKeys(filter, FILTER_KEYS, 'getChunkInfo')
  const relation = await getTimeRelation(session, name)
  const [time] = await listDimensions(session, relation.storage)
  const { rows } = await session.query<ChunkRow>(
    chunkListSql(relation.storage, time, filter),
    filter.signal === undefined ? {} : { signal: filter.signal },
  )
  const uuid = time?.columnType === 'uuid'
  return rows.map((row) => toChunkInfo(row, relation, uuid))
}

/** The statement of {@link getChunkInfo}. */
export function chunkListSql(storage: RelationName, time: Dimension | undefined, filter: ChunkFilter): Sql {
  checkKeys(filter, FILTER_KEYS, 'getChunkInfo')
  const table = sql`${formatName(storage)}::regclass`
  const start = sql`coalesce(c.range_start_integer, _timescaledb_functions.time_to_internal(c.range_start))`
  return sql`
    select c.chunk_schema as "chunkSchema", c.chunk_name as "chunkName",
      case when isfinite(c.range_start) then c.range_start end as start,
      case when isfinite(c.range_end) then c.range_end end as "end",
      c.range_start_integer::text as "startInteger", c.range_end_integer::text as "endInteger",
      c.is_compressed as "isCompressed",
      _timescaledb_functions.chunk_status(format('%I.%I', c.chunk_schema, c.chunk_name)::regclass) as status,
      s.table_bytes as "tableBytes", s.index_bytes as "indexBytes", s.toast_bytes as "toastBytes",
      s.total_bytes as "totalBytes",
      p.before_compression_total_bytes as "beforeBytes", p.after_compression_total_bytes as "afterBytes",
      c.chunk_tablespace as tablespace, c.chunk_creation_time as "createdAt"
    from timescaledb_information.chunks c
    left join chunks_detailed_size(${table}) s using (chunk_schema, chunk_name)
    left join chunk_compression_stats(${table}) p using (chunk_schema, chunk_name)
    where c.hypertable_schema = ${storage.schema} and c.hypertable_name = ${storage.name}${filterSql(time, filter)}
    order by ${start} desc, c.chunk_schema, c.chunk_name`
}

function filterSql(time: Dimension | undefined, filter: ChunkFilter): Sql {
  const conditions: Sql[] = []
  const columnType = time?.columnType ?? ''
  if (filter.newerThan !== undefined && filter.olderThan !== undefined) {
    if ((compareTimes(filter.newerThan, filter.olderThan) ?? 0) > 0) {
      throw new UsageError('INVALID_TIME', 'olderThan is before newerThan, so no chunk lies between them.')
    }
  }
  if (filter.olderThan !== undefined) conditions.push(rangeCondition('end', '<=', filter.olderThan, columnType))
  if (filter.newerThan !== undefined) conditions.push(rangeCondition('start', '>=', filter.newerThan, columnType))
  if (filter.compressedOnly === true && filter.compressed === false) {
    throw new UsageError('INVALID_OPTION', 'compressedOnly: true and compressed: false leave no chunk.')
  }
  const compressed = filter.compressedOnly === true ? true : filter.compressed
  if (compressed !== undefined) conditions.push(compressed ? sql`c.is_compressed` : sql`not c.is_compressed`)
  return sql.join(
    conditions.map((condition) => sql` and ${condition}`),
    '',
  )
}

function rangeCondition(edge: 'start' | 'end', operator: '<=' | '>=', time: TimeInput, columnType: string): Sql {
  const compare = sql.raw(operator)
  if (isIntegerTime(columnType)) {
    return sql`${sql.raw(`c.range_${edge}_integer`)} ${compare} ${timeSql(time, 'bigint')}`
  }
  const instant = timeSql(time, 'timestamptz')
  // The view shows the range of a uuid column as microseconds on some servers and as an instant on others.
  if (columnType === 'uuid') {
    const shown = sql.raw(`coalesce(c.range_${edge}_integer, _timescaledb_functions.time_to_internal(c.range_${edge}))`)
    return sql`${shown} ${compare} _timescaledb_functions.time_to_internal(${instant})`
  }
  return sql`${sql.raw(`c.range_${edge}`)} ${compare} ${instant}`
}

function toChunkInfo(row: ChunkRow, hypertable: RelationName, uuid: boolean): ChunkInfo {
  return {
    chunkSchema: row.chunkSchema,
    chunkName: row.chunkName,
    hypertableSchema: hypertable.schema,
    hypertableName: hypertable.name,
    rangeStart: toRangeEdge(row.start, row.startInteger, uuid),
    rangeEnd: toRangeEdge(row.end, row.endInteger, uuid),
    isCompressed: row.isCompressed,
    needsRecompression: row.isCompressed && (row.status & UNORDERED_OR_PARTIAL) !== 0,
    tableBytes: row.tableBytes ?? 0,
    indexBytes: row.indexBytes ?? 0,
    toastBytes: row.toastBytes ?? 0,
    totalBytes: row.totalBytes ?? 0,
    beforeCompressionBytes: row.isCompressed ? (row.beforeBytes ?? undefined) : undefined,
    afterCompressionBytes: row.isCompressed ? (row.afterBytes ?? undefined) : undefined,
    tablespace: row.tablespace ?? undefined,
    createdAt: row.createdAt ?? undefined,
  }
}

/** An end of a chunk as callers see it; undefined where it is open. `uuid`: the time column is a uuid. */
export function toRangeEdge(instant: Date | null, integer: string | null, uuid: boolean): Date | bigint | undefined {
  if (instant !== null) return instant
  if (integer === null) return undefined
  return uuid ? new Date(Number(BigInt(integer) / 1000n)) : BigInt(integer)
}

/** A chunk, by its name (with or without its schema) or as {@link getChunkInfo} lists it. */
export type ChunkReference = ObjectName | Pick<ChunkInfo, 'chunkSchema' | 'chunkName'>

/** The state of one chunk. */
export interface ChunkState extends RelationName {
  readonly isCompressed: boolean
  readonly needsRecompression: boolean
  /** Its batches are not in order and rows lie beside them: the server cannot put that in order, only make it anew. */
  readonly needsRebuild: boolean
}

interface ChunkStateRow extends RelationName {
  readonly isCompressed: boolean
  readonly status: number
}

/**
 * One chunk by name. Chunks are rarely in the search path, so a name without schema is looked for among all chunks.
 * @throws QueryError NOT_FOUND; UsageError INVALID_IDENTIFIER where several schemas have a chunk of that name.
 */
export async function getChunkState(session: Session, chunk: ChunkReference): Promise<ChunkState> {
  const wanted =
    typeof chunk === 'object' && chunk !== null && 'chunkName' in chunk
      ? { schema: chunk.chunkSchema, name: chunk.chunkName }
      : parseName(chunk)
  const inSchema = wanted.schema === undefined ? sql.empty : sql` and chunk_schema = ${wanted.schema}`
  const statement = sql`
    select chunk_schema as schema, chunk_name as name, is_compressed as "isCompressed",
      _timescaledb_functions.chunk_status(format('%I.%I', chunk_schema, chunk_name)::regclass) as status
    from timescaledb_information.chunks
    where chunk_name = ${wanted.name}${inSchema}
    order by chunk_schema`
  const { rows } = await onCatalog(session, () => session.query<ChunkStateRow>(statement))
  const [row] = rows
  if (row === undefined) {
    throw new QueryError('NOT_FOUND', `There is no chunk ${formatName(wanted)}.`, { sqlState: '42704' })
  }
  if (rows.length > 1) {
    const schemas = rows.map((other) => formatName(other)).join(' and ')
    throw new UsageError('INVALID_IDENTIFIER', `The chunk's name is not unique: ${schemas}.`, {
      hint: 'Give the schema too.',
    })
  }
  return {
    schema: row.schema,
    name: row.name,
    isCompressed: row.isCompressed,
    needsRecompression: row.isCompressed && (row.status & UNORDERED_OR_PARTIAL) !== 0,
    needsRebuild: row.isCompressed && (row.status & UNORDERED_OR_PARTIAL) === UNORDERED_OR_PARTIAL,
  }
}
