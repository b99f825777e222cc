import type { Client } from '../client.ts'

/** Something that a parsed query or expression refers to, and where it does so. */
export interface Reference {
  readonly place: string
  /** `'function'` and `'relation'` with an oid, `'node'` with its kind, `'command'` with its number. */
  readonly field: 'function' | 'relation' | 'node' | 'command'
  readonly value: string
}

/** Whose stored queries and expressions are read: functions and relations by oid. */
export interface TreeOwners {
  readonly functions: readonly string[]
  readonly relations: readonly string[]
  /**
   * True for what the database calls without being asked: the checks of domains and the functions of range types, which
   * run wherever a value is read from text, even while a statement is parsed; what an operator class compares and hashes
   * by, which is not its operators and shows in no query; the casts that to_json and its relatives look for.
   */
  readonly implicit: boolean
}

/**
 * What the stored queries and expressions of these owners refer to. In their text a name that somebody chose has a
 * backslash before each space, brace and parenthesis, so it is never taken for a node and hides none.
 */
export async function readReferences(client: Client, owners: TreeOwners): Promise<Reference[]> {
  const { functions, relations, implicit } = owners
  return client.sql<Reference>`
    with recursive given(relation) as (
      select unnest(${relations}::oid[])
    ), reached(relation, place) as (
      select relation, relation::regclass::text from given
      union
      select inhrelid, 'a chunk or partition of ' || regexp_replace(place, '^a chunk or partition of ', '')
      from reached join pg_catalog.pg_inherits on inhparent = relation
    ), tree(place, text) as (
      select case when starts_with(proname, 'tsdbkit_check_') then 'The statement' else 'The function ' || oid::regprocedure end,
        concat(prosqlbody, ' ', proargdefaults)
      from pg_catalog.pg_proc where oid = any(${functions}::oid[])
      union all
      select 'The view ' || ev_class::regclass, ev_action::text
      from given join pg_catalog.pg_rewrite on ev_class = relation where ev_type = '1'
      union all
      select 'A policy of ' || polrelid::regclass, polqual::text
      from given join pg_catalog.pg_policy on polrelid = relation
      union all
      select 'An index of ' || place, concat(indexprs, ' ', indpred)
      from reached join pg_catalog.pg_index on indrelid = relation where indexprs is not null or indpred is not null
      union all
      select 'A check of ' || place, conbin::text
      from reached join pg_catalog.pg_constraint on conrelid = relation where contype = 'c'
      union all
      select 'A column of ' || place, adbin::text
      from reached join pg_catalog.pg_attribute on attrelid = relation
      join pg_catalog.pg_attrdef on (adrelid, adnum) = (attrelid, attnum) where attgenerated = 'v'
      union all
      select 'The statistics of ' || place, stxexprs::text
      from reached join pg_catalog.pg_statistic_ext on stxrelid = relation where stxexprs is not null
      union all
      select 'The partitions of ' || place, partexprs::text
      from reached join pg_catalog.pg_partitioned_table on partrelid = relation where partexprs is not null
      union all
      select 'A check of the domain ' || contypid::regtype, conbin::text
      from pg_catalog.pg_constraint where ${implicit}::bool and contypid <> 0
    ), word(place, field, value) as (
      select distinct place, m[1], m[2] from tree, regexp_matches(text, ${FIELDS}, 'g') m where m[2] <> '0'
    ), operator(place, oid) as (
      select place, value::oid from word where field in ('opno', 'eqop', 'sortop', 'cycle_mark_neop')
      union
      select place, oid::oid from tree, regexp_matches(text, ${OPERATORS}, 'g') m,
        regexp_split_to_table(m[1], ' ') oid
      union
      select 'The aggregate ' || aggfnoid::regprocedure, aggsortop
      from pg_catalog.pg_aggregate where aggfnoid = any(${functions}::oid[])
    )
    select place, 'node' as field, m[1] as value
    from tree, regexp_matches(text, ${NODES}, 'g') m group by 1, 3
    union all
    select place, case field when 'relid' then 'relation' when 'commandType' then 'command' else 'function' end, value
    from word where field not in ('opno', 'eqop', 'sortop', 'cycle_mark_neop')
    union
    -- The planner may put an operator's commutator or negator in its place.
    select place, 'function', near.oprcode::oid::text
    from operator join pg_catalog.pg_operator own on own.oid = operator.oid
    join pg_catalog.pg_operator near on near.oid in (own.oid, own.oprcom, own.oprnegate)
    union
    select 'The aggregate ' || aggfnoid::regprocedure, 'function', part::oid::text
    from pg_catalog.pg_aggregate, unnest(array[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
      aggmtransfn, aggminvtransfn, aggmfinalfn]) part
    where aggfnoid = any(${functions}::oid[]) and part <> 0
    union
    select 'The operators of ' || format_type(class.type, null), 'function', class.called::oid::text
    from (
      select amproclefttype, amproc from pg_catalog.pg_amproc
      union all
      select amoplefttype, oprcode from pg_catalog.pg_amop join pg_catalog.pg_operator o on o.oid = amopopr
      union all
      select rngtypid, called::regproc from pg_catalog.pg_range, unnest(array[rngcanonical, rngsubdiff]) called
    ) class(type, called)
    join pg_catalog.pg_proc p on p.oid = class.called and p.oid >= 16384
    join pg_catalog.pg_language l on l.oid = prolang
    -- An extension's code that only compares; others of its functions are not trusted.
    where ${implicit}::bool and not (lanname = 'c' and exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'))
    union
    select 'The cast of ' || castsource::regtype, 'function', castfunc::text
    from pg_catalog.pg_cast where ${implicit}::bool and castfunc <> 0 and casttarget in ('json'::regtype, 'jsonb'::regtype)`
}

// Bound, since a server may read backslashes in literals.
const NODES = '(?<!\\\\)\\{([A-Z_]+)'
const OPERATORS = ':opnos \\(o ([0-9 ]+)\\)'
const FIELDS =
  ':(commandType|relid|funcid|opfuncid|hashfuncid|negfuncid|aggfnoid|winfnoid|tsmhandler|startInRangeFunc' +
  '|endInRangeFunc|opno|eqop|sortop|cycle_mark_neop) (\\d+)'
