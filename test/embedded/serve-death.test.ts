import net from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { connect } from '../../src/index.ts'
import { message } from '../../src/wire/message.ts'
import { extended, RawClient } from './raw-client.ts'
import { dial, logIn, openRaw } from './scram-client.ts'
import { db, login, serveDatabase, served } from './served-database.ts'

serveDatabase()

describe('a client that dies leaves nothing behind', () => {
  const nothingLeft = async (): Promise<void> => {
    await expect
      .poll(
        async () => {
          const [left] = await db.sql`select (select count(*)::int from reading) as rows,
          (select count(*)::int from pg_prepared_statements where name like '%dying') as statements,
          (select count(*)::int from pg_locks where locktype = 'relation' and relation = 'reading'::regclass and mode like '%Exclusive%') as locks,
          current_setting('timezone') as timezone`
          return left
        },
        { timeout: 10_000 },
      )
      .toEqual({ rows: 0, statements: 0, locks: 0, timezone: 'UTC' })
  }
  const half = message('Q', 'insert into reading values (9)')
  const deaths: [string, (client: RawClient) => Promise<void> | void][] = [
    [
      'in a transaction',
      (client) =>
        client.query("begin; insert into reading values (1); set timezone = 'Asia/Tokyo'").then(() => undefined),
    ],
    [
      'in a failed transaction',
      (client) =>
        client.query('begin; insert into reading values (1); select 1/0').then(
          () => undefined,
          () => undefined,
        ),
    ],
    [
      'with prepared statements, without a Sync',
      (client) =>
        client.send(
          message('P', 'dying', 'insert into reading values (1)', Buffer.alloc(2)),
          message('B', '', 'dying', Buffer.alloc(6)),
          message('E', Buffer.alloc(5)),
          message('H'),
        ),
    ],
    [
      'while its statement runs',
      (client) => client.send(message('Q', 'insert into reading values (1); select pg_sleep(20)')),
    ],
    [
      'before it reads its rows',
      (client) =>
        client.send(
          message(
            'Q',
            "begin; insert into reading values (1); select repeat('x', 10000) from generate_series(1, 10000)",
          ),
        ),
    ],
    ['in the middle of a message', (client) => client.send(half.subarray(0, 12))],
    ['in the header of a message', (client) => client.send(half.subarray(0, 3))],
    [
      'in COPY FROM STDIN',
      async (client) => {
        client.send(message('Q', 'copy reading from stdin'))
        await client.until('G')
        client.send(message('d', Buffer.from('1\tx\n2\t')))
      },
    ],
    [
      'in the middle of COPY data',
      async (client) => {
        client.send(message('Q', 'copy reading from stdin'))
        await client.until('G')
        client.send(message('d', Buffer.from('1\tx\n')), message('d', Buffer.alloc(100_000, 'x')).subarray(0, 50_000))
      },
    ],
    [
      'in COPY TO STDOUT',
      async (client) => {
        client.send(message('Q', "copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout"))
        await client.until('H')
      },
    ],
    [
      'while it waits for its turn',
      async (client) => {
        const holder = await openRaw(served)
        await holder.query('begin')
        client.send(message('Q', 'insert into reading values (1)'))
        await new Promise((resolve) => setTimeout(resolve, 50))
        client.stream.destroy()
        await new Promise((resolve) => setTimeout(resolve, 50))
        holder.close()
      },
    ],
    ['listening', (client) => client.query('listen dying').then(() => undefined)],
  ]
  test.each(deaths)('%s', async (_, prepare) => {
    const client = await openRaw(served)
    await prepare(client)
    if (client.stream instanceof net.Socket) client.stream.resetAndDestroy()
    await nothingLeft()
    const next = await openRaw(served)
    expect(await next.query('select 1')).toEqual([['1']])
    next.close()
  })

  test('while it logs in', async () => {
    for (const cut of [1, 5, 20]) {
      const socket = await dial(served)
      socket.write(Buffer.alloc(cut))
      socket.resetAndDestroy()
    }
    const client = new RawClient(await dial(served))
    const tamper = { serverFirst: () => client.stream.destroy() }
    await expect(logIn(client, { password: served.password ?? '', tamper })).rejects.toThrow()
    await nothingLeft()
  })
})

test('one that goes while a transaction lasts longer than others wait leaves no statement behind', async () => {
  await using other = await connect('embedded:', { lockWaitMs: 200, onProgress: () => undefined })
  await using server = await other.serve({ port: 0 })
  const [holder, leaver] = [await openRaw(server), await openRaw(server)]
  leaver.send(extended('select 1', 'left behind'))
  await leaver.until('Z')
  await holder.query('begin')
  leaver.close()
  await wait(600)
  await holder.query('commit')
  // Others are the scheduler's.
  const left = `select name from pg_prepared_statements where statement = 'select 1'`
  await expect.poll(() => holder.query(left)).toEqual([])
})

test('50 connections, each with its own transactions', async () => {
  const rounds = 8
  await db.sql`create table account (id int primary key, balance int not null)`
  await db.sql`insert into account select i, 0 from generate_series(0, 49) i`
  const clients = await Promise.all(Array.from({ length: 50 }, () => login()))
  await Promise.all(
    clients.map(async (client, id) => {
      for (let round = 0; round < rounds; round++) {
        await client.query('begin')
        await client.query({
          name: 'give',
          text: 'update account set balance = balance + 1 where id = $1',
          values: [(id + 1) % 50],
        })
        await client.query('update account set balance = balance - 1 where id = $1', [id])
        await client.query(round % 4 === 3 ? 'rollback' : 'commit')
      }
    }),
  )
  expect(await db.sql`select sum(balance)::int, min(balance), max(balance) from account`).toEqual([
    { sum: 0, min: 0, max: 0 },
  ])
  expect(await db.sql`select count(*)::int as n from account where xmin::text::bigint > 0`).toEqual([{ n: 50 }])
  await db.sql`drop table account`
})
