import type { Command } from 'commander'
import { type JobRun, type TimeInput, UsageError } from '../../../index.ts'
import { collectList, given, parseJob, parseTime, parseWholeNumber } from '../argument.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatObject, printRows } from '../output.ts'

interface HistoryOptions {
  readonly outcome?: string[]
  readonly since?: TimeInput
  readonly until?: TimeInput
  readonly limit?: number
}

function addFilters(command: Command): Command {
  return command
    .argument('[job]', 'only this one', parseJob)
    .option('--since <time>', 'runs that started at this time or later', parseTime)
    .option('--until <time>', 'runs that started before this time', parseTime)
    .option('--limit <runs>', 'at most so many (default 1000)', (text) => parseWholeNumber(text, '--limit'))
}

const RUN_COLUMNS = ['startedAt', 'jobId', 'procedure', 'outcome', 'durationMs', 'sqlState', 'message']

/** `tsdb job history` */
export function addJobHistory(job: Command): void {
  const command = job
    .command('history')
    .description('the runs that were kept, newest first')
    .option('--outcome <outcomes>', 'success, failure, crash, running', collectList)
    .addHelpText(
      'after',
      "\nExamples:\n  tsdb job history 1000 --since '1 day ago'\n  tsdb job history 1000 --chart\n  tsdb job history --outcome failure,crash --csv",
    )
    .action((jobId: number | undefined, options: HistoryOptions, command: Command) =>
      withDatabase(command, async (db) => {
        const { since, until, limit } = options
        const outcome = options.outcome?.map(toOutcome)
        const { runs, complete } = await db.jobHistory(given({ jobId, since, until, limit, outcome }))
        printRuns(command, runs)
        if (!complete) process.stderr.write('NOTICE: The server keeps failures only; see docs/reference/job.md.\n')
      }),
    )
  addFormats(addFilters(command))
}

const OUTCOMES: readonly JobRun['outcome'][] = ['success', 'failure', 'crash', 'running']

function toOutcome(text: string): JobRun['outcome'] {
  const outcome = OUTCOMES.find((one) => one === text)
  if (outcome !== undefined) return outcome
  throw new UsageError('INVALID_OPTION', `A run has no outcome ${JSON.stringify(text)}.`, {
    hint: `Known are ${OUTCOMES.join(', ')}.`,
  })
}

/** `tsdb job errors` */
export function addJobErrors(job: Command): void {
  const command = job
    .command('errors')
    .description('the runs that failed or crashed, newest first')
    .addHelpText('after', "\nExamples:\n  tsdb job errors --since '1 day ago' --json")
    .action((jobId: number | undefined, { since, until, limit }: HistoryOptions, command: Command) =>
      withDatabase(command, async (db) => {
        printRuns(command, await db.jobErrors(given({ jobId, since, until, limit })))
      }),
    )
  addFormats(addFilters(command))
}

function printRuns(command: Command, runs: readonly JobRun[]): void {
  const rows = runs.map((run) => ({
    ...run,
    procedure: run.procedure === undefined ? undefined : formatObject(run.procedure),
    sqlState: run.error?.sqlState,
    message: run.error?.message,
  }))
  printRows(command, RUN_COLUMNS, rows, { x: 'startedAt', y: 'durationMs', ...severalJobs(runs) })
}

/** A line of the chart for each job, where there are several. */
function severalJobs(runs: readonly JobRun[]): { readonly by?: string } {
  return new Set(runs.map(({ jobId }) => jobId)).size > 1 ? { by: 'jobId' } : {}
}
