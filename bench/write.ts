import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type PostgresServer, password, startPostgres } from '../test/setup/postgres.ts'
import { type BenchResult, type Measure, median, ratio } from './bench-result.ts'
import { measureBare } from './write-bare.ts'
import { measureLedger } from './write-ledger.ts'
import { measureMemory } from './write-memory.ts'
import { measureUpdates } from './write-update.ts'
import { type Database, type Files, makeFiles, makeTable, ourWays, pgWays, streamWays, type Way } from './write-way.ts'

const { values: given } = parseArgs({
  strict: false,
  options: { quick: { type: 'boolean' }, rows: { type: 'string' }, memory: { type: 'string' } },
})
const quick = given.quick === true
const rows = Number(given.rows ?? (quick ? 50_000 : 200_000))
const memoryRows = Number(given.memory ?? (quick ? 200_000 : 10_000_000))
const rounds = quick ? 1 : 5

/**
 * For `npm run bench -- write [--quick] [--rows 200000] [--memory 10000000]`: ways to write rows of (timestamptz, int4,
 * float8, float8, text) into a hypertable, in turns; updates of compressed rows; the memory that a load of many rows takes.
 * Needs `npm run build`. Database: TSDB_BENCH_URL. Without it the hypertable is on the embedded engine, and what takes a
 * server is measured on a plain PostgreSQL: other drivers and psql, into a plain table, and memory, since the embedded
 * engine is in the same process.
 */
