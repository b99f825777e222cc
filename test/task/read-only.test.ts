import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, type ReadOnlyLimits, runTask, sql, type TaskAnswer } from '../../src/index.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
/** The schema as SQL. */
let s: string

/** Definitions that do more than they say. `evil` leaves a lock behind, which no rollback takes away. */
const HOSTILE = [
  `create table {s}.plain (a int)`,
  `insert into {s}.plain select generate_series(1, 5)`,
  `create table {s}.metrics (time timestamptz not null, v float8)`,
  `create sequence {s}.counter`,
  `create function {s}.evil() returns int language plpgsql as 'begin perform pg_advisory_lock(hashtext(''{t}'')); return 1; end'`,
  `create function {s}.evil_stable() returns int language plpgsql stable as 'begin return {s}.evil(); end'`,
  `create function {s}.evil_immutable(int) returns int language sql immutable as 'select {s}.evil()'`,
  `create view {s}.evil_view as select {s}.evil() e`,
  `create view {s}.outer_view as select * from {s}.evil_view`,
  `create function {s}.same(int, text) returns bool language plpgsql immutable as 'begin return {s}.evil() = 1; end'`,
  `create operator {s}.=== (function = {s}.same, leftarg = int, rightarg = text)`,
  `create function {s}.good(int, text) returns bool language sql immutable begin atomic select $1 = 1; end`,
  `create operator {s}.=!= (function = {s}.good, leftarg = int, rightarg = text, negator = operator({s}.===))`,
  `create function {s}.step(int, int) returns int language plpgsql immutable as 'begin return {s}.evil(); end'`,
  `create aggregate {s}.evil_sum(int) (sfunc = {s}.step, stype = int)`,
  `create type {s}.pair as (a int)`,
  `create function {s}.to_text({s}.pair) returns text language plpgsql immutable as 'begin return {s}.evil()::text; end'`,
  `create cast ({s}.pair as text) with function {s}.to_text({s}.pair)`,
  `create function {s}.with_default(a int default {s}.evil_immutable(1)) returns int language sql immutable begin atomic select a; end`,
  `create function {s}.nested() returns int language sql stable begin atomic select {s}.evil(); end`,
  `create function {s}.parsed(a int) returns int language sql immutable begin atomic select a + 1; end`,
  `create table {s}.guarded (a int)`,
  `alter table {s}.guarded enable row level security`,
  `create policy own on {s}.guarded using ({s}.evil_stable() = 1)`,
  `create table {s}.indexed (a int)`,
  `create index on {s}.indexed ({s}.evil_immutable(a))`,
  `create table {s}.checked (a int check ({s}.evil_immutable(a) = 1))`,
  `create table {s}.parent (a int) partition by range (a)`,
  `create table {s}.child partition of {s}.parent (check ({s}.evil_immutable(a) = 1)) for values from (0) to (9)`,
]

function expand(text: string): string {
  return text.replaceAll('{s}', s).replaceAll('{t}', database.schema)
}

beforeAll(async () => {
  database = await openTestDatabase()
  s = sql.column(database.schema).text
  for (const text of HOSTILE) await database.client.executeQuery(expand(text))
  const table = { schema: database.schema, name: 'metrics' }
  await database.client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await database.client.executeQuery(
    expand(
      `insert into {s}.metrics select '2026-01-01'::timestamptz + i * interval '1 hour', i from generate_series(0, 99) i`,
    ),
  )
}, 60_000)
afterAll(() => database.close())

function read(query: string, limits: ReadOnlyLimits = {}, params?: unknown[]): Promise<TaskAnswer> {
  const task = { action: 'execute_query', query: expand(query), ...(params === undefined ? {} : { params }) }
  return runTask(database.client, task, { readOnly: limits })
}

/** What a hostile statement could have done. */
async function traces(client: Client = database.client): Promise<unknown> {
  const [row] = await client.sql`
    select (select count(*) from pg_locks where locktype = 'advisory' and objid = (hashtext(${database.schema})::bigint & 4294967295)) as locks,
      (select count(*) from ${sql.raw(expand('{s}.plain'))}) as rows,
      (select last_value from ${sql.raw(expand('{s}.counter'))}) as counter,
      (select count(*) from timescaledb_information.chunks where hypertable_schema = ${database.schema}) as chunks,
      (select count(*) from timescaledb_information.jobs where hypertable_schema = ${database.schema}) as jobs,
      current_setting('tsdb.evil', true) as setting`
  return row
}
const untouched = { locks: 0, rows: 5, counter: 1, chunks: 5, jobs: 0, setting: null }

