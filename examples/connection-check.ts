/** Is the database there, which one is it, and what can it do? */
import { connect, TimescaleError } from 'tsdbkit'

try {
  // In place of TSDB_URL: connect({ host: 'localhost', port: 5432, database: 'tsdb', user: 'postgres', password: '…' })
  await using db = await connect()

  const { rows } = await db.executeQuery<{ now: Date }>('SELECT NOW()')
  console.log('Connected successfully:', rows[0]?.now.toISOString())
  console.log(`One trip takes ${(await db.ping()).toFixed(1)} ms`)

  const { timescaleVersion: version, edition } = await db.capabilities()
  console.log(`TimescaleDB ${version?.text}, ${edition} edition`)

  for (const { name, value, origin } of db.describeSettings()) {
    console.log(`${name} = ${value} (${origin})`)
  }
} catch (error) {
  if (!(error instanceof TimescaleError)) throw error
  console.error('Connection error:', error.message)
  if (error.hint !== undefined) console.error('Hint:', error.hint)
  process.exitCode = 1
}
