/** What the writer and the checker of a soak agree on. */

/** The hypertable; a name that must be quoted. */
export const TABLE = 'Soak 1.a'
/** The continuous aggregate on it. */
export const AGGREGATE = 'Soak hourly'
/** Rows of one acknowledged batch. */
export const BATCH_ROWS = 200

/** What was acknowledged over all rounds so far. */
export class Acknowledged {
  readonly plain: Set<string> = new Set()
  readonly pair: Set<string> = new Set()
  readonly batch: Set<string> = new Set()
  readonly update: Set<string> = new Set()
  readonly compress: Set<string> = new Set()
  refreshes = 0
  checkpoints = 0

  /** Takes one line of the writer. */
  take(line: string): void {
    const [kind = '', id = ''] = line.split(' ')
    if (kind === 'plain' || kind === 'pair' || kind === 'batch' || kind === 'update' || kind === 'compress')
      this[kind].add(id)
    else if (kind === 'refresh') this.refreshes++
    else if (kind === 'checkpoint') this.checkpoints++
  }

  /** Acknowledged commits of rows. */
  get commits(): number {
    return this.plain.size + this.pair.size + this.batch.size + this.update.size + this.compress.size
  }
}
