import type { Capabilities } from '../catalog/capabilities.ts'
import { requireFeature } from '../catalog/capabilities.ts'
import type { Policy } from '../catalog/job.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callFunction } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { checkKeys } from '../sql/option.ts'
import type { Sql } from '../sql/template.ts'
import type { Difference } from './difference.ts'
import {
  compareConfigSpan,
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
  requirePolicySpan,
  SCHEDULE_KEYS,
  type ScheduleOptions,
  scheduleArguments,
  toPolicyResult,
} from './policy.ts'
import { optionalInterval, requirePositive, type Span, spanSql } from './span.ts'

/** When old data is dropped; exactly one of `dropAfter` and `dropCreatedBefore`. */
export interface RetentionPolicyOptions extends ScheduleOptions {
  /** Chunks whose newest possible row is older than this are dropped; a number for an integer time column. */
  readonly dropAfter?: Span
  /** Chunks that were created longer ago than this are dropped, whatever times they hold. */
  readonly dropCreatedBefore?: IntervalInput
}

const KEYS = Object.keys({
  ...SCHEDULE_KEYS,
  dropAfter: true,
  dropCreatedBefore: true,
} satisfies Record<keyof RetentionPolicyOptions, true>)

/** What adding a retention policy did. */
export interface RetentionPolicyResult extends PolicyResult {
  /** As it is now. */
  readonly dropAfter: string | undefined
  readonly dropCreatedBefore: string | undefined
}

/**
 * The statement of {@link addRetentionPolicy}.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL
 */
export function addRetentionPolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RetentionPolicyOptions,
): Sql {
  requireFeature(capabilities, 'retention')
  checkOptions(options)
  return callFunction('add_retention_policy', [regclass(name)], {
    drop_after: options.dropAfter === undefined ? undefined : spanSql(options.dropAfter),
    drop_created_before: optionalInterval(options.dropCreatedBefore),
    ...scheduleArguments(options),
  })
}

/**
 * Drops old chunks of a hypertable or continuous aggregate from now on, by a job of the server. Nothing is dropped
 * before that job runs.
 * @throws PlanError DRIFT where a policy exists with other settings and `ifNotExists` is not given.
 * @throws QueryError ALREADY_EXISTS where the same policy exists and `ifNotExists` is not given; NOT_FOUND.
 */
export async function addRetentionPolicy(
  session: Session,
  name: ObjectName,
  options: RetentionPolicyOptions,
): Promise<RetentionPolicyResult> {
  checkOptions(options)
  const context = await readPolicyContext(session, name, 'retention', options)
  await requirePolicySpan(session, context, 'dropAfter', options.dropAfter)
  const [existing] = context.existing
  const differences = existing === undefined ? [] : compareRetention(existing, options)
  if (existing !== undefined && keepsExisting(context, differences, options.ifNotExists, 'removeRetentionPolicy')) {
    return toResult(existing, false, differences)
  }
  const statement = addRetentionPolicySql(context.capabilities, context.relation, options)
  return toResult(await createPolicy(session, context, statement), true, [])
}

/** The statement of {@link removeRetentionPolicy}. @throws UnsupportedError EDITION_REQUIRED */
export function removeRetentionPolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RemoveOptions = {},
): Sql {
  checkKeys(options, REMOVE_KEYS, 'removeRetentionPolicy')
  requireFeature(capabilities, 'retention')
  return callFunction('remove_retention_policy', [regclass(name)], { if_exists: optionalFlag(options.ifExists) })
}

/**
 * Ends the dropping of old chunks. What is dropped stays dropped.
 * @throws QueryError NOT_FOUND where there is no policy and `ifExists` is not given.
 */
export async function removeRetentionPolicy(
  session: Session,
  name: ObjectName,
  options: RemoveOptions = {},
): Promise<RemoveResult> {
  checkKeys(options, REMOVE_KEYS, 'removeRetentionPolicy')
  return removePolicy(session, name, 'retention', options, removeRetentionPolicySql)
}

function checkOptions(options: RetentionPolicyOptions): void {
  checkKeys(options, KEYS, 'addRetentionPolicy')
  if ((options.dropAfter === undefined) === (options.dropCreatedBefore === undefined)) {
    throw new UsageError('INVALID_OPTION', 'A retention policy needs either dropAfter or dropCreatedBefore.')
  }
  requirePositive('dropAfter', options.dropAfter)
  requirePositive('dropCreatedBefore', options.dropCreatedBefore)
  requirePositive('scheduleInterval', options.scheduleInterval)
}

function compareRetention(existing: Policy, options: RetentionPolicyOptions): Difference[] {
  return [
    ...compareConfigSpan(existing, 'drop_after', 'dropAfter', options.dropAfter),
    ...compareConfigSpan(existing, 'drop_created_before', 'dropCreatedBefore', options.dropCreatedBefore),
    ...compareSchedule(existing, options),
  ]
}

function toResult(policy: Policy, created: boolean, differences: readonly Difference[]): RetentionPolicyResult {
  return {
    ...toPolicyResult(policy, created, differences),
    dropAfter: configText(policy, 'drop_after'),
    dropCreatedBefore: configText(policy, 'drop_created_before'),
  }
}
