import { inspect } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { databaseError } from '../../src/connection/server-error.ts'
import { ConnectionError, QueryError, TimescaleError } from '../../src/errors.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession

beforeAll(async () => {
  server = await startPostgres()
  pool = openPool(server.options)
  db = new DatabaseSession(pool)
  await run('create schema "Test 1.a"')
  await run('create table "Test 1.a"."T.x" (id int primary key, email text unique not null, age int check (age > 0))')
  await run(`insert into "Test 1.a"."T.x" values (1, 'secret-one@example.org', 5)`)
})

afterAll(async () => {
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const run = (text: string, values: unknown[] = []): Promise<unknown> => db.query({ text, values })
const failure = (text: string, values: unknown[] = []): Promise<unknown> =>
  run(text, values).then(
    () => undefined,
    (error: unknown) => error,
  )

test.each<[string, string, string]>([
  ['select * from "No such.table"', 'NOT_FOUND', '42P01'],
  ['select nothing from "Test 1.a"."T.x"', 'NOT_FOUND', '42703'],
  ['select no_such_function(1)', 'NOT_FOUND', '42883'],
  ['create table "Test 1.a"."T.x" ()', 'ALREADY_EXISTS', '42P07'],
  ['create schema "Test 1.a"', 'ALREADY_EXISTS', '42P06'],
  ['selec 1', 'SYNTAX_ERROR', '42601'],
  ['select 1; select 2', 'SYNTAX_ERROR', '42601'],
  ['select 1/0', 'QUERY_FAILED', '22012'],
  ['insert into "Test 1.a"."T.x" values (1, $$a$$, 1)', 'CONSTRAINT_VIOLATION', '23505'],
  ["do $$ begin raise sqlstate 'TS001' using message = 'x'; end $$", 'HYPERTABLE_NOT_FOUND', 'TS001'],
  ["do $$ begin raise sqlstate 'TS110' using message = 'x'; end $$", 'HYPERTABLE_EXISTS', 'TS110'],
  ["do $$ begin raise sqlstate '40001' using message = 'x'; end $$", 'SERIALIZATION_FAILURE', '40001'],
  ["do $$ begin raise sqlstate '42501' using message = 'x'; end $$", 'PERMISSION_DENIED', '42501'],
  [
    "do $$ begin raise sqlstate 'ZZ999' using message = 'x', hint = 'do y', detail = 'because z'; end $$",
    'QUERY_FAILED',
    'ZZ999',
  ],
])('%s → %s', async (text, code, sqlState) => {
  const error = await failure(text)
  expect(error).toBeInstanceOf(QueryError)
  expect(error).toMatchObject({ code, sqlState })
  expect(error).toHaveProperty('cause.code', sqlState)
})

test('two statements in one call get the hint to make two calls, another slip of syntax does not', async () => {
  expect(await failure('select 1; select 2')).toMatchObject({
    hint: expect.stringContaining('One statement per call'),
  })
  expect(await failure('select 1 from from')).not.toHaveProperty('hint')
})

test.each<[string, unknown]>([
  ['select $1::jsonb', [1, 2]],
  ['select $1::json', ['a', { b: 1 }]],
  ['select $1::jsonb', [[1], [2]]],
])('%s with a list gets the hint to stringify it', async (text, list) => {
  const hint = expect.stringContaining('JSON.stringify')
  expect(await failure(text, [list])).toMatchObject({ code: 'QUERY_FAILED', sqlState: '22P02', hint })
  await expect(db.transaction((session) => session.query({ text, values: [list] }))).rejects.toMatchObject({ hint })
  const plain = await failure('select $1::jsonb', ['no json'])
  expect(plain).toMatchObject({ sqlState: '22P02' })
  expect(plain).not.toHaveProperty('hint')
  expect(await db.query({ text, values: [JSON.stringify(list)] })).toMatchObject({ rowCount: 1 })
})

test.each<[string, string, boolean]>([
  ['TK001', 'ENGINE_TRAPPED', false],
  ['TK002', 'CONNECTION_BUSY', true],
  ['TK003', 'ENGINE_UNRESPONSIVE', false],
  ['53100', 'DISK_FULL', false],
])('%s → ConnectionError %s', async (sqlState, code, retryable) => {
  const error = await failure(`do $$ begin raise sqlstate '${sqlState}' using message = 'x'; end $$`)
  expect(error).toBeInstanceOf(ConnectionError)
  expect(error).toMatchObject({ code, retryable })
})

test('position, hint, detail and names of the server are kept', async () => {
  expect(await failure('select *\nfrom nowhere')).toMatchObject({ position: 15 })
  const raised = "do $$ begin raise sqlstate 'ZZ999' using message = 'x', hint = 'do y', detail = 'because z'; end $$"
  expect(await failure(raised)).toMatchObject({ hint: 'do y', detail: 'because z' })
  const twice = await failure('insert into "Test 1.a"."T.x" values ($1, $2, 1)', [2, 'secret-one@example.org'])
  expect(twice).toMatchObject({ schema: 'Test 1.a', table: 'T.x', constraint: 'T.x_email_key' })
  const none = await failure('insert into "Test 1.a"."T.x" values ($1, $2, 1)', [2, null])
  expect(none).toMatchObject({ table: 'T.x', column: 'email' })
})

test('the stack leads to the caller', async () => {
  async function theCaller(): Promise<void> {
    await run('select 1/0')
  }
  await expect(theCaller()).rejects.toHaveProperty('stack', expect.stringContaining('theCaller'))
})

describe('bound values are in no message, and not in what is printed', () => {
  test.each<[string, unknown[]]>([
    ['insert into "Test 1.a"."T.x" values (2, $1, 1)', ['secret-one@example.org']],
    ['insert into "Test 1.a"."T.x" values (7, $1, -1)', ['secret-two']],
    ['insert into "Test 1.a"."T.x" values ($2, null, length($1))', ['secret', 77]],
    ['select $1::int', ['secret']],
    ['select $1::int', ['sec"ret "secret']],
    ['select $1::int[]', [['1', 'secret']]],
    ['select $1::timestamptz', ['secret']],
    ['select $1::jsonb', ['{"a": secret']],
    ['select $1::uuid', ['secret']],
    ['select $1::bool', ['secret']],
    ["select ('{' || $1 || '}')::int[]", ['secret']],
    ['select $1::smallint', ['70000secret']],
    ["select to_date($1, 'YYYY-MM-DD')", ['secret']],
  ])('%s', async (text, values) => {
    const error = await failure(text, values)
    expect(error).toBeInstanceOf(QueryError)
    expect(String(error)).not.toContain('secret')
    expect(inspect(error, { depth: 10 })).not.toMatch(/secret(?!-one@example.org'\])/)
    expect(JSON.stringify(error)).not.toContain('secret')
  })

  test('a function that raises with its argument', async () => {
    await run(`create function "Test 1.a".complain(who text) returns int language plpgsql as
      $$ begin raise exception 'no such user: %', who using detail = 'was ' || who, hint = 'not ' || who; end $$`)
    const error = await failure('select "Test 1.a".complain($1)', ['Karl Ransom'])
    expect(error).toMatchObject({ sqlState: 'P0001', message: 'no such user: $1', hint: 'not $1' })
    expect(inspect(error, { depth: 10 })).not.toContain('Ransom')
  })

  test('without bound values the message is the whole', async () => {
    expect(await failure("select 'abc'::int")).toMatchObject({
      message: 'invalid input syntax for type integer: "abc"',
    })
  })

  test('names in class 42 are shown even when they were bound', async () => {
    expect(await failure('select $1::regclass', ['no_such_table'])).toMatchObject({
      message: expect.stringContaining('no_such_table'),
    })
  })
})

test('whatever the server or the network says becomes an error of this library', () => {
  const code = fc.oneof(
    fc.string({ unit: fc.constantFrom(...'0123456789ABCPTSK'), minLength: 5, maxLength: 5 }),
    fc.constantFrom('ECONNRESET', 'EPIPE', 'ENOTFOUND', 'CERT_HAS_EXPIRED', '__proto__', 'constructor', ''),
  )
  const text = fc.option(fc.string(), { nil: undefined })
  const fields = fc.record(
    { severity: text, code, detail: text, hint: text, position: text, table: text },
    { requiredKeys: ['code'] },
  )
  const values = fc.array(fc.option(fc.string({ minLength: 3 })))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.anything(),
        fields.map((all) => Object.assign(new Error('constructor'), all)),
      ),
      fc.constantFrom('connect' as const, 'statement' as const),
      values,
      (error, phase, bound) => {
        const mapped = databaseError(error, { target: 'db:5432', phase, values: bound })
        expect(mapped).toBeInstanceOf(TimescaleError)
        expect(mapped.code).toMatch(/^[A-Z_]+$/)
        expect(mapped.message.length).toBeGreaterThan(0)
        expect(mapped.cause).toBeDefined()
      },
    ),
    { numRuns: 2000 },
  )
})
