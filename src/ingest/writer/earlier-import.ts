import type { RemovedFile, SpillLog } from './spill-log.ts'
import { Turns } from './wait.ts'
import type { WriterDelivery } from './writer-delivery.ts'

/** What earlier writers left in the ledger: it goes when the last spill file of theirs has gone. */
export class EarlierImports {
  readonly #own: string
  readonly #delivery: WriterDelivery
  readonly #log: SpillLog | undefined
  readonly #turns = new Turns()
  /** Their windows whose rows are in the table. */
  readonly #written = new Map<string, RemovedFile['windows'][number][]>()

  /** @param own - the import of this writer, which goes on */
  constructor(own: string, delivery: WriterDelivery, log: SpillLog | undefined) {
    this.#own = own
    this.#delivery = delivery
    this.#log = log
  }

  /** After a file was removed: forgets its windows, and the whole import where it was the last of an earlier writer's. */
  removed(file: RemovedFile): Promise<void> {
    // Else what two lanes have ended would be noted twice.
    return this.#turns.take(() => this.#removed(file))
  }

  async #removed({ windows, importId }: RemovedFile): Promise<void> {
    this.#delivery.forget(windows.filter((window) => window.importId === this.#own))
    for (const window of [{ importId, number: -1 }, ...windows]) {
      if (window.importId === this.#own) continue
      this.#written.set(window.importId, [...(this.#written.get(window.importId) ?? []), window])
    }
    for (const [earlier, written] of this.#written) {
      if (this.#log?.importIds.has(earlier)) continue
      await this.#delivery.endImport(earlier, written)
      this.#written.delete(earlier)
    }
  }
}
