import { execFile, execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { shortLife } from '../../setup/short-life.ts'
import { CommandDatabase, type Outcome, program } from './command.ts'
import { hasTmux, Screen } from './screen.ts'

const directory = mkdtempSync(join(tmpdir(), 'tsdb-shell-'))
const state = join(directory, 'state')
const schema = `Shell 1.a ${randomUUID().slice(0, 8)}`
const path = `set search_path = "${schema}", public;`
let database: CommandDatabase

const shell = (...lines: string[]): Promise<Outcome> =>
  database.run(['shell'], { input: `${lines.join('\n')}\n`, env: { XDG_STATE_HOME: state } })

beforeAll(async () => {
  database = await CommandDatabase.open(schema)
  const { code, stderr } = await shell(
    path,
    'create table "Sensor Data" (time timestamptz not null, sensor_id int, v numeric);',
    `select create_hypertable('"Sensor Data"', 'time', chunk_time_interval => interval '1 day');`,
    `insert into "Sensor Data" select '2025-01-01Z'::timestamptz + i * interval '1 hour', 1, i / 3.0`,
    'from generate_series(0, 47) i;',
  )
  expect(code, stderr).toBe(0)
}, 60_000)
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database[Symbol.asyncDispose]()
})

const hasPsql = (() => {
  try {
    return execFileSync('psql', ['--version'], { encoding: 'utf8' }).startsWith('psql')
  } catch {
    return false
  }
})()
if (!hasPsql) process.stdout.write('Skipped: patterns as psql reads them (psql is not installed).\n')

test.skipIf(!hasPsql)('lists what psql lists, with and without a pattern', { timeout: 60_000 }, async () => {
  const quoted = `"${schema}"`
  const commands = [
    '\\dt',
    '\\dv',
    '\\dm',
    '\\dt sens*',
    '\\dt "Sensor Data"',
    '\\dt "Sensor*"',
    '\\dt s?nsor*',
    '\\dt a$b',
  ]
  commands.push(`\\dt ${quoted}.*`, `\\dt ${quoted}."Sensor Data"`, '\\dt sensor_(one|two)', '\\dv *.chunks', '\\d')
  const made = [
    'create table sensor_one (x int); create table sensor_two (x int); create table a$b (x int)',
    'create view seen as select 1 as a; create materialized view kept as select 1 as a; create sequence counted',
  ]
  for (const text of made.flatMap((line) => line.split(';'))) {
    await database.db.transaction(async (tx) => {
      await tx.executeQuery(`set local search_path = ${quoted}`)
      await tx.executeQuery(text)
    })
  }
  const args = [
    database.url,
    '-XAtqc',
    `set search_path = ${quoted}, public`,
    ...commands.flatMap((one) => ['-c', `\\echo =`, '-c', one]),
  ]
  const asked = await promisify(execFile)('psql', args, { timeout: 50_000 })
  const wanted = asked.stdout
    .split('=\n')
    .slice(1)
    .map((part) => part.split('\n').filter((line) => line.includes('|')))
  const { stdout } = await shell(`set search_path = ${quoted}, public;`, ...commands)
  const listed = stdout
    .split('Tables and views\n')
    .slice(1)
    .map((part) => part.split('\n').filter((line) => /^│ (?!schema)/.test(line)))
  const names = (cells: string[]): string =>
    cells
      .slice(0, 2)
      .map((cell) => cell.trim())
      .join('.')
  expect(listed.map((lines) => lines.map((line) => names(line.split('│').slice(1))).sort())).toEqual(
    wanted.map((lines) => lines.map((line) => names(line.split('|'))).sort()),
  )
  expect(listed.map(({ length }) => length > 0)).toEqual(commands.map((one) => one !== '\\dt "Sensor*"'))
})

