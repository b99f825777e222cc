import { type Capabilities, can, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { type ChunkReference, getChunkState } from '../catalog/chunk.ts'
import { isCompressible } from '../catalog/compression.ts'
import type { RelationName } from '../catalog/relation.ts'
import type { QueryOptions, Session } from '../connection/session.ts'
import { QueryError } from '../errors.ts'
import { callFunction, callProcedure } from '../sql/call.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { withHint } from './hint.ts'
import { regclass } from './policy.ts'

/** How one chunk is compressed. */
export interface CompressChunkOptions {
  /** Compresses a compressed chunk once more, which brings it to the table's present settings. From 2.18 on. */
  readonly recompress?: boolean
  readonly signal?: AbortSignal
}

const COMPRESS_KEYS = Object.keys({ recompress: true, signal: true } satisfies Record<keyof CompressChunkOptions, true>)

/** What {@link compressChunk} did. */
export interface CompressChunkResult {
  readonly chunk: RelationName
  /** False where the chunk was compressed already, with nothing waiting beside it. */
  readonly compressed: boolean
}

/** What {@link decompressChunk} did. */
export interface DecompressChunkResult {
  readonly chunk: RelationName
  /** False where the chunk was not compressed. */
  readonly decompressed: boolean
}

/** The statement of {@link compressChunk}. @throws UnsupportedError EDITION_REQUIRED, VERSION_REQUIRED */
export function compressChunkSql(
  capabilities: Capabilities,
  chunk: ObjectName,
  options: CompressChunkOptions = {},
): Sql {
  checkKeys(options, COMPRESS_KEYS, 'compressChunk')
  requireFeature(capabilities, 'compression')
  const recompress = options.recompress === undefined ? undefined : sql.literal(options.recompress)
  if (can(capabilities, 'columnstore')) {
    return callProcedure('convert_to_columnstore', [regclass(chunk)], {
      if_not_columnstore: sql.literal(true),
      recompress,
    })
  }
  if (options.recompress === true) requireFeature(capabilities, 'columnstore')
  return callFunction('compress_chunk', [regclass(chunk)], { if_not_compressed: sql.literal(true) })
}

/** The statement of {@link decompressChunk}. @throws UnsupportedError EDITION_REQUIRED */
export function decompressChunkSql(capabilities: Capabilities, chunk: ObjectName): Sql {
  requireFeature(capabilities, 'compression')
  return can(capabilities, 'columnstore')
    ? callProcedure('convert_to_rowstore', [regclass(chunk)], { if_columnstore: sql.literal(true) })
    : callFunction('decompress_chunk', [regclass(chunk)], { if_compressed: sql.literal(true) })
}

/**
 * Compresses one chunk now. Rows that were added to a compressed chunk are compressed too; one that the server cannot
 * put in order is made anew. Compression must be enabled on its table.
 * @throws QueryError NOT_FOUND where there is no such chunk.
 */
export async function compressChunk(
  session: Session,
  chunk: ChunkReference,
  options: CompressChunkOptions = {},
): Promise<CompressChunkResult> {
  checkKeys(options, COMPRESS_KEYS, 'compressChunk')
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'compression')
  const state = await getChunkState(session, chunk)
  const name = { schema: state.schema, name: state.name }
  if (state.isCompressed && !state.needsRecompression && options.recompress !== true) {
    return { chunk: name, compressed: false }
  }
  if (state.needsRebuild) await rebuildChunk(session, name, options.signal)
  else await runCompression(session, name, compressChunkSql(capabilities, name, options), options.signal)
  return { chunk: name, compressed: true }
}

/**
 * Puts the rows of one chunk back into a plain table.
 * @throws QueryError NOT_FOUND where there is no such chunk.
 */
export async function decompressChunk(
  session: Session,
  chunk: ChunkReference,
  options: { readonly signal?: AbortSignal } = {},
): Promise<DecompressChunkResult> {
  checkKeys(options, ['signal'], 'decompressChunk')
  const capabilities = await readCapabilities(session)
  requireFeature(capabilities, 'compression')
  const state = await getChunkState(session, chunk)
  const name = { schema: state.schema, name: state.name }
  if (!state.isCompressed) return { chunk: name, decompressed: false }
  await session.query(decompressChunkSql(capabilities, name), toQueryOptions(options.signal))
  return { chunk: name, decompressed: true }
}

/**
 * Decompresses a chunk and compresses it again, both or nothing. Where rows lie beside batches that are not in order, the
 * server (2.23, its policy too) takes them in segment by segment, sorts nothing else, and says that all is in order:
 * queries then answer wrongly. Only making the chunk anew helps.
 */
export async function rebuildChunk(session: Session, chunk: RelationName, signal?: AbortSignal): Promise<void> {
  await session.transaction(async (tx) => {
    await tx.query(callFunction('decompress_chunk', [regclass(chunk)]), toQueryOptions(signal))
    await tx.query(callFunction('compress_chunk', [regclass(chunk)]), toQueryOptions(signal))
  })
}

/** Runs a statement on one chunk; a refusal because compression is not enabled says how to enable it. */
export async function runCompression(
  session: Session,
  chunk: RelationName,
  statement: Sql,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await session.query(statement, toQueryOptions(signal))
  } catch (error) {
    // Feature not supported: one of several reasons. A transaction that failed answers no question.
    if (!(error instanceof QueryError) || error.sqlState !== '0A000' || session.inTransaction) throw error
    if (await isCompressible(session, chunk)) throw error
    throw withHint(error, 'Enable it with enableCompression or addCompressionPolicy.')
  }
}

function toQueryOptions(signal: AbortSignal | undefined): QueryOptions {
  return signal === undefined ? {} : { signal }
}
