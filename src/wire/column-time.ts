import { UsageError } from '../errors.ts'
import type { ColumnBatch, ColumnType } from './column.ts'
import { BaseReader, FixedReader, Int32Reader, Int64Reader, WideReader } from './column-fixed.ts'

// PostgreSQL counts from 2000-01-01 (date.c, timestamp.c), Arrow and JavaScript from 1970-01-01.
const EPOCH_DAYS = 10_957
const EPOCH_MICROSECONDS = 946_684_800_000_000
const HALF = 2 ** 32
const EPOCH_LOW = EPOCH_MICROSECONDS % HALF
const EPOCH_HIGH = Math.floor(EPOCH_MICROSECONDS / HALF)
const LARGEST = 2 ** 31 - 1
const SMALLEST = -(2 ** 31)

/** date. */
export class DateReader extends FixedReader<Int32Array> {
  #infinite = 0

  constructor() {
    super({ kind: 'date' }, new Int32Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    const days = view.getInt32(at)
    if (days === LARGEST || days === SMALLEST) {
      this.#infinite++
      this.data[row] = days
    } else this.data[row] = days + EPOCH_DAYS
  }

  override take(rows: number): ColumnBatch {
    const infinite = this.#infinite
    this.#infinite = 0
    const { type, length, nullCount, validity, values } = super.take(rows)
    return { type, length, nullCount, validity, values, infinite }
  }
}

/** timestamp and timestamptz. */
export class TimestampReader extends WideReader {
  readonly #column: string
  #infinite = 0

  constructor(kind: 'timestamp' | 'timestamptz', column: string) {
    super({ kind })
    this.#column = column
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    const high = view.getInt32(at)
    const low = view.getUint32(at + 4)
    if ((high === LARGEST && low === HALF - 1) || (high === SMALLEST && low === 0)) {
      this.#infinite++
      this.data[2 * row] = low
      this.data[2 * row + 1] = high
      return
    }
    const sum = low + EPOCH_LOW
    const top = high + EPOCH_HIGH + (sum >= HALF ? 1 : 0)
    // The last 29 years before the server's limit, 294276, do not fit; the very last number means infinity.
    if (top > LARGEST || (top === LARGEST && sum % HALF === HALF - 1)) throw tooLate(this.#column)
    // As 32 bits: a larger number would be stored as a fraction first.
    this.data[2 * row] = sum | 0
    this.data[2 * row + 1] = top
  }

  override take(rows: number): ColumnBatch {
    const infinite = this.#infinite
    this.#infinite = 0
    const { type, length, nullCount, validity, values } = super.take(rows)
    return { type, length, nullCount, validity, values, infinite }
  }
}

function tooLate(column: string): UsageError {
  return new UsageError(
    'INVALID_VALUE',
    `Column ${JSON.stringify(column)} holds a time after the year 294246, beyond 64 bits of microseconds since 1970.`,
    { hint: 'Select it as text: column::text.' },
  )
}

/** time without time zone. */
export class TimeReader extends WideReader {
  constructor() {
    super({ kind: 'time' })
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[2 * row] = view.getInt32(at + 4)
    this.data[2 * row + 1] = view.getInt32(at)
  }
}

/** interval: the server sends microseconds, days, months (timestamp.c, interval_send). */
export class IntervalReader extends BaseReader {
  readonly #months = new Int32Reader()
  readonly #days = new Int32Reader()
  readonly #microseconds = new Int64Reader()
  #infinite = 0

  override grow(capacity: number): void {
    super.grow(capacity)
    this.#months.grow(capacity)
    this.#days.grow(capacity)
    this.#microseconds.grow(capacity)
  }

  read(bytes: Buffer, view: DataView, row: number, at: number): void {
    this.#microseconds.read(bytes, view, row, at)
    this.#days.read(bytes, view, row, at + 8)
    this.#months.read(bytes, view, row, at + 12)
    if (isInfinite(view, at)) this.#infinite++
  }

  take(rows: number): ColumnBatch {
    const infinite = this.#infinite
    this.#infinite = 0
    const children = [this.#months, this.#days, this.#microseconds].map((part) => part.take(rows))
    return { type: interval, ...this.takeNulls(rows), values: noValues, children, infinite }
  }
}

const interval: ColumnType = { kind: 'interval' }
const noValues = new Uint8Array(0)

/** From PostgreSQL 17 on: all three parts at their limit. */
function isInfinite(view: DataView, at: number): boolean {
  const months = view.getInt32(at + 12)
  if (months !== LARGEST && months !== SMALLEST) return false
  const low = months === LARGEST ? -1 : 0
  return view.getInt32(at + 8) === months && view.getInt32(at) === months && view.getInt32(at + 4) === low
}
