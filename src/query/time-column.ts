import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { formatName, type ObjectName } from '../sql/identifier.ts'
import { formatInterval, type IntervalInput, parseInterval } from '../sql/interval.ts'
import { invalidOption } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { checkTimeType, parseTime, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'

/** How wide a bucket is: a span such as `'15 minutes'`, or a whole number for an integer time column. */
export type BucketInterval = IntervalInput | number | bigint

/** The type of a bucket: a Date, or a number where the time column is an integer. */
export type BucketTime<B> = B extends number | bigint ? number : Date

/** One object type instead of an intersection, as it is shown and compared. */
export type Flat<T> = { [K in keyof T]: T[K] }

const SERVER_TYPES = new Map<string, TimeType>([
  ['timestamp with time zone', 'timestamptz'],
  ['timestamp without time zone', 'timestamp'],
  ['date', 'date'],
  ['bigint', 'bigint'],
  ['integer', 'integer'],
  ['smallint', 'smallint'],
])

/** The type to write bounds in, when nobody has looked at the column. */
export function assumedTimeType(bucketInterval: BucketInterval): TimeType {
  return isWhole(bucketInterval) ? 'bigint' : 'timestamptz'
}

/** Whether a bucket's width is a number, so that the time column must be an integer. */
export function isWhole(bucketInterval: BucketInterval): bucketInterval is number | bigint {
  return typeof bucketInterval === 'number' || typeof bucketInterval === 'bigint'
}

/**
 * The type of a table's time column, asked of the server: comparing a `timestamp` column with a bound that has a zone
 * would go through the session's TimeZone. Undefined where there is no such table or column; the query itself then
 * says so.
 * @throws UsageError INVALID_OPTION for a column of another type.
 */
export async function findTimeType(session: Session, table: ObjectName, column: string): Promise<TimeType | undefined> {
  const { rows } = await session.query<{ type: string }>(
    sql`select coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text as type
      from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
      where a.attrelid = to_regclass(${formatName(table)}::text) and a.attname = ${column}::name
        and a.attnum > 0 and not a.attisdropped`.statement,
  )
  const type = rows[0]?.type
  if (type === undefined) return undefined
  const known = SERVER_TYPES.get(type)
  if (known !== undefined) return known
  throw invalidOption(
    `The column ${JSON.stringify(column)} is of type ${type}, which has no time buckets.`,
    'timeColumn must be a timestamp, a date or an integer.',
  )
}

/**
 * A bucket's width as SQL of the right type.
 * @throws UsageError INVALID_OPTION where it does not go with the column's type or is not greater than 0.
 */
export function bucketWidthSql(bucketInterval: BucketInterval, type: TimeType): Sql {
  checkTimeType(type)
  if (isWhole(bucketInterval) !== isIntegerType(type)) {
    throw invalidOption(
      `bucketInterval must be ${isIntegerType(type) ? 'a whole number' : 'an interval'} for a time column of type ${type}.`,
    )
  }
  if (isWhole(bucketInterval)) {
    if (bucketInterval <= 0) throw invalidOption('bucketInterval must be greater than 0.')
    return timeSql(bucketInterval, type)
  }
  const { months, days, microseconds } = parseInterval(bucketInterval)
  const parts = [months, days, Number(microseconds)]
  if (parts.some((part) => part < 0) || parts.every((part) => part === 0)) {
    throw invalidOption('bucketInterval must be greater than 0.')
  }
  return sql`${formatInterval({ months, days, microseconds })}::interval`
}

/** Whether a time column counts in whole numbers. */
export function isIntegerType(type: TimeType): boolean {
  return type === 'bigint' || type === 'integer' || type === 'smallint'
}

/**
 * `time >= start` and `time < end`, as far as given, so that chunks outside are not read.
 * @throws UsageError INVALID_TIME where the end is before the start.
 */
export function windowConditions(
  column: Sql,
  type: TimeType,
  startTime: TimeInput | undefined,
  endTime: TimeInput | undefined,
): Sql[] {
  if (startTime !== undefined && endTime !== undefined) checkOrder(startTime, endTime)
  const conditions: Sql[] = []
  if (startTime !== undefined) conditions.push(sql`${column} >= ${timeSql(startTime, type, { round: 'up' })}`)
  if (endTime !== undefined) conditions.push(sql`${column} < ${timeSql(endTime, type, { round: 'up' })}`)
  return conditions
}

function checkOrder(startTime: TimeInput, endTime: TimeInput): void {
  const start = position(startTime)
  const end = position(endTime)
  if (start !== undefined && end !== undefined && end < start) {
    throw new UsageError('INVALID_TIME', 'endTime is before startTime.')
  }
}

/** Where a time lies, as far as that is known without the server's clock. */
function position(input: TimeInput): bigint | undefined {
  const time = parseTime(input)
  if (time.kind === 'integer') return time.value
  return time.kind === 'instant' && typeof time.microseconds === 'bigint' ? time.microseconds : undefined
}
