import { UsageError } from '../errors.ts'
import { formatTimestamp, toMicroseconds } from './timestamp.ts'

/** A value that can be written into a statement as a literal. */
export type LiteralValue = string | number | bigint | boolean | null | Date

/**
 * A text as a string literal that no setting of the server reads differently.
 * @throws UsageError INVALID_VALUE for NUL and lone surrogates, which the server cannot store.
 */
export function quoteLiteral(text: string): string {
  if (text.includes('\0')) throw new UsageError('INVALID_VALUE', 'A text contains a NUL character.')
  if (/\p{Surrogate}/u.test(text)) throw new UsageError('INVALID_VALUE', 'A text is not well-formed Unicode.')
  const quoted = text.replaceAll("'", "''")
  // standard_conforming_strings may be off, and then a plain literal reads backslashes as escapes. The space keeps the
  // E from joining a word before it.
  return text.includes('\\') ? ` E'${quoted.replaceAll('\\', '\\\\')}'` : `'${quoted}'`
}

/**
 * A value as SQL text, for statements that cannot bind (DDL).
 * @throws UsageError INVALID_VALUE for anything but text, number, bigint, boolean, null and Date; INVALID_TIME for an
 *   invalid Date.
 */
export function formatLiteral(value: LiteralValue): string {
  if (value === null) return 'NULL'
  if (typeof value === 'string') return quoteLiteral(value)
  if (typeof value === 'boolean') return value ? 'TRUE' : 'FALSE'
  if (typeof value === 'bigint') return formatNumber(String(value))
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return `'${value}'::float8`
    return formatNumber(Object.is(value, -0) ? '0' : String(value))
  }
  if (value instanceof Date) return `'${formatTimestamp(toMicroseconds(value), { zone: true })}'::timestamptz`
  throw new UsageError('INVALID_VALUE', `A ${typeof value} cannot be written as a literal.`)
}

/** The space keeps a minus sign from making `--`, a comment, with one before it. */
function formatNumber(text: string): string {
  return text.startsWith('-') ? ` ${text}` : text
}
