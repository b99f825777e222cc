import type { LoadTarget } from '../../catalog/load-target.ts'
import type { RelationName } from '../../catalog/relation.ts'
import type { Session } from '../../connection/session.ts'
import { PlanError } from '../../errors.ts'
import { formatName } from '../../sql/identifier.ts'
import { sql } from '../../sql/template.ts'
import type { RowBatch } from '../batch.ts'
import { addDecimals, compareDecimals, type Decimal, parseDecimal } from '../encode/decimal.ts'
import type { EncodedColumn } from '../encode/encoder.ts'
import type { ValueOptions } from '../encode/value.ts'
import { anyTime, type RangeCut, rangeCut } from './range-cut.ts'
import { type ColumnFigures, compareTexts, Tally, tallyKind } from './tally.ts'
import { figuresSql } from './tally-sql.ts'

/** What a load that was verified compared. */
export interface VerifyReport {
  /** Ranges of time whose figures were compared: those of chunks, or weeks where the table is no hypertable. */
  readonly ranges: number
  /** Rows of the source that were found in the table. */
  readonly rows: number
}

/** Figures of one range, as texts of JSON. */
export interface RangeFigures {
  readonly rows: number
  readonly columns: readonly StoredFigures[]
}

type StoredFigures = Readonly<Record<keyof ColumnFigures, string | null>>

/** Where the figures that a range had before an import are kept for a later run. */
export interface Baseline {
  /** Keeps figures, unless there are some already; gives those that are kept. */
  keep(range: string, figures: RangeFigures): Promise<RangeFigures>
}

interface RangeTally {
  rows: number
  readonly columns: readonly Tally[]
  readonly before: RangeFigures
}

/**
 * Counts what is written while it is read from the source, by ranges of time, and compares it with the table.
 * What a range held before is asked before the first row goes into it.
 */
export class Verification {
  readonly #table: RelationName
  readonly #columns: readonly EncodedColumn[]
  readonly #options: ValueOptions
  readonly #cut: RangeCut
  readonly #ranges = new Map<string, RangeTally>()
  readonly #baseline: Baseline | undefined
  /** What a table without chunks held. */
  #all: Map<string, RangeFigures> | undefined

  /** @param columns - those that are written */
  constructor(
    table: RelationName,
    target: LoadTarget,
    columns: readonly EncodedColumn[],
    options: ValueOptions,
    baseline?: Baseline,
  ) {
    this.#table = table
    this.#columns = columns
    this.#options = options
    this.#cut = rangeCut(target, columns, options)
    this.#baseline = baseline
  }

  /** To be called before a batch is sent: notes what its ranges hold. */
  async before(session: Session, batch: RowBatch): Promise<void> {
    const keys = new Set<string>()
    const keyOf = this.#keyOf(batch)
    for (let row = 0; row < batch.rows; row++) {
      const key = keyOf(row)
      if (key !== undefined && !this.#ranges.has(key)) keys.add(key)
    }
    for (const key of keys) {
      const before = await this.#heldBefore(session, key)
      const columns = this.#columns.map((column) => new Tally(column, this.#options))
      this.#ranges.set(key, { rows: 0, columns, before: (await this.#baseline?.keep(key, before)) ?? before })
    }
  }

  /** Counts the rows of a batch that is written. @param rejected - rows by their number in the source */
  add(batch: RowBatch, rejected: ReadonlySet<number>): void {
    const keyOf = this.#keyOf(batch)
    const values = this.#columns.map(({ name }) => batch.valuesOf(name))
    for (let row = 0; row < batch.rows; row++) {
      if (rejected.has(batch.first + row)) continue
      const range = this.#ranges.get(keyOf(row) ?? anyTime)
      if (range === undefined) continue
      range.rows++
      values.forEach((valueAt, at) => void range.columns[at]?.add(valueAt(row)))
    }
  }

  /** @throws PlanError DRIFT naming range, column and figure where the table holds something else */
  async compare(session: Session): Promise<VerifyReport> {
    const found = new Map<string, RangeFigures>()
    if (!this.#cut.chunked) for (const [key, figures] of await this.#query(session, undefined)) found.set(key, figures)
    const differences: string[] = []
    let rows = 0
    for (const [key, range] of this.#ranges) {
      if (this.#cut.chunked) for (const [own, figures] of await this.#query(session, key)) found.set(own, figures)
      rows += range.rows
      differences.push(...this.#compareRange(key, range, found.get(key)))
      found.delete(key)
    }
    if (differences.length > 0) throw this.#drift(differences)
    return { ranges: this.#ranges.size, rows }
  }

  /** The range of a row; undefined for a row that cannot be read, which is not written either. */
  #keyOf(batch: RowBatch): (row: number) => string | undefined {
    const { column, keyOf } = this.#cut
    if (column === undefined) return () => anyTime
    const valueAt = batch.valuesOf(column)
    return (row) => {
      try {
        return keyOf(valueAt(row))
      } catch {
        return undefined
      }
    }
  }

  /** What a range holds; in a table without chunks one look gives all of them. */
  async #heldBefore(session: Session, key: string): Promise<RangeFigures> {
    const empty = { rows: 0, columns: this.#columns.map(() => noFigures) }
    if (this.#cut.chunked) return (await this.#query(session, key)).get(key) ?? empty
    this.#all ??= await this.#query(session, undefined)
    return this.#all.get(key) ?? empty
  }

  async #query(session: Session, key: string | undefined): Promise<Map<string, RangeFigures>> {
    const fields = this.#columns.flatMap((column, at) => figuresSql(column, at))
    const where = key === undefined ? sql.empty : this.#cut.where(key)
    const group = this.#cut.chunked || this.#cut.bucket === undefined ? undefined : this.#cut.bucket
    const name = group ?? sql`${key ?? anyTime}::text`
    const { rows } = await session.query<Record<string, string | null>>(sql`
      select ${name} as range, count(*)::text as rows, ${sql.join(fields)} from ${sql.name(this.#table)}${where}${
        group === undefined ? sql.empty : sql` group by 1`
      }`)
    return new Map(rows.map((row) => [row['range'] ?? anyTime, this.#figuresOf(row)]))
  }

  #figuresOf(row: Readonly<Record<string, string | null>>): RangeFigures {
    const columns = this.#columns.map((_, at) => ({
      count: row[`n${at}`] ?? null,
      least: row[`l${at}`] ?? null,
      most: row[`m${at}`] ?? null,
      sum: row[`s${at}`] ?? null,
      size: row[`z${at}`] ?? null,
    }))
    return { rows: Number(row['rows']), columns }
  }

  #compareRange(key: string, range: RangeTally, found: RangeFigures | undefined): string[] {
    const place = this.#cut.show(key)
    const before = range.before.rows
    const wanted = before + range.rows
    const there = found?.rows ?? 0
    if (wanted !== there) return [`${place}: ${there} rows where ${wanted} should be`]
    return this.#columns.flatMap((column, at) => {
      const figure = differingFigure(column, range.columns[at]?.figures, range.before.columns[at], found?.columns[at])
      return figure === undefined ? [] : [`${place}: ${figure} of ${JSON.stringify(column.name)}`]
    })
  }

