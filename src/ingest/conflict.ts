import { listUniqueKeys, type TableDescription } from '../catalog/column.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { formatName } from '../sql/identifier.ts'
import { invalidOption } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'

/**
 * What happens to a row whose key is there already: `error` fails, `ignore` leaves the old row, `update` writes the
 * given columns of the new one over it.
 */
export type OnConflict = 'error' | 'ignore' | 'update'

/** Options about rows whose key is there already. */
export interface ConflictOptions {
  /** Default `error`. */
  readonly onConflict?: OnConflict
  /** The columns of the unique index that decides. Default: the primary key, or the only unique index. */
  readonly conflictColumns?: readonly string[]
}

/** How conflicts are resolved, with the key that decides. */
export interface ConflictRule {
  readonly onConflict: OnConflict
  /** Empty for `error`, and for `ignore` without conflictColumns: any unique index decides. */
  readonly key: readonly string[]
}

/** @throws UsageError INVALID_OPTION where no unique index decides, or several could */
export async function conflictRule(
  session: Session,
  table: TableDescription,
  columns: readonly string[],
  options: ConflictOptions,
): Promise<ConflictRule> {
  const { onConflict = 'error', conflictColumns } = options
  if (!['error', 'ignore', 'update'].includes(onConflict)) {
    throw invalidOption("Option onConflict must be 'error', 'ignore' or 'update'.")
  }
  if (onConflict === 'error') {
    if (conflictColumns !== undefined)
      throw invalidOption("Option conflictColumns needs onConflict 'ignore' or 'update'.")
    return { onConflict, key: [] }
  }
  const keys = await listUniqueKeys(session, table)
  const key = conflictColumns ?? (onConflict === 'ignore' ? [] : onlyKey(table, keys))
  if (key.length > 0 && !keys.some((candidate) => sameColumns(candidate, key))) {
    throw invalidOption(`${formatName(table)} has no unique index on ${key.join(', ')}.`, 'Create one first.')
  }
  const missing = key.find((column) => !columns.includes(column))
  if (missing !== undefined) {
    throw new UsageError(
      'INVALID_VALUE',
      `The rows have no column ${JSON.stringify(missing)}, which is part of the key.`,
    )
  }
  return { onConflict, key }
}

function onlyKey(table: TableDescription, keys: readonly (readonly string[])[]): readonly string[] {
  const [first, ...others] = keys
  if (first === undefined) throw invalidOption(`${formatName(table)} has no unique index, which an update needs.`)
  if (others.length === 0) return first
  throw invalidOption(
    `${formatName(table)} has several unique indexes: ${keys.map((key) => `(${key.join(', ')})`).join(' and ')}.`,
    'Name the columns of the one that decides in conflictColumns.',
  )
}

function sameColumns(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((column) => other.includes(column))
}

/** The ON CONFLICT of an INSERT into these columns; empty for `error`. */
export function conflictSql(rule: ConflictRule, columns: readonly string[]): Sql {
  if (rule.onConflict === 'error') return sql.empty
  const target = rule.key.length === 0 ? sql.empty : sql` (${columnList(rule.key)})`
  const others = columns.filter((column) => !rule.key.includes(column))
  if (rule.onConflict === 'ignore' || others.length === 0) return sql` on conflict${target} do nothing`
  const set = others.map((column) => sql`${sql.column(column)} = excluded.${sql.column(column)}`)
  return sql` on conflict${target} do update set ${sql.join(set)}`
}

/**
 * What DISTINCT ON compares so that of the rows with one key the last one is left: of two in one statement, the server
 * refuses the second in an uncompressed chunk (21000) and takes either in a compressed one. A NULL meets nothing.
 * @param key - the columns as the source calls them
 * @param place - the row's place in the source
 */
export function lastOfKeySql(key: readonly Sql[], place: Sql): { readonly distinct: Sql; readonly order: Sql } {
  const unknown = sql.join(
    key.map((column) => sql`${column} is null`),
    ' or ',
  )
  const columns = [...key, sql`case when ${unknown} then ${place} end`]
  return { distinct: sql`distinct on (${sql.join(columns)})`, order: sql`order by ${sql.join(columns)}, ${place} desc` }
}

/** Quoted column names with commas between. */
export function columnList(columns: readonly string[]): Sql {
  return sql.join(columns.map((column) => sql.column(column)))
}
