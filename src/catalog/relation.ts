import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import { type Sql, sql } from '../sql/template.ts'
import { onCatalog, readCapabilities, requireFeature } from './capabilities.ts'

/** A name with its schema, as the catalog spells it. */
export interface RelationName {
  readonly schema: string
  readonly name: string
}

/** True for two names of the same relation. */
export function isSameRelation(left: RelationName, right: RelationName): boolean {
  return left.schema === right.schema && left.name === right.name
}

/** What a name stands for. */
export interface Relation extends RelationName {
  readonly kind: 'table' | 'hypertable' | 'continuous-aggregate' | 'other'
  /** The hypertable that holds the rows: itself, or the materialization of a continuous aggregate. */
  readonly storage: RelationName | undefined
}

interface RelationRow {
  readonly schema: string
  readonly name: string
  readonly relkind: string
  readonly hypertable: boolean
  readonly storageSchema: string | null
  readonly storageName: string | null
}

/**
 * What a name stands for by the session's search path, or undefined where there is nothing of that name.
 * @throws UnsupportedError EXTENSION_MISSING
 */
export async function findRelation(session: Session, name: ObjectName): Promise<Relation | undefined> {
  requireFeature(await readCapabilities(session), 'hypertable')
  const { rows } = await onCatalog(session, () => session.query<RelationRow>(relationSql(name)))
  const row = rows[0]
  if (row === undefined) return undefined
  const own = { schema: row.schema, name: row.name }
  if (row.storageSchema !== null && row.storageName !== null) {
    return { ...own, kind: 'continuous-aggregate', storage: { schema: row.storageSchema, name: row.storageName } }
  }
  if (row.hypertable) return { ...own, kind: 'hypertable', storage: own }
  return { ...own, kind: row.relkind === 'r' || row.relkind === 'p' ? 'table' : 'other', storage: undefined }
}

// The catalog, not the view: it asks for the right to use the schema of every continuous aggregate it passes.
function relationSql(name: ObjectName): Sql {
  return sql`
    select n.nspname as schema, c.relname as name, c.relkind::text as relkind,
      exists (
        select from timescaledb_information.dimensions d
        where d.hypertable_schema = n.nspname and d.hypertable_name = c.relname
      ) as hypertable,
      h.schema_name as "storageSchema", h.table_name as "storageName"
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join _timescaledb_catalog.continuous_agg g on g.user_view_schema = n.nspname and g.user_view_name = c.relname
    left join _timescaledb_catalog.hypertable h on h.id = g.mat_hypertable_id
    where c.oid = pg_catalog.to_regclass(${formatName(name)})`
}

/**
 * A hypertable or continuous aggregate by name.
 * @throws QueryError NOT_FOUND where there is nothing of that name, HYPERTABLE_NOT_FOUND where it is something else.
 */
export async function getTimeRelation(
  session: Session,
  name: ObjectName,
): Promise<Relation & { readonly storage: RelationName }> {
  const relation = await getRelation(session, name)
  if (relation.storage === undefined) throw notHypertable(relation, 'a hypertable or continuous aggregate')
  return { ...relation, storage: relation.storage }
}

/**
 * Whatever has that name.
 * @throws QueryError NOT_FOUND
 */
export async function getRelation(session: Session, name: ObjectName): Promise<Relation> {
  const relation = await findRelation(session, name)
  if (relation === undefined) throw relationNotFound(name)
  return relation
}

/** No such table, object, schema or hypertable; a missing function is something else. */
const DROPPED: ReadonlySet<string> = new Set(['42P01', '42704', '3F000', 'TS001'])

/** Reads one thing of a list; undefined where it was dropped since the list was read. */
export async function ifThere<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof QueryError && DROPPED.has(error.sqlState)) return undefined
    throw error
  }
}

/** The error for a name nothing has. */
export function relationNotFound(name: ObjectName): QueryError {
  return new QueryError('NOT_FOUND', `There is no relation ${formatName(name)}.`, {
    sqlState: '42P01',
    hint: 'Names are taken exactly as written, and without a schema the search path decides.',
  })
}

/** The error for a relation that is not of the kind needed. */
export function notHypertable(relation: RelationName, wanted: string): QueryError {
  return new QueryError('HYPERTABLE_NOT_FOUND', `${formatName(relation)} is not ${wanted}.`, {
    sqlState: 'TS001',
    schema: relation.schema,
    table: relation.name,
  })
}
