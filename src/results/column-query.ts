import type { ColumnQueryOptions, QueryOptions, Session } from '../connection/session.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import type { Statement } from '../sql/template.ts'
import type { ArrowOptions, ArrowTable } from './arrow.ts'
import { type ColumnSet, toColumns } from './column-set.ts'
import type { ColumnTable } from './dataframe.ts'
import type { FrameOptions } from './frame-column.ts'

/** How a DataFrame is read. */
export interface DataFrameOptions extends FrameOptions, Pick<QueryOptions, 'signal' | 'timeoutMs'> {
  /** `'number'` (default): the nearest number. `'string'`: the server's text, exact. */
  readonly numeric?: 'number' | 'string' | undefined
}

/** How an Arrow table is read. */
export interface ArrowQueryOptions extends ColumnQueryOptions, ArrowOptions {}

const COLUMN_KEYS = ['signal', 'timeoutMs', 'numeric']

/**
 * Runs one statement and gives its columns.
 * @throws QueryError, ConnectionError, UsageError INVALID_OPTION, INVALID_VALUE
 */
export async function queryToColumns<N extends string = string>(
  session: Session,
  statement: Statement,
  options: ColumnQueryOptions = {},
): Promise<ColumnSet<N>> {
  checkKeys(options, COLUMN_KEYS, 'queryToColumns')
  return run(session, statement, options)
}

/**
 * Runs one statement and gives an Arquero table.
 * @throws QueryError, ConnectionError, UsageError INVALID_OPTION, INVALID_VALUE
 */
export async function queryToDataFrame(
  session: Session,
  statement: Statement,
  options: DataFrameOptions = {},
): Promise<ColumnTable> {
  checkKeys(options, [...COLUMN_KEYS, 'int8', 'timestamps'], 'queryToDataFrame')
  const { int8, timestamps, numeric = 'number', ...rest } = options
  if (numeric !== 'number' && numeric !== 'string') throw invalidOption("numeric must be 'number' or 'string'.")
  const layout = numeric === 'number' ? 'float64' : 'string'
  const [columns] = await Promise.all([
    run(session, statement, { ...rest, numeric: layout }),
    // Loaded while the server works.
    import('./dataframe.ts'),
  ])
  return columns.toDataFrame({ int8, timestamps })
}

/**
 * Runs one statement and gives a flechette table.
 * @throws QueryError, ConnectionError, UsageError INVALID_OPTION, INVALID_VALUE
 */
export async function queryToArrow(
  session: Session,
  statement: Statement,
  options: ArrowQueryOptions = {},
): Promise<ArrowTable> {
  checkKeys(options, [...COLUMN_KEYS, 'infinity'], 'queryToArrow')
  const { infinity, ...rest } = options
  const columns = await run(session, statement, rest)
  return columns.toArrow({ infinity })
}

async function run<N extends string>(
  session: Session,
  statement: Statement,
  options: ColumnQueryOptions,
): Promise<ColumnSet<N>> {
  checkNumeric(options)
  return toColumns(await session.queryColumns(statement, options))
}

/** @throws UsageError INVALID_OPTION */
export function checkNumeric({ numeric }: ColumnQueryOptions): void {
  if (numeric === undefined || ['float64', 'decimal128', 'string', 'exact'].includes(numeric)) return
  throw invalidOption("numeric must be 'float64', 'decimal128', 'string' or 'exact'.")
}