describe('from standard input', { timeout: 60_000 }, () => {
  test('statements share one connection, and commands show what is there', async () => {
    const file = join(directory, "it's.csv")
    const { code, stdout, stderr } = await shell(
      path,
      `set own.value = 'kept'; begin; set local own.value = 'inside'; select current_setting('own.value') as a;`,
      `commit; select current_setting('own.value') as b, 1 as x, 2 as x, null as n, 'null' as s;`,
      '\\d "Sensor Data"',
      '\\dh',
      '\\dc "Sensor Data"',
      '\\dj',
      '\\da',
      '\\df time_bucket_gap*',
      '\\x',
      'select time, v from "Sensor Data" order by time limit 2;',
      '\\x',
      'select time, sensor_id, v from "Sensor Data"',
      '\\chart',
      `\\copy "Sensor Data" (time, v) to '${file.replace("'", "''")}' with (format csv, header)`,
      `\\copy "Sensor Data" (time, v) from '${file.replace("'", "''")}' with (format csv, header)`,
      '\\copy (select 1 as one) to stdout',
      'delete from "Sensor Data" where sensor_id is null;',
      '\\timing',
      'select count(*) from "Sensor Data"',
    )
    expect(code, stderr).toBe(0)
    expect(stdout).toMatch(
      /^SET\nSET\nBEGIN\nSET\na\ntext\ninside\n1 row\nCOMMIT\nb +x +x +n +s\n.*\nkept +1 +2 +null +"null"\n/,
    )
    expect(stdout).toMatch(/Columns of "Shell 1\.a \w+"\."Sensor Data"\n[\s\S]*timestamp with time zone │ not null/)
    expect(stdout).toMatch(/Indexes\n[\s\S]*Sensor Data_time_idx[\s\S]*Hypertable\n[\s\S]*│ time 1 day/)
    expect(stdout).toMatch(/Chunks of .*"Sensor Data"\n(?:.*\n){3}.*_chunk.*2025-01-02T.*\n.*_chunk.*2025-01-01T/)
    expect(stdout).toMatch(/Jobs\n[\s\S]*Continuous aggregates\n[\s\S]*Functions\n[\s\S]*time_bucket_gapfill/)
    expect(stdout).toMatch(/─ row 1 ─+\ntime {2}2025-01-01 00:00:00\+00\nv {5}0\.0+\n─ row 2 ─+\n/)
    expect(stdout).toMatch(/\nv over time\n *15\.\d+ ┤/)
    expect(stdout).toMatch(/COPY\nCOPY 48\n1\nCOPY\nDELETE 48\nTiming is on\.\ncount\nint64\n +48\n1 row\n$/)
    expect(stderr).toMatch(/^Time: [\d.]+ ms\n$/)
    expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(50)
  })

  test('the first error ends it with 1, and what follows is not run', async () => {
    const { code, stdout, stderr } = await shell(
      'select 1 as a;',
      'select broken;',
      path,
      'create table never (i int);',
    )
    expect({ code, stdout }).toEqual({ code: 1, stdout: '    a\nint32\n    1\n1 row\n' })
    expect(stderr).toMatch(/^error\[NOT_FOUND\]: column "broken" does not exist\n/)
    expect((await shell(path, "select to_regclass('never') as name;")).stdout).toContain('null')
  })

  test.each([
    [[path, 'begin;', 'create table never (i int);'], 'The input ends inside of a transaction', 2],
    [["select 'open;", ''], 'The input ends in the middle of a text', 2],
    [['\\nonsense'], 'There is no command \\nonsense', 2],
    [['\\d nowhere'], 'There is no table nowhere', 2],
    [['\\chart'], 'There is no result to draw', 2],
    [['select 1 as one \\chart'], 'no column holds times', 2],
    [["\\copy t from '/no/such/file'"], '/no/such/file', 2],
    [['copy (select 1) to stdout;'], 'hint: \\copy does it', 2],
    [['\\i /no/such/file'], 'does not exist', 2],
  ])('%j is an error', async (lines, message, expected) => {
    const { code, stderr } = await shell(...lines)
    expect(stderr).toContain(message)
    expect(code).toBe(expected)
  })

  test('\\i runs a file, \\q leaves, and a last statement needs no semicolon', async () => {
    const file = join(directory, 'script.sql')
    writeFileSync(file, 'select 1 as from_file;\nselect 2 as without_end')
    const { code, stdout } = await shell(`\\i ${file}`, 'select 3 as three', '\\r', '\\q', 'select 4 as never;')
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: 'from_file\n    int32\n        1\n1 row\nwithout_end\n      int32\n          2\n1 row\n',
    })
    expect((await database.run(['shell', '--json'])).code).toBe(2)
  })
})

