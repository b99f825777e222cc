import { UsageError } from '../../errors.ts'
import { decode } from './byte-source.ts'
import { jsonRow } from './ndjson.ts'
import { maxLineLength } from './text-line.ts'

/**
 * The objects of a file that is one JSON array, while they are read. One that is none is an UnreadableRow.
 * @param isWhole - whether the bytes are all there is; a beginning may end anywhere
 * @throws UsageError INVALID_VALUE for a file that is no array, or is cut off
 */
export async function* jsonRows(bytes: AsyncIterable<Buffer>, name: string, isWhole = true): AsyncGenerator<object> {
  const splitter = new ArraySplitter(name)
  for await (const text of decode(bytes, name)) yield* splitter.take(text)
  if (isWhole && !splitter.ended) throw splitter.error(splitter.begun ? 'ends within its array' : 'is empty')
}

/** Cuts the text of an array at the commas between its items. */
class ArraySplitter {
  begun = false
  ended = false
  readonly #name: string
  #depth = 0
  #quoted = false
  #escaped = false
  #held = ''
  #item = 0
  #line = 1

  constructor(name: string) {
    this.#name = name
  }

  *take(text: string): Generator<object> {
    let start = 0
    for (let at = 0; at < text.length; at++) {
      const char = text.charCodeAt(at)
      if (char === 10) this.#line++
      if (this.#quoted) {
        if (this.#escaped) this.#escaped = false
        else if (char === 92) this.#escaped = true
        else if (char === 34) this.#quoted = false
      } else if (!this.begun || this.ended) {
        this.#outside(char)
        start = at + 1
      } else if (char === 34) this.#quoted = true
      else if (char === 123 || char === 91) this.#depth++
      else if (this.#depth > 0) {
        if (char === 125 || char === 93) this.#depth--
      } else if (char === 44 || char === 93) {
        const item = this.#held + text.slice(start, at)
        this.#held = ''
        start = at + 1
        this.ended = char === 93
        if (item.trim() !== '' || !this.ended || this.#item > 0) yield this.#row(item)
      }
    }
    if (this.begun && !this.ended) this.#held += text.slice(start)
    if (this.#held.length > maxLineLength) throw this.error(`has an item of more than ${maxLineLength} characters`)
  }

  #row(item: string): object {
    this.#item++
    return jsonRow(item, `item ${this.#item}, which ends in line ${this.#line},`)
  }

  #outside(char: number): void {
    if (char === 32 || char === 9 || char === 10 || char === 13) return
    if (this.begun || char !== 91) throw this.error(this.begun ? 'goes on after its array' : 'does not begin with [')
    this.begun = true
  }

  error(problem: string): UsageError {
    const hint = this.begun ? undefined : "A file with one object per line has the format 'ndjson'."
    return new UsageError('INVALID_VALUE', `Line ${this.#line} of ${this.#name}: it ${problem}`, { hint })
  }
}
