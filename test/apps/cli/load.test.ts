import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { duration } from '../../../src/apps/cli/progress.ts'
import { sql } from '../../../src/index.ts'
import { shortLife } from '../../setup/short-life.ts'
import { CommandDatabase, program, tsdb } from './command.ts'

let database: CommandDatabase
let directory: string
const run: CommandDatabase['run'] = (args, options) => database.run(args, options)
const wait = { timeout: 120_000 }

beforeAll(async () => {
  database = await CommandDatabase.open('Test 1.a load')
  directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-load-'))
}, 60_000)
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database[Symbol.asyncDispose]()
})

const file = (name: string): string => join(directory, name)
const data = (name: string): string =>
  fileURLToPath(new URL(`../../../node_modules/vega-datasets/data/${name}`, import.meta.url))
async function count(table: string): Promise<unknown> {
  const { rows } = await database.db.executeQuery<{ n: number }>(`select count(*)::int as n from ${table}`)
  return rows[0]?.n
}

describe('generate, load and export', wait, () => {
  test('go round', async () => {
    const table = database.name('Readings')
    const csv = file('r.csv.gz')
    const options = [
      '--sensors',
      '5',
      '--interval',
      '10 minutes',
      '--late',
      '5',
      '--duplicates',
      '2',
      '--gaps',
      '1',
      '--seed',
      '7',
    ]
    const made = await tsdb(['generate', csv, ...options])
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/r\.csv\.gz: 7\d\d readings\.\n$/) })
    const lines = gunzipSync(readFileSync(csv)).toString().trimEnd().split('\n')
    expect(lines[0]).toBe('time,sensor,site,temperature,humidity')
    const again = await tsdb(['generate', '-', ...options])
    expect(again.stdout.trimEnd().split('\n')).toEqual(lines)

    const planned = await run(['load', csv, '--table', table, '--dry-run', '--type', 'sensor=int'])
    expect(planned).toMatchObject({ code: 0 })
    expect(planned.stdout).toMatch(
      /^begin;\ncreate table "Test 1\.a load"\."Readings" \("time" timestamptz not null, "sensor" int/,
    )
    expect(planned.stdout).toContain('create_hypertable(')
    expect(planned.stderr).toContain('-- Time column time')
    expect(await database.db.listHypertables()).not.toContainEqual(expect.objectContaining({ name: 'Readings' }))

    const loaded = await run(['load', csv, '--table', table, '--create', '--type', 'sensor=int', '--verify', '--json'])
    expect(loaded).toMatchObject({ code: 0, stderr: '' })
    const rows = lines.length - 1
    expect(JSON.parse(loaded.stdout)).toMatchObject({ file: csv, rowsWritten: rows, created: true })

    const target = file('out.ndjson')
    const exported = await run(['export', target, `select * from ${table} where sensor = $1`, '-p', '3'])
    expect(exported).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/out\.ndjson: 1\d\d rows, .* of ndjson in .* s/),
    })
    const objects = readFileSync(target, 'utf8').trimEnd().split('\n')
    expect(JSON.parse(objects[0] ?? '')).toMatchObject({ sensor: 3, site: 'Lima' })
    expect(await run(['export', target, '--table', table])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--yes'),
    })
    expect(readFileSync(target, 'utf8').trimEnd().split('\n')).toEqual(objects)
    const replaced = await run(['export', target, '--table', table, '--yes', '--json'])
    expect(JSON.parse(replaced.stdout)).toMatchObject({ rows, format: 'ndjson', file: target })

    const plain = await run(['export', '-', '--table', table, '--format', 'csv', '--delimiter', ';'])
    expect(plain.stdout.split('\n')).toHaveLength(rows + 2)
    expect(plain.stdout).toMatch(/^time;sensor;site;temperature;humidity\n2025-01-0\d \d\d:/)
    expect(plain.stderr).toMatch(/^[\d,]+ rows, /)

    const straight = database.name('Straight')
    expect(await run(['generate', '--table', straight, ...options])).toMatchObject({ code: 0 })
    expect(await count(straight)).toBe(rows)
  })

  test('several files, standard input, mapped columns and bad rows', async () => {
    const table = database.name('Mapped')
    await database.db.executeQuery(`create table ${table} (time timestamptz not null, v int, note text)`)
    writeFileSync(file('a.csv'), 'stamp,v\n1735689600,1\n1735689601,2\n')
    writeFileSync(file('b.csv'), 'stamp,v\n1735689602,x\n1735689603,4\n')
    const rejected = file('rejected.ndjson')
    const mapped = [
      '--columns',
      'stamp=time,v',
      '--time-unit',
      's',
      '--constant',
      'note=by hand',
      '--on-bad-row',
      rejected,
    ]
    const many = await run(['load', file('a.csv'), file('b.csv'), '--table', table, ...mapped])
    expect(many).toMatchObject({ code: 0, stderr: '' })
    expect(many.stdout).toMatch(/a\.csv: 2 rows written in .*\n.*b\.csv: 1 row written, 1 rejected in /)
    expect(JSON.parse(readFileSync(rejected, 'utf8'))).toMatchObject({ row: 0 })
    const input = '2025-01-01,9,"a ""b"""\n'
    const piped = await run(['load', '-', '--table', table, '--format', 'csv', '--no-header'], { input })
    expect(piped).toMatchObject({ code: 0, stdout: expect.stringMatching(/^-: 1 row written/) })
    const { rows } = await database.db.executeQuery(`select v, note from ${table} order by v`)
    expect(rows.map((row) => Object.values(row))).toEqual([
      [1, 'by hand'],
      [2, 'by hand'],
      [4, 'by hand'],
      [9, 'a "b"'],
    ])
  })

  test.skipIf(process.platform !== 'linux')(
    'a full disk behind standard output, and a reader of stderr that is gone',
    () => {
      const shell = (script: string): string => execFileSync('sh', ['-c', script, process.execPath, program]).toString()
      const full = shell('"$0" "$1" generate - --sensors 100 2>&1 >/dev/full; echo $?')
      expect(full).toMatch(/^error\[ENOSPC\]: [^\n]*\n1\n$/)
      // Else the message of an error, or a line of progress, would end a load in the middle.
      expect(shell('exec 3>&1; { sleep 0.1; "$0" "$1" load x.csv; echo $? >&3; } 2>&1 | true')).toBe('2\n')
    },
  )

  test.each([
    [['load', 'x.csv'], "required option '--table <table>' not specified"],
    [['load', 'x.csv', '--table', 't', '--time-column', 'time'], 'How a table is made is for --create.'],
    [['load', 'x.csv', '--table', 't', '--batch-rows', 'many'], '--batch-rows must be a whole number'],
    [['load', 'x.csv', '--table', 't', '--constant', 'x'], 'is not of the form column=value'],
    [['export', 'x.csv'], 'Give one of a statement, --table and --query.'],
    [['export', 'x.what', 'select 1'], 'What to write to x.what is not known.'],
    [['export', 'x.csv', 'select 1', '--row-group-rows', '5'], '--row-group-rows is not for csv.'],
    [['generate'], 'Give either a file or --table.'],
    [['generate', 'x.parquet'], 'What to write to x.parquet is not known.'],
    [['generate', 'x.csv', '--late', '101'], 'A share of readings must be a percentage from 0 to 100.'],
  ])('%j is refused', async (args, message) => {
    expect(await run(args)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(message) })
  })

  test('a failure says what stays', async () => {
    const table = database.name('Failing')
    await database.db.executeQuery(`create table ${table} (n int check (n < 3))`)
    writeFileSync(file('bad.csv'), 'n\n1\n2\n3\n')
    const failed = await run(['load', file('bad.csv'), '--table', table, '--json'])
    expect(failed).toMatchObject({ code: 1, stdout: '' })
    expect(JSON.parse(failed.stderr).error).toMatchObject({ code: expect.stringMatching(/BATCH_FAILED|CONSTRAINT/) })
    expect(await run(['load', file('nowhere.csv'), '--table', table])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`error[INVALID_VALUE]: The file ${file('nowhere.csv')} does not exist.\nhint: `),
    })
    const half = file('half.csv')
    const query = 'select 1 / (20000 - i) as x from generate_series(1, 30000) i'
    expect(await run(['export', half, query])).toMatchObject({ code: 1, stderr: expect.stringContaining('division') })
    expect(readdirSync(directory).filter((name) => name.includes('half'))).toEqual([])
  })
})

