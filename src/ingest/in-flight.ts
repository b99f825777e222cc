/** Batches that are on their way to the server. */
export class InFlight {
  /** By the promise of their end, which never fails: that the server has all bytes, or the end. */
  readonly #batches = new Map<Promise<void>, Promise<void>>()

  get size(): number {
    return this.#batches.size
  }

  /** @param deliver - is given what to call when all bytes are on their way */
  add(deliver: (handedOver: () => void) => Promise<unknown>, failed: (error: unknown) => void): void {
    let handOver = (): void => undefined
    const handedOver = new Promise<void>((resolve) => {
      handOver = resolve
    })
    const ended: Promise<void> = deliver(handOver)
      .then(() => undefined)
      .catch(failed)
      .finally(() => this.#batches.delete(ended))
    this.#batches.set(ended, Promise.race([ended, handedOver]))
  }

  /** Waits until one of them has ended. */
  ended(): Promise<void> {
    return Promise.race(this.#batches.keys())
  }

  /**
   * Waits until the server has one of them to work on: to make the next one takes this thread for longer than the trips to
   * the server that a batch begins with.
   */
  handedOver(): Promise<void> {
    return Promise.race(this.#batches.values())
  }
}
