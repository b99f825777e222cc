import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { listColumns, requireColumns, toTimeType } from '../catalog/column-name.ts'
import { type ContinuousAggregate, getContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import { findRelation, notHypertable, relationNotFound } from '../catalog/relation.ts'
import { requireTimeZoneName } from '../catalog/time-zone.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys, requireKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'
import { aggregateQueryKeys, aggregateQuerySql, type ContinuousAggregateQuery } from './aggregate-query.ts'
import { compareSetting, type Difference, refuseDrift } from './difference.ts'
import { withHints } from './hint.ts'
import type { DropResult } from './hypertable.ts'
import { formatOrderBy, type OrderByInput, parseOrderBy } from './order-by.ts'
import { formatSpan, requirePositive, requireSpanKind, type Span } from './span.ts'

/** How a continuous aggregate is made. */
export type ContinuousAggregateOptions = ContinuousAggregateQuery & AggregateSettings

/** What a continuous aggregate is besides its query. */
interface AggregateSettings {
  /**
   * True fills it at once, which cannot run in a transaction; false leaves that to the first refresh. The server's
   * default is true.
   */
  readonly withData?: boolean
  /** False adds to every answer what is newer than the materialized rows. */
  readonly materializedOnly?: boolean
  /** False leaves out the indexes on the bucket and each other column grouped by. */
  readonly createGroupIndexes?: boolean
  /** The length of its own chunks; the server's default is ten times that of the source. */
  readonly chunkInterval?: Span
  /** Indexes on it, each a list of columns. */
  readonly indexes?: readonly (readonly OrderByInput[])[]
  /**
   * An aggregate that exists is no error: the result then says `created: false` and, in `differences`, what is not as
   * asked for.
   */
  readonly ifNotExists?: boolean
}

const SETTING_KEYS = Object.keys({
  withData: true,
  materializedOnly: true,
  createGroupIndexes: true,
  chunkInterval: true,
  indexes: true,
  ifNotExists: true,
} satisfies Record<keyof AggregateSettings, true>)

/** What {@link createContinuousAggregate} did. */
export interface ContinuousAggregateResult {
  readonly schema: string
  readonly name: string
  /** False where it was there already. It was left as it is. */
  readonly created: boolean
  readonly materializedOnly: boolean
  readonly bucketColumn: string
  /** Empty unless one was there with another definition or other settings. */
  readonly differences: readonly Difference[]
}

/**
 * The statements of {@link createContinuousAggregate}: the aggregate, then its indexes. `timeType` is the type of the
 * time column; for a smallint it must be given.
 * @throws UnsupportedError EDITION_REQUIRED; UsageError INVALID_OPTION, INVALID_INTERVAL
 */
export function createContinuousAggregateSql(
  capabilities: Capabilities,
  name: ObjectName,
  options: ContinuousAggregateOptions & { readonly timeType?: TimeType },
): Sql[] {
  checkOptions(options, ['timeType'])
  requireFeature(capabilities, 'continuous-aggregate')
  const settings = [sql.raw('timescaledb.continuous')]
  const set = (key: string, value: boolean | string | undefined): void => {
    if (value !== undefined) settings.push(sql`${sql.raw(`timescaledb.${key}`)} = ${sql.literal(value)}`)
  }
  set('materialized_only', options.materializedOnly)
  set('create_group_indexes', options.createGroupIndexes)
  set('chunk_interval', options.chunkInterval === undefined ? undefined : formatSpan(options.chunkInterval))
  const ifNotExists = options.ifNotExists === true ? sql`if not exists ` : sql.empty
  const data = options.withData === undefined ? sql.empty : options.withData ? sql` with data` : sql` with no data`
  const head = sql`create materialized view ${ifNotExists}${sql.name(name)} with (${sql.join(settings)}) as`
  return [sql`${head} ${aggregateQuerySql(options, options.timeType)}${data}`, ...indexSql(name, options)]
}

function checkOptions(options: ContinuousAggregateOptions, more: readonly string[] = []): void {
  checkKeys(options, [...aggregateQueryKeys(options), ...SETTING_KEYS, ...more], 'createContinuousAggregate')
  requireKeys(options, ['hypertable', 'timeColumn', 'bucketInterval'], 'createContinuousAggregate')
  if (!('selectQuery' in options)) requireKeys(options, ['aggregates'], 'createContinuousAggregate')
  requirePositive('chunkInterval', options.chunkInterval)
}

/**
 * Checks the time column and gives its type. A source that does not exist is left to the server: its query may name it
 * in another way.
 */
async function checkSource(session: Session, options: ContinuousAggregateOptions): Promise<TimeType | undefined> {
  const columns = await listColumns(session, options.hypertable)
  if (columns.length === 0) return undefined
  requireColumns(options.hypertable, columns, [options.timeColumn], 'timeColumn')
  const time = columns.find((column) => column.name === options.timeColumn)
  requireSpanKind('bucketInterval', options.bucketInterval, time?.type)
  return time === undefined ? undefined : toTimeType(time.type)
}

function indexSql(name: ObjectName, options: ContinuousAggregateOptions): Sql[] {
  return (options.indexes ?? []).map(
    (columns) => sql`create index on ${sql.name(name)} (${sql.raw(formatOrderBy(parseOrderBy(columns)))})`,
  )
}

/**
 * Makes a continuous aggregate on a hypertable or on another continuous aggregate. It is refreshed by
 * `refreshContinuousAggregate` or by a policy.
 * @throws PlanError DRIFT where one exists with another definition and `ifNotExists` is not given.
 * @throws QueryError ALREADY_EXISTS where the same one exists and `ifNotExists` is not given; NOT_FOUND.
 * @throws UsageError INVALID_OPTION within a transaction, unless `withData` is false.
 */
export async function createContinuousAggregate(
  session: Session,
  name: ObjectName,
  options: ContinuousAggregateOptions,
): Promise<ContinuousAggregateResult> {
  checkOptions(options)
  const capabilities = await readCapabilities(session)
  // What can be refused is refused before the source is looked at.
  createContinuousAggregateSql(capabilities, name, options)
  const timeType = await checkSource(session, options)
  const typed = timeType === undefined ? options : { ...options, timeType }
  const [create, ...indexes] = createContinuousAggregateSql(capabilities, name, typed)
  if (create === undefined) throw new TypeError('There is no statement to run.')
  await requireTimeZoneName(session, options.timezone)
  const relation = await findRelation(session, name)
  if (relation?.kind === 'continuous-aggregate') {
    const existing = await getContinuousAggregate(session, name)
    const differences = await compareAggregate(session, existing, options, timeType)
    if (options.ifNotExists === true) return toResult(existing, false, differences)
    if (differences.length > 0) {
      const hint = 'Give ifNotExists: true to keep it as it is, or drop it first; its history goes with it.'
      throw refuseDrift('The continuous aggregate', existing, differences, hint)
    }
  } else if (relation !== undefined && options.ifNotExists === true) {
    // IF NOT EXISTS would skip silently for any relation of that name.
    throw notHypertable(relation, 'a continuous aggregate, and its name is taken')
  }
  if (session.inTransaction && options.withData !== false) {
    throw new UsageError('INVALID_OPTION', 'A continuous aggregate cannot be filled within a transaction.', {
      hint: 'Give withData: false here, and refresh it after the commit.',
    })
  }
  const taken = { '42P07': 'Give ifNotExists: true to keep the one that exists.' }
  await withHints(relation?.kind === 'continuous-aggregate' ? taken : {}, () => session.query(create))
  for (const index of indexes) await session.query(index)
  return toResult(await getContinuousAggregate(session, name), true, [])
}

/** How a continuous aggregate is dropped. */
export interface DropContinuousAggregateOptions {
  /** No error where there is none. */
  readonly ifExists?: boolean
  /** Drops what depends on it too: aggregates and views on top. */
  readonly cascade?: boolean
}

const DROP_KEYS = Object.keys({ ifExists: true, cascade: true } satisfies Record<
  keyof DropContinuousAggregateOptions,
  true
>)

/** The statement of {@link dropContinuousAggregate}. */
export function dropContinuousAggregateSql(name: ObjectName, options: DropContinuousAggregateOptions = {}): Sql {
  checkKeys(options, DROP_KEYS, 'dropContinuousAggregate')
  const ifExists = options.ifExists === true ? sql`if exists ` : sql.empty
  const cascade = options.cascade === true ? sql` cascade` : sql.empty
  return sql`drop materialized view ${ifExists}${sql.name(name)}${cascade}`
}

/**
 * Drops a continuous aggregate with all it has materialized. Any other view is left alone.
 * @throws QueryError NOT_FOUND where there is none and `ifExists` is not given; HYPERTABLE_NOT_FOUND for anything else.
 */
export async function dropContinuousAggregate(
  session: Session,
  name: ObjectName,
  options: DropContinuousAggregateOptions = {},
): Promise<DropResult> {
  checkKeys(options, DROP_KEYS, 'dropContinuousAggregate')
  const relation = await findRelation(session, name)
  if (relation === undefined) {
    if (options.ifExists === true) return { dropped: false }
    throw relationNotFound(name)
  }
  if (relation.kind !== 'continuous-aggregate') throw notHypertable(relation, 'a continuous aggregate')
  const statement = dropContinuousAggregateSql({ schema: relation.schema, name: relation.name }, options)
  await withHints({ '2BP01': 'Give cascade: true to drop what depends on it too.' }, () => session.query(statement))
  return { dropped: true }
}

/** Thrown to roll back the transaction in which definitions are compared. */
class Compared extends Error {
  readonly differences: readonly Difference[]

  constructor(differences: readonly Difference[]) {
    super('compared')
    this.differences = differences
  }
}

async function compareAggregate(
  session: Session,
  existing: ContinuousAggregate,
  options: ContinuousAggregateOptions,
  timeType: TimeType | undefined,
): Promise<readonly Difference[]> {
  const wantedOnly = options.materializedOnly === undefined ? undefined : String(options.materializedOnly)
  const settings = compareSetting('materializedOnly', String(existing.materializedOnly), wantedOnly)
  return [...(await compareDefinition(session, existing, options, timeType)), ...settings]
}

/**
 * Lets the server print both queries, the wanted one as a temporary view that is rolled back: equal queries are then
 * equal texts, and nothing has to be parsed here. Both are printed under one search path.
 */
async function compareDefinition(
  session: Session,
  existing: ContinuousAggregate,
  options: ContinuousAggregateOptions,
  timeType: TimeType | undefined,
): Promise<readonly Difference[]> {
  try {
    await session.transaction(async (inner) => {
      await inner.query(sql`create temporary view tsdbkit_wanted as ${aggregateQuerySql(options, timeType)}`)
      const { rows } = await inner.query<{ readonly wanted: string; readonly existing: string }>(sql`
        select pg_catalog.pg_get_viewdef('pg_temp.tsdbkit_wanted'::regclass) as wanted, view_definition as existing
        from timescaledb_information.continuous_aggregates
        where view_schema = ${existing.schema} and view_name = ${existing.name}`)
      const row = rows[0]
      throw new Compared(compareSetting('query', squeeze(row?.existing), squeeze(row?.wanted)))
    })
  } catch (error) {
    if (error instanceof Compared) return error.differences
    throw error
  }
  return []
}

function squeeze(text: string | undefined): string | undefined {
  return text?.replace(/\s+/g, ' ').trim()
}

function toResult(
  aggregate: ContinuousAggregate,
  created: boolean,
  differences: readonly Difference[],
): ContinuousAggregateResult {
  return {
    schema: aggregate.schema,
    name: aggregate.name,
    created,
    materializedOnly: aggregate.materializedOnly,
    bucketColumn: aggregate.bucketColumn,
    differences,
  }
}
