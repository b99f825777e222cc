import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { getContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { timeTypeOf } from '../catalog/dimension.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callProcedure } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareTimes, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { optionalFlag, regclass } from './policy.ts'
import { splitWindow } from './refresh-batch.ts'
import { refuseLoss } from './refresh-loss.ts'
import type { Span } from './span.ts'

/** What is refreshed. */
export interface RefreshOptions {
  /** The first time to refresh; left out, everything that is older too. */
  readonly startTime?: TimeInput
  /** The end, not included; left out, everything that is newer too. */
  readonly endTime?: TimeInput
  /** Refreshes what is up to date as well. From TimescaleDB 2.18 on. */
  readonly force?: boolean
  /** Allows the loss of buckets whose raw data is gone. */
  readonly allowLoss?: boolean
  /** Refreshes so much at a time, oldest first: what is done stays done when the call fails or is cancelled. */
  readonly batch?: Span
  /** Called after each batch. */
  readonly onProgress?: (progress: RefreshProgress) => void
  readonly signal?: AbortSignal
}

/** How far a refresh in batches is. */
export interface RefreshProgress {
  readonly done: number
  readonly total: number
  /** Everything before this time is done; undefined at the end of a window that is open. */
  readonly endTime: TimeInput | undefined
}

const KEYS = Object.keys({
  startTime: true,
  endTime: true,
  force: true,
  allowLoss: true,
  batch: true,
  onProgress: true,
  signal: true,
} satisfies Record<keyof RefreshOptions, true>)

/** What {@link refreshContinuousAggregate} did. */
export interface RefreshResult {
  readonly schema: string
  readonly name: string
  /** False where the server found nothing to refresh. */
  readonly refreshed: boolean
}

/**
 * The statement of {@link refreshContinuousAggregate}. `timeType` is the type of the aggregate's buckets.
 * @throws UnsupportedError EDITION_REQUIRED, VERSION_REQUIRED; UsageError INVALID_TIME, INVALID_OPTION
 */
export function refreshContinuousAggregateSql(
  capabilities: Capabilities,
  name: ObjectName,
  options: RefreshOptions & { readonly timeType?: TimeType } = {},
): Sql {
  checkKeys(options, [...KEYS, 'timeType'], 'refreshContinuousAggregate')
  requireFeature(capabilities, 'continuous-aggregate')
  if (options.force !== undefined) requireFeature(capabilities, 'forced-refresh')
  checkWindow(options)
  const type = options.timeType ?? (isInteger(options) ? 'bigint' : 'timestamptz')
  const edge = (time: TimeInput | undefined): Sql => (time === undefined ? sql.raw('NULL') : timeSql(time, type))
  return callProcedure(
    'refresh_continuous_aggregate',
    [regclass(name), edge(options.startTime), edge(options.endTime)],
    {
      force: optionalFlag(options.force),
    },
  )
}

/**
 * Brings a continuous aggregate up to date between two times, whole buckets only.
 *
 * Dropping chunks counts as a change of what they held, so a refresh that reaches below them deletes the aggregate's
 * history. That is refused unless `allowLoss` is given.
 * @throws PlanError DATA_LOSS_REFUSED; the message names the buckets, the hint the oldest safe `startTime`.
 * @throws UsageError INVALID_OPTION for a window the wrong way round, and within a transaction.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND, QUERY_CANCELLED
 */
export async function refreshContinuousAggregate(
  session: Session,
  name: ObjectName,
  options: RefreshOptions = {},
): Promise<RefreshResult> {
  checkKeys(options, KEYS, 'refreshContinuousAggregate')
  checkWindow(options)
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'continuous-aggregate')
  if (session.inTransaction) {
    throw new UsageError('INVALID_OPTION', 'A continuous aggregate cannot be refreshed within a transaction.', {
      hint: 'Refresh it after the commit.',
    })
  }
  const aggregate = await getContinuousAggregate(session, name)
  const timeType = timeTypeOf(aggregate.bucketColumnType)
  const { batch, startTime, endTime, force, allowLoss, signal, onProgress } = options
  // All of it, before anything is done.
  if (allowLoss !== true) await refuseLoss(session, aggregate, { ...options, timeType })
  const whole = { ...(startTime !== undefined && { startTime }), ...(endTime !== undefined && { endTime }) }
  const parts = batch === undefined ? [whole] : await splitWindow(session, aggregate, { ...whole, timeType }, batch)
  let refreshed = false
  for (const [index, part] of parts.entries()) {
    const own = { ...part, ...(force !== undefined && { force }), timeType }
    const statement = refreshContinuousAggregateSql(capabilities, aggregate, own)
    const { notices } = await session.query(statement, signal === undefined ? {} : { signal })
    // The only plain notice of this procedure says that there was nothing to do; it has no code of its own.
    refreshed ||= !notices.some((notice) => notice.sqlState === '00000')
    onProgress?.({ done: index + 1, total: parts.length, endTime: part.endTime })
  }
  return { schema: aggregate.schema, name: aggregate.name, refreshed }
}

function checkWindow({ startTime, endTime }: RefreshOptions): void {
  if (startTime === undefined || endTime === undefined) return
  if ((compareTimes(startTime, endTime) ?? -1) < 0) return
  throw new UsageError('INVALID_OPTION', 'The window of the refresh is empty: startTime must be before endTime.')
}

function isInteger({ startTime, endTime }: RefreshOptions): boolean {
  return [startTime, endTime].some((time) => typeof time === 'number' || typeof time === 'bigint')
}
