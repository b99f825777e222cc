import { readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { type ChunkFilter, getChunkInfo, getChunkState } from '../catalog/chunk.ts'
import type { RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { sql } from '../sql/template.ts'
import { compressChunkSql, decompressChunkSql, rebuildChunk, runCompression } from './chunk.ts'

/** How far a call over many chunks is. */
export interface ChunkProgress {
  /** The chunk that was finished. */
  readonly chunk: RelationName
  /** `'unchanged'`: somebody else did it since the chunks were listed; `'gone'`: the chunk was dropped since then. */
  readonly outcome: 'changed' | 'unchanged' | 'gone'
  readonly done: number
  readonly total: number
}

/** Which chunks, and what to do meanwhile. */
export interface ChunkRangeOptions extends Pick<ChunkFilter, 'olderThan' | 'newerThan' | 'signal'> {
  readonly onProgress?: (progress: ChunkProgress) => void
}

const RANGE_KEYS = Object.keys({
  olderThan: true,
  newerThan: true,
  signal: true,
  onProgress: true,
} satisfies Record<keyof ChunkRangeOptions, true>)

/**
 * Compresses the chunks of a range that need it, oldest first, each in a statement of its own: what is done stays done
 * when the call fails or is cancelled. A chunk that a policy or somebody else drops or compresses meanwhile is passed over,
 * and `onProgress` told so.
 * @returns the chunks that were compressed.
 * @throws QueryError QUERY_CANCELLED, NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function compressChunks(
  session: Session,
  name: ObjectName,
  options: ChunkRangeOptions = {},
): Promise<RelationName[]> {
  checkKeys(options, RANGE_KEYS, 'compressChunks')
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'compression')
  const chunks = await getChunkInfo(session, name, toFilter(options))
  const wanted = chunks.filter((chunk) => !chunk.isCompressed || chunk.needsRecompression)
  return forEachChunk(session, wanted, options, async (chunk) => {
    const { isCompressed, needsRecompression, needsRebuild } = await getChunkState(session, chunk)
    if (isCompressed && !needsRecompression) return false
    if (needsRebuild) await rebuildChunk(session, chunk, options.signal)
    else await runCompression(session, chunk, compressChunkSql(capabilities, chunk), options.signal)
    return true
  })
}

/**
 * Decompresses the compressed chunks of a range, oldest first, each in a statement of its own. Chunks that others drop or
 * decompress meanwhile are passed over, as by {@link compressChunks}.
 * @returns the chunks that were decompressed.
 * @throws QueryError QUERY_CANCELLED, NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function decompressChunks(
  session: Session,
  name: ObjectName,
  options: ChunkRangeOptions = {},
): Promise<RelationName[]> {
  checkKeys(options, RANGE_KEYS, 'decompressChunks')
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'compression')
  const chunks = await getChunkInfo(session, name, { ...toFilter(options), compressed: true })
  return forEachChunk(session, chunks, options, async (chunk) => {
    if (!(await getChunkState(session, chunk)).isCompressed) return false
    await runCompression(session, chunk, decompressChunkSql(capabilities, chunk), options.signal)
    return true
  })
}

/** Runs it for each chunk, oldest first; false says that there was nothing to do. */
async function forEachChunk(
  session: Session,
  chunks: readonly { readonly chunkSchema: string; readonly chunkName: string }[],
  options: ChunkRangeOptions,
  run: (chunk: RelationName) => Promise<boolean>,
): Promise<RelationName[]> {
  const oldestFirst = chunks.map(({ chunkSchema, chunkName }) => ({ schema: chunkSchema, name: chunkName })).reverse()
  const changed: RelationName[] = []
  for (const [index, chunk] of oldestFirst.entries()) {
    const outcome = await runUnlessGone(session, chunk, run)
    if (outcome === 'changed') changed.push(chunk)
    options.onProgress?.({ chunk, outcome, done: index + 1, total: oldestFirst.length })
  }
  return changed
}

async function runUnlessGone(
  session: Session,
  chunk: RelationName,
  run: (chunk: RelationName) => Promise<boolean>,
): Promise<ChunkProgress['outcome']> {
  try {
    return (await run(chunk)) ? 'changed' : 'unchanged'
  } catch (error) {
    // What a statement on a dropped chunk fails with depends on how far it was. A transaction that failed answers nothing.
    if (!(error instanceof QueryError) || error.code === 'QUERY_CANCELLED') throw error
    if (error.code === 'NOT_FOUND' && error.cause === undefined) return 'gone'
    if (session.inTransaction || (await chunkExists(session, chunk))) throw error
    return 'gone'
  }
}

async function chunkExists(session: Session, { schema, name }: RelationName): Promise<boolean> {
  const { rows } = await session.query(sql`
    select from timescaledb_information.chunks where chunk_schema = ${schema} and chunk_name = ${name}`)
  return rows.length > 0
}

function toFilter({ olderThan, newerThan, signal }: ChunkRangeOptions): ChunkFilter {
  return {
    ...(olderThan === undefined ? {} : { olderThan }),
    ...(newerThan === undefined ? {} : { newerThan }),
    ...(signal === undefined ? {} : { signal }),
  }
}
