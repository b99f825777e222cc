import { type Capabilities, requireFeature } from '../catalog/capabilities.ts'
import { getContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { timeTypeOf } from '../catalog/dimension.ts'
import type { Policy } from '../catalog/job.ts'
import type { Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import { callFunction } from '../sql/call.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'
import { compareSetting, type Difference } from './difference.ts'
import {
  compareSchedule,
  configText,
  createPolicy,
  keepsExisting,
  optionalFlag,
  POLICY_HINTS,
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
import { compareSpans, formatSpan, isSameSpan, requirePositive, type Span, spanLength, spanSql } from './span.ts'

/** What is refreshed, and when. */
export interface RefreshPolicyOptions extends ScheduleOptions {
  /** The beginning of the window, counted back from the run; null for everything that is older. */
  readonly startOffset: Span | null
  /** The end of the window, counted back from the run; null for everything that is newer. */
  readonly endOffset: Span | null
  readonly scheduleInterval: IntervalInput
  /** Reads data from object storage too. From TimescaleDB 2.18 on. */
  readonly includeTieredData?: boolean
  /** How many buckets one transaction refreshes; 0 is all in one. From TimescaleDB 2.19 on. */
  readonly bucketsPerBatch?: number
  /** At most so many batches in one run, the rest in the next; 0 is without limit. From TimescaleDB 2.19 on. */
  readonly maxBatchesPerExecution?: number
  /** True (the server's default) refreshes the newest batch first. From TimescaleDB 2.20 on. */
  readonly refreshNewestFirst?: boolean
}

const KEYS = Object.keys({
  ...SCHEDULE_KEYS,
  startOffset: true,
  endOffset: true,
  includeTieredData: true,
  bucketsPerBatch: true,
  maxBatchesPerExecution: true,
  refreshNewestFirst: true,
} satisfies Record<keyof RefreshPolicyOptions, true>)

/** What adding a refresh policy did. */
export interface RefreshPolicyResult extends PolicyResult {
  /** As it is now; undefined where it is open. */
  readonly startOffset: string | undefined
  readonly endOffset: string | undefined
  /** Undefined where the server's default holds. */
  readonly bucketsPerBatch: number | undefined
  readonly maxBatchesPerExecution: number | undefined
  readonly refreshNewestFirst: boolean | undefined
}

/**
 * The statement of {@link addContinuousAggregatePolicy}. `timeType` is the type of the aggregate's buckets; for a
 * smallint it must be given.
 * @throws UnsupportedError EDITION_REQUIRED, VERSION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL
 */
export function addContinuousAggregatePolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RefreshPolicyOptions & { readonly timeType?: TimeType },
): Sql {
  checkOptions(options, ['timeType'])
  requireFeature(capabilities, 'continuous-aggregate')
  if (options.includeTieredData !== undefined) requireFeature(capabilities, 'tiered-refresh')
  if (options.bucketsPerBatch !== undefined || options.maxBatchesPerExecution !== undefined) {
    requireFeature(capabilities, 'batched-refresh')
  }
  if (options.refreshNewestFirst !== undefined) requireFeature(capabilities, 'newest-first-refresh')
  const edge = (offset: Span | null): Sql => (offset === null ? sql.raw('NULL') : spanSql(offset, options.timeType))
  const count = (number: number | undefined): Sql | undefined =>
    number === undefined ? undefined : sql.literal(number)
  const { schedule_interval, ...schedule } = scheduleArguments(options)
  return callFunction('add_continuous_aggregate_policy', [regclass(name)], {
    start_offset: edge(options.startOffset),
    end_offset: edge(options.endOffset),
    schedule_interval,
    ...schedule,
    include_tiered_data: optionalFlag(options.includeTieredData),
    buckets_per_batch: count(options.bucketsPerBatch),
    max_batches_per_execution: count(options.maxBatchesPerExecution),
    refresh_newest_first: optionalFlag(options.refreshNewestFirst),
  })
}

/**
 * Refreshes a continuous aggregate from now on, by a job of the server.
 * @throws PlanError DRIFT where a policy for an overlapping window exists with other settings and `ifNotExists` is not
 *   given. Newer servers allow several policies whose windows do not overlap.
 * @throws QueryError ALREADY_EXISTS where the same policy exists and `ifNotExists` is not given; NOT_FOUND.
 */
export async function addContinuousAggregatePolicy(
  session: Session,
  name: ObjectName,
  options: RefreshPolicyOptions,
): Promise<RefreshPolicyResult> {
  checkOptions(options)
  const context = await readPolicyContext(session, name, 'refresh', options)
  await requirePolicySpan(session, context, 'startOffset', options.startOffset)
  await requirePolicySpan(session, context, 'endOffset', options.endOffset)
  const existing = context.existing.find((policy) => overlaps(policy, options))
  const differences = existing === undefined ? [] : compareRefresh(existing, options)
  if (existing !== undefined) {
    if (keepsExisting(context, differences, options.ifNotExists, 'removeContinuousAggregatePolicy')) {
      return toResult(existing, false, differences)
    }
    // The server says so with a code that stands for anything since it allows several policies.
    throw new QueryError('ALREADY_EXISTS', `The refresh policy of ${formatName(context.relation)} already exists.`, {
      sqlState: '42710',
      hint: POLICY_HINTS['42710'],
    })
  }
  const { bucketInterval, bucketColumnType } = await getContinuousAggregate(session, context.relation)
  const typed = { ...options, timeType: timeTypeOf(bucketColumnType) }
  const statement = addContinuousAggregatePolicySql(context.capabilities, context.relation, typed)
  const small = isSmall(options, bucketInterval)
    ? { '22023': `Let startOffset and endOffset be at least two buckets of ${bucketInterval} apart.` }
    : {}
  return toResult(await createPolicy(session, context, statement, small), true, [])
}

/** The statement of {@link removeContinuousAggregatePolicy}. @throws UnsupportedError EDITION_REQUIRED */
export function removeContinuousAggregatePolicySql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RemoveOptions = {},
): Sql {
  checkKeys(options, REMOVE_KEYS, 'removeContinuousAggregatePolicy')
  requireFeature(capabilities, 'continuous-aggregate')
  return callFunction('remove_continuous_aggregate_policy', [regclass(name)], {
    if_exists: optionalFlag(options.ifExists),
  })
}

/**
 * Ends the refreshing of a continuous aggregate by jobs.
 * @throws QueryError NOT_FOUND where there is no policy and `ifExists` is not given.
 */
export async function removeContinuousAggregatePolicy(
  session: Session,
  name: ObjectName,
  options: RemoveOptions = {},
): Promise<RemoveResult> {
  checkKeys(options, REMOVE_KEYS, 'removeContinuousAggregatePolicy')
  return removePolicy(session, name, 'refresh', options, removeContinuousAggregatePolicySql)
}

function checkOptions(options: RefreshPolicyOptions, more: readonly string[] = []): void {
  checkKeys(options, [...KEYS, ...more], 'addContinuousAggregatePolicy')
  requirePositive('scheduleInterval', options.scheduleInterval)
  const { startOffset, endOffset } = options
  if (startOffset === undefined || endOffset === undefined) {
    throw new UsageError('INVALID_OPTION', 'A refresh policy needs startOffset and endOffset; null leaves one open.')
  }
  for (const option of ['bucketsPerBatch', 'maxBatchesPerExecution'] as const) {
    const number = options[option]
    if (number === undefined || (Number.isInteger(number) && number >= 0 && number < 2 ** 31)) continue
    throw new UsageError('INVALID_OPTION', `${option} must be a whole number from 0 on.`)
  }
  if (startOffset === null || endOffset === null) return
  if (compareSpans(formatSpan(startOffset), formatSpan(endOffset)) <= 0) {
    const message = 'startOffset must be longer than endOffset: both count back from the run of the policy.'
    throw new UsageError('INVALID_OPTION', message)
  }
}

/** True where a window cannot hold two buckets, which the server refuses. */
function isSmall({ startOffset, endOffset }: RefreshPolicyOptions, bucketInterval: string | undefined): boolean {
  if (startOffset === null || endOffset === null || bucketInterval === undefined) return false
  return spanLength(formatSpan(startOffset)) - spanLength(formatSpan(endOffset)) < 2n * spanLength(bucketInterval)
}

/** True where two windows share a time; an open edge reaches as far as anything. */
function overlaps(policy: Policy, options: RefreshPolicyOptions): boolean {
  const isLonger = (start: string | undefined, end: string | undefined): boolean =>
    start === undefined || end === undefined || compareSpans(start, end) > 0
  const text = (offset: Span | null): string | undefined => (offset === null ? undefined : formatSpan(offset))
  return (
    isLonger(configText(policy, 'start_offset'), text(options.endOffset)) &&
    isLonger(text(options.startOffset), configText(policy, 'end_offset'))
  )
}

function compareRefresh(existing: Policy, options: RefreshPolicyOptions): Difference[] {
  const compareOffset = (setting: 'startOffset' | 'endOffset', key: string): Difference[] => {
    const offset = options[setting]
    const wanted = offset === null ? 'open' : formatSpan(offset)
    const isSame = (left: string, right: string): boolean =>
      left === 'open' || right === 'open' ? left === right : isSameSpan(left, right)
    return compareSetting(setting, configText(existing, key) ?? 'open', wanted, isSame)
  }
  return [
    ...compareOffset('startOffset', 'start_offset'),
    ...compareOffset('endOffset', 'end_offset'),
    ...compareSetting(
      'includeTieredData',
      configText(existing, 'include_tiered_data'),
      text(options.includeTieredData),
    ),
    ...compareSetting('bucketsPerBatch', configText(existing, 'buckets_per_batch'), text(options.bucketsPerBatch)),
    ...compareSetting(
      'maxBatchesPerExecution',
      configText(existing, 'max_batches_per_execution'),
      text(options.maxBatchesPerExecution),
    ),
    ...compareSetting(
      'refreshNewestFirst',
      configText(existing, 'refresh_newest_first'),
      text(options.refreshNewestFirst),
    ),
    ...compareSchedule(existing, options),
  ]
}

function text(value: number | boolean | undefined): string | undefined {
  return value === undefined ? undefined : String(value)
}

function toResult(policy: Policy, created: boolean, differences: readonly Difference[]): RefreshPolicyResult {
  const number = (key: string): number | undefined => {
    const value = policy.config[key]
    return typeof value === 'number' ? value : undefined
  }
  const newestFirst = policy.config['refresh_newest_first']
  return {
    ...toPolicyResult(policy, created, differences),
    startOffset: configText(policy, 'start_offset'),
    endOffset: configText(policy, 'end_offset'),
    bucketsPerBatch: number('buckets_per_batch'),
    maxBatchesPerExecution: number('max_batches_per_execution'),
    refreshNewestFirst: typeof newestFirst === 'boolean' ? newestFirst : undefined,
  }
}
