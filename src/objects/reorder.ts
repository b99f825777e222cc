import { type Capabilities, requireFeature } from '../catalog/capabilities.ts'
import type { Policy } from '../catalog/job.ts'
import { notHypertable } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { callFunction } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys, requireKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareSetting, type Difference } from './difference.ts'
import {
  compareSchedule,
  configText,
  createPolicy,
  keepsExisting,
  optionalFlag,
  type PolicyResult,
  REMOVE_KEYS,
  type RemoveOptions,
  type RemoveResult,
  readPolicyContext,
  regclass,
  removePolicy,
  type ScheduleOptions,
  scheduleArguments,
  toPolicyResult,
} from './policy.ts'

/** By which index chunks are reordered. How often is the server's choice; `alterJob` changes it. */
export interface ReorderPolicyOptions extends Omit<ScheduleOptions, 'scheduleInterval'> {
  /** The name of an index of the hypertable, without its schema. */
  readonly index: string
}

const KEYS = Object.keys({
  index: true,
  initialStart: true,
  timezone: true,
  ifNotExists: true,
} satisfies Record<keyof ReorderPolicyOptions, true>)

/** What adding a reorder policy did. */
export interface ReorderPolicyResult extends PolicyResult {
  /** As it is now. */
  readonly index: string | undefined
}

/**
 * The statement of {@link addReorderPolicy}.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION
 */
export function addReorderPolicySql(capabilities: Capabilities, name: ObjectName, options: ReorderPolicyOptions): Sql {
  checkOptions(options)
  requireFeature(capabilities, 'reorder')
  const { schedule_interval: _, ...schedule } = scheduleArguments(options)
  return callFunction('add_reorder_policy', [regclass(name), sql.literal(options.index)], schedule)
}

/**
 * Writes the rows of a hypertable's older chunks in the order of an index from now on, by a job of the server: each chunk
 * once, when it is no longer among the three newest. Compressed chunks are passed over.
 * @throws PlanError DRIFT where a policy exists with another index and `ifNotExists` is not given.
 * @throws QueryError ALREADY_EXISTS where the same policy exists and `ifNotExists` is not given; NOT_FOUND.
 */
export async function addReorderPolicy(
  session: Session,
  name: ObjectName,
  options: ReorderPolicyOptions,
): Promise<ReorderPolicyResult> {
  checkOptions(options)
  const context = await readPolicyContext(session, name, 'reorder', options)
  if (context.relation.kind !== 'hypertable') throw notHypertable(context.relation, 'a hypertable')
  const [existing] = context.existing
  const differences = existing === undefined ? [] : compareReorder(existing, options)
  if (existing !== undefined && keepsExisting(context, differences, options.ifNotExists, 'removeReorderPolicy')) {
    return toResult(existing, false, differences)
  }
  const statement = addReorderPolicySql(context.capabilities, context.relation, options)
  return toResult(await createPolicy(session, context, statement), true, [])
}

/** The statement of {@link removeReorderPolicy}. @throws UnsupportedError EDITION_REQUIRED */
export function removeReorderPolicySql(capabilities: Capabilities, name: ObjectName, options: RemoveOptions = {}): Sql {
  checkKeys(options, REMOVE_KEYS, 'removeReorderPolicy')
  requireFeature(capabilities, 'reorder')
  return callFunction('remove_reorder_policy', [regclass(name)], { if_exists: optionalFlag(options.ifExists) })
}

/**
 * Ends the reordering of chunks by a job. What is reordered stays so.
 * @throws QueryError NOT_FOUND where there is no policy and `ifExists` is not given.
 */
export async function removeReorderPolicy(
  session: Session,
  name: ObjectName,
  options: RemoveOptions = {},
): Promise<RemoveResult> {
  checkKeys(options, REMOVE_KEYS, 'removeReorderPolicy')
  return removePolicy(session, name, 'reorder', options, removeReorderPolicySql)
}

function checkOptions(options: ReorderPolicyOptions): void {
  checkKeys(options, KEYS, 'addReorderPolicy')
  requireKeys(options, ['index'], 'addReorderPolicy')
}

function compareReorder(existing: Policy, options: ReorderPolicyOptions): Difference[] {
  return [
    ...compareSetting('index', configText(existing, 'index_name'), options.index),
    ...compareSchedule(existing, options),
  ]
}

function toResult(policy: Policy, created: boolean, differences: readonly Difference[]): ReorderPolicyResult {
  return { ...toPolicyResult(policy, created, differences), index: configText(policy, 'index_name') }
}
