/**
 * The child of the ingest soak, to be killed. `load` loads rows with an importId; `write` writes rows until it is killed or
 * refused, and says after each flush which are safe; after a refusal it closes when its input ends.
 */
import fs from 'node:fs'
import { connect, TimescaleError } from '../src/index.ts'
import { ingestRows, TABLE } from './soak-ingest-rows.ts'

const [mode = '', port = '', password = '', first = '0', count = '0', place = ''] = process.argv.slice(2)

const say = (line: string): void => {
  // Synchronous, so that a kill loses nothing that was said.
  fs.writeSync(1, `${line}\n`)
}

const db = await connect({
  host: '127.0.0.1',
  port: Number(port),
  user: 'Ad min',
  password,
  database: 'postgres',
  sslmode: 'disable',
})

async function load(): Promise<void> {
  say('ready')
  const options = { importId: place, batchRows: 1000, batchBytes: 100_000, retries: 1000, analyze: false }
  const report = await db.load(TABLE, ingestRows(Number(first), Number(first) + Number(count)), options)
  say(`done ${report.rowsWritten}`)
}

async function write(): Promise<void> {
  const options = { spillDirectory: place, flushMs: 20, batchRows: 500, bufferBytes: 200_000, onError: () => undefined }
  const writer = await db.writer(TABLE, options)
  say('ready')
  let id = Number(first)
  let refusal: unknown
  while (refusal === undefined) {
    const rows = [...ingestRows(id, id + 1 + Math.floor(Math.random() * 120))]
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
  say(`refused ${id} ${refusal instanceof TimescaleError ? refusal.code : String(refusal)}`)
  await new Promise((done) => process.stdin.once('end', done).resume())
  await writer.close()
  say(`closed ${id}`)
}

await (mode === 'load' ? load() : write())
await db.close()
