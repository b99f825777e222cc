import { backgroundOf } from '../connection/background.ts'
import type { BatchError, QueryError } from '../errors.ts'
import { rowError, type TableEncoder } from './encode/encoder.ts'
import { layoutEncoder } from './encode/layout.ts'
import { type ReadAlike, readAlike } from './encode/read-alike.ts'
import { sendRules } from './load-rows.ts'
import type { LoadRun } from './load-run.ts'
import type { PreparedBytes, PreparedPiece } from './prepared.ts'
import { Sender } from './sender.ts'
import type { CsvFormat } from './source/csv.ts'
import { pieceRecords } from './source/csv-piece.ts'
import type { CsvRecord } from './source/csv-record.ts'

/** So many pieces may have to be passed through; after that, only a half of all, else no more are parsed. */
const fewRefused = 3

/**
 * Parses what could be passed through as well, where that is faster: on an engine in this process, which needs longer to read
 * text than we do. Undefined where it is not, or may not come to the same.
 * @param given - the names of the file's columns
 */
export async function pieceParser(
  run: LoadRun,
  given: readonly string[],
  format: CsvFormat,
): Promise<PieceParser | undefined> {
  const { session, settings, table } = run
  if (backgroundOf(session) === undefined || (settings.onConflict ?? 'error') !== 'error') return undefined
  // The server refuses such a text for NULL.
  if (/["\r\n]/.test(format.nullText) || format.nullText.includes(format.delimiter)) return undefined
  const encoder = layoutEncoder(table, given, settings)
  const tests = encoder.columns.map((column) => {
    const place = given.indexOf(encoder.propertyOf(encoder.columns.indexOf(column)) ?? '')
    const type = table.columns.find(({ name }) => name === column.name)
    return { place, test: type && readAlike(type, settings.timeZone ?? 'UTC'), name: column.name }
  })
  if (encoder.asText || tests.some(({ test }) => test === undefined)) return undefined
  const byPlace = given.map((_, place) => tests.find((one) => one.place === place))
  run.path = { kind: 'binary', reason: faster }
  return new PieceParser(
    run,
    format,
    encoder,
    byPlace,
    new Sender(await sendRules(run, encoder.columns, 'format binary')),
  )
}

const faster = 'parsed: the engine in this process reads text more slowly'

interface PlaceTest {
  readonly name: string
  readonly test: ReadAlike | undefined
}

/** Parses pieces as long as that comes to the same as passing them through. */
class PieceParser {
  readonly #run: LoadRun
  readonly #format: CsvFormat
  readonly #encoder: TableEncoder
  readonly #tests: readonly (PlaceTest | undefined)[]
  readonly #sender: Sender
  #refused = 0
  #pieces = 0
  #reason: string | undefined

  constructor(
    run: LoadRun,
    format: CsvFormat,
    encoder: TableEncoder,
    tests: readonly (PlaceTest | undefined)[],
    sender: Sender,
  ) {
    this.#run = run
    this.#format = format
    this.#encoder = encoder
    this.#tests = tests
    this.#sender = sender
  }

  /** The rows of a piece; undefined where it is to be passed through. */
  parsed(raw: PreparedBytes): PreparedPiece | undefined {
    if (this.#run.ledger?.done.has(raw.lines)) return undefined
    this.#pieces++
    if (this.#refused >= fewRefused && this.#refused * 2 > this.#pieces) return this.#refuse(this.#reason ?? '')
    const records = pieceRecords(raw, this.#format, this.#tests.length)
    if ('reason' in records) return this.#refuse(records.reason)
    const refused = (error: BatchError | QueryError): void => {
      this.#refuse(error.message.replace(/^Row \d+: /, '').replace(/\.$/, ''))
    }
    return { piece: this.#batch(raw.lines, records), sender: this.#sender, raw, refused }
  }

  #refuse(reason: string): undefined {
    this.#refused++
    this.#reason ??= reason
    const batches = this.#refused === 1 ? '1 batch' : `${this.#refused} batches`
    this.#run.path = { kind: 'binary', reason: `${faster}; ${batches} passed through: ${this.#reason}` }
  }

  #batch(first: number, records: readonly CsvRecord[]): PreparedPiece['piece'] {
    const encoder = this.#encoder
    return {
      first,
      rows: records.length,
      write: (buffer, row) => {
        const fields = records[row]?.values() ?? []
        for (let at = 0; at < fields.length; at++) {
          const value = fields[at]
          const own = this.#tests[at]
          if (typeof value !== 'string' || own?.test?.(value) !== false) continue
          throw rowError(row, `Column ${JSON.stringify(own.name)}: a text that only the server can judge`)
        }
        encoder.row(buffer, fields, row)
      },
      valuesOf: (column) => {
        const valueAt = encoder.valueReader(column)
        return (row) => valueAt(records[row] ?? [])
      },
      source: (row) => records[row]?.values(),
    }
  }
}