export async function bench(): Promise<BenchResult> {
  const url = process.env['TSDB_BENCH_URL']
  const directory = mkdtempSync(join(tmpdir(), 'tsdb-bench-'))
  try {
    const files = await makeFiles(directory, rows)
    const parts = [await measureDatabase(url, files, true, directory)]
    if (url === undefined) {
      await using server = await startPostgres({ settings: { max_wal_size: '4GB' } })
      parts.push(prefixed('plain table: ', await measureDatabase(urlOf(server), files, false, directory)))
    }
    parts.push(await measureMemory(directory, memoryRows))
    return {
      measures: parts.flatMap(({ measures }) => measures),
      samples: Object.assign({}, ...parts.map(({ samples }) => samples)),
    }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** All ways that this database has, and updates where it has compression. @param url - undefined: the embedded engine */
async function measureDatabase(
  url: string | undefined,
  files: Files,
  hypertable: boolean,
  directory: string,
): Promise<BenchResult> {
  // What is shipped, not what tsx makes of src.
  const { connect }: typeof import('../src/index.ts') = await import(new URL('../dist/index.js', import.meta.url).href)
  const db = await connect(url ?? 'embedded:')
  try {
    const ours = Object.entries(ourWays(db, files, rows)).filter(([name]) => hypertable || !name.includes('compress'))
    const ways = {
      ...Object.fromEntries(ours),
      ...pgWays(db, rows),
      ...(url === undefined ? {} : streamWays(url, files, rows)),
    }
    const { samples, cpu, recompress } = await inTurns(db, ways, hypertable)
    // On the embedded engine the rest takes so much longer that nothing of it would be seen.
    const ledger = url === undefined ? { measures: [], samples: {} } : await measureLedger(db, 4 * rounds, hypertable)
    const none = { measures: [], samples: {} }
    const bare = url === undefined ? await measureBare(db, directory, rounds) : none
    const updates = hypertable ? await measureUpdates(db, rows, rounds) : { measures: [], samples: {} }
    return {
      measures: [
        ...measuresOf(samples),
        ...clientOf(cpu, url),
        ...bare.measures,
        ...ledger.measures,
        ...updates.measures,
      ],
      samples: {
        ...samples,
        ...named(cpu, 'process CPU: '),
        ...named(recompress, 'of it recompressing: '),
        ...bare.samples,
        ...ledger.samples,
        ...updates.samples,
      },
    }
  } finally {
    await db.sql`drop table if exists bench_write`
    await db.close()
  }
}

function urlOf({ options: { host, port, user = '', database = '' } }: PostgresServer): string {
  const [name, secret] = [user, password].map(encodeURIComponent)
  return `postgres://${name}:${secret}@${host}:${port}/${database}`
}

function prefixed(prefix: string, { measures, samples }: BenchResult): BenchResult {
  return {
    measures: measures.map((measure) => ({ ...measure, name: `${prefix}${measure.name}` })),
    samples: named(samples, prefix),
  }
}

interface Samples {
  /** Microseconds a row, by way. */
  readonly samples: Record<string, number[]>
  readonly cpu: Record<string, number[]>
  readonly recompress: Record<string, number[]>
}

async function inTurns(db: Database, ways: Readonly<Record<string, Way>>, hypertable: boolean): Promise<Samples> {
  const result: Samples = { samples: {}, cpu: {}, recompress: {} }
  const add = (to: Record<string, number[]>, name: string, value: number): void => {
    to[name] = [...(to[name] ?? []), value]
  }
  // Those that psql is compared with take a quarter of a second, as long as a shared machine is slow or fast: they get more.
  const close = ways[psqlBinary] === undefined ? [] : ['columns', psqlBinary, 'CSV', psqlCsv, 'objects']
  for (let round = 0; round < rounds * 4; round++) {
    for (const [name, way] of Object.entries(ways)) {
      if (round >= rounds && !close.includes(name)) continue
      await makeTable(db, hypertable)
      const before = process.cpuUsage()
      const begin = performance.now()
      const report = await way()
      add(result.samples, name, ((performance.now() - begin) * 1000) / rows)
      const used = process.cpuUsage(before)
      add(result.cpu, name, (used.user + used.system) / rows)
      if (report !== undefined && report.seconds.recompress > 0.001) {
        add(result.recompress, name, (report.seconds.recompress * 1e6) / rows)
      }
      await check(db)
    }
  }
  return result
}

async function check(db: Database): Promise<void> {
  const [row] = await db.sql<{ n: number }>`select count(*)::int as n from bench_write`
  if (row?.n !== rows) throw new Error(`${row?.n} rows were written, not ${rows}`)
}

function named<T>(samples: Readonly<Record<string, T>>, prefix: string): Record<string, T> {
  return Object.fromEntries(Object.entries(samples).map(([name, values]) => [`${prefix}${name}`, values]))
}

/** Only on a server: else the engine's work is in the same process. */
function clientOf(cpu: Readonly<Record<string, number[]>>, url: string | undefined): Measure[] {
  if (url === undefined) return []
  return [{ name: 'columns, CPU of the client a row', value: median(cpu['columns'] ?? []), unit: 'µs', target: 0.5 }]
}

const sorted = 'columns, direct compress, sorted'
const declared = 'columns, direct compress, declared sorted'
const psqlBinary = 'psql, \\copy binary'
const psqlCsv = 'psql, \\copy CSV'

function measuresOf(samples: Readonly<Record<string, number[]>>): Measure[] {
  const of = (name: string): number[] => samples[name] ?? []
  /** How much longer one way takes, with what it may at most. */
  const against = (name: string, other: string, target: number): Measure[] => {
    if (samples[name] === undefined || samples[other] === undefined) return []
    return [{ name: `${name} : ${other}`, value: ratio(of(name), of(other)), unit: '×', target }]
  }
  const insert = 'pg, multi-row INSERT of 5,000'
  return [
    ...Object.keys(samples).map((name): Measure => ({ name: `${name}, a row`, value: median(of(name)), unit: 'µs' })),
    ...against('objects', 'columns', 1 / 0.7),
    ...against('columns', psqlBinary, 1 / 0.95),
    ...against('CSV', psqlCsv, 1 / 0.95),
    ...against(sorted, psqlBinary, 1 / 1.9),
    ...against(declared, psqlBinary, 1 / 2.5),
    // What a native server is to reach; to the embedded engine the driver's INSERT goes through this library.
    ...(samples[psqlBinary] === undefined
      ? []
      : [...against(sorted, insert, 1 / 9), ...against(declared, insert, 1 / 12)]),
  ]
}