describe('Ctrl-C', wait, () => {
  /** Interrupts a command when it has written something to the table. */
  async function interrupted(args: readonly string[], table: string): Promise<{ code: number | null; stderr: string }> {
    const child = spawn(process.execPath, [...shortLife, program, ...args], {
      env: { ...process.env, TSDB_URL: database.url },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    while ((await count(table)) === 0 && child.exitCode === null) await new Promise((next) => setTimeout(next, 30))
    child.kill('SIGINT')
    return { code: await ended, stderr }
  }

  /** Acts when a file of this name, not yet in its place, has grown to 100 kB. */
  function whenWriting(name: string, act: () => void): void {
    const look = setInterval(() => {
      const partial = readdirSync(directory).find((each) => each.includes(name) && each !== `${name}.csv`)
      if (partial === undefined || (statSync(file(partial), { throwIfNoEntry: false })?.size ?? 0) < 100_000) return
      clearInterval(look)
      act()
    }, 30)
    onTestFinished(() => clearInterval(look))
  }

  test('ends a load cleanly and says how to go on, and the same command goes on', async () => {
    const table = database.name('Interrupted')
    await database.db.executeQuery(
      `create table ${table} (time timestamptz, sensor int, site text, temperature float8, humidity float8)`,
    )
    const csv = file('long.csv')
    await tsdb(['generate', csv, '--sensors', '60'])
    const args = [
      'load',
      csv,
      '--table',
      table,
      '--batch-rows',
      '1000',
      '--batch-bytes',
      '30000',
      '--parallel',
      '1',
      '--import-id',
      'Test 1.a cli',
    ]
    try {
      const { code, stderr } = await interrupted(args, table)
      expect(code).toBe(130)
      expect(stderr).toContain(
        'error[INTERRUPTED]: Interrupted.\nhint: Run the same command again: it goes on where it stopped',
      )
      const before = Number(await count(table))
      expect(before).toBeLessThan(86_400)
      const report = await run([...args, '--json'])
      expect(JSON.parse(report.stdout)).toMatchObject({ rowsResumed: before, rowsWritten: 86_400 - before })
      expect(await count(table)).toBe(86_400)
    } finally {
      await database.db.executeQuery(`delete from tsdbkit.import where id = 'Test 1.a cli'`)
    }
  })

  test('leaves nothing of generated readings, and what was there stays', async () => {
    const target = file('kept.csv')
    writeFileSync(target, 'mine')
    expect(await tsdb(['generate', target])).toMatchObject({ code: 2, stderr: expect.stringContaining('--yes') })
    const outcome = await tsdb(['generate', target, '--yes', '--sensors', '1000', '--end', '2035-01-01'], {
      onStart: (kill) => whenWriting('kept', () => kill('SIGINT')),
    })
    expect(outcome).toMatchObject({ code: 130, stdout: '' })
    expect(readdirSync(directory).filter((name) => name.includes('kept'))).toEqual(['kept.csv'])
    expect(readFileSync(target, 'utf8')).toBe('mine')
  })

  test.each([[['SIGINT']], [['SIGHUP']], [['SIGTERM', 'SIGINT']]] as const)(
    'leaves nothing of an export after %j',
    async (signals) => {
      const target = file('endless.csv')
      const outcome = await run(['export', target, 'select generate_series(1, 1000000000)'], {
        onStart: (kill) => whenWriting('endless', () => signals.forEach(kill)),
      })
      expect(outcome.code).toBe(130)
      // A second signal ends the program at once.
      if (signals.length === 1) expect(outcome.stderr).toContain('endless.csv is as it was before.')
      expect(readdirSync(directory).filter((name) => name.includes('endless'))).toEqual([])
    },
  )
})

describe('several files', wait, () => {
  const columns = 'time,sensor\n2026-01-01T00:00:00Z,'
  const write = (name: string, sensor: string): string => {
    writeFileSync(file(name), `${columns}${sensor}\n`)
    return file(name)
  }

  test('a failure names its file, those before and those not begun; the reports before it are there', async () => {
    const table = database.name('Several')
    await database.db.executeQuery(`create table ${table} (time timestamptz, sensor int)`)
    const [good, bad, later] = [write('good.csv', '1'), write('bad.csv', 'x'), write('later.csv', '2')]
    const outcome = await run(['load', good, bad, later, '--table', table])
    expect(outcome).toMatchObject({ code: 1, stdout: expect.stringMatching(/good\.csv: 1 row written in .*\n$/) })
    expect(outcome.stderr).toMatch(
      /error\[BATCH_FAILED\]: \S+bad\.csv: .* Loaded before it: \S+good\.csv\. Not begun: \S+later\.csv\.\n/,
    )
    const json = await run(['load', good, bad, later, '--table', table, '--json'])
    expect(JSON.parse(json.stdout)).toMatchObject([{ file: good, rowsWritten: 1 }])
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'BATCH_FAILED', file: bad } })
    expect(await count(table)).toBe(2)
  })

  test('one that does not exist is found before the first is loaded', async () => {
    const table = database.name('Nothing yet')
    await database.db.executeQuery(`create table ${table} (time timestamptz, sensor int)`)
    const outcome = await run(['load', write('good.csv', '1'), file('absent.csv'), '--table', table])
    expect(outcome).toMatchObject({ code: 2, stderr: expect.stringMatching(/absent\.csv does not exist\./) })
    expect(await count(table)).toBe(0)
  })

  test('an import is gone on with however the files are given, and never begun twice', async () => {
    const table = database.name('Once')
    await database.db.executeQuery(`create table ${table} (time timestamptz, sensor int)`)
    const load = (files: readonly string[], id: string): ReturnType<typeof run> =>
      run(['load', ...files, '--table', table, '--import-id', id])
    const [one, two] = [write('one.csv', '1'), write('two.csv', '2')]
    try {
      await load([one, two], 'Test 1.a both')
      for (const files of [[one, two], [one], [relative(process.cwd(), two)]]) await load(files, 'Test 1.a both')
      expect(await count(table)).toBe(2)
      await load([one], 'Test 1.a one')
      expect(await load([one, two], 'Test 1.a one')).toMatchObject({
        code: 3,
        stderr: expect.stringContaining('error[DRIFT]: The import "Test 1.a one" is one of a single file.'),
      })
      expect(await load([one], 'Test 1.a one')).toMatchObject({ code: 0 })
      expect(await count(table)).toBe(3)
    } finally {
      await database.db.executeQuery(`delete from tsdbkit.import where id like 'Test 1.a %'`)
    }
  })
})

