/**
 * What a server's background processes do, done between the users' statements: CHECKPOINT when enough WAL was
 * written, ANALYZE and VACUUM when enough rows changed. The engine has no background workers and no statistics of
 * its own (pg_stat_user_tables is always 0), so the command tags are counted here.
 */
import { quoteLiteral } from '../sql/literal.ts'
import type { Engine } from './engine.ts'
import type { ServerObserver, SessionServer } from './session-server.ts'

/** The WAL then stays below 150 MB and a re-open after a kill below a second. */
const CHECKPOINT_BYTES = BigInt(64 << 20)
/** As autovacuum's thresholds: a base and a share; the share is asked of each table. */
const CHANGED_ROWS = 5000
/** Tables are tidied when no rows changed for so long: in the middle of a load it would be a third of the load's time. */
const IDLE_MS = 300
/** Where they change on and on, it is not put off for longer; a server's autovacuum looks once a minute. */
const LONGEST_MS = 10_000
/** A CHECKPOINT that failed is tried again after this time: on a full disk the next one is likely to fail too. */
const RETRY_MS = 5000

/**
 * Ordinary tables with their sizes, each asked once: it costs a look at the file, and a condition on the joined schema
 * made the planner ask 20 times.
 */
const sizedTables = (otherSchemas: readonly string[]): string => `
select c.oid::pg_catalog.regclass as name, c.reltuples, c.relpages::bigint * 8192 as known, size
from pg_catalog.pg_class c, pg_catalog.pg_relation_size(c.oid) as size
where c.relkind = 'r' and c.relpersistence = 'p' and c.relnamespace <> all (array(
  select oid from pg_catalog.pg_namespace
  where nspname in (${['pg_catalog', 'information_schema', ...otherSchemas].map(quoteLiteral).join(', ')})))`

/** Tables whose size moved away from what the planner knows by a fifth, or that were never analysed. */
const GROWN_TABLES = `select name from (${sizedTables(['_timescaledb_catalog', '_timescaledb_config'])}) t
where reltuples < 0 and size > 0 or abs(size - known) > 65536 + known / 5`

/** All tables that have pages: those without dead rows cost a VACUUM a look at their visibility map. */
const FILLED_TABLES = `select name from (${sizedTables([])}) t where size > 0`

/** Maintenance that the embedded engine does by itself; no job of the server's catalog. */
export interface MaintenanceJob {
  readonly jobId: undefined
  readonly kind: 'maintenance'
  readonly name: 'checkpoint' | 'analyze' | 'vacuum'
  /** What makes it due. */
  readonly trigger: string
  readonly scheduled: true
  /** Since this process opened the database. */
  readonly totalRuns: number
  readonly totalFailures: number
  readonly lastStart: Date | undefined
  readonly lastDurationMs: number | undefined
}

const TRIGGERS: Readonly<Record<MaintenanceJob['name'], string>> = {
  checkpoint: `after ${CHECKPOINT_BYTES >> 20n} MB of WAL`,
  analyze: `tables that grew, after ${CHANGED_ROWS} changed rows`,
  vacuum: `after ${CHANGED_ROWS} updated or deleted rows`,
}

export class Maintenance implements ServerObserver {
  #server: SessionServer | undefined
  #engine: Engine | undefined
  #checkpointed = 0n
  #changed = 0
  #removed = 0
  #timer: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #working = false
  readonly #jobs = new Map<MaintenanceJob['name'], MaintenanceJob>()

  /** What it does and has done. */
  list(): readonly MaintenanceJob[] {
    return [this.#job('checkpoint'), this.#job('analyze'), this.#job('vacuum')]
  }

  use(server: SessionServer): void {
    this.#server = server
  }

  opened(engine: Engine): void {
    this.#engine = engine
    this.#checkpointed = engine.walBytes()
  }

  completed(tag: string): void {
    const [command = '', ...numbers] = tag.split(' ')
    const rows = Number(numbers.at(-1) ?? 0)
    if (command === 'INSERT' || command === 'COPY' || command === 'MERGE') this.#changed += rows
    else if (command === 'UPDATE' || command === 'DELETE') {
      this.#changed += rows
      this.#removed += rows
    }
  }

  free(): void {
    const engine = this.#engine
    const server = this.#server
    if (engine === undefined || server === undefined) return
    const written = engine.walBytes()
    if (written - this.#checkpointed > CHECKPOINT_BYTES) {
      this.#checkpointed = written
      this.#checkpoint(server)
    }
    if (this.#changed >= CHANGED_ROWS && this.#timer === undefined && !this.#working) {
      this.#tidyLater(server, performance.now() + LONGEST_MS)
    }
  }

  #tidyLater(server: SessionServer, latest: number): void {
    const changed = this.#changed
    this.#timer = setTimeout(async () => {
      if (this.#changed > changed && performance.now() < latest) this.#tidyLater(server, latest)
      else await this.#tidy(server)
    }, IDLE_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#retry)
    this.#server = undefined
  }

  /** Nothing is lost by a late checkpoint, but the WAL grows until one succeeds. */
  #checkpoint(server: SessionServer): void {
    this.#run(server, 'checkpoint', 'checkpoint').then(
      () => clearTimeout(this.#retry),
      () => {
        if (this.#server === undefined) return
        clearTimeout(this.#retry)
        this.#retry = setTimeout(() => this.#checkpoint(server), RETRY_MS).unref()
      },
    )
  }

  async #tidy(server: SessionServer): Promise<void> {
    this.#timer = undefined
    this.#working = true
    const removed = this.#removed
    this.#changed = 0
    this.#removed = 0
    try {
      for (const name of await this.#names(server, GROWN_TABLES)) await this.#quietly(server, 'analyze', name)
      if (removed < CHANGED_ROWS) return
      for (const name of await this.#names(server, FILLED_TABLES)) await this.#quietly(server, 'vacuum', name)
    } finally {
      this.#working = false
    }
  }

  async #names(server: SessionServer, text: string): Promise<string[]> {
    const rows = await server.run(text).catch(() => [])
    return rows.flatMap(([name]) => (name === undefined ? [] : [name]))
  }

  /** Statistics are a help, not a duty: a table that was dropped meanwhile, or a cancel, is no matter. */
  async #quietly(server: SessionServer, name: 'analyze' | 'vacuum', table: string): Promise<void> {
    if (this.#server === undefined) return
    await this.#run(server, name, `${name} ${table}`).catch(() => undefined)
  }

  async #run(server: SessionServer, name: MaintenanceJob['name'], text: string): Promise<void> {
    const lastStart = new Date()
    const started = performance.now()
    let failed = 1
    try {
      await server.run(text)
      failed = 0
    } finally {
      const before = this.#job(name)
      this.#jobs.set(name, {
        ...before,
        lastStart,
        lastDurationMs: performance.now() - started,
        totalRuns: before.totalRuns + 1,
        totalFailures: before.totalFailures + failed,
      })
    }
  }

  #job(name: MaintenanceJob['name']): MaintenanceJob {
    const never = { totalRuns: 0, totalFailures: 0, lastStart: undefined, lastDurationMs: undefined }
    return (
      this.#jobs.get(name) ?? {
        jobId: undefined,
        kind: 'maintenance',
        name,
        trigger: TRIGGERS[name],
        scheduled: true,
        ...never,
      }
    )
  }
}
