import { type ColumnTable, table } from 'arquero'

export type { ColumnTable }

import type { QueryResult, ResultColumn } from '../connection/session.ts'
import { UsageError } from '../errors.ts'

/** How columns become those of a DataFrame. */
export interface DataFrameOptions {
  /**
   * How bigint columns arrive: `'number'` (default; beyond ±2^53 is an error) or `'bigint'`, which Arquero's means and
   * sums of mixed columns cannot work with.
   */
  readonly int8?: 'number' | 'bigint'
}

const INT8 = 20
const NUMERIC = 1700

/**
 * A result as an Arquero table: its columns in their order, also where it has no rows. numeric becomes number (the
 * nearest one), bigint becomes number or, with `int8: 'bigint'`, bigint; everything else stays as it is in the rows,
 * so NULL is null and a timestamp a Date.
 * @throws UsageError INVALID_VALUE for two columns of one name, or a bigint beyond ±2^53 without `int8: 'bigint'`.
 */
export function toDataFrame(result: QueryResult, options: DataFrameOptions = {}): ColumnTable {
  const columns = new Map<string, unknown[]>()
  for (const column of result.columns) {
    if (columns.has(column.name)) {
      throw new UsageError('INVALID_VALUE', `Two columns of the result are named ${JSON.stringify(column.name)}.`, {
        hint: 'Name one of them with AS.',
      })
    }
    const convert = converter(column, options)
    columns.set(
      column.name,
      result.rows.map((row) => convert(row[column.name])),
    )
  }
  return table(columns)
}

function converter(column: ResultColumn, options: DataFrameOptions): (value: unknown) => unknown {
  if (column.typeId === NUMERIC) return (value) => (typeof value === 'string' ? Number(value) : value)
  if (column.typeId !== INT8) return (value) => value
  return options.int8 === 'bigint' ? (value) => toBigint(value) : (value) => toSafeNumber(value, column.name)
}

function toBigint(value: unknown): unknown {
  return typeof value === 'string' || typeof value === 'number' ? BigInt(value) : value
}

function toSafeNumber(value: unknown, column: string): unknown {
  if (typeof value !== 'string' && typeof value !== 'bigint') return value
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  throw new UsageError('INVALID_VALUE', `A value of the column ${JSON.stringify(column)} is beyond ±2^53.`, {
    hint: "Ask for the DataFrame with int8: 'bigint'.",
  })
}
