import { DatabaseSession } from '../../src/connection/database-session.ts'
import { openPool } from '../../src/connection/pool.ts'
import { load } from '../../src/ingest/load.ts'

/** Loads a file or generated rows with an importId, to be killed while it does. Arguments: port, password, id, source. */
const [port = '', password = '', importId = '', source = ''] = process.argv.slice(2)

export function* generatedRows(count: number): Generator<object> {
  for (let id = 0; id < count; id++) yield { id, note: `row ${id}` }
}

if (port !== '') {
  const pool = openPool({ host: '127.0.0.1', port: Number(port), user: 'Ad min', password, database: 'postgres' })
  const rows = source.endsWith('.csv') ? source : generatedRows(Number(source))
  const options = { importId, batchRows: 1000, batchBytes: 30_000, analyze: false }
  process.stdout.write('ready\n')
  load(new DatabaseSession(pool), '"Test 1.a"."T.x"', rows, options).then(
    () => pool.close(),
    () => process.exit(1),
  )
}
