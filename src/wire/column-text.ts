import { UsageError } from '../errors.ts'
import type { ColumnBatch, ColumnType } from './column.ts'
import { BaseReader, copied, keptRows, noBits, trimmed, widened } from './column-fixed.ts'

// Casts in this file: an index that was just checked is in its buffer, and the loops run for every byte.

/** Small, and doubled: most results are, and clearing memory would be most of their cost. */
const FIRST_BYTES = 1 << 9
/** Offsets are 32 bits wide, signed. */
const MOST_BYTES = 2 ** 31 - 1

/** bytea, and text whose values differ: bytes and offsets. */
export class BytesReader extends BaseReader {
  protected readonly type: ColumnType
  readonly #column: string
  #offsets = new Int32Array(1)
  #data = Buffer.alloc(0)
  #used = 0
  /** What the next batch begins with: as much as the last one took. */
  #expected = FIRST_BYTES

  constructor(type: ColumnType, column: string) {
    super()
    this.type = type
    this.#column = column
  }

  override get bytes(): number {
    return this.#used
  }

  override grow(capacity: number): void {
    super.grow(capacity)
    this.#offsets = widened(this.#offsets, capacity + 1)
  }

  override null(row: number): void {
    super.null(row)
    this.#offsets[row + 1] = this.#used
  }

  read(bytes: Buffer, _view: DataView, row: number, at: number, size: number): void {
    this.append(bytes, row, at, size)
  }

