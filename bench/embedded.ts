/** Start-up and one-row queries of the embedded engine, beside a bare open of the same files by the engine's package. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BenchResult, median, ratio } from './bench-result.ts'

const CHILD = fileURLToPath(new URL('embedded-child.js', import.meta.url))
const RUNS = Number(process.env['TSDB_BENCH_RUNS'] ?? 10)

type Timing = Readonly<Record<string, number>>

/** Every open in a process of its own; milliseconds inside it, without node's own start and the imports. */
function run(what: string, ...directories: readonly string[]): Timing {
  return JSON.parse(execFileSync(process.execPath, [CHILD, what, ...directories], { encoding: 'utf8' }))
}

/** Compares what must be quick with the bare open, alternating. */
export async function bench(): Promise<BenchResult> {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'bench-embedded-'))
  try {
    return summarize(measure(path.join(place, 'warm'), path.join(place, 'cold')))
  } finally {
    fs.rmSync(place, { recursive: true, force: true })
  }
}

function measure(warm: string, cold: string): Record<string, number[]> {
  const samples: Record<string, number[]> = {}
  const add = (name: string, value: number | undefined): void => {
    samples[name] ??= []
    samples[name].push(value ?? Number.NaN)
  }
  // Makes the template, if there is none yet, and the directory that both open.
  run('ours', warm)
  for (let index = 0; index < RUNS; index++) {
    const bare = run('bare', warm)
    add('bare open', bare['open'])
    add('bare open and first query', bare['firstQuery'])
    add('bare import', bare['import'])
    const ours = run('ours', warm)
    add('warm', ours['open'])
    add('warm and first query', ours['firstQuery'])
    add('import', ours['import'])
    fs.rmSync(cold, { recursive: true, force: true })
    add('cold', run('ours', cold)['open'])
    add('second engine', run('second', warm, cold)['second'])
  }
  // Several processes: the speed of one depends on what else the machine did in its second. The first thousand queries
  // run in code that the JavaScript engine has not optimised yet.
  const queries = Array.from({ length: 5 }, () => Object.values(run('queries', warm)))
  samples['one-row query, first 1,000'] = queries.flatMap((times) => times.slice(0, 1000))
  samples['one-row query, next 1,000'] = queries.flatMap((times) => times.slice(1000))
  return samples
}

function summarize(samples: Readonly<Record<string, readonly number[]>>): BenchResult {
  const of = (name: string): readonly number[] => samples[name] ?? []
  const milliseconds = (name: string, target?: number) =>
    ({ name, value: median(of(name)), unit: 'ms', ...(target !== undefined && { target }) }) as const
  return {
    measures: [
      milliseconds('bare import'),
      milliseconds('import'),
      milliseconds('bare open'),
      milliseconds('warm'),
      { name: 'warm : bare open', value: ratio(of('warm'), of('bare open')), unit: '×', target: 1.2 },
      milliseconds('bare open and first query'),
      milliseconds('warm and first query'),
      milliseconds('cold'),
      { name: 'cold : bare open', value: ratio(of('cold'), of('bare open')), unit: '×', target: 1.5 },
      milliseconds('second engine', 600),
      milliseconds('one-row query, first 1,000'),
      milliseconds('one-row query, next 1,000', 0.5),
    ],
    samples,
  }
}
