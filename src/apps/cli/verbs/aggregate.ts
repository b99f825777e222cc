import type { Command } from 'commander'
import {
  type ContinuousAggregateOptions,
  createContinuousAggregateSql,
  dropContinuousAggregateSql,
  refreshContinuousAggregateSql,
  sql,
  type TimeInput,
  timeTypeOf,
  UsageError,
} from '../../../index.ts'
import { collect, collectColumns, given, parseAggregations, parseSpan, parseTime } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withElapsed } from '../elapsed.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatDifferences, formatObject, printFields, printResult, printRows } from '../output.ts'
import { addDryRun, printScript, printSteps } from '../script.ts'

/** `tsdb aggregate …` */
export function addAggregate(aggregate: Command): void {
  addCreate(aggregate)
  addList(aggregate)
  addShow(aggregate)
  addRefresh(aggregate)
  addDrop(aggregate)
}

interface CreateOptions {
  readonly on: string
  readonly timeColumn: string
  readonly bucket: string
  readonly aggregate?: string[]
  readonly groupBy?: string[]
  readonly selectQuery?: string
  readonly bucketColumn?: string
  readonly timezone?: string
  readonly origin?: TimeInput
  readonly offset?: string
  readonly data: boolean
  readonly realTime?: boolean
  readonly chunkInterval?: string
  readonly ifNotExists?: boolean
  readonly dryRun?: boolean
}

const CREATE_EXAMPLES = `
Examples:
  tsdb aggregate create sensor_data_hourly --on sensor_data --time-column time \\
    --bucket '1 hour' --aggregate 'AVG(temperature)' --aggregate 'n=COUNT(*)' --group-by sensor_id
  tsdb aggregate create daily --on hourly --time-column bucket --bucket '1 day' \\
    --select-query 'max(high) as high from hourly group by bucket' --no-data --dry-run`

function addCreate(aggregate: Command): void {
  const command = aggregate
    .command('create')
    .description('create a view whose buckets are kept and refreshed')
    .argument('<view>', 'its name')
    .requiredOption('--on <source>', 'the hypertable or continuous aggregate it is made from')
    .requiredOption('--time-column <column>', 'the time column there')
    .requiredOption('--bucket <span>', "the width of a bucket: '1 hour', or a number for an integer time column")
    .option('--aggregate <name=function>', "a column such as 'mean=AVG(temperature)'; may be repeated", collect)
    .option('--group-by <columns>', 'columns that keep series apart', collectColumns)
    .option('--select-query <sql>', 'instead of these: what comes after the bucket, as SQL')
    .option('--bucket-column <name>', 'the name of the column with the buckets')
    .option('--timezone <zone>', 'where days begin')
    .option('--origin <time>', 'a time at which a bucket begins', parseTime)
    .option('--offset <span>', 'shifts all buckets')
    .option('--no-data', 'leave it empty until the first refresh')
    .option('--real-time', 'add to every answer what is newer than the last refresh')
    .option('--chunk-interval <span>', 'the length of its own chunks')
    .option('--if-not-exists', 'one that exists is no error')
    .addHelpText('after', CREATE_EXAMPLES)
    .action(create)
  addDryRun(command)
}

async function create(view: string, options: CreateOptions, command: Command): Promise<void> {
  const wanted = toAggregateOptions(options)
  await withDatabase(command, async (db) => {
    if (options.dryRun === true) {
      const column = sql`select ${sql.column(options.timeColumn)} from ${sql.name(options.on)} limit 0`
      const [row] = await db.sql<{ readonly type: string }>`select pg_typeof((${column}))::text as type`
      const typed = { ...wanted, timeType: timeTypeOf(row?.type ?? '') }
      return printSteps(command, createContinuousAggregateSql(await db.capabilities(), view, typed))
    }
    const result = await db.createContinuousAggregate(view, wanted)
    const sentence = result.created
      ? `Created the continuous aggregate ${formatObject(result)}.`
      : `${formatObject(result)} exists already.${formatDifferences(result.differences)}`
    printResult(command, result, sentence)
  })
}

function toAggregateOptions(options: CreateOptions): ContinuousAggregateOptions {
  const { on, timeColumn, selectQuery, bucketColumn, timezone, origin, ifNotExists, aggregate, groupBy } = options
  const common = {
    hypertable: on,
    timeColumn,
    bucketInterval: parseSpan(options.bucket),
    ...given({
      bucketColumn,
      timezone,
      origin,
      ifNotExists,
      offset: options.offset === undefined ? undefined : parseSpan(options.offset),
      chunkInterval: options.chunkInterval === undefined ? undefined : parseSpan(options.chunkInterval),
      withData: options.data ? undefined : false,
      materializedOnly: options.realTime === true ? false : undefined,
    }),
  }
  if ((selectQuery === undefined) === (aggregate === undefined)) {
    throw new UsageError('INVALID_OPTION', 'Give either --aggregate or --select-query.')
  }
  if (selectQuery === undefined) {
    return { ...common, aggregates: parseAggregations(aggregate ?? []), ...given({ groupBy }) }
  }
  if (groupBy !== undefined) throw new UsageError('INVALID_OPTION', '--group-by is a part of the --select-query.')
  return { ...common, selectQuery }
}

