/**
 * Checksums of Parquet's pages, which parquet-wasm passes over. After https://parquet.apache.org/docs/file-format and its
 * parquet.thrift, in Thrift's compact protocol.
 */
import { crc32 } from 'node:zlib'

/** The values of a struct by their field numbers. */
type Struct = ReadonlyMap<number, Value>
type Value = number | boolean | Uint8Array | Struct | readonly Value[]

/** Where the pages of a column of a row group are. */
interface ColumnPages {
  /** Of more than one name within a struct, a list or a map. */
  readonly path: readonly string[]
  readonly start: number
  readonly bytes: number
}

/** Looks through the pages of a file for those that are not as they were written. */
export class PageChecksums {
  readonly #file: Blob
  readonly #groups: readonly (readonly ColumnPages[])[]
  /** Whether the file has checksums; undefined before the first pages. */
  #has: boolean | undefined

  private constructor(file: Blob, groups: readonly (readonly ColumnPages[])[]) {
    this.#file = file
    this.#groups = groups
  }

  /** @param file - a file that the library has opened: its end is one of Parquet */
  static async open(file: Blob): Promise<PageChecksums> {
    const end = new DataView(await file.slice(-8).arrayBuffer())
    const length = end.getUint32(0, true)
    const footer = new Uint8Array(await file.slice(-8 - length, -8).arrayBuffer())
    const [metadata] = readStruct(footer, 0)
    return new PageChecksums(file, list(metadata.get(4)).map(pagesOf))
  }

  /** The columns of a row group, in their order; undefined where they cannot be told apart by name as the library does it. */
  columns(group: number): readonly string[] | undefined {
    const paths = (this.#groups[group] ?? []).map(({ path }) => path)
    const names = paths.map(([name = '']) => name)
    const plain = paths.every((path) => path.length === 1) && names.every((name) => !name.includes('.'))
    return plain && new Set(names).size === names.length ? names : undefined
  }

  /** The first page of a row group whose bytes are not those of its checksum; undefined where there is none. */
  async damage(group: number): Promise<{ readonly column: string; readonly page: number } | undefined> {
    for (const { path, start, bytes } of this.#groups[group] ?? []) {
      if (this.#has === false) return undefined
      const pages = new Uint8Array(await this.#file.slice(start, start + bytes).arrayBuffer())
      const { page, sums } = checkPages(pages)
      // Who writes them writes them for every column.
      this.#has ??= sums > 0
      if (page !== undefined) return { column: path.join('.'), page }
    }
    return undefined
  }
}

/** @returns the first page that is damaged, and how many pages had a checksum */
function checkPages(bytes: Uint8Array): { readonly page: number | undefined; readonly sums: number } {
  let sums = 0
  let at = 0
  for (let page = 1; at < bytes.length; page++) {
    const read = pageAt(bytes, at)
    // What is no page is for the library to refuse.
    if (read === undefined) break
    if (read.sum !== undefined) {
      sums++
      if (crc32(bytes.subarray(read.start, read.end)) !== read.sum >>> 0) return { page, sums }
    }
    at = read.end
  }
  return { page: undefined, sums }
}

interface Page {
  readonly start: number
  readonly end: number
  readonly sum: number | undefined
}

/** PageHeader: 3 is the size of the page as it is in the file, 4 its CRC-32. */
function pageAt(bytes: Uint8Array, at: number): Page | undefined {
  try {
    const [header, start] = readStruct(bytes, at)
    const end = start + number(header.get(3))
    const sum = header.get(4)
    return end > start && end <= bytes.length
      ? { start, end, sum: typeof sum === 'number' ? sum : undefined }
      : undefined
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** RowGroup 1: columns; ColumnChunk 3: metadata; there 3: path, 7: bytes, 9 and 11: the first data and dictionary page. */
function pagesOf(group: Value): ColumnPages[] {
  return list(struct(group).get(1)).map((chunk) => {
    const metadata = struct(struct(chunk).get(3))
    const data = number(metadata.get(9))
    const dictionary = number(metadata.get(11))
    const path = list(metadata.get(3)).map((part) => (part instanceof Uint8Array ? Buffer.from(part).toString() : ''))
    const start = dictionary > 0 && dictionary < data ? dictionary : data
    return { path, start, bytes: number(metadata.get(7)) }
  })
}

function struct(value: Value | undefined): Struct {
  return value instanceof Map ? value : new Map()
}

function list(value: Value | undefined): readonly Value[] {
  return Array.isArray(value) ? value : []
}

function number(value: Value | undefined): number {
  return typeof value === 'number' ? value : 0
}

/** A struct, and where it ends. @throws RangeError where the bytes end before or are none */
function readStruct(bytes: Uint8Array, start: number): [Struct, number] {
  const reader = new CompactReader(bytes, start)
  return [reader.struct(), reader.at]
}

/** Reads Thrift's compact protocol. Every read beyond the end is a RangeError. */
class CompactReader {
  at: number
  readonly #bytes: Uint8Array
  #depth = 0

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  struct(): Struct {
    // Damaged bytes may nest without an end.
    if (++this.#depth > 32) throw new RangeError('structs in structs')
    const fields = new Map<number, Value>()
    let id = 0
    for (let head = this.#byte(); head !== 0; head = this.#byte()) {
      const step = head >> 4
      id = step === 0 ? this.#whole() : id + step
      const type = head & 15
      fields.set(id, type <= 2 ? type === 1 : this.#value(type))
    }
    this.#depth--
    return fields
  }

  #value(type: number): Value {
    if (type <= 2) return this.#byte() === 1
    if (type === 3) return this.#byte()
    if (type <= 6) return this.#whole()
    if (type === 7) return this.#take(8).byteLength
    if (type === 8) return this.#take(this.#unsigned())
    if (type === 9 || type === 10) return this.#list()
    if (type === 11) return this.#map()
    if (type === 12) return this.struct()
    throw new RangeError('no such type')
  }

  #list(): Value[] {
    const head = this.#byte()
    const size = head >> 4 === 15 ? this.#unsigned() : head >> 4
    if (size > this.#bytes.length) throw new RangeError('a list longer than the bytes')
    return Array.from({ length: size }, () => this.#value(head & 15))
  }

  /** Nothing that is asked for is in one. */
  #map(): Value[] {
    const size = this.#unsigned()
    const types = size === 0 ? 0 : this.#byte()
    for (let entry = 0; entry < size; entry++) {
      this.#value(types >> 4)
      this.#value(types & 15)
    }
    return []
  }

  #take(length: number): Uint8Array {
    if (this.at + length > this.#bytes.length) throw new RangeError('beyond the end')
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }

  #byte(): number {
    const byte = this.#bytes[this.at]
    if (byte === undefined) throw new RangeError('beyond the end')
    this.at++
    return byte
  }

  #unsigned(): number {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = this.#byte()
      value += (byte & 127) * factor
      if (byte < 128) return value
      if (factor > 2 ** 56) throw new RangeError('no number')
    }
  }

  /** Zigzag. Exact up to 2^52: further than any file is long. */
  #whole(): number {
    const value = this.#unsigned()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}
