import { UsageError } from '../../errors.ts'
import { decode } from './byte-source.ts'

/** Lines that follow each other, without their ends. */
export interface TextLines {
  readonly lines: readonly string[]
  /** The number of the first one, from 1. */
  readonly first: number
}

/** A line is held in memory. */
export const maxLineLength: number = 64 * 1024 * 1024

/** The lines of UTF-8 bytes. @throws UsageError INVALID_VALUE for one of more than 64 Mi characters, or no UTF-8 */
export async function* textLines(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<TextLines> {
  let held: string[] = []
  let length = 0
  let first = 1
  for await (const text of decode(bytes, name)) {
    const end = text.lastIndexOf('\n')
    if (end !== -1) {
      const lines = (held.join('') + text.slice(0, end)).split('\n')
      yield { lines: lines.map(withoutReturn), first }
      first += lines.length
      held = []
      length = 0
    }
    if (end + 1 === text.length) continue
    held.push(text.slice(end + 1))
    length += text.length - end - 1
    if (length > maxLineLength) throw lineTooLong(name, first)
  }
  if (held.length > 0) yield { lines: [held.join('')], first }
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}

/** The error for a line that is not held in memory. */
export function lineTooLong(name: string, line: number): UsageError {
  const message = `Line ${line} of ${name} has more than ${maxLineLength / 1024 / 1024} Mi characters`
  return new UsageError('INVALID_VALUE', message, { hint: 'Does it have line ends? Is its format another one?' })
}
