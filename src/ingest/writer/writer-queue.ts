import type { CompressedRange } from '../../catalog/compressed-range.ts'
import type { InputRow } from '../encode/encoder.ts'
import { EarlierImports } from './earlier-import.ts'
import type { SpillLog } from './spill-log.ts'
import { atMost, Pause, Signal } from './wait.ts'
import { type Lane, lanes, type WriterBatch } from './writer-batch.ts'
import type { CollectedBatch, RowCollector } from './writer-collector.ts'
import type { WriterDelivery } from './writer-delivery.ts'
import { LateRanges, type QueuedBatch, WriterLanes } from './writer-lane.ts'
import type { WriterSettings } from './writer-option.ts'
import { WriterTrouble, withLost } from './writer-trouble.ts'

/** So often a lane is tried in vain before its rows are left on disk at the end. */
const mostTries = 3

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
 * Batches on their way, in two lanes that fail on their own: a database that is away is one in which both do. Of a lane that
 * cannot be written what is in memory goes to disk; that is older than what comes then, and is written first.
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
  readonly #giveUp: Record<Lane, AbortController> = { live: new AbortController(), late: new AbortController() }
  /** Whether what is on disk may not be written but in its order. */
  #oneLine = false
  #ended = false
  /** While it is being closed: how often a lane was tried in vain since. */
  #lastTries: Map<Lane, number> | undefined

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
    // The lanes of an earlier writer were others.
    this.#oneLine = this.#rules.ordered && this.recovered > 0
    for (const removed of (await log?.removeEmpty()) ?? []) await this.#earlier.removed(removed)
    this.#kick()
  }

  /** Takes batches, in their order. */
  add(batches: readonly CollectedBatch[]): void {
    for (const batch of batches) this.lanes.add({ ...batch, importId: this.#rules.importId })
    if (batches.length === 0) return
    this.#added.give()
    this.#kick()
  }

  /** Waits until more can be taken. @throws why it will not be */
  room(lane: Lane): Promise<void> {
    return this.#until(() => this.hasRoom(lane), this.#sharing(lane))
  }

  /** Waits until all that was added before is in the table or on disk. @throws why it is not */
  settled(): Promise<void> {
    const { number } = this.lanes
    return this.#until(() => (this.lanes.oldest?.batch.number ?? Number.POSITIVE_INFINITY) > number, lanes)
  }

  /** @throws why rows cannot be accepted */
  check(rows: readonly InputRow[]): void {
    this.trouble.check(this.trouble.spill === undefined ? lanes : this.#sharing(this.waitingLane(rows)))
  }

  /** The lanes that stand in one line with this one. */
  #sharing(lane: Lane): readonly Lane[] {
    return this.#rules.ordered ? lanes : [lane]
  }

  /** Waits for the end: all in the table, or on disk where the database is away. @throws why rows are lost */
  async close(): Promise<void> {
    this.#lastTries = new Map()
    this.#added.give()
    // An attempt may have been given hours by now.
    const limit = setTimeout(() => this.#giveUpHeld(), this.#rules.settings.giveUpMs)
    try {
      const ended = (): boolean => this.lanes.oldest === undefined && lanes.every((lane) => this.#isLeft(lane))
      await this.#until(ended, lanes, performance.now())
      await this.#stop()
    } catch (error) {
      await this.#stop()
      // A writer that stopped at a bad row keeps the others for the next one.
      if (this.trouble.failure !== undefined) await this.#spill(lanes)
      throw withLost(error, this.lanes.rows)
    } finally {
      clearTimeout(limit)
      await this.#end()
    }
  }

  /** Whether what a lane has on disk is left there at the end. A connection that was cut a moment ago is no reason to. */
  #isLeft(lane: Lane): boolean {
    if ((this.#rules.log?.rowsOf(lane) ?? 0) === 0) return true
    return this.trouble.isHeld([lane]) && (this.#lastTries?.get(lane) ?? 0) >= mostTries
  }

  /** Whether it is being closed and a line was not tried since. */
  #isUntried(line: readonly Lane[]): boolean {
    return this.#lastTries !== undefined && line.every((lane) => this.#lastTries?.has(lane) !== true)
  }

  #giveUpHeld(): void {
    for (const lane of lanes) if (this.trouble.isHeld([lane])) this.#giveUp[lane].abort()
  }

  async #stop(): Promise<void> {
    this.#ended = true
    this.#changed.give()
    this.#added.give()
    this.#giveUpHeld()
    await Promise.all(this.#running.values())
  }

  async #end(): Promise<void> {
    const { log, delivery, importId } = this.#rules
    try {
      await log?.close()
    } finally {
      const clean = this.lanes.oldest === undefined && this.spilledRows === 0 && !this.trouble.isHeld(lanes)
      // Where this fails, a row of tsdbkit.import stays that nobody looks at.
      if (clean && this.trouble.failure === undefined) await delivery.endOwnImport(importId).catch(() => undefined)
    }
  }

  #kick(): void {
    if (this.#ended || this.trouble.failure !== undefined) return
    if (this.#oneLine) {
      if (this.#running.size === 0) this.#run('live', lanes)
      return
    }
    for (const lane of lanes) if (!this.#running.has(lane)) this.#run(lane, [lane])
  }

  #run(lane: Lane, line: readonly Lane[]): void {
    if (!this.#hasMore(line)) return
    const running = this.#drain(line).finally(() => {
      this.#running.delete(lane)
      this.#kick()
    })
    this.#running.set(lane, running)
  }

  #hasMore(line: readonly Lane[]): boolean {
    return this.#isSpilled(line) || line.some((lane) => this.lanes.first(lane) !== undefined)
  }

  #isSpilled(line: readonly Lane[]): boolean {
    return line.some((lane) => (this.#rules.log?.rowsOf(lane) ?? 0) > 0)
  }

  /** Writes all of a lane, or of both in one line: first what is on disk. */
  async #drain(line: readonly Lane[]): Promise<void> {
    for (let attempt = 0; this.#hasMore(line) && !this.#ended && this.trouble.failure === undefined; ) {
      if (this.#oneLine !== (line === lanes)) return
      const began = performance.now()
      // One that began before says nothing of how it is now.
      const tries = this.#lastTries
      try {
        if (await this.#next(line)) attempt = 0
      } catch (error) {
        if (this.#isUntried(line)) attempt = 0
        this.#note(error, line)
        if (tries !== undefined) this.#countTry(tries, line, performance.now() - began)
        if (this.trouble.failure === undefined) await this.#pause(attempt++, line)
      }
    }
    if (this.#oneLine && !this.#isSpilled(lanes)) this.#oneLine = false
    // What was left out as damaged needs no answer.
    if (!this.#hasMore(line) && this.trouble.back(line)) this.#changed.give()
  }

  /** Writes the next batch of a line. @returns false where it has to be looked for anew */
  async #next(line: readonly Lane[]): Promise<boolean> {
    const { log, settings } = this.#rules
    const isHeld = this.trouble.isHeld(line)
    if (isHeld || (this.#isSpilled(line) && this.bytes > settings.bufferBytes / 2)) await this.#spill(line)
    const head = this.#isSpilled(line) ? await log?.next(line === lanes ? undefined : line[0]) : undefined
    if (head !== undefined) {
      const delivered = this.#deliver(head, line)
      // What comes meanwhile is not kept in memory for as long as this may take.
      if (isHeld) await this.#spillUntil(delivered, line)
      await delivered
      await this.#removed(head)
      return true
    }
    const item = line === lanes ? this.lanes.oldest : this.lanes.first(line[0] ?? 'live')
    if (item === undefined) return true
    await item.after
    // It may have gone to disk meanwhile.
    if (this.lanes.first(item.batch.lane) !== item || this.#isSpilled(line) || this.#ended) return false
    await this.#deliver(item.batch, line)
    this.#settle(item)
    return true
  }

  async #removed(batch: WriterBatch): Promise<void> {
    const removed = await this.#rules.log?.remove(batch)
    if (this.#oneLine && !this.#isSpilled(lanes)) this.#oneLine = false
    this.#changed.give()
    if (removed !== undefined) await this.#earlier.removed(removed)
  }

  async #deliver(batch: WriterBatch, line: readonly Lane[]): Promise<void> {
    const { delivery, log } = this.#rules
    await delivery.deliver(batch, this.#giveUp[batch.lane].signal)
    if (log?.holds(batch.importId, batch.number) !== true) delivery.forget([batch])
    if (this.trouble.back(line)) this.#changed.give()
    // Where it fails, so does the next batch, which says so.
    if (this.#late.isOld) this.#readRanges().catch(() => undefined)
  }

  #settle(item: QueuedBatch): void {
    this.lanes.remove(item)
    this.#changed.give()
  }

  #note(error: unknown, line: readonly Lane[]): void {
    const news = this.trouble.note(error, line)
    if (this.trouble.failure !== undefined) for (const item of this.lanes.all) item.settle()
    else {
      this.retried++
      if (news !== undefined) this.#tell(news)
    }
    this.#changed.give()
  }

  #countTry(tries: Map<Lane, number>, line: readonly Lane[], tookMs: number): void {
    // One that took as long as it may is not tried again for the end.
    const count = tookMs >= this.#rules.settings.sendTimeoutMs ? mostTries : 1
    for (const lane of line) tries.set(lane, (tries.get(lane) ?? 0) + count)
    this.#changed.give()
  }

  /** Moves all batches that lanes have in memory to disk, in their order. */
  async #spill(line: readonly Lane[]): Promise<void> {
    const { log, ordered } = this.#rules
    const items = this.lanes.all.filter(({ batch }) => line.includes(batch.lane))
    if (log === undefined || items.length === 0) return
    // What waits for them in the other lane would overtake them.
    if (ordered && this.lanes.isCrossed) this.#oneLine = true
    const { taken, error } = await log.append(items.map(({ batch }) => batch))
    for (const item of items.slice(0, taken)) this.#settle(item)
    if (error !== undefined && this.trouble.spill === undefined) this.#tell(error)
    this.trouble.spill = error
    this.#changed.give()
  }

  /** Moves what comes until something is done to disk. */
  async #spillUntil(done: Promise<unknown>, line: readonly Lane[]): Promise<void> {
    let isDone = false
    const end = done
      .catch(() => undefined)
      .then(() => {
        isDone = true
      })
    while (!isDone) {
      await Promise.race([end, this.#added.next()])
      if (!isDone) await this.#spill(line)
    }
  }

  /** Before the next attempt; new batches go to disk meanwhile. */
  async #pause(attempt: number, line: readonly Lane[]): Promise<void> {
    // A call that waits must see more than one attempt before it gives up.
    const pause = new Pause(attempt, Math.max(50, this.#rules.settings.giveUpMs / 4))
    await this.#spill(line)
    while (!pause.isOver && !this.#ended) {
      // What is on disk needs no process that stays for it.
      pause.keepsProcess = this.bytes > 0
      await Promise.race([pause.elapsed, this.#added.next()])
      if (this.#isUntried(line)) break
      if (!pause.isOver && !this.#ended) await this.#spill(line)
    }
    pause.end()
  }

  #readRanges(): Promise<void> {
    const { collector, ordered } = this.#rules
    // Lanes in which rows of one key wait are not changed.
    if (ordered && (this.spilledRows > 0 || this.trouble.isHeld(lanes))) return Promise.resolve()
    return this.#late.use(collector, () => {
      if (!ordered) return
      // Rows of one key may change their lane now.
      this.add(collector.takeAll())
      this.lanes.cross()
    })
  }

  /**
   * @param among - the lanes that it waits for
   * @param since - from when on giveUpMs count; default the time they could not be written any more
   * @throws why it will not come
   */
  async #until(ready: () => boolean, among: readonly Lane[], since?: number): Promise<void> {
    const { log, settings } = this.#rules
    for (;;) {
      const changed = this.#changed.next()
      if (this.trouble.failure !== undefined) throw this.trouble.failure
      if (ready()) return
      if (since === undefined) this.trouble.check(among)
      await atMost(changed, this.trouble.patience(settings.giveUpMs, log !== undefined, among, since))
    }
  }

  /** Not from within: what a callback throws must not end up as a problem of the database. */
  #tell(error: Error): void {
    queueMicrotask(() => this.#rules.settings.onError(error))
  }
}
