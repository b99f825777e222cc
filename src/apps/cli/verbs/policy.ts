import type { Command } from 'commander'
import {
  addCompressionPolicySql,
  addContinuousAggregatePolicySql,
  addReorderPolicySql,
  addRetentionPolicySql,
  type CompressionPolicyOptions,
  type Database,
  enableCompressionSql,
  type PolicyResult,
  type RemoveOptions,
  type RemoveResult,
  removeCompressionPolicySql,
  removeContinuousAggregatePolicySql,
  removeReorderPolicySql,
  removeRetentionPolicySql,
  type Statement,
  type TimeInput,
  TimescaleError,
  timeTypeOf,
} from '../../../index.ts'
import { collectList, given, parseOffset, parseSpan, parseTime } from '../argument.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatDifferences, formatObject, printResult, printRows } from '../output.ts'
import { addDryRun, printScript } from '../script.ts'
import { addCheck } from './policy-check.ts'
import { addPreview } from './policy-preview.ts'

/** `tsdb policy …` */
export function addPolicy(policy: Command): void {
  const add = policy.command('add').description('let the database do something again and again')
  addRetention(add)
  addCompression(add)
  addRefresh(add)
  addReorder(add)
  const remove = policy.command('remove').description('end a policy; what it did stays')
  addRemove(remove, 'retention')
  addRemove(remove, 'compression')
  addRemove(remove, 'refresh')
  addRemove(remove, 'reorder')
  addList(policy)
  addPreview(policy)
  addCheck(policy)
}

interface ScheduleOptions {
  readonly scheduleInterval?: string
  readonly initialStart?: TimeInput
  readonly timezone?: string
  readonly ifNotExists?: boolean
  readonly dryRun?: boolean
}

function addSchedule(command: Command): Command {
  return command
    .option('--initial-start <time>', 'the first run', parseTime)
    .option('--timezone <zone>', 'in which the schedule keeps its hour')
    .option('--if-not-exists', 'a policy that exists is no error')
}

function schedule({ scheduleInterval, initialStart, timezone, ifNotExists }: ScheduleOptions) {
  return given({ scheduleInterval, initialStart, timezone, ifNotExists })
}

function printAdded(command: Command, name: string, kind: string, result: PolicyResult): void {
  const sentence = result.created
    ? `Added the ${kind} policy of ${name} as job ${result.jobId}.`
    : `${name} has a ${kind} policy already, job ${result.jobId}.${formatDifferences(result.differences)}`
  printResult(command, result, sentence)
}

interface RetentionOptions extends ScheduleOptions {
  readonly dropAfter?: string
  readonly dropCreatedBefore?: string
}

function addRetention(add: Command): void {
  const command = add
    .command('retention')
    .description('drop old chunks')
    .argument('<name>', 'the hypertable or continuous aggregate')
    .option('--drop-after <span>', 'chunks whose newest row may be older than this')
    .option('--drop-created-before <span>', 'instead: chunks that were made longer ago than this')
    .option('--schedule-interval <span>', 'how often it runs')
    .addHelpText('after', "\nExamples:\n  tsdb policy add retention sensor_data --drop-after '30 days' --dry-run")
    .action((name: string, options: RetentionOptions, command: Command) => {
      const { dropAfter, dropCreatedBefore } = options
      const after = dropAfter === undefined ? undefined : parseSpan(dropAfter)
      const wanted = { ...given({ dropAfter: after, dropCreatedBefore }), ...schedule(options) }
      return withDatabase(command, async (db) => {
        if (options.dryRun === true) {
          return printScript(command, [addRetentionPolicySql(await db.capabilities(), name, wanted)])
        }
        printAdded(command, name, 'retention', await db.addRetentionPolicy(name, wanted))
      })
    })
  addDryRun(addSchedule(command))
}

interface CompressionOptions extends ScheduleOptions {
  readonly compressAfter?: string
  readonly compressCreatedBefore?: string
  readonly segmentBy?: string[]
  readonly orderBy?: string[]
}

function addCompression(add: Command): void {
  const command = add
    .command('compression')
    .description('compress old chunks; enables compression where it is not enabled')
    .argument('<name>', 'the hypertable or continuous aggregate')
    .option('--compress-after <span>', 'chunks whose newest row may be older than this')
    .option('--compress-created-before <span>', 'instead: chunks that were made longer ago than this')
    .option('--segment-by <columns>', 'columns that are the same in a batch: those you filter by', collectList)
    .option('--order-by <columns>', "how rows are sorted in a batch: 'time DESC'", collectList)
    .option('--schedule-interval <span>', 'how often it runs')
    .addHelpText(
      'after',
      "\nExamples:\n  tsdb policy add compression sensor_data --compress-after '7 days' --segment-by sensor_id",
    )
    .action((name: string, options: CompressionOptions, command: Command) => {
      const { compressAfter, compressCreatedBefore, segmentBy, orderBy } = options
      const after = compressAfter === undefined ? undefined : parseSpan(compressAfter)
      const how = given({ compressAfter: after, compressCreatedBefore, orderBy, segmentBy: segmentBy?.join(', ') })
      const wanted = { ...how, ...schedule(options) }
      return withDatabase(command, async (db) => {
        if (options.dryRun === true) return printScript(command, await compressionSql(db, name, wanted))
        printAdded(command, name, 'compression', await db.addCompressionPolicy(name, wanted))
      })
    })
  addDryRun(addSchedule(command))
}

