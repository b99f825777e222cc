import type { Command } from 'commander'
import {
  deleteJobSql,
  type Job,
  type JobFilter,
  type JobProgress,
  type MaintenanceJob,
  QueryError,
  runJobSql,
  UsageError,
} from '../../../index.ts'
import { collectList, given, JOB_ARGUMENT, parseJob } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withElapsed } from '../elapsed.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatObject, printFields, printResult, printRows } from '../output.ts'
import { addDryRun, printScript } from '../script.ts'
import { addJobAlter, addJobSwitch } from './job-alter.ts'
import { addJobErrors, addJobHistory } from './job-history.ts'

/** `tsdb job …` */
export function addJob(job: Command): void {
  addList(job)
  addShow(job)
  addRun(job)
  addJobHistory(job)
  addJobErrors(job)
  addJobAlter(job)
  addJobSwitch(job, 'enable')
  addJobSwitch(job, 'disable')
  addDelete(job)
}

interface ListOptions {
  readonly kind?: string[]
  readonly relation?: string
  readonly scheduled?: boolean
  readonly paused?: boolean
}

const COLUMNS = [
  'jobId',
  'kind',
  'relation',
  'procedure',
  'schedule',
  'status',
  'nextStart',
  'lastOutcome',
  'lastDurationMs',
  'totalRuns',
  'totalFailures',
]

function addList(job: Command): void {
  const command = job
    .command('list')
    .description("all jobs, and the embedded engine's own maintenance")
    .option('--kind <kinds>', 'retention, compression, refresh, reorder, action, internal, maintenance', collectList)
    .option('--relation <name>', 'only the policies of this hypertable or continuous aggregate')
    .option('--scheduled', 'only those that are not paused')
    .option('--paused', 'only paused ones')
    .addHelpText('after', '\nExamples:\n  tsdb job list --kind retention,compression\n  tsdb job list --paused --json')
    .action((options: ListOptions, command: Command) => {
      const { relation, scheduled, paused } = options
      if (scheduled === true && paused === true) {
        throw new UsageError('INVALID_OPTION', 'Give either --scheduled or --paused.')
      }
      const wanted = scheduled === true ? true : paused === true ? false : undefined
      const filter: JobFilter = given({ relation, scheduled: wanted, kind: options.kind?.map(toKind) })
      return withDatabase(command, async (db) => {
        printRows(command, COLUMNS, (await db.listJobs(filter)).map(toRow), { x: 'name', y: 'totalRuns' })
      })
    })
  addFormats(command)
}

type Kind = Job['kind'] | MaintenanceJob['kind']

const KINDS: readonly Kind[] = ['retention', 'compression', 'refresh', 'reorder', 'action', 'internal', 'maintenance']

function toKind(text: string): Kind {
  const kind = KINDS.find((one) => one === text)
  if (kind !== undefined) return kind
  throw new UsageError('INVALID_OPTION', `There is no kind of job ${JSON.stringify(text)}.`, {
    hint: `Known are ${KINDS.join(', ')}.`,
  })
}

function toRow(job: Job | MaintenanceJob): Readonly<Record<string, unknown>> {
  if (job.kind === 'maintenance') return { ...job, procedure: job.name, schedule: job.trigger, status: 'scheduled' }
  const { relation, procedure } = job
  return {
    ...job,
    relation: relation === undefined ? undefined : formatObject(relation),
    procedure: formatObject(procedure),
    schedule: `every ${job.scheduleInterval}`,
  }
}

function addShow(job: Command): void {
  const command = job
    .command('show')
    .description('schedule, configuration and statistics of a job')
    .argument('<job>', JOB_ARGUMENT, parseJob)
    .action((id: number, _options: object, command: Command) =>
      withDatabase(command, async (db) => printJob(command, await db.getJob(id))),
    )
  addFormats(command)
}

function printJob(command: Command, job: Job): void {
  const { relation, timezone } = job
  printFields(command, job, [
    ['job', `${job.jobId}, ${job.kind}`],
    ['name', job.name],
    ['calls', `${formatObject(job.procedure)} as ${job.owner}`],
    ['on', relation === undefined ? '(none)' : formatObject(relation)],
    ['schedule', `every ${job.scheduleInterval}${job.fixedSchedule ? ', fixed' : ', from the end of the last run'}`],
    ['  first run', job.initialStart ?? 'not said'],
    ['  time zone', timezone ?? 'not said'],
    ['max runtime', job.maxRuntime],
    ['retries', `${job.maxRetries === -1 ? 'without end' : job.maxRetries}, after ${job.retryPeriod}`],
    ['configuration', job.config],
    ['status', job.status],
    ['next start', job.nextStart ?? '(none)'],
    ['last run', job.lastStart === undefined ? '(none)' : formatLast(job)],
    ['runs', `${job.totalRuns}, ${job.totalFailures} failed`],
  ])
}

function formatLast({ lastStart, lastOutcome, lastDurationMs }: Job): string {
  const ended = lastOutcome === undefined ? 'not ended' : `${lastOutcome} after ${formatMs(lastDurationMs ?? 0)}`
  return `${lastStart?.toISOString()}, ${ended}`
}

function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

function addRun(job: Command): void {
  const command = job
    .command('run')
    .description('run a job now and wait for its end; its schedule stays')
    .argument('<job>', JOB_ARGUMENT, parseJob)
    .addHelpText('after', '\nA job that fails gives exit code 1.\n\nExamples:\n  tsdb job run 1000')
    .action((id: number, options: { readonly dryRun?: boolean }, command: Command) =>
      withDatabase(command, async (db, signal) => {
        if (options.dryRun === true) return printScript(command, [runJobSql(await db.capabilities(), id)])
        const result = await withElapsed(`Job ${id} runs`, (tell) => {
          const onProgress = ({ batch, batches }: JobProgress) => tell?.(`batch ${batch} of ${batches}`)
          return db.runJob(id, tell === undefined ? { signal } : { signal, onProgress })
        })
        const { outcome, durationMs, error } = result
        const ended = outcome === 'success' ? 'succeeded' : 'failed'
        printResult(command, result, `Job ${id} ${ended} after ${formatMs(durationMs)}.`)
        if (error === undefined) return
        const { sqlState = '', message, detail, hint, context } = error
        throw new QueryError('QUERY_FAILED', `Job ${id} failed with ${sqlState}: ${message}`, {
          sqlState,
          hint,
          detail: [detail, context].filter((text) => text !== undefined).join('\n') || undefined,
        })
      }),
    )
  addDryRun(command)
}

interface DeleteOptions {
  readonly ifExists?: boolean
  readonly dryRun?: boolean
}

function addDelete(job: Command): void {
  const command = job
    .command('delete')
    .description("remove a job, also a policy's, with what was kept of its runs")
    .argument('<job>', JOB_ARGUMENT, parseJob)
    .option('--if-exists', 'no error where there is none')
    .addHelpText('after', '\nExamples:\n  tsdb job delete 1000 --dry-run\n  tsdb job delete 1000 --yes')
    .action((id: number, { dryRun, ifExists }: DeleteOptions, command: Command) =>
      withDatabase(command, async (db, signal) => {
        if (dryRun === true) return printScript(command, [deleteJobSql(await db.capabilities(), id)])
        await confirm(command, `Delete job ${id}?`, signal)
        const result = await db.deleteJob(id, given({ ifExists }))
        printResult(command, result, result.removed ? `Deleted job ${id}.` : `There is no job ${id}.`)
      }),
    )
  addYes(addDryRun(command))
}
