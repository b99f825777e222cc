import type { Command } from 'commander'
import type { TimeInput } from '../../../index.ts'
import {
  collect,
  collectColumns,
  given,
  parseAggregations,
  parseSpan,
  parseTime,
  parseWhere,
  parseWholeNumber,
} from '../argument.ts'
import { chartOfBuckets } from '../chart.ts'
import { withDatabase } from '../open.ts'
import { addFormats, printRows } from '../output.ts'

interface BucketOptions {
  readonly timeColumn: string
  readonly bucket: string
  readonly aggregate: string[]
  readonly groupBy?: string[]
  readonly where?: string[]
  readonly from?: TimeInput
  readonly to?: TimeInput
  readonly timezone?: string
  readonly origin?: TimeInput
  readonly offset?: string
  readonly orderBy?: string
  readonly limit?: string
}

const EXAMPLES = `
Examples:
  tsdb bucket sensor_data --time-column time --bucket '15 minutes' \\
    --aggregate 'AVG(temperature)' --aggregate 'n=COUNT(*)' --from '24 hours ago'
  tsdb bucket trades --time-column time --bucket '1 day' --timezone Europe/Berlin \\
    --aggregate 'close=LAST(price)' --group-by symbol --where symbol=AAPL --csv`

/** `tsdb bucket`: aggregates per bucket of time. */
export function addBucket(command: Command): void {
  command
    .argument('<table>', 'a table, hypertable or view')
    .requiredOption('--time-column <column>', 'the column with the time')
    .requiredOption('--bucket <span>', "the width of a bucket: '15 minutes', or a number for an integer time column")
    .requiredOption('--aggregate <name=function>', "a column such as 'mean=AVG(temperature)'; may be repeated", collect)
    .option('--group-by <columns>', 'columns that keep series apart', collectColumns)
    .option('--where <column=value>', 'only rows with this value; may be repeated', collect)
    .option('--from <time>', 'only rows from this time on', parseTime)
    .option('--to <time>', 'only rows before this time', parseTime)
    .option('--timezone <zone>', 'where days begin')
    .option('--origin <time>', 'a time at which a bucket begins', parseTime)
    .option('--offset <span>', 'shifts all buckets')
    .option('--order-by <columns>', "such as 'bucket DESC'")
    .option('--limit <rows>', 'at most so many rows')
    .addHelpText('after', EXAMPLES)
    .action(bucket)
  addFormats(command)
}

async function bucket(table: string, options: BucketOptions, command: Command): Promise<void> {
  const { timeColumn, groupBy, timezone, origin, orderBy, from: startTime, to: endTime } = options
  const aggregations = parseAggregations(options.aggregate)
  const query = {
    timeColumn,
    bucketInterval: parseSpan(options.bucket),
    aggregations,
    ...given({
      groupBy,
      timezone,
      origin,
      orderBy,
      startTime,
      endTime,
      where: options.where === undefined ? undefined : parseWhere(options.where),
      offset: options.offset === undefined ? undefined : parseSpan(options.offset),
      limit: options.limit === undefined ? undefined : parseWholeNumber(options.limit, '--limit'),
    }),
  }
  await withDatabase(command, async (db, signal) => {
    const rows = await db.timeBucketQuery<Record<string, unknown>>(table, query, { signal, int8: 'bigint' })
    const names = Object.keys(aggregations)
    printRows(command, ['bucket', ...(groupBy ?? []), ...names], rows, chartOfBuckets(groupBy ?? [], names))
  })
}
