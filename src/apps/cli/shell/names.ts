import type { Connection } from '../../../index.ts'

/** A table, view or aggregate with its columns. */
export interface RelationNames {
  readonly schema: string
  readonly name: string
  readonly columns: readonly string[]
  /** Whether the search path finds it without its schema. */
  readonly visible: boolean
}

/** What completion knows of a database. */
export interface Names {
  readonly relations: readonly RelationNames[]
  readonly functions: readonly string[]
}

/** Reads the names of all tables, views, columns and functions; chunks and the system's own tables are left out. */
export async function readNames(connection: Connection): Promise<Names> {
  const relations = await connection.executeQuery<RelationNames>(
    `select n.nspname::text as schema, c.relname::text as name, pg_catalog.pg_table_is_visible(c.oid) as visible,
       array(select a.attname::text from pg_catalog.pg_attribute a
         where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'v', 'm', 'p', 'f') and not c.relispartition
       and n.nspname !~ '^(pg_|information_schema$|_timescaledb)'
     order by 1, 2`,
  )
  const functions = await connection.executeQuery<{ readonly name: string }>(
    `select distinct p.proname::text as name from pg_catalog.pg_proc p
     where pg_catalog.pg_function_is_visible(p.oid) and p.proname !~ '^(_|pg_|binary_upgrade)'
       and p.prorettype <> all('{trigger,event_trigger,internal,cstring,index_am_handler}'::regtype[])
       and not exists (select from unnest(p.proargtypes::oid[]) t where t in ('internal'::regtype, 'cstring'::regtype))
     order by 1`,
  )
  return { relations: relations.rows, functions: functions.rows.map(({ name }) => name) }
}
