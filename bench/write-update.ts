import { type Measure, ratio } from './bench-result.ts'
import { type Database, makeTable } from './write-way.ts'

interface Updates {
  readonly measures: readonly Measure[]
  readonly samples: Readonly<Record<string, number[]>>
}

/** Updates of half of the rows, with onConflict `update`: all of some chunks, and a part of each; compressed and not. */
export async function measureUpdates(db: Database, rows: number, rounds: number): Promise<Updates> {
  const samples: Record<string, number[]> = {}
  const take = async (name: string, update: () => Promise<unknown>): Promise<void> => {
    const begin = performance.now()
    await update()
    samples[name] = [...(samples[name] ?? []), ((performance.now() - begin) * 1000) / (rows / 2)]
  }
  for (let round = 0; round < rounds; round++) {
    for (const spread of [false, true]) {
      for (const compressed of [false, true]) {
        await makeTable(db)
        await db.sql`create unique index on bench_write (sensor_id, time)`
        await db.load('bench_write', columnsOf(rows, rows, false, 0), { directCompress: 'off' })
        if (compressed) await db.compressChunks('bench_write')
        const source = columnsOf(rows / 2, rows, spread, 1)
        const name = `update, ${spread ? 'spread' : 'narrow'}, ${compressed ? 'compressed' : 'uncompressed'}`
        await take(name, () => db.load('bench_write', source, { onConflict: 'update', analyze: false }))
        const [changed] = await db.sql<{ n: number }>`select count(*)::int as n from bench_write where humidity = 1`
        if (changed?.n !== rows / 2) throw new Error(`${changed?.n} rows were updated, not ${rows / 2}`)
      }
    }
  }
  const of = (name: string): number[] => samples[name] ?? []
  const against = (kind: string, target: number): Measure => ({
    name: `update, ${kind}: compressed : uncompressed`,
    value: ratio(of(`update, ${kind}, compressed`), of(`update, ${kind}, uncompressed`)),
    unit: '×',
    target,
  })
  return { samples, measures: [against('narrow', 2.5), against('spread', 5)] }
}

/** Rows of 50 sensors at each of many times within 4 days; `spread`: of every second time. */
export function columnsOf(
  count: number,
  rows: number,
  spread: boolean,
  humidity: number,
): Record<string, ArrayLike<unknown>> {
  const apart = Math.floor((4 * 86_400e6 * 50) / rows)
  const timeOf = (n: number): number => Math.floor(n / 50) * (spread ? 2 : 1) * apart
  return {
    time: BigInt64Array.from({ length: count }, (_, n) => BigInt(1_735_689_600_000_000 + timeOf(n))),
    sensor_id: Int32Array.from({ length: count }, (_, n) => n % 50),
    temperature: new Float64Array(count),
    humidity: new Float64Array(count).fill(humidity),
    location: Array.from({ length: count }, () => 'Office'),
  }
}
