import * as z from 'zod'
import type { Capabilities } from '../catalog/capabilities.ts'
import type { Client } from '../client.ts'
import type { QueryOptions, Row } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { nearest } from '../sql/nearest.ts'
import type { Statement } from '../sql/template.ts'

/** What an action does: `'statement'` is whatever the statement it is given does. */
export type Effect = 'reads' | 'changes' | 'destroys' | 'statement'

/** A query that an action makes, so that it can be looked at before it runs. */
export interface ReadQuery {
  readonly statement: Statement
  /** How its values arrive. */
  readonly options: Pick<QueryOptions, 'int8' | 'numeric'>
  /** Its rows as the action answers. */
  toAnswer(rows: readonly Row[]): object
}

/** What an action is, for its kind of parameters. */
interface Definition<S extends z.ZodObject> {
  readonly name: string
  /** What it does, in one sentence. */
  readonly description: string
  readonly effect: Effect
  readonly parameters: S
  /** The fields of its answer besides `success`, in words. */
  readonly result: string
  /** A task that runs after the examples of the actions before it. */
  readonly example: Readonly<Record<string, unknown>>
  run(client: Client, parameters: z.output<S>, signal: AbortSignal | undefined): Promise<object>
  /** The statements of {@link run}; for actions that change something. */
  sql?(client: Client, capabilities: Capabilities, parameters: z.output<S>): Promise<readonly Statement[]>
  /** The query of {@link run}; for actions that run one made of, or taken from, the parameters. */
  query?(client: Client, parameters: z.output<S>): Promise<ReadQuery>
}

/** One thing a task can ask for. Its functions check the parameters they are given. */
export interface Action
  extends Pick<Definition<z.ZodObject>, 'name' | 'description' | 'effect' | 'result' | 'example'> {
  readonly parameters: z.ZodObject
  /** @throws UsageError INVALID_OPTION, and what the method throws */
  run(client: Client, given: object, signal: AbortSignal | undefined): Promise<object>
  sql?(client: Client, capabilities: Capabilities, given: object): Promise<readonly Statement[]>
  query?(client: Client, given: object): Promise<ReadQuery>
  /** @throws UsageError INVALID_OPTION for parameters that are missing, unknown or of a wrong type */
  check(given: object): void
}

/** An action whose functions receive what its schema has checked. */
export function defineAction<S extends z.ZodObject>(definition: Definition<S>): Action {
  const { run, sql, query, ...description } = definition
  const parse = (given: object): z.output<S> => {
    const result = definition.parameters.safeParse(given)
    if (result.success) return result.data
    throw toUsageError(definition, given, result.error)
  }
  return {
    ...description,
    run: async (client, given, signal) => run(client, parse(given), signal),
    ...(sql === undefined
      ? {}
      : { sql: async (client, capabilities, given) => sql(client, capabilities, parse(given)) }),
    ...(query === undefined ? {} : { query: async (client, given) => query(client, parse(given)) }),
    check: (given) => void parse(given),
  }
}

/** The first thing wrong, in the words of the other errors; values are never part of it. */
function toUsageError(
  { name, parameters }: Pick<Action, 'name' | 'parameters'>,
  given: object,
  error: z.ZodError,
): Error {
  const known = Object.keys(parameters.shape)
  const unknown = error.issues.find((issue) => issue.code === 'unrecognized_keys' && issue.path.length === 0)
  // A misspelt parameter is missing too; that it is unknown says more.
  if (unknown?.code === 'unrecognized_keys') {
    const [key = ''] = unknown.keys
    const candidate = nearest(key, known)
    return new UsageError('INVALID_OPTION', `${name} has no parameter ${JSON.stringify(key)}.`, {
      hint: candidate === undefined ? `Known are ${known.join(', ')}.` : `Did you mean ${candidate}?`,
    })
  }
  const [issue] = error.issues
  const path = issue?.path.join('.') ?? ''
  const isMissing = issue?.path.length === 1 && !(path in given)
  const message = isMissing ? `${name} needs ${path}.` : `${name}: ${path} is not right: ${issue?.message}.`
  return new UsageError('INVALID_OPTION', message)
}

/** The options that were given, without those that are undefined. */
type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Leaves out what is undefined, as the library wants it. */
export function given<T extends object>(options: T): Given<T> {
  const kept: Given<T> = {}
  return Object.assign(kept, Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)))
}

/** The name of a table, view or chunk. */
export const nameSchema: z.ZodString = z
  .string()
  .meta({ description: "'table', 'schema.table' or '\"Odd.schema\".\"Table\"'" })

/** A span of time. */
export const spanSchema: z.ZodUnion<readonly [z.ZodString, z.ZodInt]> = z
  .union([z.string(), z.int()])
  .meta({ description: "an interval such as '7 days', or a whole number for an integer time column" })

/** A point in time. */
export const timeSchema: z.ZodUnion<readonly [z.ZodString, z.ZodInt]> = z.union([z.string(), z.int()]).meta({
  description: "'2026-01-31T12:00Z', \"NOW() - INTERVAL '24 hours'\", or a whole number for an integer time column",
})

/** Whether something that is there already is no error. */
export const ifNotExistsSchema: z.ZodOptional<z.ZodBoolean> = z
  .boolean()
  .optional()
  .meta({ description: 'what exists already is no error; differences lists what is not as asked for' })

/** Whether something that is not there is no error. */
export const ifExistsSchema: z.ZodOptional<z.ZodBoolean> = z
  .boolean()
  .optional()
  .meta({ description: 'no error where there is none' })
