import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { type Door, type ServedDatabase, serve } from '../../src/embedded/serve.ts'
import { int32, message } from '../../src/wire/message.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { lendEngine } from '../setup/database.ts'
import { keptBytes } from '../setup/memory.ts'
import { extended, fieldsOf, RawClient } from './raw-client.ts'
import { dial, gssRequest, logIn, openRaw, sslRequest, startup } from './scram-client.ts'

let database: EmbeddedDatabase
let served: ServedDatabase
/** What came through the door to the engine. */
const passed: string[] = []
let guarded: ServedDatabase
let secured: ServedDatabase

beforeAll(async () => {
  database = await lendEngine({ lockWaitMs: 5000 })
  served = await database.serve({ port: 0 })
  const note = (what: string) => (): never => {
    passed.push(what)
    throw new Error(what)
  }
  const door: Door = { attach: note('attach'), end: note('end'), cancel: () => undefined }
  guarded = await serve(door, { port: 0 })
  secured = await serve(door, { port: 0, tls: makeServerCertificate('localhost', makeAuthority('authority')) })
})
afterAll(async () => {
  await Promise.all([guarded.close(), secured.close()])
  await database.close()
})

const works = async (server: ServedDatabase): Promise<void> => {
  const client = await openRaw(server)
  expect(await client.query('select 1')).toEqual([['1']])
  client.close()
}

const sasl = (...parts: (string | Uint8Array)[]): Buffer => message('p', ...parts)
/** What a client that has not logged in could try. */
const attempt = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.constantFrom<Uint8Array>(
    startup({ user: 'postgres' }),
    startup({ user: 'postgres', database: 'x', options: '-c a=b' }),
    sslRequest,
    gssRequest,
    message('Q', 'drop schema public cascade'),
    extended('select 1'),
    message('X'),
    sasl('SCRAM-SHA-256', int32(5), Buffer.from('n,,n=')),
    sasl('SCRAM-SHA-256', int32(20), Buffer.from('n,,n=,r=abcdefghijkl')),
    sasl('SCRAM-SHA-256', int32(-1)),
    sasl('SCRAM-SHA-256-PLUS', int32(0x7fffffff)),
    sasl(Buffer.from('c=biws,r=,p=')),
    sasl('password'),
    Buffer.concat([int32(0x7fffffff), int32(196608)]),
    Buffer.concat([Buffer.from('p'), int32(0x7fffffff)]),
    Buffer.from([0x16, 3, 1, 0, 100, 1]),
  ),
)

test('nothing of a client that has not logged in comes to the engine, whatever it sends and wherever it is cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(attempt, { maxLength: 6 }),
      fc.array(fc.nat(400), { maxLength: 4 }),
      fc.boolean(),
      async (parts, cuts, tls) => {
        const bytes = Buffer.concat(parts)
        const socket = await dial(tls ? secured : guarded)
        socket.on('error', () => undefined)
        socket.resume()
        let from = 0
        for (const cut of [...cuts].sort((a, b) => a - b)) {
          socket.write(bytes.subarray(from, Math.max(from, cut)))
          from = Math.max(from, cut)
          await new Promise((resolve) => setImmediate(resolve))
        }
        socket.end(bytes.subarray(from))
        if (!socket.destroyed) await once(socket, 'close')
        expect(passed).toEqual([])
      },
    ),
    { numRuns: 300 },
  )
}, 30_000)

test('1,000 connections that say nothing, or half of something, keep nobody out and take little memory', async () => {
  const before = keptBytes()
  const sockets: net.Socket[] = []
  for (let i = 0; i < 1000; i++) {
    const socket = net.connect(served.port, '127.0.0.1')
    socket.on('error', () => undefined)
    sockets.push(socket)
    // In four ways: silent, a length, a packet begun, a log-in begun that sends more than is wanted.
    if (i % 4 === 1) socket.write(int32(1000))
    else if (i % 4 === 2) socket.write(startup({ user: 'postgres' }).subarray(0, 11))
    else if (i % 4 === 3) socket.write(Buffer.concat([startup({ user: 'postgres' }), randomBytes(100_000)]))
    if (i % 250 === 249) await works(served)
  }
  await works(served)
  const open = sockets.filter((socket) => !socket.destroyed).length
  expect(keptBytes() - before).toBeLessThan(200 << 20)
  for (const socket of sockets) socket.destroy()
  expect(open).toBeLessThan(1000)
  await works(served)
}, 30_000)

