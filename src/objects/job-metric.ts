import { listHypertables } from '../catalog/hypertable.ts'
import { type Job, listJobs } from '../catalog/job.ts'
import { ifThere, type RelationName } from '../catalog/relation.ts'
import { readStorageSummary } from '../catalog/size.ts'
import type { Session } from '../connection/session.ts'
import { listJobProblems, readWaiting } from './job-problem.ts'
import { previewPolicy } from './policy-preview.ts'

/** One measurement. */
export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** Something that is measured, for several jobs or tables. */
export interface Metric {
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  readonly samples: readonly MetricSample[]
}

/**
 * Runs, failures and times of all jobs, what their policies owe, problems, and chunks and bytes of all hypertables.
 * @throws UnsupportedError EDITION_REQUIRED
 */
export async function jobMetrics(session: Session): Promise<Metric[]> {
  const jobs = (await listJobs(session)).flatMap((job) => (job.kind === 'maintenance' ? [] : [job]))
  const problems = await listJobProblems(session)
  const problem: Metric = {
    name: 'tsdb_job_problem',
    help: 'A job that is failing, stuck, starved or without progress; 1 for each.',
    type: 'gauge',
    samples: problems.map(({ jobId, name, kind }) => ({
      labels: { job_id: String(jobId ?? ''), name, problem: kind },
      value: 1,
    })),
  }
  return [
    ...(jobs.length === 0 ? [] : runMetrics(jobs)),
    ...(await debtMetrics(session, jobs)),
    problem,
    ...(await sizeMetrics(session)),
  ]
}

function runMetrics(jobs: readonly Job[]): Metric[] {
  const each = (name: string, type: Metric['type'], help: string, value: (job: Job) => number | undefined): Metric => ({
    name: `tsdb_job_${name}`,
    help,
    type,
    samples: jobs.flatMap((job) => {
      const number = value(job)
      return number === undefined ? [] : [{ labels: jobLabels(job), value: number }]
    }),
  })
  const seconds = (date: Date | undefined): number | undefined =>
    date === undefined ? undefined : date.getTime() / 1000
  return [
    each('runs_total', 'counter', 'Runs that were started.', (job) => job.totalRuns),
    each('successes_total', 'counter', 'Runs that succeeded.', (job) => job.totalSuccesses),
    each('failures_total', 'counter', 'Runs that failed.', (job) => job.totalFailures),
    each('scheduled', 'gauge', '0 for a job that is paused.', (job) => Number(job.scheduled)),
    each('running', 'gauge', '1 for a job that runs now.', (job) => Number(job.status === 'running')),
    each('last_success_timestamp_seconds', 'gauge', 'When its last successful run ended.', (job) =>
      seconds(job.lastSuccessfulFinish),
    ),
    each('next_start_timestamp_seconds', 'gauge', 'When it runs next.', (job) => seconds(job.nextStart)),
    each('last_duration_seconds', 'gauge', 'How long its last run took.', (job) =>
      job.lastDurationMs === undefined ? undefined : job.lastDurationMs / 1000,
    ),
  ]
}

function jobLabels({ jobId, name, kind, relation }: Job): Record<string, string> {
  return { job_id: String(jobId), name, kind, ...(relation === undefined ? {} : relationLabels(relation)) }
}

const relationLabels = ({ schema, name }: RelationName): Record<string, string> => ({ schema, table: name })

/** What a run would do now. */
async function debtMetrics(session: Session, jobs: readonly Job[]): Promise<Metric[]> {
  const chunks: MetricSample[] = []
  const lag: MetricSample[] = []
  for (const job of jobs) {
    if (job.kind === 'action' || job.kind === 'internal' || job.kind === 'reorder') continue
    const labels = jobLabels(job)
    if (job.kind !== 'refresh') {
      const preview = await ifThere(() => previewPolicy(session, job.jobId, { at: 'NOW()', rows: 'estimate' }))
      if (preview !== undefined) chunks.push({ labels, value: preview.chunks.length })
      continue
    }
    const waiting = await ifThere(() => readWaiting(session, job.jobId, 'NOW()'))
    const end = waiting?.end
    const start = waiting?.ranges[0]?.start ?? end
    if (start instanceof Date && end instanceof Date) {
      lag.push({ labels, value: Math.max(0, (end.getTime() - start.getTime()) / 1000) })
    }
  }
  return [
    {
      name: 'tsdb_policy_due_chunks',
      help: 'Chunks that a retention or compression policy would drop or compress now.',
      type: 'gauge',
      samples: chunks,
    },
    {
      name: 'tsdb_refresh_lag_seconds',
      help: 'From the oldest bucket that waits for a refresh policy to the end of its window.',
      type: 'gauge',
      samples: lag,
    },
  ]
}

async function sizeMetrics(session: Session): Promise<Metric[]> {
  const all: MetricSample[] = []
  const compressed: MetricSample[] = []
  const bytes: MetricSample[] = []
  for (const { schema, name } of await listHypertables(session)) {
    const labels = relationLabels({ schema, name })
    const summary = await ifThere(() => readStorageSummary(session, { schema, name }, false))
    if (summary === undefined) continue
    all.push({ labels, value: summary.numChunks })
    compressed.push({ labels, value: summary.compressedChunks })
    bytes.push({ labels, value: summary.totalBytes })
  }
  return [
    { name: 'tsdb_hypertable_chunks', help: 'Chunks of a hypertable.', type: 'gauge', samples: all },
    { name: 'tsdb_hypertable_compressed_chunks', help: 'Its compressed chunks.', type: 'gauge', samples: compressed },
    { name: 'tsdb_hypertable_bytes', help: 'Its size on disk with indexes.', type: 'gauge', samples: bytes },
  ]
}

/**
 * Metrics in Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), to be sent as
 * `text/plain; version=0.0.4; charset=utf-8`.
 */
export function prometheusText(metrics: readonly Metric[]): string {
  return metrics.map(formatMetric).join('')
}

function formatMetric({ name, help, type, samples }: Metric): string {
  const lines = samples.map(({ labels, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeText(text).replaceAll('"', '\\"')}"`)
    return `${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${formatValue(value)}\n`
  })
  return `# HELP ${name} ${escapeText(help)}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

const escapeText = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')

function formatValue(value: number): string {
  if (Number.isFinite(value)) return String(value)
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf'
}
