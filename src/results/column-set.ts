import type { ColumnResult, Notice } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import type { ArrowOptions, ArrowTable, IpcOptions } from './arrow.ts'
import { Column } from './column.ts'
import type { ColumnTable } from './dataframe.ts'
import type { FrameOptions } from './frame-column.ts'

/** A result as columns; `N` are their names, where they are known. */
export class ColumnSet<N extends string = string> implements Iterable<Column> {
  /** In the order of the result; two may have one name. */
  readonly columns: readonly Column[]
  /** Rows of the result. */
  readonly length: number
  /** Rows returned, inserted, updated or deleted; 0 for statements that count none. */
  readonly rowCount: number
  /** The command tag's first word, such as `SELECT`. */
  readonly command: string
  readonly notices: readonly Notice[]

  /** Made by `queryToColumns()`. */
  constructor(columns: readonly Column[], from: Pick<ColumnResult, 'command' | 'rowCount' | 'notices'>) {
    this.columns = columns
    this.length = columns[0]?.length ?? 0
    this.rowCount = from.rowCount
    this.command = from.command
    this.notices = from.notices
  }

  /** The column of a name. @throws UsageError INVALID_VALUE where there is none, or more than one */
  column(name: N): Column {
    const [found, second] = this.columns.filter((column) => column.name === name)
    if (found !== undefined && second === undefined) return found
    const problem = found === undefined ? 'No column of the result is' : 'Two columns of the result are'
    throw new UsageError('INVALID_VALUE', `${problem} named ${JSON.stringify(name)}.`, {
      hint: `Its columns are ${this.columns.map((column) => column.name).join(', ')}.`,
    })
  }

  /** An Arquero table over the same buffers. @throws UsageError as `queryToDataFrame()` */
  async toDataFrame(options: FrameOptions = {}): Promise<ColumnTable> {
    // Loaded when the first table is made: a fifth of a second that other programs need not spend.
    const { toDataFrame } = await import('./dataframe.ts')
    return toDataFrame(this.columns, options)
  }

  /** A flechette table over the same buffers. @throws UsageError as `queryToArrow()` */
  async toArrow(options: ArrowOptions = {}): Promise<ArrowTable> {
    const { toArrow } = await import('./arrow.ts')
    return toArrow(this.columns, options)
  }

  /**
   * Bytes of Arrow IPC, which polars, pandas and Arrow itself read, and parquet-wasm turns into Parquet: microseconds,
   * decimals and NULLs as they are in the result.
   * @throws UsageError as `queryToArrow()`
   */
  async toIPC(options: IpcOptions = {}): Promise<Uint8Array> {
    const { toIPC } = await import('./arrow.ts')
    return toIPC(this.columns, options)
  }

  [Symbol.iterator](): Iterator<Column> {
    return this.columns[Symbol.iterator]()
  }
}

/** Columns over the buffers of a result. */
export function toColumns<N extends string = string>(result: ColumnResult): ColumnSet<N> {
  const columns = result.fields.map(({ name, typeId }, index) => new Column(name, typeId, result.columns[index] ?? []))
  return new ColumnSet<N>(columns, result)
}
