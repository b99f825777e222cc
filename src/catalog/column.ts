import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { formatName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { type RelationName, relationNotFound } from './relation.ts'

/** A type as far as its binary form goes. */
export interface ColumnType {
  /** The type's oid; of a domain, its own. */
  readonly typeId: number
  /** As the server writes it, such as `numeric(10,2)` or `"My schema"."Mood"[]`. */
  readonly typeName: string
  /** The same without its modifier: a cast to it cuts nothing off. */
  readonly baseName: string
  /** The function that reads its binary form, such as `int4recv`; of a domain, that of its base. Empty where it has none. */
  readonly receive: string
  /** Set for an array: the type of its elements. */
  readonly element: ColumnType | undefined
}

/** A column of a table, in the order of the table. */
export interface TableColumn extends ColumnType {
  readonly name: string
  readonly notNull: boolean
  /** True where leaving the column out gives something other than NULL. */
  readonly hasDefault: boolean
  /** Set where nothing can be written: `expression`: computed; `identity`: GENERATED ALWAYS AS IDENTITY. */
  readonly generated: 'expression' | 'identity' | undefined
}

/** A table, and its columns. */
export interface TableDescription extends RelationName {
  readonly columns: readonly TableColumn[]
}

interface ColumnRow extends RelationName {
  readonly column: string | null
  readonly typeId: number
  readonly typeName: string
  readonly baseName: string
  readonly receive: string
  readonly elementId: number | null
  readonly elementName: string | null
  readonly elementReceive: string | null
  readonly notNull: boolean
  readonly hasDefault: boolean
  readonly generated: string
  readonly identity: string
}

/**
 * The columns of a table or view, with domains followed down to their base.
 * @throws QueryError NOT_FOUND
 */
export async function readTable(session: Session, name: ObjectName): Promise<TableDescription> {
  // Element and base of an array over a domain and of a domain over an array come from one walk of each.
  const { rows } = await session.query<ColumnRow>(sql`
    with recursive relation as (
      select c.oid, n.nspname::text as schema, c.relname::text as name
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.oid = pg_catalog.to_regclass(${formatName(name)}) and c.relkind in ('r', 'p', 'v', 'f', 'm')
    ), base as (
      select t.oid as start, t.oid, t.typtype, t.typbasetype from pg_catalog.pg_type t
      where t.oid in (select atttypid from pg_catalog.pg_attribute a join relation r on a.attrelid = r.oid)
      union all
      select b.start, t.oid, t.typtype, t.typbasetype
      from base b join pg_catalog.pg_type t on t.oid = b.typbasetype where b.typtype = 'd'
    ), element as (
      select b.start, e.oid as id, e.oid, e.typtype, e.typbasetype
      from base b join pg_catalog.pg_type t on t.oid = b.oid join pg_catalog.pg_type e on e.oid = t.typelem
      where b.typtype <> 'd' and t.typcategory = 'A'
      union all
      select e.start, e.id, t.oid, t.typtype, t.typbasetype
      from element e join pg_catalog.pg_type t on t.oid = e.typbasetype where e.typtype = 'd'
    )
    select r.schema, r.name, a.attname::text as "column", a.atttypid as "typeId",
      pg_catalog.format_type(a.atttypid, a.atttypmod) as "typeName",
      pg_catalog.format_type(a.atttypid, -1) as "baseName", coalesce(p.proname::text, '') as receive,
      e.id as "elementId", pg_catalog.format_type(e.id, null) as "elementName",
      coalesce(q.proname::text, '') as "elementReceive",
      a.attnotnull as "notNull", a.attgenerated::text as generated, a.attidentity::text as identity,
      a.atthasdef or a.attidentity <> '' or exists (
        select from base d join pg_catalog.pg_type t on t.oid = d.oid
        where d.start = a.atttypid and t.typtype = 'd' and t.typdefault is not null
      ) as "hasDefault"
    from relation r
    left join (pg_catalog.pg_attribute a
      join base b on b.start = a.atttypid and b.typtype <> 'd'
      join pg_catalog.pg_type t on t.oid = b.oid
      left join pg_catalog.pg_proc p on p.oid = t.typreceive
      left join (
        element e join pg_catalog.pg_type u on u.oid = e.oid left join pg_catalog.pg_proc q on q.oid = u.typreceive
      ) on e.start = a.atttypid and e.typtype <> 'd'
    ) on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    order by a.attnum`)
  const [first] = rows
  if (first === undefined) throw relationNotFound(name)
  return { schema: first.schema, name: first.name, columns: rows.flatMap(toColumn) }
}

function toColumn(row: ColumnRow): TableColumn[] {
  // A table without columns has one row of nulls.
  if (row.column === null) return []
  const { elementId, elementName, elementReceive } = row
  const element =
    elementId === null || elementName === null || elementReceive === null
      ? undefined
      : { typeId: elementId, typeName: elementName, baseName: elementName, receive: elementReceive, element: undefined }
  return [
    {
      name: row.column,
      typeId: row.typeId,
      typeName: row.typeName,
      baseName: row.baseName,
      receive: row.receive,
      element,
      notNull: row.notNull,
      hasDefault: row.hasDefault,
      generated: row.identity === 'a' ? 'identity' : row.generated === '' ? undefined : 'expression',
    },
  ]
}

/** The columns of a unique index that an ON CONFLICT can name, the primary key first. */
export async function listUniqueKeys(session: Session, table: RelationName): Promise<readonly (readonly string[])[]> {
  const { rows } = await session.query<{ readonly columns: string[] }>(sql`
    select array(
      select a.attname::text from unnest(i.indkey::int2[]) with ordinality k(number, place)
      join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
      where k.place <= i.indnkeyatts order by k.place
    ) as columns
    from pg_catalog.pg_index i
    where i.indrelid = pg_catalog.to_regclass(${formatName(table)}) and i.indisunique and i.indisvalid
      and i.indimmediate and i.indpred is null and i.indexprs is null
    order by i.indisprimary desc, i.indexrelid`)
  return rows.map(({ columns }) => columns)
}
