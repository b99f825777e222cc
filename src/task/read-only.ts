import { randomUUID } from 'node:crypto'
import type { Client } from '../client.ts'
import type { Row } from '../connection/session.ts'
import { QueryError, TimescaleError, UnsupportedError } from '../errors.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import type { Statement } from '../sql/template.ts'
import type { ReadQuery } from './action.ts'
import { toJson } from './answer.ts'
import { refused, refuseSideEffects } from './called-function.ts'

/** How much a read-only task may read. */
export interface ReadOnlyLimits {
  /** Default 1,000. The answer then says `truncated: true`. */
  readonly maxRows?: number
  /** Of the rows as JSON; default 1,000,000. The row that goes beyond is left out, but has been read whole. */
  readonly maxBytes?: number
  /** For the task with all its statements; default 10,000. */
  readonly timeoutMs?: number
  /** Functions known to change nothing, as `schema.name`, which are then called without being looked into. */
  readonly trustedFunctions?: readonly string[]
}

const KEYS = Object.keys({
  maxRows: true,
  maxBytes: true,
  timeoutMs: true,
  trustedFunctions: true,
} satisfies Record<keyof ReadOnlyLimits, true>)

/** The limits with what was left out filled in. @throws UsageError INVALID_OPTION */
export function completeLimits(limits: ReadOnlyLimits): Required<ReadOnlyLimits> {
  checkKeys(limits, KEYS, 'readOnly')
  const complete = { maxRows: 1000, maxBytes: 1_000_000, timeoutMs: 10_000, trustedFunctions: [], ...limits }
  for (const key of ['maxRows', 'maxBytes', 'timeoutMs'] as const) {
    const number = complete[key]
    if (Number.isInteger(number) && number > 0 && number < 2 ** 31) continue
    throw invalidOption(`${key} must be a whole number above 0 and below 2^31.`)
  }
  return complete
}

/** Carries a result out of a transaction that is rolled back. */
class Undo<T> extends Error {
  readonly result: T

  constructor(result: T) {
    super('undo')
    this.result = result
  }
}

/**
 * Works in a transaction that is always rolled back, however it ends, and for no longer than the limit.
 * @throws QueryError STATEMENT_TIMEOUT, and what `work` throws
 */
export async function undone<T>(
  client: Client,
  limits: Required<ReadOnlyLimits>,
  signal: AbortSignal | undefined,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const timeout = AbortSignal.timeout(limits.timeoutMs)
  const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
  try {
    // Its check writes a temporary function, so it is read-only from then on, not from the beginning.
    const run = async (inner: Client): Promise<never> => {
      throw new Undo(await work(inner))
    }
    return await client.transaction(run, { readOnly: false, signal: either })
  } catch (error) {
    if (error instanceof Undo) return error.result
    if (!timeout.aborted || signal?.aborted || !(error instanceof TimescaleError)) throw error
    throw new QueryError('STATEMENT_TIMEOUT', `The task took longer than ${limits.timeoutMs} ms.`, {
      sqlState: '57014',
      cause: error,
    })
  }
}

/** Makes the transaction one that cannot write tables. */
export async function forbidWriting(client: Client): Promise<void> {
  await client.executeQuery('set transaction read only')
}

/** The rows of a query that was found to change nothing, as far as the limits go. */
export async function readRows(
  client: Client,
  query: ReadQuery,
  limits: Required<ReadOnlyLimits>,
): Promise<{ readonly rows: readonly Row[]; readonly truncated: boolean }> {
  await checkStatement(client, query.statement, limits.trustedFunctions)
  await forbidWriting(client)
  const rows: Row[] = []
  let bytes = 0
  // One statement by the extended protocol, whatever its text is.
  for await (const row of client.stream<Row>(query.statement.text, query.statement.values, query.options)) {
    bytes += Buffer.byteLength(JSON.stringify(toJson(row)))
    if (rows.length === limits.maxRows || bytes > limits.maxBytes) return { rows, truncated: true }
    rows.push(row)
  }
  return { rows, truncated: false }
}

