import { type Feature, withFeature } from '../catalog/capabilities.ts'
import { listColumns, toTimeType } from '../catalog/column-name.ts'
import { requireTimeZone } from '../catalog/time-zone.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { formatInterval, type IntervalInput, parseInterval } from '../sql/interval.ts'
import { invalidOption } from '../sql/option.ts'
import { type Sql, type Statement, sql } from '../sql/template.ts'
import { checkTimeType, compareTimes, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'

/** How wide a bucket is: a span such as `'15 minutes'`, or a whole number for an integer time column. */
export type BucketInterval = IntervalInput | number | bigint

/** The type of a bucket: a Date, or a number where the time column is an integer. */
export type BucketTime<B> = B extends number | bigint ? number : Date

/** One object type instead of an intersection, as it is shown and compared. */
export type Flat<T> = { [K in keyof T]: T[K] }

/**
 * The type to write bounds in, when nobody has looked at the column.
 * @throws UsageError INVALID_OPTION where the bucket's width and a bound cannot belong to one column.
 */
export function assumedTimeType(bucketInterval: BucketInterval, bounds: readonly (TimeInput | undefined)[]): TimeType {
  if (!isWhole(bucketInterval)) return 'timestamptz'
  if (bounds.some((bound) => bound !== undefined && typeof bound !== 'number' && typeof bound !== 'bigint')) {
    throw invalidOption('bucketInterval is a number, as for an integer time column, but a time is not.', INTERVAL_HINT)
  }
  return 'bigint'
}

const INTERVAL_HINT = "Write a number and a unit, such as '5 minutes' or { minutes: 5 }."

/** Whether a bucket's width is a number, so that the time column must be an integer. */
export function isWhole(bucketInterval: BucketInterval): bucketInterval is number | bigint {
  return typeof bucketInterval === 'number' || typeof bucketInterval === 'bigint'
}

interface TypedOptions {
  readonly timeColumn: string
  readonly timeType?: TimeType | undefined
  readonly timezone?: string | undefined
}

/**
 * Runs the statement that `toSql` makes, with the type of the time column. Everything that can be refused is refused
 * before the first trip, and once more when the type is known.
 * @throws what `toSql` and `run` throw; UnsupportedError where the feature is missing.
 */
export async function runTyped<O extends TypedOptions, T>(
  session: Session,
  feature: Feature,
  table: ObjectName,
  options: O,
  toSql: (table: ObjectName, options: O) => Statement,
  run: (statement: Statement) => Promise<T>,
): Promise<T> {
  const statement = toSql(table, options)
  return withFeature(session, feature, async () => {
    await requireTimeZone(session, options.timezone)
    const timeType = options.timeType ?? (await findTimeType(session, table, options.timeColumn))
    return run(timeType === undefined ? statement : toSql(table, { ...options, timeType }))
  })
}

/**
 * The type of a table's time column, asked of the server: comparing a `timestamp` column with a bound that has a zone
 * would go through the session's TimeZone. Undefined where there is no such table or column; the query itself then
 * says so.
 * @throws UsageError INVALID_OPTION for a column of another type.
 */
async function findTimeType(session: Session, table: ObjectName, column: string): Promise<TimeType | undefined> {
  const type = (await listColumns(session, table)).find(({ name }) => name === column)?.type
  // Newer servers have buckets of uuids (version 7); whether this one does is its to say.
  if (type === undefined || type === 'uuid') return undefined
  const known = toTimeType(type)
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
    const [needed, hint] = isIntegerType(type)
      ? ['a whole number', "Write how many of the column's own units a bucket is wide, such as 3600."]
      : ['an interval', INTERVAL_HINT]
    throw invalidOption(`bucketInterval must be ${needed} for a time column of type ${type}.`, hint)
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
  if (startTime !== undefined && endTime !== undefined && (compareTimes(startTime, endTime) ?? 0) > 0) {
    throw new UsageError('INVALID_TIME', 'endTime is before startTime.')
  }
  const conditions: Sql[] = []
  if (startTime !== undefined) conditions.push(sql`${column} >= ${timeSql(startTime, type, { round: 'up' })}`)
  if (endTime !== undefined) conditions.push(sql`${column} < ${timeSql(endTime, type, { round: 'up' })}`)
  return conditions
}
