/** Array types that a database has beyond the built-in ones: those of its enums, domains and extensions. */

/** What the elements of such an array are sent as. */
export interface ArrayElement {
  /** The oid of a built-in type; 0 where the elements are like none, and the array is the server's text. */
  readonly typeId: number
  /** The modifier that a domain gives its base; -1 for none. */
  readonly typeModifier: number
}

/** By the oid of the array type. A type that is no array, or is not known, is not in it. */
export type ArrayTypes = ReadonlyMap<number, ArrayElement>

/** Oids from here on are given to what users and extensions create (FirstNormalObjectId in access/transam.h). */
export const firstOwnType = 16_384

/**
 * Asks for the elements of types. A domain stands for its base, also one over a domain; enums, and extensions' types such
 * as citext, are sent by the same functions as text.
 */
export const arrayTypesText: string = `
  with recursive element(id, type, modifier) as (
    select t.oid, t.typelem, -1 from pg_catalog.pg_type t
    where t.oid = any($1::pg_catalog.oid[]) and t.typcategory = 'A' and t.typlen = -1 and t.typelem <> 0
    union all
    select e.id, d.typbasetype, case when e.modifier = -1 then d.typtypmod else e.modifier end
    from element e join pg_catalog.pg_type d on d.oid = e.type where d.typtype = 'd'
  )
  select e.id::pg_catalog.int8 as "id", e.modifier as "typeModifier", case
      when t.typdelim <> ',' or t.typcategory = 'A' then 0
      when t.oid < ${firstOwnType} then t.oid::pg_catalog.int8
      when s.prolang = 12 and s.prosrc in ('enum_send', 'textsend') then 25
      else 0
    end as "typeId"
  from element e
  join pg_catalog.pg_type t on t.oid = e.type
  left join pg_catalog.pg_proc s on s.oid = t.typsend
  where t.typtype <> 'd'`