/** A result with its lists cut to the limits. */
export function limitLists(result: object, { maxRows, maxBytes }: Required<ReadOnlyLimits>): object {
  let bytes = 0
  let truncated = false
  const fits = (item: unknown, index: number): boolean => {
    bytes += Buffer.byteLength(JSON.stringify(toJson(item)))
    return index < maxRows && bytes <= maxBytes
  }
  const entries = Object.entries(result).map(([key, value]) => {
    if (!Array.isArray(value)) return [key, value]
    const kept = value.filter(fits)
    truncated ||= kept.length < value.length
    return [key, kept]
  })
  return { ...Object.fromEntries(entries), ...(truncated ? { truncated } : {}) }
}

const EXPLAIN = /^\s*explain(?:\s+(?:analyze|verbose))*(?:\s*\([\w\s,]*\))?(?=[\s(])/i

/**
 * Lets the server parse a statement as the body of a function, which runs nothing and takes only queries, and looks at
 * everything it would call.
 * @throws PlanError READ_ONLY_REFUSED; UnsupportedError VERSION_REQUIRED; QueryError from the server
 */
async function checkStatement(client: Client, statement: Statement, trusted: readonly string[]): Promise<void> {
  const { postgresVersion, timescaleVersion } = await client.capabilities()
  if (postgresVersion < 140_000) {
    throw new UnsupportedError('VERSION_REQUIRED', 'A read-only query needs PostgreSQL 14 or newer.', {
      feature: 'read-only',
    })
  }
  const options = { trusted, hypertables: timescaleVersion !== undefined }
  const [setting] = await client.sql<{
    readonly path: string
  }>`select pg_catalog.current_setting('search_path') as path`
  const path = setting?.path ?? ''
  const name = `tsdbkit_check_${randomUUID().replaceAll('-', '')}`
  const text = statement.text.replace(EXPLAIN, '')
  await searchIn(client, CATALOG)
  await refuseSideEffects(client, { functions: [], relations: [], implicit: true }, options)
  await searchIn(client, path)
  const types = statement.values.length === 0 ? '' : await parameterTypes(client, text, name, path)
  try {
    await client.executeQuery(
      `create function pg_temp.${name}(${types}) returns void language sql begin atomic ${text}\n; end`,
    )
  } catch (error) {
    throw explain(error)
  }
  await searchIn(client, CATALOG)
  const [row] = await client.sql<{ readonly oid: string; readonly isEmpty: boolean }>`
    select oid::text, prosqlbody::text !~ '^[^A-Z]*QUERY ' as "isEmpty" from pg_catalog.pg_proc
    where proname = ${name} and pronamespace = pg_catalog.pg_my_temp_schema()`
  if (row === undefined || row.isEmpty) throw refused('There is no query to run.')
  await refuseSideEffects(client, { functions: [row.oid], relations: [], implicit: false }, options)
  await searchIn(client, path)
}

/** The types that the server finds for `$1` and so on, as a list of arguments. */
async function parameterTypes(client: Client, text: string, name: string, path: string): Promise<string> {
  await client.executeQuery(`prepare ${name} as ${text}`)
  await searchIn(client, CATALOG)
  const [row] = await client.sql<{ readonly types: string }>`
    select array_to_string(parameter_types, ', ') as types from pg_catalog.pg_prepared_statements where name = ${name}`
  await client.executeQuery(`deallocate ${name}`)
  await searchIn(client, path)
  return row?.types ?? ''
}

const CATALOG = 'pg_catalog, pg_temp'

/**
 * Where names are looked for until the transaction ends. The statement is parsed in its own path, and looked at in the
 * catalog's alone: a function or operator of somebody's with nearer types would be called in place of the one meant, and
 * could hide what is looked for.
 */
async function searchIn(client: Client, path: string): Promise<void> {
  await client.sql`select pg_catalog.set_config('search_path', ${path}, true)`
}

/** The server's refusal in words of this task. */
function explain(error: unknown): unknown {
  if (!(error instanceof QueryError)) return error
  switch (error.sqlState) {
    case '0A000':
      return refused('Only a query can run read-only: SELECT, VALUES, TABLE, or WITH and one of these.')
    case '25006':
      return refused('This server cannot be written to at all, so a statement cannot be looked at before it runs.')
    case '42501':
      return refused(error.message, 'Looking at a statement before it runs takes the right TEMPORARY on the database.')
    default:
      return error
  }
}
