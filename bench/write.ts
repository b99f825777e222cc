import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { type BenchResult, type Measure, median, ratio } from './bench-result.ts'

type Library = typeof import('../src/index.ts')
type Database = Awaited<ReturnType<Library['connect']>>
type Way = () => Promise<unknown>

const quick = process.argv.includes('--quick')
const rows = quick ? 50_000 : 200_000
const rounds = quick ? 1 : 5
const sensors = 50
const days = 4
const start = Date.UTC(2025, 0, 1)
const words = ['Office', 'Warehouse', 'Lab', 'Roof']
const plain = { directCompress: 'off', analyze: false } as const

/**
 * For `npm run bench -- write`: ways to write rows of (timestamptz, int4, float8, float8, text) into a hypertable, in turns.
 * Needs `npm run build`. Database: TSDB_BENCH_URL, or the embedded engine.
 */
export async function bench(): Promise<BenchResult> {
  // What is shipped, not what tsx makes of src.
  const { connect }: Library = await import(new URL('../dist/index.js', import.meta.url).href)
  const url = process.env['TSDB_BENCH_URL']
  const directory = mkdtempSync(join(tmpdir(), 'tsdb-bench-'))
  const db = await connect(url ?? 'embedded:')
  try {
    const ways = { ...ourWays(db, directory), ...pgWays(db), ...(url === undefined ? {} : streamWays(url)) }
    const samples: Record<string, number[]> = {}
    const cpu: Record<string, number[]> = {}
    for (let round = 0; round < rounds; round++) {
      for (const [name, way] of Object.entries(ways)) {
        await makeTable(db)
        const before = process.cpuUsage()
        const begin = performance.now()
        await way()
        samples[name] = [...(samples[name] ?? []), ((performance.now() - begin) * 1000) / rows]
        const used = process.cpuUsage(before)
        cpu[name] = [...(cpu[name] ?? []), (used.user + used.system) / rows]
        await check(db)
      }
    }
    return { measures: measuresOf(samples, url === undefined), samples: { ...samples, ...named(cpu, 'process CPU: ') } }
  } finally {
    await db.sql`drop table if exists bench_write`
    await db.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

async function makeTable(db: Database): Promise<void> {
  await db.sql`drop table if exists bench_write`
  await db.sql`create table bench_write (
    time timestamptz not null, sensor_id int, temperature float8, humidity float8, location text)`
  await db.createHypertable('bench_write', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`alter table bench_write set (
    timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id', timescaledb.compress_orderby = 'time')`
}

async function check(db: Database): Promise<void> {
  const [row] = await db.sql<{ n: number }>`select count(*)::int as n from bench_write`
  if (row?.n !== rows) throw new Error(`${row?.n} rows were written, not ${rows}`)
}

const timeOf = (n: number): number => start + Math.floor((n / rows) * days * 86_400_000)
const temperatureOf = (n: number): number => 20 + (n % 997) / 99.7
const humidityOf = (n: number): number => 40 + (n % 499) / 24.95
const valuesOf = (n: number): [Date, number, number, number, string] => [
  new Date(timeOf(n)),
  n % sensors,
  temperatureOf(n),
  humidityOf(n),
  words[n % 4] ?? '',
]

function ourWays(db: Database, directory: string): Record<string, Way> {
  const objects = Array.from({ length: rows }, (_, n) => {
    const [time, sensor_id, temperature, humidity, location] = valuesOf(n)
    return { time, sensor_id, temperature, humidity, location }
  })
  const columns = {
    time: BigInt64Array.from({ length: rows }, (_, n) => BigInt(timeOf(n)) * 1000n),
    sensor_id: Int32Array.from({ length: rows }, (_, n) => n % sensors),
    temperature: Float64Array.from({ length: rows }, (_, n) => temperatureOf(n)),
    humidity: Float64Array.from({ length: rows }, (_, n) => humidityOf(n)),
    location: objects.map(({ location }) => location),
  }
  const file = join(directory, 'rows.csv')
  const lines = objects.map(
    (row) => `${row.time.toISOString()},${row.sensor_id},${row.temperature},${row.humidity},${row.location}`,
  )
  writeFileSync(file, `time,sensor_id,temperature,humidity,location\n${lines.join('\n')}\n`)
  const load = (source: Parameters<Database['load']>[1], options: Parameters<Database['load']>[2]): Way => {
    return () => db.load('bench_write', source, options)
  }
  return {
    columns: load(columns, { ...plain, parallel: 1 }),
    'columns, 2 connections': load(columns, plain),
    'columns, direct compress, sorted': load(columns, { analyze: false, parallel: 1, recompress: 'never' }),
    'columns, direct compress, sorted, recompressed': load(columns, { analyze: false, parallel: 1 }),
    objects: load(objects, { ...plain, parallel: 1 }),
    'CSV, passed through': load(file, { ...plain, parallel: 1 }),
    'CSV, parsed': load(file, { ...plain, parallel: 1, onBadRow: 'skip' }),
    'columns, exactly once, 20,000 rows a batch': () =>
      db.load('bench_write', columns, {
        ...plain,
        parallel: 1,
        batchRows: 20_000,
        importId: `bench ${performance.now()}`,
      }),
    'columns, 20,000 rows a batch': load(columns, { ...plain, parallel: 1, batchRows: 20_000 }),
    'insert of 10,000 objects': async () => {
      for (let at = 0; at < rows; at += 10_000) await db.insert('bench_write', objects.slice(at, at + 10_000))
    },
  }
}

function pgWays(db: Database): Record<string, Way> {
  return {
    'pg, multi-row INSERT of 5,000': async () => {
      for (let at = 0; at < rows; at += 5000) {
        const values: unknown[] = []
        const groups: string[] = []
        for (let n = at; n < Math.min(at + 5000, rows); n++) {
          const first = values.length
          values.push(...valuesOf(n))
          groups.push(`($${first + 1},$${first + 2},$${first + 3},$${first + 4},$${first + 5})`)
        }
        await db.pool.query(`insert into bench_write values ${groups.join(',')}`, values)
      }
    },
    'pg, unnest of 10,000': async () => {
      for (let at = 0; at < rows; at += 10_000) {
        const lists: unknown[][] = [[], [], [], [], []]
        for (let n = at; n < Math.min(at + 10_000, rows); n++)
          valuesOf(n).forEach((value, column) => void lists[column]?.push(value))
        await db.pool.query(
          'insert into bench_write select * from unnest($1::timestamptz[], $2::int[], $3::float8[], $4::float8[], $5::text[])',
          lists,
        )
      }
    },
  }
}

/** Ways that need a connection of their own, so only where there is a server. */
function streamWays(url: string): Record<string, Way> {
  return {
    'pg-copy-streams, text': async () => {
      const client = new pg.Client(url)
      await client.connect()
      function* lines(): Generator<string> {
        for (let n = 0; n < rows; n++) {
          const [time, ...rest] = valuesOf(n)
          yield `${time.toISOString()}\t${rest.join('\t')}\n`
        }
      }
      await pipeline(Readable.from(lines()), client.query(copyFrom('copy bench_write from stdin')))
      await client.end()
    },
  }
}

function named(samples: Readonly<Record<string, number[]>>, prefix: string): Record<string, number[]> {
  return Object.fromEntries(Object.entries(samples).map(([name, values]) => [`${prefix}${name}`, values]))
}

function measuresOf(samples: Readonly<Record<string, number[]>>, embedded: boolean): Measure[] {
  const of = (name: string): number[] => samples[name] ?? []
  const each = Object.entries(samples).map(([name, values]): Measure => {
    const value = median(values)
    // 280,000 and 430,000 rows a second.
    const targets: Record<string, number> = embedded
      ? { columns: 1000 / 280, 'columns, direct compress, sorted': 1000 / 430 }
      : {}
    const target = targets[name]
    return { name: `${name}, a row`, value, unit: 'µs', ...(target !== undefined && { target }) }
  })
  return [
    ...each,
    {
      name: 'objects : columns',
      value: ratio(of('objects'), of('columns')),
      unit: '×',
      target: 1 / 0.7,
    },
    {
      name: 'exactly once : not',
      value: ratio(of('columns, exactly once, 20,000 rows a batch'), of('columns, 20,000 rows a batch')),
      unit: '×',
      target: 1.05,
    },
    {
      name: 'columns : pg, multi-row INSERT',
      value: ratio(of('columns'), of('pg, multi-row INSERT of 5,000')),
      unit: '×',
    },
  ]
}