  #drift(differences: readonly string[]): PlanError {
    const shown = differences.slice(0, 10).join('; ')
    const more = differences.length > 10 ? `; and ${differences.length - 10} more` : ''
    const message = `${formatName(this.#table)} does not hold what the source has: ${shown}${more}.`
    return new PlanError('DRIFT', message, {
      hint: 'Did something else write into the table meanwhile, or does a trigger change or drop rows?',
    })
  }
}

const noFigures: StoredFigures = { count: '0', least: null, most: null, sum: null, size: null }

/** What differs between what should be in the table and what is; undefined where nothing does. */
function differingFigure(
  column: EncodedColumn,
  source: ColumnFigures | undefined,
  before: StoredFigures | undefined,
  found: StoredFigures | undefined,
): string | undefined {
  if (source === undefined || found === undefined) return undefined
  if (Number(found.count) !== Number(before?.count ?? 0) + source.count) return 'the number of values'
  const kind = tallyKind(column)
  if (kind === 'count') return undefined
  const isText = kind === 'text'
  const compare = isText ? compareAsTexts : compareAsDecimals
  const least = edge(before?.least, source.least, (order) => order < 0, compare)
  if (!isSame(least, found.least, compare)) return 'the least value'
  const most = edge(before?.most, source.most, (order) => order > 0, compare)
  if (!isSame(most, found.most, compare)) return 'the greatest value'
  const sum = addUp(before?.sum, source.sum)
  const isSum = kind === 'float' ? isNear(sum, found) : isSame(sum, found.sum, compareAsDecimals)
  return isSum ? undefined : 'the sum'
}

type Figure = Decimal | string

function compareAsTexts(one: Figure, other: Figure): number {
  return compareTexts(String(one), String(other))
}

function compareAsDecimals(one: Figure, other: Figure): number {
  return compareDecimals(toDecimal(one), toDecimal(other))
}

function toDecimal(figure: Figure): Decimal {
  return typeof figure === 'string' ? parseDecimal(figure) : figure
}

function edge(
  before: string | null | undefined,
  source: Figure | undefined,
  isFurther: (order: number) => boolean,
  compare: (one: Figure, other: Figure) => number,
): Figure | undefined {
  if (before === null || before === undefined) return source
  return source === undefined || isFurther(compare(before, source)) ? before : source
}

function isSame(
  wanted: Figure | undefined,
  found: string | null,
  compare: (one: Figure, other: Figure) => number,
): boolean {
  if (wanted === undefined || found === null) return wanted === undefined && found === null
  return compare(wanted, found) === 0
}

function addUp(before: string | null | undefined, source: Decimal | undefined): Decimal | undefined {
  if (before === null || before === undefined) return source
  return source === undefined ? parseDecimal(before) : addDecimals(parseDecimal(before), source)
}

/** Adding n floats in any order is wrong by at most n × 2⁻⁵³ × the sum of their sizes; twice that is allowed. */
function isNear(wanted: Decimal | undefined, found: StoredFigures): boolean {
  if (wanted === undefined || found.sum === null) return wanted === undefined && found.sum === null
  const [one, other] = [decimalNumber(wanted), Number(found.sum)]
  if (Object.is(one, other) || one === other) return true
  const allowed = Number(found.count) * 2 ** -52 * Number(found.size)
  return Math.abs(one - other) <= allowed || !Number.isFinite(Number(found.size))
}

function decimalNumber(value: Decimal): number {
  return typeof value === 'string' ? Number(value) : Number(`${value.digits}e${-value.scale}`)
}
