import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../test/setup/postgres.ts'
import type { Measure } from './bench-result.ts'
import { writeRows } from './write-file.ts'

const CHILD = fileURLToPath(new URL('write-child.js', import.meta.url))
const EXPORT_CHILD = fileURLToPath(new URL('export-child.js', import.meta.url))
/** Many rows are to take as much memory as a tenth of them, but for what the engine of JavaScript is late to free. */
const exportTarget = 1.3

interface Memory {
  readonly measures: readonly Measure[]
  readonly samples: Readonly<Record<string, number[]>>
}

/** The most memory that a process had which loaded or exported many rows, by way. Files are made one by one: they are large. */
export async function measureMemory(directory: string, rows: number): Promise<Memory> {
  const url = process.env['TSDB_BENCH_URL']
  await using server = url === undefined ? await startPostgres({ settings: { max_wal_size: '4GB' } }) : undefined
  const measures: Measure[] = []
  const samples: Record<string, number[]> = {}
  for (const way of ['columns', 'rows', 'CSV', 'CSV, parsed', 'Parquet']) {
    const file = join(directory, way === 'Parquet' ? 'many.parquet' : 'many.csv')
    if (way.startsWith('CSV') || way === 'Parquet') await writeRows(file, rows)
    const task = JSON.stringify({ target: url ?? server?.options, rows, file })
    const { memoryMb, cpuMs, ms }: { memoryMb: number; cpuMs: number; ms: number } = run(CHILD, way, task)
    rmSync(file, { force: true })
    const name = `${way}, ${rows.toLocaleString('en')} rows`
    samples[`memory: ${name}`] = [memoryMb]
    samples[`CPU of the client: ${name}`] = [(cpuMs * 1000) / rows]
    samples[`time: ${name}`] = [(ms * 1000) / rows]
    // Of Parquet it is 150 MB and four of the largest row groups as they are in memory, here of 100,000 rows of 48 bytes.
    const target = way === 'Parquet' ? 150 + (4 * 100_000 * 48) / 2 ** 20 : 250
    measures.push({ name: `memory of the process: ${name}`, value: memoryMb, unit: 'MB', target })
  }
  for (const ending of ['csv', 'ndjson', 'parquet']) {
    const [few, many] = [rows / 10, rows].map((count) => {
      const file = join(directory, `many.${ending}`)
      const { memoryMb, ms }: { memoryMb: number; ms: number } = run(
        EXPORT_CHILD,
        JSON.stringify({ target: url ?? server?.options, rows: count, file }),
      )
      rmSync(file)
      const name = `export to .${ending}, ${count.toLocaleString('en')} rows`
      samples[`memory: ${name}`] = [memoryMb]
      samples[`time: ${name}`] = [(ms * 1000) / count]
      return { name: `memory of the process: ${name}`, value: memoryMb, unit: 'MB' } as const
    })
    if (few === undefined || many === undefined) continue
    const name = `memory of the process: export to .${ending}, ten times the rows`
    measures.push(many, { name, value: many.value / few.value, unit: '×', target: exportTarget })
  }
  return { measures, samples }
}

function run(...args: readonly string[]): ReturnType<typeof JSON.parse> {
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }))
}
