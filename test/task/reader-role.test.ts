import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect, type Database, readerRoleSql, runTask, type TaskAnswer } from '../../src/index.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'

// A plain PostgreSQL of a newer version, whose parsed queries have other parts, and with extensions that run statements.

let server: PostgresServer
let version = 0
let reader: Database

const DEFINITIONS = [
  'create table plain (a int)',
  'insert into plain values (1), (2)',
  'create view good as select a + 1 as b from plain',
  `create function evil() returns int language plpgsql as 'begin perform pg_advisory_lock(4711); return 1; end'`,
  'create extension dblink',
  'create extension tablefunc',
  'create extension xml2',
  'create extension hstore',
  'create extension file_fdw',
  'create server files foreign data wrapper file_fdw',
  `create foreign table outside (line text) server files options (program 'echo 1')`,
  'create table parent (line text)',
  'alter foreign table outside inherit parent',
  'create view over_parent as select * from parent',
]

beforeAll(async () => {
  server = await startPostgres()
  for (const text of DEFINITIONS) await server.admin(text)
  const rows = await server.admin<{ version: number }>(`select current_setting('server_version_num')::int as version`)
  version = rows[0]?.version ?? 0
  const kind = version >= 180_000 ? 'virtual' : 'stored'
  await server.admin(`create table computed (a int, b int generated always as (a * 2) ${kind})`)
  for (const { text } of readerRoleSql('Read "er"', { database: 'postgres' })) await server.admin(text)
  await server.admin(`alter role "Read ""er""" password 'reads only'`)
  const { port } = server
  reader = await connect({ host: '127.0.0.1', port, user: 'Read "er"', password: 'reads only', database: 'postgres' })
}, 60_000)
afterAll(async () => {
  await reader?.close()
  await server?.[Symbol.asyncDispose]()
})

function read(query: string, params: readonly unknown[] = []): Promise<TaskAnswer> {
  return runTask(reader, { action: 'execute_query', query, params }, { readOnly: true })
}

/** Whether the server knows less than the statement needs: PostgreSQL before 18. */
function isNewer(query: string): boolean {
  return version < 180_000 && /pg_input_is_valid|json_|uuidv7/.test(query)
}

describe('the role', () => {
  test('reads, also what is made later', async () => {
    await server.admin('create table later as select 7 as a')
    expect(await read('select * from later')).toMatchObject({ rows: [{ a: 7 }] })
    expect(await read('select a + $1 as x from plain where a = $2', [1, 2])).toMatchObject({ rows: [{ x: 3 }] })
  })

  test('owns nothing and writes nothing, also without read-only', async () => {
    for (const query of ['insert into plain values (3)', 'create table own (a int)', 'drop table plain']) {
      const answer = await runTask(reader, { action: 'execute_query', query })
      expect(answer).toMatchObject({ success: false })
    }
    expect(await server.admin('select a from plain order by a')).toEqual([{ a: 1 }, { a: 2 }])
  })

  test('must have the right to look at statements', async () => {
    await server.admin('revoke temporary on database postgres from public, "Read ""er"""')
    const answer = await read('select 1')
    await server.admin('grant temporary on database postgres to "Read ""er"""')
    expect(answer).toMatchObject({
      success: false,
      error: { code: 'READ_ONLY_REFUSED', hint: expect.stringContaining('TEMPORARY') },
    })
  })
})

test.for([
  `select * from outside`,
  `select * from parent`,
  `select * from over_parent`,
  `select * from dblink('dbname=postgres', 'select evil()') as t(a int)`,
  `select dblink_exec('dbname=postgres', 'select evil()')`,
  `select * from crosstab('select evil(), 1, 1') as t(a int, b int)`,
  `select * from connectby('plain', 'a', 'a', '1', 0) as t(a text, b text, c int)`,
  `select xpath_table('a', 'b', 'plain', 'd', 'e')`,
  `select pg_input_is_valid('1', 'int')`,
  `merge into plain using plain p on true when matched then do nothing`,
])('%s is refused', async (query, { skip }) => {
  skip(isNewer(query), 'a function of a newer version')
  expect(await read(query)).toMatchObject({ success: false, error: { code: 'READ_ONLY_REFUSED' } })
  expect(await server.admin(`select count(*)::int as n from pg_locks where locktype = 'advisory'`)).toEqual([{ n: 0 }])
})

