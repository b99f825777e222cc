import { UsageError } from '../errors.ts'
import { formatName, type ObjectName, quoteIdentifier } from './identifier.ts'
import { formatLiteral, type LiteralValue } from './literal.ts'

/** A statement ready to be sent: text with `$1 …` and the values bound to them. */
export interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
}

/**
 * An immutable piece of SQL with its bound values. Made by {@link sql}; fragments nest, and their placeholders are
 * numbered when the whole is read.
 */
export class Sql implements Statement {
  // One text more than values: text 0, value 0, text 1, …
  readonly #texts: readonly string[]
  readonly values: readonly unknown[]

  constructor(texts: readonly string[], values: readonly unknown[]) {
    if (texts.length !== values.length + 1) {
      throw new UsageError('INVALID_VALUE', 'A fragment needs exactly one text more than values.')
    }
    // The protocol ends a statement's text at a NUL, so the server would run only the part before it.
    if (texts.some((text) => text.includes('\0')))
      throw new UsageError('INVALID_VALUE', 'SQL contains a NUL character.')
    this.#texts = texts
    this.values = values
  }

  /** The text with `$1 …`, numbered from the start of this fragment. */
  get text(): string {
    return this.#texts.reduce((text, next, index) => `${text}$${index}${next}`)
  }

  /** Text and values together. */
  get statement(): Statement {
    return { text: this.text, values: this.values }
  }

  /** Makes one fragment out of texts and, between them, values or fragments. There is one text more than parts. */
  static build(texts: readonly string[], parts: readonly unknown[]): Sql {
    const joined: string[] = [texts[0] ?? '']
    const values: unknown[] = []
    const append = (text: string): void => {
      joined.push(`${joined.pop() ?? ''}${text}`)
    }
    parts.forEach((part, index) => {
      if (part instanceof Sql) {
        append(part.#texts[0] ?? '')
        joined.push(...part.#texts.slice(1))
        values.push(...part.values)
      } else {
        if (part === undefined) {
          throw new UsageError('INVALID_VALUE', `Value ${index + 1} of a statement is undefined.`, {
            hint: 'Bind null for NULL.',
          })
        }
        joined.push('')
        values.push(part)
      }
      append(texts[index + 1] ?? '')
    })
    return new Sql(joined, values)
  }
}

/** The template tag and what makes fragments for it. */
export interface SqlTag {
  /**
   * A fragment. Values are always bound, never pasted; other fragments are spliced in.
   * @throws UsageError INVALID_VALUE for undefined.
   */
  (texts: TemplateStringsArray, ...parts: readonly unknown[]): Sql
  /** A table's, view's or function's name, quoted. @throws UsageError INVALID_IDENTIFIER */
  name(name: ObjectName): Sql
  /** One identifier, quoted; a dot in it is part of the name. @throws UsageError INVALID_IDENTIFIER */
  column(name: string): Sql
  /** A value as a safe literal, for statements that cannot bind. @throws UsageError INVALID_VALUE */
  literal(value: LiteralValue): Sql
  /** Text taken as SQL, unchecked: never give it input from outside. @throws UsageError INVALID_VALUE for a placeholder such as `$1` in it. */
  raw(text: string): Sql
  /** Fragments one after another. */
  join(fragments: readonly Sql[], separator?: string): Sql
  /** No text, no values. */
  readonly empty: Sql
}

function tag(texts: TemplateStringsArray, ...parts: readonly unknown[]): Sql {
  // Called as a function, a text would be taken apart into its characters.
  if (!Array.isArray(texts)) throw new UsageError('INVALID_VALUE', 'sql is a template tag: write sql`…`, not sql(…).')
  for (const text of texts) refusePlaceholders(text)
  return Sql.build(texts, parts)
}

function raw(text: string): Sql {
  refusePlaceholders(text)
  return new Sql([text], [])
}

const QUOTED = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\/|\$([a-z_]\w*)?\$[\s\S]*?\$\1\$/gi
const PLACEHOLDER = /(?<![\w$])\$\d/

/** A `$1` written by hand would, inside a larger statement, silently mean some other value. */
function refusePlaceholders(text: string): void {
  if (!PLACEHOLDER.test(text) || !PLACEHOLDER.test(text.replace(QUOTED, "''"))) return
  throw new UsageError('INVALID_VALUE', 'A fragment of SQL contains a placeholder such as $1.', {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it shows what to write
    hint: 'Write the value in its place: sql`… ${value} …`.',
  })
}

// A function's own name is read-only until told otherwise, and Object.assign would throw.
Object.defineProperty(tag, 'name', { writable: true })

/**
 * Makes SQL out of a template: values are bound, fragments spliced.
 * @example
 * sql`select * from ${sql.name('plant.sensor')} where id = ${7}`.text // select * from "plant"."sensor" where id = $1
 */
export const sql: SqlTag = Object.assign(tag, {
  name: (name: ObjectName): Sql => raw(formatName(name)),
  column: (name: string): Sql => raw(quoteIdentifier(name)),
  literal: (value: LiteralValue): Sql => raw(formatLiteral(value)),
  raw,
  join: (fragments: readonly Sql[], separator = ', '): Sql => {
    if (fragments.length === 0) return sql.empty
    const separators = fragments.slice(1).map(() => separator)
    return Sql.build(['', ...separators, ''], fragments)
  },
  empty: raw(''),
})
