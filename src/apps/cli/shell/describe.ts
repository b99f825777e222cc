import { type Connection, TimescaleError, UsageError } from '../../../index.ts'
import { formatBytes, formatObject, type Rows } from '../output.ts'
import { parsePattern } from './name-pattern.ts'

/** A list to be shown, with its heading. */
export interface Listing {
  readonly title: string
  readonly rows: Rows
}

/** Schemas of the system are left out, as psql does, unless a pattern asks for them. */
const OWN = "n.nspname !~ '^(pg_|information_schema$|_timescaledb|timescaledb_)'"

const KIND = `case c.relkind when 'r' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
  when 'p' then 'partitioned table' when 'f' then 'foreign table'
  when 'S' then 'sequence' end`

/** Without a pattern those of extensions are left out: TimescaleDB alone has more than a hundred. */
const FUNCTIONS = `select n.nspname as schema, p.proname as name, pg_catalog.pg_get_function_result(p.oid) as result,
    pg_catalog.pg_get_function_identity_arguments(p.oid) as arguments
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace`

const OWN_FUNCTIONS = `${FUNCTIONS} where pg_catalog.pg_function_is_visible(p.oid) and ${OWN}
  and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e') order by 1, 2`

const COLUMNS = `select a.attname as column, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
    case when a.attnotnull then 'not null' else '' end as nullable, pg_catalog.pg_get_expr(d.adbin, d.adrelid) as default
  from pg_catalog.pg_attribute a left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped order by a.attnum`

const INDEXES = `select c.relname as index, pg_catalog.pg_get_indexdef(c.oid) as definition
  from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid where i.indrelid = $1::oid order by 1`

const query = async (connection: Connection, text: string, values: readonly unknown[] = []): Promise<Rows> =>
  (await connection.executeQuery(text, values, { int8: 'bigint' })).rows

/** What a command that begins with `\d` shows. @throws UsageError INVALID_OPTION; QueryError NOT_FOUND */
export async function describe(connection: Connection, command: string, name: string): Promise<Listing[]> {
  switch (command) {
    case '\\d':
      return name === '' ? [await relations(connection, RELATIONS, name)] : describeMatching(connection, name)
    case '\\dt':
      return [await relations(connection, "'r', 'p'", name)]
    case '\\dv':
      return [await relations(connection, "'v'", name)]
    case '\\dm':
      return [await relations(connection, "'m'", name)]
    case '\\df':
      return [{ title: 'Functions', rows: await functions(connection, name) }]
    case '\\dn':
      return [{ title: 'Schemas', rows: await schemas(connection, name) }]
    case '\\dh':
      return [{ title: 'Hypertables', rows: (await connection.listHypertables()).map((row) => ({ ...row })) }]
    case '\\dc':
      return [await chunks(connection, name)]
    case '\\da':
      return [await aggregates(connection)]
    default:
      return [await jobs(connection)]
  }
}

const RELATIONS = "'r', 'v', 'm', 'p', 'f', 'S'"

/** Relations of these kinds: what a statement finds without a schema, or what the pattern asks for. */
async function relations(connection: Connection, kinds: string, pattern: string): Promise<Listing> {
  const { condition, values } = matching(pattern, 'c.relname', 'pg_catalog.pg_table_is_visible(c.oid)')
  const text = `select n.nspname as schema, c.relname as name, ${KIND} as kind,
      pg_catalog.pg_get_userbyid(c.relowner) as owner
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in (${kinds}) and ${condition} order by 1, 2`
  return { title: 'Tables and views', rows: await query(connection, text, values) }
}

async function functions(connection: Connection, pattern: string): Promise<Rows> {
  if (pattern === '') return query(connection, OWN_FUNCTIONS)
  const { condition, values } = matching(pattern, 'p.proname', 'pg_catalog.pg_function_is_visible(p.oid)')
  return query(connection, `${FUNCTIONS} where ${condition} order by 1, 2`, values)
}

async function schemas(connection: Connection, pattern: string): Promise<Rows> {
  const { condition, values } = matching(pattern, 'n.nspname', 'true')
  return query(
    connection,
    `select n.nspname as schema, pg_catalog.pg_get_userbyid(n.nspowner) as owner
     from pg_catalog.pg_namespace n where ${condition} order by 1`,
    values,
  )
}

interface Condition {
  readonly condition: string
  readonly values: readonly string[]
}

