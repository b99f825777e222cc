import type { TableDescription } from '../../catalog/column.ts'
import type { LoadTarget } from '../../catalog/load-target.ts'
import type { RelationName } from '../../catalog/relation.ts'
import type { Session } from '../../connection/session.ts'
import { formatName } from '../../sql/identifier.ts'
import { invalidOption } from '../../sql/option.ts'
import type { EncodedBatch } from '../batch.ts'
import type { WindowState } from '../ledger.ts'
import type { LoadReport, LoadSettings } from '../load-option.ts'
import type { BatchOrder, Delivery, Sender } from '../sender.ts'
import type { OrderPlan } from './order-check.ts'
import { policyOf, recompress } from './recompress.ts'
import { SortedLoad } from './sorted-load.ts'

type CompressionReport = Pick<LoadReport, 'directCompress' | 'clientSorted' | 'recompressedChunks' | 'recompressPolicy'>

/** What of a load has to do with compressed chunks: which batches are declared sorted, and what is left to be compressed. */
export class LoadCompression {
  readonly #session: Session
  readonly #table: TableDescription
  readonly #target: LoadTarget
  readonly #settings: LoadSettings
  #sorted: SortedLoad | undefined
  #decompressed = new Map<string, RelationName>()
  #resumed: readonly WindowState[] = []
  #policy: LoadReport['recompressPolicy']
  #batches = 0
  #direct = 0
  #declared = 0
  #refusal: string | undefined
  #undeclared: string | undefined
  #staged = false
  #recompressed = 0

  constructor(session: Session, table: TableDescription, target: LoadTarget, settings: LoadSettings) {
    this.#session = session
    this.#table = table
    this.#target = target
    this.#settings = settings
  }

  /** Looks for the compression policy that is to be relied on. @throws UsageError INVALID_OPTION where there is none */
  async check(): Promise<void> {
    if (this.#settings.recompress === 'policy') this.#policy = await policyOf(this.#session, this.#table)
  }

  /**
   * Takes over what the windows of earlier runs have left.
   * @throws UsageError INVALID_OPTION where that are chunks which this role may not compress again
   */
  resume(states: readonly WindowState[]): void {
    this.#resumed = states
    for (const { decompressed = [] } of states) this.#note(decompressed)
    if (this.#decompressed.size === 0 || this.#target.owned || this.#settings.recompress === 'never') return
    throw invalidOption(
      'The import has decompressed chunks, which only the owner of the table may compress again.',
      "Go on as the owner, or with recompress 'never'.",
    )
  }

  /** How batches of a sender are encoded. */
  encoding(sender: Sender): {
    readonly directCompress: LoadSettings['directCompress']
    readonly order: OrderPlan | undefined
  } {
    const { order } = sender
    this.#staged = sender.staged
    if (typeof order === 'string') this.#undeclared = order
    return {
      directCompress: sender.staged ? 'off' : this.#settings.directCompress,
      order: typeof order === 'string' ? undefined : order,
    }
  }

  /** What a batch may say about its order; to be asked once for each, in the order in which they are sent. */
  order({ sorted, direct }: EncodedBatch): BatchOrder | undefined {
    if (sorted === undefined) {
      if (direct) this.#undeclared ??= 'batches that are not in the order of compression'
      return undefined
    }
    if (this.#sorted === undefined) {
      const { inTransaction } = this.#session
      const whole = !inTransaction && (this.#settings.onBadRow ?? 'stop') === 'stop'
      this.#sorted = new SortedLoad(this.#table, this.#target, whole)
      this.#sorted.resume(this.#resumed)
    }
    return { load: this.#sorted, apart: this.#sorted.reserve(sorted) }
  }

  /** Counts a batch that is in the table. */
  count({ notDirect, declared = false, state }: Delivery, direct: boolean): void {
    this.#batches++
    this.#refusal ??= notDirect
    if (direct && notDirect === undefined) {
      this.#direct++
      if (declared) this.#declared++
      else this.#undeclared ??= 'batches that overlap with others, or whose chunks are not of this load alone'
    }
    this.#note(state?.decompressed ?? [])
  }

  /** Puts in order what is left; run again, what is then left. */
  async finish(): Promise<void> {
    const { recompress: when = 'end' } = this.#settings
    const maybe = this.#direct > 0 || (this.#resumed.length > 0 && this.#target.notDirect === undefined)
    if (when === 'never' || (!maybe && this.#decompressed.size === 0)) return
    await recompress(this.#session, this.#table, [...this.#decompressed.values()], when === 'end', () => {
      this.#recompressed++
    })
    this.#decompressed.clear()
  }

  /** Compresses again what was decompressed for a load that failed. @returns how many chunks stay decompressed */
  async abandon(): Promise<number> {
    if (this.#decompressed.size === 0) return 0
    try {
      await this.finish()
    } catch {
      // The load has an error already, which says so.
    }
    return this.#decompressed.size
  }

  /** @param path - how values were written */
  report(path: LoadReport['path']): CompressionReport {
    const batches = this.#direct
    return {
      directCompress: { batches, reason: batches === this.#batches ? undefined : this.#notDirect(path) },
      clientSorted: {
        batches: this.#declared,
        without: batches - this.#declared,
        reason: batches === this.#declared ? undefined : this.#undeclared,
      },
      recompressedChunks: this.#recompressed,
      recompressPolicy: this.#policy,
    }
  }

  #notDirect(path: LoadReport['path']): string {
    if (this.#settings.directCompress === 'off') return 'directCompress is off'
    if (this.#target.notDirect !== undefined) return this.#target.notDirect
    if (this.#refusal !== undefined) return this.#refusal
    if (path.kind === 'csv') return 'records are passed through unsorted'
    return this.#staged ? 'rows go through a temporary table' : 'batches with too few rows per segment and chunk'
  }

  #note(chunks: readonly RelationName[]): void {
    for (const chunk of chunks) this.#decompressed.set(formatName(chunk), chunk)
  }
}
