import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CommandDatabase, tsdb } from './command.ts'

let database: CommandDatabase
let directory: string
beforeAll(async () => {
  database = await CommandDatabase.open(`Test 1.a ${process.pid} task`)
  directory = await mkdtemp(join(tmpdir(), 'tsdb-task-'))
})
afterAll(async () => {
  await database[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

/** A file of tasks in the table `name`. */
function taskFile(text: string): string {
  const file = join(directory, `${Math.random()}.task`)
  writeFileSync(file, text)
  return file
}

function lines(text: string): unknown[] {
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
}

const setup = (): string => `# A table, and what becomes of it.
10 (timescaledb) {
  "action": "execute_query",
  "query": ${JSON.stringify(`create table ${database.name('t')} (time timestamptz not null, v float8)`)}
}
20 (timescaledb) { "action": "create_hypertable", "table_name": ${JSON.stringify(database.name('t'))}, "time_column": "time" }
(timescaledb) { "action": "execute_query", "query": ${JSON.stringify(
  `insert into ${database.name('t')} select '2026-01-01'::timestamptz + i * interval '7 days', i from generate_series(0, 3) i`,
)} }
(timescaledb) { "action": "add_compression_policy", "table_name": ${JSON.stringify(database.name('t'))}, "compress_after": "7 days" }
(timescaledb) { "action": "get_hypertable_stats", "table_name": ${JSON.stringify(database.name('t'))} }
`

describe('tsdb task', () => {
  test('--dry-run prints the SQL of what is not there yet, and runs nothing', async () => {
    const { code, stdout } = await database.run(['task', taskFile(setup()), '--dry-run'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^-- line 2: execute_query\ncreate table "Test 1.a .*;\n-- line 6: create_hypertable\n/)
    expect(stdout).toMatch(/alter table .* set \(timescaledb\.\w+/)
    expect(stdout).toMatch(/-- line 9: get_hypertable_stats only reads\n$/)
    expect(await database.db.sql`select to_regclass(${database.name('t')}) as found`).toEqual([{ found: null }])
  })

  test('--dry-run shows values that have no SQL text beside the statement', async () => {
    const input = JSON.stringify({ action: 'execute_query', query: 'select $1::int[]', params: [[1, 2]] })
    const { stdout } = await database.run(['task', '-', '--dry-run'], { input })
    expect(stdout).toBe('-- line 1: execute_query\n-- with the values [[1,2]]\nselect $1::int[];\n')
  })

  test('runs a script in order and answers in lines of JSON', async () => {
    const { code, stdout, stderr } = await database.run(['task', taskFile(setup())])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(lines(stdout)).toEqual([
      { success: true, rows: [], row_count: 0 },
      expect.objectContaining({ success: true, created: true }),
      { success: true, rows: [], row_count: 4 },
      expect.objectContaining({ success: true, compress_after: '7 days' }),
      expect.objectContaining({ success: true, num_chunks: 4 }),
    ])
  })

  const three = (): string =>
    [
      { action: 'execute_query', query: 'select 1 as one' },
      { action: 'create_hypertable', table_name: database.name('t'), time_colum: 'time' },
      { action: 'execute_query', query: 'select 2 as two' },
    ]
      .map((task) => JSON.stringify(task))
      .join('\n')

  test('stops at the first failure', async () => {
    const { code, stdout, stderr } = await database.run(['task', '-'], { input: three() })
    expect(code).toBe(2)
    expect(lines(stdout)).toEqual([
      expect.objectContaining({ rows: [{ one: 1 }] }),
      { success: false, error: expect.objectContaining({ code: 'INVALID_OPTION', hint: 'Did you mean time_column?' }) },
    ])
    expect(stderr).toContain('error[INVALID_OPTION]: The task of line 2 failed: create_hypertable has no parameter')
  })

  test('--keep-going does the rest', async () => {
    const { code, stdout } = await database.run(['task', '-', '--keep-going'], { input: three() })
    expect(code).toBe(2)
    expect(lines(stdout)[2]).toMatchObject({ rows: [{ two: 2 }] })
  })

  test('--read-only refuses what changes something, and cuts', async () => {
    const name = database.name('t')
    const input = JSON.stringify([
      { action: 'drop_hypertable', table_name: name },
      { action: 'execute_query', query: `delete from ${name}` },
      { action: 'get_chunk_info', table_name: name },
    ])
    const args = ['task', '-', '--read-only', '--keep-going', '--max-rows', '2', '--timeout', '60000']
    const { code, stdout } = await database.run(args, { input })
    expect(code).toBe(3)
    expect(lines(stdout)).toEqual([
      { success: false, error: expect.objectContaining({ code: 'READ_ONLY_REFUSED' }) },
      { success: false, error: expect.objectContaining({ code: 'READ_ONLY_REFUSED' }) },
      expect.objectContaining({ success: true, chunks: [expect.anything(), expect.anything()], truncated: true }),
    ])
  })

  test('asks before it destroys', async () => {
    const input = JSON.stringify({ action: 'drop_hypertable', table_name: database.name('t') })
    const unasked = await database.run(['task', '-'], { input })
    expect(unasked).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('drop_hypertable') })
    const forced = await database.run(['task', '-', '--yes'], { input })
    expect(lines(forced.stdout)).toEqual([{ success: true, table: database.name('t'), dropped: true }])
  })

  test('--reader-role prints what can be run', async () => {
    const args = ['task', '--reader-role', 'tsdb reader', '--schema', database.schema]
    const { code, stdout } = await database.run(args)
    expect(code).toBe(0)
    expect(stdout).toMatch(/^create role "tsdb reader" login .*;\ngrant connect, temporary on database "/)
    expect(stdout).toContain(`grant select on all tables in schema "${database.schema}" to "tsdb reader";`)
  })

  test('--list and --metadata need no database', async () => {
    const [list, metadata] = await Promise.all([
      tsdb(['task', '--list', '--json'], { env: { TSDB_URL: 'postgres://nobody@127.0.0.1:1/none' } }),
      tsdb(['task', '--metadata'], { env: { TSDB_URL: 'postgres://nobody@127.0.0.1:1/none' } }),
    ])
    expect(JSON.parse(list.stdout)).toContainEqual({
      action: 'get_chunk_info',
      effect: 'reads',
      description: expect.any(String),
      parameters: 'table_name, older_than?, newer_than?, compressed?',
    })
    expect(JSON.parse(metadata.stdout)).toMatchObject({ task_type: '(timescaledb)', methods: expect.any(Array) })
  })

  test.each([
    [['task'], 'Give one of: a file, --list'],
    [['task', 'x.task', '--list'], 'Give one of: a file, --list'],
    [['task', 'no-such-file.task'], 'The file no-such-file.task does not exist.'],
    [['task', '-', '--max-rows', '5'], '--max-rows belongs to --read-only.'],
    [['task', '-', '--dryrun'], '--dry-run'],
  ])('%j is wrong usage', async (args, message) => {
    const { code, stderr } = await tsdb(args, { input: '{}' })
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(message) })
  })
})
