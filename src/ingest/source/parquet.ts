import { TimescaleError, UsageError } from '../../errors.ts'
import { type ReadColumn, readArrow } from '../../results/arrow-read.ts'
import { ParquetCrash, ParquetDamage, type ParquetRequest, ParquetThread } from '../../results/parquet-thread.ts'
import { untilAborted } from './row-source.ts'

/** The rows of one row group, by columns. */
export interface RowGroup {
  /** The number of its first row in the file. */
  readonly first: number
  readonly rows: number
  readonly columns: readonly ReadColumn[]
  /** Of the whole file. */
  readonly totalRows: number
}

/**
 * The row groups of a Parquet file, one in memory at a time.
 * @throws UnsupportedError PACKAGE_MISSING; UsageError INVALID_VALUE for a file that is none, is cut off or damaged
 */
export async function* parquetGroups(path: string, signal: AbortSignal | undefined): AsyncGenerator<RowGroup> {
  const file = new ParquetReader(path, signal)
  try {
    const groups = await file.open()
    const totalRows = sum(groups)
    let first = 0
    for (const [group, rows] of groups.entries()) {
      const place = `row group ${group + 1} of ${groups.length} (rows ${first} to ${first + rows - 1})`
      const columns = await file.columns({ kind: 'group', group }, place)
      const found = columns[0]?.length ?? rows
      if (found !== rows) throw damaged(path, place, `it has ${found} rows`)
      yield { first, rows, totalRows, columns }
      first += rows
    }
  } finally {
    await file.close()
  }
}

/** A column whose values would not be those of the file. */
export function unreadableColumn(name: string, problem: string): UsageError {
  return new UsageError('INVALID_VALUE', `The column ${JSON.stringify(name)} cannot be loaded: ${problem}.`, {
    hint: 'Write it as text, or leave it out of the columns that are loaded.',
  })
}

/** The first rows of a Parquet file, and how many it has. @throws as {@link parquetGroups} */
export async function parquetSample(
  path: string,
  rows: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly columns: readonly ReadColumn[]; readonly totalRows: number }> {
  const file = new ParquetReader(path, signal)
  try {
    const totalRows = sum(await file.open())
    const columns = await file.columns({ kind: 'sample', rows }, `the first ${Math.min(rows, totalRows)} rows`)
    return { columns, totalRows }
  } finally {
    await file.close()
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0)
}

/** A file that is open in a thread of its own. */
class ParquetReader {
  readonly #thread = new ParquetThread()
  readonly #path: string
  readonly #signal: AbortSignal | undefined

  constructor(path: string, signal: AbortSignal | undefined) {
    this.#path = path
    this.#signal = signal
  }

  /** @returns how many rows each row group has */
  async open(): Promise<readonly number[]> {
    return (await this.#ask({ kind: 'open', path: this.#path }, 'it')).groups
  }

  async columns(request: ParquetRequest, place: string): Promise<readonly ReadColumn[]> {
    const { blocks } = await this.#ask(request, place)
    try {
      return readArrow(blocks)
    } catch (error) {
      if (error instanceof UsageError) throw new UsageError(error.code, `${this.#path}: ${error.message}`)
      throw damaged(this.#path, place, 'its columns cannot be read', error)
    }
  }

  close(): Promise<void> {
    return this.#thread.close()
  }

  async #ask(request: ParquetRequest, place: string): ReturnType<ParquetThread['ask']> {
    const aborted = this.#signal === undefined ? undefined : untilAborted(this.#signal)
    try {
      const answer = this.#thread.ask(request)
      return await (aborted === undefined ? answer : Promise.race([answer, aborted.promise]))
    } catch (error) {
      if (error instanceof TimescaleError) throw error
      const crashed = error instanceof ParquetCrash ? 'its bytes are damaged' : undefined
      throw damaged(this.#path, place, error instanceof ParquetDamage ? error.message : crashed, error)
    } finally {
      aborted?.stop()
    }
  }
}

function damaged(path: string, place: string, reason: string | undefined, cause?: unknown): UsageError {
  const what = place === 'it' ? path : `${path}: ${place}`
  const why = reason === undefined ? '' : `: ${reason}`
  return new UsageError('INVALID_VALUE', `${what} cannot be read as Parquet${why}`, { cause })
}
