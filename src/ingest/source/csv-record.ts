import { LazyRow } from '../encode/encoder.ts'

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

/** Whole records, one by one, empty ones included. */
export function* recordsOf(text: string, syntax: CsvSyntax): Generator<CsvRecord> {
  if (!text.includes('"')) {
    const lines = text.split(text.includes('\r') ? /\r\n|\n|\r/ : '\n')
    // What follows the last end of a line.
    if (lines.at(-1) === '') lines.pop()
    for (const line of lines) yield new CsvRecord(line, syntax)
    return
  }
  let quoted = false
  let start = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) quoted = !quoted
    else if (!quoted && (code === LINE_FEED || code === CARRIAGE_RETURN)) {
      yield new CsvRecord(text.slice(start, at), syntax)
      if (code === CARRIAGE_RETURN && text.charCodeAt(at + 1) === LINE_FEED) at++
      start = at + 1
    }
  }
  if (start < text.length) yield new CsvRecord(text.slice(start), syntax)
}

/** A record as it is written. Its fields are taken apart when they are needed: as values they are most of a batch's memory. */
export class CsvRecord extends LazyRow {
  readonly text: string
  readonly #syntax: CsvSyntax

  /** @param text - with every quote closed, without the end of its line */
  constructor(text: string, syntax: CsvSyntax) {
    super()
    this.text = text
    this.#syntax = syntax
  }

  /** About the bytes that it weighs. */
  get size(): number {
    return this.text.length
  }

  /** How many lines it takes. */
  get lines(): number {
    return this.text.includes('"') ? this.text.split(/\r\n|\n|\r/).length : 1
  }

  values(): CsvField[] {
    const { text } = this
    const { delimiter, nullText } = this.#syntax
    if (text.includes('"')) return quotedFields(text, this.#syntax)
    const fields: CsvField[] = text.split(delimiter)
    for (let index = 0; index < fields.length; index++) if (fields[index] === nullText) fields[index] = null
    return fields
  }
}

function quotedFields(text: string, { delimiter, nullText }: CsvSyntax): CsvField[] {
  const separator = delimiter.charCodeAt(0)
  const fields: CsvField[] = []
  for (let at = 0; at <= text.length; at++) {
    let value = ''
    let quoted = false
    let start = at
    for (; at < text.length; at++) {
      const code = text.charCodeAt(at)
      if (code === separator) break
      if (code !== QUOTE) continue
      value += text.slice(start, at)
      quoted = true
      start = at + 1
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
    fields.push(!quoted && value === nullText ? null : value)
  }
  return fields
}
