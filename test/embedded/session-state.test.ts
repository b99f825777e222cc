import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { HEADER_BYTES, message } from '../../src/wire/message.ts'
import { lendEngine } from '../setup/database.ts'
import { extended, fieldsOf, RawClient, readRows, tagsOf } from './raw-client.ts'

let database: EmbeddedDatabase
let one: RawClient
let two: RawClient

beforeAll(async () => {
  database = await lendEngine({ lockWaitMs: 5000 })
  const setup = await RawClient.open(database)
  await setup.query(`create role reader; create schema s; create schema "odd, "" schema";
    create table public.t (i int); create table s.t (i int); insert into s.t values (7);
    create function quietly() returns void language plpgsql as $$ begin perform set_config('search_path', 's', false); end $$`)
  setup.close()
})
afterAll(() => database.close())
beforeEach(async () => {
  one = await RawClient.open(database)
  two = await RawClient.open(database)
  return () => {
    one.close()
    two.close()
  }
})

describe('what one connection sets', () => {
  test.each([
    ["set timezone = 'Asia/Tokyo'", 'show timezone', 'Asia/Tokyo', 'UTC'],
    ['set search_path = s', 'show search_path', 's', '"$user", public'],
    [`set search_path = 'odd, " schema', s`, 'show search_path', '"odd, "" schema", s', '"$user", public'],
    ['set datestyle = german', 'show datestyle', 'German, DMY', 'ISO, MDY'],
    ['set default_transaction_read_only = on', 'show default_transaction_read_only', 'on', 'off'],
    ['set standard_conforming_strings = off', 'show standard_conforming_strings', 'off', 'on'],
    ['set role reader', 'select current_user', 'reader', 'postgres'],
    ['set session authorization reader', 'select session_user', 'reader', 'postgres'],
    ["select set_config('work_mem', '5MB', false)", 'show work_mem', '5MB', '4MB'],
    ['select quietly()', 'show search_path', 's', '"$user", public'],
    ['set timescaledb.enable_chunk_append = off', 'show timescaledb.enable_chunk_append', 'off', 'on'],
    ['do $$ begin set extra_float_digits = -3; end $$', 'show extra_float_digits', '-3', '1'],
  ])('%s stays its own', async (set, show, own, others) => {
    await one.query(set)
    expect(await two.query(show)).toEqual([[others]])
    expect(await one.query(show)).toEqual([[own]])
    one.send(extended(set))
    await one.until('Z')
    expect(await two.query(show)).toEqual([[others]])
    expect(await one.query(show)).toEqual([[own]])
    const late = await RawClient.open(database)
    expect(await late.query(show)).toEqual([[others]])
    late.close()
  })

  test('a setting of an application, such as for row security, is nobody else’s', async () => {
    await one.query("set app.tenant = 'it''s \\ one'")
    await two.query("select set_config('app.tenant', 'two', false)")
    expect(await one.query("select current_setting('app.tenant')")).toEqual([["it's \\ one"]])
    expect(await two.query("select current_setting('app.tenant')")).toEqual([['two']])
  })

  test('SET LOCAL and a SET that is rolled back leave nothing', async () => {
    await one.query("begin; set timezone = 'Asia/Tokyo'; rollback")
    await one.query("begin; set local timezone = 'Asia/Tokyo'; commit")
    expect(await two.query('show timezone')).toEqual([['UTC']])
    expect(await one.query('show timezone')).toEqual([['UTC']])
  })

  test('strings with backslashes restore under standard_conforming_strings = off', async () => {
    await one.query("set standard_conforming_strings = off; set application_name = E'a\\\\b''c'")
    await two.query('select 1')
    expect(await one.query('show application_name')).toEqual([["a\\b'c"]])
  })
})