test('messages with wrong types and lengths end their connection with 08P01, and no other', async () => {
  const other = await openRaw(served)
  const bad: [string, Buffer][] = [
    ['a length of 2 GB', Buffer.concat([Buffer.from('Q'), int32(0x7fffffff)])],
    ['a length over the limit', Buffer.concat([Buffer.from('B'), int32((256 << 20) + 1)])],
    ['a negative length', Buffer.concat([Buffer.from('Q'), int32(-1)])],
    ['a length of 3', Buffer.concat([Buffer.from('S'), int32(3)])],
    ['a large Sync', Buffer.concat([Buffer.from('S'), int32(20_000)])],
    ['an unknown type', message('z')],
    ['a password', message('p', 'secret')],
    ['a byte of the server', message('R', int32(0))],
    ['a zero', Buffer.alloc(5)],
  ]
  for (const [what, bytes] of bad) {
    const client = await openRaw(served)
    client.send(bytes)
    const error = (await client.until('E')).at(-1)
    expect(error === undefined ? '' : fieldsOf(error).get('C'), what).toBe('08P01')
    await expect.poll(() => client.stream.destroyed).toBe(true)
    const copying = await openRaw(served)
    await copying.query('create temp table if not exists copied (t text)')
    copying.send(message('Q', 'copy copied from stdin'))
    await copying.until('G')
    copying.send(bytes)
    const refused = (await copying.until('E')).at(-1)
    expect(refused === undefined ? '' : fieldsOf(refused).get('C'), `${what} in COPY`).toBe('08P01')
  }
  expect(await other.query('select count(*) from copied')).toEqual([['0']])
  // A query in the middle of COPY data would end the engine itself.
  other.send(message('Q', 'copy copied from stdin'))
  await other.until('G')
  other.send(message('Q', 'select 1'))
  expect(fieldsOf((await other.until('E')).at(-1)!).get('C')).toBe('08P01')
  await works(served)
}, 30_000)

/** Messages of a client that has logged in and is out of its mind. */
const frontend = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('Q', 'P', 'B', 'D', 'E', 'C', 'S', 'H', 'F', 'd', 'c', 'f'),
      fc.uint8Array({ maxLength: 60 }),
    )
    .map(([type, body]) => message(type, body)),
  fc.constantFrom(
    message('Q', 'select 1'),
    message('Q', ''),
    message('Q', 'begin'),
    message('Q', 'rollback'),
    message('Q', 'copy fuzz from stdin'),
    message('Q', 'copy fuzz to stdout'),
    message('d', Buffer.from('a row\n')),
    message('c'),
    message('f', 'no'),
    extended('select 1'),
    extended('copy fuzz from stdin'),
    extended('select 2', 'named'),
    message('B', '', 'named', Buffer.alloc(6)),
    message('E', Buffer.alloc(5)),
    message('E', '', int32(1)),
    message('D', Buffer.from('S\0')),
    message('S'),
    message('H'),
  ),
)

test('random messages of a client that has logged in never crash the engine', async () => {
  const survivor = await openRaw(served)
  await survivor.query('create table fuzz (t text)')
  const session = await survivor.query('select pg_postmaster_start_time()::text, txid_current() is not null')
  await fc.assert(
    fc.asyncProperty(fc.array(frontend, { maxLength: 12 }), fc.nat(2000), fc.boolean(), async (list, cut, whole) => {
      const client = await openRaw(served)
      const bytes = Buffer.concat(list)
      client.send(whole ? bytes : bytes.subarray(0, cut))
      await new Promise((resolve) => setTimeout(resolve, 3))
      if (client.stream instanceof net.Socket) client.stream.resetAndDestroy()
      // A restart of the engine would end this connection.
      expect(await survivor.query('select 1')).toEqual([['1']])
    }),
    { numRuns: 200 },
  )
  expect(await survivor.query('select pg_postmaster_start_time()::text, txid_current() is not null')).toEqual(session)
  survivor.close()
}, 60_000)

test('a listener that reads nothing is dropped before it fills the memory', async () => {
  const listener = await openRaw(served)
  await listener.query('listen flood')
  listener.stream.pause()
  const sender = await openRaw(served)
  const before = keptBytes()
  const payload = 'x'.repeat(7900)
  for (let i = 0; i < 40; i++)
    await sender.query(
      `select pg_notify('flood', '${payload}' || i) from generate_series(${i * 100}, ${i * 100 + 99}) i`,
    )
  expect(keptBytes() - before).toBeLessThan(150 << 20)
  listener.stream.resume()
  await expect.poll(() => listener.stream.destroyed).toBe(true)
  sender.close()
}, 30_000)

test('a log-in opens the door, for the socket itself with nothing in between', async () => {
  const attached: Duplex[] = []
  const attach = (stream: Duplex): never => {
    attached.push(stream)
    throw new Error('enough')
  }
  await using server = await serve({ attach, end: () => undefined, cancel: () => undefined }, { port: 0 })
  const client = new RawClient(await dial(server))
  await expect(logIn(client, { password: server.password ?? '' })).rejects.toThrow('closed')
  const [socket] = attached
  expect(socket).toBeInstanceOf(net.Socket)
  expect(['data', 'readable'].map((event) => socket?.listenerCount(event))).toEqual([0, 0])
  expect(socket?.writableLength).toBe(0)
})

test('the door of the tests above notes who comes through', async () => {
  const client = new RawClient(await dial(guarded))
  await logIn(client, { password: guarded.password ?? '' }).catch(() => undefined)
  expect(passed.splice(0)).toEqual(['attach'])
})
