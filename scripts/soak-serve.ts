/**
 * 50 connections of other programs, each with its own transactions, some of which die.
 * `npx tsx scripts/soak-serve.ts [--connections 50] [--transactions 200]` after `npm run build`; exits with 1 when money
 * is lost.
 */
import { parseArgs } from 'node:util'
import pg from 'pg'
import { connect } from '../src/index.ts'

const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '50' },
    transactions: { type: 'string', default: '200' },
  },
})
const [connections, transactions] = [Number(values.connections), Number(values.transactions)]
await using db = await connect('embedded:', { lockWaitMs: 120_000 })
await using served = await db.serve({ port: 0, maxConnections: connections * 2 })
const { host, port, password } = served
await db.executeQuery('create table account (id int primary key, balance bigint not null, moves int not null)')
await db.executeQuery('insert into account select i, 0, 0 from generate_series(0, $1::int - 1) i', [connections])

async function open(): Promise<pg.Client> {
  const client = new pg.Client({ host, port, user: 'postgres', database: 'postgres', password })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

let [committed, died] = [0, 0]

async function work(id: number): Promise<void> {
  let client = await open()
  for (let round = 0; round < transactions; round++) {
    const other = Math.floor(Math.random() * connections)
    await client.query('begin')
    const take = { name: 'take', text: 'update account set balance = balance - 1, moves = moves + 1 where id = $1' }
    await client.query({ ...take, values: [id] })
    if (Math.random() < 0.05) {
      // As a kill does: no Terminate, no answer awaited.
      client.connection.stream.destroy()
      died++
      client = await open()
      continue
    }
    await client.query('update account set balance = balance + 1 where id = $1', [other])
    await client.query('commit')
    committed++
  }
  await client.end()
}

const started = performance.now()
await Promise.all(Array.from({ length: connections }, (_, id) => work(id)))
const seconds = (performance.now() - started) / 1000
const [sums] = await db.sql<{ balance: number; moves: number }>`
  select sum(balance)::int as balance, sum(moves)::int as moves from account`
const left = await db.sql<{ n: number }>`select count(*)::int as n from pg_prepared_statements where name like '%take%'`
const whole = sums?.balance === 0 && sums.moves === committed && left[0]?.n === 0
console.log(
  `${connections} connections: ${committed} committed, ${died} died, ${seconds.toFixed(1)} s, ${Math.round(committed / seconds)} a second`,
)
console.log(whole ? 'nothing is lost or left' : `WRONG: ${JSON.stringify({ sums, left })}`)
process.exitCode = whole ? 0 : 1
