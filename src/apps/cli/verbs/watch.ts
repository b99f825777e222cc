import { type Command, Option } from 'commander'
import { type JobEvent, UsageError } from '../../../index.ts'
import { paint } from '../color.ts'
import { withDatabase } from '../open.ts'
import { csvLine, formatObject, formatOf } from '../output.ts'
import { WebHook } from '../web-hook.ts'

interface Flags {
  readonly interval: string
  readonly webhook?: string
  readonly once?: boolean
}

const EXAMPLES = `
A problem is told once when it begins, and once when it is over: failing, stuck, starved
(due for two intervals without a start), no-progress (runs succeed, but chunks are not
dropped or compressed, or buckets not refreshed), unreachable.

Examples:
  tsdb watch
  tsdb watch --json --interval 60000
  tsdb watch --csv >> problems.csv
  tsdb watch --webhook https://example.org/hook`

/** `tsdb watch`: says when a job is in trouble. */
export function addWatch(command: Command): void {
  command
    .option('--interval <ms>', 'the time between two looks', '30000')
    .option('--webhook <url>', 'post each event there as JSON, too')
    .option('--once', 'look once; the exit code is 1 where something is wrong')
    .addOption(new Option('--chart', 'refused: a stream has no end').hideHelp())
    .option('--csv', 'print a line of CSV for each event, after a header')
    .addHelpText('after', EXAMPLES)
    .action(runWatch)
}

async function runWatch(flags: Flags, command: Command): Promise<void> {
  const intervalMs = /^\d+$/.test(flags.interval) ? Number(flags.interval) : Number.NaN
  const hook = flags.webhook === undefined ? undefined : new WebHook(parseUrl(flags.webhook))
  const format = formatOf(command)
  if (format === 'chart') {
    throw new UsageError('INVALID_OPTION', 'Problems that come one by one cannot be drawn.', {
      hint: 'tsdb job list --chart draws the jobs; --json and --csv print the problems.',
    })
  }
  const tell = (event: JobEvent): void => {
    process.stdout.write(WRITERS[format](event))
    hook?.post(event)
  }
  if (format === 'csv') process.stdout.write(csvLine(COLUMNS))
  await withDatabase(command, async (db, signal) => {
    if (flags.once === true) {
      const problems = await db.listJobProblems()
      for (const problem of problems) tell({ type: 'opened', at: new Date(), problem })
      if (problems.length > 0) process.exitCode = 1
      else if (format === 'text') process.stdout.write('No job is in trouble.\n')
    } else {
      await using watch = db.watchJobs({ onProblem: tell, intervalMs, signal })
      // Else a terminal stays empty as long as all is well.
      if (format === 'text' && process.stderr.isTTY) {
        process.stderr.write(
          `Looking at the jobs every ${intervalMs / 1000} s; a line comes for each problem. Ctrl-C ends.\n`,
        )
      }
      await watch.untilStopped()
    }
    await hook?.drain(signal)
  })
}

const COLUMNS = ['at', 'type', 'kind', 'jobId', 'name', 'relation', 'message', 'since']

const WRITERS: Readonly<Record<'json' | 'csv' | 'text', (event: JobEvent) => string>> = {
  json: (event) => `${JSON.stringify(event)}\n`,
  csv: ({ at, type, problem: { kind, jobId, name, relation, message, since } }) =>
    csvLine([at, type, kind, jobId, name, relation && formatObject(relation), message, since]),
  text: (event) => `${formatEvent(event)}\n`,
}

function formatEvent({ type, at, problem }: JobEvent): string {
  const { kind, name, relation, message } = problem
  const on = relation === undefined ? '' : ` on ${relation.schema}.${relation.name}`
  const head =
    type === 'opened' ? paint(process.stdout, 'red', kind) : paint(process.stdout, 'cyan', `no longer ${kind}`)
  return `${at.toISOString()} ${head}: ${name}${on}${type === 'opened' ? `: ${message}` : ''}`
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  // Not the text: it may hold a secret.
  throw new UsageError('INVALID_OPTION', '--webhook must be a URL that begins with http:// or https://.')
}
