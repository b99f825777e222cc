import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect, type Database } from '../../../src/index.ts'
import { shortLife } from '../../setup/short-life.ts'
import { CommandDatabase, program, tsdb } from './command.ts'

const quiet = { onProgress: () => undefined, durability: 'process' } as const

/** A table of two chunks. */
async function makeTable(db: Database): Promise<void> {
  await db.sql`create table t (time timestamptz not null)`
  await db.createHypertable('t', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`insert into t values ('2025-01-01'), ('2025-01-02')`
}

let database: CommandDatabase
/** It, with the test's schema first in the search path. */
let target: string
let slow: number
let refresh: number
beforeAll(async () => {
  database = await CommandDatabase.open('Terminal')
  const url = new URL(database.url)
  url.searchParams.set('options', '-csearch_path="Terminal",public')
  target = url.href
  await using db = await connect(target)
  await makeTable(db)
  await db.executeQuery(`create procedure slow(int, jsonb) language sql as 'select pg_sleep(1.2)'`)
  slow = (await db.addJob('slow', { scheduleInterval: '1 day', initialStart: '2999-01-01' })).jobId
  await db.executeQuery(`create function slowly(int) returns int immutable language plpgsql as
    'begin perform pg_sleep(0.15); return $1; end'`)
  await db.sql`create table r (time timestamptz not null, v int)`
  await db.createHypertable('r', { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`insert into r select '2025-01-01'::timestamptz + i * interval '1 day', i from generate_series(0, 9) i`
  await db.executeQuery(`create materialized view days with (timescaledb.continuous) as
    select time_bucket('1 day', time) as bucket, sum(slowly(v)) as total from r group by 1 with no data`)
  const offsets = { startOffset: null, endOffset: '1 day', scheduleInterval: '1 day' } as const
  const rest = { initialStart: '2999-01-01', bucketsPerBatch: 1 } as const
  refresh = (await db.addContinuousAggregatePolicy('days', { ...offsets, ...rest })).jobId
})
afterAll(async () => {
  await database.db.deleteJob(slow)
  await database[Symbol.asyncDispose]()
})

/** `script` of util-linux gives a program a real terminal; other systems have one with other options. */
const hasTerminal = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux')
  } catch {
    return false
  }
})()
if (!hasTerminal) process.stdout.write('Skipped: the tests in a terminal (script of util-linux is not installed).\n')

/** Runs `tsdb` in a terminal, answers its question, and gives what the terminal showed. */
async function inTerminal(args: readonly string[], answer: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const command = [process.execPath, ...shortLife, program, '-t', target, ...args].map((part) => `'${part}'`).join(' ')
  const child = spawn('script', ['-qefc', command, '/dev/null'], {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TERM: 'xterm', SHELL: '/bin/sh', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let shown = ''
  let answered = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text
    if (answered || !shown.includes('[y/N]')) return
    answered = true
    child.stdin.write(answer)
  })
  await once(child, 'close')
  return `${shown}\n=> ${child.exitCode}`
}

describe.skipIf(!hasTerminal)('in a terminal', { timeout: 60_000 }, () => {
  const red = '\u001b[31m'

  test('a question is asked, and anything but yes does nothing', async () => {
    const shown = await inTerminal(['chunk', 'drop', 't', '--older-than', '2025-01-02'], 'n\r')
    expect(shown).toContain('1 chunk of t with')
    expect(shown).toContain(`${red}error[NOT_CONFIRMED]`)
    expect(shown).toMatch(/Not confirmed; nothing was done\.[\s\S]*=> 1$/)
    const asked = await inTerminal(['hypertable', 'drop', 't'], '\r', { NO_COLOR: '1' })
    expect(asked).toContain('error[NOT_CONFIRMED]')
    expect(asked).not.toContain('\u001b[3')
  })

  test('Ctrl-C at the question ends it', async () => {
    expect(await inTerminal(['hypertable', 'drop', 't'], '\u0003')).toMatch(/Interrupted\.[\s\S]*=> 130$/)
  })

  test('yes does it', async () => {
    const shown = await inTerminal(['chunk', 'drop', 't', '--older-than', '2025-01-02'], 'y\r')
    expect(shown).toMatch(/Dropped 1 chunk\.[\s\S]*=> 0$/)
  })

  test('a long statement shows its time on one line, which is gone at the end', async () => {
    const shown = (await inTerminal(['job', 'run', String(slow)], '', { NO_COLOR: '1' })).replaceAll(
      '\r\u001b[K',
      '<line>',
    )
    expect(shown).toMatch(/<line>\S Job \d+ runs: 1 s, Ctrl-C cancels/)
    expect(shown).toMatch(/<line>Job \d+ succeeded after 1\.\d s\.[\s\S]*=> 0$/)
    expect(shown).not.toContain('\u001b[3')
  })

  test('a refresh in batches says which one it is at', async () => {
    const shown = await inTerminal(['job', 'run', String(refresh)], '', { NO_COLOR: '1' })
    expect(shown).toMatch(/Job \d+ runs: batch [2-9] of \d+, \d s, Ctrl-C cancels/)
    expect(shown).toMatch(/Job \d+ succeeded after [\s\S]*=> 0$/)
  })
})

describe('the embedded engine', () => {
  let directory: string
  let target: string
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-terminal-'))
    target = `embedded:${join(directory, 'db')}`
    await using db = await connect(target, { ...quiet, jobs: false })
    await makeTable(db)
    await db.addRetentionPolicy('t', { dropAfter: '1 day', initialStart: '2025-01-01' })
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  test('is found by --target and by TSDB_URL, and due jobs stay untouched', { timeout: 60_000 }, async () => {
    const show = await tsdb(['chunk', 'list', 't', '--json'], { env: { TSDB_URL: target } })
    expect(JSON.parse(show.stdout)).not.toEqual([])
    const info = await tsdb(['info', '--json', '--target', target])
    expect(JSON.parse(info.stdout)).toMatchObject({ target: 'embedded', hypertables: 1 })
    await using db = await connect(target, { ...quiet, jobs: false })
    // It would have dropped every chunk.
    expect(await db.listJobs({ kind: 'retention' })).toMatchObject([{ totalRuns: 0 }])
  })

  test('works on nothing where a target is wrong', async () => {
    const file = join(directory, 'a file')
    writeFileSync(file, '')
    expect(await tsdb(['info', '-t', `embedded:${file}`])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('error[DIRECTORY_FOREIGN]'),
    })
    expect(existsSync(join(directory, 'a file'))).toBe(true)
  })
})

test('a reader that goes away early is no failure', { timeout: 60_000 }, async () => {
  const sql = "select repeat('x', 200) as line from generate_series(1, 20000)"
  const command = `'${process.execPath}' ${shortLife.join(' ')} '${program}' -t '${target}' sql "${sql}" --csv | head -n 1; echo "$?"`
  const { stdout } = await promisify(execFile)('bash', ['-o', 'pipefail', '-c', command])
  expect(stdout.split('\n').slice(0, 2)).toEqual(['line\r', '0'])
})
