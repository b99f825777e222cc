/** Averages per quarter of an hour over the last day. */
import { connect, max } from 'tsdbkit'

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
  FROM generate_series(NOW() - INTERVAL '1 day', NOW(), INTERVAL '1 minute') AS time
`)

const rows = await db.timeBucketQuery('sensor_data', {
  timeColumn: 'time',
  bucketInterval: '15 minutes',
  aggregations: {
    temperature: 'AVG',
    humidity: 'AVG',
    highest: max('temperature'),
    count: 'COUNT(*)',
  },
  startTime: "NOW() - INTERVAL '24 hours'",
  orderBy: 'bucket ASC',
})

console.log(`${rows.length} buckets; the first five:`)
for (const { bucket, temperature, humidity, highest, count } of rows.slice(0, 5)) {
  const average = `${temperature?.toFixed(1)} °C and ${humidity?.toFixed(1)} % on average`
  console.log(`${bucket.toISOString()}  ${average}, ${highest?.toFixed(1)} °C at most, ${count} readings`)
}
