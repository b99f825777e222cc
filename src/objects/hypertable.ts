import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { listColumns, requireColumns } from '../catalog/column-name.ts'
import { type Dimension, listDimensions } from '../catalog/dimension.ts'
import {
  findRelation,
  getRelation,
  getTimeRelation,
  notHypertable,
  type RelationName,
  relationNotFound,
} from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import { callFunction, functionExpression } from '../sql/call.ts'
import { type ObjectName, parseName } from '../sql/identifier.ts'
import { checkKeys, requireKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareSetting, type Difference, refuseDrift } from './difference.ts'
import { withHint, withHints } from './hint.ts'
import { optionalFlag, regclass, regproc } from './policy.ts'
import { formatSpan, isSameSpan, requirePositive, requireSpanKind, type Span, spanSql } from './span.ts'
import { explainUniqueIndexes } from './unique-index.ts'

/** One hash dimension. */
export interface HashPartition {
  readonly column: string
  /** How many partitions, 1 to 32767. */
  readonly number: number
}

const PARTITION_KEYS = Object.keys({ column: true, number: true } satisfies Record<keyof HashPartition, true>)

/** How a table becomes a hypertable. */
export interface HypertableOptions {
  /** A column of type timestamptz, timestamp, date, smallint, integer, bigint or (newer servers) uuid of version 7. */
  readonly timeColumn: string
  /** The length of a chunk: an interval, or a number for an integer time column. The server's default is 7 days. */
  readonly chunkTimeInterval?: Span
  /** One hash dimension, with `numberPartitions`. For more use `partitions`. */
  readonly partitioningColumn?: string
  readonly numberPartitions?: number
  /** Hash dimensions, besides `partitioningColumn` where that is given. */
  readonly partitions?: readonly HashPartition[]
  /**
   * A hypertable that exists is no error: the result then says `created: false` and, in `differences`, every setting
   * that is not as asked for.
   */
  readonly ifNotExists?: boolean
  /** Moves the rows that are in the table into chunks. It locks the table while it does. */
  readonly migrateData?: boolean
  /** False leaves out the index on the time column (and partitioning column) that the server makes. */
  readonly createDefaultIndexes?: boolean
  /** The schema of the chunks; it is created where it does not exist. */
  readonly associatedSchema?: string
  /** The beginning of the chunks' names. */
  readonly associatedTablePrefix?: string
  /** The function without arguments that says what time it is, for an integer time column; policies need it. */
  readonly integerNowFunction?: ObjectName
  /** A function that makes a time from the column's value. */
  readonly timePartitioningFunction?: ObjectName
}

const KEYS = Object.keys({
  timeColumn: true,
  chunkTimeInterval: true,
  partitioningColumn: true,
  numberPartitions: true,
  partitions: true,
  ifNotExists: true,
  migrateData: true,
  createDefaultIndexes: true,
  associatedSchema: true,
  associatedTablePrefix: true,
  integerNowFunction: true,
  timePartitioningFunction: true,
} satisfies Record<keyof HypertableOptions, true>)

/** What {@link createHypertable} did. */
export interface HypertableResult {
  readonly schema: string
  readonly name: string
  /** False where it was a hypertable already. It was left as it is. */
  readonly created: boolean
  /** As they are now. */
  readonly dimensions: readonly Dimension[]
  /** Empty unless it was a hypertable with other settings. */
  readonly differences: readonly Difference[]
}

/**
 * The statements of {@link createHypertable}, to be run in one transaction.
 * @throws UnsupportedError EXTENSION_MISSING, VERSION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL
 */
export function createHypertableSql(capabilities: Capabilities, name: ObjectName, options: HypertableOptions): Sql[] {
  const partitions = checkOptions(options)
  requireFeature(capabilities, 'hypertable')
  const table = regclass(name)
  const isGeneral = options.associatedSchema === undefined && options.associatedTablePrefix === undefined
  const statements = [isGeneral ? generalFormSql(table, options) : namedFormSql(table, options)]
  for (const { column, number } of partitions) {
    const hash = functionExpression('by_hash', [sql.literal(column), sql.literal(number)])
    statements.push(callFunction('add_dimension', [table, hash]))
  }
  if (options.integerNowFunction !== undefined) {
    statements.push(callFunction('set_integer_now_func', [table, regproc(options.integerNowFunction)]))
  }
  return statements
}

function generalFormSql(table: Sql, options: HypertableOptions): Sql {
  const range = functionExpression(
    'by_range',
    [
      sql.literal(options.timeColumn),
      ...(options.chunkTimeInterval === undefined ? [] : [spanSql(options.chunkTimeInterval)]),
    ],
    { partition_func: optionalFunction(options.timePartitioningFunction) },
  )
  return callFunction('create_hypertable', [table, range], {
    create_default_indexes: optionalFlag(options.createDefaultIndexes),
    if_not_exists: optionalFlag(options.ifNotExists),
    migrate_data: optionalFlag(options.migrateData),
  })
}

