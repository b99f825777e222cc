import type { TableDescription } from '../../catalog/column.ts'
import { UsageError } from '../../errors.ts'
import type { LoadOptions } from '../load-option.ts'
import { encodedColumns, TableEncoder } from './encoder.ts'
import type { ValueOptions } from './value.ts'

/**
 * The encoder of a source whose rows have the values `given`, by the options `columns` and `constants`.
 * @param given - the names of the source's values, in its order
 * @throws UsageError INVALID_VALUE for names that no column has, or that the source lacks
 */
export function layoutEncoder(
  table: TableDescription,
  given: readonly string[],
  options: Pick<LoadOptions, 'columns' | 'constants'> & ValueOptions,
): TableEncoder {
  const pairs = columnPairs(given, options.columns)
  const constants = Object.entries(options.constants ?? {})
  const twice = constants.find(([name]) => pairs.some(({ column }) => column === name))
  if (twice !== undefined) {
    throw new UsageError('INVALID_VALUE', `The column ${JSON.stringify(twice[0])} is in the source and a constant too`)
  }
  const columns = encodedColumns(
    table,
    [...pairs.map(({ column }) => column), ...constants.map(([name]) => name)],
    options,
  )
  const own = columns.slice(0, pairs.length)
  return new TableEncoder(own, {
    properties: pairs.map(({ source }) => source),
    places: pairs.map(({ source }) => given.indexOf(source)),
    width: given.length,
    strict: options.columns === undefined,
    constants: columns.slice(pairs.length).map((column, at) => ({ column, value: constants[at]?.[1] })),
  })
}

interface ColumnPair {
  /** The name in the source. */
  readonly source: string
  readonly column: string
}

/** Which value of the source goes to which column. */
export function columnPairs(given: readonly string[], columns: LoadOptions['columns']): readonly ColumnPair[] {
  const twice = given.find((name, at) => given.indexOf(name) !== at)
  if (twice !== undefined) {
    throw new UsageError('INVALID_VALUE', `The source has two columns ${JSON.stringify(twice)}`)
  }
  if (columns === undefined) {
    if (given.includes('')) throw nameless(given)
    return given.map((name) => ({ source: name, column: name }))
  }
  const pairs = isList(columns)
    ? columns.map((name) => ({ source: name, column: name }))
    : Object.entries(columns).map(([source, column]) => ({ source, column }))
  const missing = pairs.find(({ source }) => !given.includes(source))
  if (missing === undefined) return pairs
  throw new UsageError('INVALID_VALUE', `The source has no column ${JSON.stringify(missing.source)}`, {
    hint: `It has ${given.join(', ')}.`,
  })
}

/** A column that no table can have: pandas writes its index so. */
function nameless(given: readonly string[]): UsageError {
  const others = given.filter((name) => name !== '').join(', ')
  return new UsageError('INVALID_VALUE', `Column ${given.indexOf('') + 1} of the source has no name`, {
    hint: `Leave it out by naming the others in the option columns: ${others}. pandas writes its index so, but not with index=False.`,
  })
}

function isList(columns: NonNullable<LoadOptions['columns']>): columns is readonly string[] {
  return Array.isArray(columns)
}
