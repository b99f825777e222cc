/**
 * Reading results: columns, DataFrame and rows beside other drivers and beside the bytes unread. Server:
 * TSDB_BENCH_URL, or a plain PostgreSQL of its own. `--quick` reads a fifth of the rows, once.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { makeAuthority, makeServerCertificate } from '../test/setup/certificate.ts'
import { startPostgres } from '../test/setup/postgres.ts'
import { type BenchResult, type Measure, median, ratio } from './bench-result.ts'
import { type BenchTarget, smallQueries } from './read-small.ts'

const quick = process.argv.includes('--quick')
const ROUNDS = quick ? 1 : 9
const SCALE = quick ? 0.2 : 1
const SCHEMA = 'tsdbkit_bench_read'
const CHILD = fileURLToPath(new URL('read-child.js', import.meta.url))
const PANDAS = fileURLToPath(new URL('read-pandas.py', import.meta.url))

/** What one process says of one read. */
interface Reading {
  readonly ms: number
  readonly cpuMs: number
  /** Of the same read once more in that process, where that is asked. */
  readonly laterCpuMs?: number
  readonly memoryMb: number
  readonly count: number
}

interface Shape {
  readonly name: string
  readonly rows: number
  /** The columns of its table, from `i`. */
  readonly columns: string
}

const mixed = [
  `'2024-01-01'::timestamptz + i * interval '1 s' as t0, '2024-01-01'::timestamp + i * interval '1 min' as t1, '2024-01-01'::date + i % 1000 as d0`,
  ...[0, 1, 2, 3, 4].map((n) => `nullif((i * ${n + 3}) % 1000, ${n}) as i${n}`),
  ...[0, 1, 2, 3, 4].map((n) => `case when i % ${n + 5} > 0 then (i * 0.37)::float8 + ${n} end as f${n}`),
  ...[0, 1, 2].map((n) => `nullif('word ' || (i * 7) % (10 ^ ${n + 1})::int, 'word 3') as w${n}`),
  `(i * 1000003::int8) as b0, case when i % 3 > 0 then i::int8 end as b1`,
  `i % 2 = 0 as y0, (i % 100)::int2 as s0`,
].join(', ')

const shapes: readonly Shape[] = [
  {
    name: '1 M × 5',
    rows: 1_000_000,
    columns: `'2024-01-01'::timestamptz + i * interval '1 s' as time, i % 100 as sensor_id, 20 + random() * 10 as temperature, 40 + random() * 20 as humidity, 'location ' || i % 20 as location`,
  },
  { name: '1 M × 1 bigint', rows: 1_000_000, columns: '(i * 1000003::int8) as n' },
  { name: '200 k × 20 with nulls', rows: 200_000, columns: mixed },
  { name: '100 k long texts', rows: 100_000, columns: `repeat(md5(i::text), 50) as x` },
]

const tableOf = (index: number): string => `${SCHEMA}.shape_${index}`
const WAYS = [
  'columns',
  'raw socket',
  'DataFrame',
  'rows',
  'pg rows',
  'pg array rows',
  'postgres.js',
  'pg-copy-streams',
]
/** Those whose CPU is compared. */
const AGAIN = new Set(['columns', 'raw socket'])

/** For `npm run bench -- read`. */
export async function bench(): Promise<BenchResult> {
  const url = process.env['TSDB_BENCH_URL']
  if (url !== undefined) return measure(targetOf(url))
  await using server = await startPostgres({ tls: makeServerCertificate('localhost', makeAuthority('bench')) })
  const { port, user = '', password, database = '' } = server.options
  return await measure({ host: 'localhost', port, user, database, password: String(password), tls: false })
}

async function measure(target: BenchTarget): Promise<BenchResult> {
  const client = new pg.Client({ ...target, ssl: false })
  await client.connect()
  try {
    await makeTables(client)
    const samples: Record<string, number[]> = {}
    const measures: Measure[] = []
    shapes.forEach((shape, index) => {
      const readings = readShape(target, tableOf(index))
      measures.push(...measuresOf(shape, readings))
      for (const [way, all] of readings) {
        samples[`${shape.name}, ${way}, ms`] = all.map(({ ms }) => ms)
        samples[`${shape.name}, ${way}, MB`] = all.map(({ memoryMb }) => memoryMb)
        samples[`${shape.name}, ${way}, CPU ms`] = all.map(({ cpuMs }) => cpuMs)
        if (AGAIN.has(way))
          samples[`${shape.name}, ${way}, CPU ms again`] = all.map(({ laterCpuMs }) => laterCpuMs ?? 0)
      }
    })
    measures.push(...streamed(target, samples))
    measures.push(...(await smallQueries(target, quick, samples)))
    return { measures, samples }
  } finally {
    await client.query(`drop schema ${SCHEMA} cascade`)
    await client.end()
  }
}

async function makeTables(client: pg.Client): Promise<void> {
  await client.query(`drop schema if exists ${SCHEMA} cascade`)
  await client.query(`create schema ${SCHEMA}`)
  for (const [index, { rows, columns }] of shapes.entries()) {
    await client.query(`create table ${tableOf(index)} as select ${columns} from generate_series(1, ${rows * SCALE}) i`)
    // Only what is compressed or written out of line differs between runs.
    await client.query(`vacuum analyze ${tableOf(index)}`)
  }
}

