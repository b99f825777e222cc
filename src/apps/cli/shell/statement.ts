/** What a line of input ends or asks for. */
export type Input =
  | { readonly kind: 'statement'; readonly text: string; readonly line: number }
  /** What follows a backslash up to the end of the line. */
  | { readonly kind: 'command'; readonly text: string }

/** Where the text read so far stops: between statements, in the middle of one, or inside of what must be closed. */
export type Place = 'start' | 'statement' | "'" | '"' | '$' | '(' | '/*'

const DOLLAR = /\$(?:[a-z_\u0080-\uffff][a-z0-9_\u0080-\uffff]*)?\$/iy
const WORD = /[a-z_\u0080-\uffff][a-z0-9_$\u0080-\uffff]*/iy

/**
 * Cuts lines into statements at semicolons, as the server reads them: not in quotes, dollar quotes, comments,
 * parentheses, or the body of a function written in SQL (BEGIN ATOMIC … END).
 */
export class StatementReader {
  #text = ''
  /** Set once the text holds more than spaces and comments. */
  #begun = false
  #beginsAt = 0
  #line = 0
  #quote: { readonly place: Place; readonly end: string; readonly escapes: boolean } | undefined
  #comments = 0
  #parentheses = 0
  #atomic = 0
  #lastWord = ''

  get place(): Place {
    if (this.#quote !== undefined) return this.#quote.place
    if (this.#comments > 0) return '/*'
    if (this.#parentheses > 0) return '('
    return this.#begun ? 'statement' : 'start'
  }

  /** What was read since the last statement ended. */
  get pending(): string {
    return this.#text
  }

  /** Forgets what is pending. */
  clear(): void {
    this.#text = ''
    this.#begun = false
    this.#quote = undefined
    this.#comments = 0
    this.#parentheses = 0
    this.#atomic = 0
    this.#lastWord = ''
  }

  /** Reads one line, without its end. */
  add(line: string): Input[] {
    this.#line++
    const found: Input[] = []
    let start = 0
    for (let at = 0; at < line.length; ) {
      const character = line[at] ?? ''
      const next = this.#skip(line, at)
      if (next !== undefined) {
        at = next
      } else if (character === ';' && this.#parentheses === 0 && this.#atomic === 0) {
        this.#text += line.slice(start, at)
        found.push(...this.take())
        at++
        start = at
      } else if (character === '\\') {
        this.#text += line.slice(start, at)
        found.push({ kind: 'command', text: line.slice(at + 1) })
        return found
      } else {
        this.#readToken(character)
        at++
      }
    }
    this.#text += `${line.slice(start)}\n`
    return found
  }

  /** The pending text as a statement, where there is more in it than spaces and comments. */
  take(): Input[] {
    const statement = { kind: 'statement', text: this.#text.trim(), line: this.#beginsAt } as const
    const begun = this.#begun
    this.clear()
    return begun ? [statement] : []
  }

  /** The end of a quote, comment, word or space that begins at `at` or goes on there; undefined for anything else. */
  #skip(line: string, at: number): number | undefined {
    if (this.#quote !== undefined) return this.#skipQuote(line, at, this.#quote)
    if (this.#comments > 0) return this.#skipComment(line, at)
    if (line.startsWith('--', at)) return line.length
    if (line.startsWith('/*', at)) {
      this.#comments = 1
      return at + 2
    }
    if (/\s/.test(line[at] ?? '')) return at + 1
    const quote = this.#openQuote(line, at)
    if (quote !== undefined) return quote
    WORD.lastIndex = at
    const word = WORD.exec(line)?.[0]
    if (word === undefined) return undefined
    // The E of E'…' belongs to its quote.
    if (/^[e]$/i.test(word) && line[at + 1] === "'") return this.#open("'", "'", at + 2, true)
    this.#readWord(word.toLowerCase())
    return at + word.length
  }

  #openQuote(line: string, at: number): number | undefined {
    const character = line[at]
    if (character === "'" || character === '"') return this.#open(character, character, at + 1, false)
    DOLLAR.lastIndex = at
    const tag = character === '$' ? DOLLAR.exec(line)?.[0] : undefined
    return tag === undefined ? undefined : this.#open('$', tag, at + tag.length, false)
  }

  #open(place: Place, end: string, next: number, escapes: boolean): number {
    this.#begin()
    this.#quote = { place, end, escapes }
    return next
  }

  #skipQuote(line: string, at: number, quote: { readonly end: string; readonly escapes: boolean }): number {
    for (let index = at; index < line.length; index++) {
      if (quote.escapes && line[index] === '\\') index++
      else if (line.startsWith(quote.end, index)) {
        // A doubled quote closes it and opens the next one, which comes to the same.
        this.#quote = undefined
        return index + quote.end.length
      }
    }
    return line.length
  }

  #skipComment(line: string, at: number): number {
    const next = line.slice(at).search(/\/\*|\*\//)
    if (next === -1) return line.length
    this.#comments += line[at + next] === '/' ? 1 : -1
    return at + next + 2
  }

  #readWord(word: string): void {
    this.#begin()
    if (word === 'atomic' && this.#lastWord === 'begin') this.#atomic = 1
    else if (this.#atomic > 0 && word === 'case') this.#atomic++
    else if (this.#atomic > 0 && word === 'end') this.#atomic--
    this.#lastWord = word
  }

  #readToken(character: string): void {
    this.#begin()
    this.#lastWord = ''
    if (character === '(') this.#parentheses++
    if (character === ')') this.#parentheses = Math.max(0, this.#parentheses - 1)
  }

  #begin(): void {
    if (!this.#begun) this.#beginsAt = this.#line
    this.#begun = true
  }
}
