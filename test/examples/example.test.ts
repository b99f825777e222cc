import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { sql } from 'tsdbkit'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CommandDatabase } from '../apps/cli/command.ts'
import { compile, makeProject } from '../setup/compile.ts'
import { onServer } from '../setup/database.ts'
import { shortLife } from '../setup/short-life.ts'

const folder = fileURLToPath(new URL('../../examples', import.meta.url))
const names = readdirSync(folder)
  .map((file) => file.replace(/\.ts$/, ''))
  .filter((name) => name !== 'quickstart')
const scratch = mkdtempSync(join(tmpdir(), 'tsdb-examples-'))
const schemas: string[] = []

interface Run {
  readonly code: number
  readonly output: string
}

const loader = ['--import', import.meta.resolve('tsx')]

/** Runs a program in a process of its own that sees the built package, as a user does. */
function run(script: readonly string[], target: string): Promise<Run> {
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], TSDB_URL: target }
  return new Promise((resolve) => {
    const child = execFile(process.execPath, script, { cwd: scratch, env, timeout: 120_000 }, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, output: stdout + stderr })
    })
  })
}

/** A schema with nothing in it, first in the search path of all who connect to it by this URL. */
async function emptySchema(): Promise<string> {
  const schema = `tsdb_example_${randomUUID().slice(0, 8)}`
  await database.db.sql`create schema ${sql.column(schema)}`
  schemas.push(schema)
  const url = new URL(database.url)
  url.searchParams.set('options', `-csearch_path=${schema},public`)
  return url.href
}

/** Runs examples, compiled, one after the other in a single process, each in the schema given for it. */
function runEach(list: readonly { readonly name: string; readonly target: string }[]): Promise<Run> {
  const steps = list.map(({ name, target }, i) => [`${pathToFileURL(join(scratch, name))}.js?${i}`, target, name])
  const loop = `for (const [url, target, name] of ${JSON.stringify(steps)}) {
    process.env.TSDB_URL = target
    console.log('# ' + name)
    await import(url)
  }`
  return run(['--input-type=module', '--eval', loop], '')
}

let database: CommandDatabase
let alone: Run
let quickstart: Run
let together: Run

beforeAll(async () => {
  // One engine for all, served: each example would else start one of its own, three times.
  database = await CommandDatabase.open('Examples')
  makeProject(scratch)
  for (const name of names) {
    writeFileSync(join(scratch, `${name}.js`), compile(readFileSync(join(folder, `${name}.ts`), 'utf8')))
  }
  const shared = await emptySchema()
  const separate: { name: string; target: string }[] = []
  for (const name of names) separate.push({ name, target: await emptySchema() })
  const runQuickstart = run(
    [...shortLife, ...loader, join(folder, 'quickstart.ts')],
    onServer ? shared : `embedded:${join(scratch, 'quickstart')}`,
  )
  alone = await runEach(separate)
  together = await runEach([...names, ...names].map((name) => ({ name, target: shared })))
  quickstart = await runQuickstart
}, 300_000)

afterAll(async () => {
  rmSync(scratch, { recursive: true, force: true })
  for (const schema of schemas) await database.db.sql`drop schema ${sql.column(schema)} cascade`
  await database.db.sql`drop schema if exists tsdbkit_demo cascade`
  await database[Symbol.asyncDispose]()
})

