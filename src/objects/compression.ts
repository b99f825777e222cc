import { type Capabilities, can, requireFeature } from '../catalog/capabilities.ts'
import { type CompressionSettings, type OrderByColumn, readCompressionSettings } from '../catalog/compression.ts'
import { listDimensions } from '../catalog/dimension.ts'
import type { Policy } from '../catalog/job.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callFunction, callProcedure } from '../sql/call.ts'
import { formatName, type ObjectName, quoteIdentifier } from '../sql/identifier.ts'
import type { IntervalInput } from '../sql/interval.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareSetting, type Difference, refuseDrift } from './difference.ts'
import { formatOrderBy, type OrderByInput, parseColumns, parseOrderBy } from './order-by.ts'
import {
  compareConfigSpan,
  compareSchedule,
  configText,
  findNewPolicy,
  optionalFlag,
  type PolicyContext,
  type PolicyResult,
  REMOVE_KEYS,
  type RemoveOptions,
  type RemoveResult,
  readPolicyContext,
  regclass,
  SCHEDULE_KEYS,
  type ScheduleOptions,
  scheduleArguments,
} from './policy.ts'
import { optionalInterval, requirePositive, type Span, spanSql } from './span.ts'

/** How rows are compressed. */
export interface CompressionOptions {
  /** Columns whose values stay uncompressed and are the same in a batch: filter by them. `[]` for none. */
  readonly segmentBy?: string | readonly string[]
  /** How rows are sorted before they are put into batches. */
  readonly orderBy?: OrderByInput | readonly OrderByInput[]
}

const SETTING_KEYS = { segmentBy: true, orderBy: true } as const satisfies Record<keyof CompressionOptions, true>

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
  readonly scheduleInterval: string
}

/** Whether a relation is a table or a view, for statements that must name it. */
export type StorageKind = 'hypertable' | 'continuous-aggregate'

/**
 * The statement that enables compression of a hypertable or continuous aggregate.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION
 */
export function enableCompressionSql(
  capabilities: Capabilities,
  name: ObjectName,
  options: CompressionOptions & { readonly kind?: StorageKind } = {},
): Sql {
  checkKeys(options, [...Object.keys(SETTING_KEYS), 'kind'], 'enableCompression')
  return enableSql(capabilities, name, options, options.kind ?? 'hypertable')
}

