import { can, readCapabilities } from '../../catalog/capabilities.ts'
import { listPolicies } from '../../catalog/job.ts'
import { listUnorderedChunks } from '../../catalog/load-target.ts'
import type { RelationName } from '../../catalog/relation.ts'
import type { Session } from '../../connection/session.ts'
import { UnsupportedError } from '../../errors.ts'
import { rebuildChunk } from '../../objects/chunk.ts'
import { callFunction, callProcedure } from '../../sql/call.ts'
import { formatName } from '../../sql/identifier.ts'
import { invalidOption } from '../../sql/option.ts'
import { type Sql, sql } from '../../sql/template.ts'
import type { LoadReport } from '../load-option.ts'

/** Puts a chunk back into a plain table, until {@link recompress}. */
export function decompressSql(chunk: RelationName): Sql {
  return callFunction('decompress_chunk', [regclass(chunk)])
}

/**
 * Puts the rows of unordered chunks in order, and compresses those chunks again that were decompressed.
 * @param all - also chunks that a compression policy would put in order just so
 * @param onChunk - called after each
 */
export async function recompress(
  session: Session,
  table: RelationName,
  decompressed: readonly RelationName[],
  all: boolean,
  onChunk: () => void,
): Promise<void> {
  const columnstore = can(await readCapabilities(session), 'columnstore')
  const unordered = (await listUnorderedChunks(session, table)).filter(({ partial }) => all || partial)
  for (const chunk of unordered) {
    const again = columnstore
      ? callProcedure('convert_to_columnstore', [regclass(chunk)], { recompress: sql.literal(true) })
      : callFunction('compress_chunk', [regclass(chunk), sql.literal(true)])
    if (chunk.partial) await rebuildChunk(session, chunk)
    else await session.query(again)
    onChunk()
  }
  for (const chunk of decompressed) {
    // A compression policy may have been faster, or a retention policy.
    const { rows } = await session.query(sql`
      select compress_chunk(c, true) from to_regclass(${formatName(chunk)}) c
      where _timescaledb_functions.chunk_status(c) & 1 = 0`)
    if (rows.length > 0) onChunk()
  }
}

/** The compression policy to which chunks are left. @throws UsageError INVALID_OPTION where there is none */
export async function policyOf(session: Session, table: RelationName): Promise<LoadReport['recompressPolicy']> {
  const relation = { ...table, kind: 'hypertable', storage: table } as const
  const policies = await listPolicies(session, relation).catch((error: unknown) => {
    if (error instanceof UnsupportedError) return []
    throw error
  })
  const policy = policies.find(({ kind }) => kind === 'compression')
  if (policy !== undefined) return { jobId: policy.jobId, scheduleInterval: policy.scheduleInterval }
  throw invalidOption(
    `recompress 'policy': ${formatName(table)} has no compression policy.`,
    "Add one with addCompressionPolicy, or leave recompress at 'end'.",
  )
}

function regclass(chunk: RelationName): Sql {
  return sql`${formatName(chunk)}::regclass`
}
