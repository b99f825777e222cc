/** A field of a CSV; null for one that is the NULL text and not quoted. */
export type CsvField = string | null

/** How fields are told apart. */
export interface CsvSyntax {
  readonly delimiter: string
  readonly nullText: string
}

const LINE_FEED = 10
const CARRIAGE_RETURN = 13
const QUOTE = 34

/**
 * Cuts text into whole records, however it comes. A quote anywhere begins or ends a quoted part, two within one are a
 * quote, as COPY reads a CSV (copyfromparse.c, CopyReadAttributesCSV); a bare carriage return ends a record too.
 */
export class RecordCutter {
  /** What came after the last end of a record. */
  #pieces: string[] = []
  #held = 0
  #quoted = false

  /** Characters of the record that has not ended yet. */
  get held(): number {
    return this.#held
  }

  /** Whether that record is inside of quotes. */
  get quoted(): boolean {
    return this.#quoted
  }

  /** All records that have ended by now; empty where none has. */
  push(text: string): string {
    const end = this.#endIn(text)
    if (end === 0) {
      this.#keep(text)
      return ''
    }
    const records = this.#pieces.join('') + text.slice(0, end)
    this.#pieces = []
    this.#held = 0
    this.#keep(text.slice(end))
    return records
  }

  /** The record that nothing ended. */
  rest(): string {
    return this.#pieces.join('')
  }

  #keep(text: string): void {
    if (text === '') return
    this.#pieces.push(text)
    this.#held += text.length
  }

  /** Where the last record that ends in the text ends; 0 where none does. */
  #endIn(text: string): number {
    // A carriage return may be half of an end: the next text tells.
    const length = text.endsWith('\r') ? text.length - 1 : text.length
    let end = 0
    let at = 0
    for (let next = text.indexOf('"'); next !== -1; next = text.indexOf('"', at)) {
      if (!this.#quoted) end = Math.max(end, lineEnd(text, at, next))
      this.#quoted = !this.#quoted
      at = next + 1
    }
    return this.#quoted ? end : Math.max(end, lineEnd(text, at, length))
  }
}

/** The place after the last line end from `start` on and before `end`; 0 for none. */
function lineEnd(text: string, start: number, end: number): number {
  const last = Math.max(text.lastIndexOf('\n', end - 1), text.lastIndexOf('\r', end - 1))
  return end > start && last >= start ? last + 1 : 0
}

/** The fields of whole records; empty lines are none. */
export function* recordsOf(text: string, syntax: CsvSyntax): Generator<CsvField[]> {
  if (text.includes('"')) {
    yield* quotedRecords(text, syntax)
    return
  }
  const { delimiter, nullText } = syntax
  for (const line of text.split(text.includes('\r') ? /\r\n|\n|\r/ : '\n')) {
    if (line === '') continue
    const fields: CsvField[] = line.split(delimiter)
    for (let index = 0; index < fields.length; index++) if (fields[index] === nullText) fields[index] = null
    yield fields
  }
}

function* quotedRecords(text: string, { delimiter, nullText }: CsvSyntax): Generator<CsvField[]> {
  const separator = delimiter.charCodeAt(0)
  let fields: CsvField[] = []
  let at = 0
  while (at < text.length) {
    let value = ''
    let quoted = false
    let start = at
    let code = Number.NaN
    for (; at < text.length; at++) {
      code = text.charCodeAt(at)
      if (code === separator || code === LINE_FEED || code === CARRIAGE_RETURN) break
      if (code !== QUOTE) continue
      value += text.slice(start, at)
      quoted = true
      start = at + 1
      // The records are whole, so there is one.
      at = text.indexOf('"', start)
      while (text.charCodeAt(at + 1) === QUOTE) {
        value += text.slice(start, at + 1)
        start = at + 2
        at = text.indexOf('"', start)
      }
      value += text.slice(start, at)
      start = at + 1
    }
    value = value === '' ? text.slice(start, at) : value + text.slice(start, at)
    const ended = at >= text.length || code !== separator
    if (code === CARRIAGE_RETURN && text.charCodeAt(at + 1) === LINE_FEED) at++
    at++
    if (ended && fields.length === 0 && value === '' && !quoted) continue
    fields.push(!quoted && value === nullText ? null : value)
    // A delimiter at the very end is followed by an empty field.
    if (!ended && at >= text.length) fields.push(nullText === '' ? null : '')
    if (!ended && at < text.length) continue
    yield fields
    fields = []
  }
}