function enableSql(capabilities: Capabilities, name: ObjectName, options: CompressionOptions, kind: StorageKind): Sql {
  requireFeature(capabilities, 'compression')
  const columnstore = can(capabilities, 'columnstore')
  const settings = [sql.raw(columnstore ? 'timescaledb.enable_columnstore = true' : 'timescaledb.compress = true')]
  const prefix = columnstore ? 'timescaledb.' : 'timescaledb.compress_'
  if (options.segmentBy !== undefined) {
    const columns = parseColumns(options.segmentBy).map(quoteIdentifier).join(', ')
    settings.push(sql`${sql.raw(`${prefix}segmentby`)} = ${sql.literal(columns)}`)
  }
  if (options.orderBy !== undefined) {
    const order = formatOrderBy(parseOrderBy(options.orderBy))
    settings.push(sql`${sql.raw(`${prefix}orderby`)} = ${sql.literal(order)}`)
  }
  const noun = sql.raw(kind === 'continuous-aggregate' ? 'materialized view' : 'table')
  return sql`alter ${noun} ${sql.name(name)} set (${sql.join(settings)})`
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
  const context = await readPolicyContext(session, name, 'compression', 'compression')
  const settings = await readCompressionSettings(session, context.relation)
  const needsSettings = isIncomplete(settings, options)
  const [time] = await listDimensions(session, context.relation.storage)
  const drift = needsSettings ? [] : compareCompression(settings, options, time?.column)
  const [existing] = context.existing
  if (existing !== undefined) {
    const differences = [...drift, ...comparePolicy(existing, options)]
    if (options.ifNotExists === true) return toResult(existing, false, false, differences)
    if (differences.length > 0) throw driftError(context, differences)
  }
  if (drift.length > 0) throw driftError(context, drift)
  return session.transaction(async (inner) => {
    if (needsSettings && existing === undefined) {
      const kind = context.relation.kind === 'continuous-aggregate' ? 'continuous-aggregate' : 'hypertable'
      await inner.query(enableSql(context.capabilities, context.relation, options, kind))
    }
    await inner.query(addCompressionPolicySql(context.capabilities, context.relation, options))
    return toResult(await findNewPolicy(inner, context, 'compression'), true, needsSettings, [])
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
  const context = await readPolicyContext(session, name, 'compression', 'compression')
  if (context.existing.length === 0 && options.ifExists === true) return { removed: false }
  await session.query(removeCompressionPolicySql(context.capabilities, context.relation, options))
  return { removed: true }
}

function checkOptions(options: CompressionPolicyOptions): void {
  checkKeys(options, POLICY_KEYS, 'addCompressionPolicy')
  if ((options.compressAfter === undefined) === (options.compressCreatedBefore === undefined)) {
    throw new UsageError('INVALID_OPTION', 'A compression policy needs either compressAfter or compressCreatedBefore.')
  }
  requirePositive('compressAfter', options.compressAfter)
  requirePositive('compressCreatedBefore', options.compressCreatedBefore)
  requirePositive('scheduleInterval', options.scheduleInterval)
}

/** True where nothing is set yet that this call could contradict. */
function isIncomplete(settings: CompressionSettings, options: CompressionOptions): boolean {
  if (!settings.enabled) return true
  const isAutomatic = settings.segmentBy.length === 0 && settings.orderBy.length === 0
  return isAutomatic && (options.segmentBy !== undefined || options.orderBy !== undefined)
}

function compareCompression(
  settings: CompressionSettings,
  options: CompressionOptions,
  timeColumn: string | undefined,
): Difference[] {
  const show = (columns: readonly string[]): string => columns.map(quoteIdentifier).join(', ')
  const showOrder = (columns: readonly OrderByColumn[]): string => formatOrderBy(columns)
  const segmentBy = options.segmentBy === undefined ? undefined : show(parseColumns(options.segmentBy))
  const order = options.orderBy === undefined ? [] : parseOrderBy(options.orderBy)
  // The server puts the time column at the end of an order that lacks it, newest first.
  if (timeColumn !== undefined && !order.some(({ column }) => column === timeColumn)) {
    order.push({ column: timeColumn, direction: 'desc', nulls: 'first' })
  }
  const orderBy = options.orderBy === undefined ? undefined : showOrder(order)
  return [
    ...compareSetting('segmentBy', show(settings.segmentBy), segmentBy).map(named),
    ...compareSetting('orderBy', showOrder(settings.orderBy), orderBy).map(named),
  ]
}

function named(difference: Difference): Difference {
  return {
    setting: difference.setting,
    existing: difference.existing === '' ? '(none)' : difference.existing,
    wanted: difference.wanted === '' ? '(none)' : difference.wanted,
  }
}

function comparePolicy(existing: Policy, options: CompressionPolicyOptions): Difference[] {
  return [
    ...compareConfigSpan(existing, 'compress_after', 'compressAfter', options.compressAfter),
    ...compareConfigSpan(existing, 'compress_created_before', 'compressCreatedBefore', options.compressCreatedBefore),
    ...compareSchedule(existing, options),
  ]
}

function driftError(context: PolicyContext, differences: readonly Difference[]): Error {
  const view = context.relation.kind === 'continuous-aggregate' ? 'materialized view' : 'table'
  return refuseDrift(
    'Compression of',
    context.relation,
    differences,
    `Call removeCompressionPolicy first, or change the settings yourself: alter ${view} ${formatName(context.relation)} set (…)`,
  )
}

function toResult(
  policy: Policy,
  created: boolean,
  compressionEnabled: boolean,
  differences: readonly Difference[],
): CompressionPolicyResult {
  return {
    created,
    jobId: policy.jobId,
    differences,
    compressionEnabled,
    compressAfter: configText(policy, 'compress_after'),
    compressCreatedBefore: configText(policy, 'compress_created_before'),
    scheduleInterval: policy.scheduleInterval,
  }
}
