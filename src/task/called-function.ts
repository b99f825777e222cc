import type { Client } from '../client.ts'
import { PlanError } from '../errors.ts'
import {
  harmlessFunctions,
  harmlessTimescaleFunctions,
  indirectFunctions,
  knownExtensions,
  knownNodes,
} from './harmless-function.ts'
import { type Reference, readReferences, type TreeOwners } from './query-tree.ts'

interface CalledFunction {
  readonly oid: string
  readonly name: string
  /** As `schema.name(types)`, quoted. */
  readonly signature: string
  /** As `schema.name`, quoted. */
  readonly qualified: string
  readonly volatility: string
  readonly isSystem: boolean
  readonly extension: string | null
  readonly isAggregate: boolean
  /** Whether it is the constructor of a range type, which is made with the type. */
  readonly isConstructor: boolean
  /** Whether its body is stored parsed. */
  readonly isParsed: boolean
}

/** What a call is judged by. */
interface CallOptions {
  /** Functions that the caller vouches for, as `schema.name`. */
  readonly trusted: readonly string[]
  /** Whether the extension is there. */
  readonly hypertables: boolean
}

/** The error for what cannot be known to change nothing. */
export function refused(message: string, hint?: string): PlanError {
  return new PlanError('READ_ONLY_REFUSED', message, { hint })
}

/**
 * Follows everything that running these may call: their functions, aggregates and operators; the same of the views,
 * policies and expressions of the relations they read, and of those again.
 *
 * A function passes when the catalogue does not call it volatile, or it is known to be harmless, and when what it does is
 * known: PostgreSQL's own, those of some extensions, and SQL functions and aggregates whose parts are stored parsed, which
 * are followed. The body of any other is a text that may call anything, whatever it is declared to be.
 *
 * @throws PlanError READ_ONLY_REFUSED naming the function and the place
 */
export async function refuseSideEffects(client: Client, roots: TreeOwners, options: CallOptions): Promise<void> {
  const seen = new Set<string>()
  let owners = roots
  while (owners.implicit || owners.functions.length > 0 || owners.relations.length > 0) {
    const references = await readReferences(client, owners)
    for (const { place, field, value } of references) {
      if (field === 'node' && !knownNodes.has(value)) throw refused(`${place} has a part unknown here, ${value}.`)
      if (field === 'command' && value !== '1') throw refused(`${place} has a part that writes.`)
    }
    const relations = unseen(references, 'relation', seen)
    await checkRelations(client, relations)
    const functions = unseen([...references, ...(await partitioning(client, relations, options))], 'function', seen)
    const followed = await checkFunctions(client, functions, options)
    owners = { functions: followed, relations: [...relations.keys()], implicit: false }
  }
}

/** The oids that come for the first time, each with the place that refers to it. */
function unseen(references: readonly Reference[], field: string, seen: Set<string>): ReadonlyMap<string, string> {
  const fresh = new Map<string, string>()
  for (const reference of references) {
    const key = `${field} ${reference.value}`
    if (reference.field !== field || seen.has(key)) continue
    seen.add(key)
    fresh.set(reference.value, reference.place)
  }
  return fresh
}

/** Gives those whose parts are to be followed. */
async function checkFunctions(
  client: Client,
  functions: ReadonlyMap<string, string>,
  { trusted }: CallOptions,
): Promise<string[]> {
  if (functions.size === 0) return []
  const rows = await client.sql<CalledFunction>`
    select p.oid::text, proname as name,
      format('%I.%I(%s)', nspname, proname, pg_catalog.oidvectortypes(proargtypes)) as signature,
      format('%I.%I', nspname, proname) as qualified, provolatile as volatility, p.oid < 16384 as "isSystem",
      extname as extension, prokind = 'a' as "isAggregate", prosqlbody is not null as "isParsed",
      lanname = 'internal' and prosrc ~ '^(multi)?range_constructor[0-9]$' as "isConstructor"
    from pg_catalog.pg_proc p
    join pg_catalog.pg_namespace n on n.oid = pronamespace
    join pg_catalog.pg_language l on l.oid = prolang
    left join pg_catalog.pg_depend d
      on d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
    left join pg_catalog.pg_extension e on e.oid = d.refobjid
    where p.oid = any(${[...functions.keys()]}::oid[])`
  const followed: string[] = []
  for (const called of rows) {
    const place = functions.get(called.oid) ?? 'The statement'
    if (trusted.includes(called.qualified)) continue
    const why = refusal(called)
    if (why !== undefined) throw refused(`${place} calls ${called.signature}, ${why}.`, HINT)
    if (!isKnown(called)) followed.push(called.oid)
  }
  return followed
}

const HINT = 'Without read-only it may run; a function that is known to change nothing can be trusted by its name.'

function isKnown({ isSystem, extension, isConstructor }: CalledFunction): boolean {
  return isSystem || isConstructor || (extension !== null && knownExtensions.has(extension))
}

/** Why a function is refused; undefined where it is not. */
function refusal(called: CalledFunction): string | undefined {
  const { name, volatility, isSystem, extension, isAggregate, isParsed } = called
  const harmless = isSystem ? harmlessFunctions : extension === 'timescaledb' ? harmlessTimescaleFunctions : NONE
  if (volatility === 'v') return harmless.has(name) ? undefined : 'which may change something'
  if (isKnown(called)) return indirectFunctions.has(name) ? 'which runs what it is given the name of' : undefined
  return isAggregate || isParsed ? undefined : 'whose body cannot be looked into'
}

const NONE: ReadonlySet<string> = new Set()

/** Tables and views only: reading a foreign table runs something elsewhere. */
async function checkRelations(client: Client, relations: ReadonlyMap<string, string>): Promise<void> {
  if (relations.size === 0) return
  const [bad] = await client.sql<{ readonly oid: string; readonly name: string }>`
    with recursive reached(root, relation) as (
      select oid, oid from unnest(${[...relations.keys()]}::oid[]) oid
      union select root, inhrelid from reached join pg_catalog.pg_inherits on inhparent = relation
    )
    select root::text as oid, relation::regclass::text as name
    from reached left join pg_catalog.pg_class on oid = relation
    where relkind is null or relkind not in ('r', 'p', 'm', 'v', 'S', 't') limit 1`
  if (bad !== undefined)
    throw refused(`${relations.get(bad.oid)} reads ${bad.name}, which is not a table of this database.`)
}

/** The functions that place rows in the chunks of hypertables: the planner calls them with constants of a query. */
async function partitioning(
  client: Client,
  relations: ReadonlyMap<string, string>,
  { hypertables }: CallOptions,
): Promise<readonly Reference[]> {
  if (relations.size === 0 || !hypertables) return []
  return client.sql<Reference>`
    select 'The hypertable ' || c.oid::regclass as place, 'function' as field, p.oid::text as value
    from _timescaledb_catalog.hypertable h
    join _timescaledb_catalog.dimension d on d.hypertable_id = h.id
    join pg_catalog.pg_class c on c.relname = h.table_name
    join pg_catalog.pg_namespace s on s.oid = c.relnamespace and s.nspname = h.schema_name
    join pg_catalog.pg_namespace n on n.nspname = d.partitioning_func_schema
    join pg_catalog.pg_proc p on p.pronamespace = n.oid and p.proname = d.partitioning_func
    where c.oid = any(${[...relations.keys()]}::oid[])`
}
