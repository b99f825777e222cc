import type { ColumnBatch, ColumnReader, ColumnType } from './column.ts'
import { BaseReader, widened } from './column-fixed.ts'
import { parseArray } from './text-type.ts'

const noValues = new Uint8Array(0)

/** Arrays: offsets into the elements, which have a reader of their own. */
abstract class BaseListReader extends BaseReader {
  protected readonly element: ColumnReader<ColumnBatch>
  readonly #type: ColumnType
  #offsets = new Int32Array(1)
  #count = 0
  #capacity = 0
  #shapes = new Map<number, readonly number[]>()

  constructor(element: ColumnReader<ColumnBatch>) {
    super()
    this.element = element
    this.#type = { kind: 'list', element: element.take(0).type }
  }

  /** An element of fixed size counts as eight bytes. */
  override get bytes(): number {
    return this.element.bytes + this.#count * 8
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    this.#offsets = widened(this.#offsets, capacity + 1)
  }

  override null(row: number): void {
    super.null(row)
    this.#offsets[row + 1] = this.#count
  }

  take(rows: number): ColumnBatch {
    const offsets = this.#offsets.subarray(0, rows + 1)
    const children = [this.element.take(this.#count)]
    const shapes = this.#shapes
    this.#offsets = new Int32Array(1)
    this.#count = 0
    this.#capacity = 0
    this.#shapes = new Map()
    return { type: this.#type, ...this.takeNulls(rows), values: noValues, offsets, children, shapes }
  }

  override reset(): void {
    this.element.reset()
  }

  /** The number of the next element, with room for it. */
  protected next(): number {
    if (this.#count === this.#capacity) {
      this.#capacity = Math.max(64, this.#capacity * 2)
      this.element.grow(this.#capacity)
    }
    return this.#count++
  }

  protected end(row: number, shape: readonly number[]): void {
    this.#offsets[row + 1] = this.#count
    if (shape.length > 1) this.#shapes.set(row, shape)
  }
}

/**
 * Arrays whose elements are read from their binary form (arrayfuncs.c, array_send): dimensions, flag, element type, for
 * each dimension length and lower bound, then for each element its size, or -1 for NULL, and its bytes.
 */
export class ListReader extends BaseListReader {
  read(bytes: Buffer, view: DataView, row: number, at: number): void {
    const dimensions = view.getInt32(at)
    let position = at + 12
    let count = dimensions === 0 ? 0 : 1
    let shape: number[] | undefined
    for (let dimension = 0; dimension < dimensions; dimension++) {
      const length = view.getInt32(position)
      count *= length
      if (dimensions > 1) {
        shape ??= []
        shape.push(length)
      }
      position += 8
    }
    for (; count > 0; count--) {
      const size = view.getInt32(position)
      position += 4
      if (size < 0) this.element.null(this.next())
      else {
        this.element.read(bytes, view, this.next(), position, size)
        position += size
      }
    }
    this.end(row, shape ?? oneDimension)
  }
}

const oneDimension: readonly number[] = [0]

/** Arrays of which the server's text is read, because their elements are. */
export class TextListReader extends BaseListReader {
  readonly #column: string
  readonly #delimiter: string

  constructor(element: ColumnReader<ColumnBatch>, column: string, delimiter: string) {
    super(element)
    this.#column = column
    this.#delimiter = delimiter
  }

  read(bytes: Buffer, _view: DataView, row: number, at: number, size: number): void {
    const items = parseArray(bytes.toString('utf8', at, at + size), String, this.#column, this.#delimiter)
    const shape: number[] = []
    for (let item: unknown = items; Array.isArray(item); item = item[0]) shape.push(item.length)
    this.#add(items)
    this.end(row, shape)
  }

  #add(items: readonly unknown[]): void {
    for (const item of items) {
      if (Array.isArray(item)) this.#add(item)
      else if (typeof item !== 'string') this.element.null(this.next())
      else {
        const text = Buffer.from(item)
        const view = new DataView(text.buffer, text.byteOffset, text.length)
        this.element.read(text, view, this.next(), 0, text.length)
      }
    }
  }
}
