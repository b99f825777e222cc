import {
  CHUNK_COMPRESSED,
  CHUNK_UNORDERED,
  type ChunkVersion,
  listChunkVersions,
  lockChunksSql,
} from '../../catalog/chunk-version.ts'
import type { LoadTarget } from '../../catalog/load-target.ts'
import type { RelationName } from '../../catalog/relation.ts'
import type { Session } from '../../connection/session.ts'
import type { WindowState } from '../ledger.ts'
import type { OrderRange, SortedRows } from './order-check.ts'

/** Segments of which ranges are kept; a load with more declares nothing sorted. */
const mostSegments = 100_000

/** What a batch may say to the server about its order, before it is sent. */
export interface Declaration {
  readonly rows: SortedRows
  /** Whether no rows of the load that may be in the same compressed batches overlap with these. */
  readonly apart: boolean
  /** The chunks that were there. */
  readonly before: readonly ChunkVersion[]
}

/** The server would be told something that may not be true any more: the rows must be sent again, without it. */
export class OrderDoubt extends Error {}

/**
 * Decides which batches of a load can be declared sorted. The server believes it, and two batches that overlap in a
 * segment of a chunk then make queries answer wrongly, without a sign of it. So a batch is declared only where each of
 * its chunks is one of these, with nobody else's rows compressed into it since:
 *
 * - made by this load, with rows declared only, and the ranges of each segment do not overlap;
 * - marked as unordered, which makes the server sort at every query until the chunk is compressed again.
 *
 * Whoever inserts, compresses or sorts in a chunk changes its status and with it the version of its entry in the
 * catalog, which is looked at when the rows are sent and the chunk is locked against being compressed until the commit.
 * A lock held through the load would keep other loads away, but neither inserts nor the compression policy.
 */
export class SortedLoad {
  readonly #table: RelationName
  readonly #target: LoadTarget
  readonly #mayCreate: boolean
  readonly #ranges = new Map<string, OrderRange>()
  readonly #chunks = new Map<number, string>()

  /**
   * @param mayCreate - whether each batch is a whole transaction, so that chunks that it makes can be told
   */
  constructor(table: RelationName, target: LoadTarget, mayCreate: boolean) {
    this.#table = table
    this.#target = target
    this.#mayCreate = mayCreate
  }

  /** Takes over what windows of earlier runs have left. */
  resume(states: readonly WindowState[]): void {
    for (const { ranges = [], chunks = [] } of states) {
      for (const [segment, low, high] of ranges)
        this.#extend(Buffer.from(segment, 'base64').toString('latin1'), { low, high })
      for (const [id, version] of chunks) this.#chunks.set(id, version)
    }
  }

  /** Takes the ranges of a batch for it. @returns false where they overlap with those of another one */
  reserve({ ranges }: SortedRows): boolean {
    if (this.#ranges.size + ranges.size > mostSegments) return false
    for (const [segment, range] of ranges) if (!this.#isApart(segment, range)) return false
    for (const [segment, range] of ranges) this.#extend(segment, range)
    return true
  }

  /** Asks in the transaction of a batch whether it may be declared sorted. */
  async begin(tx: Session, rows: SortedRows, apart: boolean): Promise<Declaration | undefined> {
    const before = await listChunkVersions(tx, this.#table, rows)
    // A chunk that is still to be made is not in the list.
    if (before.length === 0 && !(apart && this.#mayCreate)) return undefined
    return before.every((chunk) => this.#isSafe(chunk, apart)) ? { rows, apart, before } : undefined
  }

  /**
   * Makes sure, when its rows are sent, that a batch was declared rightly and will stay so until the commit.
   * @returns what it leaves for later windows
   * @throws OrderDoubt
   */
  async confirm(tx: Session, { rows, apart, before }: Declaration): Promise<WindowState> {
    await tx.query(lockChunksSql(this.#table, rows))
    const made: (readonly [number, string])[] = []
    for (const chunk of await listChunkVersions(tx, this.#table, rows)) {
      if (this.#isSafe(chunk, apart)) continue
      const isNew = chunk.own && chunk.status === CHUNK_COMPRESSED && before.every(({ id }) => id !== chunk.id)
      if (!isNew || !apart || !this.#mayCreate || !this.#isOrdered(chunk)) {
        throw new OrderDoubt('A chunk was changed meanwhile')
      }
      made.push([chunk.id, chunk.version])
    }
    for (const [id, version] of made) this.#chunks.set(id, version)
    const ranges = Array.from(rows.ranges, ([segment, { low, high }]) => {
      return [Buffer.from(segment, 'latin1').toString('base64'), low, high] as const
    })
    return apart ? { ranges, chunks: made } : {}
  }

  #isSafe(chunk: ChunkVersion, apart: boolean): boolean {
    const { id, status, version } = chunk
    if (!this.#isOrdered(chunk)) return false
    if ((status & CHUNK_UNORDERED) !== 0) return true
    return apart && status === CHUNK_COMPRESSED && this.#chunks.get(id) === version
  }

  /** Whether a chunk has the order that was read before: it may have been changed for the chunks that come after. */
  #isOrdered({ segmentBy, orderBy, descending }: ChunkVersion): boolean {
    const target = this.#target
    const columns = target.orderBy.map(({ column }) => column)
    const directions = target.orderBy.map(({ direction }) => direction === 'desc')
    return same(segmentBy ?? [], target.segmentBy) && same(orderBy, columns) && same(descending, directions)
  }

  #isApart(segment: string, { low, high }: OrderRange): boolean {
    const range = this.#ranges.get(segment)
    if (range === undefined) return true
    // Where they meet, a second column would decide.
    const meet = this.#target.orderBy.length === 1
    return meet ? low >= range.high || high <= range.low : low > range.high || high < range.low
  }

  #extend(segment: string, { low, high }: OrderRange): void {
    const range = this.#ranges.get(segment)
    if (range === undefined) this.#ranges.set(segment, { low, high })
    else {
      range.low = Math.min(range.low, low)
      range.high = Math.max(range.high, high)
    }
  }
}

function same<T>(one: readonly T[] | null, other: readonly T[]): boolean {
  return one?.length === other.length && one.every((item, at) => item === other[at])
}
