/** Requests of a web application: response times and errors in five-minute summaries. */
import { connect } from 'tsdbkit'

await using db = await connect()

await db.executeQuery(`
  CREATE TABLE IF NOT EXISTS apm_metrics (
    time TIMESTAMPTZ NOT NULL,
    service_name TEXT,
    endpoint TEXT,
    response_time_ms INTEGER,
    status_code INTEGER
  )
`)
await db.createHypertable('apm_metrics', { timeColumn: 'time', chunkTimeInterval: '1 hour', ifNotExists: true })

// A request every ten seconds for two hours; every fiftieth checkout fails, and slowly.
const now = Date.now()
const requests = Array.from({ length: 720 }, (_, i) => {
  const [endpoint, failed] = i % 2 === 0 ? ['/cart', false] : ['/checkout', i % 100 === 99]
  return [new Date(now - i * 10_000), 'shop', endpoint, failed ? 2000 : 40 + (i % 30), failed ? 503 : 200]
})
const { rowCount } = await db.executeMany('INSERT INTO apm_metrics VALUES ($1, $2, $3, $4, $5)', requests)
console.log(`${rowCount} requests written`)

const view = await db.createContinuousAggregate('apm_summary_5min', {
  hypertable: 'apm_metrics',
  timeColumn: 'time',
  bucketInterval: '5 minutes',
  selectQuery: `
    service_name,
    endpoint,
    AVG(response_time_ms) as avg_response,
    MAX(response_time_ms) as max_response,
    COUNT(*) as request_count,
    COUNT(*) FILTER (WHERE status_code >= 500) as error_count
    FROM apm_metrics
    GROUP BY bucket, service_name, endpoint
  `,
  withData: true,
  ifNotExists: true,
})
if (!view.created) await db.refreshContinuousAggregate('apm_summary_5min')

const errors = await db.queryToDataFrame(`
  SELECT to_char(bucket, 'HH24:MI') as bucket, endpoint, round(avg_response) as avg_ms, max_response as max_ms,
    request_count, error_count
  FROM apm_summary_5min
  WHERE error_count > 0
  ORDER BY apm_summary_5min.bucket DESC
  LIMIT 10
`)
errors.print()
