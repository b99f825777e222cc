/**
 * The statements that keep the extension's own tables about jobs, so that its views show the truth: a run is written as
 * a crash before it starts, as the server does, and corrected when it ends. They run as the engine's own, in one
 * session with the settings of a new connection, which keeps them prepared.
 */
const JOB = '_timescaledb_config.bgw_job'
export const STAT = '_timescaledb_internal.bgw_job_stat'
export const HISTORY = '_timescaledb_internal.bgw_job_stat_history'

/** A job that never ran is due from its initial start on, or at once. `infinity` is never. */
const DUE = `case when s.next_start > '-infinity' then s.next_start else coalesce(j.initial_start, '-infinity') end`
const DUE_JOBS = `${JOB} j left join ${STAT} s on s.job_id = j.id where j.scheduled and ${DUE} < 'infinity'`

/**
 * Runs that the end of their process left open become crashes that can be seen, and their jobs are due again. A job
 * that ends the engine each time waits longer each time, so that others can work.
 */
export const RECOVER: string = `
with h as (update ${HISTORY} set pid = null where execution_finish is null and succeeded is null and pid is not null)
update ${STAT} set next_start = case when consecutive_crashes <= 1 then clock_timestamp()
  else clock_timestamp() + least(consecutive_crashes - 1, 12) * interval '5 minutes' end
where consecutive_crashes > 0 and next_start = '-infinity'`

/** In the form the server writes: what is not set is left out. */
const JOB_DATA = `jsonb_strip_nulls(jsonb_build_object(
    'owner', (select rolname from pg_catalog.pg_roles where oid = owner), 'proc_name', proc_name,
    'proc_schema', proc_schema, 'scheduled', scheduled, 'max_retries', max_retries, 'max_runtime', max_runtime,
    'retry_period', retry_period, 'fixed_schedule', fixed_schedule, 'schedule_interval', schedule_interval,
    'initial_start', initial_start, 'check_schema', check_schema, 'check_name', check_name, 'timezone', timezone
  )) || case when config is null then '{}' else jsonb_build_object('config', config) end`

/** A hypertable's chunks, all and compressed; 0 for NULL. */
const chunkCounts = (hypertableId: string): string => `
  (select count(*) || ',' || count(*) filter (where status & 1 = 1)
    from _timescaledb_catalog.chunk where not dropped and hypertable_id = ${hypertableId})`

/** When the next job is due, not before $1: microseconds since 1970; NULL where there is none. */
const NEXT_DUE = `select (extract(epoch from min(greatest(${DUE}, $1))) * 1000000)::bigint from ${DUE_JOBS}`

/**
 * Takes the first job that is due until $2 and writes the start of its run, at its due time but not before $1; no row
 * where none is. Where $3 is true, the chunks of a policy that drops or compresses some are counted. The job is found by
 * its id first: what is told of it would else be put together for each job that is due.
 */
const BEGIN = `
with first as (select j.id, ${DUE} as due from ${DUE_JOBS} and ${DUE} <= $2 order by 2, 1 limit 1
), d as (
  select j.*, first.due, greatest(first.due, $1) as at, to_jsonb(s) as before,
    case when $3 and j.proc_name in ('policy_retention', 'policy_compression') then j.hypertable_id end as watched
  from first join ${JOB} j on j.id = first.id left join ${STAT} s on s.job_id = first.id
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
  (extract(epoch from d.max_runtime) * 1000)::bigint, d.max_runtime, d.due, d.at,
  (extract(epoch from d.at) * 1000000)::bigint, d.before, d.watched,
  case when d.proc_schema not like '\\_timescaledb\\_%' then 'action'
    when d.proc_name = 'policy_job_stat_history_retention' then 'history' else 'policy' end, ${chunkCounts('d.watched')}
from d, h`

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

const after = (start: string, span: string): string =>
  `(select min(t) from (values (${start} + ${span}), (run.begun + ${span}), (clock_timestamp() + ${span})) c (t) where t > clock_timestamp())`

/** It counts from the time the run was due, so that the time a run takes does not shift the schedule; what was missed meanwhile is left out. */
const REGULAR = `case when j.fixed_schedule then ${NEXT_SLOT}
  else ${after("(case when run.due = '-infinity' then run.begun else run.due end)", 'j.schedule_interval')} end`

