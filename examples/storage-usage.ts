/** Too much storage: which chunks are not compressed, and compressing the old ones by hand. */
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
  FROM generate_series(NOW() - INTERVAL '4 days', NOW(), INTERVAL '1 minute') AS time
`)
// Compression must be enabled on a table once; a policy does that.
await db.addCompressionPolicy('sensor_data', {
  compressAfter: '7 days',
  segmentBy: 'sensor_id',
  initialStart: new Date(Date.now() + 86_400_000),
  ifNotExists: true,
})

const before = await db.getHypertableStats('sensor_data')
const uncompressed = await db.getChunkInfo('sensor_data', { compressed: false, olderThan: { ago: '1 day' } })
console.log(`Uncompressed chunks older than a day: ${uncompressed.length}`)

for (const chunk of uncompressed) {
  await db.compressChunk(chunk)
}

const after = await db.getHypertableStats('sensor_data')
console.log(`${after.compressedChunks} of ${after.numChunks} chunks are compressed`)
console.log(`${before.totalBytes / 1024} kB before, ${after.totalBytes / 1024} kB now`)
