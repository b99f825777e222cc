import { UsageError } from '../errors.ts'

/**
 * How an object is named: `'table'`, `'schema.table'`, `'"Odd.schema"."Table"'` or `{ schema, name }`.
 * Text is taken exactly as written, with no case folding; double quotes are needed only around a dot or a quote.
 */
export type ObjectName = string | { readonly schema?: string; readonly name: string }

/** An object's name in parts, exactly as the catalog spells them. Without a schema the search path decides. */
export interface QualifiedName {
  readonly schema?: string
  readonly name: string
}

/** What NAMEDATALEN leaves for a name: the server would cut a longer one silently, and then two names could meet. */
const MAX_NAME_BYTES = 63

/**
 * The parts of a name.
 * @throws UsageError INVALID_IDENTIFIER for empty or too long parts, NUL, lone surrogates, unbalanced quotes, or more
 *   than two parts.
 */
export function parseName(name: ObjectName): QualifiedName {
  if (typeof name === 'string') {
    const parts = splitName(name)
    const [first, second] = parts
    if (first === undefined || parts.length > 2) throw invalid(name, 'has more than two parts')
    return second === undefined ? { name: checkPart(first) } : { schema: checkPart(first), name: checkPart(second) }
  }
  if (typeof name !== 'object' || name === null) throw new UsageError('INVALID_IDENTIFIER', 'A name must be a text.')
  return name.schema === undefined
    ? { name: checkPart(name.name) }
    : { schema: checkPart(name.schema), name: checkPart(name.name) }
}

/**
 * One identifier in double quotes, safe wherever SQL expects a name.
 * @throws UsageError INVALID_IDENTIFIER for an empty text, more than 63 bytes, NUL or lone surrogates.
 */
export function quoteIdentifier(text: string): string {
  return `"${checkPart(text).replaceAll('"', '""')}"`
}

/**
 * A name as SQL, always quoted: `"schema"."table"`.
 * @throws UsageError INVALID_IDENTIFIER as {@link parseName}.
 */
export function formatName(name: ObjectName): string {
  const parts = parseName(name)
  const own = quoteIdentifier(parts.name)
  return parts.schema === undefined ? own : `${quoteIdentifier(parts.schema)}.${own}`
}

function checkPart(part: string): string {
  if (typeof part !== 'string') throw new UsageError('INVALID_IDENTIFIER', 'A name must be a text.')
  if (part === '') throw new UsageError('INVALID_IDENTIFIER', 'A name, or a part of it, is empty.')
  if (part.includes('\0')) throw invalid(part, 'contains a NUL character')
  // A lone surrogate becomes U+FFFD on the wire, where two different names would meet.
  if (/\p{Surrogate}/u.test(part)) throw invalid(part, 'is not well-formed Unicode')
  if (Buffer.byteLength(part) > MAX_NAME_BYTES) throw invalid(part, `is longer than ${MAX_NAME_BYTES} bytes`)
  return part
}

/** Splits at dots outside of double quotes. */
function splitName(text: string): string[] {
  const parts: string[] = []
  let rest = text
  for (;;) {
    const quoted = rest.startsWith('"')
    const match = quoted ? /^"((?:[^"]|"")*)"(\.|$)/.exec(rest) : /^([^."]*)(\.|$)/.exec(rest)
    if (match === null) throw invalid(text, 'has a double quote that is not balanced or not around a whole part')
    const part = match[1] ?? ''
    parts.push(quoted ? part.replaceAll('""', '"') : part)
    if (match[2] !== '.') return parts
    rest = rest.slice(match[0].length)
  }
}

function invalid(name: string, problem: string): UsageError {
  return new UsageError('INVALID_IDENTIFIER', `The name ${JSON.stringify(name)} ${problem}.`, {
    hint: `Write 'table', 'schema.table', '"a.b"."c"' or { schema, name }.`,
  })
}
