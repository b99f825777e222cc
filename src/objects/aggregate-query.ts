import { UsageError } from '../errors.ts'
import { type Aggregate, type AggregateText, toAggregate } from '../sql/aggregate.ts'
import { functionExpression } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { formatLiteral, quoteLiteral } from '../sql/literal.ts'
import { toList } from '../sql/option.ts'
import { Sql, sql } from '../sql/template.ts'
import { parseTime, type TimeInput, type TimeType } from '../sql/time-expression.ts'
import { formatTimestamp } from '../sql/timestamp.ts'
import { type Where, whereConditions } from '../sql/where.ts'
import { isNumber, requirePositive, type Span, spanSql } from './span.ts'

/** The buckets of a continuous aggregate. */
export interface AggregateBucket {
  /** The hypertable or continuous aggregate it is made from. */
  readonly hypertable: ObjectName
  /** The time column there: for a continuous aggregate the column with its buckets. */
  readonly timeColumn: string
  /** The width of a bucket: an interval, or a number for an integer time column. */
  readonly bucketInterval: Span
  /**
   * What the column with the buckets is called. Default `bucket`. On a table that has a column of that name another one
   * is needed, because `GROUP BY bucket` then means the table's.
   */
  readonly bucketColumn?: string
  /** Buckets begin at midnight in this time zone, such as `'Europe/Berlin'`. */
  readonly timezone?: string
  /** A time at which a bucket begins. */
  readonly origin?: TimeInput
  /** Shifts all buckets. The server does not take it together with `origin`. */
  readonly offset?: Span
}

const BUCKET_KEYS = {
  hypertable: true,
  timeColumn: true,
  bucketInterval: true,
  bucketColumn: true,
  timezone: true,
  origin: true,
  offset: true,
} as const satisfies Record<keyof AggregateBucket, true>

/** The query of a continuous aggregate as text. */
export interface AggregateSelect extends AggregateBucket {
  /**
   * What comes after the bucket, which we put before it: columns, FROM, WHERE and `GROUP BY bucket, …`. It is taken as
   * SQL, so never put input from outside into it.
   */
  readonly selectQuery: string
}

const SELECT_KEYS = Object.keys({ ...BUCKET_KEYS, selectQuery: true } satisfies Record<keyof AggregateSelect, true>)

/** The query of a continuous aggregate in parts. */
export interface AggregateParts extends AggregateBucket {
  /**
   * The columns with aggregates: `{ mean: avg('temperature') }`, text as in `{ temperature: 'AVG', rows: 'COUNT(*)' }`,
   * or an `sql` fragment.
   */
  readonly aggregates: Readonly<Record<string, Aggregate<unknown> | AggregateText | Sql>>
  /** Columns that keep series apart. */
  readonly groupBy?: string | readonly string[]
  /** Which rows count: columns by name, or an `sql` fragment. Values are written into the definition as literals. */
  readonly where?: Where
}

const PARTS_KEYS = Object.keys({
  ...BUCKET_KEYS,
  aggregates: true,
  groupBy: true,
  where: true,
} satisfies Record<keyof AggregateParts, true>)

/** The query of a continuous aggregate, as text or in parts. */
export type ContinuousAggregateQuery = AggregateSelect | AggregateParts

/** The names of the options of a query in the form it was given in. */
export function aggregateQueryKeys(query: ContinuousAggregateQuery): readonly string[] {
  // Callers without a type checker leave the options out.
  return typeof query === 'object' && query !== null && 'selectQuery' in query ? SELECT_KEYS : PARTS_KEYS
}

/**
 * The query of a continuous aggregate: `select time_bucket(…) as "bucket", …`. It has no bound values, since a
 * definition cannot have them. `timeType` is the type of the time column, where it is known.
 * @throws UsageError INVALID_OPTION, INVALID_INTERVAL, INVALID_VALUE
 */
export function aggregateQuerySql(query: ContinuousAggregateQuery, timeType?: TimeType): Sql {
  requirePositive('bucketInterval', query.bucketInterval)
  const bucket = sql`${bucketSql(query, timeType)} as ${sql.column(query.bucketColumn ?? 'bucket')}`
  return 'selectQuery' in query
    ? sql`select ${bucket}, ${sql.raw(checkSelectQuery(query.selectQuery))}`
    : partsSql(bucket, query)
}

