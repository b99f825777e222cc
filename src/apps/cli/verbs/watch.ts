import type { Command } from 'commander'
import { type JobEvent, UsageError } from '../../../index.ts'
import { paint } from '../color.ts'
import { type GlobalOptions, withDatabase } from '../open.ts'
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
  tsdb watch --webhook https://example.org/hook`

/** `tsdb watch`: says when a job is in trouble. */
export function addWatch(command: Command): void {
  command
    .option('--interval <ms>', 'the time between two looks', '30000')
    .option('--webhook <url>', 'post each event there as JSON, too')
    .option('--once', 'look once; the exit code is 1 where something is wrong')
    .addHelpText('after', EXAMPLES)
    .action(runWatch)
}

async function runWatch(flags: Flags, command: Command): Promise<void> {
  const intervalMs = /^\d+$/.test(flags.interval) ? Number(flags.interval) : Number.NaN
  const hook = flags.webhook === undefined ? undefined : new WebHook(parseUrl(flags.webhook))
  const isJson = command.optsWithGlobals<GlobalOptions>().json === true
  const tell = (event: JobEvent): void => {
    process.stdout.write(`${isJson ? JSON.stringify(event) : formatEvent(event)}\n`)
    hook?.post(event)
  }
  await withDatabase(command, async (db, signal) => {
    if (flags.once === true) {
      const problems = await db.listJobProblems()
      for (const problem of problems) tell({ type: 'opened', at: new Date(), problem })
      if (problems.length > 0) process.exitCode = 1
    } else {
      await using watch = db.watchJobs({ onProblem: tell, intervalMs, signal })
      await watch.untilStopped()
    }
    await hook?.drain(signal)
  })
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
