import type { Session } from '../connection/session.ts'
import { sql } from '../sql/template.ts'

const known = new WeakMap<object, Promise<number>>()

/** One encodes while the other waits for the server. */
const untuned = 2
/** More are faster only on servers with many cores, and take them from everyone else. */
const most = 4

/**
 * How many connections writing at once the server is likely to have cores for. What a client can see of them is
 * `max_parallel_workers`, which tuning sets to their number: where it was never set, 2; else that, at most 4. Never more
 * than the pool has connections. Asked once for each database object.
 */
export async function readParallel(session: Session): Promise<number> {
  let answer = known.get(session.database)
  if (answer === undefined) {
    answer = ask(session)
    known.set(session.database, answer)
    answer.catch(() => known.delete(session.database))
  }
  return Math.min(await answer, session.connections ?? 1)
}

async function ask(session: Session): Promise<number> {
  const { rows } = await session.query<{ readonly workers: number; readonly tuned: boolean }>(sql`
    select setting::int as workers, source <> 'default' as tuned
    from pg_catalog.pg_settings where name = 'max_parallel_workers'`)
  const [row] = rows
  return row?.tuned === true ? Math.max(1, Math.min(most, row.workers)) : untuned
}