test('what is watched shows it: a transaction that is only declared read-only keeps the lock', async () => {
  const run = async (tx: Client): Promise<void> => {
    await tx.executeQuery(expand('select * from {s}.outer_view'))
    expect(await traces(tx)).toEqual({ ...untouched, locks: 1 })
    // A lock is given back on the connection that took it.
    await tx.sql`select pg_advisory_unlock(hashtext(${database.schema}))`
  }
  await database.client.transaction(run, { readOnly: true })
  expect(await traces()).toEqual(untouched)
})

describe('refused, and nothing is done', () => {
  test.each([
    // Called by the statement itself.
    `select {s}.evil()`,
    `select {s}.evil_stable()`,
    `select {s}.evil_immutable(1)`,
    `select case when false then {s}.evil() end`,
    `select a from {s}.plain order by {s}.evil()`,
    `select a from {s}.plain limit {s}.evil()`,
    `select a from {s}.plain where exists (select {s}.evil())`,
    `with x as materialized (select {s}.evil()) select 1`,
    `values (1), ({s}.evil())`,
    `select * from generate_series(1, {s}.evil())`,
    `select * from {s}.plain, lateral (select {s}.evil()) x`,
    `select 1 union all select {s}.evil()`,
    `select array[{s}.evil()], row({s}.evil())`,
    `select sum(a) filter (where {s}.evil() = 1) over (partition by {s}.evil()) from {s}.plain`,
    `explain analyze select {s}.evil()`,
    `EXPLAIN (ANALYZE, VERBOSE) select {s}.evil()`,
    // Called by what it uses.
    `select * from {s}.evil_view`,
    `table {s}.outer_view`,
    `select 1 operator({s}.===) 'a'`,
    `select not (1 operator({s}.=!=) 'a')`,
    `select {s}.evil_sum(a) from {s}.plain`,
    `select {s}.evil_sum(a) over () from {s}.plain`,
    `select row(1)::{s}.pair::text`,
    `select {s}.with_default()`,
    `select {s}.nested()`,
    `select * from {s}.guarded`,
    `select * from {s}.indexed`,
    `select * from {s}.checked`,
    `select * from {s}.parent`,
    // By name.
    `select table_to_xml('{s}.evil_view', true, true, '')`,
    `select schema_to_xml('{t}', true, true, '')`,
    `select query_to_xml('select {s}.evil()', true, true, '')`,
    `select ts_stat('select {s}.evil()')`,
    // PostgreSQL's own.
    `select nextval('{s}.counter')`,
    `select setval('{s}.counter', 9)`,
    `select set_config('tsdb.evil', 'x', false)`,
    `select pg_advisory_lock(hashtext('{t}'))`,
    `select pg_sleep(0)`,
    `select pg_notify('a', 'b')`,
    `select pg_terminate_backend(0)`,
    `select lo_export(1, '/tmp/tsdbkit-evil')`,
    `select pg_read_file('/etc/passwd')`,
    `select pg_stat_reset()`,
    `select pg_export_snapshot()`,
    `select domain_in('1', 'int'::regtype, -1)`,
    `select lo_create(0)`,
    `select lo_from_bytea(0, 'x')`,
    `select lo_get(1)`,
    `select pg_ls_dir('/')`,
    `select pg_read_binary_file('/etc/passwd')`,
    `select pg_try_advisory_lock(1)`,
    `select pg_advisory_xact_lock(hashtext('{t}'))`,
    `select pg_logical_emit_message(true, 'a', 'b')`,
    `select pg_switch_wal()`,
    `select pg_reload_conf()`,
    `select pg_cancel_backend(pg_backend_pid())`,
    `select ts_rewrite('a'::tsquery, 'select {s}.evil()')`,
    `select * from cursor_to_xml('c', 1, true, true, '')`,
    `select currval('{s}.counter')`,
    `select txid_snapshot_xmin(txid_current_snapshot()), pg_create_restore_point('x')`,
    // TimescaleDB's.
    `select _timescaledb_functions.drop_chunk(chunk) from show_chunks('{s}.metrics') chunk`,
    `select drop_chunks('{s}.metrics', older_than => now())`,
    `select remove_continuous_aggregate_policy('{s}.metrics')`,
    `select remove_retention_policy('{s}.metrics', if_exists => true)`,
    `select add_retention_policy('{s}.metrics', interval '1 day')`,
    `select compress_chunk(chunk) from show_chunks('{s}.metrics') chunk`,
    `select delete_job(1)`,
    `select add_job('{s}.evil', '1 day')`,
    `select _timescaledb_functions.stop_background_workers()`,
    // Not a query.
    `delete from {s}.plain`,
    `with x as (delete from {s}.plain returning *) select * from x`,
    `with x as (insert into {s}.plain values (1) returning *) select * from x`,
    `explain analyze delete from {s}.plain`,
    `explain analyze create table {s}.made as select 1`,
    `do $$ begin perform {s}.evil(); end $$`,
    `copy {s}.plain to program 'touch /tmp/tsdbkit-evil'`,
    `copy {s}.plain to '/tmp/tsdbkit-evil'`,
    `set tsdb.evil = 'x'`,
    `set transaction read write`,
    `commit`,
    `rollback`,
    `create table {s}.made as select 1`,
    `lock {s}.plain`,
    `listen x`,
    `vacuum {s}.plain`,
    `prepare evil as select {s}.evil()`,
    `declare c cursor for select {s}.evil()`,
    `truncate {s}.plain`,
    `drop table {s}.plain`,
    ``,
    `;`,
    `-- nothing`,
  ])('%s', async (query) => {
    expect(await read(query)).toMatchObject({ success: false, error: { code: 'READ_ONLY_REFUSED' } })
  })

  test.each([
    `select 1; commit; select {s}.evil()`,
    `select 1; end; select {s}.evil()`,
    `select 1; end; create table {s}.made (a int); begin atomic select 1`,
    `select 1 /* ; end`,
    `select 1 into {s}.made`,
    `select * from {s}.plain for update`,
    `select * from {s}.plain for key share skip locked`,
    `select * from (select * from {s}.plain for share) x`,
    `explain (analyze) select * from {s}.plain for update`,
    `explain (table {s}.plain) union select {s}.evil()`,
    `execute evil`,
    `fetch c`,
    `call {s}.evil()`,
    `merge into {s}.plain using (select 1) x on false when not matched then insert values (1)`,
    `begin`,
    `return 1`,
    `select '`,
    `select $$`,
    `) as x`,
  ])('%s, by the server', async (query) => {
    expect(await read(query)).toMatchObject({ success: false })
  })

  test('by none of these', async () => {
    expect(await traces()).toEqual(untouched)
  })

  test.each([
    { action: 'drop_hypertable', table_name: 'x' },
    { action: 'execute_many', query: 'select 1', params_list: [[]] },
    { action: 'add_retention_policy', table_name: 'x', drop_after: '1 day' },
    { action: 'compress_chunk', chunk_name: 'x' },
    { action: 'refresh_continuous_aggregate', view_name: 'x' },
  ])('%j', async (task) => {
    const answer = await runTask(database.client, task, { readOnly: true })
    expect(answer).toMatchObject({ success: false, error: { code: 'READ_ONLY_REFUSED' } })
  })

  test('a query by buckets of a view that does more', async () => {
    await database.client.executeQuery(
      expand('create view {s}.evil_metrics as select time, v + {s}.evil_immutable(1) as v from {s}.metrics'),
    )
    const series = { table_name: expand('{s}.evil_metrics'), time_column: 'time', bucket_interval: '1 hour' }
    const window = { start_time: '2026-01-01', end_time: '2026-01-02' }
    for (const task of [
      { action: 'time_bucket_query', ...series, aggregations: { v: 'AVG' } },
      { action: 'fill_gaps', ...series, ...window, columns: ['v'] },
    ]) {
      const answer = await runTask(database.client, task, { readOnly: true })
      expect(answer).toMatchObject({ success: false, error: { code: 'READ_ONLY_REFUSED' } })
    }
    expect(await traces()).toEqual(untouched)
  })

  test('a hypertable whose partitioning function does more', async () => {
    const { client } = database
    await client.executeQuery(
      expand(`create function {s}.spread(anyelement) returns int language sql immutable as 'select {s}.evil()'`),
    )
    await client.executeQuery(expand('create table {s}.spread_table (time timestamptz not null, k int)'))
    await client.executeQuery(
      expand(`select create_hypertable('{s}.spread_table', 'time', 'k', 2, partitioning_func => '{s}.spread')`),
    )
    const answer = await read('select * from {s}.spread_table where k = 1')
    expect(answer).toMatchObject({ error: { code: 'READ_ONLY_REFUSED', message: expect.stringContaining('spread') } })
    expect(await traces()).toEqual(untouched)
  })

  test('a domain whose check does more, even before a literal of it is parsed', async () => {
    const { client } = database
    await client.executeQuery(expand('create domain {s}.evil_number as int check ({s}.evil_immutable(value) = 1)'))
    try {
      for (const query of [`select '{1}'::{s}.evil_number[]`, `select 1`]) {
        const answer = await read(query)
        expect(answer).toMatchObject({ error: { message: expect.stringContaining('domain') } })
        expect(await traces()).toEqual(untouched)
      }
    } finally {
      await client.executeQuery(expand('drop domain {s}.evil_number'))
    }
  })

  test('an operator class or a range type that compares by more than its operators say', async () => {
    const { client } = database
    await client.executeQuery(
      expand(
        `create function {s}.compare(int, int) returns int language plpgsql immutable as 'begin perform {s}.evil(); return $1 - $2; end'`,
      ),
    )
    await client.executeQuery(
      expand(
        `create operator class {s}.own_order for type int using btree as
         operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 {s}.compare(int, int)`,
      ),
    )
    await client.executeQuery(
      expand('create type {s}.own_range as range (subtype = int, subtype_opclass = {s}.own_order)'),
    )
    try {
      // The second runs it while the statement is parsed.
      for (const query of ['select {s}.own_range(1, 2)', `select '[1,2)'::{s}.own_range`, 'select 1']) {
        expect(await read(query)).toMatchObject({
          error: { code: 'READ_ONLY_REFUSED', message: expect.stringContaining('compare(integer, integer)') },
        })
      }
    } finally {
      await client.executeQuery(expand('drop type {s}.own_range'))
      await client.executeQuery(expand('drop operator family {s}.own_order using btree'))
    }
    expect(await traces()).toEqual(untouched)
  })

  test('a cast to JSON that does more', async () => {
    const { client } = database
    await client.executeQuery(
      expand(
        `create function {s}.to_json({s}.pair) returns json language plpgsql as 'begin return to_json({s}.evil()); end'`,
      ),
    )
    await client.executeQuery(expand('create cast ({s}.pair as json) with function {s}.to_json({s}.pair)'))
    try {
      const answer = await read('select to_json(row(1)::{s}.pair)')
      expect(answer).toMatchObject({ error: { message: expect.stringContaining('cast') } })
    } finally {
      await client.executeQuery(expand('drop cast ({s}.pair as json)'))
    }
    expect(await traces()).toEqual(untouched)
  })
})

