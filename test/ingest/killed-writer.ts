import { writeSync } from 'node:fs'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { openPool } from '../../src/connection/pool.ts'
import { openWriter } from '../../src/ingest/writer/writer.ts'

/**
 * Writes rows with ids from `first` on, and says after each flush which are safe; to be killed while it does. With `limit` it
 * stops at the first refusal, says what was accepted, and closes when its input ends. Arguments: port, password, spill
 * directory, first id, `forever` or `limit`.
 */
const [port = '', password = '', spillDirectory = '', first = '0', mode = 'forever'] = process.argv.slice(2)

const say = (line: string): void => {
  // Synchronous, so that a kill loses nothing that was said.
  writeSync(1, `${line}\n`)
}

const pool = openPool({ host: '127.0.0.1', port: Number(port), user: 'Ad min', password, database: 'postgres' })
const writer = await openWriter(new DatabaseSession(pool), '"Test 1.a"."W.x"', {
  spillDirectory,
  flushMs: 20,
  batchRows: 500,
  bufferBytes: 200_000,
  onError: (error) => say(`problem ${error.message}`),
})
say('ready')
let id = Number(first)
let refusal: unknown
while (refusal === undefined) {
  const rows = Array.from({ length: 1 + Math.floor(Math.random() * 120) }, (_, at) => ({
    id: id + at,
    note: `row ${id + at}`,
  }))
  try {
    await writer.write(rows)
    id += rows.length
    if (Math.random() < 0.3) {
      await writer.flush()
      say(`safe ${id}`)
    }
  } catch (error) {
    refusal = error
  }
  await new Promise((next) => setTimeout(next, 1))
}
if (mode === 'limit') {
  say(`refused ${id} ${refusal instanceof Error && 'code' in refusal ? refusal.code : refusal}`)
  await new Promise((done) => process.stdin.once('end', done).resume())
  await writer.close()
  say(`closed ${JSON.stringify(writer.metrics)}`)
  await pool.close()
} else {
  say(`refused ${id} ${refusal}`)
  process.exit(1)
}
