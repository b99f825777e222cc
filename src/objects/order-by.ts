import type { OrderByColumn } from '../catalog/compression.ts'
import { UsageError } from '../errors.ts'
import { quoteIdentifier } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'

/** One column of an order: `'time'`, `'time DESC NULLS LAST'`, `'"Odd column" desc'`, or typed. */
export type OrderByInput =
  | string
  | { readonly column: string; readonly direction?: 'asc' | 'desc'; readonly nulls?: 'first' | 'last' }

const ORDER_KEYS = Object.keys({ column: true, direction: true, nulls: true } satisfies Record<
  keyof Exclude<OrderByInput, string>,
  true
>)

const TEXT = /^\s*(?:"((?:[^"]|"")+)"|([^"]+?))(?:\s+(asc|desc))?(?:\s+nulls\s+(first|last))?\s*$/i

/**
 * The columns of an order, with what is left out filled in as the server does: ascending, nulls last, or first where
 * descending. One text may hold several columns, separated by commas.
 * @throws UsageError INVALID_OPTION
 */
export function parseOrderBy(input: OrderByInput | readonly OrderByInput[]): OrderByColumn[] {
  const list = Array.isArray(input) ? input : [input]
  const columns = list.flatMap((one: OrderByInput) => {
    if (typeof one === 'string') return splitList(one).map(parseText)
    checkKeys(one, ORDER_KEYS, 'A column of an order')
    return [complete(one.column, one.direction, one.nulls)]
  })
  if (columns.length === 0) throw new UsageError('INVALID_OPTION', 'An order needs at least one column.')
  return columns
}

/** The columns of a list such as `'a, "b, c"'` or `['a', 'b']`, exactly as written. */
export function parseColumns(input: string | readonly string[]): string[] {
  if (typeof input !== 'string') return [...input]
  return splitList(input).map((part) => {
    const text = part.trim()
    return /^"(?:[^"]|"")+"$/.test(text) ? text.slice(1, -1).replaceAll('""', '"') : text
  })
}

/** An order as SQL text; what the server would do anyway is left out. */
export function formatOrderBy(columns: readonly OrderByColumn[]): string {
  return columns
    .map(({ column, direction, nulls }) => {
      const usual = direction === 'desc' ? 'first' : 'last'
      return [
        quoteIdentifier(column),
        ...(direction === 'desc' ? ['desc'] : []),
        ...(nulls === usual ? [] : [`nulls ${nulls}`]),
      ].join(' ')
    })
    .join(', ')
}

function parseText(text: string): OrderByColumn {
  const match = TEXT.exec(text)
  const column = match?.[1]?.replaceAll('""', '"') ?? match?.[2]
  if (match === null || column === undefined) {
    throw new UsageError('INVALID_OPTION', `The order ${JSON.stringify(text)} is not understood.`, {
      hint: "Write 'time', 'time DESC' or 'time DESC NULLS LAST'.",
    })
  }
  const direction = match[3]?.toLowerCase() === 'desc' ? 'desc' : match[3] === undefined ? undefined : 'asc'
  const nulls = match[4]?.toLowerCase() === 'first' ? 'first' : match[4] === undefined ? undefined : 'last'
  return complete(column, direction, nulls)
}

function complete(
  column: string,
  direction: 'asc' | 'desc' | undefined,
  nulls: 'first' | 'last' | undefined,
): OrderByColumn {
  return { column, direction: direction ?? 'asc', nulls: nulls ?? (direction === 'desc' ? 'first' : 'last') }
}

/** Cuts at commas outside of double quotes. */
function splitList(text: string): string[] {
  if ((text.match(/"/g) ?? []).length % 2 === 1) {
    throw new UsageError('INVALID_OPTION', `The list ${JSON.stringify(text)} has a double quote that is not balanced.`)
  }
  return text.match(/(?:"(?:[^"]|"")*"|[^,"])+/g)?.filter((part) => part.trim() !== '') ?? []
}
