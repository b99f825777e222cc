/** Chunks older than 7 days are compressed, and queried like any other. */
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
  SELECT time, 1, 20 + 5 * sin(extract(epoch FROM time) / 14400), 45, 'Office'
  FROM generate_series(NOW() - INTERVAL '10 days', NOW(), INTERVAL '1 minute') AS time
`)

const policy = await db.addCompressionPolicy('sensor_data', {
  compressAfter: '7 days',
  segmentBy: 'sensor_id',
  // The first run is tomorrow: today this program compresses.
  initialStart: new Date(Date.now() + 86_400_000),
  ifNotExists: true,
})
console.log(`Job ${policy.jobId} compresses what is older than ${policy.compressAfter}`)

const compressed = await db.compressChunks('sensor_data', { olderThan: { ago: '7 days' } })
console.log(`${compressed.length} chunks compressed now`)

for (const chunk of await db.getChunkInfo('sensor_data')) {
  console.log(`Chunk: ${chunk.chunkName}, Compressed: ${chunk.isCompressed}, ${chunk.totalBytes / 1024} kB`)
}
const { compression } = await db.getHypertableStats('sensor_data')
console.log(`The compressed chunks are ${compression.ratio?.toFixed(1)} times smaller than they were`)
