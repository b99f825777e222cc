import type { Command } from 'commander'
import {
  createHypertableSql,
  type Dimension,
  dropHypertableSql,
  type HypertableOptions,
  type HypertableStats,
  UsageError,
} from '../../../index.ts'
import { collect, given, parseSpan } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withDatabase } from '../open.ts'
import {
  addFormats,
  formatBytes,
  formatDifferences,
  formatObject,
  printFields,
  printResult,
  printRows,
} from '../output.ts'
import { addDryRun, printScript } from '../script.ts'

/** `tsdb hypertable …` */
export function addHypertable(hypertable: Command): void {
  addCreate(hypertable)
  addFormats(hypertable.command('list').description('all hypertables')).action((_options: object, command: Command) =>
    withDatabase(command, async (db) =>
      printRows(
        command,
        ['schema', 'name', 'owner', 'numDimensions', 'numChunks', 'compressionEnabled'],
        (await db.listHypertables()).map((row) => ({ ...row })),
        { x: 'name', y: 'numChunks' },
      ),
    ),
  )
  const show = hypertable
    .command('show')
    .description('sizes, chunks, compression, dimensions, policies and aggregates')
    .argument('<name>', 'the hypertable or continuous aggregate')
    .action((name: string, _options: object, command: Command) =>
      withDatabase(command, async (db) => printStats(command, await db.getHypertableStats(name))),
    )
  addFormats(show)
  addDrop(hypertable)
}

interface CreateOptions {
  readonly timeColumn: string
  readonly chunkInterval?: string
  readonly partition?: string[]
  readonly ifNotExists?: boolean
  readonly migrateData?: boolean
  readonly defaultIndexes: boolean
  readonly associatedSchema?: string
  readonly associatedTablePrefix?: string
  readonly integerNowFunction?: string
  readonly dryRun?: boolean
}

function addCreate(hypertable: Command): void {
  const command = hypertable
    .command('create')
    .description('turn a table into a hypertable')
    .argument('<table>', "the table: 'table', 'schema.table' or '\"Odd.schema\".\"Table\"'")
    .requiredOption('--time-column <column>', 'the column with the time')
    .option('--chunk-interval <span>', "the length of a chunk: '1 day', or a number for an integer time column")
    .option('--partition <column:number>', 'a hash dimension; may be repeated', collect)
    .option('--if-not-exists', 'a hypertable that exists is no error')
    .option('--migrate-data', 'move the rows that are there into chunks')
    .option('--no-default-indexes', 'without the index on the time column')
    .option('--associated-schema <schema>', 'the schema of the chunks')
    .option('--associated-table-prefix <prefix>', "the beginning of the chunks' names")
    .option('--integer-now-function <function>', 'what time it is, for an integer time column')
    .addHelpText(
      'after',
      "\nExamples:\n  tsdb hypertable create sensor_data --time-column time --chunk-interval '1 day'\n  tsdb hypertable create stock_prices --time-column time --partition symbol:4 --dry-run",
    )
    .action(create)
  addDryRun(command)
}

async function create(table: string, options: CreateOptions, command: Command): Promise<void> {
  const wanted = toHypertableOptions(options)
  await withDatabase(command, async (db) => {
    if (options.dryRun === true)
      return printScript(command, createHypertableSql(await db.capabilities(), table, wanted))
    const result = await db.createHypertable(table, wanted)
    const sentence = result.created
      ? `Created the hypertable ${formatObject(result)}.`
      : `${formatObject(result)} is a hypertable already.${formatDifferences(result.differences)}`
    printResult(command, result, sentence)
  })
}

function toHypertableOptions(options: CreateOptions): HypertableOptions {
  const { timeColumn, ifNotExists, migrateData, associatedSchema, associatedTablePrefix, integerNowFunction } = options
  return {
    timeColumn,
    ...given({
      ifNotExists,
      migrateData,
      associatedSchema,
      associatedTablePrefix,
      integerNowFunction,
      chunkTimeInterval: options.chunkInterval === undefined ? undefined : parseSpan(options.chunkInterval),
      partitions: options.partition?.map(parsePartition),
      createDefaultIndexes: options.defaultIndexes ? undefined : false,
    }),
  }
}

function parsePartition(text: string): { readonly column: string; readonly number: number } {
  const match = /^(.+):(\d+)$/s.exec(text)
  if (match?.[1] === undefined) {
    throw new UsageError('INVALID_OPTION', `--partition ${JSON.stringify(text)} is not of the form column:number.`)
  }
  return { column: match[1], number: Number(match[2]) }
}

function printStats(command: Command, stats: HypertableStats): void {
  const { compression, policies, continuousAggregates } = stats
  const ratio = compression.ratio === undefined ? '' : `, ${compression.ratio.toFixed(1)} times smaller`
  const { tableBytes, indexBytes, toastBytes } = stats
  const parts = Object.entries({ table: tableBytes, indexes: indexBytes, toast: toastBytes })
  const fields: [string, unknown][] = [
    ['name', formatObject(stats)],
    ['chunks', `${stats.numChunks}, ${stats.compressedChunks} compressed${ratio}`],
    ['range', `${formatEdge(stats.oldestRange)} to ${formatEdge(stats.newestRange)}`],
    ['rows, about', stats.approximateRows],
    ['size', formatBytes(stats.totalBytes)],
    ...parts.map(([name, bytes]): [string, unknown] => [`  ${name}`, formatBytes(bytes)]),
    ['dimensions', stats.dimensions.map(formatDimension).join('; ')],
    ['policies', policies.map((one) => `${one.kind} (job ${one.jobId})`).join(', ') || 'none'],
    ['aggregates', continuousAggregates.map(formatObject).join(', ') || 'none'],
  ]
  printFields(
    command,
    stats,
    fields,
    parts.map(([part, bytes]) => ({ part, bytes })),
  )
}

function formatEdge(edge: Date | bigint | undefined): string {
  if (edge === undefined) return '(none)'
  return edge instanceof Date ? edge.toISOString() : String(edge)
}

function formatDimension(dimension: Dimension): string {
  return dimension.kind === 'hash'
    ? `${dimension.column} in ${dimension.partitions} partitions`
    : `${dimension.column} every ${dimension.interval}`
}

interface DropOptions {
  readonly cascade?: boolean
  readonly ifExists?: boolean
  readonly dryRun?: boolean
}

function addDrop(hypertable: Command): void {
  const command = hypertable
    .command('drop')
    .description('drop a hypertable with all its rows')
    .argument('<name>', 'the hypertable')
    .option('--cascade', 'drop what depends on it too')
    .option('--if-exists', 'no error where there is none')
    .addHelpText(
      'after',
      '\nExamples:\n  tsdb hypertable drop sensor_data --dry-run\n  tsdb hypertable drop sensor_data --yes',
    )
    .action(drop)
  addYes(addDryRun(command))
}

async function drop(name: string, options: DropOptions, command: Command): Promise<void> {
  const { cascade, ifExists } = options
  const how = given({ cascade, ifExists })
  if (options.dryRun === true) return printScript(command, [dropHypertableSql(name, how)])
  await withDatabase(command, async (db, signal) => {
    await confirm(command, `Drop the hypertable ${name} with all its rows?`, signal)
    const result = await db.dropHypertable(name, how)
    printResult(command, result, result.dropped ? `Dropped ${name}.` : `There is no ${name}; nothing was dropped.`)
  })
}
