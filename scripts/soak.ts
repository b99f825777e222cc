/**
 * Kills a writer again and again and looks whether anything acknowledged is lost.
 * `npm run soak -- embedded --rounds 50`, or `ingest` for loads and writers on a server, or `tests` for the random tests of
 * the suite in their long form; exits with 1 when anything is wrong.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { check } from './soak-check.ts'
import { Acknowledged } from './soak-schema.ts'

// Beside this file, compiled or not.
const WRITER = fileURLToPath(new URL(import.meta.url.replace(/soak(?=\.\w+$)/, 'soak-writer')))
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const VITEST = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
/** A writer that comes to nothing for so long hangs. */
const HANG_MS = 120_000
/** Two processes want the directory in every fifth round. */
const CONTEST_EVERY = 5

/** When the writer is killed: so long after it says this line. */
interface Moment {
  readonly name: string
  readonly after: string
  readonly delayMs: readonly [least: number, most: number]
}

const AFTER_ACK: Moment = { name: 'writing', after: 'plain', delayMs: [100, 3000] }
const MOMENTS: readonly Moment[] = [
  AFTER_ACK,
  { name: 'checkpoint', after: 'begin checkpoint', delayMs: [0, 60] },
  AFTER_ACK,
  { name: 'compress', after: 'begin compress', delayMs: [0, 60] },
  AFTER_ACK,
  { name: 'open', after: 'begin open', delayMs: [0, 1500] },
  AFTER_ACK,
  { name: 'refresh', after: 'begin refresh', delayMs: [0, 60] },
]

interface Figures {
  kills: number
  contests: number
  missing: number
  halves: number
  readonly openMs: number[]
  readonly violations: string[]
}

const between = ([least, most]: readonly [number, number]): number => least + Math.random() * (most - least)

function start(directory: string, mode: string, round: number): ChildProcess {
  return spawn(process.execPath, [...process.execArgv, WRITER, directory, mode, String(round)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
}

/** Runs the writer until it is killed. */
async function writeAndKill(
  directory: string,
  round: number,
  moment: Moment,
  acknowledged: Acknowledged,
): Promise<void> {
  const child = start(directory, 'write', round)
  const ended = new Promise<NodeJS.Signals | null>((done) => child.once('close', (_, signal) => done(signal)))
  if (child.stdout === null) throw new Error('the writer has no output')
  let armed = false
  createInterface({ input: child.stdout }).on('line', (line) => {
    acknowledged.take(line)
    if (armed || !line.startsWith(moment.after)) return
    armed = true
    setTimeout(() => child.kill('SIGKILL'), between(moment.delayMs))
  })
  const watchdog = setTimeout(() => child.kill('SIGABRT'), HANG_MS)
  const signal = await ended
  clearTimeout(watchdog)
  if (signal === 'SIGABRT') throw new Error(`the writer hung (round ${round}, to be killed at ${moment.name})`)
  if (signal !== 'SIGKILL')
    throw new Error(`the writer ended by itself (round ${round}, to be killed at ${moment.name})`)
}

/** Two processes open the directory at once; gives what is wrong about it. */
async function contest(directory: string): Promise<string[]> {
  const children = [start(directory, 'hold', 0), start(directory, 'hold', 0)]
  const closed = children.map((child) => new Promise((done) => child.once('close', done)))
  const answers = await Promise.all(children.map(firstAnswer))
  for (const child of children) child.stdin?.end()
  await Promise.all(closed)
  const winner = answers.indexOf('opened')
  const loser = answers[1 - winner] ?? ''
  if (winner < 0 || loser === 'opened') return [`two processes on one directory: ${answers.join(' | ')}`]
  const holder = String(children[winner]?.pid)
  const named = loser.startsWith('refused DIRECTORY_LOCKED ') && new RegExp(`\\b${holder}\\b`).test(loser)
  return named ? [] : [`the refusal does not name process ${holder}: ${loser}`]
}

function firstAnswer(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve('nothing'))
    if (child.stdout === null) return
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (!line.startsWith('begin ')) resolve(line)
    })
  })
}

