import { UsageError } from '../errors.ts'
import { decode } from './byte-source.ts'
import { UnreadableRow } from './encoder.ts'

/** The objects of a file with one JSON text per line; empty lines are passed over. A line that is none is an UnreadableRow. */
export async function* ndjsonRows(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<object> {
  let rest = ''
  let line = 0
  for await (const text of decode(bytes, name)) {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > maxLineLength) {
      throw new UsageError(
        'INVALID_VALUE',
        `Line ${line + lines.length + 1} of ${name} has more than ${maxLineLength} characters`,
      )
    }
    for (const one of lines) {
      line++
      if (one.trim() !== '') yield toRow(one, line)
    }
  }
  if (rest.trim() !== '') yield toRow(rest, line + 1)
}

/** A line is held in memory. */
const maxLineLength = 64 * 1024 * 1024

function toRow(text: string, line: number): object {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch {
    // Not as the cause: its message quotes the line.
  }
  return new UnreadableRow(`line ${line} is no JSON object`, text)
}