function matching(pattern: string, column: string, visible: string): Condition {
  if (pattern === '') return { condition: `${visible} and ${OWN}`, values: [] }
  const { schema, name } = parsePattern(pattern)
  // A name has no collation of its own, and a regular expression needs one.
  const like = (place: string, value: number): string => `${place}::text collate pg_catalog."default" ~ $${value}`
  if (schema === undefined) return { condition: `${visible} and ${like(column, 1)}`, values: [name] }
  return { condition: `${like(column, 1)} and ${like('n.nspname', 2)}`, values: [name, schema] }
}

interface Found {
  readonly oid: number
  readonly schema: string
  readonly name: string
}

/** The relation that a statement would find by this name. */
async function find(connection: Connection, name: string): Promise<Found> {
  if (name === '') throw new UsageError('INVALID_OPTION', 'The name of a table is missing.')
  const { rows } = await connection.executeQuery<Found>(
    `select c.oid, n.nspname as schema, c.relname as name
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)`,
    [name.replace(/;$/, '')],
  )
  const [found] = rows
  if (found === undefined) throw new UsageError('INVALID_OPTION', `There is no table ${name}.`)
  return found
}

/** Columns and indexes of each relation of a pattern. */
async function describeMatching(connection: Connection, pattern: string): Promise<Listing[]> {
  const { condition, values } = matching(pattern, 'c.relname', 'pg_catalog.pg_table_is_visible(c.oid)')
  const { rows } = await connection.executeQuery<Found>(
    `select c.oid, n.nspname as schema, c.relname as name
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in (${RELATIONS}) and ${condition} order by 2, 3`,
    values,
  )
  if (rows.length === 0) throw new UsageError('INVALID_OPTION', `There is no table ${pattern}.`)
  const listings: Listing[] = []
  for (const found of rows) listings.push(...(await describeRelation(connection, found)))
  return listings
}

async function describeRelation(connection: Connection, found: Found): Promise<Listing[]> {
  const listings: Listing[] = [
    { title: `Columns of ${formatObject(found)}`, rows: await query(connection, COLUMNS, [found.oid]) },
  ]
  const indexes = await query(connection, INDEXES, [found.oid])
  if (indexes.length > 0) listings.push({ title: 'Indexes', rows: indexes })
  const stats = await hypertable(connection, found)
  return stats === undefined ? listings : [...listings, stats]
}

/** What makes the relation a hypertable; undefined where it is none. */
async function hypertable(connection: Connection, { schema, name }: Found): Promise<Listing | undefined> {
  try {
    const stats = await connection.getHypertableStats({ schema, name })
    const { numChunks, compressedChunks, totalBytes, dimensions, policies } = stats
    const by = dimensions.map((one) => `${one.column} ${one.kind === 'hash' ? `in ${one.partitions}` : one.interval}`)
    const jobs = policies.map(({ kind, jobId }) => `${kind} (${jobId})`).join(', ')
    const size = formatBytes(totalBytes)
    return {
      title: 'Hypertable',
      rows: [{ chunks: numChunks, compressed: compressedChunks, size, dimensions: by.join(', '), policies: jobs }],
    }
  } catch (error) {
    const isNone = error instanceof TimescaleError && /^(HYPERTABLE_NOT_FOUND|EXTENSION_MISSING)$/.test(error.code)
    if (isNone) return undefined
    throw error
  }
}

async function chunks(connection: Connection, name: string): Promise<Listing> {
  const { schema, name: table } = await find(connection, name)
  const found = await connection.getChunkInfo({ schema, name: table })
  const rows = found.map(({ chunkSchema, chunkName, rangeStart, rangeEnd, isCompressed, totalBytes }) => ({
    chunk: formatObject({ schema: chunkSchema, name: chunkName }),
    rangeStart,
    rangeEnd,
    isCompressed,
    totalBytes,
  }))
  return { title: `Chunks of ${formatObject({ schema, name: table })}`, rows }
}

async function aggregates(connection: Connection): Promise<Listing> {
  const rows = (await connection.listContinuousAggregates()).map((one) => ({
    name: formatObject(one),
    on: formatObject(one.source),
    bucket: one.bucketInterval,
  }))
  return { title: 'Continuous aggregates', rows }
}

async function jobs(connection: Connection): Promise<Listing> {
  const rows = (await connection.listJobs()).map((job) => ({
    job: job.jobId,
    name: job.name,
    kind: job.kind,
    schedule: job.kind === 'maintenance' ? job.trigger : job.scheduleInterval,
    nextStart: job.kind === 'maintenance' ? undefined : job.nextStart,
    failures: job.totalFailures,
  }))
  return { title: 'Jobs', rows }
}
