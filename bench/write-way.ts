import { execFileSync, spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import postgres from 'postgres'
import { writeRows } from './write-file.ts'

type Library = typeof import('../src/index.ts')
export type Database = Awaited<ReturnType<Library['connect']>>
type Report = Awaited<ReturnType<Database['load']>>
/** Writes all rows once. */
export type Way = () => Promise<Report | undefined>

const sensors = 50
const days = 4
const start = Date.UTC(2025, 0, 1)
const words = ['Office', 'Warehouse', 'Lab', 'Roof']
const plain = { directCompress: 'off', analyze: false } as const

/** The files that the rows are loaded from. */
export interface Files {
  readonly csv: string
  readonly parquet: string
  /** Written by psql, where it is measured. */
  readonly binary: string
}

/** An empty table; `hypertable` false: a plain one, where the server has no TimescaleDB. */
export async function makeTable(db: Database, hypertable = true): Promise<void> {
  await db.sql`drop table if exists bench_write`
  await db.sql`create table bench_write (
    time timestamptz not null, sensor_id int, temperature float8, humidity float8, location text)`
  if (!hypertable) return
  await db.createHypertable('bench_write', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`alter table bench_write set (
    timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id', timescaledb.compress_orderby = 'time')`
}

type Values = readonly [Date, number, number, number, string]

function valuesOf(n: number, rows: number): Values {
  const time = new Date(start + Math.floor((n / rows) * days * 86_400_000))
  return [time, n % sensors, 20 + (n % 997) / 99.7, 40 + (n % 499) / 24.95, words[n % 4] ?? '']
}

export async function makeFiles(directory: string, rows: number): Promise<Files> {
  const files = { csv: join(directory, 'rows.csv'), parquet: join(directory, 'rows.parquet') }
  await writeRows(files.parquet, rows)
  const lines = Array.from({ length: rows }, (_, n) => {
    const [time, ...rest] = valuesOf(n, rows)
    return `${time.toISOString()},${rest.join(',')}`
  })
  writeFileSync(files.csv, `time,sensor_id,temperature,humidity,location\n${lines.join('\n')}\n`)
  return { ...files, binary: join(directory, 'rows.bin') }
}

export function ourWays(db: Database, files: Files, rows: number): Record<string, Way> {
  const objects = Array.from({ length: rows }, (_, n) => {
    const [time, sensor_id, temperature, humidity, location] = valuesOf(n, rows)
    return { time, sensor_id, temperature, humidity, location }
  })
  const columns = {
    time: BigInt64Array.from(objects, ({ time }) => BigInt(time.getTime()) * 1000n),
    sensor_id: Int32Array.from(objects, ({ sensor_id }) => sensor_id),
    temperature: Float64Array.from(objects, ({ temperature }) => temperature),
    humidity: Float64Array.from(objects, ({ humidity }) => humidity),
    location: objects.map(({ location }) => location),
  }
  const load = (source: Parameters<Database['load']>[1], options: Parameters<Database['load']>[2]): Way => {
    return () => db.load('bench_write', source, { parallel: 1, ...options })
  }
  const direct = { analyze: false, recompress: 'never' } as const
  return {
    columns: load(columns, plain),
    'columns, 2 connections': load(columns, { ...plain, parallel: 2 }),
    'columns, direct compress, as they come': load(columns, { ...direct, sort: 'off', directCompress: 'on' }),
    'columns, direct compress, sorted': load(columns, { ...direct, clientSorted: 'off' }),
    'columns, direct compress, sorted, recompressed': load(columns, { analyze: false, clientSorted: 'off' }),
    'columns, direct compress, declared sorted': load(columns, direct),
    'columns, direct compress, declared sorted, 2 connections': load(columns, { ...direct, parallel: 2 }),
    objects: load(objects, plain),
    'objects, direct compress, declared sorted': load(objects, direct),
    // Passed through where there is a server, parsed for the embedded engine.
    CSV: load(files.csv, plain),
    'CSV, 2 connections': load(files.csv, { ...plain, parallel: 2 }),
    'CSV, parsed, bad rows left out': load(files.csv, { ...plain, onBadRow: 'skip' }),
    Parquet: load(files.parquet, plain),
    'Parquet, direct compress, declared sorted': load(files.parquet, direct),
    'insert of 10,000 objects': async () => {
      for (let at = 0; at < rows; at += 10_000) await db.insert('bench_write', objects.slice(at, at + 10_000))
      return undefined
    },
  }
}

export function pgWays(db: Database, rows: number): Record<string, Way> {
  return {
    'pg, multi-row INSERT of 5,000': async () => {
      for (let at = 0; at < rows; at += 5000) {
        const values: unknown[] = []
        const groups: string[] = []
        for (let n = at; n < Math.min(at + 5000, rows); n++) {
          const first = values.length
          values.push(...valuesOf(n, rows))
          groups.push(`($${first + 1},$${first + 2},$${first + 3},$${first + 4},$${first + 5})`)
        }
        await db.pool.query(`insert into bench_write values ${groups.join(',')}`, values)
      }
      return undefined
    },
    'pg, unnest of 10,000': async () => {
      for (let at = 0; at < rows; at += 10_000) {
        const lists: unknown[][] = [[], [], [], [], []]
        for (let n = at; n < Math.min(at + 10_000, rows); n++)
          valuesOf(n, rows).forEach((value, column) => void lists[column]?.push(value))
        await db.pool.query(
          'insert into bench_write select * from unnest($1::timestamptz[], $2::int[], $3::float8[], $4::float8[], $5::text[])',
          lists,
        )
      }
      return undefined
    },
  }
}

/** Ways that need a connection of their own, so only where there is a server. */
export function streamWays(url: string, files: Files, rows: number): Record<string, Way> {
  return {
    'pg-copy-streams, text': async () => {
      const client = new pg.Client(url)
      await client.connect()
      function* lines(): Generator<string> {
        for (let n = 0; n < rows; n++) {
          const [time, ...rest] = valuesOf(n, rows)
          yield `${time.toISOString()}\t${rest.join('\t')}\n`
        }
      }
      await pipeline(Readable.from(lines()), client.query(copyFrom('copy bench_write from stdin')))
      await client.end()
      return undefined
    },
    'postgres.js, multi-row INSERT of 5,000': async () => {
      const client = postgres(url, { max: 1, onnotice: () => undefined })
      for (let at = 0; at < rows; at += 5000) {
        const part = Array.from({ length: Math.min(5000, rows - at) }, (_, n) => {
          const [time, sensor_id, temperature, humidity, location] = valuesOf(at + n, rows)
          return { time, sensor_id, temperature, humidity, location }
        })
        await client`insert into bench_write ${client(part)}`
      }
      await client.end()
      return undefined
    },
    ...psqlWays(url, files),
  }
}

/** The limit: psql with files that are ready. */
function psqlWays(url: string, { csv, binary }: Files): Record<string, Way> {
  if (spawnSync('psql', ['--version']).error !== undefined) {
    console.log('not measured: psql is not installed')
    return {}
  }
  const psql = (command: string): undefined => {
    execFileSync('psql', [url, '-q', '-v', 'ON_ERROR_STOP=1', '-c', command], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  }
  let ready = false
  return {
    'psql, \\copy CSV': async () => {
      psql(`\\copy bench_write from '${csv}' with (format csv, header)`)
      if (!ready) psql(`\\copy (select * from bench_write) to '${binary}' with (format binary)`)
      ready = true
      return undefined
    },
    'psql, \\copy binary': async () => psql(`\\copy bench_write from '${binary}' with (format binary)`),
  }
}
