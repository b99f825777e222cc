import { copyColumn } from '../connection/copy-in.ts'
import { BatchError, QueryError } from '../errors.ts'
import type { RejectedRow, RowBatch } from './batch.ts'
import { raggedHint } from './encode/encoder.ts'

/** What the values of a row can be to blame for: data, constraint, or a trigger's or view's refusal. */
export function isRowFailure(error: unknown): error is QueryError {
  return error instanceof QueryError && ['22', '23', '44', 'P0'].includes(error.sqlState.slice(0, 2))
}

/** A row that cannot be written even alone. */
export function rejectedRow(batch: RowBatch, row: number, error: QueryError): RejectedRow {
  return {
    row: batch.first + row,
    reason: withoutLine(error.message),
    sqlState: error.sqlState,
    source: batch.source(row),
  }
}

/** The columns of a table by what a COPY calls them. */
type ColumnNames = ReadonlyMap<string, string>

/**
 * The same error without values of its row: what a trigger raises may hold any of them, in message and hint. What the server
 * itself says of a row is without them already.
 */
export function withoutValues(error: QueryError, values: Iterable<unknown>): QueryError {
  if (!isRaised(error)) return error
  // One or two characters are found in any text by chance.
  const texts = [...values].flatMap((value) => (isPlain(value) && String(value).length > 2 ? [String(value)] : []))
  const longestFirst = texts.sort((one, other) => other.length - one.length)
  const hide = (text: string): string => longestFirst.reduce((shown, value) => shown.replaceAll(value, '…'), text)
  const [message, hint] = [hide(error.message), error.hint === undefined ? undefined : hide(error.hint)]
  if (message === error.message && hint === error.hint) return error
  const { sqlState, schema, table, column, constraint } = error
  return new QueryError(error.code, message, { sqlState, schema, table, column, constraint, hint })
}

/** Whether RAISE in a function of the database has made the message. */
function isRaised({ cause }: QueryError): boolean {
  for (let link = cause, depth = 0; link instanceof Error && depth < 10; link = link.cause, depth++) {
    if ('routine' in link && link.routine === 'exec_stmt_raise') return true
  }
  return false
}

function isPlain(value: unknown): value is string | number | bigint {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint'
}

/** The same error, naming the row of the batch and, where the server named one, the column. */
export function atRow(error: QueryError, batch: RowBatch, row: number, columns: ColumnNames): BatchError {
  const source = batch.source(row)
  const shown = withoutValues(error, typeof source === 'object' && source !== null ? Object.values(source) : [])
  return new BatchError(`Row ${batch.first + row}: ${inColumn(shown, columns)}`, {
    row: batch.first + row,
    rowCount: batch.first + batch.rows,
    hint: shown.hint,
    cause: shown,
  })
}

/**
 * The error's message without the line of a batch, which is sorted and cut anyhow, and with the column where the message
 * names none.
 */
export function inColumn(error: QueryError, columns: ColumnNames): string {
  const message = withoutLine(error.message)
  const named = copyColumn(error, [...columns.keys()])
  const column = named === undefined ? undefined : columns.get(named)
  return column === undefined || message.includes(`"${column}"`)
    ? message
    : `Column ${JSON.stringify(column)}: ${message}`
}

/** Without the line of a batch. */
export function withoutLine(message: string): string {
  return message.replace(/^Line \d+: /, '')
}

/** What to do about a text that the server refused. */
export function hintOf({ sqlState, message, hint }: QueryError): string | undefined {
  if (sqlState === '22P04') return raggedHint
  const isTime = (sqlState === '22007' || sqlState === '22008') && /date|time/.test(message)
  // The server's own hint is about a setting, which is not the caller's.
  if (!isTime) return hint
  return "Times are read as ISO 8601. Say how they are written in timeFormat ('DD/MM/YYYY'), or what numbers are in timeUnit."
}
