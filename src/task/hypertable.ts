import * as z from 'zod'
import { createHypertableSql, dropHypertableSql, type HypertableOptions } from '../objects/hypertable.ts'
import {
  type Action,
  defineAction,
  given,
  ifExistsSchema,
  ifNotExistsSchema,
  nameSchema,
  spanSchema,
} from './action.ts'

const createParameters = z.strictObject({
  table_name: nameSchema,
  time_column: z.string(),
  chunk_time_interval: spanSchema.optional(),
  partitioning_column: z.string().optional().meta({ description: 'a hash dimension, with number_partitions' }),
  number_partitions: z.int().optional(),
  partitions: z
    .array(z.strictObject({ column: z.string(), number: z.int() }))
    .optional()
    .meta({ description: 'several hash dimensions' }),
  if_not_exists: ifNotExistsSchema,
  migrate_data: z.boolean().optional().meta({ description: 'moves the rows that are there into chunks' }),
  create_default_indexes: z.boolean().optional(),
  associated_schema: z.string().optional(),
  associated_table_prefix: z.string().optional(),
  integer_now_function: nameSchema.optional(),
})

function toOptions(parameters: z.output<typeof createParameters>): HypertableOptions {
  return {
    timeColumn: parameters.time_column,
    ...given({
      chunkTimeInterval: parameters.chunk_time_interval,
      partitioningColumn: parameters.partitioning_column,
      numberPartitions: parameters.number_partitions,
      partitions: parameters.partitions,
      ifNotExists: parameters.if_not_exists,
      migrateData: parameters.migrate_data,
      createDefaultIndexes: parameters.create_default_indexes,
      associatedSchema: parameters.associated_schema,
      associatedTablePrefix: parameters.associated_table_prefix,
      integerNowFunction: parameters.integer_now_function,
    }),
  }
}

/** The actions on hypertables. */
export const hypertableActions: readonly Action[] = [
  defineAction({
    name: 'create_hypertable',
    description: 'Turns a table into a hypertable.',
    effect: 'changes',
    parameters: createParameters,
    result: 'table, created, dimensions, differences',
    example: {
      action: 'create_hypertable',
      table_name: 'sensor_data',
      time_column: 'time',
      chunk_time_interval: '1 day',
      if_not_exists: true,
    },
    run: async (client, parameters) => ({
      table: parameters.table_name,
      ...(await client.createHypertable(parameters.table_name, toOptions(parameters))),
    }),
    sql: async (_client, capabilities, parameters) =>
      createHypertableSql(capabilities, parameters.table_name, toOptions(parameters)),
  }),
  defineAction({
    name: 'drop_hypertable',
    description: 'Drops a hypertable with all its rows.',
    effect: 'destroys',
    parameters: z.strictObject({
      table_name: nameSchema,
      cascade: z.boolean().optional().meta({ description: 'drops what depends on it too' }),
      if_exists: ifExistsSchema,
    }),
    result: 'table, dropped',
    example: { action: 'drop_hypertable', table_name: 'sensor_data_archive', if_exists: true },
    run: async (client, { table_name, cascade, if_exists }) => ({
      table: table_name,
      ...(await client.dropHypertable(table_name, given({ cascade, ifExists: if_exists }))),
    }),
    sql: async (_client, _capabilities, { table_name, cascade, if_exists }) => [
      dropHypertableSql(table_name, given({ cascade, ifExists: if_exists })),
    ],
  }),
  defineAction({
    name: 'get_hypertable_stats',
    description: 'Sizes, chunks, compression, dimensions, policies and aggregates of a hypertable.',
    effect: 'reads',
    parameters: z.strictObject({ table_name: nameSchema }),
    result: 'table, num_chunks, compressed_chunks, total_bytes, approximate_rows, dimensions, policies and more',
    example: { action: 'get_hypertable_stats', table_name: 'sensor_data' },
    run: async (client, { table_name }) => ({ table: table_name, ...(await client.getHypertableStats(table_name)) }),
  }),
]
