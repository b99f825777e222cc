import type { CompressedRange } from '../../catalog/compressed-range.ts'
import type { InputRow } from '../encode/encoder.ts'
import { EarlierImports } from './earlier-import.ts'
import type { SpillLog } from './spill-log.ts'
import { atMost, Pause, Signal } from './wait.ts'
import type { WriterBatch } from './writer-batch.ts'
import type { CollectedBatch, Lane, RowCollector } from './writer-collector.ts'
import type { WriterDelivery } from './writer-delivery.ts'
import { LateRanges, lanes, type QueuedBatch, WriterLanes } from './writer-lane.ts'
import type { WriterSettings } from './writer-option.ts'
import { WriterTrouble, withLost } from './writer-trouble.ts'

/** What a queue works with. */
export interface QueueRules {
  readonly importId: string
  readonly settings: WriterSettings
  readonly delivery: WriterDelivery
  readonly collector: RowCollector
  readonly log: SpillLog | undefined
  /** Reads where rows are late; undefined where none can be. */
  readonly readRanges: (() => Promise<readonly CompressedRange[]>) | undefined
  /** Whether rows of one key may come twice, so that lanes must not overtake each other. */
  readonly ordered: boolean
}

/**
 * Batches on their way: in memory in two lanes, or, while the database is away and until all of that is written, on disk.
 * What is on disk is older than what is in memory, and goes first.
 */
export class WriterQueue {
  readonly lanes: WriterLanes = new WriterLanes()
  readonly trouble: WriterTrouble = new WriterTrouble()
  /** How often a batch was sent in vain. */
  retried = 0
  /** Rows that were on disk at the start. */
  recovered = 0
  readonly #rules: QueueRules
  readonly #late: LateRanges
  readonly #earlier: EarlierImports
  readonly #running = new Map<Lane, Promise<void>>()
  readonly #changed = new Signal()
  readonly #added = new Signal()
  #recovering: Promise<void> | undefined
  #ended = false
  /** While it is being closed: how often the database was tried in vain since. */
  #lastTries: number | undefined

  constructor(rules: QueueRules) {
    this.#rules = rules
    this.#late = new LateRanges(rules.readRanges)
    this.#earlier = new EarlierImports(rules.importId, rules.delivery, rules.log)
  }

  /** Encoded bytes in memory. */
  get bytes(): number {
    return this.#bytesOf('live') + this.#bytesOf('late')
  }

