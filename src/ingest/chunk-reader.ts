import type { BatchRows } from '../connection/batch-query.ts'
import { cancelledError } from '../connection/server-error.ts'
import type { QueryOptions } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { repeatKeeper } from './source/repeat-keeper.ts'

const mostRows = 10_000
const mostBytes = 1024 * 1024

/** Rows that go in one statement. */
export interface Chunk {
  readonly rows: readonly (readonly unknown[])[]
  /** The number of its first row. */
  readonly first: number
  readonly last: boolean
}

/** Reads chunks, and stops to wait for the source when the call is interrupted. */
export class ChunkReader {
  readonly #chunks: AsyncGenerator<Chunk, undefined>
  readonly #interrupted: Promise<never> | undefined
  readonly #timer: NodeJS.Timeout | undefined
  readonly #signal: AbortSignal | undefined
  #onAbort = (): void => undefined
  #waiting = false

  constructor(rows: BatchRows, { signal, timeoutMs }: QueryOptions) {
    this.#chunks = cut(rows)
    this.#signal = signal
    if (signal === undefined && timeoutMs === undefined) return
    let reject = (_error: unknown): void => undefined
    this.#interrupted = new Promise((_, refuse) => {
      reject = refuse
    })
    // Raced with each chunk; it may come while none is asked for.
    this.#interrupted.catch(() => undefined)
    if (signal !== undefined) {
      this.#onAbort = () => reject(cancelledError(signal))
      if (signal.aborted) this.#onAbort()
      signal.addEventListener('abort', this.#onAbort, { once: true })
    }
    if (timeoutMs !== undefined) this.#timer = setTimeout(() => reject(timedOut(timeoutMs)), timeoutMs)
  }

  /** @throws what the source throws; QueryError QUERY_CANCELLED, STATEMENT_TIMEOUT */
  async next(): Promise<Chunk | undefined> {
    this.#waiting = true
    const next = this.#chunks.next()
    const { value } = await (this.#interrupted === undefined ? next : Promise.race([next, this.#interrupted]))
    this.#waiting = false
    return value
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#signal?.removeEventListener('abort', this.#onAbort)
    const closing = this.#chunks.return(undefined).catch(() => undefined)
    // A source that never gives its next row never closes either.
    if (!this.#waiting) await closing
  }
}

function timedOut(timeoutMs: number): QueryError {
  return new QueryError('STATEMENT_TIMEOUT', `The rows did not come to their end within ${timeoutMs} ms`, {
    sqlState: '57014',
  })
}

/** Rows in lists of a bounded size; leaving the loop closes the source. */
async function* cut(source: BatchRows): AsyncGenerator<Chunk, undefined> {
  // What is no array is refused later.
  const keep = repeatKeeper<readonly unknown[]>((row) => (Array.isArray(row) ? row.slice() : row))
  let rows: (readonly unknown[])[] = []
  let first = 0
  let bytes = 0
  for await (const row of source) {
    if (rows.length >= mostRows || bytes >= mostBytes) {
      yield { rows, first, last: false }
      first += rows.length
      rows = []
      bytes = 0
    }
    rows.push(keep(row))
    if (Array.isArray(row)) for (const value of row) bytes += sizeOf(value)
  }
  if (rows.length > 0) yield { rows, first, last: true }
  return undefined
}

function sizeOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  return value instanceof Uint8Array ? 2 * value.length : 8
}
