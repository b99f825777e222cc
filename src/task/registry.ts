import { UsageError } from '../errors.ts'
import { nearest } from '../sql/nearest.ts'
import type { Action } from './action.ts'
import { chunkActions } from './chunk.ts'
import { continuousAggregateActions } from './continuous-aggregate.ts'
import { hypertableActions } from './hypertable.ts'
import { policyActions } from './policy.ts'
import { queryActions } from './query.ts'

/** Everything a task can ask for. The examples run one after the other, on a table `sensor_data`. */
export const actions: readonly Action[] = [
  ...hypertableActions,
  ...policyActions,
  ...chunkActions,
  ...queryActions,
  ...continuousAggregateActions,
]

/** The names of all actions and parameters. */
export const words: ReadonlySet<string> = new Set(
  actions.flatMap(({ name, parameters }) => [name, ...Object.keys(parameters.shape)]),
)

const byName = new Map(actions.map((action) => [action.name, action]))

/**
 * What a task asks for, and its parameters; the action is checked, its parameters are not yet.
 * @throws UsageError INVALID_OPTION
 */
export function findAction(task: unknown): { readonly action: Action; readonly parameters: object } {
  if (typeof task !== 'object' || task === null || Array.isArray(task)) {
    throw new UsageError('INVALID_OPTION', 'A task is an object with an action and its parameters.')
  }
  const { action: name, ...parameters }: { readonly action?: unknown } = task
  if (typeof name !== 'string') {
    throw new UsageError('INVALID_OPTION', 'A task needs an action.', { hint: `Known are ${list()}.` })
  }
  const action = byName.get(name)
  if (action !== undefined) return { action, parameters }
  const candidate = nearest(name, byName.keys())
  throw new UsageError('INVALID_OPTION', `There is no action ${JSON.stringify(name)}.`, {
    hint: candidate === undefined ? `Known are ${list()}.` : `Did you mean ${candidate}?`,
  })
}

function list(): string {
  return [...byName.keys()].join(', ')
}
