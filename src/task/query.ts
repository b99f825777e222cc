import * as z from 'zod'
import { toTimeType } from '../catalog/column-name.ts'
import { askTimeZone } from '../catalog/time-zone.ts'
import type { Client } from '../client.ts'
import type { Row } from '../connection/session.ts'
import { type FillGapsOptions, fillGapsSql } from '../query/gapfill.ts'
import { type TimeBucketOptions, timeBucketSql } from '../query/time-bucket.ts'
import { formatName } from '../sql/identifier.ts'
import type { TimeType } from '../sql/time-expression.ts'
import type { Where, WhereComparison, WhereValue } from '../sql/where.ts'
import { type Action, defineAction, given, nameSchema, spanSchema, timeSchema } from './action.ts'

const paramsSchema = z.array(z.unknown()).optional().meta({ description: 'the values of $1, $2 and so on' })

const valueSchema = z.union([z.string(), z.number(), z.boolean()])

const whereSchema = z
  .record(
    z.string(),
    z.union([
      valueSchema,
      z.null(),
      z.strictObject({
        gt: valueSchema.exactOptional(),
        gte: valueSchema.exactOptional(),
        lt: valueSchema.exactOptional(),
        lte: valueSchema.exactOptional(),
        ne: valueSchema.nullable().exactOptional(),
        in: z.array(valueSchema).exactOptional(),
        not_in: z.array(valueSchema).optional(),
        is_null: z.boolean().optional(),
        like: z.string().exactOptional(),
        between: z.tuple([valueSchema, valueSchema]).exactOptional(),
      }),
    ]),
  )
  .optional()
  .meta({ description: "rows to take into account: {'symbol': 'AAPL', 'price': {'gt': 10}}" })

const series = {
  table_name: nameSchema,
  time_column: z.string(),
  bucket_interval: spanSchema,
  group_by: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .meta({ description: 'columns that keep series apart' }),
  where: whereSchema,
  timezone: z.string().optional(),
  order_by: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .meta({ description: "such as 'bucket DESC'" }),
  limit: z.int().optional(),
}

const bucketParameters = z.strictObject({
  ...series,
  aggregations: z
    .record(z.string(), z.string())
    .meta({ description: "result columns: {'temperature': 'AVG', 'count': 'COUNT(*)'}" }),
  start_time: timeSchema.optional(),
  end_time: timeSchema.optional(),
  origin: timeSchema.optional(),
  offset: spanSchema.optional(),
})

const fillParameters = z.strictObject({
  ...series,
  start_time: timeSchema,
  end_time: timeSchema,
  columns: z.array(z.string()).meta({ description: 'columns to average and fill' }),
  fill_method: z.enum(['locf', 'linear', 'null', 'NULL']).optional(),
})

function toWhere(where: z.output<typeof whereSchema>): Where | undefined {
  if (where === undefined) return undefined
  const conditions = Object.entries(where).map(([column, value]): [string, WhereComparison | WhereValue | null] => {
    if (typeof value !== 'object' || value === null) return [column, value]
    const { not_in, is_null, ...comparison } = value
    return [column, { ...comparison, ...given({ notIn: not_in, isNull: is_null }) }]
  })
  return Object.fromEntries(conditions)
}

function toSeries(parameters: z.output<z.ZodObject<typeof series>>) {
  const { group_by, where, timezone, order_by, limit } = parameters
  return {
    timeColumn: parameters.time_column,
    bucketInterval: parameters.bucket_interval,
    ...given({ groupBy: group_by, where: toWhere(where), timezone, orderBy: order_by, limit }),
  }
}

function toBucketOptions(parameters: z.output<typeof bucketParameters>): TimeBucketOptions {
  const { aggregations, start_time, end_time, origin, offset } = parameters
  return {
    ...toSeries(parameters),
    aggregations,
    ...given({ startTime: start_time, endTime: end_time, origin, offset }),
  }
}

function toFillOptions(parameters: z.output<typeof fillParameters>): FillGapsOptions {
  const { start_time, end_time, columns, fill_method } = parameters
  return {
    ...toSeries(parameters),
    startTime: start_time,
    endTime: end_time,
    columns,
    ...given({ fillMethod: fill_method }),
  }
}

/** The type of a time column as an option; empty where the query itself says what is wrong. */
async function timeTypeOption(
  client: Client,
  table: string,
  column: string,
): Promise<{ readonly timeType?: TimeType }> {
  const [row] = await client.sql<{ readonly type: string }>`
    select coalesce(nullif(t.typbasetype, 0::oid), t.oid)::regtype::text as type
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
    where a.attrelid = pg_catalog.to_regclass(${formatName(table)})::oid and a.attname = ${column} and a.attnum > 0`
  return given({ timeType: toTimeType(row?.type ?? '') })
}

async function checkTimeZone(client: Client, timezone: string | undefined): Promise<void> {
  if (timezone !== undefined) await askTimeZone(timezone, ({ text, values }) => client.executeQuery(text, values))
}

function toRows(rows: readonly Row[]): object {
  return { rows, rowCount: rows.length }
}

/** Columns as lists, as a DataFrame has them. */
function toData(rows: readonly Row[]): object {
  const columns = Object.keys(rows[0] ?? {})
  const data = Object.fromEntries(columns.map((name) => [name, rows.map((row) => row[name])]))
  return { columns, data, rowCount: rows.length }
}