/** Every way in a process of its own, in turns; another one is first in each round. */
function readShape(target: BenchTarget, table: string): Map<string, Reading[]> {
  const readings = new Map<string, Reading[]>()
  const task = { target, text: `select * from ${table}`, warmUp: `select * from ${table} limit 20000` }
  const ways = [...WAYS, 'psycopg2 + pandas']
  for (let round = 0; round < ROUNDS; round++) {
    for (let turn = 0; turn < ways.length; turn++) {
      const way = ways[(turn + round) % ways.length] ?? ''
      const reading = readOnce(way, { ...task, again: AGAIN.has(way) })
      if (reading !== undefined) readings.set(way, [...(readings.get(way) ?? []), reading])
    }
  }
  return readings
}

function readOnce(way: string, task: object): Reading | undefined {
  const isPandas = way.endsWith('pandas')
  const command = isPandas ? (process.env['TSDB_BENCH_PYTHON'] ?? 'python3') : process.execPath
  const args = isPandas ? [PANDAS, JSON.stringify(task)] : [CHILD, way, JSON.stringify(task)]
  try {
    const output = execFileSync(command, args, { encoding: 'utf8', maxBuffer: 2 ** 24 })
    return output === '' ? undefined : JSON.parse(output)
  } catch (error) {
    // No Python at all.
    if (isPandas) return undefined
    throw error
  }
}

function measuresOf(shape: Shape, readings: ReadonlyMap<string, readonly Reading[]>): Measure[] {
  const of = (way: string, what: keyof Reading): number[] =>
    (readings.get(way) ?? []).flatMap((reading) => reading[what] ?? [])
  const compare = (way: string, other: string, target?: number): Measure[] => {
    if (!readings.has(other)) return []
    const value = ratio(of(way, 'ms'), of(other, 'ms'))
    return [{ name: `${shape.name}: ${way} : ${other}`, value, unit: '×', ...(target !== undefined && { target }) }]
  }
  const absolute = [...readings.keys()].flatMap((way): Measure[] => [
    { name: `${shape.name}: ${way}`, value: median(of(way, 'ms')), unit: 'ms' },
    { name: `${shape.name}: ${way}, peak memory`, value: median(of(way, 'memoryMb')), unit: 'MB' },
  ])
  const first = shape === shapes[0]
  const toRaw = { '1 M × 5': 1.15, '1 M × 1 bigint': 1.15, '200 k × 20 with nulls': 1.4, '100 k long texts': 1.7 }
  const limit = Object.entries(toRaw).find(([name]) => name === shape.name)?.[1]
  const memory = (other: string, target?: number): Measure => ({
    name: `${shape.name}: peak memory, columns : ${other}`,
    value: ratio(of('columns', 'memoryMb'), of(other, 'memoryMb')),
    unit: '×',
    ...(target !== undefined && { target }),
  })
  const cpu = (way: string, what: 'cpuMs' | 'laterCpuMs', target?: number): Measure => ({
    name: `${shape.name}: ${way}, client CPU a row, ${what === 'cpuMs' ? 'first read of a process' : 'later reads'}`,
    value: (1000 * median(of(way, what))) / (shape.rows * SCALE),
    unit: 'µs',
    ...(target !== undefined && { target }),
  })
  return [
    ...absolute,
    ...compare('columns', 'raw socket', limit),
    ...compare('DataFrame', 'raw socket', first ? 1.2 : undefined),
    ...compare('columns', 'pg-copy-streams'),
    ...compare('columns', 'pg rows', first ? 0.2 : undefined),
    ...compare('columns', 'postgres.js', first ? 0.2 : undefined),
    ...compare('columns', 'psycopg2 + pandas', first ? 0.2 : undefined),
    ...compare('rows', 'pg rows'),
    memory('pg rows', first ? 0.4 : shape.name.includes('long') ? 1 : undefined),
    memory('postgres.js', first ? 0.4 : undefined),
    cpu('columns', 'cpuMs'),
    cpu('columns', 'laterCpuMs', first ? 0.35 : undefined),
    cpu('raw socket', 'cpuMs'),
    cpu('raw socket', 'laterCpuMs'),
  ]
}

/** Ten times the rows must not take more memory. */
function streamed(target: BenchTarget, samples: Record<string, number[]>): Measure[] {
  const memory = (times: number): number => {
    const text = `select s.* from ${tableOf(0)} s, generate_series(1, ${times}) i`
    const rounds = quick ? 1 : 3
    const readings = Array.from({ length: rounds }, () => readOnce('streamed columns', { target, text })?.memoryMb ?? 0)
    samples[`${times} M rows streamed, MB`] = readings
    return median(readings)
  }
  const [one, ten] = [memory(1), memory(10)]
  return [
    { name: '1 M rows by streamColumns, peak memory', value: one, unit: 'MB' },
    { name: '10 M rows by streamColumns, peak memory', value: ten, unit: 'MB' },
    { name: 'peak memory, 10 M : 1 M rows streamed', value: ten / one, unit: '×', target: 1.2 },
  ]
}

function targetOf(url: string): BenchTarget {
  const { hostname, port, username, password, pathname, searchParams } = new URL(url)
  return {
    host: hostname,
    port: Number(port || 5432),
    user: decodeURIComponent(username),
    password: decodeURIComponent(password),
    database: decodeURIComponent(pathname.slice(1)),
    tls: ['require', 'verify-ca', 'verify-full'].includes(searchParams.get('sslmode') ?? ''),
  }
}
