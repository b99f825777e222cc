import type { Command } from 'commander'
import {
  type PolicyKind,
  type PolicyPreview,
  type PolicyReference,
  type TimeInput,
  UsageError,
} from '../../../index.ts'
import { given, parseTime } from '../argument.ts'
import { withDatabase } from '../open.ts'
import {
  addFormats,
  formatBytes,
  formatCell,
  formatCount,
  formatObject,
  formatOf,
  printFields,
  printRows,
} from '../output.ts'

interface PreviewFlags {
  readonly at?: TimeInput
  readonly estimate?: boolean
}

const KINDS: readonly PolicyKind[] = ['retention', 'compression', 'refresh', 'reorder']

/** `tsdb policy preview`: what the next run of a policy would do. */
export function addPreview(policy: Command): void {
  const command = policy
    .command('preview')
    .description('what the next run of a policy would do, and what history is gone afterwards')
    .argument('<job-or-kind>', `the job's id, or ${KINDS.join(', ')}`)
    .argument('[name]', 'with a kind: the hypertable or continuous aggregate')
    .option('--at <time>', 'when it runs (default: its next start)', parseTime)
    .option('--estimate', 'estimate rows instead of counting them')
    .addHelpText(
      'after',
      '\nExamples:\n  tsdb policy preview retention sensor_data\n  tsdb policy preview 1001 --at now() --json',
    )
    .action((policy: string, name: string | undefined, flags: PreviewFlags, command: Command) => {
      const reference = parseReference(policy, name)
      const options = given({ at: flags.at, rows: flags.estimate === true ? ('estimate' as const) : undefined })
      return withDatabase(command, async (db) => printPreview(command, await db.previewPolicy(reference, options)))
    })
  addFormats(command)
}

function parseReference(text: string, name: string | undefined): PolicyReference {
  const kind = KINDS.find((one) => one === text)
  if (kind !== undefined && name !== undefined) return { table: name, kind }
  if (/^\d+$/.test(text) && name === undefined) return Number(text)
  throw new UsageError('INVALID_OPTION', `Give the id of a job, or one of ${KINDS.join(', ')} and a name.`, {
    hint: 'tsdb policy list shows all.',
  })
}

const COLUMNS = ['chunk', 'rangeStart', 'rangeEnd', 'rows', 'totalBytes', 'isCompressed']
const VERBS = { retention: 'drop', compression: 'compress', refresh: 'read', reorder: 'reorder' } as const

function printPreview(command: Command, preview: PolicyPreview): void {
  const chunks = preview.chunks.map(({ chunkSchema, chunkName, ...rest }) => ({
    chunk: formatObject({ schema: chunkSchema, name: chunkName }),
    ...rest,
  }))
  const format = formatOf(command)
  const drawn = { x: 'rangeStart', y: 'totalBytes' }
  if (format === 'csv' || format === 'chart') {
    printRows(command, COLUMNS, chunks, drawn)
    return
  }
  const { refresh, history } = preview
  printFields(command, preview, [
    ['job', `${preview.jobId}, ${preview.kind} of ${formatObject(preview.relation)}`],
    ['run', `${preview.at.toISOString()}${preview.scheduled ? '' : ' (paused: only by hand)'}`],
    ...(refresh === undefined ? [] : refreshFields(refresh)),
    [`would ${VERBS[preview.kind]}`, `${formatCount(chunks.length, 'chunk')}, ${formatBytes(preview.bytes)}`],
    ['rows', preview.rows],
    ...history.map((kept): [string, string] => [`kept by ${formatObject(kept)}`, formatKept(kept)]),
    ...(preview.kind === 'retention' && history.length === 0 && chunks.length > 0
      ? [['history', 'no continuous aggregate keeps any of it'] as const]
      : []),
  ])
  if (format === 'text' && chunks.length > 0) printRows(command, COLUMNS, chunks)
}

function refreshFields(refresh: NonNullable<PolicyPreview['refresh']>): [string, string][] {
  const ranges = refresh.ranges.map(({ start, end }) => `${formatCell(start)} – ${formatCell(end)}`)
  const lost = refresh.bucketsLost === 0 ? '' : `, and lose ${refresh.bucketsLost} whose rows were dropped`
  return [
    ['window', `${formatCell(refresh.windowStart) || 'open'} – ${formatCell(refresh.windowEnd) || 'open'}`],
    ['would refresh', ranges.join('; ') || 'nothing'],
    ['buckets', `${refresh.buckets}${lost}`],
  ]
}

function formatKept({ buckets, missing }: PolicyPreview['history'][number]): string {
  const ranges = missing.map(({ start, end }) => `${formatCell(start)} – ${formatCell(end)}`).join('; ')
  return `${formatCount(buckets, 'bucket')}${ranges === '' ? '' : `, but not what has changed in ${ranges}`}`
}