describe('allowed', () => {
  test.each<[string, unknown]>([
    [`select count(*) as n, max(v) as high from {s}.metrics`, [{ n: 100, high: 99 }]],
    [
      `select time_bucket('1 day', time) as day, first(v, time) as v from {s}.metrics group by 1 order by 1 limit 1;`,
      [{ day: '2026-01-01T00:00:00.000Z', v: 0 }],
    ],
    [`select {s}.parsed(1) as two`, [{ two: 2 }]],
    [`select 1 as "{FUNCEXPR :funcid 1 }", 'x' as ":relid 5 {"`, [{ '{FUNCEXPR :funcid 1 }': 1, ':relid 5 {': 'x' }]],
    [`with recursive t(n) as (select 1 union all select n + 1 from t where n < 3) select sum(n) from t`, [{ sum: 6 }]],
    [
      `select a, rank() over (order by a desc) as r from {s}.plain where a in (4, 5) order by a -- done`,
      [
        { a: 4, r: 2 },
        { a: 5, r: 1 },
      ],
    ],
    [
      `select random() < 2 as ok, now() <= clock_timestamp() as later, current_setting('server_version') <> '' as v`,
      [{ ok: true, later: true, v: true }],
    ],
    [`select json_object_agg(a, a::text) as j from {s}.plain where a < 2`, [{ j: { 1: '1' } }]],
    [
      `select string_agg(a::text, ',' order by a) as l, (array_agg(a))[1] as f from {s}.plain`,
      [{ l: '1,2,3,4,5', f: 1 }],
    ],
    [`select hypertable_size('{s}.metrics') > 0 as size`, [{ size: true }]],
    [
      `select num_chunks from timescaledb_information.hypertables where hypertable_schema = '{t}' and hypertable_name = 'metrics'`,
      [{ num_chunks: 5 }],
    ],
    [`select count(*) > 0 as n from information_schema.columns`, [{ n: true }]],
    [`select count(*) as n from show_chunks('{s}.metrics')`, [{ n: 5 }]],
  ])('%s', async (query, rows) => {
    expect(await read(query)).toMatchObject({ success: true, rows })
  })

  test('values for parameters, whose types the server finds', async () => {
    const answer = await read('select $1 + a as sum, $2::timestamptz as t from {s}.plain where a = any($3)', {}, [
      1,
      '2026-01-01',
      [2],
    ])
    expect(answer).toMatchObject({ rows: [{ sum: 3, t: '2026-01-01T00:00:00.000Z' }] })
  })

  test('plans', async () => {
    expect(await read('explain (costs off) select * from {s}.plain')).toMatchObject({ success: true })
  })

  test('a function that the caller vouches for', async () => {
    const trustedFunctions = [`${s}.evil_immutable`]
    await database.client.executeQuery(
      expand(`create or replace function {s}.evil_immutable(int) returns int language sql immutable as 'select 7'`),
    )
    expect(await read('select {s}.evil_immutable(1) as seven', { trustedFunctions })).toMatchObject({
      rows: [{ seven: 7 }],
    })
    expect(await read('select {s}.evil_immutable(1)')).toMatchObject({ success: false })
  })

  test('the actions that read', async () => {
    const table_name = expand('{s}.metrics')
    const series = { table_name, time_column: 'time', bucket_interval: '1 day' }
    const { client } = database
    const readOnly = { readOnly: true }
    const buckets = { action: 'time_bucket_query', ...series, aggregations: { v: 'AVG' } }
    expect(await runTask(client, buckets, readOnly)).toEqual(await runTask(client, buckets))
    for (const action of ['get_hypertable_stats', 'get_chunk_info']) {
      expect(await runTask(client, { action, table_name }, readOnly)).toMatchObject({ success: true })
    }
    if (!database.can('gapfill')) return
    const gaps = { action: 'fill_gaps', ...series, start_time: '2026-01-01', end_time: '2026-01-09', columns: ['v'] }
    expect(await runTask(client, gaps, readOnly)).toEqual(await runTask(client, gaps))
  })
})