/**
 * After the retry period, doubled for each further failure in a row up to five schedule intervals, without the server's
 * random part. A fixed schedule is never left for it.
 */
const RETRY = after(
  'run.begun',
  'least(j.retry_period * (1 << least(s.consecutive_failures, 20)), j.schedule_interval * 5)',
)

/** The next start of job `j` with statistics `s`. */
const NEXT_START = `case when run.ok or j.max_retries = 0 then ${REGULAR}
  when j.fixed_schedule then least(${RETRY}, ${NEXT_SLOT}) else ${RETRY} end`

/**
 * Corrects what the beginning wrote: job $1, run $2, due at $3, begun at $4, successful where $5, else with the error
 * $6; the chunks of hypertable $7 are counted. Gives whether it has failed as often as it may and the counts; no row
 * where the job deleted itself. A next start that the job set itself is kept. The parameters are in a CTE, since a plan
 * that knew their values would look cheaper and be made anew each time.
 */
const END = `
with run as materialized (
  select $1 as job, $2 as id, $3 as due, $4 as begun, $5 as ok, $6 as error, $7 as watched, clock_timestamp() as ended
), h as (
  update ${HISTORY} h set execution_finish = run.ended, succeeded = run.ok, data = data || case when run.ok then '{}'
    else jsonb_build_object('error_data', run.error || jsonb_build_object(
      'proc_schema', data -> 'job' -> 'proc_schema', 'proc_name', data -> 'job' -> 'proc_name')) end
  from run where h.id = run.id
)
update ${STAT} s set last_finish = run.ended, last_run_success = run.ok,
  total_crashes = s.total_crashes - 1, consecutive_crashes = 0,
  last_successful_finish = case when run.ok then run.ended else s.last_successful_finish end,
  total_successes = s.total_successes + run.ok::int, total_failures = s.total_failures + (not run.ok)::int,
  consecutive_failures = case when run.ok then 0 else s.consecutive_failures + 1 end,
  total_duration = s.total_duration + case when run.ok then run.ended - s.last_start else '0' end,
  total_duration_failures = s.total_duration_failures + case when run.ok then '0' else run.ended - s.last_start end,
  next_start = case when s.next_start > '-infinity' then s.next_start else ${NEXT_START} end
from run, ${JOB} j where j.id = s.job_id and s.job_id = run.job
returning j.max_retries > 0 and s.consecutive_failures >= j.max_retries, ${chunkCounts('run.watched')}`

/**
 * What the server's own job for old entries of the history does, by the configuration of job $1. That one writes the whole
 * table anew each day, in 20 ms, after which the plans of the statements here are made anew too, and forgets crashes and
 * the run that is under way, its own. Crashes count as failures here. Gives whether the table has grown enough to be vacuumed.
 */
const PRUNE = `
with rule as materialized (
  select now() - (config ->> 'drop_after')::interval as oldest, (config ->> 'max_successes_per_job')::bigint as successes,
    (config ->> 'max_failures_per_job')::bigint as failures
  from ${JOB} where id = $1
), ended as (
  select id, succeeded, coalesce(execution_finish, execution_start) as at, row_number() over (
      partition by job_id, succeeded is true order by coalesce(execution_finish, execution_start) desc, id desc) as place
  from ${HISTORY} where succeeded is not null or pid is null
), gone as (
  delete from ${HISTORY} h using ended e, rule
  where h.id = e.id and (e.at < rule.oldest or e.place > case when e.succeeded then rule.successes else rule.failures end)
)
select pg_catalog.pg_relation_size(c.oid) - c.relpages::bigint * 8192 > 65536 + c.relpages::bigint * 8192 / 5
from pg_catalog.pg_class c where c.oid = '${HISTORY}'::pg_catalog.regclass`

/** By their names, with the types of their parameters. */
export const STATEMENTS: Readonly<
  Record<'due' | 'begin' | 'end' | 'prune', { readonly types: string; readonly sql: string }>
> = {
  due: { types: 'timestamptz', sql: NEXT_DUE },
  prune: { types: 'int', sql: PRUNE },
  begin: { types: 'timestamptz, timestamptz, bool', sql: BEGIN },
  end: { types: 'int, bigint, timestamptz, timestamptz, bool, jsonb, int', sql: END },
}
