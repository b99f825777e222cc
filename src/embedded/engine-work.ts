/**
 * Statements of the engine's own, such as jobs and maintenance, until it is their turn: one by one, or several while a
 * lease keeps the engine for them.
 */
import type { Setting } from './engine-message.ts'

/** Why a statement was cancelled by this side. */
export type CancelReason = 'request' | 'timeout' | 'yield'

/** How a statement of the engine's own runs. */
export interface WorkOptions {
  /** `new`: in a session of its own, with the settings of a new connection. `same`: in the one that began with `new`. */
  readonly session?: 'new' | 'same'
  /** Settings that the new session starts with: names that exist and valid values, since they are set without SQL. */
  readonly settings?: readonly Setting[]
  /** The new session may make settings that nobody knows, such as `own.setting`: they are reset when it is left. */
  readonly resets?: boolean
  /** It is cancelled after this time; 0 is none. */
  readonly limitMs?: number
  /** It is cancelled when a connection has waited for it so long. */
  readonly yieldAfterMs?: number | undefined
  readonly signal?: AbortSignal
}

/** What a statement of the engine's own gave. */
export interface WorkResult {
  /** As text; NULL is empty. */
  readonly rows: string[][]
  readonly notices: readonly string[]
}

/** Runs SQL while no connection has its turn. */
export type RunWork = (text: string, options?: WorkOptions) => Promise<WorkResult>

/** A statement of the engine's own failed. */
export class WorkError extends Error {
  /** The fields of the server's ErrorResponse, by their letters. */
  readonly fields: ReadonlyMap<string, string>
  /** Set where it was cancelled by this side: on request, by its limit, or for a connection that waits. */
  readonly cancelled: CancelReason | undefined

  constructor(fields: ReadonlyMap<string, string>, cancelled: CancelReason | undefined) {
    super(fields.get('M') ?? 'unknown error')
    this.fields = fields
    this.cancelled = fields.get('C') === '57014' ? cancelled : undefined
  }
}

/** A statement of the engine's own, and who waits for it. */
export interface EngineWork {
  readonly text: string
  readonly options: WorkOptions
  /** Part of a lease: the engine's own business in the background, which keeps no process alive. */
  readonly leased: boolean
  readonly resolve: (result: WorkResult) => void
  readonly reject: (error: Error) => void
}

interface Lease {
  readonly granted: () => void
  readonly reject: (error: Error) => void
}

export class WorkQueue {
  readonly #changed: () => void
  readonly #work: EngineWork[] = []
  readonly #leases: Lease[] = []
  #leased = false
  /** True after a lease until a connection had its turn: they alternate. */
  #leasedLast = false
  #ended: Error | undefined

  /** `changed` is called when something may run that could not before. */
  constructor(changed: () => void) {
    this.#changed = changed
  }

  /** True while a lease is held: connections wait. */
  get leased(): boolean {
    return this.#leased
  }

  /** Runs one statement in its turn. */
  run(text: string): Promise<WorkResult> {
    return new Promise((resolve, reject) =>
      this.#add(this.#work, { text, options: {}, leased: false, resolve, reject }),
    )
  }

  /** Keeps the engine until `use` is done. */
  async lease<T>(use: () => Promise<T>): Promise<T> {
    await new Promise<void>((granted, reject) => this.#add(this.#leases, { granted, reject }))
    try {
      return await use()
    } finally {
      this.#leased = false
      this.#changed()
    }
  }

  #add<T extends Lease | EngineWork>(queue: T[], item: T): void {
    if (this.#ended !== undefined) {
      item.reject(this.#ended)
      return
    }
    queue.push(item)
    this.#changed()
  }

  /** The statement whose turn it is. */
  take(): EngineWork | undefined {
    return this.#work.shift()
  }

  /** Gives the engine to the first who wants a lease, unless it is a connection's turn; true where it did. */
  grant(connectionsWait: boolean): boolean {
    const lease = connectionsWait && this.#leasedLast ? undefined : this.#leases.shift()
    this.#leasedLast = lease !== undefined
    this.#leased = lease !== undefined
    lease?.granted()
    return this.#leased
  }

  /** Refuses the leases that were not granted yet. */
  refuseLeases(error: Error): void {
    for (const lease of this.#leases.splice(0)) lease.reject(error)
  }

  /** Refuses what waits, and whatever comes. */
  end(error: Error): void {
    this.#ended = error
    for (const work of this.#work.splice(0)) work.reject(error)
    this.refuseLeases(error)
  }
}