/** The policy, and before it what enables compression where that is still to be done. */
async function compressionSql(db: Database, name: string, options: CompressionPolicyOptions): Promise<Statement[]> {
  const capabilities = await db.capabilities()
  const policy = addCompressionPolicySql(capabilities, name, options)
  const { segmentBy, orderBy } = options
  const settings = await db.getCompressionSettings(name)
  const isAutomatic = settings.segmentBy.length === 0 && settings.orderBy.length === 0
  const isComplete = settings.enabled && !(isAutomatic && (segmentBy !== undefined || orderBy !== undefined))
  if (isComplete) return [policy]
  const kind = (await isAggregate(db, name)) ? 'continuous-aggregate' : 'hypertable'
  return [enableCompressionSql(capabilities, name, { kind, ...given({ segmentBy, orderBy }) }), policy]
}

async function isAggregate(db: Database, name: string): Promise<boolean> {
  try {
    await db.getContinuousAggregate(name)
    return true
  } catch (error) {
    if (error instanceof TimescaleError && error.code === 'HYPERTABLE_NOT_FOUND') return false
    throw error
  }
}

interface RefreshOptions extends ScheduleOptions {
  readonly startOffset: string
  readonly endOffset: string
  readonly scheduleInterval: string
}

function addRefresh(add: Command): void {
  const command = add
    .command('refresh')
    .description('refresh a moving window of a continuous aggregate')
    .argument('<view>', 'the continuous aggregate')
    .requiredOption('--start-offset <span>', "the window's begin, counted back from the run, or open")
    .requiredOption('--end-offset <span>', "the window's end, counted back from the run, or open")
    .requiredOption('--schedule-interval <span>', 'how often it runs')
    .addHelpText(
      'after',
      "\nExamples:\n  tsdb policy add refresh sensor_data_hourly --schedule-interval '30 minutes' \\\n    --start-offset '3 days' --end-offset '1 hour'",
    )
    .action((name: string, options: RefreshOptions, command: Command) => {
      const wanted = {
        ...schedule(options),
        startOffset: parseOffset(options.startOffset),
        endOffset: parseOffset(options.endOffset),
        scheduleInterval: options.scheduleInterval,
      }
      return withDatabase(command, async (db) => {
        if (options.dryRun === true) {
          const { bucketColumnType } = await db.getContinuousAggregate(name)
          const typed = { ...wanted, timeType: timeTypeOf(bucketColumnType) }
          return printScript(command, [addContinuousAggregatePolicySql(await db.capabilities(), name, typed)])
        }
        printAdded(command, name, 'refresh', await db.addContinuousAggregatePolicy(name, wanted))
      })
    })
  addDryRun(addSchedule(command))
}

interface ReorderOptions extends ScheduleOptions {
  readonly index: string
}

function addReorder(add: Command): void {
  const command = add
    .command('reorder')
    .description('keep older chunks in the order of an index')
    .argument('<name>', 'the hypertable')
    .requiredOption('--index <index>', 'an index of the hypertable')
    .action((name: string, options: ReorderOptions, command: Command) => {
      const wanted = { index: options.index, ...schedule(options) }
      return withDatabase(command, async (db) => {
        if (options.dryRun === true) {
          printScript(command, [addReorderPolicySql(await db.capabilities(), name, wanted)])
        } else printAdded(command, name, 'reorder', await db.addReorderPolicy(name, wanted))
      })
    })
  addDryRun(addSchedule(command))
}

type Kind = 'retention' | 'compression' | 'refresh' | 'reorder'

const REMOVALS = {
  retention: {
    toSql: removeRetentionPolicySql,
    remove: (db: Database, name: string, options: RemoveOptions) => db.removeRetentionPolicy(name, options),
  },
  compression: {
    toSql: removeCompressionPolicySql,
    remove: (db: Database, name: string, options: RemoveOptions) => db.removeCompressionPolicy(name, options),
  },
  refresh: {
    toSql: removeContinuousAggregatePolicySql,
    remove: (db: Database, name: string, options: RemoveOptions) => db.removeContinuousAggregatePolicy(name, options),
  },
  reorder: {
    toSql: removeReorderPolicySql,
    remove: (db: Database, name: string, options: RemoveOptions) => db.removeReorderPolicy(name, options),
  },
}

function addRemove(remove: Command, kind: Kind): void {
  const command = remove
    .command(kind)
    .description(`end the ${kind} policy`)
    .argument('<name>', kind === 'refresh' ? 'the continuous aggregate' : 'the hypertable or continuous aggregate')
    .option('--if-exists', 'no error where there is none')
    .action((name: string, options: RemoveOptions & { readonly dryRun?: boolean }, command: Command) =>
      withDatabase(command, async (db) => {
        const how = given({ ifExists: options.ifExists })
        if (options.dryRun === true) {
          return printScript(command, [REMOVALS[kind].toSql(await db.capabilities(), name, how)])
        }
        const result: RemoveResult = await REMOVALS[kind].remove(db, name, how)
        const sentence = result.removed ? `Removed the ${kind} policy of ${name}.` : `${name} has no ${kind} policy.`
        printResult(command, result, sentence)
      }),
    )
  addDryRun(command)
}

const COLUMNS = ['jobId', 'kind', 'relation', 'scheduleInterval', 'scheduled', 'nextStart', 'config']

function addList(policy: Command): void {
  const command = policy
    .command('list')
    .description('all policies, or those of one hypertable or continuous aggregate')
    .argument('[name]', 'the hypertable or continuous aggregate')
    .action((relation: string | undefined, _options: object, command: Command) =>
      withDatabase(command, async (db) => {
        const kind = ['retention', 'compression', 'refresh', 'reorder'] as const
        const jobs = await db.listJobs({ kind, ...given({ relation }) })
        const rows = jobs.map((job) => {
          const on = 'relation' in job ? job.relation : undefined
          return { ...job, relation: on === undefined ? undefined : formatObject(on) }
        })
        printRows(command, COLUMNS, rows)
      }),
    )
  addFormats(command)
}
