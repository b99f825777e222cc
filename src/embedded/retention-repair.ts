/**
 * On 32 bits a bigint is passed by its address. The extension's retention policy hands one to drop_chunks as the time
 * column's type, so that for a smallint or integer column the address is taken for the time: all chunks are dropped, or
 * none. Here the policy of such columns is done in SQL; that of all others stays the extension's own, under another name.
 */
import { quoteLiteral } from '../sql/literal.ts'

const POLICY = '_timescaledb_functions.policy_retention'
const ORIGINAL = '_timescaledb_functions.tsdbkit_policy_retention'

const BODY = `
declare
  target int := (config ->> 'hypertable_id')::int;
  time_type regtype;
  relation text;
  now_function text;
  present bigint;
  lowest int;
begin
  select d.column_type into time_type from _timescaledb_catalog.dimension d
    where d.hypertable_id = target and d.interval_length is not null order by d.id limit 1;
  if time_type not in ('smallint'::regtype, 'integer'::regtype) or not config ? 'drop_after' then
    call ${ORIGINAL}(job_id, config);
    return;
  end if;
  select format('%I.%I', coalesce(a.user_view_schema, h.schema_name), coalesce(a.user_view_name, h.table_name))
    into relation from _timescaledb_catalog.hypertable h
    left join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = h.id where h.id = target;
  -- An aggregate has the clock of the hypertable below it.
  with recursive below (hypertable) as (
    select target
    union all
    select a.raw_hypertable_id from below join _timescaledb_catalog.continuous_agg a on a.mat_hypertable_id = hypertable
  )
  select format('%I.%I', d.integer_now_func_schema, d.integer_now_func) into strict now_function
    from below join _timescaledb_catalog.dimension d on d.hypertable_id = hypertable
    where d.interval_length is not null and coalesce(d.integer_now_func, '') <> '' limit 1;
  execute format('select %s()', now_function) into strict present;
  lowest := case time_type when 'smallint'::regtype then -32768 else -2147483648 end;
  execute format('select public.drop_chunks(%L::regclass, older_than => %L::%s)', relation,
    greatest(present - (config ->> 'drop_after')::bigint, lowest), time_type);
end`

const PARAMETERS = '(job_id integer, config jsonb)'

const KEEP_ORIGINAL = (library: string): string => `
create procedure ${ORIGINAL}${PARAMETERS} language c as ${quoteLiteral(library)}, 'ts_policy_retention_proc';
alter extension timescaledb add procedure ${ORIGINAL}${PARAMETERS};`

const REPLACE = `
create or replace procedure ${POLICY}${PARAMETERS} language plpgsql set search_path to pg_catalog, pg_temp
as ${quoteLiteral(BODY)}`

const FIND = `
select p.probin from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = '_timescaledb_functions' and p.proname = 'policy_retention' and p.prosrc <> ${quoteLiteral(BODY)}`

/** Mends the policy where it is not mended yet; where there is no extension, there is nothing to mend. */
export function repairRetention(run: (text: string) => string[][]): void {
  const [row] = run(FIND)
  if (row === undefined) return
  // Empty where an earlier version of this file has replaced it.
  const library = row[0] ?? ''
  run(library === '' ? REPLACE : KEEP_ORIGINAL(library) + REPLACE)
}
