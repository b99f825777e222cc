/**
 * An embedded TimescaleDB: a directory, the engine on it and the session server that connections reach it through.
 */
import type { Duplex } from 'node:stream'
import { UnsupportedError, UsageError } from '../errors.ts'
import { EngineClock, VirtualClock } from './clock.ts'
import { type OpenDirectory, openDirectory } from './directory.ts'
import { type Engine, type EngineEvents, openEngine } from './engine.ts'
import { Maintenance, type MaintenanceJob } from './maintenance.ts'
import { Scheduler, type SchedulerOptions } from './scheduler.ts'
import { type ServedDatabase, serve } from './serve.ts'
import type { ServeOptions } from './serve-option.ts'
import { type ServerObserver, SessionServer } from './session-server.ts'

const NODE_MAJOR = 20

export interface EmbeddedOptions {
  /** undefined: a temporary directory, removed on close. */
  readonly directory: string | undefined
  /** `'fsync'`: a commit is on the disk when it is acknowledged. `'process'`: it survives a crash of the process, not of the machine. */
  readonly durability: 'fsync' | 'process'
  readonly lockWaitMs: number
  /** How due jobs run; false or left out: not by themselves. */
  readonly jobs?: false | SchedulerOptions
  /** The time the engine's clock starts at; jobs then run when it is moved. Only for a temporary directory. */
  readonly clock?: Date | undefined
  /** Whether the caller is inside a transaction of this database. */
  readonly isInTransaction?: () => boolean
  readonly onProgress: (line: string) => void
}

/** What a database stands on. */
export interface Ground {
  readonly place: OpenDirectory
  readonly open: (events: EngineEvents) => Promise<Engine>
  readonly clock: EngineClock | undefined
  /** True where directory and engine outlive the database. */
  readonly keepsEngine?: boolean
}

interface Parts {
  readonly place: OpenDirectory
  readonly keepsEngine: boolean
  readonly server: SessionServer
  readonly maintenance: Maintenance
  readonly scheduler: Scheduler
  readonly runsJobs: boolean
  readonly clock?: VirtualClock
}

/** Where connections come from: this process, and others while it is served. */
export class EmbeddedDatabase {
  readonly directory: string
  /** True where due jobs are run: by themselves, or as the clock is moved. */
  readonly runsJobs: boolean
  /** Set where the clock can be moved. */
  readonly clock: VirtualClock | undefined
  readonly #place: OpenDirectory
  readonly #keepsEngine: boolean
  readonly #server: SessionServer
  readonly #maintenance: Maintenance
  readonly #scheduler: Scheduler
  readonly #served: Promise<ServedDatabase>[] = []
  #closing: Promise<void> | undefined

  private constructor(parts: Parts) {
    this.directory = parts.place.directory
    this.runsJobs = parts.runsJobs
    this.clock = parts.clock
    this.#place = parts.place
    this.#keepsEngine = parts.keepsEngine
    this.#server = parts.server
    this.#maintenance = parts.maintenance
    this.#scheduler = parts.scheduler
  }

  /**
   * Opens or creates the database in a directory.
   * @throws UnsupportedError NODE_VERSION, PACKAGE_MISSING
   * @throws ConnectionError DIRECTORY_LOCKED, DIRECTORY_FOREIGN, DIRECTORY_READ_ONLY, DISK_FULL, CONNECTION_FAILED
   */
  static async open(options: EmbeddedOptions): Promise<EmbeddedDatabase> {
    requireNode(process.versions.node)
    const place = await openDirectory(options)
    const durability = options.directory === undefined ? 'process' : options.durability
    const clock = options.clock === undefined ? undefined : new EngineClock(options.clock)
    const { dataDirectory } = place
    const open = (events: EngineEvents): Promise<Engine> =>
      openEngine({ dataDirectory, durability, clock: clock?.shared }, events)
    try {
      const [database] = await Promise.all([EmbeddedDatabase.on({ place, open, clock }, options), place.durable])
      return database
    } catch (error) {
      await Promise.allSettled([place.durable])
      place.release()
      throw error
    }
  }

