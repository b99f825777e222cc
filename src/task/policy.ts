import * as z from 'zod'
import type { Capabilities } from '../catalog/capabilities.ts'
import type { Client } from '../client.ts'
import { TimescaleError } from '../errors.ts'
import { enableCompressionSql } from '../objects/compression.ts'
import {
  addCompressionPolicySql,
  type CompressionPolicyOptions,
  removeCompressionPolicySql,
} from '../objects/compression-policy.ts'
import { addRetentionPolicySql, type RetentionPolicyOptions, removeRetentionPolicySql } from '../objects/retention.ts'
import type { Statement } from '../sql/template.ts'
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

const schedule = {
  schedule_interval: z.string().optional().meta({ description: 'how often it runs' }),
  initial_start: timeSchema.optional(),
  timezone: z.string().optional().meta({ description: 'the time zone in which the schedule keeps its hour' }),
  if_not_exists: ifNotExistsSchema,
}

const retentionParameters = z.strictObject({
  table_name: nameSchema,
  drop_after: spanSchema.optional(),
  drop_created_before: z.string().optional().meta({ description: 'instead of drop_after: by when chunks were made' }),
  ...schedule,
})

const compressionParameters = z.strictObject({
  table_name: nameSchema,
  compress_after: spanSchema.optional(),
  compress_created_before: z
    .string()
    .optional()
    .meta({ description: 'instead of compress_after: by when chunks were made' }),
  segment_by: z.union([z.string(), z.array(z.string())]).optional(),
  order_by: z.union([z.string(), z.array(z.string())]).optional(),
  ...schedule,
})

const removeParameters = z.strictObject({ table_name: nameSchema, if_exists: ifExistsSchema })

/** The schedule's parameters as options. */
function toSchedule(parameters: z.output<z.ZodObject<typeof schedule>>) {
  return given({
    scheduleInterval: parameters.schedule_interval,
    initialStart: parameters.initial_start,
    timezone: parameters.timezone,
    ifNotExists: parameters.if_not_exists,
  })
}

function toRetention(parameters: z.output<typeof retentionParameters>): RetentionPolicyOptions {
  const { drop_after, drop_created_before } = parameters
  return { ...given({ dropAfter: drop_after, dropCreatedBefore: drop_created_before }), ...toSchedule(parameters) }
}

function toCompression(parameters: z.output<typeof compressionParameters>): CompressionPolicyOptions {
  const { compress_after, compress_created_before, segment_by, order_by } = parameters
  return {
    ...given({
      compressAfter: compress_after,
      compressCreatedBefore: compress_created_before,
      segmentBy: segment_by,
      orderBy: order_by,
    }),
    ...toSchedule(parameters),
  }
}

/** The policy, and before it what enables compression where that is still to be done. */
async function compressionSql(
  client: Client,
  capabilities: Capabilities,
  name: string,
  options: CompressionPolicyOptions,
): Promise<readonly Statement[]> {
  const policy = addCompressionPolicySql(capabilities, name, options)
  const { segmentBy, orderBy } = options
  const enable = enableCompressionSql(capabilities, name, given({ segmentBy, orderBy }))
  try {
    const { enabled } = await client.getCompressionSettings(name)
    return enabled && segmentBy === undefined && orderBy === undefined ? [policy] : [enable, policy]
  } catch (error) {
    // Tasks before this one may be those that make the table.
    if (error instanceof TimescaleError && /NOT_FOUND$/.test(error.code)) return [enable, policy]
    throw error
  }
}

/** The actions on policies of hypertables. */
export const policyActions: readonly Action[] = [
  defineAction({
    name: 'add_retention_policy',
    description: 'Drops chunks automatically once they are old enough.',
    effect: 'changes',
    parameters: retentionParameters,
    result: 'table, drop_after, created, job_id, schedule_interval, differences',
    example: {
      action: 'add_retention_policy',
      table_name: 'sensor_data',
      drop_after: '30 days',
      if_not_exists: true,
    },
    run: async (client, parameters) => ({
      table: parameters.table_name,
      ...(await client.addRetentionPolicy(parameters.table_name, toRetention(parameters))),
    }),
    sql: async (_client, capabilities, parameters) => [
      addRetentionPolicySql(capabilities, parameters.table_name, toRetention(parameters)),
    ],
  }),
  defineAction({
    name: 'remove_retention_policy',
    description: 'Ends the dropping of old chunks.',
    effect: 'changes',
    parameters: removeParameters,
    result: 'table, removed',
    example: { action: 'remove_retention_policy', table_name: 'sensor_data' },
    run: async (client, { table_name, if_exists }) => ({
      table: table_name,
      ...(await client.removeRetentionPolicy(table_name, given({ ifExists: if_exists }))),
    }),
    sql: async (_client, capabilities, { table_name, if_exists }) => [
      removeRetentionPolicySql(capabilities, table_name, given({ ifExists: if_exists })),
    ],
  }),
  defineAction({
    name: 'add_compression_policy',
    description: 'Compresses chunks automatically once they are old enough; enables compression where it is not.',
    effect: 'changes',
    parameters: compressionParameters,
    result: 'table, compress_after, created, compression_enabled, job_id, schedule_interval, differences',
    example: {
      action: 'add_compression_policy',
      table_name: 'sensor_data',
      compress_after: '7 days',
      if_not_exists: true,
    },
    run: async (client, parameters) => ({
      table: parameters.table_name,
      ...(await client.addCompressionPolicy(parameters.table_name, toCompression(parameters))),
    }),
    sql: (client, capabilities, parameters) =>
      compressionSql(client, capabilities, parameters.table_name, toCompression(parameters)),
  }),
  defineAction({
    name: 'remove_compression_policy',
    description: 'Ends the compression of further chunks.',
    effect: 'changes',
    parameters: removeParameters,
    result: 'table, removed',
    example: { action: 'remove_compression_policy', table_name: 'sensor_data' },
    run: async (client, { table_name, if_exists }) => ({
      table: table_name,
      ...(await client.removeCompressionPolicy(table_name, given({ ifExists: if_exists }))),
    }),
    sql: async (_client, capabilities, { table_name, if_exists }) => [
      removeCompressionPolicySql(capabilities, table_name, given({ ifExists: if_exists })),
    ],
  }),
]
