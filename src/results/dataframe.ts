import { type ColumnTable, table } from 'arquero'

export type { ColumnTable }

import { UsageError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { type Column, requireDifferentNames } from './column.ts'
import { type FrameColumn, type FrameOptions, frameColumn } from './frame-column.ts'

/**
 * The columns as an Arquero table over the same buffers. A column of numbers without NULL is a typed array; other values
 * are made when they are asked for: Dates of timestamps, texts of words. bigint becomes number unless `int8: 'bigint'`.
 * @throws UsageError INVALID_VALUE for two columns of one name, one named `__proto__`, or a number beyond ±2^53; INVALID_OPTION
 */
export function toDataFrame(columns: readonly Column[], options: FrameOptions = {}): ColumnTable {
  checkKeys(options, ['int8', 'timestamps'], 'queryToDataFrame')
  const { int8 = 'number', timestamps = 'date' } = options
  if (int8 !== 'number' && int8 !== 'bigint') throw invalidOption("int8 of a DataFrame must be 'number' or 'bigint'.")
  if (timestamps !== 'date' && timestamps !== 'micros') throw invalidOption("timestamps must be 'date' or 'micros'.")
  requireDifferentNames(columns)
  if (columns.some(({ name }) => name === '__proto__')) {
    // Arquero keeps its columns in an object.
    throw new UsageError('INVALID_VALUE', 'A DataFrame cannot have a column named "__proto__".', {
      hint: 'Give it another name with AS.',
    })
  }
  const frame = new Map<string, FrameColumn>()
  for (const column of columns) frame.set(column.name, frameColumn(column, { int8, timestamps }))
  return table(frame)
}
