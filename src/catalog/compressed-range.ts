import type { Session } from '../connection/session.ts'
import { sql } from '../sql/template.ts'
import type { RelationName } from './relation.ts'

/** A range of time whose chunks are compressed: milliseconds since 1970, or the unit of an integer column. */
export interface CompressedRange {
  readonly start: number
  /** The first instant after it. */
  readonly end: number
}

/** Where rows of a hypertable would go into compressed chunks; ranges that touch are one. */
export async function listCompressedRanges(session: Session, table: RelationName): Promise<CompressedRange[]> {
  const { rows } = await session.query<CompressedRange>(sql`
    select coalesce((extract(epoch from range_start) * 1000)::float8, range_start_integer::float8) as start,
      coalesce((extract(epoch from range_end) * 1000)::float8, range_end_integer::float8) as "end"
    from timescaledb_information.chunks
    where hypertable_schema = ${table.schema} and hypertable_name = ${table.name} and is_compressed order by 1, 2`)
  const ranges: CompressedRange[] = []
  for (const { start, end } of rows) {
    const last = ranges.at(-1)
    if (last === undefined || start > last.end) ranges.push({ start, end })
    else ranges[ranges.length - 1] = { start: last.start, end: Math.max(last.end, end) }
  }
  return ranges
}
