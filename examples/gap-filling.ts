/** A sensor was silent for 50 minutes: its readings for every ten minutes all the same. */
import { avg, connect } from 'tsdbkit'

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
  SELECT time, 6, 20 + 5 * sin(extract(epoch FROM time) / 14400), 45, 'Cellar'
  FROM generate_series(NOW() - INTERVAL '3 hours', NOW(), INTERVAL '1 minute') AS time
  WHERE time NOT BETWEEN NOW() - INTERVAL '90 minutes' AND NOW() - INTERVAL '40 minutes'
`)

const filled = await db.fillGaps('sensor_data', {
  timeColumn: 'time',
  bucketInterval: '10 minutes',
  startTime: "NOW() - INTERVAL '2 hours'",
  endTime: 'NOW()',
  where: { location: 'Cellar' },
  columns: ['temperature'],
  fillMethod: 'locf', // or 'linear' or 'null'
})
console.log(`${filled.length} buckets, ${filled.filter((row) => row.temperature === null).length} without a value`)

// The same buckets with all three methods side by side.
const rows = await db.fillGaps('sensor_data', {
  timeColumn: 'time',
  bucketInterval: '10 minutes',
  startTime: { ago: '2 hours' },
  endTime: 'NOW()',
  where: { location: 'Cellar' },
  columns: {
    temperature: { method: 'null' },
    locf: { aggregate: avg('temperature'), method: 'locf' },
    linear: { aggregate: avg('temperature'), method: 'linear' },
  },
})
const show = (value: number | null): string => (value?.toFixed(2) ?? '-').padStart(11)
console.log('bucket (UTC) temperature       locf     linear')
for (const { bucket, temperature, locf, linear } of rows) {
  console.log(`${bucket.toISOString().slice(11, 16)}       ${show(temperature)}${show(locf)}${show(linear)}`)
}
