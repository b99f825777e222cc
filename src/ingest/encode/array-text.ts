/** An item of an array's text: a text, null, or the items of a list in it. */
export type ArrayItem = string | null | readonly ArrayItem[]

/** So many levels an array of the server may have. */
export const maxDimensions = 6

/** What the server takes for white space there, which is less than what JavaScript does. */
const space = /[ \t\n\v\f\r]/

/**
 * The items of an array as a user writes it, such as `{1, NULL, "a b"}`, nested as they are: "Array Input and Output Syntax"
 * of the PostgreSQL manual. What versions of the server read differently, and bounds such as `[0:1]=`, are no array here.
 * @returns undefined where the server would not read it
 */
export function parseArrayText(text: string): readonly ArrayItem[] | undefined {
  const reader = new ArrayTextReader(text)
  const items = reader.list(1)
  return reader.ended ? items : undefined
}

class ArrayTextReader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  /** Whether nothing is left. */
  get ended(): boolean {
    this.#skip()
    return this.#at === this.#text.length
  }

  list(depth: number): readonly ArrayItem[] | undefined {
    if (depth > maxDimensions || !this.#takes('{')) return undefined
    const items: ArrayItem[] = []
    if (this.#takes('}')) return items
    for (;;) {
      const item = this.#item(depth)
      if (item === undefined) return undefined
      items.push(item)
      if (this.#takes('}')) return items
      if (!this.#takes(',')) return undefined
    }
  }

  #item(depth: number): ArrayItem | undefined {
    this.#skip()
    const first = this.#text[this.#at]
    if (first === '{') return this.list(depth + 1)
    return first === '"' ? this.#quoted() : this.#plain()
  }

  #quoted(): string | undefined {
    const text = this.#text
    let value = ''
    for (this.#at++; text[this.#at] !== '"'; this.#at++) {
      if (text[this.#at] === '\\') this.#at++
      if (this.#at >= text.length) return undefined
      value += text[this.#at]
    }
    this.#at++
    return value
  }

  #plain(): string | null | undefined {
    const text = this.#text
    const start = this.#at
    while (this.#at < text.length && !'{},"\\'.includes(text[this.#at] ?? '')) this.#at++
    // A backslash takes the meaning of what follows; nobody writes it without quotes.
    if (text[this.#at] === '\\') return undefined
    let end = this.#at
    while (end > start && space.test(text[end - 1] ?? '')) end--
    if (end === start) return undefined
    const value = text.slice(start, end)
    return value.toUpperCase() === 'NULL' ? null : value
  }

  /** Whether a character is next, white space aside; it is passed then. */
  #takes(character: string): boolean {
    this.#skip()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #skip(): void {
    while (this.#at < this.#text.length && space.test(this.#text[this.#at] ?? '')) this.#at++
  }
}