/** The older form of the function: the newer one, with by_range, cannot say where chunks go. */
function namedFormSql(table: Sql, options: HypertableOptions): Sql {
  const { associatedSchema, associatedTablePrefix, chunkTimeInterval } = options
  return callFunction('create_hypertable', [table, sql.literal(options.timeColumn)], {
    associated_schema_name: associatedSchema === undefined ? undefined : sql.literal(associatedSchema),
    associated_table_prefix: associatedTablePrefix === undefined ? undefined : sql.literal(associatedTablePrefix),
    chunk_time_interval: chunkTimeInterval === undefined ? undefined : spanSql(chunkTimeInterval),
    create_default_indexes: optionalFlag(options.createDefaultIndexes),
    if_not_exists: optionalFlag(options.ifNotExists),
    migrate_data: optionalFlag(options.migrateData),
    time_partitioning_func: optionalFunction(options.timePartitioningFunction),
  })
}

/**
 * Makes a table a hypertable, with all its dimensions or not at all.
 * @throws PlanError DRIFT where it is a hypertable with other settings and `ifNotExists` is not given.
 * @throws QueryError HYPERTABLE_EXISTS where it is one already and `ifNotExists` is not given; NOT_FOUND, also for a
 *   column, whose nearest name is then the hint.
 * @throws QueryError CONSTRAINT_VIOLATION where a primary key or unique index lacks a partitioning column: the message
 *   names it, the hint is the statement that repairs it.
 */
export async function createHypertable(
  session: Session,
  name: ObjectName,
  options: HypertableOptions,
): Promise<HypertableResult> {
  const partitions = checkOptions(options)
  const capabilities = await readCapabilities(session)
  const statements = createHypertableSql(capabilities, name, options)
  const relation = await getRelation(session, name)
  const target = { schema: relation.schema, name: relation.name }
  await checkColumns(session, target, partitions, options)
  if (relation.kind === 'hypertable') {
    const dimensions = await listDimensions(session, target)
    const differences = compareDimensions(dimensions, options)
    if (options.ifNotExists === true) return { ...target, created: false, dimensions, differences }
    const hint = 'Give ifNotExists: true to keep it as it is.'
    if (differences.length > 0) throw refuseDrift('The hypertable', target, differences, hint)
  }
  const partitioning = [options.timeColumn, ...partitions.map((partition) => partition.column)]
  try {
    await session.transaction(async (inner) => {
      for (const statement of statements) await inner.query(statement)
    })
  } catch (error) {
    throw error instanceof QueryError ? await explainRefusal(session, target, partitioning, options, error) : error
  }
  return { ...target, created: true, dimensions: await listDimensions(session, target), differences: [] }
}

async function checkColumns(
  session: Session,
  table: RelationName,
  partitions: readonly HashPartition[],
  options: HypertableOptions,
): Promise<void> {
  const columns = await listColumns(session, table)
  requireColumns(table, columns, [options.timeColumn], 'timeColumn')
  const hashed = partitions.map((partition) => partition.column)
  requireColumns(table, columns, hashed, options.partitions === undefined ? 'partitioningColumn' : 'partitions')
  // With a function the times are of the type that it gives.
  if (options.timePartitioningFunction !== undefined) return
  const time = columns.find((column) => column.name === options.timeColumn)
  requireSpanKind('chunkTimeInterval', options.chunkTimeInterval, time?.type)
}

/** The server's refusal with a hint that names our options, as far as the SQLSTATE and a look at the table tell why. */
async function explainRefusal(
  session: Session,
  table: RelationName,
  partitioningColumns: readonly string[],
  options: HypertableOptions,
  error: QueryError,
): Promise<QueryError> {
  if (error.code === 'HYPERTABLE_EXISTS') return withHint(error, 'Give ifNotExists: true to keep it as it is.')
  if (error.sqlState !== '0A000' || options.migrateData === true) {
    return explainUniqueIndexes(session, table, partitioningColumns, error)
  }
  const { rows } = await session.query<{ readonly filled: boolean }>(
    sql`select exists (select from only ${sql.name(table)}) as filled`,
  )
  return rows[0]?.filled === true
    ? withHint(error, 'Give migrateData: true to move its rows into chunks; the table is locked meanwhile.')
    : error
}

/** How a hypertable is dropped. */
export interface DropHypertableOptions {
  /** Drops what depends on it too: continuous aggregates, views, foreign keys. */
  readonly cascade?: boolean
  /** No error where there is none. */
  readonly ifExists?: boolean
}

const DROP_KEYS = Object.keys({ cascade: true, ifExists: true } satisfies Record<keyof DropHypertableOptions, true>)

/** What dropping did. */
export interface DropResult {
  /** False where there was nothing to drop. */
  readonly dropped: boolean
}

