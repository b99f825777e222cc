import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createHypertableSql, sql } from '../../../src/index.ts'
import { CommandDatabase, type Outcome, tsdb } from './command.ts'

let database: CommandDatabase
let table: string
let view: string
beforeAll(async () => {
  database = await CommandDatabase.open(`Cli 1.a ${randomUUID().slice(0, 8)}`)
  table = database.name('Sensor "Data".1')
  view = database.name('By hour')
})
afterAll(() => database[Symbol.asyncDispose]())

const run = (...args: string[]): Promise<Outcome> => database.run(args)

/** What a verb prints when it succeeds. */
async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args)
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  return stdout
}

const json = async (...args: string[]): Promise<unknown> => JSON.parse(await output(...args, '--json'))

/** Runs a printed script as psql would, in one go. */
const runScript = (script: string): Promise<unknown> => database.db.pool.query(script)

test('from a table to a compressed hypertable with an aggregate, and back, each change first as SQL', async () => {
  const name = { schema: database.schema, name: 'Sensor "Data".1' }
  await database.db.sql`
    create table ${sql.name(name)} (time timestamptz not null, "Sensor Id" int not null, temperature float8)`
  const options = ['--time-column', 'time', '--chunk-interval', '1 day', '--partition', 'Sensor Id:2']
  const script = await output('hypertable', 'create', table, ...options, '--dry-run')
  const twin = createHypertableSql(await database.db.capabilities(), table, {
    timeColumn: 'time',
    chunkTimeInterval: '1 day',
    partitions: [{ column: 'Sensor Id', number: 2 }],
  })
  expect(script).toBe(['begin', ...twin.map(({ text }) => text), 'commit'].map((text) => `${text};\n`).join(''))
  expect(await json('hypertable', 'list')).not.toContainEqual(expect.objectContaining(name))
  await runScript(script)
  expect(await json('hypertable', 'list')).toContainEqual(expect.objectContaining({ ...name, numDimensions: 2 }))
  expect(await output('hypertable', 'create', table, ...options, '--if-not-exists')).toMatch(/ is a hypertable already/)
  const drift = await run('hypertable', 'create', table, '--time-column', 'time', '--chunk-interval', '2 days')
  expect(drift).toMatchObject({ code: 3, stdout: '', stderr: expect.stringContaining('error[DRIFT]') })
  expect(drift.stderr).toContain('hint: Give --if-not-exists to keep it as it is.')

  await database.db.sql`insert into ${sql.name(name)}
    select t, i, i from generate_series(timestamptz '2025-01-01', '2025-01-04 23:00Z', interval '1 hour') t, generate_series(1, 2) i`
  const compression = [
    'policy',
    'add',
    'compression',
    table,
    '--compress-after',
    '1000 years',
    '--segment-by',
    '"Sensor Id"',
  ]
  const enabling = await output(...compression, '--dry-run')
  expect(enabling.match(/;\n/g)).toHaveLength(4)
  expect(await database.db.getCompressionSettings(table)).toMatchObject({ enabled: false })
  expect(await output(...compression)).toMatch(/^Added the compression policy of .* as job \d+\.\n$/)
  expect(await output(...compression, '--if-not-exists', '--dry-run')).toMatch(/^[^;]*;\n$/)

  const range = ['--older-than', '2025-01-03', '--newer-than', '2025-01-02']
  const calls = await output('chunk', 'compress', table, ...range, '--dry-run')
  expect(calls.match(/_hyper_\d+_\d+_chunk/g)).toHaveLength(2)
  expect(await output('chunk', 'compress', table, ...range)).toBe('Compressed 2 chunks.\n')
  const compressed = (await database.db.getChunkInfo(table, { compressed: true })).map((chunk) => chunk.chunkName)
  expect(compressed.sort()).toEqual(calls.match(/_hyper_\d+_\d+_chunk/g)?.sort())
  expect(await output('chunk', 'decompress', compressed[0] ?? '')).toMatch(/: decompressed\.\n$/)

  const csv = (await output('chunk', 'list', table, '--csv', '--compressed')).split('\r\n')
  expect(csv).toHaveLength(3)
  expect(csv[1]).toContain(',2025-01-02T00:00:00.000Z,2025-01-03T00:00:00.000Z,true,')
  expect(await output('hypertable', 'show', table)).toMatch(/chunks +8, 1 compressed, \d/)

  const aggregate = ['--on', table, '--time-column', 'time', '--bucket', '12 hours', '--group-by', '"Sensor Id"']
  const made = ['aggregate', 'create', view, ...aggregate, '--aggregate', 'AVG(temperature)', '--no-data']
  await runScript(await output(...made, '--dry-run'))
  expect(await json('aggregate', 'list', '--on', table)).toMatchObject([{ bucketInterval: '12:00:00' }])
  expect(await output('aggregate', 'show', view)).toMatch(/buckets +12:00:00 in "bucket"/)
  const window = ['--from', '2025-01-01', '--to', '2025-02-01']
  expect(await output('aggregate', 'refresh', view, ...window, '--dry-run')).toMatch(
    /^call refresh_continuous_aggregate\(.*'2025-01-01T00:00:00Z'::timestamptz, '2025-02-01T00:00:00Z'::timestamptz\);\n$/,
  )
  expect(await json('aggregate', 'refresh', view, ...window)).toMatchObject({ refreshed: true })
  expect(await database.db.executeQuery(`select * from ${view}`)).toMatchObject({ rowCount: 16 })

  const refresh = ['--start-offset', 'open', '--end-offset', '1 day', '--schedule-interval', '1 hour']
  expect(await json('policy', 'add', 'refresh', view, ...refresh)).toMatchObject({ created: true, endOffset: '1 day' })
  expect(await json('policy', 'list', view)).toMatchObject([{ kind: 'refresh', scheduleInterval: '01:00:00' }])
  expect(await output('policy', 'remove', 'refresh', view)).toMatch(/^Removed/)
  expect(await run('policy', 'remove', 'refresh', view)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('hint: Give --if-exists where there may be none.'),
  })
  expect(await output('policy', 'remove', 'refresh', view, '--if-exists')).toMatch(/has no refresh policy/)
}, 60_000)

