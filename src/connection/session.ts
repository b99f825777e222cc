import type { Statement } from '../sql/template.ts'
import type { ColumnBatch, ColumnOptions, ResultField } from '../wire/column.ts'
import type { ColumnChunk } from './column-rows.ts'
import type { CopyInResult, CopySource } from './copy-in.ts'

/** A row as the database sent it, by column name. */
export type Row = Record<string, unknown>

/** A column of a result. */
export interface ResultColumn {
  readonly name: string
  /** The type's oid in pg_type. */
  readonly typeId: number
}

/** A NOTICE or WARNING that came with a result. */
export interface Notice {
  readonly severity: string
  readonly sqlState: string
  readonly message: string
  readonly hint?: string
}

/** What a statement gave. */
export interface QueryResult<R extends object = Row> {
  readonly rows: R[]
  /** Rows returned, inserted, updated or deleted; 0 for statements that count none. */
  readonly rowCount: number
  /** The command tag's first word, such as `SELECT` or `INSERT`. */
  readonly command: string
  readonly columns: readonly ResultColumn[]
  readonly notices: readonly Notice[]
}

/** How one statement runs. */
export interface QueryOptions {
  /** Cancels the statement on the server; the call then rejects with QUERY_CANCELLED. */
  readonly signal?: AbortSignal
  /** The server ends the statement after this time with STATEMENT_TIMEOUT. */
  readonly timeoutMs?: number
  /** How bigint columns arrive: `'number'` (default; beyond ±2^53 is an error), `'bigint'` or `'string'`. */
  readonly int8?: 'number' | 'bigint' | 'string'
  /** How numeric columns arrive: `'string'` (default, exact) or `'number'`. */
  readonly numeric?: 'string' | 'number'
  /**
   * How `timestamptz` and `timestamp` columns arrive: `'date'` (default, cut to milliseconds) or `'string'`: ISO 8601 in
   * UTC with all digits, which written back is the same instant.
   */
  readonly timestamps?: 'date' | 'string'
  /**
   * How `json` and `jsonb` columns arrive: `'value'` (default, parsed: its numbers are JavaScript's) or `'string'`, the
   * server's text with all digits.
   */
  readonly json?: 'value' | 'string'
}

/** Who is told the notices while the statement runs. */
export interface NoticeOptions {
  /** Called with each NOTICE, WARNING or LOG as it comes; what it throws rejects the call at the statement's end. */
  readonly onNotice?: (notice: Notice) => void
}

/** How a result is read into columns. */
export interface ColumnQueryOptions extends ColumnOptions, Pick<QueryOptions, 'signal' | 'timeoutMs'> {}

/** What a statement gave, as columns. */
export interface ColumnResult {
  readonly fields: readonly ResultField[]
  /** The batches of each field, at least one; all columns are cut at the same rows. */
  readonly columns: readonly (readonly ColumnBatch[])[]
  /** Rows returned, inserted, updated or deleted; 0 for statements that count none. */
  readonly rowCount: number
  /** The command tag's first word, such as `SELECT` or `INSERT`. */
  readonly command: string
  readonly notices: readonly Notice[]
}

/** How a result is read while it comes. */
export interface ColumnStreamOptions extends ColumnQueryOptions {
  /** The most rows of a batch; long texts end one earlier. Default 65,536. */
  readonly batchRows?: number | undefined
}

/** How a COPY runs; the time includes that of its source or reader. */
export type CopyOptions = Pick<QueryOptions, 'signal' | 'timeoutMs'>

/** How a transaction runs. */
export interface TransactionOptions {
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable'
  readonly readOnly?: boolean
  /** How often the function runs again after 40001 or 40P01. Default 0. */
  readonly retries?: number
  readonly signal?: AbortSignal
}

/**
 * What every function above this layer takes first: something that runs statements.
 * It is either a whole database (each statement on a free connection) or one open transaction.
 */
export interface Session {
  /** Stays the same object for a database and all its transactions: the key of caches. */
  readonly database: object
  readonly inTransaction: boolean
  /** True where every statement goes over one connection, so that what SET does lasts. */
  readonly isHeld?: boolean
  /** How many connections there can be at once; undefined in a transaction. */
  readonly connections?: number
  query<R extends object = Row>(statement: Statement, options?: QueryOptions & NoticeOptions): Promise<QueryResult<R>>
  /** Runs one statement and gives its result as columns. */
  queryColumns(statement: Statement, options?: ColumnQueryOptions): Promise<ColumnResult>
  /** Gives the result as batches of columns while it comes, to be read once. Leaving the loop cancels the statement. */
  streamColumns(statement: Statement, options?: ColumnStreamOptions): AsyncIterableIterator<ColumnChunk>
  /** Gives the rows of {@link query} while they come, to be read once. Leaving the loop cancels the statement. */
  streamRows<R extends object = Row>(statement: Statement, options?: QueryOptions): AsyncIterableIterator<R>
  /** Runs a COPY … FROM STDIN and sends it the bytes of `source` as fast as the server takes them. */
  copyIn(text: string, source: CopySource, options?: CopyOptions): Promise<CopyInResult>
  /** Runs a COPY … TO STDOUT; gives its bytes, in blocks cut anywhere. Leaving the loop cancels it on the server. */
  copyOut(text: string, options?: CopyOptions): AsyncIterable<Buffer>
  /** Runs `run` in a transaction, or in a savepoint when this session is inside one already. */
  transaction<T>(run: (session: Session) => Promise<T>, options?: TransactionOptions): Promise<T>
}
