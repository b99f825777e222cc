/**
 * An export of many rows, in a process of its own: the most memory it had. Plain JavaScript, so that no loader's memory is
 * in it. Prints JSON.
 *
 * node bench/export-child.js '{"target": {…} or "postgres://…", "rows": 1000000, "file": "….csv"}'
 */
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { connect } from 'tsdbkit'

const { target, rows, file } = JSON.parse(process.argv[2])
const db = typeof target === 'string' ? await connect(target) : await connect({ ...target, sslmode: 'disable' })
const begin = performance.now()
// A set in the list of what is selected is sent while it is made.
const report = await db.exportTo(
  file,
  `select timestamptz '2025-01-01Z' + n * interval '30 ms' as time, n % 50 as sensor_id, 20 + (n % 997) / 99.7::float8 as temperature,
    40 + (n % 499) / 24.95::float8 as humidity, (array['Office', 'Warehouse', 'Lab', 'Roof'])[n % 4 + 1] as location
  from (select generate_series(1, $1::int) as n) numbers`,
  [rows],
)
const ms = performance.now() - begin
const memoryMb = Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024
await db.close()
if (report.rows !== rows) throw new Error(`${report.rows} rows were written, not ${rows}`)
console.log(JSON.stringify({ ms, memoryMb }))
