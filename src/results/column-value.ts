import type { ColumnBatch } from '../wire/column.ts'

/** The value of a row of a batch; null where it is NULL. */
export type Access = (row: number) => unknown

/** An interval as the server keeps it: a month and a day have no fixed length. */
export interface IntervalValue {
  readonly months: number
  readonly days: number
  readonly microseconds: bigint
}

/** The two numbers that stand for infinity in 64-bit dates and times, as in {@link ColumnBatch}. */
export const LARGEST_64: bigint = 2n ** 63n - 1n
export const SMALLEST_64: bigint = -(2n ** 63n)
/** The same for 32 bits. */
export const LARGEST_32: number = 2 ** 31 - 1
export const SMALLEST_32: number = -(2 ** 31)

/** Gives null for NULL rows, else what `access` gives. */
export function withNulls(batch: ColumnBatch, access: Access): Access {
  if (batch.nullCount === 0) return access
  const { validity } = batch
  return (row) => (((validity[row >> 3] ?? 0) >> (row & 7)) & 1 ? access(row) : null)
}

/**
 * The values of a batch, exactly: bigint for int64 and microseconds, days for dates, text for decimals; infinite dates
 * and times are ±Infinity. The kind is looked at once, not for every row.
 */
export function exactAccess(batch: ColumnBatch): Access {
  return withNulls(batch, exactValue(batch))
}

function exactValue(batch: ColumnBatch): Access {
  const { values, type } = batch
  switch (type.kind) {
    case 'bool':
      return (row) => ((Number(values[row >> 3]) >> (row & 7)) & 1) === 1
    case 'text':
    case 'json':
      return textAccess(batch)
    case 'binary':
      return bytesAccess(batch)
    case 'decimal':
      return decimalAccess(batch, type.scale)
    case 'date':
      return (row) => infinity(values[row], LARGEST_32, SMALLEST_32)
    case 'timestamp':
    case 'timestamptz':
      return (row) => infinity(values[row], LARGEST_64, SMALLEST_64)
    case 'interval':
      return intervalAccess(batch)
    case 'list':
      return listAccess(batch, exactAccess)
    default:
      return (row) => values[row]
  }
}

function infinity<T extends number | bigint>(value: number | bigint | undefined, largest: T, smallest: T): unknown {
  if (value === largest) return Number.POSITIVE_INFINITY
  return value === smallest ? Number.NEGATIVE_INFINITY : value
}

/** The texts of a batch without a look at NULL; words of a dictionary are made once. */
export function textAccess(batch: ColumnBatch): (row: number) => string {
  const { dictionary, values } = batch
  if (dictionary === undefined) return spelledAccess(batch)
  const spell = spelledAccess(dictionary)
  const words: string[] = []
  return (row) => {
    const word = Number(values[row])
    const known = words[word]
    if (known !== undefined) return known
    const text = spell(word)
    words[word] = text
    return text
  }
}

function spelledAccess({ values, offsets }: ColumnBatch): (row: number) => string {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return (row) => bytes.toString('utf8', offsets?.[row], offsets?.[row + 1])
}

function bytesAccess({ values, offsets }: ColumnBatch): Access {
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength)
  return (row) => bytes.subarray(offsets?.[row], offsets?.[row + 1])
}

function decimalAccess({ values }: ColumnBatch, scale: number): Access {
  return (row) => {
    const scaled = (BigInt.asIntN(64, BigInt(values[2 * row + 1] ?? 0)) << 64n) | BigInt(values[2 * row] ?? 0)
    const digits = String(scaled < 0n ? -scaled : scaled).padStart(scale + 1, '0')
    const whole = digits.length - scale
    return `${scaled < 0n ? '-' : ''}${digits.slice(0, whole)}${scale > 0 ? `.${digits.slice(whole)}` : ''}`
  }
}

/** The intervals of a batch without a look at NULL. */
export function intervalAccess({ children = [] }: ColumnBatch): (row: number) => IntervalValue | number {
  const [months, days, microseconds] = children.map((child) => child.values)
  return (row): IntervalValue | number => {
    const value = {
      months: Number(months?.[row]),
      days: Number(days?.[row]),
      microseconds: BigInt(microseconds?.[row] ?? 0),
    }
    return infiniteInterval(value) ?? value
  }
}

/** ±Infinity for an interval without end, which PostgreSQL 17 and later have. */
function infiniteInterval({ months, days, microseconds }: IntervalValue): number | undefined {
  if (months === LARGEST_32 && days === LARGEST_32 && microseconds === LARGEST_64) return Number.POSITIVE_INFINITY
  if (months === SMALLEST_32 && days === SMALLEST_32 && microseconds === SMALLEST_64) return Number.NEGATIVE_INFINITY
  return undefined
}

/** The lists of a batch, nested where the server's array has several dimensions. */
export function listAccess(batch: ColumnBatch, accessOf: (elements: ColumnBatch) => Access): Access {
  const { offsets, shapes, children } = batch
  const [elements] = children ?? []
  if (elements === undefined || offsets === undefined) return () => []
  const access = accessOf(elements)
  return (row) => {
    const list: unknown[] = []
    const end = offsets[row + 1] ?? 0
    for (let index = offsets[row] ?? 0; index < end; index++) list.push(access(index))
    const shape = shapes?.get(row)
    return shape === undefined ? list : nested(list, shape)
  }
}

function nested(list: readonly unknown[], [, ...inner]: readonly number[]): readonly unknown[] {
  if (inner.length === 0) return list
  const size = inner.reduce((product, length) => product * length, 1)
  const count = list.length / size
  return Array.from({ length: count }, (_, index) => nested(list.slice(index * size, (index + 1) * size), inner))
}