describe('limits', () => {
  test('of rows, also where there are more than would ever end', async () => {
    const answer = await read('select generate_series(1, 1000000000) as i', { maxRows: 3 })
    expect(answer).toEqual({ success: true, rows: [{ i: 1 }, { i: 2 }, { i: 3 }], row_count: 3, truncated: true })
    expect(await read('select generate_series(1, 3) as i', { maxRows: 3 })).not.toHaveProperty('truncated')
  })

  test('of bytes', async () => {
    const answer = await read(`select repeat('x', 1000) as x from generate_series(1, 50)`, { maxBytes: 5000 })
    expect(answer).toMatchObject({ row_count: 4, truncated: true })
  })

  test('of time', async () => {
    const answer = await read('select count(*) from generate_series(1, 100000000000)', { timeoutMs: 1000 })
    expect(answer).toMatchObject({ success: false, error: { code: 'STATEMENT_TIMEOUT' } })
    expect(await read('select 1 as one')).toMatchObject({ success: true })
  })

  test('of a list', async () => {
    const task = { action: 'get_chunk_info', table_name: expand('{s}.metrics') }
    const answer = await runTask(database.client, task, { readOnly: { maxRows: 2 } })
    expect(answer).toMatchObject({ truncated: true, chunks: [{}, {}] })
  })

  test('of a signal', async () => {
    const task = { action: 'execute_query', query: 'select count(*) from generate_series(1, 100000000000)' }
    const answer = await runTask(database.client, task, { readOnly: true, signal: AbortSignal.timeout(300) })
    expect(answer).toMatchObject({ success: false, error: { code: 'QUERY_CANCELLED' } })
  })
})

test('nothing is left: no statement, no function, no transaction', async () => {
  const [row] = await database.client.sql`
    select (select count(*) from pg_prepared_statements where name like 'tsdbkit_check%') as statements,
      (select count(*) from pg_proc where proname like 'tsdbkit_check%') as functions`
  expect(row).toEqual({ statements: 0, functions: 0 })
  expect(await traces()).toEqual(untouched)
})
