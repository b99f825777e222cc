/**
 * An embedded TimescaleDB: a directory, the engine on it and the session server that connections reach it through.
 */
import type { Duplex } from 'node:stream'
import { UnsupportedError } from '../errors.ts'
import { type OpenDirectory, openDirectory } from './directory.ts'
import { openEngine } from './engine.ts'
import { Maintenance } from './maintenance.ts'
import { SessionServer } from './session-server.ts'

const NODE_MAJOR = 20

export interface EmbeddedOptions {
  /** undefined: a temporary directory, removed on close. */
  readonly directory: string | undefined
  /** `'fsync'`: a commit is on the disk when it is acknowledged. `'process'`: it survives a crash of the process, not of the machine. */
  readonly durability: 'fsync' | 'process'
  readonly lockWaitMs: number
  readonly onProgress: (line: string) => void
}

/** Where connections come from; a socket server for other processes would attach its sockets to the same server. */
export class EmbeddedDatabase {
  readonly directory: string
  readonly #place: OpenDirectory
  readonly #server: SessionServer
  readonly #maintenance: Maintenance
  #closing: Promise<void> | undefined

  private constructor(place: OpenDirectory, server: SessionServer, maintenance: Maintenance) {
    this.directory = place.directory
    this.#place = place
    this.#server = server
    this.#maintenance = maintenance
  }

  /**
   * Opens or creates the database in a directory.
   * @throws UnsupportedError NODE_VERSION, PACKAGE_MISSING
   * @throws ConnectionError DIRECTORY_LOCKED, DIRECTORY_FOREIGN, DIRECTORY_READ_ONLY, DISK_FULL, CONNECTION_FAILED
   */
  static async open({ directory, durability, lockWaitMs, onProgress }: EmbeddedOptions): Promise<EmbeddedDatabase> {
    requireNode(process.versions.node)
    const place = await openDirectory({ directory, durability, onProgress })
    const mode = directory === undefined ? 'process' : durability
    const maintenance = new Maintenance()
    const server = new SessionServer(
      (events) => openEngine({ dataDirectory: place.dataDirectory, durability: mode }, events),
      { lockWaitMs },
      maintenance,
    )
    maintenance.use(server)
    try {
      await Promise.all([server.start(), place.durable])
    } catch (error) {
      await Promise.allSettled([server.close(), place.durable])
      place.release()
      throw error
    }
    return new EmbeddedDatabase(place, server, maintenance)
  }

  /** The client's end of a new connection, for a driver that takes a stream. */
  connect(): Duplex {
    return this.#server.connect()
  }

  /** Tells that what `waiter` sends next was started inside the open transaction of `holder` (undefined: of none). */
  declareNested(waiter: Duplex, holder: Duplex | undefined): void {
    this.#server.declareNested(waiter, holder)
  }

  /** Ends all connections and closes the engine cleanly. May be called again. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#maintenance.stop()
    await this.#server.close({ discard: this.#place.temporary })
    this.#place.release()
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
