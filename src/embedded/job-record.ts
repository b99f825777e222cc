/** What the scheduler reads and writes about jobs and their runs, in the extension's own tables. */
import { quoteLiteral } from '../sql/literal.ts'
import { type RunWork, WorkError, type WorkOptions } from './engine-work.ts'
import { HISTORY, STAT, STATEMENTS } from './job-statement.ts'

const UNKNOWN_STATEMENT = '26000'

/** A run that is under way, as `beginRun` gives it. Times are as the server writes a timestamptz. */
export interface BegunRun {
  readonly jobId: number
  readonly historyId: string
  readonly name: string
  readonly owner: string
  readonly limitMs: number
  readonly maxRuntime: string
  readonly due: string
  readonly at: string
  /** `at` in microseconds since 1970. */
  readonly microseconds: bigint
  /** The columns of its statistics before this run, as a JSON object. */
  readonly before: string
  /** The hypertable whose chunks are counted; empty for none. */
  readonly watched: string
  /** `action`: it calls something that is not the extension's own. `history`: it removes old runs of jobs. */
  readonly kind: 'action' | 'history' | 'policy'
  readonly chunks: ChunkCounts
}

export interface ChunkCounts {
  readonly all: number
  readonly compressed: number
}

/** When the next job is due, not before the time `floor`, SQL: microseconds since 1970. undefined where there is none. */
export async function readNextDue(run: RunWork, floor: string): Promise<bigint | undefined> {
  const [row] = await execute(run, 'due', [floor])
  const due = row?.[0] ?? ''
  return due === '' ? undefined : BigInt(due)
}

/** Which jobs are due: until a time, at their own times but not before another. Both are SQL. */
export interface DueTimes {
  readonly floor: string
  readonly until: string
}

/** Takes the first job that is due and writes the start of its run, in one transaction; undefined where none is. */
export async function beginRun(
  run: RunWork,
  { floor, until }: DueTimes,
  countsChunks: boolean,
): Promise<BegunRun | undefined> {
  const [row] = await execute(run, 'begin', [floor, until, String(countsChunks)])
  if (row === undefined) return undefined
  const [jobId, historyId = '', name = '', owner = '', limitMs, maxRuntime = '', due = '', at = ''] = row
  const [microseconds = 0, before = '', watched = '', kind, chunks] = row.slice(8)
  return {
    jobId: Number(jobId),
    historyId,
    name,
    owner,
    limitMs: Number(limitMs),
    maxRuntime,
    due,
    at,
    microseconds: BigInt(microseconds),
    before,
    watched,
    kind: kind === 'action' || kind === 'history' ? kind : 'policy',
    chunks: readCounts(chunks),
  }
}

/**
 * Corrects what `beginRun` wrote; `error` is the server's ErrorResponse by its letters, undefined for a success. Gives
 * whether the job has failed as often as it may, and the chunks there are now; undefined where it deleted itself.
 */
export async function endRun(
  run: RunWork,
  { jobId, historyId, due, at, watched }: BegunRun,
  error: ReadonlyMap<string, string> | undefined,
): Promise<{ readonly failedForGood: boolean; readonly chunks: ChunkCounts } | undefined> {
  const errorData = error === undefined ? 'null' : quoteLiteral(JSON.stringify(readErrorData(error)))
  const times = [quoteLiteral(due), quoteLiteral(at)]
  const ended = [String(error === undefined), errorData, watched === '' ? 'null' : watched]
  const [row] = await execute(run, 'end', [String(jobId), historyId, ...times, ...ended])
  return row === undefined ? undefined : { failedForGood: row[0] === 't', chunks: readCounts(row[1]) }
}

/** Undoes what `beginRun` wrote: the run did not count, and the job is due as it was. */
export async function requeueRun(run: RunWork, { jobId, historyId, before, due }: BegunRun): Promise<void> {
  const old = (column: string, never: string): string =>
    before === '' ? never : `(${quoteLiteral(before)}::jsonb ->> '${column}')`
  await run(`
with h as (delete from ${HISTORY} where id = ${historyId})
update ${STAT} set total_runs = total_runs - 1, total_crashes = total_crashes - 1,
  last_start = ${old('last_start', "'-infinity'")}::timestamptz, last_finish = ${old('last_finish', "'-infinity'")}::timestamptz,
  last_run_success = ${old('last_run_success', 'true')}::bool, consecutive_crashes = ${old('consecutive_crashes', '0')}::int,
  next_start = case when next_start > '-infinity' then next_start else ${quoteLiteral(due)}::timestamptz end
where job_id = ${jobId}`)
}

/** Removes old runs as the job `jobId` is configured. */
export async function pruneHistory(run: RunWork, jobId: number, options: WorkOptions): Promise<void> {
  const [row] = await execute(run, 'prune', [String(jobId)], options)
  if (row?.[0] === 't') await run(`vacuum ${HISTORY}`, options)
}

/**
 * Runs a prepared statement: to parse and plan these takes several times as long as to run them. A new engine does not
 * know them yet, and a client's DEALLOCATE may have taken them. The server would plan each of them five times for the
 * values it is given before it keeps a plan.
 */
async function execute(
  run: RunWork,
  name: keyof typeof STATEMENTS,
  values: readonly string[],
  options?: WorkOptions,
): Promise<string[][]> {
  const text = `set local plan_cache_mode = force_generic_plan; execute "tsdbkit ${name}"(${values.join(', ')})`
  try {
    return (await run(text, options)).rows
  } catch (error) {
    if (!(error instanceof WorkError) || error.fields.get('C') !== UNKNOWN_STATEMENT) throw error
    const { types, sql } = STATEMENTS[name]
    await run(`prepare "tsdbkit ${name}"(${types}) as ${sql}`)
    return (await run(text, options)).rows
  }
}

function readCounts(text: string | undefined): ChunkCounts {
  const [all = 0, compressed = 0] = text === undefined || text === '' ? [] : text.split(',').map(Number)
  return { all, compressed }
}

/** What the server keeps of an error, beside the procedure. */
function readErrorData(error: ReadonlyMap<string, string>): Readonly<Record<string, string | number | undefined>> {
  return {
    sqlerrcode: error.get('C'),
    message: error.get('M'),
    detail: error.get('D'),
    hint: error.get('H'),
    context: error.get('W'),
    lineno: error.has('L') ? Number(error.get('L')) : undefined,
    filename: error.get('F'),
    funcname: error.get('R'),
  }
}
