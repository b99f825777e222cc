import type { Session } from '../connection/session.ts'
import type { ObjectName } from '../sql/identifier.ts'
import { sql } from '../sql/template.ts'
import { readCapabilities, requireFeature } from './capabilities.ts'
import type { RelationSize } from './chunk.ts'
import { listContinuousAggregates } from './continuous-aggregate.ts'
import { type Dimension, listDimensions } from './dimension.ts'
import { listPolicies, type Policy } from './job.ts'
import { getTimeRelation, type RelationName } from './relation.ts'
import { readRowEstimate, readStorageSummary } from './size.ts'

/** A hypertable in a list. */
export interface HypertableSummary extends RelationName {
  readonly owner: string
  readonly numDimensions: number
  readonly numChunks: number
  readonly compressionEnabled: boolean
}

/** What compression did to the chunks that are compressed now. */
export interface CompressionEffect {
  readonly beforeBytes: number
  readonly afterBytes: number
  /** `beforeBytes / afterBytes`, such as 12.5; undefined where nothing is compressed. */
  readonly ratio: number | undefined
}

/** The state of a hypertable, or of what a continuous aggregate has materialized. */
export interface HypertableStats extends RelationName, RelationSize {
  readonly numChunks: number
  readonly compressedChunks: number
  readonly compression: CompressionEffect
  /** From the last ANALYZE and the sizes; about right after ANALYZE or compression, a guess by size before. */
  readonly approximateRows: number
  readonly dimensions: readonly Dimension[]
  /** The start of the oldest chunk; undefined where there is none. See `rangeStart` of a chunk for its type. */
  readonly oldestRange: Date | bigint | undefined
  /** The end of the newest chunk. */
  readonly newestRange: Date | bigint | undefined
  readonly policies: readonly Policy[]
  /** The continuous aggregates directly on it. */
  readonly continuousAggregates: readonly RelationName[]
}

interface SummaryRow extends HypertableSummary {}

/** All hypertables, without the materializations of continuous aggregates. */
export async function listHypertables(session: Session): Promise<HypertableSummary[]> {
  requireFeature(await readCapabilities(session), 'hypertable')
  const { rows } = await session.query<SummaryRow>(sql`
    select hypertable_schema as schema, hypertable_name as name, owner, num_dimensions::int as "numDimensions",
      num_chunks::int as "numChunks", compression_enabled as "compressionEnabled"
    from timescaledb_information.hypertables
    order by hypertable_schema, hypertable_name`)
  return rows
}

/**
 * Size, compression, dimensions, range, policies and aggregates of a hypertable or continuous aggregate.
 * The number of queries does not depend on the number of chunks.
 * @throws QueryError NOT_FOUND, HYPERTABLE_NOT_FOUND
 */
export async function getHypertableStats(session: Session, name: ObjectName): Promise<HypertableStats> {
  const relation = await getTimeRelation(session, name)
  const dimensions = await listDimensions(session, relation.storage)
  const summary = await readStorageSummary(session, relation.storage, dimensions[0]?.columnType === 'uuid')
  const policies = await listPolicies(session, relation)
  const aggregates = await listContinuousAggregates(session, relation.storage)
  const { beforeBytes, afterBytes, ...rest } = summary
  return {
    schema: relation.schema,
    name: relation.name,
    ...rest,
    compression: { beforeBytes, afterBytes, ratio: afterBytes > 0 ? beforeBytes / afterBytes : undefined },
    approximateRows: await readRowEstimate(session, relation.storage),
    dimensions,
    policies,
    continuousAggregates: aggregates.map(({ schema, name }) => ({ schema, name })),
  }
}
