/**
 * One way of loading many rows, in a process of its own: what it takes and the most memory it had. Plain JavaScript, so
 * that no loader's memory is in it. Prints JSON.
 *
 * node bench/write-child.js WAY '{"target": {…} or "postgres://…", "rows": 1000000, "file": "…"}'
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { connect } from 'tsdbkit'

const [way, task] = process.argv.slice(2)
const { target, rows, file } = JSON.parse(task)

const start = Date.UTC(2025, 0, 1)
const words = ['Office', 'Warehouse', 'Lab', 'Roof']
const names = ['time', 'sensor_id', 'temperature', 'humidity', 'location']
const readers = [
  (n) => BigInt(start + n * 30) * 1000n,
  (n) => n % 50,
  (n) => 20 + (n % 997) / 99.7,
  (n) => 40 + (n % 499) / 24.95,
  (n) => words[n % 4],
]

/** The sources; what they are made of takes no memory itself. */
const sources = {
  columns: () => Object.fromEntries(names.map((name, at) => [name, { length: rows, at: readers[at] }])),
  rows: function* () {
    for (let n = 0; n < rows; n++) yield Object.fromEntries(names.map((name, at) => [name, readers[at](n)]))
  },
  CSV: () => file,
  'CSV, parsed': () => file,
  Parquet: () => file,
}

const db = typeof target === 'string' ? await connect(target) : await connect({ ...target, sslmode: 'disable' })
await db.sql`drop table if exists bench_write_memory`
await db.sql`create unlogged table bench_write_memory (
  time timestamptz not null, sensor_id int, temperature float8, humidity float8, location text)`
const cpu = process.cpuUsage()
const begin = performance.now()
const report = await db.load('bench_write_memory', sources[way](), {
  analyze: false,
  ...(way === 'CSV, parsed' && { onBadRow: 'skip' }),
})
const ms = performance.now() - begin
const { user, system } = process.cpuUsage(cpu)
// The most that getrusage knows of includes the parent's memory, of which this process began as a copy.
const memoryMb = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
await db.sql`drop table bench_write_memory`
await db.close()
if (report.rowsWritten !== rows) throw new Error(`${report.rowsWritten} rows were written, not ${rows}`)
console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000, memoryMb }))
