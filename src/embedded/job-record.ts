/**
 * What the scheduler reads and writes in the extension's own tables, so that its views show the truth: a run is
 * written as a crash before it starts, as the server does, and corrected when it ends. All statements run as the
 * engine's own, in one session with the settings of a new connection.
 */
import { quoteLiteral } from '../sql/literal.ts'

const JOB = '_timescaledb_config.bgw_job'
const STAT = '_timescaledb_internal.bgw_job_stat'
const HISTORY = '_timescaledb_internal.bgw_job_stat_history'

/** A job that never ran is due from its initial start on, or at once. `infinity` is never. */
const DUE = `case when s.next_start > '-infinity' then s.next_start else coalesce(j.initial_start, '-infinity') end`
const DUE_JOBS = `${JOB} j left join ${STAT} s on s.job_id = j.id where j.scheduled and ${DUE} < 'infinity'`

const MICROSECONDS = (time: string): string => `(extract(epoch from ${time}) * 1000000)::bigint`

/** A run that is under way, as `beginSql` gives it. */
export interface BegunRun {
  readonly jobId: number
  readonly historyId: string
  readonly name: string
  readonly owner: string
  readonly limitMs: number
  readonly maxRuntime: string
  /** When it was due and when it began, as the server writes a timestamptz. */
  readonly due: string
  readonly at: string
  /** The columns of its statistics before this run, as a JSON object. */
  readonly before: string
  /** The hypertable whose chunks a policy may drop or compress; empty for any other job. */
  readonly hypertableId: string
  /** True where it calls something that is not the extension's own. */
  readonly userDefined: boolean
}

/** How a run ended, for `endSql`. */
export interface RunEnd {
  /** The server's ErrorResponse by its letters; undefined for a success. */
  readonly error: ReadonlyMap<string, string> | undefined
}

/**
 * Runs that the end of their process left open become crashes that can be seen, and their jobs are due again. A job
 * that ends the engine each time waits longer each time, so that others can work.
 */
export const RECOVER: string = `
with h as (update ${HISTORY} set pid = null where execution_finish is null and succeeded is null and pid is not null)
update ${STAT} set next_start = case when consecutive_crashes <= 1 then clock_timestamp()
  else clock_timestamp() + least(consecutive_crashes - 1, 12) * interval '5 minutes' end
where consecutive_crashes > 0 and next_start = '-infinity'`

/** When the next job is due, not before `floor`: microseconds since 1970 and as text; no row where there is none. */
export function nextDueSql(floor: string): string {
  return `select ${MICROSECONDS('due')}, due from (select greatest(${DUE}, ${floor}) as due from ${DUE_JOBS}) d order by due limit 1`
}

/** Takes the first job that is due at a time and writes the start of its run; no row where none is. */
export function beginSql(at: string): string {
  return `
with d as (
  select j.*, ${DUE} as due, ${at} as at, s.job_id is not null as known, to_jsonb(s) as before
  from ${DUE_JOBS} and ${DUE} <= ${at} order by ${DUE}, j.id limit 1
), h as (
  insert into ${HISTORY} (job_id, pid, execution_start, data)
  select id, ${process.pid}, at, jsonb_build_object('job', ${JOB_DATA}) from d returning id
), w as (
  insert into ${STAT} as s
  select id, at, '-infinity', '-infinity', '-infinity', false, 1, '0', '0', 0, 0, 1, 0, 1, 0 from d
  on conflict (job_id) do update set last_start = excluded.last_start, last_finish = '-infinity',
    next_start = '-infinity', last_run_success = false, total_runs = s.total_runs + 1,
    total_crashes = s.total_crashes + 1, consecutive_crashes = s.consecutive_crashes + 1
)
select d.id, h.id, d.application_name, (select rolname from pg_catalog.pg_roles where oid = d.owner),
  (extract(epoch from d.max_runtime) * 1000)::bigint, d.max_runtime, d.due, d.at, d.before,
  case when d.proc_name in ('policy_retention', 'policy_compression') then d.hypertable_id end,
  d.proc_schema not like '\\_timescaledb\\_%'
from d, h`
}

/** In the form the server writes: what is not set is left out. */
const JOB_DATA = `jsonb_strip_nulls(jsonb_build_object(
    'owner', (select rolname from pg_catalog.pg_roles where oid = owner), 'proc_name', proc_name,
    'proc_schema', proc_schema, 'scheduled', scheduled, 'max_retries', max_retries, 'max_runtime', max_runtime,
    'retry_period', retry_period, 'fixed_schedule', fixed_schedule, 'schedule_interval', schedule_interval,
    'initial_start', initial_start, 'check_schema', check_schema, 'check_name', check_name, 'timezone', timezone
  )) || case when config is null then '{}' else jsonb_build_object('config', config) end`

/** The row that `beginSql` gave. */
export function readBegun(row: readonly string[]): BegunRun {
  const [jobId, historyId = '', name = '', owner = '', limitMs, maxRuntime = '', due = '', at = ''] = row
  const [before = '', hypertableId = '', userDefined] = row.slice(8)
  return {
    jobId: Number(jobId),
    historyId,
    name,
    owner,
    limitMs: Number(limitMs),
    maxRuntime,
    due,
    at,
    before,
    hypertableId,
    userDefined: userDefined === 't',
  }
}

