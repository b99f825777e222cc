import { addDecimals, compareDecimals, type Decimal, parseDecimal, roundDecimal } from '../encode/decimal.ts'
import type { EncodedColumn } from '../encode/encoder.ts'
import type { ValueOptions } from '../encode/value.ts'
import { microsecondsOf } from '../encode/value-time.ts'

/** What is compared of a column: values that have an order and a sum, texts with their lengths, or only how many there are. */
export type TallyKind =
  | 'number'
  | 'float'
  | 'boolean'
  | 'timestamptz'
  | 'timestamp'
  | 'date'
  | 'text'
  | 'bytes'
  | 'count'

/** Figures of one column in one range. */
export interface ColumnFigures {
  /** Values that are not NULL. */
  readonly count: number
  /** Numbers, and times in microseconds; undefined where there is none, or none is compared. */
  readonly least: Decimal | string | undefined
  readonly most: Decimal | string | undefined
  /** Of times the finite ones, of booleans how many are true, of texts and bytes their lengths in bytes. */
  readonly sum: Decimal | undefined
  /** Of floats: the sum without signs, which bounds the error of a sum. */
  readonly size: number
}

const kinds: ReadonlyMap<string, TallyKind> = new Map<string, TallyKind>([
  ['int2recv', 'number'],
  ['int4recv', 'number'],
  ['int8recv', 'number'],
  ['numeric_recv', 'number'],
  ['float4recv', 'float'],
  ['float8recv', 'float'],
  ['boolrecv', 'boolean'],
  ['timestamptz_recv', 'timestamptz'],
  ['timestamp_recv', 'timestamp'],
  ['date_recv', 'date'],
  ['textrecv', 'text'],
  ['varcharrecv', 'text'],
  ['enum_recv', 'text'],
  ['bytearecv', 'bytes'],
])

/** What can be compared of a column. */
export function tallyKind({ receive, element, typeName }: EncodedColumn): TallyKind {
  if (element !== undefined) return 'count'
  const kind = kinds.get(receive) ?? 'count'
  // A type such as timestamptz(3) rounds on the server.
  return (kind === 'timestamptz' || kind === 'timestamp') && typeName.includes('(') ? 'count' : kind
}

/** Figures of the values of one column, as the source has them. */
export class Tally {
  readonly #kind: TallyKind
  readonly #column: EncodedColumn
  readonly #options: ValueOptions
  readonly #scale: number | undefined
  #count = 0
  #least: Decimal | string | undefined
  #most: Decimal | string | undefined
  #sum: Decimal = zero
  #float = 0
  /** What the float sum has lost in rounding (Neumaier). */
  #lost = 0
  #size = 0
  #leastFloat = Number.NaN
  #mostFloat = Number.NEGATIVE_INFINITY

  constructor(column: EncodedColumn, options: ValueOptions) {
    this.#kind = tallyKind(column)
    this.#column = column
    this.#options = options
    const scale = /^numeric\(\d+,(-?\d+)\)/.exec(column.typeName)?.[1]
    this.#scale = scale === undefined ? (/^numeric\(/.test(column.typeName) ? 0 : undefined) : Number(scale)
  }

  /** Takes a value that was written. */
  add(value: unknown): void {
    if (value === null || value === undefined) return
    this.#count++
    switch (this.#kind) {
      case 'number':
        this.#addDecimal(this.#decimal(value))
        break
      case 'float':
        this.#addFloat(this.#column.receive === 'float4recv' ? Math.fround(toFloat(value)) : toFloat(value))
        break
      case 'boolean':
        this.#addDecimal(isTrue(value) ? one : zero)
        break
      case 'text':
        this.#addText(String(value))
        break
      case 'bytes':
        this.#addDecimal(whole(byteLength(value)))
        break
      case 'count':
        break
      default:
        this.#addTime(microsecondsOf(value, this.#kind, this.#options))
    }
  }

