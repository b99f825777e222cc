/**
 * One engine in a temporary directory that gives one new database after the other: each begins where the engine's
 * snapshot was taken.
 */
import { EngineClock } from './clock.ts'
import { type OpenDirectory, openDirectory } from './directory.ts'
import { EmbeddedDatabase, type EmbeddedOptions, requireNode } from './embedded-database.ts'
import { type Engine, type EngineEvents, openEngine } from './engine.ts'

const SILENT: EngineEvents = {
  output: (_, taken) => taken(),
  copied: () => undefined,
  idle: () => undefined,
  refused: () => undefined,
  gone: () => undefined,
}

interface Kept {
  readonly place: OpenDirectory
  readonly clock: EngineClock
  readonly engine: Engine
  /** False after the engine ended in a database, which then went on with another one in the same directory. */
  whole: boolean
  /** The engine of the database that is open now. */
  current: Engine
}

export class RewindableEngine {
  readonly #onProgress: (line: string) => void
  #kept: Kept | undefined
  #database: EmbeddedDatabase | undefined

  constructor(onProgress: (line: string) => void) {
    this.#onProgress = onProgress
  }

  /**
   * A database in which nothing has happened yet; the one before it is closed and gone. With `jobs` its clock is the
   * true one, and due jobs run by themselves; else they run as its clock is moved.
   * @throws as EmbeddedDatabase.open
   */
  async next(
    options: Pick<EmbeddedOptions, 'clock' | 'jobs' | 'lockWaitMs' | 'isInTransaction'>,
  ): Promise<EmbeddedDatabase> {
    const { clock = new Date(), jobs } = options
    await this.#database?.close()
    if (this.#kept === undefined || !this.#kept.whole || !(await this.#kept.engine.rewind())) {
      await this.#discard()
      this.#kept = await this.#open(clock)
    }
    const kept = this.#kept
    kept.clock.start(clock)
    let opened = false
    const open = async (events: EngineEvents): Promise<Engine> => {
      if (!opened) {
        opened = true
        kept.engine.listen(events)
        return kept.engine
      }
      // It crashed. This database goes on in its directory, the next one begins in a new one.
      kept.whole = false
      kept.current = await openEngine(this.#engineOptions(kept), events)
      return kept.current
    }
    const own = { directory: undefined, durability: 'process', onProgress: this.#onProgress } as const
    const ground = { place: kept.place, open, clock: kept.clock, keepsEngine: true }
    this.#database = await EmbeddedDatabase.on(ground, { ...options, ...own, clock: jobs ? undefined : clock })
    return this.#database
  }

  /** Closes the database that is open, and the engine. */
  async close(): Promise<void> {
    await this.#database?.close()
    await this.#discard()
  }

  async #open(start: Date): Promise<Kept> {
    requireNode(process.versions.node)
    const place = await openDirectory({ directory: undefined, durability: 'process', onProgress: this.#onProgress })
    try {
      const clock = new EngineClock(start)
      await place.durable
      const engine = await openEngine(this.#engineOptions({ place, clock }), SILENT)
      await engine.snapshot()
      return { place, clock, engine, whole: true, current: engine }
    } catch (error) {
      place.release()
      throw error
    }
  }

  #engineOptions({ place, clock }: Pick<Kept, 'place' | 'clock'>): Parameters<typeof openEngine>[0] {
    return { dataDirectory: place.dataDirectory, durability: 'process', clock: clock.shared }
  }

  async #discard(): Promise<void> {
    const kept = this.#kept
    this.#kept = undefined
    await kept?.current.terminate()
    kept?.place.release()
  }
}