async function soak(directory: string, rounds: number): Promise<{ figures: Figures; acknowledged: Acknowledged }> {
  const acknowledged = new Acknowledged()
  const figures: Figures = { kills: 0, contests: 0, missing: 0, halves: 0, openMs: [], violations: [] }
  for (let round = 0; round < rounds; round++) {
    const moment = MOMENTS[round % MOMENTS.length] ?? AFTER_ACK
    const before = acknowledged.commits
    await writeAndKill(directory, round, moment, acknowledged)
    figures.kills++
    const verdict = await check(directory, acknowledged)
    figures.openMs.push(verdict.openMs)
    figures.missing += verdict.missing
    figures.halves += verdict.halves
    const wrong = [...verdict.violations]
    if (round % CONTEST_EVERY === 0) {
      figures.contests++
      wrong.push(...(await contest(directory)))
    }
    figures.violations.push(...wrong.map((line) => `round ${round}: ${line}`))
    console.log(
      `round ${round}: killed at ${moment.name}, ${acknowledged.commits - before} commits acknowledged, re-opened in ${verdict.openMs.toFixed(0)} ms, ${wrong.length} violations`,
    )
  }
  return { figures, acknowledged }
}

function report({ figures, acknowledged }: { figures: Figures; acknowledged: Acknowledged }): void {
  const times = figures.openMs.toSorted((a, b) => a - b)
  const middle = times[Math.floor(times.length / 2)] ?? 0
  const lines: readonly (readonly [string, string | number])[] = [
    ['kills', figures.kills],
    ['re-opens', figures.openMs.length],
    ['re-open, median', `${middle.toFixed(0)} ms`],
    ['re-open, longest', `${(times.at(-1) ?? 0).toFixed(0)} ms`],
    ['acknowledged commits', acknowledged.commits],
    ['  plain rows', acknowledged.plain.size],
    ['  transactions over two tables', acknowledged.pair.size],
    ['  batches', acknowledged.batch.size],
    ['  updates of compressed chunks', acknowledged.update.size],
    ['  compressed chunks', acknowledged.compress.size],
    ['refreshes', acknowledged.refreshes],
    ['checkpoints', acknowledged.checkpoints],
    ['missing commits', figures.missing],
    ['half transactions', figures.halves],
    ['two processes, one refused', figures.contests],
    ['violations', figures.violations.length],
  ]
  console.log('')
  for (const [name, value] of lines) console.log(`${name.padEnd(34)}${value}`)
  for (const line of figures.violations) console.log(line)
}

/** The tests that go round more often here; gives whether they pass. */
async function soakTests(): Promise<boolean> {
  // Those that ask test/setup/soak.ts how often.
  const files = fs
    .readdirSync(path.join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(ROOT, 'test', name))
    .filter((name) => name.endsWith('.test.ts') && fs.readFileSync(name, 'utf8').includes('/setup/soak.ts'))
  const child = spawn(process.execPath, [VITEST, 'run', ...files], {
    cwd: ROOT,
    env: { ...process.env, TSDB_SOAK: 'tests' },
    stdio: 'inherit',
  })
  const [code] = await once(child, 'close')
  return code === 0
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string' }, keep: { type: 'boolean', default: false } },
  })
  const [what = ''] = positionals
  const rounds = Number(values.rounds ?? (what === 'ingest' ? 30 : 50))
  if (!['embedded', 'ingest', 'tests'].includes(what) || !Number.isInteger(rounds) || rounds < 1) {
    console.error('usage: npm run soak -- embedded [--rounds 50] [--keep] | ingest [--rounds 30] | tests')
    process.exitCode = 2
    return
  }
  if (what === 'ingest') {
    const { soakIngest } = await import('./soak-ingest.ts')
    process.exitCode = (await soakIngest(rounds)) ? 0 : 1
    return
  }
  if (what === 'tests') {
    process.exitCode = (await soakTests()) ? 0 : 1
    return
  }
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'soak-'))
  let whole = false
  try {
    const result = await soak(path.join(place, 'db'), rounds)
    report(result)
    whole = result.figures.violations.length === 0
  } finally {
    if (whole && !values.keep) fs.rmSync(place, { recursive: true, force: true })
    else console.log(`the directory is kept: ${place}`)
    process.exitCode = whole ? 0 : 1
  }
}

await main()
