import type { Command } from 'commander'
import {
  type AlterJobOptions,
  alterJobSql,
  type Database,
  type Job,
  type TimeInput,
  UsageError,
} from '../../../index.ts'
import { given, JOB_ARGUMENT, parseJob, parseTime, parseWholeNumber } from '../argument.ts'
import { withDatabase } from '../open.ts'
import { printResult } from '../output.ts'
import { addDryRun, printScript } from '../script.ts'

interface AlterFlags {
  readonly scheduleInterval?: string
  readonly fixedSchedule?: boolean
  readonly initialStart?: TimeInput
  readonly timezone?: string
  readonly maxRuntime?: string
  readonly maxRetries?: number
  readonly retryPeriod?: string
  readonly nextStart?: TimeInput
  readonly jobConfig?: Readonly<Record<string, unknown>>
  readonly dryRun?: boolean
}

/** `tsdb job alter` */
export function addJobAlter(job: Command): void {
  const command = job
    .command('alter')
    .description('change when and how a job runs; what is not given stays')
    .argument('<job>', JOB_ARGUMENT, parseJob)
    .option('--schedule-interval <span>', 'how often it runs')
    .option('--fixed-schedule', 'runs keep to multiples of the interval')
    .option('--no-fixed-schedule', 'the interval counts from the end of the last run')
    .option('--initial-start <time>', 'from which a fixed schedule counts', parseTime)
    .option('--timezone <zone>', 'in which the schedule keeps its hour')
    .option('--max-runtime <span>', "a run that takes longer is ended; '0 s' is without limit")
    .option('--max-retries <number>', 'failures in a row after which it is paused; -1 is never', parseRetries)
    .option('--retry-period <span>', 'the wait after a failure')
    .option('--next-start <time>', 'when it runs next, once', parseTime)
    .option('--job-config <json>', 'replaces its configuration; a policy stays on its hypertable', parseConfig)
    .addHelpText(
      'after',
      "\nExamples:\n  tsdb job alter 1000 --schedule-interval '6 hours' --max-runtime '10 minutes'\n  tsdb job alter 1000 --next-start 'NOW()' --dry-run",
    )
    .action((id: number, { dryRun, jobConfig, ...flags }: AlterFlags, command: Command) => {
      const options = given({ ...flags, config: jobConfig })
      return withDatabase(command, async (db) => {
        if (dryRun === true) return printAlter(command, db, id, options)
        printChanged(command, await db.alterJob(id, options))
      })
    })
  addDryRun(command)
}

/** As the library, which keeps a policy on its hypertable and has to know the job for that. */
async function printAlter(command: Command, db: Database, id: number, options: AlterJobOptions): Promise<void> {
  printScript(command, [alterJobSql(await db.capabilities(), await db.getJob(id), options)])
}

function printChanged(command: Command, job: Job): void {
  const next = job.nextStart === undefined ? '' : `, next ${job.nextStart.toISOString()}`
  const state = job.status === 'paused' ? 'paused' : `every ${job.scheduleInterval}${next}`
  printResult(command, job, `Job ${job.jobId} (${job.name}): ${state}.`)
}

function parseRetries(text: string): number {
  return text === '-1' ? -1 : parseWholeNumber(text, '--max-retries')
}

function parseConfig(text: string): Readonly<Record<string, unknown>> {
  try {
    const config: unknown = JSON.parse(text)
    if (isObject(config)) return config
  } catch {
    // Said below.
  }
  throw new UsageError('INVALID_OPTION', '--job-config must be a JSON object, such as \'{"drop_after": "30 days"}\'.')
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `tsdb job enable` and `disable` */
export function addJobSwitch(job: Command, verb: 'enable' | 'disable'): void {
  const command = job
    .command(verb)
    .description(verb === 'enable' ? 'let a paused job run again' : 'pause a job; it stays, with its history')
    .argument('<job>', JOB_ARGUMENT, parseJob)
    .action((id: number, options: { readonly dryRun?: boolean }, command: Command) =>
      withDatabase(command, async (db) => {
        if (options.dryRun === true) return printAlter(command, db, id, { scheduled: verb === 'enable' })
        printChanged(command, verb === 'enable' ? await db.enableJob(id) : await db.disableJob(id))
      }),
    )
  addDryRun(command)
}