describe.skipIf(!hasTmux)('in a terminal', { timeout: 90_000 }, () => {
  const open = async (height = 40): Promise<Screen> => {
    const env = { TSDB_URL: database.url, XDG_STATE_HOME: state }
    const screen = new Screen(`'${process.execPath}' ${shortLife.join(' ')} '${program}' shell`, env, {
      width: 100,
      height,
    })
    await screen.shows(/=>$/)
    screen.enter(path)
    await screen.shows(/SET\n\S+=>$/)
    return screen
  }

  test('completes, cancels, shows the transaction, draws, and keeps statements', async () => {
    using screen = await open()
    screen.type('select coun')
    await screen.shows(/coun$/)
    screen.press('Tab')
    await screen.shows(/select count\($/)
    screen.type('*) from "Sen')
    await screen.shows(/"Sen$/)
    screen.press('Tab')
    await screen.shows(/from "Sensor Data"$/)
    screen.press('Enter')
    await screen.shows(/\S+->$/)
    screen.enter('where v is not null;')
    await screen.shows(/ 48\n1 row\n\S+=>$/)

    screen.enter('begin;')
    await screen.shows(/BEGIN\n\S+=\*>$/)
    screen.enter('select * frm t;')
    await screen.shows(/error\[SYNTAX_ERROR\].*\n.*\n? *line 1: select \* frm t\n {17}\^\n\S+=!>$/)
    screen.enter('rollback;')
    await screen.shows(/ROLLBACK\n\S+=>$/)

    screen.enter('select pg_sleep(60);')
    await screen.shows(/pg_sleep\(60\);$/)
    screen.press('C-c')
    await screen.shows(/Cancelled\.\n\S+=>$/)
    screen.type("select 'half")
    await screen.shows(/half$/)
    screen.press('C-c')
    await screen.shows(/half\^C\n\S+=>$/)

    screen.enter('select time, v from "Sensor Data"')
    screen.enter('\\chart')
    await screen.shows(/v over time\n *15\.\d+ ┤[\s\S]*2025-01-01 00:00:00\+00 +2025-01-02 23:00:00\+00\n\S+=>$/)

    screen.enter("set own.password = 'geheim';")
    await screen.shows(/SET\n\S+=>$/)
    screen.enter('select 1 as one \\watch 0.2')
    await screen.shows(/every 0\.2 s[\s\S]*every 0\.2 s/)
    screen.press('C-c')
    await screen.shows(/\S+=>$/)
    screen.press('C-d')
    await screen.shows(/exit 0$/)
    const history = readFileSync(join(state, 'tsdbkit', 'history'), 'utf8')
    expect(history).toContain('select count(*) from "Sensor Data" where v is not null;\n')
    expect(history).not.toContain('geheim')
  })

  test('brings back the statements of an earlier shell, and cuts what is too much for the screen', async () => {
    using screen = await open(24)
    screen.enter('select i, null as n from generate_series(1, 1000) i;')
    await screen.shows(/… 981 more rows of 1000\n\S+=>$/)
    screen.enter('begin;')
    await screen.shows(/\S+=\*>$/)
    for (let presses = 0; presses < 20 && !screen.text.endsWith('where v is not null;'); presses++) {
      screen.press('Up')
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
    screen.press('Enter')
    await screen.shows(/ 48\n1 row\n\S+=\*>$/)
    screen.press('C-d')
    await screen.shows(/The open transaction is rolled back\.[\s\S]*exit 0$/)
  })
})