  get figures(): ColumnFigures {
    const isFloat = this.#kind === 'float'
    const sum = isFloat ? floatDecimal(this.#float + this.#lost) : this.#sum
    const ordered = this.#kind !== 'boolean' && this.#kind !== 'bytes'
    return {
      count: this.#count,
      least: isFloat && this.#count > 0 ? floatDecimal(this.#leastFloat) : ordered ? this.#least : undefined,
      most: isFloat && this.#count > 0 ? floatDecimal(this.#mostFloat) : ordered ? this.#most : undefined,
      sum: this.#kind === 'count' || this.#count === 0 ? undefined : sum,
      size: this.#size,
    }
  }

  #decimal(value: unknown): Decimal {
    if (typeof value === 'number' && Number.isSafeInteger(value)) return whole(value)
    if (typeof value === 'bigint') return { digits: value, scale: 0 }
    const decimal = parseDecimal(String(value))
    return this.#scale === undefined ? decimal : roundDecimal(decimal, this.#scale)
  }

  #addDecimal(value: Decimal): void {
    this.#range(value, compareDecimals)
    this.#sum = addDecimals(this.#sum, value)
  }

  #addTime(value: bigint | 'infinity' | '-infinity'): void {
    if (typeof value === 'bigint') this.#addDecimal({ digits: value, scale: 0 })
    else this.#range(value === 'infinity' ? 'Infinity' : '-Infinity', compareDecimals)
  }

  #addText(value: string): void {
    this.#range(value, compareTexts)
    this.#sum = addDecimals(this.#sum, whole(Buffer.byteLength(value)))
  }

  #range<T extends Decimal | string>(value: T, compare: (one: T, other: T) => number): void {
    // Only values of one kind come here.
    const least = this.#least as T | undefined
    const most = this.#most as T | undefined
    if (least === undefined || compare(value, least) < 0) this.#least = value
    if (most === undefined || compare(value, most) > 0) this.#most = value
  }

  #addFloat(value: number): void {
    if (!(Math.abs(value) >= largestSummed && Number.isFinite(value))) this.#sumFloat(value)
    // NaN is greater than all on the server.
    if (Number.isNaN(this.#leastFloat) || value < this.#leastFloat) this.#leastFloat = value
    if (Number.isNaN(value) || value > this.#mostFloat) this.#mostFloat = value
  }

  #sumFloat(value: number): void {
    const sum = this.#float + value
    // Neumaier's sum: what does not fit into the sum is kept beside it.
    this.#lost += Math.abs(this.#float) >= Math.abs(value) ? this.#float - sum + value : value - sum + this.#float
    this.#float = sum
    this.#size += Math.abs(value)
  }
}

/** Finite numbers from here on are compared by count, least and greatest, and not summed: the sum might have no number. */
export const largestSummed = 1e290

const zero: Decimal = { digits: 0n, scale: 0 }
const one: Decimal = { digits: 1n, scale: 0 }

function whole(value: number): Decimal {
  return { digits: BigInt(value), scale: 0 }
}

/** The decimal that the shortest text of a float stands for, which is also the server's. */
export function floatDecimal(value: number): Decimal {
  return parseDecimal(String(value))
}

function toFloat(value: unknown): number {
  if (typeof value === 'number') return value
  const decimal = parseDecimal(String(value))
  return typeof decimal === 'string' ? Number(decimal) : Number(value)
}

function isTrue(value: unknown): boolean {
  return value === true || (typeof value === 'string' && /^\s*(?:t|y|on|1)/i.test(value))
}

function byteLength(value: unknown): number {
  if (typeof value === 'string') return (value.length - 2) / 2
  return typeof value === 'object' && value !== null && 'byteLength' in value ? Number(value.byteLength) : 0
}

/** As bytes of UTF-8 compare: by code points. */
export function compareTexts(left: string, right: string): number {
  if (left === right) return 0
  const length = Math.min(left.length, right.length)
  let at = 0
  while (at < length && left.charCodeAt(at) === right.charCodeAt(at)) at++
  if (at === length) return left.length - right.length
  return place(left.charCodeAt(at)) - place(right.charCodeAt(at))
}

/** Halves of surrogate pairs stand for what comes after all that has one unit. */
function place(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit
}
