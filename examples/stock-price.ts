/** Stock prices, partitioned by time and symbol, with daily open, high, low, close and volume. */
import { connect } from 'tsdbkit'

await using db = await connect()

await db.executeQuery(`
  CREATE TABLE IF NOT EXISTS stock_prices (
    time TIMESTAMPTZ NOT NULL,
    symbol TEXT,
    open DOUBLE PRECISION,
    high DOUBLE PRECISION,
    low DOUBLE PRECISION,
    close DOUBLE PRECISION,
    volume BIGINT
  )
`)
const { dimensions } = await db.createHypertable('stock_prices', {
  timeColumn: 'time',
  chunkTimeInterval: '1 week',
  partitioningColumn: 'symbol',
  numberPartitions: 4,
  ifNotExists: true,
})
for (const dimension of dimensions) {
  const how = dimension.kind === 'hash' ? `hash, ${dimension.partitions} partitions` : `range, ${dimension.interval}`
  console.log(`Dimension ${dimension.column}: ${how}`)
}

await db.executeMany('INSERT INTO stock_prices VALUES (NOW(), $1, $2, $3, $4, $5, $6)', [
  ['AAPL', 150.0, 152.5, 149.0, 151.5, 50000000],
  ['GOOGL', 2800.0, 2850.0, 2780.0, 2820.0, 1000000],
])

const view = await db.createContinuousAggregate('stock_prices_daily', {
  hypertable: 'stock_prices',
  timeColumn: 'time',
  bucketInterval: '1 day',
  selectQuery: `
    symbol,
    FIRST(open, time) as open,
    MAX(high) as high,
    MIN(low) as low,
    LAST(close, time) as close,
    SUM(volume) as total_volume
    FROM stock_prices
    GROUP BY bucket, symbol
  `,
  withData: true,
  ifNotExists: true,
})
if (!view.created) await db.refreshContinuousAggregate('stock_prices_daily')

const days = await db.queryToDataFrame(`
  SELECT to_char(bucket, 'YYYY-MM-DD') as day, symbol, open, high, low, close, total_volume
  FROM stock_prices_daily ORDER BY bucket DESC, symbol LIMIT 10
`)
days.print()
