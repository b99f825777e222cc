import type { CompressedRange } from '../../catalog/compressed-range.ts'
import { batchBytes, type Lane, type WriterBatch } from './writer-batch.ts'
import type { RowCollector } from './writer-collector.ts'

/** A batch in memory, on its way. */
export interface QueuedBatch {
  readonly batch: WriterBatch
  readonly bytes: number
  /** What must be out of the way before it. */
  readonly after: Promise<unknown>
  readonly settled: Promise<void>
  /** Called when it is in the table, on disk, or given up. */
  readonly settle: () => void
}

/** The batches in memory, in two lanes that go beside each other, numbered in the order they came. */
export class WriterLanes {
  /** The number of the last one. */
  number = 0
  readonly #bytes: Record<Lane, number> = { live: 0, late: 0 }
  readonly #queued: Record<Lane, QueuedBatch[]> = { live: [], late: [] }
  readonly #gates = new Map<Lane, Promise<unknown>>()
  #crossing: Promise<void> | undefined

  /** Appends a batch to its lane; it gets its number. */
  add(unnumbered: Omit<WriterBatch, 'number'>): void {
    const batch = { ...unnumbered, number: ++this.number }
    const { lane } = batch
    let settle = (): void => undefined
    const settled = new Promise<void>((resolve) => {
      settle = resolve
    })
    const bytes = batchBytes(batch)
    this.#bytes[lane] += bytes
    this.#queued[lane].push({ batch, bytes, after: this.#gates.get(lane) ?? Promise.resolve(), settled, settle })
  }

  /** Encoded bytes. */
  bytesOf(lane: Lane): number {
    return this.#bytes[lane]
  }

  get rows(): number {
    return this.all.reduce((sum, { batch }) => sum + batch.rows, 0)
  }

  first(lane: Lane): QueuedBatch | undefined {
    return this.#queued[lane][0]
  }

  /** The one that came first of all. */
  get oldest(): QueuedBatch | undefined {
    const [live, late] = [this.first('live'), this.first('late')]
    if (live === undefined || late === undefined) return live ?? late
    return live.batch.number < late.batch.number ? live : late
  }

  /** Whether some of a lane wait for some of the other. */
  get isCrossed(): boolean {
    return this.#crossing !== undefined
  }

  /** All of them, in the order they came. */
  get all(): QueuedBatch[] {
    const { live, late } = this.#queued
    return [...live, ...late].sort((one, other) => one.batch.number - other.batch.number)
  }

  /** Takes one out. */
  remove(queued: QueuedBatch): void {
    const { lane } = queued.batch
    const at = this.#queued[lane].indexOf(queued)
    if (at < 0) return
    this.#queued[lane].splice(at, 1)
    this.#bytes[lane] -= queued.bytes
    queued.settle()
  }

  /** What comes from now on waits, in each lane, for what the other one has now. */
  cross(): void {
    const settled = (lane: Lane): Promise<unknown> => Promise.all(this.#queued[lane].map((one) => one.settled))
    const [live, late] = [settled('live'), settled('late')]
    this.#gates.set('live', late)
    this.#gates.set('late', live)
    const crossing = Promise.all([live, late]).then(() => {
      if (this.#crossing === crossing) this.#crossing = undefined
    })
    this.#crossing = crossing
  }
}

/** How old what is known of the compressed chunks may get. */
const rangesMs = 30_000

/** Where rows are late, read again from time to time. */
export class LateRanges {
  readonly #read: (() => Promise<readonly CompressedRange[]>) | undefined
  #readAt = Number.NEGATIVE_INFINITY

  /** @param read - undefined where there are no chunks */
  constructor(read: (() => Promise<readonly CompressedRange[]>) | undefined) {
    this.#read = read
  }

  get isOld(): boolean {
    return performance.now() - this.#readAt > rangesMs
  }

  /** Reads them, and uses them from now on; `before` is called where they are others than they were. */
  async use(collector: RowCollector, before: () => void): Promise<void> {
    this.#readAt = performance.now()
    const ranges = await this.#read?.()
    if (ranges === undefined || JSON.stringify(ranges) === JSON.stringify(collector.ranges)) return
    before()
    collector.ranges = ranges
  }
}
