import pg from 'pg'
import { startPostgres } from '../test/setup/postgres.ts'
import type { BenchResult } from './bench-result.ts'

/** What one query costs beside bare pg, in the same run. */
export interface QueryBenchResult {
  readonly queries: number
  readonly rounds: number
  /** Medians over the rounds, in microseconds per query. */
  readonly barePgMicros: number
  readonly tsdbkitMicros: number
  /** Median of the rounds' own ratios: 1.05 is 5 % slower than bare pg. */
  readonly ratio: number
  /** Microseconds per query, round by round. */
  readonly samples: { readonly bare: readonly number[]; readonly ours: readonly number[] }
}

interface Target {
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly password: string | undefined
  readonly database: string | undefined
}

/** For `npm run bench -- query`: executeQuery may cost 5 % more than bare pg. */
export async function bench(): Promise<BenchResult> {
  const { barePgMicros, tsdbkitMicros, ratio, samples } = await run()
  return {
    measures: [
      { name: 'bare pg, one query', value: barePgMicros / 1000, unit: 'ms' },
      { name: 'executeQuery, one query', value: tsdbkitMicros / 1000, unit: 'ms' },
      { name: 'executeQuery : bare pg', value: ratio, unit: '×', target: 1.05 },
    ],
    samples,
  }
}

/**
 * 10,000 one-row queries one after another, through a bare pg.Pool and through the path of executeQuery, in turns that
 * swap who is first. Needs `npm run build`. Server: TSDB_BENCH_URL, or a plain PostgreSQL of its own.
 */
export async function run(): Promise<QueryBenchResult> {
  const url = process.env['TSDB_BENCH_URL']
  if (url !== undefined) return measure(targetOf(url))
  await using server = await startPostgres()
  const { host, port, user, password, database } = server.options
  return await measure({ host, port, user, database, password: typeof password === 'string' ? password : undefined })
}

async function measure(target: Target): Promise<QueryBenchResult> {
  const queries = 10_000
  const rounds = 9
  // What is shipped, not what tsx makes of src: tsx names every function again at run time, which costs 2 µs a query.
  const { openPool } = await compiled<typeof import('../src/connection/pool.ts')>('pool')
  const { DatabaseSession } = await compiled<typeof import('../src/connection/database-session.ts')>('database-session')
  const bare = new pg.Pool({ ...target, max: 5 })
  const pool = openPool(target)
  const db = new DatabaseSession(pool)
  const text = 'select $1::int as n, $2::text as t'
  const subjects = {
    bare: async (index: number): Promise<unknown> => (await bare.query(text, [index, 'x'])).rows[0],
    ours: async (index: number): Promise<unknown> => (await db.query({ text, values: [index, 'x'] })).rows[0],
  }
  const times: Record<keyof typeof subjects, number[]> = { bare: [], ours: [] }
  const time = async (name: keyof typeof subjects, count: number): Promise<number> => {
    const start = performance.now()
    for (let index = 0; index < count; index++) await subjects[name](index)
    return ((performance.now() - start) * 1000) / count
  }
  for (const name of ['bare', 'ours', 'bare', 'ours'] as const) await time(name, 3000)
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (['bare', 'ours'] as const) : (['ours', 'bare'] as const)
    for (const name of order) times[name].push(await time(name, queries))
  }
  await bare.end()
  await pool.close()
  return {
    queries,
    rounds,
    barePgMicros: median(times.bare),
    tsdbkitMicros: median(times.ours),
    ratio: median(times.ours.map((ours, round) => ours / (times.bare[round] ?? Number.NaN))),
    samples: times,
  }
}

function compiled<T>(module: string): Promise<T> {
  return import(new URL(`../dist/connection/${module}.js`, import.meta.url).href)
}

function targetOf(url: string): Target {
  const { hostname, port, username, password, pathname } = new URL(url)
  return {
    host: hostname,
    port: Number(port || 5432),
    user: decodeURIComponent(username) || undefined,
    password: decodeURIComponent(password) || undefined,
    database: decodeURIComponent(pathname.slice(1)) || undefined,
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
