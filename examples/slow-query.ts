/** A slow query: how many chunks the table has, and how many the query reads. */
import { connect } from 'tsdbkit'

await using db = await connect()

await db.executeQuery(`
  CREATE TABLE IF NOT EXISTS sensor_data (
    time TIMESTAMPTZ NOT NULL,
    sensor_id INTEGER,
    temperature DOUBLE PRECISION,
    humidity DOUBLE PRECISION,
    location TEXT
  )
`)
await db.createHypertable('sensor_data', { timeColumn: 'time', chunkTimeInterval: '1 day', ifNotExists: true })
await db.executeQuery(`
  INSERT INTO sensor_data
  SELECT time, 1, 22.5, 45, 'Office'
  FROM generate_series(NOW() - INTERVAL '20 days', NOW(), INTERVAL '10 minutes') AS time
`)

const stats = await db.getHypertableStats('sensor_data')
console.log(`Number of chunks: ${stats.numChunks}`)
console.log(`About ${stats.approximateRows} rows in ${stats.totalBytes / 1024} kB`)

async function explain(query: string): Promise<string[]> {
  const plan = await db.queryToDataFrame(`EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) ${query}`)
  return Array.from(plan.array('QUERY PLAN'), String)
}
const chunksOf = (plan: string[]): number => new Set(plan.join().match(/(?<= on )_hyper_\d+_\d+_chunk(?= )/g)).size

// A condition on the time column leaves most chunks unread.
const all = await explain('SELECT avg(temperature) FROM sensor_data')
const day = await explain("SELECT avg(temperature) FROM sensor_data WHERE time > NOW() - INTERVAL '1 day'")
console.log(`Chunks read: ${chunksOf(all)} without a condition on time, ${chunksOf(day)} with one:`)
console.log(day.join('\n'))
