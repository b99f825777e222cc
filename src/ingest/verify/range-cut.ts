import type { LoadTarget } from '../../catalog/load-target.ts'
import { type Sql, sql } from '../../sql/template.ts'
import { DATE_END, formatDate, formatTimestamp } from '../../sql/timestamp.ts'
import type { EncodedColumn } from '../encode/encoder.ts'
import type { ValueOptions } from '../encode/value.ts'
import { microsecondsOf } from '../encode/value-time.ts'

/** What the types hold, in microseconds since 1970. */
const least = -210_866_803_200_000_000n
const most = 9_224_318_016_000_000_000n
const weekMicros = 604_800_000_000n
/** Rows without a time, or of a table without times. */
export const anyTime: string = 'all'

/** How a table is cut into ranges. */
export interface RangeCut {
  /** Whether a range can be asked for alone at little cost. */
  readonly chunked: boolean
  readonly column: string | undefined
  keyOf(value: unknown): string
  /** The key as the server computes it. */
  readonly bucket: Sql | undefined
  where(key: string): Sql
  show(key: string): string
}

const wholeTable: RangeCut = {
  chunked: false,
  column: undefined,
  keyOf: () => anyTime,
  bucket: undefined,
  where: () => sql.empty,
  show: () => 'the whole table',
}

/** How a table is cut: a hypertable as long as its chunks, any other by weeks of its first time. */
export function rangeCut({ time }: LoadTarget, columns: readonly EncodedColumn[], options: ValueOptions): RangeCut {
  const isTime = (column: EncodedColumn): boolean => timeKind(column) !== undefined
  const chosen = time === undefined ? columns.find(isTime) : columns.find(({ name }) => name === time.column)
  if (chosen === undefined) return wholeTable
  const own = sql.column(chosen.name)
  const kind = timeKind(chosen)
  if (kind === undefined)
    return time?.integer === true ? integerCut(own, chosen.name, BigInt(time.chunkLength)) : wholeTable
  const length = time === undefined ? weekMicros : BigInt(Math.round(time.chunkLength * 1000))
  const micros = sql`extract(epoch from ${own})::numeric * 1000000`
  const cast = sql.raw(kind)
  const end = kind === 'date' ? DATE_END : most
  const bound = (start: bigint): Sql => {
    const text =
      kind === 'date' ? formatDate(start, { round: 'up' }) : formatTimestamp(start, { zone: kind !== 'timestamp' })
    return sql`${start < least ? '-infinity' : start >= end ? 'infinity' : text}::${cast}`
  }
  return {
    chunked: time !== undefined,
    column: chosen.name,
    keyOf: (value) => {
      if (value === null || value === undefined) return anyTime
      const at = microsecondsOf(value, kind, options)
      if (typeof at === 'string') return at === 'infinity' ? 'Infinity' : '-Infinity'
      return String(floor(at, length))
    },
    bucket: sql`coalesce(floor((${micros}) / ${String(length)}::numeric)::text, ${anyTime})`,
    where: (key) => {
      if (!/\d/.test(key)) return sql` where ${own} = ${key.toLowerCase()}::${cast}`
      const start = BigInt(key) * length
      return sql` where ${own} >= ${bound(start)} and ${own} < ${bound(start + length)}`
    },
    show: (key) => (/\d/.test(key) ? `from ${formatTimestamp(BigInt(key) * length, { zone: true })}` : key),
  }
}

function integerCut(own: Sql, column: string, length: bigint): RangeCut {
  return {
    chunked: true,
    column,
    keyOf: (value) => String(floor(BigInt(String(value).trim()), length)),
    bucket: undefined,
    where: (key) => {
      const start = BigInt(key) * length
      return sql` where ${own} >= ${String(start)}::numeric and ${own} < ${String(start + length)}::numeric`
    },
    show: (key) => `from ${BigInt(key) * length}`,
  }
}

function floor(value: bigint, length: bigint): bigint {
  return (value - (((value % length) + length) % length)) / length
}

function timeKind({ receive, element }: EncodedColumn): 'timestamptz' | 'timestamp' | 'date' | undefined {
  if (element !== undefined) return undefined
  if (receive === 'timestamptz_recv') return 'timestamptz'
  if (receive === 'timestamp_recv') return 'timestamp'
  return receive === 'date_recv' ? 'date' : undefined
}
