import { UsageError } from '../../errors.ts'
import { invalidOption } from '../../sql/option.ts'
import type { LoadOptions } from '../load-option.ts'
import { type ByteSource, decode } from './byte-source.ts'
import { type CsvRecord, type CsvSyntax, RecordCutter, recordsOf } from './csv-record.ts'

/** How a CSV is written. */
export type CsvFormat = CsvSyntax

/** How a source is written, by the options. @throws UsageError INVALID_OPTION */
export function csvFormat(
  { format }: Pick<ByteSource, 'format'>,
  { delimiter, nullText = '' }: Pick<LoadOptions, 'delimiter' | 'nullText'>,
): CsvFormat {
  const chosen = delimiter ?? (format === 'tsv' ? '\t' : ',')
  if (Buffer.byteLength(chosen) === 1 && !'\r\n"'.includes(chosen)) return { delimiter: chosen, nullText }
  throw invalidOption('Option delimiter must be one character of ASCII, no quote and no line end.')
}

/** Whole records of a CSV, as they are. */
export interface CsvPiece {
  readonly blocks: readonly Buffer[]
  /** How many lines come before them. */
  readonly lines: number
}

/** A record is held in memory; one that is longer is a quote that was never closed. */
const maxRecordBytes = 64 * 1024 * 1024
const blockBytes = 256 * 1024
const newline = 10
const quote = 0x22

/**
 * Where the last whole record ends, without parsing: a quote anywhere begins or ends a quoted part, as the server reads
 * it, and only a newline outside of one ends a record.
 */
export function lastRecordEnd(
  bytes: Buffer,
  quotedBefore: boolean,
): { readonly end: number; readonly quoted: boolean } {
  let quoted = quotedBefore
  let at = 0
  let end = 0
  for (let next = bytes.indexOf(quote, at); next !== -1; next = bytes.indexOf(quote, at)) {
    if (!quoted) {
      const last = bytes.lastIndexOf(newline, next)
      if (last >= at) end = last + 1
    }
    quoted = !quoted
    at = next + 1
  }
  if (!quoted) {
    const last = bytes.lastIndexOf(newline)
    if (last >= at) end = last + 1
  }
  return { end, quoted }
}

/** The bytes of a CSV: its first record, and then all others in pieces of whole records. */
export class CsvReader {
  readonly #iterator: AsyncIterator<Buffer>
  readonly #name: string
  /** Bytes read and not given out. */
  #held: Buffer = Buffer.alloc(0)
  #lines = 0

  constructor(bytes: AsyncIterable<Buffer>, name: string) {
    this.#iterator = bytes[Symbol.asyncIterator]()
    this.#name = name
  }

  /** Lines given out so far. */
  get lines(): number {
    return this.#lines
  }