test('a table that does not exist: --create makes it', async () => {
  writeFileSync(file('new.csv'), 'time,v\n2026-01-01T00:00:00Z,1\n')
  expect(await run(['load', file('new.csv'), '--table', database.name('Absent')])).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/There is no relation .*\nhint: With --create it is made\./),
  })
  const made = await run(['load', file('new.csv'), '--table', database.name('Absent'), '--create', '--verify'])
  expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/; the table is new; verified\.\n$/) })
})

/** `script` of util-linux gives a program a real terminal. */
const hasTerminal = (() => {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux')
  } catch {
    return false
  }
})()
if (!hasTerminal) process.stdout.write('Skipped: the progress bar (script of util-linux is not installed).\n')

test.skipIf(!hasTerminal)(
  'a terminal shows a bar with rows, bytes, rate, time left and what limits',
  wait,
  async () => {
    const table = database.name('Bar')
    await tsdb(['generate', file('bar.csv'), '--sensors', '10'])
    const args = ['load', file('bar.csv'), '--table', table, '--create', '--batch-bytes', '100000', '--parallel', '1']
    const command = [process.execPath, ...shortLife, program, ...args].map(
      (part) => `'${part.replaceAll("'", String.raw`'\''`)}'`,
    )
    const env = { PATH: process.env['PATH'], TERM: 'xterm', SHELL: '/bin/sh', TSDB_URL: database.url }
    const child = spawn('script', ['-qefc', command.join(' '), '/dev/null'], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const shown = (await child.stdout.setEncoding('utf8').toArray()).join('')
    expect(shown).toMatch(
      /bar\.csv =+-* \d+% [\d,]+ rows, [\d.]+ kB, [\d,]+ rows\/s, [\d.]+ s left, limit: (read|encode|server)/,
    )
    expect(shown).toMatch(/bar\.csv: 14,400 rows written in .* the table is new\./)
  },
)

describe('real files', wait, () => {
  test('CSV and JSON of vega-datasets become hypertables by one command each', async () => {
    const files: [string, string, number, string[]][] = [
      ['seattle-weather.csv', 'Weather', 1461, []],
      ['seattle-weather-hourly-normals.csv', 'Normals', 8759, []],
      ['sp500-2000.csv', 'Prices', 5105, []],
      ['birdstrikes.csv', 'Strikes', 10_000, []],
      ['flights-2k.json', 'Flights', 2000, []],
      ['unemployment-across-industries.json', 'Unemployment', 1708, ['--time-column', 'date']],
    ]
    for (const [name, table, rows, more] of files) {
      const outcome = await run([
        'load',
        data(name),
        '--table',
        database.name(table),
        '--create',
        '--verify',
        '--json',
        ...more,
      ])
      expect({ name, ...outcome }).toMatchObject({ code: 0 })
      expect(JSON.parse(outcome.stdout), name).toMatchObject({ rowsRead: rows, rowsWritten: rows, created: true })
    }
    const stats = await database.db.getHypertableStats({ schema: database.schema, name: 'Weather' })
    expect(stats.numChunks).toBeGreaterThan(0)
    const [sum] = await database.db
      .sql`select sum(temp_max)::numeric(12, 1) as sum from ${sql.name({ schema: database.schema, name: 'Weather' })}`
    const expected = readFileSync(data('seattle-weather.csv'), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(1)
      .reduce((total, line) => total + Number(line.split(',')[2]), 0)
    expect(Number(sum?.['sum'])).toBeCloseTo(expected, 1)
  })
})

test.each([
  [0.04, '0.0 s'],
  [9.96, '10 s'],
  [59.6, '1 min 0 s'],
  [119.7, '2 min 0 s'],
  [3599.6, '1 h 0 min'],
  [7800, '2 h 10 min'],
])('%d seconds are %s', (seconds, text) => expect(duration(seconds)).toBe(text))