/** What an example wrote in a schema of its own. */
function outputOf(name: string): string {
  expect(alone).toMatchObject({ code: 0 })
  const output = alone.output.split(/^# /m).find((part) => part.startsWith(`${name}\n`)) ?? ''
  expect(output).not.toMatch(/Error|undefined|NaN/)
  return output.slice(name.length + 1)
}

/** The numbers that the pattern's groups find, each of its occurrences a list. */
function numbersIn(text: string, pattern: RegExp): number[][] {
  return [...text.matchAll(pattern)].map((match) => match.slice(1).map((found) => Number(found.replaceAll(',', ''))))
}

describe('alone', () => {
  test('iot-sensor', () => {
    const output = outputOf('iot-sensor')
    expect(output).toContain('sensor_data is a hypertable now')
    expect(output).toContain('3 rows inserted')
    expect(numbersIn(output, /Z │ ([\d.]+) +│ ([\d.]+)/g)).toEqual([
      [22.5, 45],
      [23, 46.5],
      [22.8, 45.8],
    ])
    expect(output).toMatch(/Chunk: _hyper_\d+_\d+_chunk, from \d{4}-\d\d-\d\dT00:00:00.000Z/)
  })

  test('time-bucket', () => {
    const output = outputOf('time-bucket')
    expect(output).toMatch(/^9[67] buckets/)
    const buckets = [...output.matchAll(/^(\S+Z) {2}([\d.]+) °C and 45.0 % on average, .*, (\d+) readings$/gm)]
    expect(buckets).toHaveLength(5)
    for (const [, begin, mean, count] of buckets.slice(1)) {
      expect(count).toBe('15')
      // The middle of the bucket; the readings are a slow wave of time.
      const seconds = Date.parse(begin!) / 1000 + 450
      expect(Number(mean)).toBeCloseTo(20 + 5 * Math.sin(seconds / 14_400), 0)
    }
  })

  test('continuous-aggregate', () => {
    const output = outputOf('continuous-aggregate')
    expect(output).toMatch(/Job \d+ refreshes sensor_data_hourly every 00:30:00/)
    expect(output).toContain('24 hours; the newest six')
    const rows = [...output.matchAll(/│ (\S+Z) │ ([\d.]+) +│ ([\d.]+) +│ ([\d.]+)/g)]
    expect(rows).toHaveLength(6)
    for (const [, begin, mean, low, high] of rows.slice(1)) {
      const middle = 20 + 5 * Math.sin((Date.parse(begin!) / 1000 + 1800) / 14_400)
      expect(Math.abs(Number(mean) - middle)).toBeLessThan(0.3)
      expect(Number(low)).toBeLessThanOrEqual(Number(mean))
      expect(Number(high)).toBeGreaterThanOrEqual(Number(mean))
    }
  })

  test('data-retention', () => {
    const output = outputOf('data-retention')
    expect(output).toMatch(/^(9|10) chunks are older than 30 days/)
    expect(output).toContain('drops what is older than 30 days')
    expect(output).toContain('After its run 0 of them are left, and 31 younger chunks')
  })

  test('compression', () => {
    const output = outputOf('compression')
    const states = [...output.matchAll(/Compressed: (true|false), (\d+) kB/g)].map((match) => match[1])
    expect(states).toEqual([...Array(8).fill('false'), ...Array(3).fill('true')])
    expect(output).toContain('3 chunks compressed now')
    expect(numbersIn(output, /are ([\d.]+) times smaller/g)[0]![0]).toBeGreaterThan(1.5)
  })

  test('gap-filling', () => {
    const output = outputOf('gap-filling')
    // In the last minute of a bucket two hours ago, the window has no reading of it, and nothing before to carry on.
    expect(output).toMatch(/1[23] buckets, [01] without a value/)
    const rows = [...output.matchAll(/^\d\d:\d\d +(-|[\d.]+) +(-|[\d.]+) +(-|[\d.]+)$/gm)]
    if (rows[0]?.[2] === '-') rows.shift()
    const gap = rows.filter(([, measured]) => measured === '-')
    expect(gap.length).toBeGreaterThanOrEqual(4)
    const start = rows.indexOf(gap[0]!)
    const [before, after] = [Number(rows[start - 1]![1]), Number(rows[start + gap.length]![1])]
    gap.forEach(([, , locf, linear], i) => {
      expect(Number(locf)).toBe(before)
      expect(Number(linear)).toBeCloseTo(before + ((after - before) * (i + 1)) / (gap.length + 1), 1)
    })
  })

  test('stock-price', () => {
    const output = outputOf('stock-price')
    expect(output).toContain('Dimension symbol: hash, 4 partitions')
    expect(output).toContain('Dimension time: range, 7 days')
    expect(output).toMatch(/'AAPL' +│ 150 +│ 152.5 │ 149 +│ 151.5 │ 50000000 /)
    expect(output).toMatch(/'GOOGL' │ 2800 │ 2850 +│ 2780 │ 2820 +│ 1000000 /)
  })

  test('application-performance', () => {
    const output = outputOf('application-performance')
    expect(output).toContain('720 requests written')
    const rows = numbersIn(output, /'\/checkout' │ (\d+) +│ (\d+) +│ (\d+) +│ (\d+)/g)
    expect(rows).toHaveLength(7)
    for (const [, slowest, , errors] of rows) expect([slowest, errors]).toEqual([2000, 1])
  })

  test('slow-query', () => {
    const output = outputOf('slow-query')
    expect(output).toContain('Number of chunks: 21')
    const [[all, day] = []] = numbersIn(output, /Chunks read: (\d+) without .*, (\d+) with one/g)
    expect(all).toBe(21)
    expect(day).toBe(2)
    expect(output).toContain('Execution Time')
  })

  test('storage-usage', () => {
    const output = outputOf('storage-usage')
    const [[old] = []] = numbersIn(output, /older than a day: (\d+)/g)
    expect([3, 4]).toContain(old)
    expect(output).toContain(`${old} of 5 chunks are compressed`)
    const [[before, after] = []] = numbersIn(output, /(\d+) kB before, (\d+) kB now/g)
    expect(after).toBeLessThan(before!)
  })

  test('connection-check', () => {
    const output = outputOf('connection-check')
    expect(output).toMatch(/^Connected successfully: \d{4}-\d\d-\d\dT/)
    expect(output).toMatch(/TimescaleDB \d+\.\d+\.\d+\S*, (timescale|apache) edition/)
    expect(output).toMatch(/target = (embedded|server) \(TSDB_URL\)/)
  })

  test('connection-check without a server', async () => {
    const { code, output } = await run(
      [...loader, join(folder, 'connection-check.ts')],
      'postgres://someone:secret@127.0.0.1:1/nowhere',
    )
    expect(code).toBe(1)
    expect(output).toMatch(/^Connection error: .*127\.0\.0\.1:1/)
    expect(output).toContain('Hint: ')
    expect(output).not.toContain('secret')
  })
})

test('all of them, twice, in one schema', () => {
  const { code, output } = together
  expect({ code, output }).toMatchObject({ code: 0 })
  expect(output.match(/^# /gm)).toHaveLength(2 * names.length)
  expect(output).toContain('sensor_data was a hypertable already')
  expect(output).toMatch(/'AAPL' +│ 150 +│ 152.5 │ 149 +│ 151.5 │ 100000000 /)
})

test('quickstart', () => {
  const { code, output } = quickstart
  expect({ code, output }).toMatchObject({ code: 0 })
  expect(output).toContain('5,105 days in 5 chunks')
  expect(output).toContain('26,277 values in 106 chunks')
  expect(output).toMatch(/300,000 flights, [\d,]+ a second[^\n]*\n +\d chunks, compressed on the way in/)
  expect(output).toContain('1,059 weeks and 244 months')
  expect(numbersIn(output, /(\d[\d.]+) times smaller/g)).toHaveLength(2)
  for (const [ratio] of numbersIn(output, /(\d[\d.]+) times smaller/g)) expect(ratio).toBeGreaterThan(1)
  // The first close of 2020-02 and the last of 2020-04, as they are in the file.
  expect(output).toMatch(/2020-04 +2498 +2879 +2447 +2875/)
  expect(output).toContain('the copy: 5,105 days before, 2,736 after, the oldest 2009-06-05')
  expect(output).toContain('the original still has 5,105 days')
  const [[locf, linear] = []] = numbersIn(output, /([\d.]+) °C with locf, ([\d.]+) °C with linear/g)
  expect(linear).toBeLessThan(locf!)
  expect(output).toContain('the same as before')
  expect(output).toMatch(/price +5,105 rows +5 of 5 chunks compressed/)
  expect(output).toMatch(/weather +26,277 rows +106 of 106 chunks compressed/)
  expect(output.split('\n').filter((line) => /^ +(?:\d+)? ┤/.test(line.slice(4)))).toHaveLength(15)
  expect(output.split('\n').filter((line) => line.length > 80)).toEqual([])
  expect(output).toContain('Try next:')
})