  /** Reads enough to see whether lines end with a bare carriage return, which only the parser reads. */
  async endsWithNewlines(): Promise<boolean> {
    return (await this.#firstEnd()).newlines
  }

  /** The names in the first record. @throws UsageError for none, or what cannot be read */
  async header(format: CsvFormat): Promise<string[]> {
    const { end } = await this.#firstEnd()
    const record = this.#held.subarray(0, end === 0 ? this.#held.length : end)
    this.#held = this.#held.subarray(record.length)
    this.#lines += countLines([record])
    if (record.length === 0) throw new UsageError('INVALID_VALUE', `${this.#name} is empty: it has no header`)
    const cutter = new RecordCutter()
    cutter.push(record.toString())
    if (cutter.quoted) throw new UsageError('INVALID_VALUE', `The header of ${this.#name} cannot be read`)
    const [first] = recordsOf(record.toString(), format)
    return (first?.values() ?? []).map((field) => field ?? format.nullText)
  }

  /** All that was not given out yet. */
  async *rest(): AsyncGenerator<Buffer> {
    yield this.#held
    for (let next = await this.#iterator.next(); next.done !== true; next = await this.#iterator.next())
      yield next.value
  }

  /** Pieces of at least `pieceBytes`, but the last. */
  async *pieces(pieceBytes: number): AsyncGenerator<CsvPiece> {
    let blocks: Buffer[] = []
    let size = 0
    let tail: Buffer[] = []
    let tailBytes = 0
    let quoted = false
    try {
      for await (const chunk of evenBlocks(this.rest())) {
        const scanned = lastRecordEnd(chunk, quoted)
        quoted = scanned.quoted
        if (scanned.end > 0) {
          blocks.push(...tail, chunk.subarray(0, scanned.end))
          size += tailBytes + scanned.end
          tail = []
          tailBytes = 0
        }
        tail.push(chunk.subarray(scanned.end))
        tailBytes += chunk.length - scanned.end
        if (tailBytes > maxRecordBytes) throw tooLong(this.#name, this.#lines)
        if (size === 0 || size < pieceBytes) continue
        yield this.#piece(blocks)
        blocks = []
        size = 0
      }
      if (size + tailBytes > 0) yield this.#piece([...blocks, ...tail])
    } finally {
      await this.#iterator.return?.()
    }
  }

  #piece(blocks: readonly Buffer[]): CsvPiece {
    const lines = this.#lines
    this.#lines += countLines(blocks)
    return { blocks: withoutEndMarks(blocks.filter(({ length }) => length > 0)), lines }
  }

  /** Where the first record ends; 0 where there is only one, without an end, or where it ends otherwise. */
  async #firstEnd(): Promise<{ readonly end: number; readonly newlines: boolean }> {
    const scan = new RecordScan()
    let size = this.#held.length
    const held = [this.#held]
    let end = scan.endIn(this.#held)
    let ended = false
    while (end === 0 && !ended) {
      // So many bytes without a newline, but with carriage returns, are lines.
      if (scan.carriage && size > blockBytes) break
      if (size > maxRecordBytes) throw tooLong(this.#name, this.#lines)
      const next = await this.#iterator.next()
      ended = next.done === true
      if (next.done === true) break
      const chunk = next.value.subarray(size === 0 && next.value.subarray(0, 3).equals(byteOrderMark) ? 3 : 0)
      const found = scan.endIn(chunk)
      if (found > 0) end = size + found
      held.push(chunk)
      size += chunk.length
    }
    this.#held = Buffer.concat(held, size)
    return { end, newlines: end > 0 || !scan.carriage }
  }
}

/** Looks for the end of the first record in blocks. */
class RecordScan {
  /** Whether a carriage return was seen outside of quotes. */
  carriage = false
  #quoted = false

  /** The place after the newline that ends the record; 0 where none does. */
  endIn(block: Buffer): number {
    for (let at = 0; at < block.length; at++) {
      const byte = block[at]
      if (byte === quote) this.#quoted = !this.#quoted
      else if (this.#quoted) continue
      else if (byte === newline) return at + 1
      else if (byte === 13) this.carriage = true
    }
    return 0
  }
}

/** Blocks of one size, so that where records are cut does not depend on how the bytes came. */
async function* evenBlocks(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held: Buffer[] = []
  let size = 0
  for await (const chunk of source) {
    held.push(chunk)
    size += chunk.length
    if (size < blockBytes) continue
    const joined = held.length === 1 ? chunk : Buffer.concat(held, size)
    let at = 0
    for (; size - at >= blockBytes; at += blockBytes) yield joined.subarray(at, at + blockBytes)
    held = [joined.subarray(at)]
    size -= at
  }
  if (size > 0) yield Buffer.concat(held, size)
}

/**
 * The same records, in which a line that is nothing but `\\.` is quoted: servers before PostgreSQL 18 take it for the end of
 * the data, and everything after it would be missing without a word.
 */
export function withoutEndMarks(blocks: readonly Buffer[]): readonly Buffer[] {
  if (!blocks.some((block) => block.includes(endMark) || block.at(-1) === endMark[0])) return blocks
  const bytes = Buffer.concat(blocks)
  const parts: Buffer[] = []
  let quotes = 0
  let counted = 0
  let copied = 0
  for (let at = bytes.indexOf(endMark); at !== -1; at = bytes.indexOf(endMark, at + 2)) {
    if (!isLineEnd(bytes[at - 1]) || !isLineEnd(bytes[at + 2])) continue
    for (; counted < at; counted++) if (bytes[counted] === quote) quotes++
    if (quotes % 2 === 1) continue
    parts.push(bytes.subarray(copied, at), quotedEndMark)
    copied = at + 2
  }
  return [...parts, bytes.subarray(copied)]
}

const endMark = Buffer.from('\\.')
const quotedEndMark = Buffer.from('"\\."')

function isLineEnd(byte: number | undefined): boolean {
  return byte === undefined || byte === newline || byte === 13
}

const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf])

/** How many line ends there are. */
export function countLines(blocks: readonly Buffer[]): number {
  return countBytes(blocks, newline)
}

export function countQuotes(blocks: readonly Buffer[]): number {
  return countBytes(blocks, quote)
}

function countBytes(blocks: readonly Buffer[], byte: number): number {
  let count = 0
  for (const block of blocks) for (let at = block.indexOf(byte); at !== -1; at = block.indexOf(byte, at + 1)) count++
  return count
}

/**
 * The records of a CSV. An empty line is a record where there is one column, as for the server, else none.
 * @param columns - how many there are, where the first record does not say it
 * @throws UsageError INVALID_VALUE naming the line of what cannot be read
 */
export async function* csvRows(
  bytes: AsyncIterable<Buffer>,
  name: string,
  format: CsvFormat,
  linesBefore = 0,
  columns?: number,
): AsyncGenerator<CsvRecord> {
  const cutter = new RecordCutter()
  let lines = linesBefore
  let width = columns
  let line = linesBefore + 1
  function* present(text: string): Generator<CsvRecord> {
    for (const record of recordsOf(text, format)) {
      record.line = line
      line += record.lines
      if (record.text !== '') width ??= record.values().length
      if (record.text !== '' || width === 1) yield record
    }
  }
  for await (const text of decode(bytes, name, linesBefore)) {
    const records = cutter.push(text)
    yield* present(records)
    lines += countEnds(records)
    if (cutter.held > maxRecordBytes) throw tooLong(name, lines)
  }
  if (cutter.quoted) {
    throw new UsageError('INVALID_VALUE', `Line ${lines + 1} of ${name} is no CSV: quote not closed`, {
      hint: 'A quote that is never closed?',
    })
  }
  yield* present(cutter.rest())
}

/** How many lines a text has ended. */
function countEnds(text: string): number {
  const end = text.includes('\n') ? '\n' : '\r'
  let count = 0
  for (let at = text.indexOf(end); at !== -1; at = text.indexOf(end, at + 1)) count++
  return count
}

function tooLong(name: string, lines: number): UsageError {
  const megabytes = maxRecordBytes / 1024 / 1024
  return new UsageError('INVALID_VALUE', `A record after line ${lines} of ${name} is longer than ${megabytes} MiB`, {
    hint: 'A quote that is never closed?',
  })
}
