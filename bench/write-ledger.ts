import { type Measure, ratio } from './bench-result.ts'
import { columnsOf } from './write-update.ts'
import { type Database, makeTable } from './write-way.ts'

interface Ledgers {
  readonly measures: readonly Measure[]
  readonly samples: Readonly<Record<string, number[]>>
}

const rows = 1_000_000

/** What exactly-once costs with batches of 20,000 rows, in a load that is long enough for them to be what counts. */
export async function measureLedger(db: Database, rounds: number, hypertable: boolean): Promise<Ledgers> {
  const source = columnsOf(rows, rows, false, 0)
  const samples: Record<string, number[]> = {}
  let imports = 0
  for (let round = 0; round < rounds; round++) {
    const ways = [
      ['plain', undefined],
      ['exactly once', `bench ${Date.now()} ${++imports}`],
    ] as const
    // What one leaves to the server's background is work beside the next.
    for (const [name, importId] of round % 2 === 0 ? ways : ways.toReversed()) {
      await makeTable(db, hypertable)
      const begin = performance.now()
      const options = { directCompress: 'off', analyze: false, parallel: 1, batchRows: 20_000 } as const
      await db.load('bench_write', source, { ...options, ...(importId !== undefined && { importId }) })
      const key = `1 M rows, 20,000 a batch, ${name}`
      samples[key] = [...(samples[key] ?? []), ((performance.now() - begin) * 1000) / rows]
    }
  }
  await db.sql`delete from tsdbkit.import where id like 'bench %'`
  const of = (name: string): number[] => samples[`1 M rows, 20,000 a batch, ${name}`] ?? []
  const value = ratio(of('exactly once'), of('plain'))
  return {
    samples,
    measures: [{ name: '1 M rows, 20,000 a batch: exactly once : plain', value, unit: '×', target: 1.05 }],
  }
}
