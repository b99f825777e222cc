import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Database, parseTasks, runTask, sql, type Task, type TaskAnswer } from '../../src/index.ts'
import { TaskDatabase } from './task-database.ts'

const tasks: readonly Task[] = parseTasks(readFileSync(new URL('document.task', import.meta.url), 'utf8')).map(
  ({ task }) => task,
)

let byTask: TaskDatabase
let byMethod: TaskDatabase
const answers: TaskAnswer[] = []

beforeAll(async () => {
  ;[byTask, byMethod] = await Promise.all([TaskDatabase.open(), TaskDatabase.open()])
  for (const task of tasks) answers.push(await runTask(byTask.db, task))
  await runMethods(byMethod.db)
}, 120_000)

afterAll(async () => {
  await byTask[Symbol.asyncDispose]()
  await byMethod[Symbol.asyncDispose]()
})

/** The document's examples as the examples of this library write them. */
async function runMethods(db: Database): Promise<void> {
  for (const query of tasks.filter(({ fetch }) => fetch === false).map((task) => String(task['query']))) {
    await db.executeQuery(query)
    if (query.includes('TABLE sensor_data')) {
      await db.createHypertable('sensor_data', { timeColumn: 'time', chunkTimeInterval: '1 day', ifNotExists: true })
    }
    if (query.includes('TABLE stock_prices')) {
      await db.createHypertable('stock_prices', {
        timeColumn: 'time',
        chunkTimeInterval: '1 week',
        partitioningColumn: 'symbol',
        numberPartitions: 4,
        ifNotExists: true,
      })
    }
    if (query.includes('TABLE apm_metrics')) {
      await db.createHypertable('apm_metrics', { timeColumn: 'time', chunkTimeInterval: '1 hour' })
    }
  }
  const aggregates = [
    ['sensor_data_hourly', 'sensor_data', '1 hour'],
    ['stock_prices_daily', 'stock_prices', '1 day'],
    ['apm_summary_5min', 'apm_metrics', '5 minutes'],
  ] as const
  for (const [view, hypertable, bucketInterval] of aggregates) {
    const selectQuery = String(tasks.find(({ view_name }) => view_name === view)?.['select_query'])
    const options = { hypertable, timeColumn: 'time', bucketInterval, selectQuery, withData: true }
    await db.createContinuousAggregate(view, options)
  }
  await db.addContinuousAggregatePolicy('sensor_data_hourly', {
    startOffset: '3 days',
    endOffset: '1 hour',
    scheduleInterval: '30 minutes',
  })
  await db.addRetentionPolicy('sensor_data', { dropAfter: '30 days', ifNotExists: true })
  await db.addCompressionPolicy('sensor_data', { compressAfter: '7 days', ifNotExists: true })
}

/** The answers of all tasks with an action. */
function answersOf(action: string): TaskAnswer[] {
  return answers.filter((_, index) => tasks[index]?.action === action)
}

/** What the database has, without what differs from database to database: ids, sizes, schemas. */
async function stateOf({ db, schema }: TaskDatabase): Promise<unknown> {
  const tables = ['sensor_data', 'stock_prices', 'apm_metrics']
  const hypertables = await Promise.all(
    tables.map(async (name) => {
      const { numChunks, dimensions, policies } = await db.getHypertableStats(name)
      const { enabled, segmentBy, orderBy } = await db.getCompressionSettings(name)
      const jobs = policies.map(({ kind, scheduleInterval, config }) => ({
        kind,
        scheduleInterval,
        config: { ...config, hypertable_id: undefined },
      }))
      return { name, numChunks, dimensions, jobs, enabled, segmentBy, orderBy }
    }),
  )
  const aggregates = await Promise.all(
    ['sensor_data_hourly', 'stock_prices_daily', 'apm_summary_5min'].map(async (name) => {
      const { bucketInterval, materializedOnly, definition } = await db.getContinuousAggregate(name)
      const text = definition.replaceAll(`${schema}.`, '')
      const { numChunks, policies } = await db.getHypertableStats(name)
      const windows = policies.map(({ kind, scheduleInterval, config }) => ({
        kind,
        scheduleInterval,
        config: { ...config, mat_hypertable_id: undefined },
      }))
      const [rows] = await db.sql`select count(*) as rows from ${sql.name(name)}`
      return { name, bucketInterval, materializedOnly, text, numChunks, windows, rows }
    }),
  )
  return { hypertables, aggregates }
}

