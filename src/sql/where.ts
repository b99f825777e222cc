import { UsageError } from '../errors.ts'
import { nearest } from './nearest.ts'
import { invalidOption } from './option.ts'
import { Sql, sql } from './template.ts'
import { formatTimestamp, toMicroseconds } from './timestamp.ts'

/** A value to compare a column with. A Date means its instant, also for a timestamp without time zone (in UTC). */
export type WhereValue = string | number | bigint | boolean | Date | Uint8Array

/** Comparisons of one column; all of them must hold. As in SQL, a NULL in the column fulfils none but `isNull`. */
export interface WhereComparison {
  readonly gt?: WhereValue
  readonly gte?: WhereValue
  readonly lt?: WhereValue
  readonly lte?: WhereValue
  /** Not equal; null asks for `IS NOT NULL`. */
  readonly ne?: WhereValue | null
  readonly in?: readonly WhereValue[]
  readonly notIn?: readonly WhereValue[]
  readonly isNull?: boolean
  /** A pattern with `%` and `_`. */
  readonly like?: string
  /** Both ends belong to the range. */
  readonly between?: readonly [WhereValue, WhereValue]
}

/** What a column must be: a value, null for NULL, or comparisons. */
export type WhereColumns = Readonly<Record<string, WhereValue | null | WhereComparison>>

/** Rows to keep: columns by name, or an `sql` fragment for everything else. */
export type WhereCondition = WhereColumns | Sql

/** One condition, or several that must all hold. */
export type Where = WhereCondition | readonly WhereCondition[]

type Operator = (column: Sql, value: unknown, what: string) => Sql

const OPERATORS: Readonly<Record<keyof WhereComparison, Operator>> = {
  gt: (column, value, what) => sql`${column} > ${bindable(value, what)}`,
  gte: (column, value, what) => sql`${column} >= ${bindable(value, what)}`,
  lt: (column, value, what) => sql`${column} < ${bindable(value, what)}`,
  lte: (column, value, what) => sql`${column} <= ${bindable(value, what)}`,
  ne: (column, value, what) =>
    value === null ? sql`${column} is not null` : sql`${column} <> ${bindable(value, what)}`,
  in: (column, value, what) => sql`${column} = any(${bindableList(value, what)})`,
  notIn: (column, value, what) => sql`${column} <> all(${bindableList(value, what)})`,
  isNull: (column, value, what) => {
    if (typeof value !== 'boolean') throw invalidValue(what, 'must be true or false')
    return value ? sql`${column} is null` : sql`${column} is not null`
  },
  like: (column, value, what) => {
    if (typeof value !== 'string') throw invalidValue(what, 'must be a text')
    return sql`${column} like ${value}`
  },
  between: (column, value, what) => {
    const [low, high] = bindableList(value, what, 2)
    return sql`${column} between ${low} and ${high}`
  },
}

/**
 * The conditions as SQL, each ready to be joined with AND. Values are bound, columns quoted.
 * @throws UsageError INVALID_OPTION for an unknown comparison, INVALID_VALUE for undefined and what cannot be compared.
 */
export function whereConditions(where: Where | undefined): Sql[] {
  if (where === undefined) return []
  if (where instanceof Sql) return [sql`(${where})`]
  if (isConditionList(where)) return where.flatMap((condition) => whereConditions(condition))
  if (typeof where !== 'object' || where === null) {
    throw invalidOption(
      'where must be an object of columns or an sql fragment.',
      'Write sql`…` for a condition as SQL.',
    )
  }
  return Object.entries(where).flatMap(([name, condition]) => columnConditions(name, condition))
}

function isConditionList(where: Where): where is readonly WhereCondition[] {
  return Array.isArray(where)
}

function columnConditions(name: string, condition: WhereColumns[string]): Sql[] {
  const column = sql.column(name)
  if (condition === null) return [sql`${column} is null`]
  const what = `where.${name}`
  if (!isComparison(condition)) return [sql`${column} = ${bindable(condition, what)}`]
  const entries = Object.entries(condition)
  if (entries.length === 0) throw invalidValue(what, 'has no comparison')
  return entries.map(([operator, value]) => {
    const known = Object.entries(OPERATORS).find(([key]) => key === operator)
    if (known === undefined) {
      const candidate = nearest(operator, Object.keys(OPERATORS))
      throw invalidOption(
        `${what} has the unknown comparison ${JSON.stringify(operator)}.`,
        candidate === undefined ? `Known are ${Object.keys(OPERATORS).join(', ')}.` : `Did you mean ${candidate}?`,
      )
    }
    return known[1](column, value, `${what}.${operator}`)
  })
}

function isComparison(condition: WhereValue | WhereComparison): condition is WhereComparison {
  return (
    typeof condition === 'object' &&
    !(condition instanceof Date) &&
    !(condition instanceof Uint8Array) &&
    !Array.isArray(condition)
  )
}

/** The value as the server takes it for any column type: the parameter gets the type of the column beside it. */
function bindable(value: unknown, what: string): unknown {
  // The driver would write a Date in local time with an offset, which a timestamp without time zone ignores.
  if (value instanceof Date) return formatTimestamp(toMicroseconds(value), { zone: true })
  if (value instanceof Uint8Array) return value
  if (['string', 'number', 'bigint', 'boolean'].includes(typeof value)) return value
  if (value === undefined) throw invalidValue(what, 'is undefined', 'Leave the key out, or use null for NULL.')
  if (value === null) throw invalidValue(what, 'is null', 'Use { isNull: true } or { isNull: false }.')
  if (Array.isArray(value)) throw invalidValue(what, 'is a list', 'Use { in: […] }.')
  throw invalidValue(what, `is a ${typeof value}, which cannot be compared`)
}

function bindableList(value: unknown, what: string, length?: number): unknown[] {
  if (!Array.isArray(value) || (length !== undefined && value.length !== length)) {
    throw invalidValue(what, length === undefined ? 'must be a list' : `must be a list of ${length}`)
  }
  return Array.from(value, (item: unknown) => bindable(item, what))
}

function invalidValue(what: string, problem: string, hint?: string): UsageError {
  return new UsageError('INVALID_VALUE', `${what} ${problem}.`, { hint })
}