describe('going back to the defaults', () => {
  test.each(['reset all', 'reset search_path', 'set search_path to default', 'discard all', 'DISCARD ALL ;'])(
    '%s keeps tables out of pg_catalog',
    async (text) => {
      await one.query('set search_path = s')
      await one.query(text)
      expect(await one.query('show search_path; create table made_after (i int)')).toEqual([['"$user", public']])
      expect(await one.query("select relnamespace::regnamespace from pg_class where relname = 'made_after'")).toEqual([
        ['public'],
      ])
      await one.query('drop table made_after')
    },
  )

  test('the role and the session user come back', async () => {
    for (const back of ['reset session authorization', 'set session authorization default', 'discard all']) {
      await one.query('set session authorization reader')
      await one.query(back)
      expect(await one.query('select current_user, session_user')).toEqual([['postgres', 'postgres']])
    }
  })

  test('DISCARD ALL answers as a server does and takes nobody else’s statements', async () => {
    two.send(extended('select 42', 'kept'))
    await two.until('Z')
    await two.query('listen kept_channel')
    one.send(message('Q', 'DISCARD ALL'))
    const replies = await one.until('Z')
    expect(tagsOf(replies)).toEqual(['DISCARD ALL'])
    one.send(message('Q', 'DEALLOCATE ALL'))
    expect(tagsOf(await one.until('Z'))).toEqual(['DEALLOCATE ALL'])
    two.send(message('B', '', 'kept', Buffer.alloc(6)), message('E', Buffer.alloc(5)), message('S'))
    expect(readRows(await two.until('Z'))).toEqual([['42']])
    await one.query("notify kept_channel, 'hello'")
    await expect.poll(() => two.notifications).toEqual(['hello'])
  })

  test('DISCARD ALL in a transaction is refused', async () => {
    await one.query('begin')
    await expect(one.query('discard all')).rejects.toThrow('25001')
    await one.query('rollback')
  })
})

describe('start-up settings', () => {
  test('apply to their connection, and RESET goes back to them', async () => {
    const client = await RawClient.open(database, {
      TimeZone: 'Europe/Berlin',
      options: '-c search_path=s,public --work-mem=7MB -cdatestyle=SQL\\,\\ DMY',
      application_name: "it's me",
    })
    const shown =
      'select current_setting(x) from unnest(array[$$timezone$$, $$search_path$$, $$work_mem$$, $$datestyle$$, $$application_name$$]) x'
    const own = [['Europe/Berlin'], ['s,public'], ['7MB'], ['SQL, DMY'], ["it's me"]]
    expect(await client.query(shown)).toEqual(own)
    expect(await one.query('show timezone')).toEqual([['UTC']])
    await client.query("set timezone = 'UTC'; set work_mem = '9MB'; reset all")
    expect(await client.query(shown)).toEqual(own)
    await one.query('reset all')
    expect(await one.query('show work_mem')).toEqual([['4MB']])
    expect(await client.query(shown)).toEqual(own)
    client.close()
  })

  test('that are wrong end their connection with the server’s words, and no other', async () => {
    const client = await RawClient.open(database, { TimeZone: 'Nowhere/Atlantis' })
    await expect(client.query('select 1')).rejects.toThrow()
    const error = client.replies.find(({ type }) => type === 'E')
    expect(fieldsOf(error!).get('M')).toContain('TimeZone')
    expect(await one.query('select 1')).toEqual([['1']])
  })
})

test.each(["set client_encoding = 'LATIN1'", 'set names latin1', 'set client_encoding to "sql_ascii"'])(
  '%s is refused: the engine would trap',
  async (text) => {
    await expect(one.query(text)).rejects.toThrow('0A000')
    one.send(extended(text))
    await expect(one.until('Z').then(readRows)).rejects.toThrow('0A000')
    expect(await one.query("set client_encoding = 'UTF8'; set names 'utf-8'; select 'é'")).toEqual([['é']])
  },
)

test('indexes are not worked on concurrently: one session cannot, and would damage the table', async () => {
  for (const text of [
    'create index concurrently on public.t (i)',
    'CREATE UNIQUE INDEX\n CONCURRENTLY IF NOT EXISTS x ON public.t (i)',
    'drop index concurrently x',
    'reindex table concurrently public.t',
    'reindex (verbose) index concurrently x',
  ]) {
    await expect(one.query(text), text).rejects.toThrow('0A000')
    one.send(extended(text))
    await expect(one.until('Z').then(readRows), text).rejects.toThrow('0A000')
  }
  expect(await one.query("select 'create index concurrently'")).toEqual([['create index concurrently']])
  await one.query('create table indexed (i int); create index on indexed (i); drop table indexed')
})

