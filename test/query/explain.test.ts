import { afterAll, beforeAll, expect, test } from 'vitest'
import { explainSql, type PlanNode, parsePlan, type QueryPlan } from '../../src/query/explain.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let table: string
beforeAll(async () => {
  database = await openTestDatabase()
  const { client, schema } = database
  table = `"${schema}"."Sensor.data"`
  await client.executeQuery(`create table ${table} (time timestamptz not null, sensor int, v float8)`)
  await client.executeQuery(
    `select create_hypertable('${table}', 'time', chunk_time_interval => interval '1 day', create_default_indexes => false)`,
  )
  await client.executeQuery(
    `insert into ${table} select '2024-01-01 00:00+00'::timestamptz + i * interval '10 min', i % 5, i from generate_series(0, 1439) i`,
  )
})
afterAll(() => database.close())

const day = (number: number): Date => new Date(Date.UTC(2024, 0, number))
const explain = (text: string, params: unknown[], options = {}): Promise<QueryPlan> =>
  database.client.explain(text, params, options)
const flat = (node: PlanNode): PlanNode[] => [node, ...node.children.flatMap(flat)]

test('the statement', () => {
  const statement = { text: 'select $1::int', values: [1] }
  expect(explainSql(statement, false)).toStrictEqual({
    text: 'explain (format json, verbose) select $1::int',
    values: [1],
  })
  expect(explainSql(statement, true).text).toBe('explain (format json, verbose, analyze) select $1::int')
})

test('chunks read and excluded, whatever the plan', async () => {
  for (const analyze of [false, true]) {
    const some = await explain(`select count(*) from ${table} where time >= $1 and time < $2`, [day(4), day(6)], {
      analyze,
    })
    expect(some.chunksScanned).toHaveLength(2)
    expect(some.chunksExcluded).toBe(8)
    const all = await explain(`select sensor, avg(v) from ${table} group by sensor`, [], { analyze })
    expect([all.chunksScanned.length, all.chunksExcluded]).toStrictEqual([10, 0])
    expect(new Set(all.chunksScanned.map(({ schema, name }) => `${schema}.${name}`)).size).toBe(10)
    const none = await explain('select 1', [], { analyze })
    expect([none.chunksScanned.length, none.chunksExcluded]).toStrictEqual([0, 0])
    expect(all.planningMs === undefined).toBe(!analyze)
    expect(all.executionMs === undefined).toBe(!analyze)
    expect(
      flat(all.root).every(({ loops, rows }) => (rows !== undefined) === analyze && (loops !== undefined) === analyze),
    ).toBe(true)
  }
})

test('measured rows, and nothing that is written stays', async () => {
  const { client } = database
  const plan = await explain(`delete from ${table} where time < $1`, [day(3)], { analyze: true })
  expect(Math.max(...flat(plan.root).map(({ rows = 0 }) => rows))).toBe(288)
  expect((await client.executeQuery(`select count(*) from ${table}`)).rows).toStrictEqual([{ count: 1440 }])
  await client.transaction(async (tx) => {
    await tx.executeQuery(`insert into ${table} values ($1, 1, 1)`, [day(20)])
    await tx.explain(`delete from ${table}`, [], { analyze: true })
  })
  expect((await client.executeQuery(`select count(*) from ${table}`)).rows).toStrictEqual([{ count: 1441 }])
  await client.executeQuery(`delete from ${table} where time >= $1`, [day(20)])
})

test('rows taken out of compressed chunks', async () => {
  const { client } = database
  await client.enableCompression({ schema: database.schema, name: 'Sensor.data' }, { segmentBy: ['sensor'] })
  await client.compressChunks({ schema: database.schema, name: 'Sensor.data' }, { olderThan: day(6) })
  const reading = `select time, v from ${table} where v >= 0 and time < $1`
  const read = await explain(reading, [day(11)], { analyze: true })
  expect(read.rowsDecompressed).toBe(5 * 144)
  expect((await explain(reading, [day(11)])).rowsDecompressed).toBeUndefined()
  expect((await explain(`${reading} and time >= $2`, [day(11), day(7)], { analyze: true })).rowsDecompressed).toBe(0)
})

test('errors, and options that mean nothing', async () => {
  await expect(explain('select * from "No such"', [])).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(explain('select 1', [], { analyse: true })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  await expect(explain('select pg_sleep(10)', [], { analyze: true, timeoutMs: 50 })).rejects.toMatchObject({
    code: 'STATEMENT_TIMEOUT',
  })
})

test('plans as servers write them', () => {
  const chunk = (name: string, loops: number) => ({
    'Node Type': 'Custom Scan',
    'Custom Plan Provider': 'DecompressChunk',
    'Relation Name': name,
    Schema: 's',
    'Plan Rows': 1,
    'Total Cost': 2,
    'Actual Rows': 10,
    'Actual Loops': loops,
    'Actual Total Time': 0.5,
    'Rows Removed by Filter': 3,
  })
  const append = {
    'Node Type': 'Custom Scan',
    'Custom Plan Provider': 'ChunkAppend',
    'Plan Rows': 5,
    'Total Cost': 7,
    'Actual Rows': 20,
    'Actual Loops': 1,
    'Chunks excluded during startup': 4,
    'Chunks excluded during runtime': 2,
    Plans: [chunk('a', 2), chunk('b', 0)],
  }
  const owner = (name: string) => ({ schema: 's', name, hypertable: 'public.h', hypertableChunks: 9 })
  const plan = parsePlan([{ Plan: append, 'Planning Time': 1.5, 'Execution Time': 2.5 }], [owner('a'), owner('b')])
  expect(plan).toMatchObject({
    chunksScanned: [{ schema: 's', name: 'a' }],
    chunksExcluded: 8,
    rowsDecompressed: 26,
    planningMs: 1.5,
    executionMs: 2.5,
  })
  expect(plan.root).toMatchObject({ type: 'ChunkAppend', estimatedRows: 5, estimatedCost: 7, rows: 20, loops: 1 })
  expect(plan.root.children[0]).toMatchObject({
    type: 'DecompressChunk',
    relation: { schema: 's', name: 'a' },
    rows: 20,
    milliseconds: 1,
  })
  expect(plan.root.details).not.toHaveProperty('Plans')
  expect(parsePlan([{ Plan: append }], [])).toMatchObject({ chunksScanned: [], chunksExcluded: 6 })
  expect(parsePlan(undefined, [])).toMatchObject({ root: { type: '', children: [] }, rowsDecompressed: undefined })
})
