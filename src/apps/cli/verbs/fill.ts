import type { Command } from 'commander'
import { type FillMethod, type GapfillColumn, type TimeInput, UsageError } from '../../../index.ts'
import {
  collect,
  collectColumns,
  columnsByName,
  given,
  parseAggregation,
  parseSpan,
  parseTime,
  parseWhere,
} from '../argument.ts'
import { chartOfBuckets } from '../chart.ts'
import { withDatabase } from '../open.ts'
import { addFormats, printRows } from '../output.ts'

interface FillOptions {
  readonly timeColumn: string
  readonly bucket: string
  readonly from: TimeInput
  readonly to: TimeInput
  readonly column: string[]
  readonly method?: string
  readonly groupBy?: string[]
  readonly where?: string[]
  readonly timezone?: string
  readonly orderBy?: string
}

const EXAMPLES = `
Examples:
  tsdb fill sensor_data --time-column time --bucket '10 minutes' \\
    --from '2 hours ago' --to 'NOW()' --column temperature --method locf
  tsdb fill sensor_data --time-column time --bucket '1 hour' --from 2026-01-01 --to 2026-01-02 \\
    --column 'high=MAX(temperature):linear' --column 'n=COUNT(*):null' --group-by sensor_id`

/** `tsdb fill`: time buckets without gaps. */
export function addFill(command: Command): void {
  command
    .argument('<table>', 'a table, hypertable or view')
    .requiredOption('--time-column <column>', 'the column with the time')
    .requiredOption('--bucket <span>', "the width of a bucket: '10 minutes', or a number for an integer time column")
    .requiredOption('--from <time>', 'the first time', parseTime)
    .requiredOption('--to <time>', 'the end, which is not included', parseTime)
    .requiredOption('--column <column[:method]>', "a column's mean, or 'name=MAX(column)'; may be repeated", collect)
    .option('--method <method>', 'how gaps are filled where a column does not say: locf, linear or null')
    .option('--group-by <columns>', 'columns that keep series apart', collectColumns)
    .option('--where <column=value>', 'only rows with this value; may be repeated', collect)
    .option('--timezone <zone>', 'where days begin')
    .option('--order-by <columns>', "such as 'bucket DESC'")
    .addHelpText('after', EXAMPLES)
    .action(fill)
  addFormats(command)
}

async function fill(table: string, options: FillOptions, command: Command): Promise<void> {
  const { timeColumn, groupBy, timezone, orderBy, from: startTime, to: endTime, method } = options
  const columns = columnsByName(options.column.map(parseColumn))
  const query = {
    timeColumn,
    bucketInterval: parseSpan(options.bucket),
    startTime,
    endTime,
    columns,
    ...given({
      groupBy,
      timezone,
      orderBy,
      fillMethod: method === undefined ? undefined : parseMethod(method),
      where: options.where === undefined ? undefined : parseWhere(options.where),
    }),
  }
  await withDatabase(command, async (db, signal) => {
    const rows = await db.fillGaps<Record<string, unknown>>(table, query, { signal, int8: 'bigint' })
    const names = Object.keys(columns)
    printRows(command, ['bucket', ...(groupBy ?? []), ...names], rows, chartOfBuckets(groupBy ?? [], names))
  })
}

/** `temperature`, `temperature:locf` or `high=MAX(temperature):linear`. */
function parseColumn(text: string): [string, GapfillColumn] {
  const [, what = text, method] = /^(.*):([a-z]+)$/is.exec(text) ?? []
  const filled = method === undefined ? {} : { method: parseMethod(method) }
  if (!/[=()]/.test(what)) return [what, filled]
  const [name, aggregate] = parseAggregation(what)
  return [name, { aggregate, ...filled }]
}

function parseMethod(text: string): FillMethod {
  const method = text.toLowerCase()
  if (method === 'locf' || method === 'linear' || method === 'null') return method
  throw new UsageError('INVALID_OPTION', `The fill method ${JSON.stringify(text)} is unknown.`, {
    hint: 'Write locf, linear or null.',
  })
}
