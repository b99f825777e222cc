import { setImmediate } from 'node:timers/promises'

const longestMs = 1

/**
 * Lets long work on this thread give way: what is on its way to the server waits for the event loop to write it, and the
 * server for that.
 */
export class Pace {
  #since = performance.now()

  /** To be awaited, where it is something, after each small piece of work. */
  turn(): Promise<void> | undefined {
    return performance.now() - this.#since < longestMs ? undefined : this.#giveWay()
  }

  async #giveWay(): Promise<void> {
    await setImmediate()
    this.#since = performance.now()
  }
}
