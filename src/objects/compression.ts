import { type Capabilities, can, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { listColumns, requireColumns } from '../catalog/column-name.ts'
import { type CompressionSettings, type OrderByColumn, readCompressionSettings } from '../catalog/compression.ts'
import { listDimensions } from '../catalog/dimension.ts'
import { getTimeRelation, type Relation, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { formatName, type ObjectName, quoteIdentifier } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareSetting, type Difference, refuseDrift } from './difference.ts'
import { formatOrderBy, type OrderByInput, parseColumns, parseOrderBy } from './order-by.ts'

/** How rows are compressed. */
export interface CompressionOptions {
  /** Columns whose values stay uncompressed and are the same in a batch: filter by them. `[]` for none. */
  readonly segmentBy?: string | readonly string[]
  /** How rows are sorted before they are put into batches. */
  readonly orderBy?: OrderByInput | readonly OrderByInput[]
}

/** The names of the options in {@link CompressionOptions}. */
export const SETTING_KEYS: Readonly<Record<keyof CompressionOptions, true>> = { segmentBy: true, orderBy: true }

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
  checkCompression(options)
  return enableSql(capabilities, name, options, options.kind ?? 'hypertable')
}

/** {@link enableCompressionSql} with the kind of relation apart. */
export function enableSql(
  capabilities: Capabilities,
  name: ObjectName,
  options: CompressionOptions,
  kind: StorageKind,
): Sql {
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

/** What {@link enableCompression} did. */
export interface EnableCompressionResult {
  /** False where it was enabled already, with the settings asked for. */
  readonly enabled: boolean
  /** As it is now; empty where the server chooses. */
  readonly segmentBy: readonly string[]
  readonly orderBy: readonly OrderByColumn[]
}

/**
 * Enables compression of a hypertable or continuous aggregate. Nothing is compressed before `compressChunk`,
 * `compressChunks` or a policy does it. Settings that exist are never changed.
 * @throws PlanError DRIFT where it is enabled with other settings.
 * @throws QueryError NOT_FOUND, also for a column, HYPERTABLE_NOT_FOUND; UsageError INVALID_OPTION
 */
export async function enableCompression(
  session: Session,
  name: ObjectName,
  options: CompressionOptions = {},
): Promise<EnableCompressionResult> {
  checkKeys(options, Object.keys(SETTING_KEYS), 'enableCompression')
  checkCompression(options)
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'compression')
  const relation = await getTimeRelation(session, name)
  const { needsSettings, differences } = await readCompression(session, relation, options)
  if (differences.length > 0) throw compressionDrift(relation, differences)
  if (needsSettings) await session.query(enableSql(capabilities, relation, options, storageKindOf(relation)))
  const { segmentBy, orderBy } = await readCompressionSettings(session, relation)
  return { enabled: needsSettings, segmentBy, orderBy }
}

/**
 * Refuses what can be seen to be wrong in the options alone.
 * @throws UsageError INVALID_OPTION, INVALID_IDENTIFIER
 */
export function checkCompression(options: CompressionOptions): void {
  const segmentBy = options.segmentBy === undefined ? [] : parseColumns(options.segmentBy)
  const orderBy = options.orderBy === undefined ? [] : parseOrderBy(options.orderBy)
  for (const column of [...segmentBy, ...orderBy.map((order) => order.column)]) quoteIdentifier(column)
  const both = orderBy.find(({ column }) => segmentBy.includes(column))
  if (both === undefined) return
  throw new UsageError('INVALID_OPTION', `The column ${JSON.stringify(both.column)} is in segmentBy and in orderBy.`, {
    hint: 'All rows of a batch have the same value in a segmentBy column: leave it out of orderBy.',
  })
}

/** Whether an ALTER must say table or view. */
export function storageKindOf(relation: Relation): StorageKind {
  return relation.kind === 'continuous-aggregate' ? 'continuous-aggregate' : 'hypertable'
}

/**
 * Whether compression must be enabled or completed for these options, and else how its settings differ from them.
 * @throws QueryError NOT_FOUND for a column that does not exist.
 */
export async function readCompression(
  session: Session,
  relation: Relation & { readonly storage: RelationName },
  options: CompressionOptions,
): Promise<{ readonly needsSettings: boolean; readonly differences: readonly Difference[] }> {
  if (options.segmentBy !== undefined || options.orderBy !== undefined) {
    const columns = await listColumns(session, { schema: relation.schema, name: relation.name })
    requireColumns(relation, columns, parseColumns(options.segmentBy ?? []), 'segmentBy')
    const order = options.orderBy === undefined ? [] : parseOrderBy(options.orderBy)
    requireColumns(
      relation,
      columns,
      order.map(({ column }) => column),
      'orderBy',
    )
  }
  const settings = await readCompressionSettings(session, relation)
  if (isIncomplete(settings, options)) return { needsSettings: true, differences: [] }
  const [time] = await listDimensions(session, relation.storage)
  return { needsSettings: false, differences: compareCompression(settings, options, time?.column) }
}

/** The refusal to change how a relation is compressed. */
export function compressionDrift(relation: Relation, differences: readonly Difference[]): Error {
  const view = storageKindOf(relation) === 'continuous-aggregate' ? 'materialized view' : 'table'
  return refuseDrift(
    'Compression of',
    relation,
    differences,
    `Call removeCompressionPolicy first, or change the settings yourself: alter ${view} ${formatName(relation)} set (…)`,
  )
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