/** The actions that run statements and queries. */
export const queryActions: readonly Action[] = [
  defineAction({
    name: 'execute_query',
    description: 'Runs one statement.',
    effect: 'statement',
    parameters: z.strictObject({
      query: z.string(),
      params: paramsSchema,
      fetch: z.boolean().optional().meta({ description: 'false leaves the rows out of the answer' }),
    }),
    result: 'rows, row_count',
    example: {
      action: 'execute_query',
      query: 'SELECT sensor_id, max(temperature) AS high FROM sensor_data WHERE sensor_id = $1 GROUP BY sensor_id',
      params: [1],
    },
    run: async (client, { query, params, fetch }, signal) => {
      const { rows, rowCount } = await client.executeQuery(query, params ?? [], {
        int8: 'bigint',
        ...given({ signal }),
      })
      return fetch === false ? { rowCount } : { rows, rowCount }
    },
    sql: async (_client, _capabilities, { query, params }) => [{ text: query, values: params ?? [] }],
    query: async (_client, { query, params, fetch }) => ({
      statement: { text: query, values: params ?? [] },
      options: { int8: 'bigint' },
      toAnswer: (rows) => (fetch === false ? { rowCount: rows.length } : toRows(rows)),
    }),
  }),
  defineAction({
    name: 'execute_many',
    description: 'Runs one statement once for each list of values, all or nothing.',
    effect: 'statement',
    parameters: z.strictObject({
      query: z.string(),
      params_list: z.array(z.array(z.unknown())).meta({ description: 'a list of values for each run' }),
    }),
    result: 'row_count',
    example: {
      action: 'execute_many',
      query: 'INSERT INTO sensor_data (time, sensor_id, temperature) VALUES ($1, $2, $3)',
      params_list: [
        ['2026-01-01T00:00:00Z', 1, 20.5],
        ['2026-01-01T00:10:00Z', 1, 20.7],
      ],
    },
    run: (client, { query, params_list }, signal) => client.executeMany(query, params_list, given({ signal })),
    sql: async (_client, _capabilities, { query, params_list }) =>
      params_list.map((values) => ({ text: query, values })),
  }),
  defineAction({
    name: 'query_to_dataframe',
    description: 'Runs one query and gives its columns.',
    effect: 'statement',
    parameters: z.strictObject({ query: z.string(), params: paramsSchema }),
    result: 'columns: their names, data: a list of values for each, row_count',
    example: {
      action: 'query_to_dataframe',
      query: 'SELECT time, temperature FROM sensor_data WHERE sensor_id = $1 ORDER BY time DESC LIMIT 24',
      params: [1],
    },
    run: async (client, { query, params }, signal) => {
      const frame = await client.queryToDataFrame(query, params ?? [], { int8: 'bigint', ...given({ signal }) })
      const columns = frame.columnNames()
      const data = Object.fromEntries(columns.map((name) => [name, frame.array(name)]))
      return { columns, data, rowCount: frame.numRows() }
    },
    sql: async (_client, _capabilities, { query, params }) => [{ text: query, values: params ?? [] }],
    query: async (_client, { query, params }) => ({
      statement: { text: query, values: params ?? [] },
      options: { int8: 'bigint', numeric: 'number' },
      toAnswer: toData,
    }),
  }),
  defineAction({
    name: 'time_bucket_query',
    description: 'Aggregates over buckets of time.',
    effect: 'reads',
    parameters: bucketParameters,
    result: 'rows: bucket, the group_by columns and the aggregations; row_count',
    example: {
      action: 'time_bucket_query',
      table_name: 'sensor_data',
      time_column: 'time',
      bucket_interval: '15 minutes',
      aggregations: { temperature: 'AVG', humidity: 'AVG', count: 'COUNT(*)' },
      start_time: "NOW() - INTERVAL '24 hours'",
      order_by: 'bucket ASC',
    },
    run: async (client, parameters, signal) =>
      toRows(
        await client.timeBucketQuery<Row>(parameters.table_name, toBucketOptions(parameters), {
          int8: 'bigint',
          ...given({ signal }),
        }),
      ),
    query: async (client, parameters) => {
      const type = await timeTypeOption(client, parameters.table_name, parameters.time_column)
      await checkTimeZone(client, parameters.timezone)
      return {
        statement: timeBucketSql(parameters.table_name, { ...toBucketOptions(parameters), ...type }),
        options: { int8: 'bigint', numeric: 'number' },
        toAnswer: toRows,
      }
    },
  }),
  defineAction({
    name: 'fill_gaps',
    description: 'Averages over buckets of time without gaps.',
    effect: 'reads',
    parameters: fillParameters,
    result: 'rows: bucket, the group_by columns and the columns; row_count',
    example: {
      action: 'fill_gaps',
      table_name: 'sensor_data',
      time_column: 'time',
      bucket_interval: '10 minutes',
      start_time: "NOW() - INTERVAL '2 hours'",
      end_time: 'NOW()',
      columns: ['temperature'],
      fill_method: 'locf',
    },
    run: async (client, parameters, signal) =>
      toRows(
        await client.fillGaps<Row>(parameters.table_name, toFillOptions(parameters), {
          int8: 'bigint',
          ...given({ signal }),
        }),
      ),
    query: async (client, parameters) => {
      const type = await timeTypeOption(client, parameters.table_name, parameters.time_column)
      await checkTimeZone(client, parameters.timezone)
      return {
        statement: fillGapsSql(parameters.table_name, { ...toFillOptions(parameters), ...type }),
        options: { int8: 'bigint', numeric: 'number' },
        toAnswer: toRows,
      }
    },
  }),
]