test.for([
  'select * from good',
  'select * from computed',
  `select 'a=>1'::hstore -> 'a' as a`,
  `select * from json_table('[1]', '$[*]' columns (a int path '$')) j`,
  `select json_object('a': 1), json_array(1, 2), '1' is json, json_value('1', '$'), json_query('[1]', '$[0]'),
    json_exists('1', '$'), json_scalar(1), json_serialize('1'), json('1'), json_arrayagg(1), json_objectagg('a': 1)`,
  'select grouping(a), rank() over (order by a range between 1 preceding and current row) from plain group by cube(a)',
  `with recursive t(n) as (select 1 union all select n + 1 from t where n < 5)
    search depth first by n set o cycle n set c using p select n from t`,
  `select (array[1, 2, 3])[1:2], row(1, 2) < row(1, 3), coalesce(1, 2), greatest(1, 2), nullif(1, 2), xmlelement(name a),
    1 is distinct from 2, current_user, 'a' collate "C", case 1 when 1 then 'x' end, not true, 1 is null, true is true`,
  `select * from xmltable('/a' passing '<a/>' columns x text path '.')`,
  'select * from plain tablesample system(50)',
  'select * from rows from (generate_series(1, 2), unnest(array[1])) with ordinality',
  'select distinct on (a) a from plain order by a fetch first 1 rows with ties',
  'select nth_value(a, 1) over w from plain window w as (order by a groups 1 preceding exclude ties)',
  'select percentile_cont(0.5) within group (order by a), string_agg(distinct a::text, $$,$$) from plain',
  'select (plain).a, plain.*::text, array(select a from plain), a = any(select 1), exists (select 1) from plain',
  'select int4range(1, 2) @> 1, multirange(int4range(1, 2)), uuidv7(), random(1, 2)',
  'select * from pg_stat_activity limit 1',
  'select * from information_schema.tables limit 1',
])('%s is allowed', async (query, { skip }) => {
  skip(isNewer(query), 'syntax of a newer version')
  expect(await read(query)).toMatchObject({ success: true })
})

test('functions and operators that stand in for those of the look are not called by it', async () => {
  const lie = (arguments_: string): string =>
    `(${arguments_}) returns text language plpgsql as 'begin perform pg_advisory_lock(4711); return null; end'`
  const definitions = [
    `create function concat${lie('pg_node_tree, text, pg_node_tree')}`,
    `create function starts_with(name, text) returns bool language plpgsql as 'begin return evil() = 1; end'`,
    `create function array_to_string${lie('regtype[], text')}`,
    `create function append${lie('text, regprocedure')}`,
    'create operator || (function = append, leftarg = text, rightarg = regprocedure)',
  ]
  for (const text of definitions) await server.admin(text)
  // As the catalog's own would choose them.
  await expect(server.admin(`select concat(prosqlbody, ' '::text, prosqlbody) from pg_proc limit 1`)).resolves.toEqual([
    { concat: null },
  ])
  expect(await read('select evil() + $1', [1])).toMatchObject({ success: false, error: { code: 'READ_ONLY_REFUSED' } })
  expect(await read('select $1::int as one', [1])).toMatchObject({ rows: [{ one: 1 }] })
  expect(await server.admin(`select count(*)::int as n from pg_locks where locktype = 'advisory'`)).toEqual([{ n: 0 }])
})

test('the administrator is held back by the look alone', async () => {
  await using db = await connect({
    host: '127.0.0.1',
    port: server.port,
    user: 'Ad min',
    password,
    database: 'postgres',
  })
  const task = { action: 'execute_query', query: 'select evil()' }
  expect(await runTask(db, task, { readOnly: true })).toMatchObject({ error: { code: 'READ_ONLY_REFUSED' } })
})
