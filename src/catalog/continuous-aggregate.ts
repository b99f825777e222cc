import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { can, readCapabilities, requireFeature } from './capabilities.ts'
import { getRelation, getTimeRelation, notHypertable, type RelationName } from './relation.ts'

/** One continuous aggregate. */
export interface ContinuousAggregate extends RelationName {
  readonly owner: string
  /** The hypertable, or the continuous aggregate below it. */
  readonly source: RelationName
  /** The hypertable that holds the source's rows: the materialization of a continuous aggregate below it. */
  readonly sourceStorage: RelationName
  /** The hypertable that holds its own rows. */
  readonly materialization: RelationName
  /** True where it shows materialized rows only, false where it adds what is newer than them. */
  readonly materializedOnly: boolean
  readonly compressionEnabled: boolean
  /** The column with the buckets, and its type as the server prints it. */
  readonly bucketColumn: string
  readonly bucketColumnType: string
  /** The width of a bucket: an interval text, or a plain number for an integer time column. */
  readonly bucketInterval: string | undefined
  readonly bucketTimezone: string | undefined
  /** The query, as the server prints it. */
  readonly definition: string
}

interface AggregateRow {
  readonly schema: string
  readonly name: string
  readonly owner: string
  readonly sourceSchema: string
  readonly sourceName: string
  readonly storageSchema: string
  readonly storageName: string
  readonly materializationSchema: string
  readonly materializationName: string
  readonly materializedOnly: boolean
  readonly compressionEnabled: boolean
  readonly bucketColumn: string
  readonly bucketColumnType: string
  readonly bucketInterval: string | null
  readonly bucketTimezone: string | null
  readonly definition: string
}

/**
 * One continuous aggregate by name.
 * @throws QueryError NOT_FOUND where there is nothing of that name, HYPERTABLE_NOT_FOUND where it is something else.
 */
export async function getContinuousAggregate(session: Session, name: ObjectName): Promise<ContinuousAggregate> {
  const relation = await getRelation(session, name)
  const [found] = await queryAggregates(
    session,
    sql`where a.view_schema = ${relation.schema} and a.view_name = ${relation.name}`,
  )
  if (found === undefined) throw notHypertable(relation, 'a continuous aggregate')
  return found
}

/** Which continuous aggregates to list. */
export interface AggregateFilter {
  /** Only those directly on this hypertable or continuous aggregate. */
  readonly on?: ObjectName
}

/**
 * The continuous aggregates of the database, or those directly on a hypertable or aggregate by name.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND; UsageError INVALID_OPTION
 */
export async function findContinuousAggregates(
  session: Session,
  filter: AggregateFilter = {},
): Promise<ContinuousAggregate[]> {
  checkKeys(filter, ['on'], 'listContinuousAggregates')
  if (filter.on === undefined) return listContinuousAggregates(session)
  return listContinuousAggregates(session, (await getTimeRelation(session, filter.on)).storage)
}

/** The continuous aggregates of the database, or those directly on top of one relation. */
export async function listContinuousAggregates(session: Session, on?: RelationName): Promise<ContinuousAggregate[]> {
  const condition =
    on === undefined ? sql.empty : sql`where a.hypertable_schema = ${on.schema} and a.hypertable_name = ${on.name}`
  return queryAggregates(session, condition)
}

// Not the view of the continuous aggregates once more: read without a condition on a name, it fails for a role that
// may not use the schema of some other aggregate.
const PARENTS = sql`
  select h.schema_name, h.table_name, g.user_view_schema as view_schema, g.user_view_name as view_name
  from _timescaledb_catalog.continuous_agg g join _timescaledb_catalog.hypertable h on h.id = g.mat_hypertable_id`

async function queryAggregates(session: Session, condition: Sql): Promise<ContinuousAggregate[]> {
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'hypertable')
  const { rows } = await session.query<AggregateRow>(sql`
    select a.view_schema as schema, a.view_name as name, a.view_owner as owner,
      coalesce(p.view_schema, a.hypertable_schema) as "sourceSchema",
      coalesce(p.view_name, a.hypertable_name) as "sourceName",
      a.hypertable_schema as "storageSchema", a.hypertable_name as "storageName",
      a.materialization_hypertable_schema as "materializationSchema",
      a.materialization_hypertable_name as "materializationName",
      a.materialized_only as "materializedOnly", a.compression_enabled as "compressionEnabled",
      d.column_name as "bucketColumn", d.column_type::text as "bucketColumnType",
      f.width as "bucketInterval", f.timezone as "bucketTimezone", a.view_definition as definition
    from timescaledb_information.continuous_aggregates a
    join timescaledb_information.dimensions d on d.hypertable_schema = a.materialization_hypertable_schema
      and d.hypertable_name = a.materialization_hypertable_name and d.dimension_number = 1
    left join (${PARENTS}) p on p.schema_name = a.hypertable_schema and p.table_name = a.hypertable_name
    left join (${bucketFunctionSql(can(capabilities, 'bucket-function-catalog'))}) f
      on f.schema = a.view_schema and f.name = a.view_name
    ${condition}
    order by a.view_schema, a.view_name`)
  return rows.map(toAggregate)
}

/** No view shows the bucket's width. Until 2.14 fixed widths were numbers in another table. */
function bucketFunctionSql(hasCatalog: boolean): Sql {
  const [width, timezone] = hasCatalog
    ? ['b.bucket_width', 'b.bucket_timezone']
    : ['coalesce(b.bucket_width, g.bucket_width::text)', "nullif(b.timezone, '')"]
  return sql`select g.user_view_schema as schema, g.user_view_name as name,
      ${sql.raw(`${width} as width, ${timezone} as timezone`)}
    from _timescaledb_catalog.continuous_agg g
    left join _timescaledb_catalog.continuous_aggs_bucket_function b using (mat_hypertable_id)`
}

function toAggregate(row: AggregateRow): ContinuousAggregate {
  return {
    schema: row.schema,
    name: row.name,
    owner: row.owner,
    source: { schema: row.sourceSchema, name: row.sourceName },
    sourceStorage: { schema: row.storageSchema, name: row.storageName },
    materialization: { schema: row.materializationSchema, name: row.materializationName },
    materializedOnly: row.materializedOnly,
    compressionEnabled: row.compressionEnabled,
    bucketColumn: row.bucketColumn,
    bucketColumnType: row.bucketColumnType,
    bucketInterval: row.bucketInterval ?? undefined,
    bucketTimezone: row.bucketTimezone ?? undefined,
    definition: row.definition,
  }
}
