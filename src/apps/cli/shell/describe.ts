import { type Connection, TimescaleError, UsageError } from '../../../index.ts'
import { formatBytes, formatObject, type Rows } from '../output.ts'

/** A list to be shown, with its heading. */
export interface Listing {
  readonly title: string
  readonly rows: Rows
}

const OWN = "n.nspname !~ '^(pg_|information_schema$|_timescaledb)'"

const KIND = `case c.relkind when 'r' then 'table' when 'v' then 'view' when 'm' then 'materialized view'
  when 'p' then 'partitioned table' when 'f' then 'foreign table' end`

const FUNCTIONS = `select n.nspname as schema, p.proname as name, pg_catalog.pg_get_function_result(p.oid) as result,
    pg_catalog.pg_get_function_identity_arguments(p.oid) as arguments
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  where ($1 <> '' and strpos(p.proname, $1) > 0 or n.nspname !~ '^(pg_|information_schema$|_timescaledb|timescaledb)'
    and not exists (select from pg_catalog.pg_depend d where d.objid = p.oid and d.deptype = 'e') and $1 = '')
  order by 1, 2`

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
      return name === '' ? [await relations(connection, "'r', 'v', 'm', 'p', 'f'")] : describeRelation(connection, name)
    case '\\dt':
      return [await relations(connection, "'r', 'p', 'f'")]
    case '\\dv':
      return [await relations(connection, "'v', 'm'")]
    case '\\df':
      return [{ title: 'Functions', rows: await query(connection, FUNCTIONS, [name]) }]
    case '\\dn':
      return [{ title: 'Schemas', rows: await query(connection, SCHEMAS) }]
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

const SCHEMAS = `select n.nspname as schema, pg_catalog.pg_get_userbyid(n.nspowner) as owner
  from pg_catalog.pg_namespace n where ${OWN} order by 1`

async function relations(connection: Connection, kinds: string): Promise<Listing> {
  const text = `select n.nspname as schema, c.relname as name, ${KIND} as kind,
      pg_catalog.pg_get_userbyid(c.relowner) as owner
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in (${kinds}) and ${OWN} order by 1, 2`
  return { title: 'Tables and views', rows: await query(connection, text) }
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

async function describeRelation(connection: Connection, name: string): Promise<Listing[]> {
  const found = await find(connection, name)
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
