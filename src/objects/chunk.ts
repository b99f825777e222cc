import { type Capabilities, can, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { type ChunkFilter, type ChunkReference, getChunkInfo, getChunkState } from '../catalog/chunk.ts'
import { isCompressible } from '../catalog/compression.ts'
import { listDimensions, timeTypeOf } from '../catalog/dimension.ts'
import { getTimeRelation, type RelationName } from '../catalog/relation.ts'
import type { QueryOptions, Session } from '../connection/session.ts'
import { QueryError, UsageError } from '../errors.ts'
import { callFunction, callProcedure } from '../sql/call.ts'
import { type ObjectName, parseName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import { type Sql, sql } from '../sql/template.ts'
import { compareTimes, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
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
async function runCompression(
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

function toQueryOptions(signal: AbortSignal | undefined): QueryOptions {
  return signal === undefined ? {} : { signal }
}

/** Which chunks are dropped; at least one bound must be given. */
export interface DropChunksOptions {
  /** Only chunks that end at or before this time. */
  readonly olderThan?: TimeInput
  /** Only chunks that start at or after this time. */
  readonly newerThan?: TimeInput
  /** Only chunks made before this time, whatever times they hold. Not together with the bounds above. */
  readonly createdBefore?: TimeInput
  /** Only chunks made after this time. */
  readonly createdAfter?: TimeInput
  readonly signal?: AbortSignal
}

const DROP_KEYS = Object.keys({
  olderThan: true,
  newerThan: true,
  createdBefore: true,
  createdAfter: true,
  signal: true,
} satisfies Record<keyof DropChunksOptions, true>)

/**
 * The statement of {@link dropChunks}. `timeType` is the type of the time column, without which it is taken to be
 * timestamptz, or bigint where a bound is a number.
 * @throws UnsupportedError EXTENSION_MISSING; UsageError INVALID_OPTION, INVALID_TIME
 */
export function dropChunksSql(
  capabilities: Capabilities,
  name: ObjectName,
  options: DropChunksOptions & { readonly timeType?: TimeType },
): Sql {
  checkKeys(options, [...DROP_KEYS, 'timeType'], 'dropChunks')
  checkBounds(options)
  requireFeature(capabilities, 'hypertable')
  const { olderThan, newerThan, createdBefore, createdAfter } = options
  const isNumber = [olderThan, newerThan].some((time) => typeof time === 'number' || typeof time === 'bigint')
  const type = options.timeType ?? (isNumber ? 'bigint' : 'timestamptz')
  const bound = (time: TimeInput | undefined, timeType: TimeType): Sql | undefined =>
    time === undefined ? undefined : timeSql(time, timeType)
  return callFunction('drop_chunks', [regclass(name)], {
    older_than: bound(olderThan, type),
    newer_than: bound(newerThan, type),
    created_before: bound(createdBefore, 'timestamptz'),
    created_after: bound(createdAfter, 'timestamptz'),
  })
}

/**
 * Drops the chunks of a hypertable or continuous aggregate that lie within the bounds, with their rows, at once. Rows of
 * chunks that reach over a bound stay. Continuous aggregates keep what they have materialized from them.
 * @returns the chunks that were dropped.
 * @throws UsageError INVALID_OPTION without any bound, INVALID_TIME; QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function dropChunks(
  session: Session,
  name: ObjectName,
  options: DropChunksOptions,
): Promise<RelationName[]> {
  checkKeys(options, DROP_KEYS, 'dropChunks')
  checkBounds(options)
  const capabilities = await readCapabilities(session)
  const relation = await getTimeRelation(session, name)
  const [time] = await listDimensions(session, relation.storage)
  const timeType = timeTypeOf(time?.columnType ?? '')
  const statement = dropChunksSql(capabilities, relation, { ...options, timeType })
  const { rows } = await session.query<{ readonly drop_chunks: string }>(statement, toQueryOptions(options.signal))
  return rows.map((row) => {
    const { schema = relation.storage.schema, name: chunk } = parseName(row.drop_chunks)
    return { schema, name: chunk }
  })
}

function checkBounds({ olderThan, newerThan, createdBefore, createdAfter }: DropChunksOptions): void {
  const byTime = olderThan !== undefined || newerThan !== undefined
  const byCreation = createdBefore !== undefined || createdAfter !== undefined
  if (byTime === byCreation) {
    throw new UsageError(
      'INVALID_OPTION',
      byTime
        ? 'dropChunks takes either olderThan and newerThan, or createdBefore and createdAfter.'
        : 'dropChunks needs olderThan, newerThan, createdBefore or createdAfter: it never drops all chunks.',
      byTime ? {} : { hint: "For all of them give olderThan: 'infinity'." },
    )
  }
  for (const [start, end] of [
    [newerThan, olderThan],
    [createdAfter, createdBefore],
  ]) {
    if (start !== undefined && end !== undefined && (compareTimes(start, end) ?? 0) > 0) {
      throw new UsageError('INVALID_TIME', 'The bounds leave no chunk: the end is before the start.')
    }
  }
}
