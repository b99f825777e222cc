import type { MaintenanceJob } from '../embedded/maintenance.ts'
import type { Session } from './session.ts'

/** What works in the background of an embedded database, in this process. */
export interface Background {
  /** True where due jobs are run. */
  readonly runsJobs: boolean
  maintenance(): readonly MaintenanceJob[]
}

const known = new WeakMap<object, Background>()

/** Says what works in the background of a database; `database` is the one of its sessions. */
export function declareBackground(database: object, background: Background): void {
  known.set(database, background)
}

/** What this process does in the background of the session's database; undefined for a server. */
export function backgroundOf(session: Session): Background | undefined {
  return known.get(session.database)
}
