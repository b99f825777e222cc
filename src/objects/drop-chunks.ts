import { type Capabilities, readCapabilities, requireFeature } from '../catalog/capabilities.ts'
import { listDimensions, timeTypeOf } from '../catalog/dimension.ts'
import { getTimeRelation, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { UsageError } from '../errors.ts'
import { callFunction } from '../sql/call.ts'
import { type ObjectName, parseName } from '../sql/identifier.ts'
import { checkKeys } from '../sql/option.ts'
import type { Sql } from '../sql/template.ts'
import { compareTimes, type TimeInput, type TimeType, timeSql } from '../sql/time-expression.ts'
import { regclass } from './policy.ts'

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
  const { rows } = await session.query<{ readonly drop_chunks: string }>(
    statement,
    options.signal === undefined ? {} : { signal: options.signal },
  )
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
