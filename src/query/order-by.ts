import { invalidOption } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'

/** One column to sort by. It must be one of the result's columns. */
export interface OrderByColumn {
  readonly column: string
  /** Default `'asc'`. */
  readonly direction?: 'asc' | 'desc'
  /** Where NULLs go. The server's default: last when ascending, first when descending. */
  readonly nulls?: 'first' | 'last'
}

/** How rows are sorted: `'bucket DESC, symbol NULLS FIRST'`, columns, or a list of both. */
export type OrderBy = string | OrderByColumn | readonly (string | OrderByColumn)[]

const ITEM = /^\s*(?:"((?:[^"]|"")+)"|([^\s",]+))(?:\s+(asc|desc))?(?:\s+nulls\s+(first|last))?\s*(?:,|$)/i

/**
 * `order by …` for columns of the result, parsed and quoted; empty text for an empty list.
 * @throws UsageError INVALID_OPTION for anything that is not a column of the result.
 */
export function orderBySql(orderBy: OrderBy, columns: readonly string[]): Sql {
  const list: readonly (string | OrderByColumn)[] = isList(orderBy) ? orderBy : [orderBy]
  const items = list.flatMap((item) => (typeof item === 'string' ? parseItems(item) : [item]))
  if (items.length === 0) return sql.empty
  return sql` order by ${sql.join(items.map((item) => itemSql(item, columns)))}`
}

function isList(orderBy: OrderBy): orderBy is readonly (string | OrderByColumn)[] {
  return Array.isArray(orderBy)
}

function parseItems(text: string): OrderByColumn[] {
  const items: OrderByColumn[] = []
  let rest = text
  do {
    const match = ITEM.exec(rest)
    if (match === null) {
      throw invalidOption(
        `orderBy ${JSON.stringify(text)} is not understood.`,
        "Write 'bucket DESC NULLS LAST, symbol'.",
      )
    }
    const [whole, quoted, bare, direction, nulls] = match
    items.push({
      column: quoted?.replaceAll('""', '"') ?? bare ?? '',
      ...(direction !== undefined && { direction: /^asc$/i.test(direction) ? 'asc' : 'desc' }),
      ...(nulls !== undefined && { nulls: /^first$/i.test(nulls) ? 'first' : 'last' }),
    })
    rest = rest.slice(whole.length)
    if (rest === '' && whole.endsWith(',')) throw invalidOption(`orderBy ${JSON.stringify(text)} ends with a comma.`)
  } while (rest !== '')
  return items
}

function itemSql(item: OrderByColumn, columns: readonly string[]): Sql {
  if (!columns.includes(item.column)) {
    throw invalidOption(
      `orderBy names ${JSON.stringify(item.column)}, which is not a column of the result.`,
      `The columns are ${columns.join(', ')}.`,
    )
  }
  return sql`${sql.column(item.column)}${keyword('direction', item.direction, DIRECTIONS)}${keyword('nulls', item.nulls, NULLS)}`
}

const DIRECTIONS = { asc: ' asc', desc: ' desc' }
const NULLS = { first: ' nulls first', last: ' nulls last' }

/** Only texts of our own reach the SQL, whatever the option holds at run time. */
function keyword(option: string, value: string | undefined, texts: Readonly<Record<string, string>>): Sql {
  if (value === undefined) return sql.empty
  const text = Object.entries(texts).find(([key]) => key === value)?.[1]
  if (text === undefined) throw invalidOption(`orderBy.${option} must be ${Object.keys(texts).join(' or ')}.`)
  return sql.raw(text)
}
