/** The names a pattern of psql stands for, as regular expressions of the server. */
export interface NamePattern {
  /** Undefined: in the search path. */
  readonly schema: string | undefined
  readonly name: string
}

/**
 * Reads a pattern as psql does (its manual, "Patterns"): `*` is any text and `?` any character, what is not in double
 * quotes is lower case and otherwise a regular expression, a dot stands between schema and name.
 */
export function parsePattern(pattern: string): NamePattern {
  let quoted = false
  const parts = ['']
  const add = (text: string): void => {
    parts[parts.length - 1] += text
  }
  const text = pattern.replace(/\s*;?\s*$/, '')
  for (let at = 0; at < text.length; at++) {
    const char = text.charAt(at)
    if (char === '"' && quoted && text.charAt(at + 1) === '"') {
      add('"')
      at++
    } else if (char === '"') quoted = !quoted
    else if (quoted) add(/[|*+?()[\]{}.^$\\]/.test(char) ? `\\${char}` : char)
    else if (char === '*') add('.*')
    else if (char === '?') add('.')
    else if (char === '.') parts.push('')
    else add(char === '$' ? '\\$' : char.toLowerCase())
  }
  const name = anchored(parts.pop() ?? '')
  const schema = parts.pop()
  return { schema: schema === undefined ? undefined : anchored(schema), name }
}

function anchored(expression: string): string {
  return `^(${expression === '' ? '.*' : expression})$`
}