/** The statement of {@link dropHypertable}. */
export function dropHypertableSql(name: ObjectName, options: DropHypertableOptions = {}): Sql {
  checkKeys(options, DROP_KEYS, 'dropHypertable')
  const ifExists = options.ifExists === true ? sql`if exists ` : sql.empty
  const cascade = options.cascade === true ? sql` cascade` : sql.empty
  return sql`drop table ${ifExists}${sql.name(name)}${cascade}`
}

/**
 * Drops a hypertable with all its rows. A plain table is left alone.
 * @throws QueryError NOT_FOUND where there is none and `ifExists` is not given; HYPERTABLE_NOT_FOUND for anything else.
 */
export async function dropHypertable(
  session: Session,
  name: ObjectName,
  options: DropHypertableOptions = {},
): Promise<DropResult> {
  checkKeys(options, DROP_KEYS, 'dropHypertable')
  const relation = await findRelation(session, name)
  if (relation === undefined) {
    if (options.ifExists === true) return { dropped: false }
    throw relationNotFound(name)
  }
  if (relation.kind !== 'hypertable') throw notHypertable(relation, 'a hypertable')
  const statement = dropHypertableSql({ schema: relation.schema, name: relation.name }, options)
  await withHints({ '2BP01': 'Give cascade: true to drop what depends on it too.' }, () => session.query(statement))
  return { dropped: true }
}

/** The statement of {@link setChunkTimeInterval}. @throws UsageError INVALID_INTERVAL, INVALID_OPTION */
export function setChunkTimeIntervalSql(capabilities: Capabilities, name: ObjectName, interval: Span): Sql {
  requireFeature(capabilities, 'hypertable')
  if (interval === undefined) throw new UsageError('INVALID_OPTION', 'setChunkTimeInterval needs the new interval.')
  requirePositive('chunkTimeInterval', interval)
  return callFunction('set_chunk_time_interval', [regclass(name), spanSql(interval)])
}

/**
 * Changes the length of chunks made from now on; those that exist stay as they are.
 * @throws UsageError INVALID_INTERVAL, INVALID_OPTION; QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function setChunkTimeInterval(session: Session, name: ObjectName, interval: Span): Promise<void> {
  const statement = setChunkTimeIntervalSql(await readCapabilities(session), name, interval)
  const { storage } = await getTimeRelation(session, name)
  const [time] = await listDimensions(session, storage)
  requireSpanKind('chunkTimeInterval', interval, time?.columnType)
  await session.query(statement)
}

/** Gives all hash dimensions. */
function checkOptions(options: HypertableOptions): HashPartition[] {
  checkKeys(options, KEYS, 'createHypertable')
  requireKeys(options, ['timeColumn'], 'createHypertable')
  const { partitioningColumn, numberPartitions, partitions = [] } = options
  if ((partitioningColumn === undefined) !== (numberPartitions === undefined)) {
    throw new UsageError('INVALID_OPTION', 'partitioningColumn and numberPartitions belong together.')
  }
  requirePositive('chunkTimeInterval', options.chunkTimeInterval)
  const first =
    partitioningColumn === undefined || numberPartitions === undefined
      ? []
      : [{ column: partitioningColumn, number: numberPartitions }]
  const all = [...first, ...partitions]
  for (const partition of all) {
    checkKeys(partition, PARTITION_KEYS, 'A partition')
    const { column, number } = partition
    if (!Number.isInteger(number) || number < 1 || number > 32767) {
      const message = `The number of partitions of ${JSON.stringify(column)} must be from 1 to 32767, not ${number}.`
      throw new UsageError('INVALID_OPTION', message)
    }
  }
  return all
}

function compareDimensions(existing: readonly Dimension[], options: HypertableOptions): Difference[] {
  const [time, ...others] = existing
  const differences = compareSetting('timeColumn', time?.column, options.timeColumn)
  const wantedSpan = options.chunkTimeInterval === undefined ? undefined : formatSpan(options.chunkTimeInterval)
  if (time?.kind === 'range') {
    differences.push(...compareSetting('chunkTimeInterval', String(time.interval), wantedSpan, isSameSpan))
    // The view shows the function without its schema.
    const now = options.integerNowFunction
    differences.push(
      ...compareSetting('integerNowFunction', time.integerNowFunction, now === undefined ? now : parseName(now).name),
    )
  }
  const show = (list: readonly { readonly column: string; readonly number: number }[]): string =>
    list
      .map(({ column, number }) => `${JSON.stringify(column)} in ${number}`)
      .sort()
      .join(', ') || '(none)'
  const hashes = others.flatMap((one) => (one.kind === 'hash' ? [{ column: one.column, number: one.partitions }] : []))
  differences.push(...compareSetting('partitions', show(hashes), show(checkOptions(options))))
  return differences
}

function optionalFunction(name: ObjectName | undefined): Sql | undefined {
  return name === undefined ? undefined : regproc(name)
}
