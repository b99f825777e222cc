import { UsageError } from '../errors.ts'
import type { ColumnBatch, ColumnOptions, ColumnType, ColumnValues } from './column.ts'
import { FixedReader } from './column-fixed.ts'
import { TextReader } from './column-text.ts'

/*
 * The binary form (numeric.c, numeric_send): int16 count of digits, int16 weight of the first, uint16 sign, int16 scale
 * of the display, then digits of base 10,000.
 */
const NEGATIVE = 0x4000
const NAN = 0xc000
const INFINITY = 0xd000
const MINUS_INFINITY = 0xf000
const DIGITS_AT = 8

const powers: readonly number[] = Array.from({ length: 23 }, (_, exponent) => 10 ** exponent)
const power = (exponent: number): number => powers[exponent] ?? Number.NaN

/** How a numeric column is laid out, by its modifier and the option alone. */
export function numericType(modifier: number, option: ColumnOptions['numeric']): ColumnType {
  if (option === 'string') return { kind: 'text' }
  if (option === 'float64' || (modifier < 0 && option === undefined)) return { kind: 'float64' }
  if (modifier < 0) return option === 'exact' ? { kind: 'text' } : { kind: 'decimal', precision: 38, scale: 18 }
  const precision = ((modifier - 4) >> 16) & 0xffff
  // 11 bits with a sign: from PostgreSQL 15 on the scale can be below 0 and beyond the precision.
  const scale = (((modifier - 4) & 0x7ff) ^ 0x400) - 0x400
  const digits = Math.max(precision, scale, precision - scale)
  if (option === 'exact' && digits > 38) return { kind: 'text' }
  if (option === undefined && precision <= 15) return { kind: 'float64' }
  if (option === undefined && digits > 38) return { kind: 'text' }
  return { kind: 'decimal', precision: Math.min(digits, 38), scale: Math.min(Math.max(scale, 0), 38) }
}

/**
 * The digits as a whole number below 10^15, where that is possible and their exponent of ten is within ±22. Every such
 * number and every such power of ten is exact, so that one operation on both is rounded as well as can be.
 */
class SmallNumeric {
  mantissa = 0
  exponent = 0

  read(view: DataView, at: number): boolean {
    const count = view.getInt16(at)
    if (count > 5 || view.getUint16(at + 4) > NEGATIVE) return false
    let mantissa = 0
    let exponent = (view.getInt16(at + 2) - count + 1) * 4
    // The last digits have zeros at the end that are no part of the number as it is shown.
    const zeros = Math.max(0, Math.min(-exponent - view.getInt16(at + 6), 3))
    for (let index = 0; index < count - 1; index++) {
      mantissa = mantissa * 10_000 + view.getInt16(at + DIGITS_AT + 2 * index)
    }
    if (count > 0) {
      const last = view.getInt16(at + DIGITS_AT + 2 * (count - 1))
      mantissa = mantissa * power(4 - zeros) + last / power(zeros)
      exponent += zeros
    } else exponent = 0
    this.mantissa = mantissa
    this.exponent = exponent
    return mantissa < 1e15 && exponent >= -22 && exponent <= 22
  }
}

/** numeric as float64. */
export class NumericFloatReader extends FixedReader<Float64Array> {
  readonly #column: string
  readonly #small = new SmallNumeric()
  #inexact = 0

  constructor(column: string) {
    super({ kind: 'float64' }, new Float64Array(0))
    this.#column = column
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    const small = this.#small
    if (!small.read(view, at)) {
      this.data[row] = this.#readText(decimalText(view, at))
      return
    }
    const { mantissa, exponent } = small
    const value = exponent < 0 ? mantissa / power(-exponent) : mantissa * power(exponent)
    this.data[row] = view.getUint16(at + 4) === NEGATIVE ? -value : value
  }

  override take(rows: number): ColumnBatch {
    const inexact = this.#inexact
    this.#inexact = 0
    return { ...super.take(rows), inexact }
  }

  #readText(text: string): number {
    const value = Number(text)
    if (Number.isFinite(value)) {
      if (canonical(text) !== canonical(String(value))) this.#inexact++
    } else if (!/^(?:NaN|-?Infinity)$/.test(text)) {
      throw doesNotFit(this.#column, 'a float64', "Read it with numeric: 'string'.")
    }
    return value
  }
}