  #bytesOf(lane: Lane): number {
    return this.lanes.bytesOf(lane) + this.#rules.collector.bytesOf(lane)
  }

  get spilledRows(): number {
    return this.#rules.log?.rows ?? 0
  }

  get spilledBytes(): number {
    return this.#rules.log?.bytes ?? 0
  }

  /** When the oldest row on its way was accepted. */
  get since(): number | undefined {
    return this.#rules.log?.since ?? this.lanes.oldest?.batch.since
  }

  /** Whether rows can be taken; late ones that wait for a lock take no more than half of the room for all. */
  hasRoom(lane: Lane): boolean {
    const { settings, ordered } = this.#rules
    if (this.bytes >= settings.bufferBytes) return false
    return lane === 'live' || ordered || this.#bytesOf('late') < settings.bufferBytes / 2
  }

  /** The lane in which rows wait for room. Those of one key must not overtake each other: there is one then. */
  waitingLane(rows: readonly InputRow[]): Lane {
    return !this.#rules.ordered && this.#rules.collector.hasLate(rows) ? 'late' : 'live'
  }

  /** Begins with what is on disk. */
  async start(): Promise<void> {
    await this.#readRanges()
    const { log } = this.#rules
    this.recovered = log?.rows ?? 0
    for (const removed of (await log?.removeEmpty()) ?? []) await this.#earlier.removed(removed)
    this.#kick()
  }

  /** Takes batches, in their order. */
  add(batches: readonly CollectedBatch[]): void {
    for (const { lane, ...batch } of batches) this.lanes.add(lane, { ...batch, importId: this.#rules.importId })
    if (batches.length === 0) return
    this.#added.give()
    this.#kick()
  }

  /** Waits until more can be taken. @throws why it will not be */
  room(lane: Lane): Promise<void> {
    return this.#until(() => this.hasRoom(lane))
  }

  /** Waits until all that was added before is in the table or on disk. @throws why it is not */
  settled(): Promise<void> {
    const { number } = this.lanes
    return this.#until(() => (this.lanes.oldest?.batch.number ?? Number.POSITIVE_INFINITY) > number)
  }

  /** Waits for the end: all in the table, or on disk where the database is away. @throws why rows are lost */
  async close(): Promise<void> {
    this.#lastTries = 0
    this.#added.give()
    try {
      const ended = (): boolean => this.lanes.oldest === undefined && (this.spilledRows === 0 || this.#isLeft)
      await this.#until(ended, Date.now())
      await this.#stop()
    } catch (error) {
      await this.#stop()
      // A writer that stopped at a bad row keeps the others for the next one.
      if (this.trouble.failure !== undefined) await this.#spill()
      throw withLost(error, this.lanes.rows)
    } finally {
      await this.#end()
    }
  }

  /** Whether what is on disk is left there at the end. A connection that was cut a moment ago is no reason to. */
  get #isLeft(): boolean {
    return this.trouble.away !== undefined && (this.#lastTries ?? 0) >= 3
  }

  async #stop(): Promise<void> {
    this.#ended = true
    this.#changed.give()
    this.#added.give()
    await Promise.all([this.#recovering, ...this.#running.values()])
  }

  async #end(): Promise<void> {
    const { log, delivery, importId } = this.#rules
    try {
      await log?.close()
    } finally {
      const clean = this.lanes.oldest === undefined && this.spilledRows === 0 && this.trouble.away === undefined
      // Where this fails, a row of tsdbkit.import stays that nobody looks at.
      if (clean && this.trouble.failure === undefined) await delivery.endImport(importId, []).catch(() => undefined)
    }
  }

  #kick(): void {
    if (this.#ended || this.trouble.failure !== undefined || this.#recovering !== undefined) return
    if (!this.#isDirect) {
      this.#recovering = this.#recover().finally(() => {
        this.#recovering = undefined
        this.#kick()
      })
      return
    }
    for (const lane of lanes) {
      if (this.#running.has(lane) || this.lanes.first(lane) === undefined) continue
      const running = this.#drain(lane).finally(() => {
        this.#running.delete(lane)
        this.#kick()
      })
      this.#running.set(lane, running)
    }
  }

  /** Whether batches go from memory to the table. */
  get #isDirect(): boolean {
    return this.trouble.away === undefined && this.spilledRows === 0 && this.trouble.failure === undefined
  }

  async #drain(lane: Lane): Promise<void> {
    for (;;) {
      const item = this.lanes.first(lane)
      if (item === undefined || this.#ended) return
      await item.after
      if (!this.#isDirect) return
      try {
        await this.#deliver(item.batch)
      } catch (error) {
        this.#note(error)
        return
      }
      this.#settle(item)
    }
  }

  /** Writes what is on disk, or tries again and again what is next, until batches can go their direct way. */
  async #recover(): Promise<void> {
    const { log, settings } = this.#rules
    await Promise.all(this.#running.values())
    for (let attempt = 0; !this.#ended && this.trouble.failure === undefined; ) {
      if (this.#lastTries === 0) attempt = 0
      if (this.trouble.away !== undefined || this.bytes > settings.bufferBytes / 2) await this.#spill()
      try {
        const head = await log?.next()
        const item = head === undefined ? this.lanes.oldest : undefined
        if (head === undefined && item === undefined) this.#back()
        if (this.#isDirect) return
        if (head !== undefined) await this.#deliver(head)
        if (item !== undefined) await this.#deliver(item.batch)
        if (item !== undefined) this.#settle(item)
        else await this.#removeHead()
        attempt = 0
        if (this.spilledRows === 0) return
      } catch (error) {
        this.#note(error)
        await this.#pause(attempt++)
      }
    }
  }

  async #removeHead(): Promise<void> {
    const removed = await this.#rules.log?.remove()
    this.#changed.give()
    if (removed !== undefined) await this.#earlier.removed(removed)
  }

  async #deliver(batch: WriterBatch): Promise<void> {
    const { delivery, log } = this.#rules
    await delivery.deliver(batch)
    if (log?.holds(batch.importId, batch.number) !== true) delivery.forget([batch])
    this.#back()
    // Where it fails, so does the next batch, which says so.
    if (this.#late.isOld) this.#readRanges().catch(() => undefined)
  }

  #settle(item: QueuedBatch): void {
    this.lanes.remove(item)
    this.#changed.give()
  }

  /** The database has answered. */
  #back(): void {
    if (this.trouble.away === undefined) return
    this.trouble.away = undefined
    this.trouble.spill = undefined
    this.#changed.give()
  }

  #note(error: unknown): void {
    const isNew = this.trouble.note(error)
    if (this.trouble.failure !== undefined) for (const item of this.lanes.all) item.settle()
    else {
      this.retried++
      if (this.#lastTries !== undefined) this.#lastTries++
      if (isNew && this.trouble.away !== undefined) this.#tell(this.trouble.away.error)
    }
    this.#changed.give()
  }

  /** Moves all batches in memory to disk, in their order. */
  async #spill(): Promise<void> {
    const { log } = this.#rules
    const items = this.lanes.all
    if (log === undefined || items.length === 0) return
    const { taken, error } = await log.append(items.map(({ batch }) => batch))
    for (const item of items.slice(0, taken)) this.#settle(item)
    if (error !== undefined && this.trouble.spill === undefined) this.#tell(error)
    this.trouble.spill = error
    this.#changed.give()
  }

  /** Before the next attempt; new batches go to disk meanwhile. */
  async #pause(attempt: number): Promise<void> {
    const pause = new Pause(attempt)
    while (!pause.isOver && !this.#ended) {
      // What is on disk needs no process that stays for it.
      pause.keepsProcess = this.bytes > 0
      await Promise.race([pause.elapsed, this.#added.next()])
      if (this.#lastTries === 0) break
      if (!pause.isOver && !this.#ended) await this.#spill()
    }
    pause.end()
  }

  #readRanges(): Promise<void> {
    const { collector, ordered } = this.#rules
    return this.#late.use(collector, () => {
      if (!ordered) return
      // Rows of one key may change their lane now.
      this.add(collector.takeAll())
      this.lanes.cross()
    })
  }

  /** @param since - from when on giveUpMs count; default the time the database went away @throws why it will not come */
  async #until(ready: () => boolean, since?: number): Promise<void> {
    const { log, settings } = this.#rules
    for (;;) {
      const changed = this.#changed.next()
      if (this.trouble.failure !== undefined) throw this.trouble.failure
      if (ready()) return
      if (since === undefined) this.trouble.check()
      await atMost(changed, this.trouble.patience(settings.giveUpMs, log !== undefined, since))
    }
  }

  /** Not from within: what a callback throws must not end up as a problem of the database. */
  #tell(error: Error): void {
    queueMicrotask(() => this.#rules.settings.onError(error))
  }
}
