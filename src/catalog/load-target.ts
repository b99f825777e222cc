import type { Session } from '../connection/session.ts'
import { formatName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { readCapabilities } from './capabilities.ts'
import { type OrderByColumn, readCompressionSettings } from './compression.ts'
import { isIntegerTime, listDimensions, type RangeDimension } from './dimension.ts'
import { findRelation, type RelationName } from './relation.ts'

/** What loading into a table has to know beyond its columns. */
export interface LoadTarget {
  /** The first dimension of a hypertable; undefined for any other table. */
  readonly time: LoadTime | undefined
  readonly segmentBy: readonly string[]
  readonly orderBy: readonly OrderByColumn[]
  /** Why rows cannot be compressed as they come in; undefined where they can. */
  readonly notDirect: string | undefined
  /** Whether the role may compress and decompress its chunks: what only the owner may. */
  readonly owned: boolean
}

/** How a hypertable is cut by time. */
export interface LoadTime {
  readonly column: string
  /** The length of a chunk: milliseconds, or the column's own unit for an integer column. */
  readonly chunkLength: number
  readonly integer: boolean
}

const plainTable: LoadTarget = {
  time: undefined,
  segmentBy: [],
  orderBy: [],
  notDirect: 'not a hypertable',
  owned: true,
}

/** Reads what loading into a table has to know. Any table will do, also in a database without TimescaleDB. */
export async function readLoadTarget(session: Session, table: RelationName): Promise<LoadTarget> {
  const capabilities = await readCapabilities(session)
  if (capabilities.timescaleVersion === undefined) return plainTable
  const relation = await findRelation(session, table)
  if (relation?.kind !== 'hypertable' || relation.storage === undefined) return plainTable
  const storage = relation.storage
  const dimension = (await listDimensions(session, storage)).find((one) => one.kind === 'range')
  const settings =
    capabilities.edition === 'timescale'
      ? await readCompressionSettings(session, { ...relation, storage })
      : { enabled: false, segmentBy: [], orderBy: [] }
  return {
    time: dimension === undefined ? undefined : await loadTime(session, dimension),
    segmentBy: settings.segmentBy,
    orderBy: settings.orderBy,
    owned: await isOwned(session, storage),
    notDirect: settings.enabled ? await whyNotDirect(session, storage) : 'compression is not enabled',
  }
}

/** Why the server takes no COPY into a relation, which an INSERT may still go into; undefined where it does. */
export async function whyNotCopied(session: Session, table: RelationName): Promise<string | undefined> {
  const { rows } = await session.query<{ why: string | null }>(sql`
    select case
      when relkind = 'm' then 'is a materialized view'
      when relkind = 'v' and not exists (
        select from pg_catalog.pg_trigger where tgrelid = c.oid and tgtype & 68 = 68) then 'is a view without an INSTEAD OF trigger'
      when pg_catalog.row_security_active(c.oid) then 'has row-level security for this role'
    end as why
    from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass(${formatName(table)})`)
  return rows[0]?.why ?? undefined
}

async function isOwned(session: Session, table: RelationName): Promise<boolean> {
  const { rows } = await session.query<{ owned: boolean }>(sql`
    select pg_catalog.pg_has_role(relowner, 'USAGE') as owned
    from pg_catalog.pg_class where oid = pg_catalog.to_regclass(${formatName(table)})`)
  return rows[0]?.owned === true
}

async function loadTime(session: Session, dimension: RangeDimension): Promise<LoadTime> {
  const { column, columnType, interval } = dimension
  if (typeof interval === 'bigint') return { column, chunkLength: Number(interval), integer: isIntegerTime(columnType) }
  const { rows } = await session.query<{ ms: number }>(
    sql`select extract(epoch from ${interval}::interval)::float8 * 1000 as ms`,
  )
  return { column, chunkLength: rows[0]?.ms ?? 0, integer: false }
}

interface ObstacleRow {
  readonly setting: boolean
  readonly unique: boolean
  readonly foreign: boolean
  readonly before: boolean
  readonly transition: boolean
}

/** What makes the server leave direct compression off, with a warning only (2.28, for COPY). */
async function whyNotDirect(session: Session, table: RelationName): Promise<string | undefined> {
  const { rows } = await session.query<ObstacleRow>(sql`
    with own_trigger as (
      select g.* from pg_catalog.pg_trigger g join pg_catalog.pg_proc p on p.oid = g.tgfoid
      where g.tgrelid = pg_catalog.to_regclass(${formatName(table)}) and not g.tgisinternal
        and not starts_with(p.pronamespace::regnamespace::text, '_timescaledb_')
    )
    select current_setting('timescaledb.enable_direct_compress_copy', true) is not null as setting,
      exists (select from pg_catalog.pg_index where indrelid = t.oid and (indisunique or indisexclusion)) as "unique",
      exists (select from pg_catalog.pg_constraint where conrelid = t.oid and contype = 'f') as "foreign",
      exists (select from own_trigger where tgtype & 3 = 3) as before,
      exists (select from own_trigger where tgnewtable is not null) as transition
    from (select pg_catalog.to_regclass(${formatName(table)}) as oid) t`)
  const row = rows[0]
  if (row?.setting !== true) return 'the server has no direct compression'
  if (row.unique) return 'the table has a unique index'
  if (row.foreign) return 'the table has a foreign key'
  if (row.before) return 'the table has a BEFORE ROW trigger'
  return row.transition ? 'the table has a trigger with a transition table' : undefined
}

/** A compressed chunk whose batches are not in order. */
export interface UnorderedChunk extends RelationName {
  /** Whether there are rows beside the compressed ones. */
  readonly partial: boolean
}

/** Compressed chunks whose batches are not in order, which direct compression leaves behind. */
export async function listUnorderedChunks(session: Session, table: RelationName): Promise<UnorderedChunk[]> {
  const { rows } = await session.query<UnorderedChunk>(sql`
    select chunk_schema as schema, chunk_name as name, status & 8 = 8 as partial
    from (
      select chunk_schema, chunk_name,
        _timescaledb_functions.chunk_status(format('%I.%I', chunk_schema, chunk_name)::regclass) as status
      from timescaledb_information.chunks
      where hypertable_schema = ${table.schema} and hypertable_name = ${table.name} and is_compressed
    ) c
    where status & 2 = 2 order by chunk_schema, chunk_name`)
  return rows
}
