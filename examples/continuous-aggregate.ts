/** An hourly summary that the server keeps up to date. */
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
  FROM generate_series(NOW() - INTERVAL '1 day', NOW(), INTERVAL '1 minute') AS time
`)

const view = await db.createContinuousAggregate('sensor_data_hourly', {
  hypertable: 'sensor_data',
  timeColumn: 'time',
  bucketInterval: '1 hour',
  selectQuery: `
    sensor_id,
    AVG(temperature) as avg_temp,
    AVG(humidity) as avg_humidity,
    MAX(temperature) as max_temp,
    MIN(temperature) as min_temp
    FROM sensor_data
    GROUP BY bucket, sensor_id
  `,
  withData: true,
  ifNotExists: true,
})
// One that is new was filled just now; an older one does not know today's rows yet.
if (!view.created) await db.refreshContinuousAggregate('sensor_data_hourly', { startTime: { ago: '3 days' } })

const policy = await db.addContinuousAggregatePolicy('sensor_data_hourly', {
  startOffset: '3 days',
  endOffset: '1 hour',
  scheduleInterval: '30 minutes',
  ifNotExists: true,
})
console.log(`Job ${policy.jobId} refreshes sensor_data_hourly every ${policy.scheduleInterval}`)

const hours = await db.queryToDataFrame(`
  SELECT bucket, round(avg_temp::numeric, 1) as avg_temp, round(min_temp::numeric, 1) as min_temp,
    round(max_temp::numeric, 1) as max_temp
  FROM sensor_data_hourly
  WHERE sensor_id = 1
  ORDER BY bucket DESC
  LIMIT 24
`)
console.log(`${hours.numRows()} hours; the newest six:`)
hours.slice(0, 6).print()
