import type { ColumnBatch, ColumnReader, ColumnType, ColumnValues } from './column.ts'

/** The numbers a reader writes one by one. */
type NumberBuffer = Uint8Array | Int16Array | Int32Array | Uint32Array | Float32Array | Float64Array

/** The validity of a batch without NULL. */
export const noBits: Uint8Array = new Uint8Array(0)

/**
 * Most results are small. A reader keeps the memory of so many rows and gives copies of just the rows' size: clearing
 * and collecting new memory would be most of what a small result costs.
 */
export const keptRows = 32

/** Keeps account of NULLs; the bits are made when the first one comes. */
export abstract class BaseReader implements ColumnReader<ColumnBatch> {
  protected nullCount = 0
  #validity = noBits
  #capacity = 0

  get bytes(): number {
    return 0
  }

  abstract read(bytes: Buffer, view: DataView, row: number, at: number, size: number): void
  abstract take(rows: number): ColumnBatch

  reset(): void {}

  grow(capacity: number): void {
    this.#capacity = capacity
    if (this.nullCount > 0) this.#validity = validBits(capacity, this.#validity)
  }

  null(row: number): void {
    if (this.nullCount === 0) this.#validity = validBits(this.#capacity, noBits)
    this.nullCount++
    const index = row >> 3
    this.#validity[index] = (this.#validity[index] ?? 0) & ~(1 << (row & 7))
  }

  protected isNull(row: number): boolean {
    return this.nullCount > 0 && (((this.#validity[row >> 3] ?? 0) >> (row & 7)) & 1) === 0
  }

  /** What every batch has in common; the account begins anew. */
  protected takeNulls(rows: number): Pick<ColumnBatch, 'length' | 'nullCount' | 'validity'> {
    const { nullCount } = this
    const validity = nullCount === 0 ? noBits : trimmed(this.#validity, (rows + 7) >> 3)
    this.nullCount = 0
    this.#validity = noBits
    return { length: rows, nullCount, validity }
  }
}

function validBits(capacity: number, old: Uint8Array): Uint8Array {
  const bits = new Uint8Array((capacity + 7) >> 3).fill(255)
  bits.set(old)
  return bits
}

/** The same numbers at the beginning of a larger buffer. */
export function widened<A extends NumberBuffer>(data: A, length: number): A {
  // A typed array's constructor makes its own kind, which TypeScript does not know.
  const wider = new (data.constructor as new (length: number) => A)(length)
  wider.set(data)
  return wider
}

/** The first numbers, in memory of their own. */
export function copied<A extends NumberBuffer>(data: A, length: number): A {
  // A copy is of the same kind, which TypeScript does not know.
  return data.slice(0, length) as A
}

/** The first numbers: where they are, unless two thirds of that memory are of no use. */
export function trimmed<A extends NumberBuffer>(data: A, length: number): A {
  return length * 3 < data.length ? copied(data, length) : (data.subarray(0, length) as A)
}

/** Values of one size. Without `grow` there is no room: writing beyond a typed array would be lost without a word. */
export abstract class FixedReader<A extends NumberBuffer> extends BaseReader {
  protected data: A
  protected readonly type: ColumnType
  readonly #empty: A
  readonly #elements: number
  /** Of {@link keptRows}; all 0 while it is not `data`, so that nothing of an earlier result is ever read again. */
  #kept: A | undefined

  /** @param elements - of `empty`'s kind that a row takes; below 1 where an element has several rows */
  constructor(type: ColumnType, empty: A, elements = 1) {
    super()
    this.type = type
    this.data = empty
    this.#empty = empty
    this.#elements = elements
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    if (capacity <= keptRows) {
      this.#kept ??= widened(this.#empty, Math.ceil(keptRows * this.#elements))
      this.data = this.#kept
      return
    }
    const wider = widened(this.data, Math.ceil(capacity * this.#elements))
    if (this.data === this.#kept) this.data.fill(0)
    this.data = wider
  }

  take(rows: number): ColumnBatch {
    const values = this.view(this.takeData(Math.ceil(rows * this.#elements)))
    const { length, nullCount, validity } = this.takeNulls(rows)
    return { type: this.type, length, nullCount, validity, values }
  }

  /** The first `elements`, in memory that is theirs from now on. */
  protected takeData(elements: number): A {
    const { data } = this
    this.data = this.#empty
    if (data !== this.#kept) return trimmed(data, elements)
    const values = copied(data, elements)
    data.fill(0, 0, elements)
    return values
  }

  /** The same bytes as the column's values. */
  protected view(data: A): ColumnValues {
    return data
  }
}

/** 64-bit values as two halves: BigInt would make one object for each. */
export abstract class WideReader extends FixedReader<Int32Array> {
  constructor(type: ColumnType) {
    super(type, new Int32Array(0), 2)
  }

  protected override view(data: Int32Array): ColumnValues {
    return new BigInt64Array(data.buffer, 0, data.length >> 1)
  }
}

/** bool. */
export class BoolReader extends FixedReader<Uint8Array> {
  constructor() {
    super({ kind: 'bool' }, new Uint8Array(0), 1 / 8)
  }

  read(bytes: Buffer, _view: DataView, row: number, at: number): void {
    if (bytes[at] === 0) return
    const index = row >> 3
    this.data[index] = (this.data[index] ?? 0) | (1 << (row & 7))
  }
}

/** int2. */
export class Int16Reader extends FixedReader<Int16Array> {
  constructor() {
    super({ kind: 'int16' }, new Int16Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[row] = view.getInt16(at)
  }
}

/** int4. */
export class Int32Reader extends FixedReader<Int32Array> {
  constructor() {
    super({ kind: 'int32' }, new Int32Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[row] = view.getInt32(at)
  }
}

/** oid and its kin. */
export class Uint32Reader extends FixedReader<Uint32Array> {
  constructor() {
    super({ kind: 'uint32' }, new Uint32Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[row] = view.getUint32(at)
  }
}

/** int8. */
export class Int64Reader extends WideReader {
  constructor() {
    super({ kind: 'int64' })
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[2 * row] = view.getInt32(at + 4)
    this.data[2 * row + 1] = view.getInt32(at)
  }
}

/** float4. */
export class Float32Reader extends FixedReader<Float32Array> {
  constructor() {
    super({ kind: 'float32' }, new Float32Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[row] = view.getFloat32(at)
  }
}

/** float8. */
export class Float64Reader extends FixedReader<Float64Array> {
  constructor() {
    super({ kind: 'float64' }, new Float64Array(0))
  }

  read(_bytes: Buffer, view: DataView, row: number, at: number): void {
    this.data[row] = view.getFloat64(at)
  }
}
