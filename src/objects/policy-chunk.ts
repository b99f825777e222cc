import { can, readCapabilities } from '../catalog/capabilities.ts'
import type { ChunkInfo } from '../catalog/chunk.ts'
import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { isIntegerTime, listDimensions } from '../catalog/dimension.ts'
import type { PolicyKind } from '../catalog/job.ts'
import { isSameRelation, type RelationName } from '../catalog/relation.ts'
import { readChunkRowEstimates } from '../catalog/size.ts'
import type { Session } from '../connection/session.ts'
import { formatName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { beforeSql } from './refresh-preview.ts'

/** One run of a policy. */
export interface PolicyRun {
  readonly jobId: number
  readonly kind: PolicyKind
  readonly config: Readonly<Record<string, unknown>>
  /** When it runs, as SQL of type timestamptz. */
  readonly at: Sql
  readonly exact: boolean
}

/** What a policy works on. */
export interface PolicyTarget {
  readonly relation: RelationName
  /** The aggregate that the policy is for, if it is for one. */
  readonly aggregate: ContinuousAggregate | undefined
  readonly aggregates: readonly ContinuousAggregate[]
}

/** The time of an integer column, from the hypertable at the bottom: aggregates have no function of their own. */
export async function readIntegerNow(
  session: Session,
  aggregate: ContinuousAggregate | undefined,
  aggregates: readonly ContinuousAggregate[],
  storage: RelationName | undefined = aggregate?.sourceStorage,
): Promise<Sql | undefined> {
  if (storage === undefined) return undefined
  const below = aggregates.find((other) => isSameRelation(other.materialization, storage))
  if (below !== undefined) return readIntegerNow(session, below, aggregates)
  const [time] = await listDimensions(session, storage)
  if (time === undefined || !isIntegerTime(time.columnType)) return undefined
  return sql`_timescaledb_functions.subtract_integer_from_now(${sql.literal(formatName(storage))}::regclass, 0)`
}

/** Bits of a chunk's status. */
const COMPRESSED = 1
const FROZEN = 4

interface OldChunk extends RelationName {
  readonly status: number
}

/** The chunks that a retention or compression policy takes, by the server's own choice of what is old. */
export async function findOldChunks(session: Session, target: PolicyTarget, run: PolicyRun): Promise<RelationName[]> {
  const { relation, aggregate, aggregates } = target
  const storage = aggregate?.materialization ?? relation
  const [time] = await listDimensions(session, storage)
  const verb = run.kind === 'retention' ? 'drop' : 'compress'
  const text = (key: string): string | undefined => {
    const value = run.config[`${verb}_${key}`]
    return value === undefined || value === null ? undefined : String(value)
  }
  const [after, createdBefore] = [text('after'), text('created_before')]
  const integerNow = await readIntegerNow(session, aggregate, aggregates, aggregate?.sourceStorage ?? storage)
  const boundary =
    after === undefined
      ? sql`created_before => ${run.at} - ${createdBefore ?? '0'}::interval`
      : sql`older_than => ${beforeSql(time?.columnType ?? '', run.at, integerNow, after)}`
  const { rows } = await session.query<OldChunk>(sql`
    select n.nspname as schema, c.relname as name, _timescaledb_functions.chunk_status(s.oid::regclass) as status
    from show_chunks(${sql.literal(formatName(relation))}::regclass, ${boundary}) with ordinality s(oid, position)
    join pg_catalog.pg_class c on c.oid = s.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    order by s.position`)
  const free = rows.filter(({ status }) => (status & FROZEN) === 0)
  if (run.kind === 'retention') return free
  const isWanted = run.config['recompress'] === false ? [0] : undefined
  const open = free.filter(({ status }) => isWanted?.includes(status) ?? status !== COMPRESSED)
  const most = Number(run.config['maxchunks_to_compress'] ?? 0)
  return most > 0 ? open.slice(0, most) : open
}

/** The chunk that a reorder policy takes next: one a run, the oldest that it has not reordered, and none of the two newest. */
export async function findReorderChunk(
  session: Session,
  storage: RelationName,
  jobId: number,
): Promise<RelationName[]> {
  const sameChunk = can(await readCapabilities(session), 'chunk-relid')
    ? "k.relid = format('%I.%I', c.chunk_schema, c.chunk_name)::regclass"
    : 'k.schema_name = c.chunk_schema and k.table_name = c.chunk_name'
  const start = sql.raw('coalesce(c.range_start_integer, _timescaledb_functions.time_to_internal(c.range_start))')
  const { rows } = await session.query<RelationName>(sql`
    with chunk as (
      select c.chunk_schema as schema, c.chunk_name as name, c.is_compressed, k.id, ${start} as low
      from timescaledb_information.chunks c
      join _timescaledb_catalog.chunk k on ${sql.raw(sameChunk)}
      where c.hypertable_schema = ${storage.schema} and c.hypertable_name = ${storage.name}
    )
    select schema, name from chunk
    where not is_compressed and low <= (select distinct low from chunk order by low desc limit 1 offset 2)
      and not exists (
        select from _timescaledb_internal.bgw_policy_chunk_stats s
        where s.job_id = ${jobId} and s.chunk_id = chunk.id and s.num_times_job_run > 0
      )
    order by low, id
    limit 1`)
  return rows
}

/** So many chunks in one statement. */
const CHUNKS_PER_QUERY = 200

/** The rows of each chunk. */
export async function countChunkRows(
  session: Session,
  storage: RelationName,
  chunks: readonly ChunkInfo[],
  exact: boolean,
): Promise<number[]> {
  const names = chunks.map((chunk) => ({ schema: chunk.chunkSchema, name: chunk.chunkName }))
  if (!exact && names.length > 0) {
    const estimates = await readChunkRowEstimates(session, storage)
    const known = new Map(estimates.map((estimate) => [formatName(estimate), estimate.rows]))
    return names.map((name) => known.get(formatName(name)) ?? 0)
  }
  const counts: number[] = []
  for (let first = 0; first < names.length; first += CHUNKS_PER_QUERY) {
    const part = names.slice(first, first + CHUNKS_PER_QUERY)
    const selects = part.map((name) => sql`(select count(*) from ${sql.name(name)})`)
    const { rows } = await session.query<{ counts: number[] }>(
      sql`select array[${sql.join(selects)}]::float8[] as counts`,
    )
    counts.push(...(rows[0]?.counts ?? []))
  }
  return counts
}
