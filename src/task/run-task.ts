import { Client } from '../client.ts'
import { type ErrorCode, TimescaleError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import type { Statement } from '../sql/template.ts'
import type { Action } from './action.ts'
import { toAnswer, toSnakeCase } from './answer.ts'
import { refused } from './called-function.ts'
import type { TaskMetadata } from './metadata.ts'
import { completeLimits, forbidWriting, limitLists, type ReadOnlyLimits, readRows, undone } from './read-only.ts'

/** What is to be done: an action of the registry and its parameters, such as `{ action: 'get_chunk_info', table_name: 'x' }`. */
export interface Task {
  readonly action: string
  readonly [parameter: string]: unknown
}

/** How a task runs. */
export interface TaskOptions {
  /** Allows only what changes nothing, checked and rolled back, and limits what it reads. Not within a transaction. */
  readonly readOnly?: boolean | ReadOnlyLimits
  /** Cancels the statement that runs. */
  readonly signal?: AbortSignal
}

/** What a task did, as JSON; the fields are those of its action. */
export interface TaskSuccess {
  readonly success: true
  readonly [field: string]: unknown
}

/** Why a task failed. */
export interface TaskFailure {
  readonly success: false
  readonly error: { readonly code: ErrorCode; readonly message: string; readonly hint?: string }
}

/** The answer of a task. */
export type TaskAnswer = TaskSuccess | TaskFailure

/**
 * Does what a task says, and answers as JSON: `{ success: true, … }` or `{ success: false, error }`. Whatever is wrong
 * with the task, or goes wrong in the database, is in the answer.
 * @throws UsageError INVALID_OPTION for wrong options
 * @example
 * const answer = await runTask(db, { action: 'execute_query', query: 'select $1::int + 1 as two', params: [1] })
 */
export async function runTask(client: Client, task: Task, options: TaskOptions = {}): Promise<TaskAnswer> {
  if (!(client instanceof Client)) throw invalidOption('runTask needs an open database.', 'Write runTask(db, task).')
  checkKeys(options, ['readOnly', 'signal'], 'runTask')
  const { readOnly = false, signal } = options
  const limits = readOnly === false ? undefined : completeLimits(readOnly === true ? {} : readOnly)
  const { findAction, words } = await import('./registry.ts')
  try {
    const { action, parameters } = findAction(task)
    const result =
      limits === undefined
        ? await action.run(client, parameters, signal)
        : await runReadOnly(client, action, parameters, limits, signal)
    return { success: true, ...toAnswer(result) }
  } catch (error) {
    if (!(error instanceof TimescaleError)) throw error
    return { success: false, error: describe(error, words) }
  }
}

/**
 * The statements of a task, which are not run; none for an action that reads by several.
 * @throws UsageError INVALID_OPTION; UnsupportedError; what reading the catalog throws
 */
export async function taskSql(client: Client, task: Task): Promise<readonly Statement[]> {
  if (!(client instanceof Client)) throw invalidOption('taskSql needs an open database.', 'Write taskSql(db, task).')
  const { findAction } = await import('./registry.ts')
  const { action, parameters } = findAction(task)
  action.check(parameters)
  if (action.sql !== undefined) return action.sql(client, await client.capabilities(), parameters)
  return action.query === undefined ? [] : [(await action.query(client, parameters)).statement]
}

/** The module's description as JSON: every action with the JSON Schema of its parameters, an example, and what it does. */
export async function taskMetadata(): Promise<TaskMetadata> {
  const { makeMetadata } = await import('./metadata.ts')
  return makeMetadata()
}

async function runReadOnly(
  client: Client,
  action: Action,
  parameters: object,
  limits: Required<ReadOnlyLimits>,
  signal: AbortSignal | undefined,
): Promise<object> {
  action.check(parameters)
  const { query } = action
  if (query === undefined && action.effect !== 'reads') {
    throw refused(`${action.name} changes the database, and this task is read-only.`)
  }
  return undone(client, limits, signal, async (inner) => {
    if (query === undefined) {
      await forbidWriting(inner)
      return limitLists(await action.run(inner, parameters, undefined), limits)
    }
    const wanted = await query(inner, parameters)
    const { rows, truncated } = await readRows(inner, wanted, limits)
    return truncated ? { ...wanted.toAnswer(rows), truncated } : wanted.toAnswer(rows)
  })
}

/** An error in the words of a task: `if_not_exists: true`, where the methods say `ifNotExists: true`. */
function describe({ code, message, hint }: TimescaleError, words: ReadonlySet<string>): TaskFailure['error'] {
  const translate = (text: string): string =>
    text.replace(/(?<!["\w])[a-z]+(?:[A-Z][a-z]+)+(?!["\w])/g, (word) => {
      const name = toSnakeCase(word)
      return words.has(name) ? name : word
    })
  return { code, message: translate(message), ...(hint === undefined ? {} : { hint: translate(hint) }) }
}
