/** Many small queries, one after another: what a query costs that is prepared once. */
import pg from 'pg'
import postgres from 'postgres'
import { type Measure, median } from './bench-result.ts'

/** Where the bench connects to. */
export interface BenchTarget {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly tls: boolean
}

const TEXT = `select i, i * 0.5::float8 as half, 'word ' || i as word, now() as time from generate_series($1::int, $1::int + 9) i`

interface Subject {
  run(from: number): Promise<unknown>
  close(): Promise<unknown>
}

/** Plain and through TLS, where the server has it; the ways take turns in one process. */
export async function smallQueries(
  target: BenchTarget,
  quick: boolean,
  samples: Record<string, number[]>,
): Promise<Measure[]> {
  const measures: Measure[] = []
  for (const tls of target.tls ? [true] : [false, true]) {
    const where = tls ? ', TLS' : ''
    const times = await timesOf({ ...target, tls }, quick ? 30 : 300)
    if (times === undefined) continue
    for (const [name, all] of times) {
      samples[`small query${where}, ${name}, µs`] = all
      measures.push({ name: `small query${where}: ${name}`, value: median(all), unit: 'µs' })
    }
    const ours = times.get('columns') ?? []
    for (const [other, target] of [
      ['pg named', 1],
      ['pg unnamed', undefined],
      ['postgres.js', undefined],
    ] as const) {
      const theirs = times.get(other) ?? []
      const value = median(ours.map((each, round) => each / (theirs[round] ?? Number.NaN)))
      const name = `small query${where}: columns : ${other}`
      measures.push({ name, value, unit: '×', ...(target !== undefined && { target }) })
    }
  }
  return measures
}

/** Microseconds a query, round by round; undefined where the server has no TLS. */
async function timesOf(target: BenchTarget, rounds: number): Promise<Map<string, number[]> | undefined> {
  // Short turns, many of them: what else the machine does then falls on all ways alike.
  const count = 100
  const subjects = await open(target).catch((error: unknown) => {
    if (target.tls) return undefined
    throw error
  })
  if (subjects === undefined) return undefined
  const time = async ({ run }: Subject): Promise<number> => {
    const start = performance.now()
    for (let index = 0; index < count; index++) await run(index)
    return ((performance.now() - start) * 1000) / count
  }
  const entries = [...subjects]
  for (let turn = 0; turn < 20; turn++) for (const [, subject] of entries) await time(subject)
  const times = new Map<string, number[]>(entries.map(([name]) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const [name, subject] = entries[(turn + round) % entries.length] ?? []
      if (name !== undefined && subject !== undefined) times.get(name)?.push(await time(subject))
    }
  }
  for (const { close } of subjects.values()) await close()
  return times
}

async function open({ tls, ...target }: BenchTarget): Promise<Map<string, Subject>> {
  const ssl = tls ? { rejectUnauthorized: false } : false
  const client = new pg.Client({ ...target, ssl })
  await client.connect()
  const sql = postgres({ ...target, username: target.user, max: 1, ssl })
  // What is shipped, not what tsx makes of src.
  const { connect }: typeof import('../src/index.ts') = await import(new URL('../dist/index.js', import.meta.url).href)
  const db = await connect({ ...target, sslmode: tls ? 'require' : 'disable' })
  const nothing = async (): Promise<void> => undefined
  return new Map<string, Subject>([
    ['columns', { run: (from) => db.queryToColumns(TEXT, [from]), close: () => db.close() }],
    ['pg named', { run: (from) => client.query({ name: 'small', text: TEXT, values: [from] }), close: nothing }],
    ['pg unnamed', { run: (from) => client.query(TEXT, [from]), close: () => client.end() }],
    ['postgres.js', { run: (from) => sql.unsafe(TEXT, [from], { prepare: true }), close: () => sql.end() }],
  ])
}
