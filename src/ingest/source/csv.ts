import type { Writable } from 'node:stream'
import { parse } from 'csv-parse'
import { parse as parseAll } from 'csv-parse/sync'
import { UsageError } from '../../errors.ts'
import { invalidOption } from '../../sql/option.ts'
import type { LoadOptions } from '../load-option.ts'
import { type ByteSource, decode } from './byte-source.ts'

/** How a CSV is written. */
export interface CsvFormat {
  readonly delimiter: string
  /** What is NULL where it is not quoted. */
  readonly nullText: string
}

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
  async header({ delimiter }: CsvFormat): Promise<string[]> {
    const { end } = await this.#firstEnd()
    const record = this.#held.subarray(0, end === 0 ? this.#held.length : end)
    this.#held = this.#held.subarray(record.length)
    this.#lines += countLines([record])
    if (record.length === 0) throw new UsageError('INVALID_VALUE', `${this.#name} is empty: it has no header`)
    try {
      const [names = []]: string[][] = parseAll(record, { delimiter, to: 1 })
      return names
    } catch (error) {
      throw new UsageError('INVALID_VALUE', `The header of ${this.#name} cannot be read`, { cause: error })
    }
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
        if (tailBytes > maxRecordBytes) throw this.#tooLong()
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
    return { blocks: blocks.filter(({ length }) => length > 0), lines }
  }

  #tooLong(): UsageError {
    const megabytes = maxRecordBytes / 1024 / 1024
    return new UsageError(
      'INVALID_VALUE',
      `A record after line ${this.#lines} of ${this.#name} is longer than ${megabytes} MiB`,
      {
        hint: 'A quote that is never closed?',
      },
    )
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
      if (size > maxRecordBytes) throw this.#tooLong()
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

const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf])

/** How many line ends there are. */
export function countLines(blocks: readonly Buffer[]): number {
  let lines = 0
  for (const block of blocks)
    for (let at = block.indexOf(newline); at !== -1; at = block.indexOf(newline, at + 1)) lines++
  return lines
}

/** The records of a CSV as texts and nulls. @throws UsageError INVALID_VALUE naming the line of what cannot be read */
export async function* csvRows(
  bytes: AsyncIterable<Buffer>,
  name: string,
  { delimiter, nullText }: CsvFormat,
  linesBefore = 0,
): AsyncGenerator<(string | null)[]> {
  const parser = parse({
    delimiter,
    record_delimiter: ['\r\n', '\n', '\r'],
    // The number of fields is checked where rows are counted.
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: maxRecordBytes,
    cast: (value, { quoting }) => (!quoting && value === nullText ? null : value),
  })
  const feed = async (): Promise<void> => {
    for await (const text of decode(bytes, name, linesBefore)) {
      if (parser.destroyed) return
      if (!parser.write(text)) await untilTaken(parser)
    }
    parser.end()
  }
  feed().catch((error: unknown) => parser.destroy(error instanceof Error ? error : new Error(String(error))))
  try {
    for await (const record of parser) yield record
  } catch (error) {
    if (!(error instanceof Error && 'lines' in error && typeof error.lines === 'number')) throw error
    const line = linesBefore + error.lines
    throw new UsageError('INVALID_VALUE', `Line ${line} of ${name} is no CSV: ${reasonOf(error)}`, {
      hint: /record size|quote not closed/.test(reasonOf(error)) ? 'A quote that is never closed?' : undefined,
    })
  }
}

/** Resolves when a stream takes more, or never will. */
function untilTaken(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.once('drain', done)
    stream.once('close', done)
  })
}

/** The parser's messages quote the data after a colon; its codes do not. */
function reasonOf(error: Error): string {
  return 'code' in error ? String(error.code).replace(/^CSV_/, '').replaceAll('_', ' ').toLowerCase() : 'unreadable'
}
