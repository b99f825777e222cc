/**
 * One way of reading a result, in a process of its own: what it takes and the most memory it had. Plain JavaScript, so
 * that no loader's memory is in it. Prints JSON.
 *
 * node bench/read-child.js WAY '{"target": {…}, "text": "select …", "warmUp": "select … limit …", "again": true}'
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'

const [way, task] = process.argv.slice(2)
const { target, text, warmUp, again } = JSON.parse(task)

/** Resolves to the rows, or bytes, it read. */
const ways = {
  columns: () =>
    ours(
      (db, sql) => db.queryToColumns(sql),
      (columns) => columns.length,
    ),
  DataFrame: () =>
    ours(
      (db, sql) => db.queryToDataFrame(sql),
      (frame) => frame.numRows(),
    ),
  rows: () =>
    ours(
      (db, sql) => db.executeQuery(sql),
      ({ rows }) => rows.length,
    ),
  'streamed columns': () =>
    ours(
      async (db, sql) => {
        let rows = 0
        for await (const batch of db.streamColumns(sql)) rows += batch.length
        return rows
      },
      (rows) => rows,
    ),
  'pg rows': () => driver((client, sql) => client.query(sql)),
  'pg array rows': () => driver((client, sql) => client.query({ text: sql, rowMode: 'array' })),
  'postgres.js': async () => {
    const { default: postgres } = await import('postgres')
    const sql = postgres({
      ...target,
      username: target.user,
      max: 1,
      ssl: target.tls ? { rejectUnauthorized: false } : false,
    })
    await sql`select 1`
    return {
      read: async (statement) => (await sql.unsafe(statement, [], { prepare: true })).length,
      close: () => sql.end(),
    }
  },
  'raw socket': async () => {
    const client = await connected()
    return {
      read: (statement) => drain(client.connection.stream, statement),
      close: () => client.end(),
    }
  },
  'pg-copy-streams': async () => {
    const [client, { to }] = [await connected(), await import('pg-copy-streams')]
    const read = async (statement) => {
      let bytes = 0
      for await (const chunk of client.query(to(`copy (${statement}) to stdout (format binary)`))) bytes += chunk.length
      return bytes
    }
    return { read, close: () => client.end() }
  },
}

async function ours(run, count) {
  const { connect } = await import('tsdbkit')
  const { host, port, user, password, database } = target
  const db = await connect({ host, port, user, password, database, sslmode: target.tls ? 'require' : 'disable' })
  return { read: async (statement) => count(await run(db, statement)), close: () => db.close() }
}

async function driver(run) {
  const client = await connected()
  return { read: async (statement) => (await run(client, statement)).rows.length, close: () => client.end() }
}

async function connected() {
  const { default: pg } = await import('pg')
  const client = new pg.Client({ ...target, ssl: target.tls ? { rejectUnauthorized: false } : false })
  await client.connect()
  return client
}

/** The bytes of the same query as the columns are read from, unread: the limit. */
function drain(socket, statement) {
  const message = (type, ...parts) => {
    const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)))
    const header = Buffer.alloc(5)
    header.write(type)
    header.writeInt32BE(4 + body.length, 1)
    return Buffer.concat([header, body])
  }
  socket.removeAllListeners('data')
  let bytes = 0
  let tail = Buffer.alloc(0)
  const drained = new Promise((resolve) => {
    socket.on('data', (chunk) => {
      bytes += chunk.length
      tail = Buffer.concat([tail, chunk.subarray(-6)]).subarray(-6)
      // ReadyForQuery is the last message.
      if (tail[0] === 90 && tail.length === 6 && tail.readInt32BE(1) === 5) resolve(bytes)
    })
  })
  socket.write(
    Buffer.concat([
      message('P', '', statement, Buffer.alloc(2)),
      message('B', '', '', Buffer.from([0, 0, 0, 0, 0, 1, 0, 1])),
      message('D', Buffer.from('P\0')),
      message('E', '', Buffer.alloc(4)),
      message('S'),
    ]),
  )
  return drained
}

const { read, close } = await ways[way]()
if (warmUp !== undefined) await read(warmUp)
const spent = (since) => {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}
let cpu = process.cpuUsage()
const start = performance.now()
const count = await read(text)
const ms = performance.now() - start
const cpuMs = spent(cpu)
// The most that getrusage knows of includes the parent's memory, of which this process began as a copy.
const memoryMb = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
// In the first read V8 compiles what reads; the next one shows what a row takes.
let laterCpuMs
if (again) {
  cpu = process.cpuUsage()
  await read(text)
  laterCpuMs = spent(cpu)
}
await close()
console.log(JSON.stringify({ ms, cpuMs, laterCpuMs, memoryMb, count }))
