import type { ChunkInfo } from '../catalog/chunk.ts'
import type { ContinuousAggregate } from '../catalog/continuous-aggregate.ts'
import {
  type InternalRange,
  isWithin,
  mergeRanges,
  readBucketSql,
  readDifferences,
  readInvalidRanges,
  withRows,
} from '../catalog/invalidation.ts'
import { isSameRelation, type RelationName } from '../catalog/relation.ts'
import type { Session } from '../connection/session.ts'
import { sql } from '../sql/template.ts'
import type { PolicyTarget } from './policy-chunk.ts'
import { type TimeRange, toTimeRange } from './refresh-preview.ts'

/** What a continuous aggregate keeps of rows that are dropped. */
export interface KeptHistory extends RelationName {
  /** Its materialized buckets of the time that is dropped. */
  readonly buckets: number
  /** Buckets that it has not taken up as they are now: these rows are gone for it too. */
  readonly missing: readonly TimeRange[]
}

/** What the aggregates on top of a relation, all the way up, keep of its chunks. */
export async function readHistory(
  session: Session,
  { relation, aggregate, aggregates }: PolicyTarget,
  chunks: readonly ChunkInfo[],
): Promise<KeptHistory[]> {
  const ranges = mergeRanges(chunks.map(toInternalRange))
  if (ranges.length === 0) return []
  const kept: KeptHistory[] = []
  const visit = async (storage: RelationName, isBase: boolean): Promise<void> => {
    for (const above of aggregates.filter((other) => isSameRelation(other.sourceStorage, storage))) {
      kept.push(await readKept(session, above, ranges, isBase))
      await visit(above.materialization, false)
    }
  }
  await visit(aggregate?.materialization ?? relation, true)
  return kept
}

async function readKept(
  session: Session,
  aggregate: ContinuousAggregate,
  ranges: readonly InternalRange[],
  isBase: boolean,
): Promise<KeptHistory> {
  const bucket = sql`m.${sql.column(aggregate.bucketColumn)}`
  const { rows } = await session.query<{ buckets: number }>(sql`
    select count(distinct ${bucket}) as buckets from ${sql.name(aggregate.materialization)} m
    where ${isWithin(aggregate, bucket, ranges)}`)
  const { schema, name } = aggregate
  return {
    schema,
    name,
    buckets: rows[0]?.buckets ?? 0,
    missing: isBase ? await readMissing(session, aggregate, ranges) : [],
  }
}

/** What of the dropped time the aggregate has not taken up as it is now. */
async function readMissing(
  session: Session,
  aggregate: ContinuousAggregate,
  ranges: readonly InternalRange[],
): Promise<TimeRange[]> {
  const buckets = await readBucketSql(session, aggregate)
  const found: InternalRange[] = []
  for (const range of ranges) {
    const invalid = await readInvalidRanges(session, aggregate, buckets, range)
    const stale = await withRows(session, aggregate, buckets, invalid)
    found.push(...(await readDifferences(session, aggregate, buckets, stale)))
  }
  return mergeRanges(found).map((range) => toTimeRange(aggregate.bucketColumnType, range))
}

/** A chunk's range in the server's own counting; an open edge is the end of what it can count. */
export function toInternalRange({ rangeStart, rangeEnd }: Pick<ChunkInfo, 'rangeStart' | 'rangeEnd'>): InternalRange {
  const toInternal = (time: Date | bigint): bigint => (time instanceof Date ? BigInt(time.getTime()) * 1000n : time)
  return {
    low: rangeStart === undefined ? -(2n ** 63n) : toInternal(rangeStart),
    high: rangeEnd === undefined ? 2n ** 63n - 1n : toInternal(rangeEnd),
  }
}