  /** On a directory and an engine that somebody else has opened, and keeps where `keepsEngine` is true. */
  static async on(
    { place, open, clock, keepsEngine = false }: Ground,
    options: EmbeddedOptions,
  ): Promise<EmbeddedDatabase> {
    const observers: ServerObserver[] = []
    const server = new SessionServer(open, { lockWaitMs: options.lockWaitMs }, all(observers))
    const maintenance = new Maintenance()
    maintenance.use(server)
    const scheduler = new Scheduler(server, options.jobs || { yieldAfterMs: undefined })
    observers.push(maintenance, scheduler)
    if (!options.jobs && !place.temporary) scheduler.recoverFirst()
    try {
      await server.start()
    } catch (error) {
      await Promise.allSettled([server.close()])
      throw error
    }
    const parts = { place, server, maintenance, scheduler, keepsEngine }
    if (clock === undefined || options.clock === undefined) {
      if (options.jobs) scheduler.start()
      return new EmbeddedDatabase({ ...parts, runsJobs: Boolean(options.jobs) })
    }
    // Opening took its time; nobody has seen the clock yet.
    clock.start(options.clock)
    const isInTransaction = options.isInTransaction ?? (() => false)
    return new EmbeddedDatabase({
      ...parts,
      runsJobs: true,
      clock: new VirtualClock(clock, { server, scheduler }, isInTransaction),
    })
  }

  /** The engine's own maintenance, and what it has done. */
  maintenanceJobs(): readonly MaintenanceJob[] {
    return this.#maintenance.list()
  }

  /** The client's end of a new connection, for a driver that takes a stream. */
  connect(): Duplex {
    return this.#server.connect()
  }

  /** Tells that what `waiter` sends next was started inside the open transaction of `holder` (undefined: of none). */
  declareNested(waiter: Duplex, holder: Duplex | undefined): void {
    this.#server.declareNested(waiter, holder)
  }

  /**
   * Takes connections from other programs too, until that or this is closed.
   * @throws UsageError INVALID_OPTION, CLOSED
   * @throws ConnectionError LISTEN_FAILED
   */
  async serve(options: ServeOptions): Promise<ServedDatabase> {
    if (this.#closing !== undefined) throw new UsageError('CLOSED', 'The database is closed.')
    const served = serve(this.#server, options)
    this.#served.push(served)
    return served
  }

  /** Ends the connections of other programs, and takes no more. */
  async stopServing(): Promise<void> {
    const served = await Promise.allSettled(this.#served)
    await Promise.all(served.map((each) => (each.status === 'fulfilled' ? each.value.close() : undefined)))
  }

  /** Ends all connections and closes the engine cleanly. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.stopServing()
    this.#maintenance.stop()
    await this.#scheduler.stop()
    await this.#server.close({ discard: this.#place.temporary, keep: this.#keepsEngine })
    if (!this.#keepsEngine) this.#place.release()
  }
}

/** @throws UnsupportedError NODE_VERSION */
export function requireNode(version: string): void {
  if (Number.parseInt(version, 10) < NODE_MAJOR)
    throw new UnsupportedError(
      'NODE_VERSION',
      `The embedded engine needs Node ${NODE_MAJOR} or newer; this is ${version}.`,
      {
        feature: 'embedded engine',
        hint: 'Install a newer Node, or connect to a server: TSDB_URL=postgres://…',
      },
    )
}

function all(observers: readonly ServerObserver[]): ServerObserver {
  return {
    completed: (tag) => {
      for (const observer of observers) observer.completed(tag)
    },
    free: () => {
      for (const observer of observers) observer.free()
    },
    opened: (engine) => {
      for (const observer of observers) observer.opened(engine)
    },
  }
}
