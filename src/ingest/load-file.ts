import { quoteLiteral } from '../sql/literal.ts'
import { invalidOption } from '../sql/option.ts'
import { encodedColumns, writable } from './encode/encoder.ts'
import { columnPairs } from './encode/layout.ts'
import type { LoadReport, LoadSettings } from './load-option.ts'
import { loadRows, sendRules } from './load-rows.ts'
import type { LoadRun } from './load-run.ts'
import { pieceParser } from './piece-parser.ts'
import { Sender } from './sender.ts'
import type { ByteSource } from './source/byte-source.ts'
import { type CsvFormat, CsvReader, csvFormat, csvRows } from './source/csv.ts'
import type { CsvRecord } from './source/csv-record.ts'
import { influxRows } from './source/influx.ts'
import { jsonRows } from './source/json.ts'
import { ndjsonRows } from './source/ndjson.ts'

/** The rows of a format in which they are objects; undefined for any other. */
export function objectRows(
  { format, name }: Pick<ByteSource, 'format' | 'name'>,
  bytes: AsyncIterable<Buffer>,
  { measurement, measurementColumn, missingTime, timeUnit }: LoadSettings,
  timeColumn = 'time',
  isWhole = true,
): AsyncGenerator<object> | undefined {
  if (format === 'ndjson') return ndjsonRows(bytes, name)
  if (format === 'json') return jsonRows(bytes, name, isWhole)
  if (format !== 'influx') return undefined
  const now = BigInt(Date.now()) * 1_000_000n
  const unit = { ns: 1n, us: 1000n, ms: 1_000_000n, s: 1_000_000_000n }[timeUnit ?? 'ns']
  const missing = missingTime === 'now' ? now / unit : undefined
  return influxRows(bytes, name, { measurement, measurementColumn, timeColumn, missingTime: missing })
}

/** Loads a file or stream of text. */
export async function loadBytes(run: LoadRun, source: ByteSource): Promise<LoadReport> {
  run.input = source
  const objects = objectRows(source, source.bytes, run.settings, run.target.time?.column)
  if (objects !== undefined) {
    await run.openLedger('row', source)
    run.path = { kind: 'binary', reason: `${source.format} is parsed` }
    return loadRows(run, objects, undefined, true)
  }
  const format = csvFormat(source, run.settings)
  const reader = new CsvReader(source.bytes, source.name)
  const newlines = await reader.endsWithNewlines()
  const given = newlines && run.settings.header !== false ? await reader.header(format) : undefined
  const names = given ?? (await withoutHeader(run))
  const reason = newlines ? whyParsed(names, run.settings) : 'lines end with a bare carriage return'
  await run.openLedger(reason === undefined ? 'line' : 'row', source)
  if (reason === undefined) return passThrough(run, reader, names, format)
  run.path = { kind: 'binary', reason: `parsed: ${reason}` }
  if (newlines) return loadRows(run, csvRows(reader.rest(), source.name, format, reader.lines, names.length), names)
  const width = run.settings.header === false ? names.length : undefined
  const records = csvRows(reader.rest(), source.name, format, 0, width)
  const header = run.settings.header === false ? names : headerOf(await records.next(), source.name)
  return loadRows(run, records, header)
}

function headerOf(first: IteratorResult<CsvRecord>, name: string): string[] {
  if (first.done === true) throw invalidOption(`${name} is empty: it has no header.`)
  return first.value.values().map((value) => value ?? '')
}

async function withoutHeader({ table, settings }: LoadRun): Promise<readonly string[]> {
  return Array.isArray(settings.columns) ? settings.columns : writable(table)
}

const parsedPieceBytes = 2 * 1024 * 1024

/** Why the file's own bytes cannot be sent; undefined where they can. */
function whyParsed(given: readonly string[], settings: LoadSettings): string | undefined {
  if (columnPairs(given, settings.columns).length < given.length) return 'not all of its columns are loaded'
  if (Object.keys(settings.constants ?? {}).length > 0) return 'constants are added'
  if (settings.timeUnit !== undefined) return 'the option timeUnit'
  if (settings.timeFormat !== undefined) return 'the option timeFormat'
  if (settings.verify === true) return 'its values are verified'
  if (settings.onBadRow !== undefined && settings.onBadRow !== 'stop') return 'bad rows are looked for'
  return undefined
}

async function passThrough(
  run: LoadRun,
  reader: CsvReader,
  given: readonly string[],
  format: CsvFormat,
): Promise<LoadReport> {
  const { settings, table } = run
  const byName = new Map(columnPairs(given, settings.columns).map(({ source, column }) => [source, column]))
  const targets = given.map((name) => byName.get(name) ?? name)
  // A type whose binary form is not known needs no detour here: everything is text.
  const columns = encodedColumns(table, targets, settings).map((column) => ({ ...column, asText: false }))
  const copy = `format csv, delimiter ${quoteLiteral(format.delimiter)}, null ${quoteLiteral(format.nullText)}`
  // As everywhere here, times without a zone do not depend on the session, and 01/02/2001 is nobody's guess.
  const reading = new Map([
    ['timezone', settings.timeZone ?? 'UTC'],
    ['datestyle', 'ISO, YMD'],
  ])
  const sender = new Sender(await sendRules(run, columns, copy, reading))
  run.path = { kind: 'csv', reason: 'nothing is to be changed or sorted' }
  const parser = await pieceParser(run, given, format)
  // What is parsed while the engine writes the piece before; windows of an import are all of one size.
  const small = parser !== undefined && run.ledger === undefined
  const pieceBytes = small ? Math.min(settings.batchBytes, parsedPieceBytes) : settings.batchBytes
  return run.drive(reader.pieces(pieceBytes), async (piece) => {
    const raw = { ...piece, sender }
    return parser?.parsed(raw) ?? raw
  })
}
