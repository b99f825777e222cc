/** Looks after a kill whether the directory holds everything that was acknowledged, and nothing by halves. */
import { connect, type Database } from 'tsdbkit'
import { type Acknowledged, AGGREGATE, BATCH_ROWS, TABLE } from './soak-schema.ts'

export interface Verdict {
  readonly openMs: number
  readonly missing: number
  readonly halves: number
  /** One line for each thing that is wrong. */
  readonly violations: readonly string[]
}

/** Re-opens the directory and checks it; a directory that cannot be opened throws. */
export async function check(directory: string, acknowledged: Acknowledged): Promise<Verdict> {
  const started = performance.now()
  const db = await connect(`embedded:${directory}`)
  const openMs = performance.now() - started
  try {
    const { rows } = await db.executeQuery(`select to_regclass('"Soak ready"') is not null as ready`)
    if (rows[0]?.['ready'] !== true) {
      const violations = acknowledged.commits > 0 ? [`the tables are gone, with ${acknowledged.commits} commits`] : []
      return { openMs, missing: acknowledged.commits, halves: 0, violations }
    }
    const missing = await findMissing(db, acknowledged)
    const halves = await findHalves(db)
    const violations = [...missing, ...halves, ...(await checkChunks(db)), ...(await checkAggregate(db))]
    return { openMs, missing: missing.length, halves: halves.length, violations }
  } finally {
    await db.close()
  }
}

/** The first column of all rows, as text. */
async function list(db: Database, text: string): Promise<string[]> {
  const { rows } = await db.executeQuery<{ readonly v: unknown }>(text)
  return rows.map(({ v }) => String(v))
}

async function findMissing(db: Database, acknowledged: Acknowledged): Promise<string[]> {
  const found = {
    plain: await list(db, 'select id as v from plain'),
    pair: await list(db, 'select id as v from left_side join right_side using (id)'),
    batch: await list(db, `select batch as v from "${TABLE}" group by batch having count(*) = ${BATCH_ROWS}`),
    update: await list(db, `select batch as v from "${TABLE}" group by batch having min(revision) > 0`),
    compress: (await db.getChunkInfo({ name: TABLE }))
      .filter((chunk) => chunk.isCompressed)
      .map((chunk) => chunk.chunkName),
  }
  const kinds = ['plain', 'pair', 'batch', 'update', 'compress'] as const
  return kinds.flatMap((kind) => {
    const there = new Set(found[kind])
    return [...acknowledged[kind]].filter((id) => !there.has(id)).map((id) => `missing: ${kind} ${id}`)
  })
}

async function findHalves(db: Database): Promise<string[]> {
  const pairs = await list(
    db,
    'select id as v from left_side full join right_side using (id) where left_side.id is null or right_side.id is null',
  )
  const batches = await list(
    db,
    `select batch as v from "${TABLE}" group by batch
    having count(*) <> ${BATCH_ROWS} or min(revision) <> max(revision)`,
  )
  return [...pairs.map((id) => `half: pair ${id}`), ...batches.map((id) => `half: batch ${id}`)]
}

/** Order and counts through every way a compressed chunk is read, and that catalog and tables agree. */
async function checkChunks(db: Database): Promise<string[]> {
  const violations: string[] = []
  const [total, perChunk, grouped] = await Promise.all([
    list(db, `select count(*) as v from "${TABLE}"`),
    list(db, `select count(*) as v from (select tableoid from "${TABLE}" where value >= 0) as t`),
    list(
      db,
      `select coalesce(sum(n), 0) as v from (select sensor, count(*) as n from "${TABLE}" group by sensor) as t`,
    ),
  ])
  if (total[0] !== perChunk[0] || total[0] !== grouped[0])
    violations.push(`counts differ: ${total}, ${perChunk}, ${grouped}`)
  for (const direction of ['asc', 'desc']) {
    const times = await list(
      db,
      `select extract(epoch from time)::bigint as v from "${TABLE}" where sensor = 1 order by time ${direction}`,
    )
    const sign = direction === 'asc' ? 1 : -1
    if (times.some((time, index) => index > 0 && (Number(time) - Number(times[index - 1])) * sign < 0))
      violations.push(`rows of sensor 1 are out of order (${direction})`)
    const expected = await list(db, `select count(*) as v from "${TABLE}" where sensor = 1`)
    if (String(times.length) !== expected[0]) violations.push(`${times.length} rows in order, ${expected[0]} counted`)
  }
  const orphans = await list(db, ORPHANS)
  return [...violations, ...orphans.map((name) => `orphan chunk: ${name}`)]
}

/** Chunks of the catalog without a table, tables without a chunk, and compressed chunks nobody refers to. */
const ORPHANS = `
  with chunks as (select id, schema_name, table_name, compressed_chunk_id, hypertable_id
                  from _timescaledb_catalog.chunk where not dropped),
  tables as (select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind = 'r' and n.nspname = '_timescaledb_internal' and c.relname like '%\\_chunk')
  select coalesce(table_name, relname) as v from chunks full join tables
    on schema_name = nspname and table_name = relname where table_name is null or relname is null
  union all
  select compressed.table_name from chunks as compressed join _timescaledb_catalog.hypertable h on h.id = compressed.hypertable_id
  where h.compression_state = 2 and not exists (select 1 from chunks where chunks.compressed_chunk_id = compressed.id)`

async function checkAggregate(db: Database): Promise<string[]> {
  await db.refreshContinuousAggregate({ name: AGGREGATE })
  const direct = `select time_bucket('1 hour', time) as bucket, sensor, count(*) as rows, sum(value) as total,
    max(revision) as revision from "${TABLE}" group by 1, 2`
  const kept = `select bucket, sensor, rows, total, revision from "${AGGREGATE}"`
  const different = await list(
    db,
    `select count(*) as v from ((${direct} except ${kept}) union all (${kept} except ${direct})) as d`,
  )
  return different[0] === '0' ? [] : [`the aggregate differs from the direct query in ${different[0]} rows`]
}
