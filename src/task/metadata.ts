import { readFileSync } from 'node:fs'
import * as z from 'zod'
import type { Effect } from './action.ts'
import { actions } from './registry.ts'

/** A JSON Schema, as it is written. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** One action in the module's description. */
export interface TaskMethod {
  readonly name: string
  readonly description: string
  /** `'statement'`: whatever the statement it is given does. */
  readonly effect: Effect
  /** The JSON Schema of its parameters, without `action`. */
  readonly parameters: JsonSchema
  /** The fields of its answer besides `success`. */
  readonly result: string
  readonly example: JsonSchema
}

/** What the module is and can do. */
export interface TaskMetadata {
  readonly name: string
  readonly task_type: string
  readonly description: string
  readonly version: string
  readonly keywords: readonly string[]
  readonly usage_notes: readonly string[]
  readonly methods: readonly TaskMethod[]
  readonly examples: readonly JsonSchema[]
  /** The JSON Schema of one task. */
  readonly task_schema: JsonSchema
}

const USAGE_NOTES = [
  'A task is an object with an action and the parameters of that action; in a script it is (timescaledb) { … }.',
  'The answer is {"success": true, …} or {"success": false, "error": {"code", "message", "hint"}}.',
  "A table is 'table', 'schema.table' or '\"Odd.schema\".\"Table\"', exactly as written.",
  "A span is an interval such as '7 days'; for an integer time column it is a whole number.",
  "A time is '2026-01-31T12:00Z' or \"NOW() - INTERVAL '24 hours'\"; without a zone it is UTC. Windows end before end_time.",
  'Values in a query are $1, $2 and so on, given in params; one statement per task.',
  'Create the table, then the hypertable; add policies with if_not_exists to run a script again.',
  'drop_hypertable and drop_continuous_aggregate destroy data. Chunks that a retention policy drops are gone too.',
  'get_chunk_info gives the chunk_name that compress_chunk and decompress_chunk take.',
]

/** The module's description, from the registry. */
export function makeMetadata(): TaskMetadata {
  const methods = actions.map((action) => ({
    name: action.name,
    description: action.description,
    effect: action.effect,
    parameters: toSchema(action.parameters),
    result: action.result,
    example: action.example,
  }))
  const { version, description, keywords } = readPackage()
  return {
    name: 'timescaledb',
    task_type: '(timescaledb)',
    description,
    version,
    keywords,
    usage_notes: USAGE_NOTES,
    methods,
    examples: methods.map(({ example }) => example),
    task_schema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'A task of the module timescaledb',
      oneOf: actions.map(({ name, description, parameters }) => ({
        title: name,
        description,
        ...toSchema(z.strictObject({ action: z.literal(name), ...parameters.shape })),
      })),
    },
  }
}

function toSchema(schema: z.ZodObject): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' })
  return rest
}

interface Package {
  readonly version: string
  readonly description: string
  readonly keywords: readonly string[]
}

function readPackage(): Package {
  const content: Package = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return content
}
