import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { type Statement, sql } from '../sql/template.ts'
import { checkTimeZoneName, unknownTimeZone } from '../sql/time-zone.ts'

const INVALID_VALUE = '22023'
const MOST = 1000

/** Time zones that the server of a database knows. */
const known = new WeakMap<object, Set<string>>()

/**
 * Returns where the server knows the time zone, which it is asked once. It would else say so only where it has a row to
 * put into a bucket, and then it names the parameter instead of the value (`time zone "$2" not recognized`, seen in 2.23).
 * @throws UsageError INVALID_OPTION
 */
export async function requireTimeZone(session: Session, timeZone: string | undefined): Promise<void> {
  if (timeZone === undefined) return
  const zones = known.get(session.database) ?? new Set()
  known.set(session.database, zones)
  if (zones.has(timeZone)) return
  // In a savepoint, so that the transaction can go on.
  await askTimeZone(timeZone, (statement) =>
    session.inTransaction ? session.transaction((inner) => inner.query(statement)) : session.query(statement),
  )
  if (zones.size >= MOST) zones.clear()
  zones.add(timeZone)
}

/**
 * The same without a memory: `ask` runs a statement. Letters with a
 * number behind them are no error for the server, but a zone of that name so many hours behind UTC.
 * @throws UsageError INVALID_OPTION
 */
export async function askTimeZone(
  timeZone: string,
  ask: (statement: Statement) => Promise<{ readonly rows: readonly unknown[] }>,
): Promise<void> {
  checkTimeZoneName(timeZone)
  try {
    await ask(sql`select pg_catalog.timezone(${timeZone}::text, pg_catalog.now())`)
    // Only then, since the server reads hundreds of files for it. What is in angle brackets is a rule on purpose.
    if (!/^[^<]*\d/.test(timeZone)) return
    const { rows } = await ask(sql`
      select from pg_catalog.pg_timezone_names where lower(name) = lower(${timeZone})
      union all select from pg_catalog.pg_timezone_abbrevs where lower(abbrev) = lower(${timeZone})`)
    if (rows.length === 0) throw unknownTimeZone(timeZone)
  } catch (cause) {
    if (cause instanceof QueryError && cause.sqlState === INVALID_VALUE) throw unknownTimeZone(timeZone, cause)
    throw cause
  }
}

/**
 * Returns where the server has the time zone under exactly this name, as the definition of a continuous aggregate needs it.
 * @throws UsageError INVALID_OPTION
 */
export async function requireTimeZoneName(session: Session, timeZone: string | undefined): Promise<void> {
  if (timeZone === undefined) return
  checkTimeZoneName(timeZone)
  const { rows } = await session.query(sql`select from pg_catalog.pg_timezone_names where name = ${timeZone}`)
  if (rows.length === 0) throw unknownTimeZone(timeZone)
}