test('a role that was dropped meanwhile ends the connection instead of running as superuser', async () => {
  await two.query('create role passing; grant passing to postgres')
  await one.query('set role passing')
  await two.query('drop role passing')
  await expect(one.query('select current_user')).rejects.toThrow()
  expect(await two.query('select current_user')).toEqual([['postgres']])
})

test('prepared statements of one name are two statements, and end with their connection', async () => {
  one.send(extended("select 'one'", 'same'))
  two.send(extended("select 'two'", 'same'))
  expect(readRows(await one.until('Z'))).toEqual([['one']])
  expect(readRows(await two.until('Z'))).toEqual([['two']])
  one.send(message('B', '', 'same', Buffer.alloc(6)), message('E', Buffer.alloc(5)), message('S'))
  expect(readRows(await one.until('Z'))).toEqual([['one']])
  one.close()
  two.send(message('B', '', 'same', Buffer.alloc(6)), message('E', Buffer.alloc(5)), message('S'))
  expect(readRows(await two.until('Z'))).toEqual([['two']])
  await expect.poll(async () => await two.query('select count(*) from pg_prepared_statements')).toEqual([['1']])
})

test('notifications reach those who listen, and only them', async () => {
  await one.query('listen "Odd ""channel"""; listen everyone')
  await two.query('listen everyone')
  await two.query(`notify "Odd ""channel""", 'for one'; notify everyone, 'for all'`)
  await one.query('unlisten everyone')
  await one.query("notify everyone, 'for two'")
  await two.query('select 1')
  await expect.poll(() => two.notifications).toEqual(['for all', 'for two'])
  expect(one.notifications).toEqual(['for one', 'for all'])
})

test('a client that dies in a transaction rolls back and frees the engine', async () => {
  await one.query('begin; insert into public.t values (1)')
  one.stream.destroy()
  expect(await two.query('select count(*) from public.t')).toEqual([['0']])
})

test('a client that dies in the middle of a COPY, a statement or a half-sent batch frees the engine', async () => {
  const copying = await RawClient.open(database)
  copying.send(message('Q', 'copy public.t from stdin'))
  await copying.until('G')
  copying.send(message('d', Buffer.from('1\n')))
  copying.stream.destroy()
  const computing = await RawClient.open(database)
  computing.send(message('Q', 'select pg_sleep(100)'))
  const unsynced = await RawClient.open(database)
  unsynced.send(message('P', '', 'select 1', Buffer.alloc(2)), message('H'))
  setTimeout(() => computing.stream.destroy(), 100)
  await unsynced.until('1')
  unsynced.stream.destroy()
  expect(await two.query('select count(*) from public.t')).toEqual([['0']])
})

test('COPY both ways, in text, with an error, and with data that comes late', async () => {
  await one.query('create table copied (i int, t text)')
  one.send(message('Q', 'copy copied from stdin'))
  await one.until('G')
  for (let i = 0; i < 100; i++) one.send(message('d', Buffer.from(`${i}\trow ${i}\n`)))
  await new Promise((resolve) => setTimeout(resolve, 50))
  one.send(message('d', Buffer.from('100\tlast\n')), message('c'))
  expect(tagsOf(await one.until('Z'))).toEqual(['COPY 101'])
  one.send(message('Q', 'copy (select * from copied order by i limit 2) to stdout'))
  const out = (await one.until('Z')).filter(({ type }) => type === 'd')
  expect(Buffer.concat(out.map(({ bytes }) => bytes.subarray(HEADER_BYTES))).toString()).toBe('0\trow 0\n1\trow 1\n')
  one.send(message('Q', 'copy copied from stdin'))
  await one.until('G')
  one.send(message('d', Buffer.from('x\tbad\n')), message('d', Buffer.from('1\tgood\n')), message('c'))
  await expect(one.until('Z').then(readRows)).rejects.toThrow('22P02')
  one.send(message('Q', 'copy copied from stdin'))
  await one.until('G')
  one.send(message('f', 'changed my mind'))
  await expect(one.until('Z').then(readRows)).rejects.toThrow('57014')
  expect(await one.query('select count(*) from copied')).toEqual([['101']])
})