describe('what destroys', () => {
  test('needs --yes where nobody can be asked, and --dry-run changes nothing', async () => {
    const drop = ['chunk', 'drop', table, '--older-than', '2025-01-02']
    const refused = await run(...drop)
    expect(refused).toMatchObject({ code: 2, stdout: '' })
    expect(refused.stderr).toMatch(/2 chunks of .* lie within the bounds[\s\S]*hint: Give --yes/)
    expect(await output(...drop, '--dry-run')).toContain("older_than => '2025-01-02T00:00:00Z'::timestamptz);")
    expect(await database.db.getChunkInfo(table)).toHaveLength(8)
    expect(await output(...drop, '--yes')).toBe('Dropped 2 chunks.\n')
    expect(await database.db.getChunkInfo(table)).toHaveLength(6)
  })

  test('refuses to lose history, with its own exit code', async () => {
    expect(await run('aggregate', 'refresh', view)).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/^error\[DATA_LOSS_REFUSED\][\s\S]*--allow-loss/),
    })
  })

  test('drops aggregate and hypertable', async () => {
    expect(await run('hypertable', 'drop', table, '--yes')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('hint: Give --cascade to drop what depends on it too.'),
    })
    expect(await output('aggregate', 'drop', view, '--dry-run')).toBe(`drop materialized view ${view};\n`)
    expect(await output('aggregate', 'drop', view, '--yes')).toBe(`Dropped ${view}.\n`)
    expect(await output('hypertable', 'drop', table, '--yes')).toBe(`Dropped ${table}.\n`)
    expect(await output('hypertable', 'drop', table, '--yes', '--if-exists')).toMatch(/nothing was dropped/)
  })
})