/**
 * Corrects what `beginSql` wrote. Gives the failures in a row and whether they are as many as the job may have; no row
 * where the job deleted itself. A next start that the job set itself is kept.
 */
export function endSql(run: BegunRun, { error }: RunEnd): string {
  const ok = error === undefined
  const data = ok ? "'{}'" : `jsonb_build_object('error_data', ${errorData(run, error)})`
  return `
with ended as (select clock_timestamp() as at),
h as (
  update ${HISTORY} set execution_finish = ended.at, succeeded = ${ok}, data = data || ${data}
  from ended where id = ${run.historyId}
)
update ${STAT} s set last_finish = ended.at, last_run_success = ${ok},
  total_crashes = s.total_crashes - 1, consecutive_crashes = 0,
  ${
    ok
      ? `last_successful_finish = ended.at, total_successes = s.total_successes + 1, consecutive_failures = 0,
  total_duration = s.total_duration + (ended.at - s.last_start)`
      : `total_failures = s.total_failures + 1, consecutive_failures = s.consecutive_failures + 1,
  total_duration_failures = s.total_duration_failures + (ended.at - s.last_start)`
  },
  next_start = case when s.next_start > '-infinity' then s.next_start else ${nextStart(run, ok)} end
from ended, ${JOB} j where j.id = s.job_id and s.job_id = ${run.jobId}
returning s.consecutive_failures, j.max_retries > 0 and s.consecutive_failures >= j.max_retries`
}

/**
 * The next start of job `j` with statistics `s`. It counts from the time the run was due, so that the time a run takes
 * does not shift the schedule; what was missed meanwhile is left out. After a failure it comes after the retry period,
 * doubled for each further failure in a row up to five schedule intervals, without the server's random part; a fixed
 * schedule is never left for it.
 */
function nextStart({ due, at }: BegunRun, ok: boolean): string {
  const begun = `${quoteLiteral(at)}::timestamptz`
  const planned = due === '-infinity' ? begun : `${quoteLiteral(due)}::timestamptz`
  const after = (start: string, span: string): string =>
    `(select min(t) from (values (${start} + ${span}), (${begun} + ${span}), (clock_timestamp() + ${span})) c (t) where t > clock_timestamp())`
  const regular = `case when j.fixed_schedule then ${NEXT_SLOT} else ${after(planned, 'j.schedule_interval')} end`
  if (ok) return regular
  const wait = 'least(j.retry_period * (1 << least(s.consecutive_failures, 20)), j.schedule_interval * 5)'
  const retry = after(begun, wait)
  return `case when j.max_retries = 0 then ${regular} when j.fixed_schedule then least(${retry}, ${NEXT_SLOT}) else ${retry} end`
}

/**
 * The first `initial_start + n intervals` from now on, counted in the job's time zone, where a day may have 23 hours.
 * n is guessed and corrected: extract takes a month as 30 days, which guesses up to a 24th too many.
 */
const NEXT_SLOT = `(select min(t) from (
    select ((j.initial_start at time zone z) + n * j.schedule_interval) at time zone z as t
    from (select coalesce(j.timezone, 'UTC') as z) zone,
      (select floor(extract(epoch from clock_timestamp() - j.initial_start)
        / extract(epoch from j.schedule_interval))::bigint as guess) g,
      generate_series(greatest(0, case when extract(epoch from j.schedule_interval) > 2500000 then guess * 24 / 25 else guess end - 2),
        greatest(0, guess) + 3) n
  ) slot where t > clock_timestamp())`

function errorData(run: BegunRun, error: ReadonlyMap<string, string>): string {
  const data = {
    sqlerrcode: error.get('C'),
    message: error.get('M'),
    detail: error.get('D'),
    hint: error.get('H'),
    context: error.get('W'),
    lineno: error.has('L') ? Number(error.get('L')) : undefined,
    filename: error.get('F'),
    funcname: error.get('R'),
  }
  const procedure = `(select jsonb_build_object('proc_schema', data -> 'job' -> 'proc_schema', 'proc_name', data -> 'job' -> 'proc_name')
    from ${HISTORY} where id = ${run.historyId})`
  return `${quoteLiteral(JSON.stringify(data))}::jsonb || ${procedure}`
}

/** Undoes what `beginSql` wrote: the run did not count, and the job is due as it was. */
export function requeueSql({ jobId, historyId, before, due }: BegunRun): string {
  const old = (column: string, never: string): string =>
    before === '' ? never : `(${quoteLiteral(before)}::jsonb ->> '${column}')`
  return `
with h as (delete from ${HISTORY} where id = ${historyId})
update ${STAT} set total_runs = total_runs - 1, total_crashes = total_crashes - 1,
  last_start = ${old('last_start', "'-infinity'")}::timestamptz, last_finish = ${old('last_finish', "'-infinity'")}::timestamptz,
  last_run_success = ${old('last_run_success', 'true')}::bool, consecutive_crashes = ${old('consecutive_crashes', '0')}::int,
  next_start = case when next_start > '-infinity' then next_start else ${quoteLiteral(due)}::timestamptz end
where job_id = ${jobId}`
}