function partsSql(bucket: Sql, query: AggregateParts): Sql {
  const groupBy = toList(query.groupBy)
  const aggregates = Object.entries(query.aggregates)
  if (aggregates.length === 0) throw new UsageError('INVALID_OPTION', 'aggregates must have at least one column.')
  const columns = aggregates.map(([name, aggregate]) => {
    const expression = aggregate instanceof Sql ? aggregate : toAggregate(name, aggregate, query.timeColumn).expression
    return sql`${withLiterals(expression)} as ${sql.column(name)}`
  })
  const conditions = whereConditions(query.where).map(withLiterals)
  const where = conditions.length === 0 ? sql.empty : sql` where ${sql.join(conditions, ' and ')}`
  // By position: a name would mean a column of the source where it has one of that name.
  const positions = sql.raw(['bucket', ...groupBy].map((_, index) => index + 1).join(', '))
  const selected = sql.join([bucket, ...groupBy.map((column) => sql.column(column)), ...columns])
  return sql`select ${selected} from ${sql.name(query.hypertable)}${where} group by ${positions}`
}

function bucketSql(query: AggregateBucket, timeType: TimeType | undefined): Sql {
  const { timezone, origin, offset } = query
  if (origin !== undefined && isNumber(query.bucketInterval)) {
    throw new UsageError('INVALID_OPTION', 'An integer time column takes offset, not origin.')
  }
  return functionExpression('time_bucket', [spanSql(query.bucketInterval, timeType), sql.column(query.timeColumn)], {
    timezone: timezone === undefined ? undefined : sql.literal(timezone),
    origin: origin === undefined ? undefined : originSql(origin),
    offset: offset === undefined ? undefined : spanSql(offset, timeType),
  })
}

/** Without a type, so that it becomes the time column's. */
function originSql(origin: TimeInput): Sql {
  const time = parseTime(origin)
  if (time.kind === 'instant') return sql.literal(formatTimestamp(time.microseconds, { zone: true }))
  throw new UsageError('INVALID_OPTION', 'origin must be a fixed time.')
}

/** A fragment with its values written into it. */
function withLiterals(fragment: Sql): Sql {
  const { text, values } = fragment
  const placeholders = text.match(/\$\d+/g) ?? []
  // As many as there are values, and in their order: then none of them is a part of a quoted text.
  if (placeholders.length !== values.length || placeholders.some((one, index) => one !== `$${index + 1}`)) {
    throw new UsageError('INVALID_VALUE', 'A definition cannot hold a text with a dollar sign before a digit.', {
      hint: 'Give the query as selectQuery.',
    })
  }
  return sql.raw(text.replace(/\$(\d+)/g, (_, number) => valueLiteral(values[Number(number) - 1])))
}

function valueLiteral(value: unknown): string {
  if (value === null || value instanceof Date) return formatLiteral(value)
  if (Array.isArray(value)) return quoteLiteral(`{${value.map(arrayElement).join(',')}}`)
  if (
    typeof value === 'string' ||
    typeof value === 'number' ||
    typeof value === 'bigint' ||
    typeof value === 'boolean'
  ) {
    return formatLiteral(value)
  }
  throw new UsageError('INVALID_VALUE', `A ${typeof value} cannot be a part of a definition.`)
}

/** As the server reads an element of an array in any type. */
function arrayElement(value: unknown): string {
  if (value instanceof Date) return `"${value.toISOString()}"`
  if (typeof value === 'object' || typeof value === 'undefined')
    throw new UsageError('INVALID_VALUE', 'A list in a definition holds texts, numbers, booleans and Dates.')
  return `"${String(value).replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

function checkSelectQuery(text: string): string {
  const query = text.trim().replace(/;$/, '').trimEnd()
  if (/^select\b/i.test(query)) {
    throw new UsageError('INVALID_OPTION', 'selectQuery begins after SELECT and the bucket.', {
      hint: 'Leave out SELECT and time_bucket: "sensor_id, avg(v) from t group by bucket, sensor_id".',
    })
  }
  if (!/\bfrom\b/i.test(query)) {
    throw new UsageError('INVALID_OPTION', 'selectQuery needs FROM and GROUP BY bucket.')
  }
  return query
}
