/** What would harm the engine, each as a statement that raises a clear error instead. */
export function refusalOf(text: string): string | undefined {
  const encoding = ENCODING.exec(text)?.[1]
  if (encoding !== undefined && !isUtf8(encoding)) return REFUSE_ENCODING
  return CONCURRENTLY.test(text) ? REFUSE_CONCURRENTLY : undefined
}

/** True for the names of the one encoding that the engine speaks. */
export const isUtf8 = (name: string): boolean => /^(utf-?8|unicode|default)$/i.test(name)

// The engine traps at the first text it converts: its build lacks the conversions.
const ENCODING = /(?:\bclient_encoding\s*(?:=|\bto\b)|\bset\s+names)\s*['"]?([\w-]+)/i
const REFUSE_ENCODING =
  "do $$ begin raise 'the embedded engine speaks UTF8 only' using errcode = '0A000', hint = 'Convert in the client, or use a server.'; end $$"

// They need several sessions: with one they leave an index, and then a table, that cannot be dropped before a re-open.
const CONCURRENTLY =
  /(?:^|;)\s*(?:create\s+(?:unique\s+)?index|drop\s+index|reindex\s+(?:\([^)]*\)\s*)?\w+)\s+concurrently\b/i
const REFUSE_CONCURRENTLY =
  "do $$ begin raise 'the embedded engine has one session and cannot work on indexes concurrently' using errcode = '0A000', hint = 'Leave CONCURRENTLY out.'; end $$"
