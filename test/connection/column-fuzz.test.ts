import { once } from 'node:events'
import { createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import type { PoolOptions } from '../../src/connection/pool-option.ts'
import { InProcessSocket } from '../../src/embedded/in-process-socket.ts'
import type { ColumnBatch } from '../../src/wire/column.ts'
import { int32 } from '../../src/wire/message.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { ReplayServer, type Script, script, scriptLength, server } from './replay-server.ts'

const columns = server.columns(['n', 23, 1], ['t', 25, 1])
const described = [server.parseComplete, server.parameters, server.columns(['n', 23, 0], ['t', 25, 0])]
const rows = [server.row(int32(7), 'ü'), server.row(null, ''), server.row(int32(-1), null)]
const ordinary = [
  server.parseComplete,
  server.bindComplete,
  server.columns(['x', 25, 0]),
  server.row('y'),
  server.complete('SELECT 1'),
  server.ready(),
]

let pool: ConnectionPool | undefined
afterEach(() => pool?.close())

interface Session {
  readonly db: DatabaseSession
  readonly replay: ReplayServer
  readonly heard: string[]
  readonly stream: Duplex
}

/** @param served - gives the server's end once the connection is open */
async function openSession(options: PoolOptions, served: () => ReplayServer): Promise<Session> {
  pool = openPool({ user: 'u', poolSize: 1, maxOverflow: 0, ...options })
  const heard: string[] = []
  const client = await pool.pool.connect()
  client.on('notification', ({ payload = '' }) => heard.push(payload))
  const { stream } = client.connection
  client.release()
  return { db: new DatabaseSession(pool), replay: served(), heard, stream }
}

async function openInProcess(): Promise<Session> {
  const [client, end] = InProcessSocket.pair()
  const replay = new ReplayServer(end)
  return openSession({ stream: () => client }, () => replay)
}

const seenColumns = [7, -1, 0b11111101, 1, 3, 1].join()
let texts = 0
const fresh = (): { text: string; values: [] } => ({ text: `select ${texts++}`, values: [] })

/** One columnar query that is described first, and an ordinary one, their answers cut at these places. */
async function runRows({ db, replay }: Session, played: Script, cuts: readonly number[]): Promise<void> {
  const columnar = db.queryColumns(fresh())
  const after = columnar.then(() => db.query(fresh()))
  replay.play(played, cuts)
  const [[n], [t]] = (await columnar).columns as [[ColumnBatch], [ColumnBatch]]
  const seen = [n.values[0], n.values[2], n.validity[0], n.nullCount, t.length, t.nullCount].join()
  const { rows } = await after
  // Not expect(): it would take longer than the exchange.
  if (seen !== seenColumns || rows[0]?.['x'] !== 'y') throw new Error(`cut at ${cuts}: ${seen}, ${rows[0]?.['x']}`)
}

const exchange = script(
  'wait',
  [server.notification('c', 'a'), ...described],
  'wait',
  [
    server.notification('c', 'b'),
    server.bindComplete,
    columns,
    ...rows,
    server.complete('SELECT 3'),
    server.ready(),
    server.notification('c', 'd'),
  ],
  'wait',
  ordinary,
)

test('cut at every pair of positions, with notifications across the start and the end of a query', async () => {
  const session = await openInProcess()
  const length = scriptLength(exchange)
  let chunks = 0
  session.stream.on('data', () => chunks++)
  await runRows(session, exchange, [])
  expect(chunks).toBe(3)
  await runRows(session, exchange, [1, 2, 200])
  expect(chunks).toBe(3 + 6)
  let runs = 2
  for (let first = 1; first < length; first++) {
    for (let second = first + 1; second <= length; second++) {
      await runRows(session, exchange, [first, second])
      runs++
    }
  }
  expect(runs).toBeGreaterThan(30_000)
  expect(session.heard).toHaveLength(3 * runs)
  expect(session.heard.slice(-3)).toStrictEqual(['a', 'b', 'd'])
})

test('every byte alone', async () => {
  const session = await openInProcess()
  await runRows(
    session,
    exchange,
    Array.from({ length: scriptLength(exchange) }, (_, index) => index),
  )
})

test.each<[string, Script, object]>([
  [
    'an error after a row',
    script('wait', described, 'wait', [
      server.bindComplete,
      columns,
      rows[0] ?? Buffer.alloc(0),
      server.notice('soon'),
      server.error('22012', 'division by zero'),
      server.ready(),
    ]),
    { code: 'QUERY_FAILED', sqlState: '22012' },
  ],
  [
    'an error at parse',
    script('wait', [server.error('42601', 'syntax error')], 'wait', [server.ready()]),
    { code: 'SYNTAX_ERROR' },
  ],
  [
    'an error at bind',
    script('wait', described, 'wait', [server.error('22P02', 'invalid'), server.ready()]),
    { sqlState: '22P02' },
  ],
])('%s, cut at every position, leaves the connection whole', async (_name, failing, expected) => {
  const session = await openInProcess()
  const whole = [...failing, ...exchange]
  const length = scriptLength(failing)
  for (let cut = 0; cut <= length; cut++) {
    session.replay.play(whole, [cut, cut + 3])
    await expect(session.db.queryColumns(fresh())).rejects.toMatchObject(expected)
    await runRows(session, [], [])
  }
})

test('a statement without columns; one without a statement', async () => {
  const session = await openInProcess()
  const nothing = [server.parseComplete, server.parameters, server.noData]
  const played = script('wait', nothing, 'wait', [
    server.bindComplete,
    server.noData,
    server.complete('INSERT 0 5'),
    server.ready(),
  ])
  for (let cut = 0; cut < scriptLength(played); cut++) {
    session.replay.play(played, [cut])
    expect(await session.db.queryColumns(fresh())).toMatchObject({ columns: [], rowCount: 5, command: 'INSERT' })
  }
})

test.each([
  ['a length that is too short', Buffer.from([68, 0, 0, 0, 3, 0, 0])],
  ['a negative length', Buffer.from([67, 255, 255, 255, 255])],
  ['a length no server sends', Buffer.from([68, 127, 255, 255, 255])],
  ['a value longer than its row', Buffer.concat([Buffer.from([68, 0, 0, 0, 14, 0, 2]), int32(100), int32(0)])],
  ['a row with a column too few', server.row(int32(1))],
])('%s ends the connection', async (_name, bytes) => {
  for (const cuts of [[], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]) {
    const { db, replay, stream } = await openInProcess()
    const length = scriptLength(script('wait', described, 'wait', [server.bindComplete, columns]))
    const bad = script('wait', described, 'wait', [server.bindComplete, columns, bytes, server.ready()])
    replay.play(
      bad,
      cuts.map((cut) => cut + length),
    )
    await expect(db.queryColumns(fresh())).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
    expect(stream.destroyed).toBe(true)
    await pool?.close()
  }
})

test('the same through TLS, where every piece is a record', async () => {
  const { key, cert } = makeServerCertificate('localhost', makeAuthority('Test authority'))
  const replays: ReplayServer[] = []
  const listener = createServer((socket) => {
    socket.setNoDelay(true)
    socket.once('data', () => {
      socket.write('S')
      replays.push(new ReplayServer(new TLSSocket(socket, { isServer: true, key, cert })))
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const session = await openSession({ host: '127.0.0.1', port: address.port, tls: { mode: 'require' } }, () => {
    const [replay] = replays
    if (replay === undefined) throw new Error('nobody came')
    return replay
  })
  const length = scriptLength(exchange)
  for (let cut = 1; cut <= length; cut++) await runRows(session, exchange, [cut, cut + 1 + ((cut * 7) % 50)])
  expect(session.heard.length).toBeGreaterThan(3 * length - 3)
  await pool?.close()
  listener.close()
})
