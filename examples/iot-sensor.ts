/** A hypertable for IoT sensors: a table whose rows are kept in one chunk per day. */
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

const table = await db.createHypertable('sensor_data', {
  timeColumn: 'time',
  chunkTimeInterval: '1 day',
  ifNotExists: true,
})
console.log(`${table.schema}.${table.name} ${table.created ? 'is a hypertable now' : 'was a hypertable already'}`)

const { rowCount } = await db.executeQuery(`
  INSERT INTO sensor_data VALUES
    (NOW(), 1, 22.5, 45.0, 'Office'),
    (NOW() - INTERVAL '1 hour', 1, 23.0, 46.5, 'Office'),
    (NOW() - INTERVAL '2 hours', 1, 22.8, 45.8, 'Office')
`)
console.log(`${rowCount} rows inserted`)

const newest = await db.queryToDataFrame(
  'SELECT time, temperature, humidity FROM sensor_data WHERE location = $1 ORDER BY time DESC LIMIT 3',
  ['Office'],
)
newest.print()

for (const chunk of await db.getChunkInfo('sensor_data')) {
  if (chunk.rangeStart instanceof Date) console.log(`Chunk: ${chunk.chunkName}, from ${chunk.rangeStart.toISOString()}`)
}
