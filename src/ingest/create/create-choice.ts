import type { ValueOptions } from '../encode/value.ts'
import { timeMilliseconds } from '../sort.ts'
import type { SampleColumn } from './sample.ts'

/** A column of a planned table. */
export interface PlannedColumn {
  readonly name: string
  /** As SQL, such as `double precision`. */
  readonly type: string
  readonly notNull: boolean
  /** Why it has this type. */
  readonly reason: string
}

/** How dense rows are in time. */
export interface TimeRate {
  readonly rowsPerMs: number
  /** What it was taken from. */
  readonly from: string
}

/** Fewer rows say nothing about the whole. */
const leastRows = 100

/** The rate of rows by the times of a sample; undefined where it says nothing. */
export function timeRate(
  times: readonly unknown[],
  { rows, totalRows }: { readonly rows: number; readonly totalRows: number | undefined },
  options: ValueOptions,
): TimeRate | undefined {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  let last = Number.NEGATIVE_INFINITY
  let back = 0
  for (const value of times) {
    const ms = timeMilliseconds(value, options)
    if (!Number.isFinite(ms)) continue
    if (ms < last) back++
    last = ms
    least = Math.min(least, ms)
    most = Math.max(most, ms)
  }
  if (rows < leastRows || !(most > least)) return undefined
  // In order of time the sample is one stretch of the source; in any other order it is taken to cover all of it.
  const isStretch = back <= rows / 100
  const all = isStretch || totalRows === undefined ? rows : Math.max(rows, totalRows)
  const from = isStretch || all === rows ? 'of the sample' : 'of all rows, spread as those of the sample'
  return { rowsPerMs: all / (most - least), from }
}

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const steps: readonly (readonly [number, string])[] = [
  [365 * dayMs, '365 days'],
  [30 * dayMs, '30 days'],
  [7 * dayMs, '7 days'],
  [dayMs, '1 day'],
  [6 * hourMs, '6 hours'],
  [hourMs, '1 hour'],
]
/** A chunk of this many rows and its indexes are about a gigabyte. */
const chunkRows = 10_000_000
const standard = '7 days'

/** The longest of a few usual lengths whose chunks stay below ten million rows. */
export function chooseChunkInterval(rate: TimeRate | undefined): { readonly span: string; readonly reason: string } {
  if (rate === undefined) {
    return { span: standard, reason: `Chunks of ${standard}: the sample does not show how many rows a day has.` }
  }
  const [ms, span] = steps.find(([length]) => rate.rowsPerMs * length <= chunkRows) ?? [hourMs, '1 hour']
  const rows = Math.round(rate.rowsPerMs * ms).toLocaleString('en-US')
  return { span, reason: `Chunks of ${span}: about ${rows} rows each at the rate ${rate.from}.` }
}

/** Below this, compressed batches are too short to be worth it. */
const rowsPerSegment = 100
const identityName =
  /(?:^|_)(?:id|key|code|no|nr|number|device|sensor|host|series|symbol|station|site|meter|channel|location|origin|city|country|ticker|node|asset|machine|vehicle)s?$|(?:[a-z])(?:Id|Key)$/i

/**
 * The column with the most different values that still leaves long batches: one that is named like what is measured,
 * before any other text or UUID.
 */
export function chooseSegmentBy(
  columns: readonly PlannedColumn[],
  samples: readonly SampleColumn[],
  time: string,
  rate: TimeRate | undefined,
): { readonly columns: readonly string[]; readonly reason: string } {
  const [ms] = steps.find(([, span]) => span === chooseChunkInterval(rate).span) ?? [7 * dayMs]
  let best: { readonly name: string; readonly values: number; readonly named: boolean } | undefined
  for (const { name, type } of columns) {
    if (name === time || !isSegment(name, type)) continue
    const sample = samples.find((one) => one.name === name)?.values ?? []
    const values = new Set(sample.map((value) => (value instanceof Uint8Array ? '' : value))).size
    const inChunk = rate === undefined ? sample.length : rate.rowsPerMs * ms
    // Every value twice at least: else it may be as good as unique in the whole.
    if (values < 2 || values * 2 > sample.length || inChunk / values < rowsPerSegment) continue
    const named = identityName.test(name)
    const isBetter = best === undefined || (named === best.named ? values > best.values : named)
    if (isBetter) best = { name, values, named }
  }
  if (best === undefined) return { columns: [], reason: 'No segments: no column has few enough values.' }
  const rest = `has ${best.values} values in the sample, and at least ${rowsPerSegment} rows of each in a chunk.`
  return { columns: [best.name], reason: `Segments by ${best.name}: it ${rest}` }
}

function isSegment(name: string, type: string): boolean {
  if (type === 'text' || type === 'uuid' || type.startsWith('varchar')) return true
  return /^(?:bigint|integer|smallint)$/.test(type) && identityName.test(name)
}
