import { UnreadableRow } from '../encode/encoder.ts'
import { textLines } from './text-line.ts'

/** The objects of a file with one JSON text per line; empty lines are passed over. A line that is none is an UnreadableRow. */
export async function* ndjsonRows(bytes: AsyncIterable<Buffer>, name: string): AsyncGenerator<object> {
  for await (const { lines, first } of textLines(bytes, name)) {
    let number = first
    for (const text of lines) {
      if (text !== '' && text.trim() !== '') yield jsonRow(text, number)
      number++
    }
  }
}

/**
 * The object of a JSON text, with every digit of its numbers; an UnreadableRow where it is none.
 * @param place - the number of its line, or where else it is
 */
export function jsonRow(text: string, place: string | number): object {
  try {
    const value: unknown = JSON.parse(longNumber.test(text) ? withTexts(text) : text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch {
    // Not as the cause: its message quotes the line.
  }
  return new UnreadableRow(`${typeof place === 'number' ? `line ${place}` : place} is no JSON object`, text)
}

/** So many digits in a row, or with a dot between, may be more than a number keeps, and so may a large exponent. */
const longNumber = /\d[\d.]{15}|e[+-]?\d{3}/i
const smallestNormal = 2 ** -1022
const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[[\]{}]/g

/**
 * The same object with texts for its numbers that JavaScript would change, and for arrays and objects with such numbers
 * in them: a text is taken as JSON by a column of JSON, and with all its digits by one of numbers.
 */
function withTexts(text: string): string {
  let result = ''
  let copied = 0
  let depth = 0
  let start = 0
  let inexact = false
  for (const match of text.matchAll(token)) {
    const [found] = match
    const at = match.index
    if (found === '{' || found === '[') {
      if (++depth === 2) {
        start = at
        inexact = false
      }
    } else if (found === '}' || found === ']') {
      if (depth-- !== 2 || !inexact) continue
      result += text.slice(copied, start) + JSON.stringify(text.slice(start, at + 1))
      copied = at + 1
    } else if (!found.startsWith('"') && isChanged(found)) {
      inexact = true
      if (depth !== 1) continue
      result += `${text.slice(copied, at)}"${found}"`
      copied = at + found.length
    }
  }
  return result + text.slice(copied)
}

/** Whether a number has digits that JavaScript does not keep. */
function isChanged(text: string): boolean {
  const digits = significant(text)
  const number = Number(text)
  if (!Number.isFinite(number) || (number === 0 && digits !== '')) return true
  // Next to zero a number has fewer digits than elsewhere.
  const keptDigits = Math.abs(number) < smallestNormal ? 0 : 15
  return digits.length > keptDigits && digits !== significant(String(number))
}

function significant(text: string): string {
  return text.replace(/e.*$/i, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
}