/** Digits without zeros around them, and the exponent of the last: equal texts are equal numbers. */
function canonical(text: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(text) ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  const significant = digits.replace(/0+$/, '')
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`
}

/** numeric as decimal128. */
export class NumericDecimalReader extends FixedReader<Uint32Array> {
  readonly #column: string
  readonly #small = new SmallNumeric()
  readonly #precision: number
  readonly #scale: number
  readonly #limit: bigint

  constructor(column: string, precision: number, scale: number) {
    super({ kind: 'decimal', precision, scale }, new Uint32Array(0), 4)
    this.#column = column
    this.#precision = precision
    this.#scale = scale
    this.#limit = 10n ** BigInt(precision)
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    const small = this.#small
    if (small.read(view, at)) {
      const shift = small.exponent + this.#scale
      const scaled = shift >= 0 && shift <= 22 ? small.mantissa * power(shift) : Number.NaN
      if (scaled < 1e15 && scaled < 10 ** this.#precision) {
        this.#writeSmall(row, scaled, view.getUint16(at + 4) === NEGATIVE && scaled !== 0)
        return
      }
    }
    this.#writeLarge(row, this.#scaled(decimalText(view, at)))
  }

  protected override view(data: Uint32Array): ColumnValues {
    return new BigUint64Array(data.buffer, 0, data.length >> 1)
  }

  #writeSmall(row: number, value: number, negative: boolean): void {
    const { data } = this
    const high = Math.floor(value / 2 ** 32)
    // A negative number is its complement plus one, which carries over only where the low half is 0.
    const low = value % 2 ** 32
    data[4 * row] = negative ? -low : low
    data[4 * row + 1] = negative ? (low === 0 ? -high : ~high) : high
    data[4 * row + 2] = negative ? -1 : 0
    data[4 * row + 3] = negative ? -1 : 0
  }

  #writeLarge(row: number, value: bigint): void {
    for (let word = 0; word < 4; word++) {
      this.data[4 * row + word] = Number(BigInt.asUintN(32, value >> BigInt(32 * word)))
    }
  }

  #scaled(text: string): bigint {
    if (/[Ny]/.test(text)) throw notFinite(this.#column, text, `decimal128(${this.#precision}, ${this.#scale})`)
    const [, whole = '', fraction = ''] = /^(-?\d+)(?:\.(\d+))?$/.exec(text) ?? []
    const kept = fraction.slice(0, this.#scale).padEnd(this.#scale, '0')
    const lost = whole === '' || /[1-9]/.test(fraction.slice(this.#scale))
    const value = lost ? this.#limit : BigInt(whole + kept)
    if (value < this.#limit && -value < this.#limit) return value
    throw doesNotFit(this.#column, `decimal128(${this.#precision}, ${this.#scale})`, "Read it with numeric: 'string'.")
  }
}

/** numeric as text, for those with more digits than decimal128 has. */
export class NumericTextReader extends TextReader {
  override read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    const text = Buffer.from(decimalText(view, at), 'latin1')
    super.read(text, new DataView(text.buffer, text.byteOffset, text.length), row, 0, text.length)
  }
}

/** The server's text of a numeric in its binary form. */
function decimalText(view: DataView, at: number): string {
  const count = view.getInt16(at)
  const weight = view.getInt16(at + 2)
  const sign = view.getUint16(at + 4)
  const scale = view.getInt16(at + 6)
  if (sign === NAN) return 'NaN'
  if (sign === INFINITY) return 'Infinity'
  if (sign === MINUS_INFINITY) return '-Infinity'
  const group = (index: number): string => {
    const digits = index >= 0 && index < count ? view.getInt16(at + DIGITS_AT + 2 * index) : 0
    return String(digits).padStart(4, '0')
  }
  let whole = ''
  for (let index = 0; index <= weight; index++) whole += group(index)
  let fraction = ''
  for (let index = weight + 1; fraction.length < scale; index++) fraction += group(index)
  const digits = whole.replace(/^0+(?=\d)/, '') || '0'
  return `${sign === NEGATIVE ? '-' : ''}${digits}${scale > 0 ? `.${fraction.slice(0, scale)}` : ''}`
}

function notFinite(column: string, value: string, layout: string): UsageError {
  const name = JSON.stringify(column)
  return new UsageError('INVALID_VALUE', `Column ${name} holds ${value}, which ${layout} does not have.`, {
    hint: `Read it with numeric: 'string' or numeric: 'float64', or select nullif(${name}, '${value}').`,
  })
}

function doesNotFit(column: string, layout: string, hint: string): UsageError {
  return new UsageError(
    'INVALID_VALUE',
    `Column ${JSON.stringify(column)} holds a numeric that does not fit ${layout}.`,
    {
      hint,
    },
  )
}