describe('results', () => {
  const select = `select 1 as a, null as "b,c", 9007199254740993 as big, 'x"y' as q, '' as empty,
    timestamptz '2025-01-01 00:00Z' as t, '\\x01ff'::bytea as bytes, array[1,2] as list, $1::text as p`

  test('as JSON, CSV and a table', async () => {
    expect(await json('sql', select, '-p', 'it’s')).toEqual([
      {
        a: 1,
        'b,c': null,
        big: '9007199254740993',
        q: 'x"y',
        empty: '',
        t: '2025-01-01T00:00:00.000Z',
        bytes: '\\x01ff',
        list: [1, 2],
        p: 'it’s',
      },
    ])
    expect(await output('sql', select, '-p', 'a\nb', '--csv')).toBe(
      'a,"b,c",big,q,empty,t,bytes,list,p\r\n1,,9007199254740993,"x""y","",2025-01-01T00:00:00.000Z,\\x01ff,"[1,2]","a\nb"\r\n',
    )
    expect(await output('sql', 'select 1 as one, true as two')).toBe(
      '┌─────┬──────┐\n│ one │ two  │\n├─────┼──────┤\n│ 1   │ true │\n└─────┴──────┘\n',
    )
    const exact = '2026-01-01T00:00:00.123456Z'
    expect(await output('sql', `select '${exact}'::timestamptz as time`, '--csv')).toBe(`time\r\n${exact}\r\n`)
    expect(await output('sql', 'select 1 as one where false')).toBe('No rows.\n')
    const digits = `select '{"n": 9007199254740993}'::jsonb as j, null::json as k, array['[1.10]'::json, null] as "a""b"`
    expect(await output('sql', digits, '--csv')).toBe(
      'j,k,"a""b"\r\n"{""n"": 9007199254740993}",,"[""[1.10]"",null]"\r\n',
    )
    expect((await output('sql', digits, '--json')).replace(/\s/g, '')).toBe(
      '[{"j":{"n":9007199254740993},"k":null,"a\\"b":[[1.10],null]}]',
    )
    expect(await output('sql', 'select 1 as one where false', '--csv')).toBe('one\r\n')
    expect(await run('sql', 'select 1', '--csv', '--json')).toMatchObject({ code: 2, stdout: '' })
  })

  test('of statements from stdin, without rows, and in a transaction that may not write', async () => {
    const target = database.name('Written')
    const made = await database.run(['sql', '--file', '-'], { input: `create table ${target} (i int);\n` })
    expect(made).toEqual({ code: 0, stdout: 'CREATE\n', stderr: '' })
    const insert = `insert into ${target} values ($1), ($2)`
    expect(await run('sql', insert, '-p', '1', '-p', '2', '--read-only')).toMatchObject({ code: 1, stdout: '' })
    expect(await output('sql', insert, '-p', '1', '-p', "2'", '--dry-run')).toBe(
      `insert into ${target} values ('1'), ('2''');\n`,
    )
    expect(await output('sql', insert, '-p', '1', '-p', '2')).toBe('INSERT 2\n')
    // A read-only transaction alone lets this through, and COMMIT would keep it.
    const chunks = database.name('Kept chunks')
    await run('sql', `create table ${chunks} (time timestamptz not null)`)
    await run('hypertable', 'create', chunks, '--time-column', 'time')
    await run('sql', `insert into ${chunks} values ('2025-01-01Z')`)
    await run('sql', `select _timescaledb_functions.drop_chunk(c) from show_chunks('${chunks}') c`, '--read-only')
    expect(await output('sql', `select count(*) as n from ${chunks}`, '--csv')).toBe('n\r\n1\r\n')
    const failed = await run('sql', `select * frm ${target}`, '--json')
    expect(failed).toMatchObject({ code: 1, stdout: '' })
    expect(JSON.parse(failed.stderr).error).toMatchObject({ code: 'SYNTAX_ERROR', sqlState: '42601', position: 10 })
    expect(await run('sql', 'select pg_sleep(20)', '--timeout', '100')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('STATEMENT_TIMEOUT'),
    })
  })

  test('of buckets and gaps', async () => {
    const source = database.name('Series')
    await database.db.executeQuery(`create table ${source} (time timestamptz not null, s text, v float8)`)
    await database.db.executeQuery(`insert into ${source} values
      ('2025-01-01T00:10Z', 'a', 1), ('2025-01-01T00:50Z', 'a', 3), ('2025-01-01T02:10Z', 'a', 5), ('2025-01-01T00:10Z', 'b', 9)`)
    const hourly = [source, '--time-column', 'time', '--bucket', '1 hour', '--where', 's=a']
    const aggregates = ['--aggregate', 'AVG(v)', '--aggregate', 'COUNT(*)', '--aggregate', 'top=MAX(v)']
    expect(await output('bucket', ...hourly, ...aggregates, '--order-by', 'bucket DESC', '--csv')).toBe(
      'bucket,avg_v,count,top\r\n2025-01-01T02:00:00.000Z,5,1,5\r\n2025-01-01T00:00:00.000Z,2,2,3\r\n',
    )
    const filled = [
      '--from',
      '2025-01-01',
      '--to',
      '2025-01-01T03:00',
      '--column',
      'v:locf',
      '--column',
      'm=MAX(v):linear',
    ]
    expect(await json('fill', ...hourly, ...filled)).toEqual([
      { bucket: '2025-01-01T00:00:00.000Z', v: 2, m: 3 },
      { bucket: '2025-01-01T01:00:00.000Z', v: 2, m: 4 },
      { bucket: '2025-01-01T02:00:00.000Z', v: 5, m: 5 },
    ])
  })
})

test('a configuration file names the database, and --settings says so without the password', async () => {
  const { hostname, port, pathname, username, password, searchParams } = new URL(database.url)
  const directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-config-'))
  const file = join(directory, 'my.conf')
  const lines = [`HOST = ${hostname}`, `PORT = ${port || 5432}`, `DATABASE = ${decodeURIComponent(pathname.slice(1))}`]
  lines.push(`USERNAME = ${decodeURIComponent(username)}`, `PASSWORD = ${decodeURIComponent(password)}`)
  lines.push(`SSLMODE = ${searchParams.get('sslmode') ?? 'disable'}`)
  writeFileSync(file, `[timescaledb]\n${lines.join('\n')}\n`)
  const { code, stdout } = await tsdb(['info', '--settings', '--csv', '--config', file])
  expect(code).toBe(0)
  expect(stdout).toContain(`\r\nhost,${hostname},`)
  expect(stdout).toContain('\r\npassword,********,')
  rmSync(directory, { recursive: true })
})

test('Ctrl-C cancels the statement on the server and gives 130', async () => {
  const marker = `marker_${randomUUID().slice(0, 8)}`
  const started = performance.now()
  const outcome = database.run(['sql', `select pg_sleep(25) as ${marker}`], {
    onStart: (kill) => setTimeout(() => kill('SIGINT'), 3000),
  })
  expect(await outcome).toEqual({ code: 130, stdout: '', stderr: 'error[INTERRUPTED]: Interrupted.\n' })
  expect(performance.now() - started).toBeLessThan(15_000)
  const left = await database.db.sql`
    select from pg_stat_activity where query like ${`%${marker}%`} and state = 'active' and pid <> pg_backend_pid()`
  expect(left).toEqual([])
})
