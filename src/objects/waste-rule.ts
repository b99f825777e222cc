/** Policies that waste work or space. */
import { getChunkInfo } from '../catalog/chunk.ts'
import { isIntegerTime } from '../catalog/dimension.ts'
import { counted } from '../sql/counted.ts'
import { formatName } from '../sql/identifier.ts'
import { toInternalRange } from './kept-history.ts'
import { alterConfigSql, describeLength, describeTime, type PolicyFinding, type RuleContext } from './policy-finding.ts'
import {
  configSpan,
  DAY,
  roundUp,
  spanLengthAtLeast,
  spanLengthAtMost,
  toConfigSpan,
  toOptionSpan,
} from './policy-tree.ts'
import { addRetentionPolicySql } from './retention.ts'

/** The rules about one relation's compression and growth. */
export async function findWaste(context: RuleContext): Promise<PolicyFinding[]> {
  const { node } = context
  if (node.aggregate === undefined && node.policies.every(({ kind }) => kind === 'reorder')) return findGrowth(context)
  const after = node.compression === undefined ? undefined : configSpan(node.compression, 'compress_after')
  if (node.compression === undefined || after === undefined) return []
  const drop = node.retention === undefined ? undefined : configSpan(node.retention, 'drop_after')
  if (drop !== undefined && spanLengthAtLeast(after) >= spanLengthAtMost(drop))
    return [await tooLate(context, after, drop)]
  return [...(await findRewritten(context, after)), ...(await findLate(context, after, drop))]
}

async function tooLate(
  { session, capabilities, node }: RuleContext,
  after: string,
  drop: string,
): Promise<PolicyFinding> {
  const chunks = await getChunkInfo(session, node.relation)
  const bytes = chunks.reduce((sum, { totalBytes }) => sum + totalBytes, 0)
  const half = spanLengthAtLeast(drop) / 2n
  return {
    rule: 'compression-after-retention',
    severity: 'waste',
    relation: node.relation,
    jobId: node.compression?.jobId,
    reason: `Chunks of ${formatName(node.relation)} are compressed after ${after}, but dropped after ${drop}: none is ever compressed.`,
    evidence: `${chunks.filter(({ isCompressed }) => !isCompressed).length} of its ${counted(chunks.length, 'chunk')} are not compressed, ${bytes} bytes in all.`,
    fix: alterPolicy({ session, capabilities, node }, { compress_after: toConfigSpan(node.columnType, half) }),
  }
}

function alterPolicy(
  { capabilities, node }: RuleContext,
  changes: Readonly<Record<string, string | number>>,
): PolicyFinding['fix'] {
  if (node.compression === undefined) throw new TypeError('There is no compression policy.')
  return alterConfigSql(capabilities, node.compression, changes)
}

/** An aggregate's own compression within its refresh window: each refresh unpacks what the policy packs again. */
async function findRewritten(context: RuleContext, after: string): Promise<PolicyFinding[]> {
  const { session, capabilities, node } = context
  const findings: PolicyFinding[] = []
  for (const refresh of node.refreshes) {
    const start = configSpan(refresh, 'start_offset')
    if (start !== undefined && spanLengthAtLeast(after) >= spanLengthAtMost(start)) continue
    const chunks = await getChunkInfo(session, node.relation, { compressed: true })
    const needed = start === undefined ? undefined : spanLengthAtMost(start)
    findings.push({
      rule: 'compression-in-refresh-window',
      severity: 'waste',
      relation: node.relation,
      jobId: node.compression?.jobId,
      reason: `Chunks of ${formatName(node.relation)} are compressed after ${after}, but refreshed ${start === undefined ? 'from the beginning' : `back to ${start}`}: refreshes write into compressed chunks, which are then compressed again.`,
      evidence: `${chunks.filter(({ needsRecompression }) => needsRecompression).length} of its ${chunks.length} compressed chunks wait to be compressed again.`,
      fix:
        needed === undefined
          ? alterConfigSql(capabilities, refresh, {
              start_offset: isIntegerTime(node.columnType) ? Number(after) : after,
            })
          : alterPolicy(context, { compress_after: toConfigSpan(node.columnType, roundUp(node.columnType, needed)) }),
    })
  }
  return findings
}

/** Rows that come after their chunk was compressed. */
async function findLate(context: RuleContext, after: string, drop: string | undefined): Promise<PolicyFinding[]> {
  const { session, node } = context
  if (node.aggregate !== undefined || node.now === undefined) return []
  const chunks = await getChunkInfo(session, node.relation, { compressed: true })
  const late = chunks.filter(({ needsRecompression }) => needsRecompression).map(toInternalRange)
  const oldest = late.at(-1)
  if (oldest === undefined) return []
  const wanted = roundUp(node.columnType, node.now - oldest.low)
  const most = drop === undefined ? undefined : spanLengthAtLeast(drop) - node.chunkLength
  const length = most === undefined || wanted < most ? wanted : most
  if (length <= spanLengthAtMost(after)) return []
  return [
    {
      rule: 'compression-of-late-data',
      severity: 'waste',
      relation: node.relation,
      jobId: node.compression?.jobId,
      reason: `Rows of ${formatName(node.relation)} still arrive when their chunk is compressed, after ${after}: the chunk is compressed again each time.`,
      evidence: `${late.length} of its ${chunks.length} compressed chunks, from ${describeTime(node.columnType, oldest.low)} on, have taken rows since and wait to be compressed again.`,
      fix: alterPolicy(context, { compress_after: toConfigSpan(node.columnType, length) }),
    },
  ]
}

/** A hypertable that grows, and that no policy keeps small. */
async function findGrowth({ session, capabilities, node }: RuleContext): Promise<PolicyFinding[]> {
  const chunks = await getChunkInfo(session, node.relation)
  const [newest, oldest] = [chunks[0], chunks.at(-1)].map((chunk) =>
    chunk === undefined ? undefined : toInternalRange(chunk),
  )
  if (newest === undefined || oldest === undefined || chunks.length < 2) return []
  // Loaded once, and not written since.
  if (node.now !== undefined && newest.high < node.now - 10n * node.chunkLength) return []
  const bytes = chunks.reduce((sum, { totalBytes }) => sum + totalBytes, 0)
  const age = node.now === undefined ? newest.high - oldest.low : node.now - oldest.low
  const dropAfter = roundUp(node.columnType, 2n * (age > node.chunkLength ? age : node.chunkLength))
  const perYear = isIntegerTime(node.columnType)
    ? ''
    : `, ${Number(((bytes * 365) / Math.max(1, Number(age) / Number(DAY))).toPrecision(2))} in a year`
  return [
    {
      rule: 'unbounded-growth',
      severity: 'waste',
      relation: node.relation,
      jobId: undefined,
      reason: `${formatName(node.relation)} has neither a retention nor a compression policy: it grows without bound.`,
      evidence: `${counted(chunks.length, 'chunk')} of ${describeLength(node.columnType, age)}, ${bytes} bytes${perYear}.`,
      fix: addRetentionPolicySql(
        capabilities,
        node.relation,
        node.now === undefined
          ? { dropCreatedBefore: '1 year' }
          : { dropAfter: toOptionSpan(node.columnType, dropAfter) },
      ),
    },
  ]
}
