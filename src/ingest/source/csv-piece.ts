import { type CsvPiece, countQuotes } from './csv.ts'
import { type CsvRecord, type CsvSyntax, recordsOf } from './csv-record.ts'

/**
 * The records of a piece, where the server would take it apart in the same way; else why not.
 * @param columns - how many there are
 */
export function pieceRecords(
  { blocks }: CsvPiece,
  syntax: CsvSyntax,
  columns: number,
): readonly CsvRecord[] | { readonly reason: string } {
  const text = textOf(blocks)
  if (text === undefined) return { reason: 'bytes are no UTF-8' }
  const quotes = text.includes('"') ? countQuotes(blocks) : 0
  if (quotes % 2 === 1) return { reason: 'a quote is not closed' }
  if (text.includes('\r') && (quotes > 0 || !endsAlike(text))) return { reason: 'there are carriage returns' }
  const records = [...recordsOf(text, syntax)]
  if (columns > 1 && records.some((record) => record.text === '')) return { reason: 'there are empty lines' }
  return records.length === 0 ? { reason: 'there are no records' } : records
}

function textOf(blocks: readonly Buffer[]): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(blocks))
  } catch {
    return undefined
  }
}

/** Whether all lines end with a carriage return and a newline. */
function endsAlike(text: string): boolean {
  const pairs = countOf(text, '\r\n')
  return pairs === countOf(text, '\r') && pairs === countOf(text, '\n')
}

function countOf(text: string, part: string): number {
  let count = 0
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + part.length)) count++
  return count
}