const COLUMNS = [
  'name',
  'source',
  'bucketInterval',
  'bucketTimezone',
  'materializedOnly',
  'compressionEnabled',
  'owner',
]

function addList(aggregate: Command): void {
  const command = aggregate
    .command('list')
    .description('all continuous aggregates')
    .option('--on <name>', 'only those directly on this hypertable or continuous aggregate')
    .action(({ on }: { readonly on?: string }, command: Command) =>
      withDatabase(command, async (db) => {
        const list = await db.listContinuousAggregates(given({ on }))
        const rows = list.map((one) => ({ ...one, name: formatObject(one), source: formatObject(one.source) }))
        printRows(command, COLUMNS, rows)
      }),
    )
  addFormats(command)
}

function addShow(aggregate: Command): void {
  const command = aggregate
    .command('show')
    .description('source, buckets, settings and query of one')
    .argument('<view>', 'the continuous aggregate')
    .action((view: string, _options: object, command: Command) =>
      withDatabase(command, async (db) => {
        const one = await db.getContinuousAggregate(view)
        printFields(command, one, [
          ['name', formatObject(one)],
          ['source', formatObject(one.source)],
          ['buckets', `${one.bucketInterval ?? 'unknown'} in ${JSON.stringify(one.bucketColumn)}`],
          ['time zone', one.bucketTimezone ?? 'UTC'],
          ['shows', one.materializedOnly ? 'what is materialized' : 'newer rows too'],
          ['compression', one.compressionEnabled ? 'enabled' : 'not enabled'],
          ['kept in', formatObject(one.materialization)],
          ['query', `\n${one.definition}`],
        ])
      }),
    )
  addFormats(command)
}

interface RefreshOptions {
  readonly from?: TimeInput
  readonly to?: TimeInput
  readonly force?: boolean
  readonly allowLoss?: boolean
  readonly batch?: ReturnType<typeof parseSpan>
  readonly dryRun?: boolean
}

function addRefresh(aggregate: Command): void {
  const command = aggregate
    .command('refresh')
    .description('bring the buckets of a window up to date')
    .argument('<view>', 'the continuous aggregate')
    .option('--from <time>', 'the first time to refresh; left out, everything older too', parseTime)
    .option('--to <time>', 'the end, not included; left out, everything newer too', parseTime)
    .option('--batch <span>', 'so much at a time, oldest first: what is done stays done', parseSpan)
    .option('--force', 'also what is up to date')
    .option('--allow-loss', 'also where the raw data is gone and history would be lost')
    .addHelpText('after', "\nExamples:\n  tsdb aggregate refresh sensor_data_hourly --from '3 days ago' --to 'NOW()'")
    .action(refresh)
  addDryRun(command)
}

async function refresh(view: string, options: RefreshOptions, command: Command): Promise<void> {
  const { from: startTime, to: endTime, force, allowLoss, batch } = options
  const window = given({ startTime, endTime, force, allowLoss })
  await withDatabase(command, async (db, signal) => {
    if (options.dryRun === true) {
      if (batch !== undefined) throw new UsageError('INVALID_OPTION', 'Give either --batch or --dry-run.')
      const { bucketColumnType } = await db.getContinuousAggregate(view)
      const typed = { ...window, timeType: timeTypeOf(bucketColumnType) }
      return printScript(command, [refreshContinuousAggregateSql(await db.capabilities(), view, typed)])
    }
    let reached: TimeInput | undefined
    const result = await withElapsed(`Refreshing ${view}`, (tell) =>
      db.refreshContinuousAggregate(view, {
        ...window,
        ...given({ batch }),
        signal,
        onProgress: ({ done, total, endTime }) => {
          reached = endTime
          tell?.(`batch ${done} of ${total}`)
        },
      }),
    ).catch((error: unknown) => {
      if (reached !== undefined)
        process.stderr.write(
          `Refreshed up to ${reached instanceof Date ? reached.toISOString() : reached}; go on with --from.\n`,
        )
      throw error
    })
    printResult(command, result, result.refreshed ? `Refreshed ${formatObject(result)}.` : 'It was up to date.')
  })
}

interface DropOptions {
  readonly cascade?: boolean
  readonly ifExists?: boolean
  readonly dryRun?: boolean
}

function addDrop(aggregate: Command): void {
  const command = aggregate
    .command('drop')
    .description('drop a continuous aggregate with all it has materialized')
    .argument('<view>', 'the continuous aggregate')
    .option('--cascade', 'drop what depends on it too')
    .option('--if-exists', 'no error where there is none')
    .action(drop)
  addYes(addDryRun(command))
}

async function drop(view: string, options: DropOptions, command: Command): Promise<void> {
  const { cascade, ifExists } = options
  const how = given({ cascade, ifExists })
  if (options.dryRun === true) return printScript(command, [dropContinuousAggregateSql(view, how)])
  await withDatabase(command, async (db, signal) => {
    await confirm(command, `Drop the continuous aggregate ${view} with its history?`, signal)
    const result = await db.dropContinuousAggregate(view, how)
    printResult(command, result, result.dropped ? `Dropped ${view}.` : `There is no ${view}; nothing was dropped.`)
  })
}
