import * as z from 'zod'
import type { Client } from '../client.ts'
import { compressChunkSql, decompressChunkSql } from '../objects/chunk.ts'
import { type ObjectName, parseName } from '../sql/identifier.ts'
import { type Action, defineAction, given, nameSchema, timeSchema } from './action.ts'

const chunkSchema = nameSchema.meta({ description: 'a chunk_name of get_chunk_info, with or without its schema' })

/** Chunks are rarely in the search path, so a statement must name their schema. */
async function qualify(client: Client, chunk: string): Promise<ObjectName> {
  const name = parseName(chunk)
  if (name.schema !== undefined) return name
  const rows = await client.sql<{ readonly schema: string }>`
    select chunk_schema as schema from timescaledb_information.chunks where chunk_name = ${name.name}`
  const [row] = rows
  return row === undefined ? name : { schema: row.schema, name: name.name }
}

/** The actions on chunks. */
export const chunkActions: readonly Action[] = [
  defineAction({
    name: 'get_chunk_info',
    description: 'The chunks of a hypertable or continuous aggregate, newest first.',
    effect: 'reads',
    parameters: z.strictObject({
      table_name: nameSchema,
      older_than: timeSchema.optional(),
      newer_than: timeSchema.optional(),
      compressed: z.boolean().optional().meta({ description: 'only compressed chunks, or with false only others' }),
    }),
    result: 'table, chunks: a list with chunk_name, range_start, range_end, is_compressed, sizes and more',
    example: { action: 'get_chunk_info', table_name: 'sensor_data' },
    run: async (client, { table_name, older_than, newer_than, compressed }, signal) => ({
      table: table_name,
      chunks: await client.getChunkInfo(
        table_name,
        given({ olderThan: older_than, newerThan: newer_than, compressed, signal }),
      ),
    }),
  }),
  defineAction({
    name: 'compress_chunk',
    description: 'Compresses one chunk now.',
    effect: 'changes',
    parameters: z.strictObject({ chunk_name: chunkSchema }),
    result: 'chunk: its schema and name, compressed: false where it was already',
    example: { action: 'compress_chunk', chunk_name: '_hyper_1_1_chunk' },
    run: (client, { chunk_name }, signal) => client.compressChunk(chunk_name, given({ signal })),
    sql: async (client, capabilities, { chunk_name }) => [
      compressChunkSql(capabilities, await qualify(client, chunk_name)),
    ],
  }),
  defineAction({
    name: 'decompress_chunk',
    description: 'Puts the rows of one chunk back into a plain table.',
    effect: 'changes',
    parameters: z.strictObject({ chunk_name: chunkSchema }),
    result: 'chunk: its schema and name, decompressed: false where it was not compressed',
    example: { action: 'decompress_chunk', chunk_name: '_hyper_1_1_chunk' },
    run: (client, { chunk_name }, signal) => client.decompressChunk(chunk_name, given({ signal })),
    sql: async (client, capabilities, { chunk_name }) => [
      decompressChunkSql(capabilities, await qualify(client, chunk_name)),
    ],
  }),
]
