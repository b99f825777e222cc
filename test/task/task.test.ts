import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import * as z from 'zod'
import { runTask, sql, type Task, taskMetadata, taskSql } from '../../src/index.ts'
import { actions } from '../../src/task/registry.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { TaskDatabase } from './task-database.ts'

const seed = new URL('../../docs/reference/module-map.md', import.meta.url)

test('every method of the module is an action', () => {
  const methods = [...readFileSync(seed, 'utf8').matchAll(/^\| `([a-z_]+)[(`]/gm)].map(([, name]) => name ?? '')
  const named = methods.filter((name) => !['close', 'remove_continuous_aggregate_policy'].includes(name))
  expect(named.length).toBeGreaterThan(17)
  expect(actions.map(({ name }) => name)).toEqual(expect.arrayContaining(named))
})

describe('the registry', () => {
  let own: TaskDatabase
  beforeAll(async () => {
    own = await TaskDatabase.open()
    await own.db.executeQuery(
      'create table sensor_data (time timestamptz not null, sensor_id int, temperature float8, humidity float8)',
    )
    await own.db.executeQuery("insert into sensor_data values (now() - interval '90 minutes', 1, 20, 40)")
  })
  afterAll(() => own[Symbol.asyncDispose]())

  /** The examples name a chunk as it could be called. */
  async function withChunk(task: Task): Promise<Task> {
    if (!('chunk_name' in task)) return task
    const [chunk] = await own.db.getChunkInfo('sensor_data')
    return { ...task, chunk_name: chunk?.chunkName }
  }

  // In order: they build on one another.
  test.each(actions.map((action) => [action.name, action] as const))('the example of %s runs', async (name, action) => {
    const { db } = own
    if (name === 'create_hypertable') {
      const rows = await db.executeQuery('select * from sensor_data')
      await db.executeQuery('truncate sensor_data')
      expect(await runTask(db, toTask(action.example))).toMatchObject({ success: true, created: true })
      await db.executeQuery("insert into sensor_data values (now() - interval '90 minutes', 1, 20, 40)")
      expect(rows.rowCount).toBe(1)
      return
    }
    if (name === 'compress_chunk') await db.enableCompression('sensor_data')
    const task = await withChunk(toTask(action.example))
    const planned = await taskSql(db, task)
    expect(planned.length > 0).toBe(action.sql !== undefined || action.query !== undefined)
    const answer = await runTask(db, task)
    expect(answer).toMatchObject({ success: true })
    expect(JSON.parse(JSON.stringify(answer))).toEqual(answer)
    // The fields it names before it explains one are there.
    for (const [, field] of (action.result.split(':')[0] ?? '').matchAll(/(?:^|, )([a-z_]+)(?=,|$)/g))
      expect(answer).toHaveProperty(field ?? '')
  })

  test('is described as JSON', async () => {
    const metadata = await taskMetadata()
    expect(JSON.parse(JSON.stringify(metadata))).toEqual(metadata)
    expect(metadata).toMatchObject({
      name: 'timescaledb',
      task_type: '(timescaledb)',
      version: expect.stringMatching(/^\d+\.\d+/),
    })
    expect(metadata.methods.map(({ name }) => name)).toEqual(actions.map(({ name }) => name))
    // The schema accepts what the examples are, and nothing misspelt.
    const schema = z.fromJSONSchema(metadata.task_schema)
    for (const { example } of metadata.methods) {
      expect(schema.safeParse(example).success).toBe(true)
      expect(schema.safeParse({ ...example, tabel: 1 }).success).toBe(false)
    }
  })
})

