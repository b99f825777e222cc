import { instantText, serverText, type TextOf } from '../results/column-text.ts'
import { exactAccess, listAccess, textAccess } from '../results/column-value.ts'
import type { ColumnBatch } from '../wire/column.ts'
import { arrayDelimiter } from '../wire/text-type.ts'
import type { ExportSettings } from './export-option.ts'

/** A column of rows that came together. */
export interface ColumnPart {
  readonly name: string
  readonly typeId: number
  readonly batch: ColumnBatch
}

/** What comes before the first row. */
export function csvHeader(names: readonly string[], settings: ExportSettings): string {
  if (settings.header === false) return ''
  const quote = csvQuote(settings, names.length)
  return `${names.map(quote).join(settings.delimiter)}\n`
}

/** The rows as CSV, as the server's COPY writes them. */
export function csvRows(columns: readonly ColumnPart[], rows: number, settings: ExportSettings): string {
  const cells = columns.map((column) => csvCell(column, settings, columns.length))
  return joined(cells, rows, { before: '', between: settings.delimiter, after: '\n' })
}

/** The rows as lines of JSON objects. */
export function ndjsonRows(columns: readonly ColumnPart[], rows: number, settings: ExportSettings): string {
  const cells = columns.map((column) => {
    const name = `${JSON.stringify(column.name)}:`
    const value = jsonValue(column, settings.json === 'nested')
    const valid = validity(column.batch)
    return (row: number): string => name + (valid(row) ? value(row) : 'null')
  })
  return joined(cells, rows, { before: '{', between: ',', after: '}\n' })
}

interface Frame {
  readonly before: string
  readonly between: string
  readonly after: string
}

function joined(cells: readonly TextOf[], rows: number, { before, between, after }: Frame): string {
  const [first, ...others] = cells
  if (first === undefined) return (before + after).repeat(rows)
  let text = ''
  for (let row = 0; row < rows; row++) {
    text += before + first(row)
    for (const cell of others) text += between + cell(row)
    text += after
  }
  return text
}

/** Kinds whose text has nothing in it that must be quoted between the usual delimiters. */
const plainKinds = /^(?:bool|u?int\d+|float\d+|decimal|binary|date|time.*)$/

function csvCell({ batch, typeId }: ColumnPart, settings: ExportSettings, columns: number): TextOf {
  const { delimiter, nullText } = settings
  const valid = validity(batch)
  const plain = plainKinds.test(batch.type.kind) && ',;\t|'.includes(delimiter) && nullText === ''
  const quote = csvQuote(settings, columns)
  if (batch.dictionary !== undefined) {
    const words = textAccess(batch.dictionary)
    const quoted: string[] = []
    return (row) => {
      if (!valid(row)) return nullText
      const word = Number(batch.values[row])
      quoted[word] ??= quote(words(word))
      return quoted[word] ?? ''
    }
  }
  const text = serverText(batch, arrayDelimiter(typeId))
  if (plain) return batch.nullCount === 0 ? text : (row) => (valid(row) ? text(row) : nullText)
  return (row) => (valid(row) ? quote(text(row)) : nullText)
}

/** Quotes what would be read as something else (copyto.c, CopyAttributeOutCSV). */
function csvQuote({ delimiter, nullText }: ExportSettings, columns: number): (text: string) => string {
  const special = (text: string): boolean => /["\r\n]/.test(text) || text.includes(delimiter)
  return (text) => {
    // Alone on its line it would be the end of the data.
    const isEnd = columns === 1 && text === '\\.'
    return text === nullText || isEnd || special(text) ? `"${text.replaceAll('"', '""')}"` : text
  }
}

function validity({ nullCount, validity: bits }: ColumnBatch): (row: number) => boolean {
  return nullCount === 0 ? () => true : (row) => (((bits[row >> 3] ?? 0) >> (row & 7)) & 1) === 1
}

/** JSON of a value that is there. What JavaScript's numbers do not hold exactly is a text. */
function jsonValue({ batch, typeId }: Omit<ColumnPart, 'name'>, nested: boolean): TextOf {
  const { type } = batch
  switch (type.kind) {
    case 'bool':
    case 'int16':
    case 'int32':
    case 'uint32': {
      const exact = exactAccess(batch)
      return (row) => String(exact(row))
    }
    case 'int64': {
      const exact = exactAccess(batch)
      return (row) => wholeNumber(exact(row))
    }
    case 'float32':
    case 'float64': {
      const text = serverText(batch)
      return (row) => finite(text(row))
    }
    case 'timestamp':
      return quotedJson(instantText(batch, 'T', ''))
    case 'timestamptz':
      return quotedJson(instantText(batch, 'T', 'Z'))
    case 'json': {
      const text = textAccess(batch)
      // Line ends are only between values: in a JSON text they are written \n.
      return nested ? (row) => text(row).replaceAll(/[\r\n]+/g, ' ') : quotedJson(text)
    }
    case 'list': {
      const list = listAccess(batch, (elements) => {
        const value = jsonValue({ batch: { ...elements, nullCount: 0 }, typeId }, nested)
        const valid = validity(elements)
        return (row) => (valid(row) ? value(row) : 'null')
      })
      return (row) => jsonList(list(row))
    }
    default:
      return quotedJson(serverText(batch, arrayDelimiter(typeId)))
  }
}

function quotedJson(text: TextOf): TextOf {
  return (row) => JSON.stringify(text(row))
}

/** Beyond ±(2^53 − 1) a number would be read as another one. */
function wholeNumber(value: unknown): string {
  return Number.isSafeInteger(Number(value)) ? String(value) : `"${String(value)}"`
}

function finite(text: string): string {
  return /\d/.test(text) ? text : JSON.stringify(text)
}

function jsonList(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(jsonList).join(',')}]` : String(value)
}
