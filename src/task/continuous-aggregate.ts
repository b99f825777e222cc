import * as z from 'zod'
import { timeTypeOf } from '../catalog/dimension.ts'
import type { Client } from '../client.ts'
import { TimescaleError } from '../errors.ts'
import {
  type ContinuousAggregateOptions,
  createContinuousAggregateSql,
  dropContinuousAggregateSql,
} from '../objects/continuous-aggregate.ts'
import { type RefreshOptions, refreshContinuousAggregateSql } from '../objects/refresh.ts'
import {
  addContinuousAggregatePolicySql,
  type RefreshPolicyOptions,
  removeContinuousAggregatePolicySql,
} from '../objects/refresh-policy.ts'
import { invalidOption } from '../sql/option.ts'
import { sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'
import {
  type Action,
  defineAction,
  given,
  ifExistsSchema,
  ifNotExistsSchema,
  nameSchema,
  spanSchema,
  timeSchema,
} from './action.ts'

const createParameters = z.strictObject({
  view_name: nameSchema,
  hypertable: nameSchema.meta({ description: 'the hypertable or continuous aggregate it is made from' }),
  time_column: z.string(),
  bucket_interval: spanSchema,
  select_query: z
    .string()
    .optional()
    .meta({ description: "what comes after the bucket, as SQL: columns, FROM, 'GROUP BY bucket, …'" }),
  aggregates: z
    .record(z.string(), z.string())
    .optional()
    .meta({ description: "instead of select_query: columns such as {'mean': 'AVG(temperature)'}" }),
  group_by: z
    .union([z.string(), z.array(z.string())])
    .optional()
    .meta({ description: 'with aggregates' }),
  with_data: z.boolean().optional().meta({ description: 'false leaves it empty until the first refresh' }),
  materialized_only: z.boolean().optional().meta({ description: 'false adds what is newer than the last refresh' }),
  bucket_column: z.string().optional(),
  timezone: z.string().optional(),
  chunk_interval: spanSchema.optional(),
  if_not_exists: ifNotExistsSchema,
})

const refreshParameters = z.strictObject({
  view_name: nameSchema,
  start_time: timeSchema.nullish().meta({ description: 'left out or null, everything older too' }),
  end_time: timeSchema.nullish().meta({ description: 'the end, not included; left out or null, everything newer too' }),
  force: z.boolean().optional(),
  allow_loss: z.boolean().optional().meta({ description: 'also where the raw data is gone and history is lost' }),
})

const policyParameters = z.strictObject({
  view_name: nameSchema,
  start_offset: spanSchema.nullable().meta({ description: 'counted back from the run; null for everything older' }),
  end_offset: spanSchema.nullable().meta({ description: 'counted back from the run; null for everything newer' }),
  schedule_interval: z.string(),
  initial_start: timeSchema.optional(),
  timezone: z.string().optional(),
  if_not_exists: ifNotExistsSchema,
})

function toCreateOptions(parameters: z.output<typeof createParameters>): ContinuousAggregateOptions {
  const { select_query, aggregates, group_by } = parameters
  const common = {
    hypertable: parameters.hypertable,
    timeColumn: parameters.time_column,
    bucketInterval: parameters.bucket_interval,
    ...given({
      withData: parameters.with_data,
      materializedOnly: parameters.materialized_only,
      bucketColumn: parameters.bucket_column,
      timezone: parameters.timezone,
      chunkInterval: parameters.chunk_interval,
      ifNotExists: parameters.if_not_exists,
    }),
  }
  if (select_query !== undefined) {
    if (aggregates === undefined && group_by === undefined) return { ...common, selectQuery: select_query }
    throw invalidOption('select_query has its own columns: give it, or aggregates and group_by.')
  }
  if (aggregates === undefined) throw invalidOption('create_continuous_aggregate needs select_query or aggregates.')
  return { ...common, aggregates, ...given({ groupBy: group_by }) }
}

function toRefreshOptions(parameters: z.output<typeof refreshParameters>): RefreshOptions {
  const { start_time, end_time, force, allow_loss } = parameters
  return given({
    startTime: start_time ?? undefined,
    endTime: end_time ?? undefined,
    force,
    allowLoss: allow_loss,
  })
}

function toPolicyOptions(parameters: z.output<typeof policyParameters>): RefreshPolicyOptions {
  return {
    startOffset: parameters.start_offset,
    endOffset: parameters.end_offset,
    scheduleInterval: parameters.schedule_interval,
    ...given({
      initialStart: parameters.initial_start,
      timezone: parameters.timezone,
      ifNotExists: parameters.if_not_exists,
    }),
  }
}

/** The type of an aggregate's buckets; undefined where a task before this one is yet to make it. */
async function findBucketType(client: Client, view: string): Promise<TimeType | undefined> {
  return unlessMissing(async () => timeTypeOf((await client.getContinuousAggregate(view)).bucketColumnType))
}

/** The type of the time column an aggregate is made from; undefined where a task before this one is yet to make it. */
async function findSourceType(client: Client, options: ContinuousAggregateOptions): Promise<TimeType | undefined> {
  const column = sql`select ${sql.column(options.timeColumn)} from ${sql.name(options.hypertable)} limit 0`
  const find = (): Promise<{ readonly type: string }[]> => client.sql`select pg_typeof((${column}))::text as type`
  return unlessMissing(async () => timeTypeOf((await find())[0]?.type ?? ''))
}

async function unlessMissing<T>(find: () => Promise<T>): Promise<T | undefined> {
  try {
    return await find()
  } catch (error) {
    if (error instanceof TimescaleError && error.code === 'NOT_FOUND') return undefined
    throw error
  }
}

/** The actions on continuous aggregates. */
export const continuousAggregateActions: readonly Action[] = [
  defineAction({
    name: 'create_continuous_aggregate',
    description: 'Creates a view whose buckets are kept and refreshed.',
    effect: 'changes',
    parameters: createParameters,
    result: 'view, created, materialized_only, bucket_column, differences',
    example: {
      action: 'create_continuous_aggregate',
      view_name: 'sensor_data_hourly',
      hypertable: 'sensor_data',
      time_column: 'time',
      bucket_interval: '1 hour',
      select_query: 'sensor_id, AVG(temperature) as avg_temp FROM sensor_data GROUP BY bucket, sensor_id',
      with_data: true,
    },
    run: async (client, parameters) => ({
      view: parameters.view_name,
      ...(await client.createContinuousAggregate(parameters.view_name, toCreateOptions(parameters))),
    }),
    sql: async (client, capabilities, parameters) => {
      const options = toCreateOptions(parameters)
      const timeType = await findSourceType(client, options)
      return createContinuousAggregateSql(capabilities, parameters.view_name, { ...options, ...given({ timeType }) })
    },
  }),
  defineAction({
    name: 'refresh_continuous_aggregate',
    description: 'Brings the buckets of a window up to date.',
    effect: 'changes',
    parameters: refreshParameters,
    result: 'view, refreshed: false where it was up to date',
    example: {
      action: 'refresh_continuous_aggregate',
      view_name: 'sensor_data_hourly',
      start_time: "NOW() - INTERVAL '3 days'",
      end_time: 'NOW()',
    },
    run: async (client, parameters, signal) => ({
      view: parameters.view_name,
      ...(await client.refreshContinuousAggregate(parameters.view_name, {
        ...toRefreshOptions(parameters),
        ...given({ signal }),
      })),
    }),
    sql: async (client, capabilities, parameters) => {
      const timeType = await findBucketType(client, parameters.view_name)
      const options = { ...toRefreshOptions(parameters), ...given({ timeType }) }
      return [refreshContinuousAggregateSql(capabilities, parameters.view_name, options)]
    },
  }),
  defineAction({
    name: 'add_continuous_aggregate_policy',
    description: 'Refreshes a moving window automatically.',
    effect: 'changes',
    parameters: policyParameters,
    result: 'view, start_offset, end_offset, created, job_id, schedule_interval, differences',
    example: {
      action: 'add_continuous_aggregate_policy',
      view_name: 'sensor_data_hourly',
      start_offset: '3 days',
      end_offset: '1 hour',
      schedule_interval: '30 minutes',
    },
    run: async (client, parameters) => ({
      view: parameters.view_name,
      ...(await client.addContinuousAggregatePolicy(parameters.view_name, toPolicyOptions(parameters))),
    }),
    sql: async (client, capabilities, parameters) => {
      const timeType = await findBucketType(client, parameters.view_name)
      const options = { ...toPolicyOptions(parameters), ...given({ timeType }) }
      return [addContinuousAggregatePolicySql(capabilities, parameters.view_name, options)]
    },
  }),
  defineAction({
    name: 'remove_continuous_aggregate_policy',
    description: 'Ends the refreshing of a continuous aggregate by jobs.',
    effect: 'changes',
    parameters: z.strictObject({ view_name: nameSchema, if_exists: ifExistsSchema }),
    result: 'view, removed',
    example: { action: 'remove_continuous_aggregate_policy', view_name: 'sensor_data_hourly' },
    run: async (client, { view_name, if_exists }) => ({
      view: view_name,
      ...(await client.removeContinuousAggregatePolicy(view_name, given({ ifExists: if_exists }))),
    }),
    sql: async (_client, capabilities, { view_name, if_exists }) => [
      removeContinuousAggregatePolicySql(capabilities, view_name, given({ ifExists: if_exists })),
    ],
  }),
  defineAction({
    name: 'drop_continuous_aggregate',
    description: 'Drops a continuous aggregate with all it has materialized.',
    effect: 'destroys',
    parameters: z.strictObject({
      view_name: nameSchema,
      cascade: z.boolean().optional().meta({ description: 'drops what depends on it too' }),
      if_exists: ifExistsSchema,
    }),
    result: 'view, dropped',
    example: { action: 'drop_continuous_aggregate', view_name: 'sensor_data_hourly' },
    run: async (client, { view_name, cascade, if_exists }) => ({
      view: view_name,
      ...(await client.dropContinuousAggregate(view_name, given({ cascade, ifExists: if_exists }))),
    }),
    sql: async (_client, _capabilities, { view_name, cascade, if_exists }) => [
      dropContinuousAggregateSql(view_name, given({ cascade, ifExists: if_exists })),
    ],
  }),
]