describe('runTask', () => {
  let database: TestDatabase
  let name: string
  beforeAll(async () => {
    database = await openTestDatabase()
    name = `"${database.schema}"."Odd ""Table"""`
    await database.db.query(
      sql`create table ${sql.name(name)} ("Time" timestamptz not null, v bigint, n numeric, b bytea)`,
    )
  })
  afterAll(() => database.close())
  const run = (task: object): ReturnType<typeof runTask> => runTask(database.client, { action: '', ...task })

  test('takes awkward names exactly', async () => {
    expect(await run({ action: 'create_hypertable', table_name: name, time_column: 'Time' })).toMatchObject({
      success: true,
      table: name,
      schema: database.schema,
      name: 'Odd "Table"',
    })
    const many = { action: 'execute_many', query: `insert into ${name} values ($1, $2, $3, $4)` }
    const params_list = [
      ['2026-01-01', '9007199254740993', '1.10', '\\x00ff'],
      ['2026-01-02', 5, null, null],
    ]
    expect(await run({ ...many, params_list })).toMatchObject({ success: true })
  })

  test('answers in JSON without losing digits', async () => {
    const answer = await run({
      action: 'execute_query',
      query: `select * from ${name} where "Time" < $1`,
      params: ['2026-01-02'],
    })
    expect(answer).toEqual({
      success: true,
      rows: [{ Time: '2026-01-01T00:00:00.000Z', v: '9007199254740993', n: '1.10', b: '\\x00ff' }],
      row_count: 1,
    })
    const special = await run({
      action: 'execute_query',
      query: "select 'NaN'::float8 as a, 'infinity'::float8 as \"bC\"",
    })
    expect(special).toMatchObject({ rows: [{ a: 'NaN', bC: 'Infinity' }] })
  })

  test.each<[object, string, string, string | undefined]>([
    [{}, 'INVALID_OPTION', 'There is no action "".', 'Known are create_hypertable'],
    [
      { action: 'create_hypertabel' },
      'INVALID_OPTION',
      'There is no action "create_hypertabel".',
      'Did you mean create_hypertable?',
    ],
    [{ action: 'create_hypertable' }, 'INVALID_OPTION', 'create_hypertable needs table_name.', undefined],
    [
      { action: 'create_hypertable', tableName: 'x' },
      'INVALID_OPTION',
      'create_hypertable has no parameter "tableName".',
      'Did you mean table_name?',
    ],
    [
      { action: 'get_chunk_info', table_name: 7 },
      'INVALID_OPTION',
      'get_chunk_info: table_name is not right: Invalid input: expected string, received number.',
      undefined,
    ],
    [
      { action: 'create_hypertable', table_name: 'x', time_column: 't', number_partitions: 4 },
      'INVALID_OPTION',
      'partitioning_column and number_partitions belong together.',
      undefined,
    ],
    [
      { action: 'add_retention_policy', table_name: 'x', drop_after: '30 dayz' },
      'INVALID_INTERVAL',
      'interval',
      undefined,
    ],
    [{ action: 'get_chunk_info', table_name: 'no such' }, 'NOT_FOUND', 'no such', undefined],
    [{ action: 'execute_query', query: 'selec 1' }, 'SYNTAX_ERROR', 'selec', undefined],
    [
      { action: 'execute_query', query: 'select 1; select 2' },
      'SYNTAX_ERROR',
      'multiple commands',
      'One statement per call',
    ],
    [{ action: 'execute_query', query: 'select $1::int', params: ['s3cret'] }, 'QUERY_FAILED', '', undefined],
  ])('answers %j with %s', async (task, code, message, hint) => {
    const answer = await run(task)
    expect(answer).toMatchObject({ success: false, error: { code, message: expect.stringContaining(message) } })
    if (hint !== undefined) expect(answer).toMatchObject({ error: { hint: expect.stringContaining(hint) } })
    expect(JSON.stringify(answer)).not.toContain('s3cret')
  })

  test.each([[null], [undefined], [5], ['x'], [[]], [() => 1]])('answers %s as a task', async (task) => {
    expect(await Reflect.apply(runTask, undefined, [database.client, task])).toMatchObject({ success: false })
  })

  test('is refused without a database, and with options that do not exist', async () => {
    await expect(Reflect.apply(runTask, undefined, [undefined, { action: 'x' }])).rejects.toThrow(
      'needs an open database',
    )
    await expect(Reflect.apply(taskSql, undefined, [{}, { action: 'x' }])).rejects.toThrow('needs an open database')
    const options = { readonly: true }
    await expect(Reflect.apply(runTask, undefined, [database.client, {}, options])).rejects.toThrow('readonly')
    for (const readOnly of [{ maxRows: 0 }, { maxBytes: 1.5 }, { timeoutMs: -1 }, { rows: 1 }]) {
      await expect(Reflect.apply(runTask, undefined, [database.client, {}, { readOnly }])).rejects.toThrow()
    }
  })

  test('takes conditions in its own words', async () => {
    const series = { table_name: name, time_column: 'Time', bucket_interval: '1 day', aggregations: { n: 'COUNT(*)' } }
    const count = async (where: object): Promise<unknown> => {
      const answer = await run({ action: 'time_bucket_query', ...series, where })
      return answer.success ? answer['rows'] : answer
    }
    expect(await count({ n: { is_null: true } })).toEqual([{ bucket: '2026-01-02T00:00:00.000Z', n: 1 }])
    expect(await count({ v: { not_in: [5], gt: 1 }, n: '1.10' })).toEqual([
      { bucket: '2026-01-01T00:00:00.000Z', n: 1 },
    ])
    expect(await count({ v: { isNull: true } })).toMatchObject({ success: false, error: { code: 'INVALID_OPTION' } })
  })

  test('is cancelled by its signal', async () => {
    const task = { action: 'execute_query', query: 'select pg_sleep(30)' }
    const answer = await runTask(database.client, task, { signal: AbortSignal.timeout(50) })
    expect(answer).toMatchObject({ success: false, error: { code: 'QUERY_CANCELLED' } })
  })

  test('taskSql gives the statements and runs none', async () => {
    const { client } = database
    const task = { action: 'drop_hypertable', table_name: name, cascade: true }
    const [statement] = await taskSql(client, task)
    expect(statement?.text).toBe(`drop table ${name} cascade`)
    expect(await run({ action: 'get_hypertable_stats', table_name: name })).toMatchObject({ success: true })
    await expect(taskSql(client, { ...task, if_exist: true })).rejects.toThrow('if_exist')
    const policy = { action: 'add_compression_policy', table_name: name, compress_after: '7 days', segment_by: 'v' }
    expect((await taskSql(client, policy)).map(({ text }) => text.replace(/\s.*/s, ''))).toHaveLength(2)
  })
})

function toTask(example: Readonly<Record<string, unknown>>): Task {
  return { action: '', ...example }
}
