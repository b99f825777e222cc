import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import type { RewindableEngine } from '../../src/embedded/rewindable-engine.ts'

/** Lends the databases of one engine, one at a time: a start of another engine takes ten times as long. */
export class EngineLender {
  readonly #engine: RewindableEngine
  #lent: EmbeddedDatabase | 'soon' | undefined

  constructor(engine: RewindableEngine) {
    this.#engine = engine
  }

  /** Whether a database that was lent is still open. */
  get isLent(): boolean {
    return this.#lent !== undefined
  }

  /** A database in which nothing has happened yet; undefined while another one is lent. */
  async lend(options: Parameters<RewindableEngine['next']>[0]): Promise<EmbeddedDatabase | undefined> {
    if (this.isLent) return undefined
    this.#lent = 'soon'
    try {
      const database = await this.#engine.next(options)
      this.#lent = database
      const close = database.close.bind(database)
      database.close = async () => {
        await close()
        // The engine closes the one before once more.
        if (this.#lent === database) this.#lent = undefined
      }
      return database
    } catch (error) {
      this.#lent = undefined
      throw error
    }
  }
}