  protected append(bytes: Uint8Array, row: number, at: number, size: number): void {
    if (this.#used + size > this.#data.length) this.#makeRoom(size)
    const data = this.#data
    let used = this.#used
    // A call of copy costs as much as about 40 bytes.
    if (size > 40) {
      data.set(bytes.subarray(at, at + size), used)
      used += size
    } else for (let index = at; index < at + size; index++) data[used++] = bytes[index] as number
    this.#used = used
    this.#offsets[row + 1] = used
  }

  take(rows: number): ColumnBatch {
    const values = trimmed(this.#data, this.#used)
    const offsets = trimmed(this.#offsets, rows + 1)
    // A little more: batches end at about one size, and growing copies all of it.
    this.#expected = Math.max(this.#used + (this.#used >> 3), FIRST_BYTES)
    this.#offsets = new Int32Array(1)
    this.#data = Buffer.alloc(0)
    this.#used = 0
    return { type: this.type, ...this.takeNulls(rows), values, offsets }
  }

  #makeRoom(size: number): void {
    const needed = this.#used + size
    if (needed > MOST_BYTES) throw tooLong(this.#column)
    const length = Math.min(Math.max(this.#data.length * 2, this.#expected, needed), MOST_BYTES)
    const wider = Buffer.allocUnsafeSlow(length)
    wider.set(this.#data.subarray(0, this.#used))
    this.#data = wider
  }
}

/** Longer values are hardly ever repeated. */
const LONGEST_WORD = 256
const MOST_WORDS = 1 << 16
const FEW_WORDS = 1 << 10
/** Room made at first: most results are small. */
const FIRST_WORDS = keptRows

/** text and its kin: numbers of words while words come back, bytes and offsets once they turn out to be many. */
export class TextReader extends BytesReader {
  #words: WordTable | undefined = new WordTable()
  #codes: Int32Array = noCodes
  /** Of {@link keptRows}. NULLs are written in it, so it needs no clearing. */
  #kept: Int32Array | undefined
  #capacity = 0
  /** Rows of earlier batches. */
  #before = 0

  override grow(capacity: number): void {
    this.#capacity = capacity
    if (this.#words === undefined) super.grow(capacity)
    else {
      // The offsets are not needed yet.
      BaseReader.prototype.grow.call(this, capacity)
      if (capacity <= keptRows) {
        this.#kept ??= new Int32Array(keptRows)
        this.#codes = this.#kept
      } else this.#codes = widened(this.#codes, capacity)
    }
  }

  override null(row: number): void {
    if (this.#words === undefined) super.null(row)
    else {
      BaseReader.prototype.null.call(this, row)
      this.#codes[row] = 0
    }
  }

  override read(bytes: Buffer, view: DataView, row: number, at: number, size: number): void {
    if (this.#words !== undefined) {
      const code = size > LONGEST_WORD ? -1 : this.#words.find(bytes, view, at, size, this.#before + row)
      if (code >= 0) {
        this.#codes[row] = code
        return
      }
      this.#spellOut(this.#words, row)
    }
    this.append(bytes, row, at, size)
  }

  override take(rows: number): ColumnBatch {
    if (this.#words === undefined) return super.take(rows)
    this.#before += rows
    const codes = this.#codes
    const values = codes === this.#kept ? copied(codes, rows) : trimmed(codes, rows)
    this.#codes = noCodes
    const { length, nullCount, validity } = this.takeNulls(rows)
    return { type: this.type, length, nullCount, validity, values, dictionary: this.#words.toBatch(this.type) }
  }

  override reset(): void {
    this.#words = this.#words?.renewed() ?? new WordTable()
    this.#before = 0
  }

  /** Writes the words of the rows below `rows` as they are, and goes on like that. */
  #spellOut(words: WordTable, rows: number): void {
    this.#words = undefined
    const codes = this.#codes
    this.#codes = noCodes
    const { values, offsets } = words
    BytesReader.prototype.grow.call(this, this.#capacity)
    for (let row = 0; row < rows; row++) {
      const code = codes[row] as number
      const start = this.isNull(row) ? 0 : (offsets[code] as number)
      const end = this.isNull(row) ? 0 : (offsets[code + 1] as number)
      this.append(values, row, start, end - start)
    }
  }
}

const noCodes = new Int32Array(0)

/** The different words of a column, numbered: an open hash table that compares bytes. */
class WordTable {
  values: Uint8Array = new Uint8Array(FIRST_BYTES)
  offsets = new Int32Array(FIRST_WORDS + 1)
  /** Of `values`. */
  #view = viewOf(this.values)
  #hashes = new Int32Array(FIRST_WORDS)
  /** One more than the number of the word; 0: free. */
  #slots = new Int32Array(FIRST_WORDS * 2)
  #count = 0
  #used = 0
  /** Steps beyond the first ones of a search. */
  #detour = 0

  /** The word's number; -1 when the column should better do without: too many words, or searches take too long. */
  find(bytes: Buffer, view: DataView, at: number, size: number, seen: number): number {
    const hash = hashOf(bytes, view, at, size)
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (let steps = 0; ; steps++) {
      const word = (this.#slots[slot] as number) - 1
      if (word < 0) return this.#add(bytes, at, size, seen, hash, slot)
      if (this.#hashes[word] === hash && this.#equals(word, bytes, view, at, size)) return word
      // Words made to collide would cost a walk through all of them each time.
      if (steps >= 16 && ++this.#detour > seen * 4 + 10_000) return -1
      slot = (slot + 1) & mask
    }
  }

  /** The words so far. */
  toBatch(type: ColumnType): ColumnBatch {
    const small = this.#small
    const values = small ? copied(this.values, this.#used) : this.values.subarray(0, this.#used)
    const offsets = small ? copied(this.offsets, this.#count + 1) : this.offsets.subarray(0, this.#count + 1)
    return { type, length: this.#count, nullCount: 0, validity: noBits, values, offsets }
  }

  /** An empty table: this one, where nobody else has a part of it. */
  renewed(): WordTable {
    if (!this.#small) return new WordTable()
    this.#slots.fill(0)
    this.#count = 0
    this.#used = 0
    this.#detour = 0
    return this
  }

  /** Of a size that is kept, and of which copies are given. */
  get #small(): boolean {
    return this.offsets.length === FIRST_WORDS + 1 && this.values.length === FIRST_BYTES
  }

  #equals(word: number, bytes: Buffer, incoming: DataView, at: number, size: number): boolean {
    const start = this.offsets[word] as number
    if ((this.offsets[word + 1] as number) - start !== size) return false
    if (size < 4) {
      const { values } = this
      for (let index = 0; index < size; index++) if (values[start + index] !== bytes[at + index]) return false
      return true
    }
    const view = this.#view
    const last = size - 4
    for (let index = 0; index < last; index += 4) {
      if (view.getInt32(start + index) !== incoming.getInt32(at + index)) return false
    }
    // Overlaps the one before where the size is no multiple of four.
    return view.getInt32(start + last) === incoming.getInt32(at + last)
  }

  #add(bytes: Buffer, at: number, size: number, seen: number, hash: number, slot: number): number {
    const word = this.#count
    if (word >= MOST_WORDS || (word >= FEW_WORDS && word > seen / 2)) return -1
    if (this.#used + size > this.values.length) {
      this.values = widened(this.values, (this.#used + size) * 2)
      this.#view = viewOf(this.values)
    }
    this.values.set(bytes.subarray(at, at + size), this.#used)
    this.#used += size
    this.#count++
    this.#hashes[word] = hash
    this.offsets[word + 1] = this.#used
    this.#slots[slot] = word + 1
    if (this.#count * 2 >= this.#slots.length) this.#rehash()
    return word
  }

  #rehash(): void {
    const length = this.#slots.length * 2
    const slots = new Int32Array(length)
    for (let word = 0; word < this.#count; word++) {
      let slot = (this.#hashes[word] as number) & (length - 1)
      while (slots[slot] !== 0) slot = (slot + 1) & (length - 1)
      slots[slot] = word + 1
    }
    this.#slots = slots
    this.#hashes = widened(this.#hashes, length / 2)
    this.offsets = widened(this.offsets, length / 2 + 1)
  }
}

function hashOf(bytes: Buffer, view: DataView, at: number, size: number): number {
  let hash = size
  if (size < 4) {
    for (let index = at; index < at + size; index++) hash = Math.imul(hash ^ (bytes[index] as number), 0x9e3779b1)
    return hash ^ (hash >>> 15)
  }
  const last = at + size - 4
  for (let index = at; index < last; index += 4) {
    hash = Math.imul(hash ^ view.getInt32(index), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  // Overlaps the one before where the size is no multiple of four.
  hash = Math.imul(hash ^ view.getInt32(last), 0x9e3779b1)
  return hash ^ (hash >>> 15)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function tooLong(column: string): UsageError {
  return new UsageError('INVALID_VALUE', `Column ${JSON.stringify(column)} holds more than 2 GB in one batch.`, {
    hint: 'Read it with streamColumns and fewer rows in a batch.',
  })
}
