import { QueryError } from '../errors.ts'

/**
 * Runs `run`. A refusal with one of these SQLSTATEs gets the hint given for it: the server's own speaks of its SQL
 * options, or of nothing.
 */
export async function withHints<R>(hints: Readonly<Record<string, string>>, run: () => Promise<R>): Promise<R> {
  try {
    return await run()
  } catch (error) {
    throw error instanceof QueryError ? withHint(error, hints[error.sqlState]) : error
  }
}

/** The same error with another hint; without one the error itself. */
export function withHint(error: QueryError, hint: string | undefined): QueryError {
  if (hint === undefined) return error
  const { code, message, sqlState, position, detail, schema, table, column, constraint } = error
  const details = { sqlState, position, detail, schema, table, column, constraint }
  return new QueryError(code, message, { ...details, hint, cause: error.cause ?? error })
}
