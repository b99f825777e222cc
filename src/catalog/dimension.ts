import type { Session } from '../connection/session.ts'
import { formatInterval } from '../sql/interval.ts'
import { sql } from '../sql/template.ts'
import type { TimeType } from '../sql/time-expression.ts'
import type { RelationName } from './relation.ts'

/** One way in which a hypertable is cut into chunks. */
export type Dimension = RangeDimension | HashDimension

/** Chunks of equal length along a column; the first one of a hypertable is its time. */
export interface RangeDimension {
  readonly kind: 'range'
  readonly column: string
  /** The column's type as the server prints it, such as `timestamp with time zone`. */
  readonly columnType: string
  /** The length of a chunk: an interval text, or a bigint for an integer column. */
  readonly interval: string | bigint
  /** The function that says what time it is, for an integer column that has one. */
  readonly integerNowFunction: string | undefined
}

/** A number of partitions by the hash of a column. */
export interface HashDimension {
  readonly kind: 'hash'
  readonly column: string
  readonly columnType: string
  readonly partitions: number
}

interface DimensionRow {
  readonly column: string
  readonly columnType: string
  readonly timeInterval: string | null
  readonly integerInterval: string | null
  readonly integerNowFunction: string | null
  readonly partitions: number | null
}

/** The dimensions of a hypertable, in the server's order. Empty for anything else. */
export async function listDimensions(session: Session, hypertable: RelationName): Promise<Dimension[]> {
  const { rows } = await session.query<DimensionRow>(sql`
    select column_name as "column", column_type::text as "columnType",
      (extract(epoch from time_interval) * 1000000)::bigint::text as "timeInterval",
      integer_interval::text as "integerInterval", integer_now_func as "integerNowFunction",
      num_partitions::int as partitions
    from timescaledb_information.dimensions
    where hypertable_schema = ${hypertable.schema} and hypertable_name = ${hypertable.name}
    order by dimension_number`)
  return rows.map(toDimension)
}

function toDimension(row: DimensionRow): Dimension {
  const { column, columnType } = row
  if (row.partitions !== null) return { kind: 'hash', column, columnType, partitions: row.partitions }
  const integerNowFunction = row.integerNowFunction ?? undefined
  const integer = BigInt(row.integerInterval ?? 0)
  // The server shows the interval of a uuid (version 7) column as a plain number of microseconds.
  const microseconds = row.timeInterval === null ? integer : BigInt(row.timeInterval)
  const interval = row.timeInterval === null && columnType !== 'uuid' ? integer : formatMicroseconds(microseconds)
  return { kind: 'range', column, columnType, interval, integerNowFunction }
}

/** A chunk's length in whole days and the rest, as people write it: the server keeps only microseconds. */
export function formatMicroseconds(microseconds: bigint): string {
  const day = 86_400_000_000n
  return formatInterval({ months: 0, days: Number(microseconds / day), microseconds: microseconds % day })
}

/** How times of a column are written in SQL; uuid (version 7) columns are compared by their timestamp. */
export function timeTypeOf(columnType: string): TimeType {
  switch (columnType) {
    case 'timestamp without time zone':
      return 'timestamp'
    case 'date':
    case 'bigint':
    case 'integer':
    case 'smallint':
      return columnType
    default:
      return 'timestamptz'
  }
}

/** True for a time column of an integer type. */
export function isIntegerTime(columnType: string): boolean {
  return columnType === 'bigint' || columnType === 'integer' || columnType === 'smallint'
}
