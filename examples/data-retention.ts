/** Rows older than 30 days are deleted, a whole chunk at a time. */
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
  FROM generate_series(NOW() - INTERVAL '40 days', NOW(), INTERVAL '1 hour') AS time
`)

// What a policy would drop, before there is one.
const old = await db.getChunkInfo('sensor_data', { olderThan: { ago: '30 days' } })
console.log(`${old.length} chunks are older than 30 days`)

const policy = await db.addRetentionPolicy('sensor_data', {
  dropAfter: '30 days',
  // The first run is tomorrow: today this program runs it.
  initialStart: new Date(Date.now() + 86_400_000),
  ifNotExists: true,
})
console.log(`Job ${policy.jobId} drops what is older than ${policy.dropAfter}`)

await db.executeQuery('CALL run_job($1)', [policy.jobId])
const left = await db.getChunkInfo('sensor_data', { olderThan: { ago: '30 days' } })
const { numChunks, oldestRange } = await db.getHypertableStats('sensor_data')
console.log(`After its run ${left.length} of them are left, and ${numChunks} younger chunks`)
if (oldestRange instanceof Date) console.log(`The oldest begins ${oldestRange.toISOString()}`)
