import { type Capabilities, can, requireFeature } from '../catalog/capabilities.ts'
import type { Policy } from '../catalog/job.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callFunction, callProcedure } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { checkKeys } from '../sql/option.ts'
import type { Sql } from '../sql/template.ts'
import {
  type CompressionOptions,
  checkCompression,
  compressionDrift,
  enableSql,
  readCompression,
  SETTING_KEYS,
  storageKindOf,
} from './compression.ts'
import type { Difference } from './difference.ts'
import {
  compareConfigSpan,
  compareSchedule,
  configText,
  createPolicy,
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

/** When and how chunks are compressed; exactly one of `compressAfter` and `compressCreatedBefore`. */
export interface CompressionPolicyOptions extends CompressionOptions, ScheduleOptions {
  /** Chunks whose newest possible row is older than this are compressed; a number for an integer time column. */
  readonly compressAfter?: Span
  /** Chunks that were created longer ago than this are compressed, whatever times they hold. */
  readonly compressCreatedBefore?: IntervalInput
}

const POLICY_KEYS = Object.keys({
  ...SETTING_KEYS,
  ...SCHEDULE_KEYS,
  compressAfter: true,
  compressCreatedBefore: true,
} satisfies Record<keyof CompressionPolicyOptions, true>)

/** What adding a compression policy did. */
export interface CompressionPolicyResult extends PolicyResult {
  /** True where this call enabled compression or completed its settings. */
  readonly compressionEnabled: boolean
  /** As it is now. */
  readonly compressAfter: string | undefined
  readonly compressCreatedBefore: string | undefined
}

/**
 * The statement that adds the policy; compression must be enabled.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL
 */
export function addCompressionPolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: CompressionPolicyOptions,
): Sql {
  requireFeature(capabilities, 'compression')
  checkOptions(options)
  const after = options.compressAfter === undefined ? undefined : spanSql(options.compressAfter)
  const createdBefore = optionalInterval(options.compressCreatedBefore)
  const schedule = scheduleArguments(options)
  if (can(capabilities, 'columnstore')) {
    return callProcedure('add_columnstore_policy', [regclass(name)], {
      after,
      created_before: createdBefore,
      ...schedule,
    })
  }
  return callFunction('add_compression_policy', [regclass(name)], {
    compress_after: after,
    compress_created_before: createdBefore,
    ...schedule,
  })
}

/**
 * Compresses chunks of a hypertable or continuous aggregate once they are old enough, by a job of the server. Enables
 * compression where it is not enabled, and never changes the settings of a table that has them.
 * @throws PlanError DRIFT where compression or a policy exists with other settings. With `ifNotExists` that is no error
 *   for a policy that is there already: `differences` lists it.
 * @throws QueryError ALREADY_EXISTS where the same policy exists and `ifNotExists` is not given; NOT_FOUND.
 */
export async function addCompressionPolicy(
  session: Session,
  name: ObjectName,
  options: CompressionPolicyOptions,
): Promise<CompressionPolicyResult> {
  checkOptions(options)
  const context = await readPolicyContext(session, name, 'compression', options)
  await requirePolicySpan(session, context, 'compressAfter', options.compressAfter)
  const { needsSettings, differences: drift } = await readCompression(session, context.relation, options)
  const [existing] = context.existing
  if (existing !== undefined) {
    const differences = [...drift, ...comparePolicy(existing, options)]
    if (options.ifNotExists === true) return toResult(existing, false, false, differences)
    if (differences.length > 0) throw compressionDrift(context.relation, differences)
  }
  if (drift.length > 0) throw compressionDrift(context.relation, drift)
  return session.transaction(async (inner) => {
    if (needsSettings && existing === undefined) {
      await inner.query(enableSql(context.capabilities, context.relation, options, storageKindOf(context.relation)))
    }
    const statement = addCompressionPolicySql(context.capabilities, context.relation, options)
    return toResult(await createPolicy(inner, context, statement), true, needsSettings, [])
  })
}

/** The statement of {@link removeCompressionPolicy}. @throws UnsupportedError EDITION_REQUIRED */
export function removeCompressionPolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RemoveOptions = {},
): Sql {
  checkKeys(options, REMOVE_KEYS, 'removeCompressionPolicy')
  requireFeature(capabilities, 'compression')
  const named = { if_exists: optionalFlag(options.ifExists) }
  return can(capabilities, 'columnstore')
    ? callProcedure('remove_columnstore_policy', [regclass(name)], named)
    : callFunction('remove_compression_policy', [regclass(name)], named)
}

/**
 * Ends the compression of further chunks. What is compressed stays so.
 * @throws QueryError NOT_FOUND where there is no policy and `ifExists` is not given.
 */
export async function removeCompressionPolicy(
  session: Session,
  name: ObjectName,
  options: RemoveOptions = {},
): Promise<RemoveResult> {
  checkKeys(options, REMOVE_KEYS, 'removeCompressionPolicy')
  return removePolicy(session, name, 'compression', options, removeCompressionPolicySql)
}

function checkOptions(options: CompressionPolicyOptions): void {
  checkKeys(options, POLICY_KEYS, 'addCompressionPolicy')
  checkCompression(options)
  if ((options.compressAfter === undefined) === (options.compressCreatedBefore === undefined)) {
    throw new UsageError('INVALID_OPTION', 'A compression policy needs either compressAfter or compressCreatedBefore.')
  }
  requirePositive('compressAfter', options.compressAfter)
  requirePositive('compressCreatedBefore', options.compressCreatedBefore)
  requirePositive('scheduleInterval', options.scheduleInterval)
}

function comparePolicy(existing: Policy, options: CompressionPolicyOptions): Difference[] {
  return [
    ...compareConfigSpan(existing, 'compress_after', 'compressAfter', options.compressAfter),
    ...compareConfigSpan(existing, 'compress_created_before', 'compressCreatedBefore', options.compressCreatedBefore),
    ...compareSchedule(existing, options),
  ]
}

function toResult(
  policy: Policy,
  created: boolean,
  compressionEnabled: boolean,
  differences: readonly Difference[],
): CompressionPolicyResult {
  return {
    ...toPolicyResult(policy, created, differences),
    compressionEnabled,
    compressAfter: configText(policy, 'compress_after'),
    compressCreatedBefore: configText(policy, 'compress_created_before'),
  }
}