describe("the document's examples as tasks", () => {
  test('all succeed', () => {
    expect(answers.filter(({ success }) => !success)).toEqual([])
    expect(answers).toHaveLength(tasks.length)
  })

  test('leave the same as the methods', async () => {
    expect(await stateOf(byTask)).toEqual(await stateOf(byMethod))
  })

  test('answer as the document does', () => {
    expect(answersOf('add_retention_policy')).toEqual([
      expect.objectContaining({ success: true, table: 'sensor_data', drop_after: '30 days', created: true }),
    ])
    expect(answersOf('get_chunk_info')[0]).toMatchObject({
      chunks: expect.arrayContaining([
        expect.objectContaining({ chunk_name: expect.any(String), is_compressed: false }),
      ]),
    })
    expect(answersOf('get_hypertable_stats')[0]).toMatchObject({ num_chunks: expect.any(Number) })
    expect(answersOf('execute_query')[0]).toEqual({ success: true, row_count: 0 })
    expect(answersOf('execute_query').at(-1)).toMatchObject({ rows: [{ now: expect.stringMatching(/^\d{4}-.*Z$/) }] })
  })

  test('read the same as the methods', async () => {
    const { db } = byTask
    const bucket = {
      timeColumn: 'time',
      bucketInterval: '15 minutes',
      aggregations: { temperature: 'AVG', humidity: 'AVG', count: 'COUNT(*)' },
      startTime: "NOW() - INTERVAL '24 hours'",
      orderBy: 'bucket ASC',
    } as const
    const rows = await db.timeBucketQuery('sensor_data', bucket)
    expect(rows).toHaveLength(3)
    expect(answersOf('time_bucket_query')[0]).toEqual({ success: true, rows: asJson(rows), row_count: 3 })

    const task = tasks.find(({ action }) => action === 'query_to_dataframe')
    const frame = await db.queryToDataFrame(String(task?.['query']))
    const data = Object.fromEntries(frame.columnNames().map((name) => [name, frame.array(name)]))
    expect(answersOf('query_to_dataframe')[0]).toEqual({
      success: true,
      columns: ['bucket', 'sensor_id', 'avg_temp', 'avg_humidity', 'max_temp', 'min_temp'],
      data: asJson(Object.fromEntries(Object.entries(data).map(([name, values]) => [name, Array.from(values)]))),
      row_count: 3,
    })
  })

  test('fill gaps as the method does', async () => {
    const { db } = byTask
    const task = tasks.find(({ action }) => action === 'fill_gaps')
    const fill = async (): Promise<unknown> =>
      asJson(
        await db.fillGaps('sensor_data', {
          timeColumn: 'time',
          bucketInterval: '10 minutes',
          startTime: "NOW() - INTERVAL '2 hours'",
          endTime: 'NOW()',
          columns: ['temperature'],
          fillMethod: 'locf',
        }),
      )
    // A bucket may end between two calls, but not twice.
    const before = await fill()
    const answer = await runTask(db, task ?? { action: '' })
    expect([before, await fill()]).toContainEqual(answer.success ? answer['rows'] : answer)
  })

  test('a second run changes nothing and says so where it is asked to', async () => {
    const { db } = byTask
    const again = { action: 'create_hypertable', table_name: 'sensor_data', time_column: 'time', if_not_exists: true }
    expect(await runTask(db, again)).toMatchObject({ success: true, created: false, differences: [] })
    const other = { ...again, chunk_time_interval: '2 days', if_not_exists: false }
    expect(await runTask(db, other)).toEqual({
      success: false,
      error: {
        code: 'DRIFT',
        message: expect.stringContaining('chunk_time_interval is 1 day, not 2 days'),
        hint: 'Give if_not_exists: true to keep it as it is.',
      },
    })
  })
})

function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}
