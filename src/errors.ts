/**
 * Every error this library throws. `code` is stable and documented in docs/reference/error.md; `message` is for people;
 * `hint` is the next action. Bound values and passwords never appear in either.
 */
export type ErrorCode =
  // UsageError: the call is wrong; nothing was sent
  | 'INVALID_OPTION'
  | 'INVALID_IDENTIFIER'
  | 'INVALID_INTERVAL'
  | 'INVALID_TIME'
  | 'INVALID_VALUE'
  | 'CLOSED'
  | 'SHARED_CONNECTION_CONFLICT'
  // ConfigError: a setting is wrong
  | 'CONFIG_UNREADABLE'
  | 'CONFIG_UNKNOWN_KEY'
  | 'CONFIG_INVALID_VALUE'
  // ConnectionError: no answer from the database
  | 'CONNECTION_FAILED'
  | 'CONNECTION_LOST'
  | 'CONNECTION_BUSY'
  | 'AUTHENTICATION_FAILED'
  | 'TLS_FAILED'
  | 'POOL_EXHAUSTED'
  | 'LISTEN_FAILED'
  | 'ENGINE_TRAPPED'
  | 'ENGINE_UNRESPONSIVE'
  | 'DIRECTORY_LOCKED'
  | 'DIRECTORY_FOREIGN'
  | 'DIRECTORY_READ_ONLY'
  | 'DISK_FULL'
  | 'SPILL_FAILED'
  | 'SPILL_DAMAGED'
  // QueryError: the database refused a statement
  | 'QUERY_FAILED'
  | 'QUERY_CANCELLED'
  | 'STATEMENT_TIMEOUT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'CONSTRAINT_VIOLATION'
  | 'PERMISSION_DENIED'
  | 'SERIALIZATION_FAILURE'
  | 'SYNTAX_ERROR'
  | 'HYPERTABLE_NOT_FOUND'
  | 'HYPERTABLE_EXISTS'
  // UnsupportedError: something is missing that the feature needs
  | 'EXTENSION_MISSING'
  | 'EDITION_REQUIRED'
  | 'VERSION_REQUIRED'
  | 'PACKAGE_MISSING'
  | 'NODE_VERSION'
  // BatchError: one row of many
  | 'BATCH_FAILED'
  // PlanError: refused, because data or a setting would be lost
  | 'DRIFT'
  | 'DATA_LOSS_REFUSED'
  | 'READ_ONLY_REFUSED'

/** What every error of this library carries. */
export interface ErrorDetails {
  /** The next action, in one sentence. */
  readonly hint?: string | undefined
  /** The original error. */
  readonly cause?: unknown
}

/** The base of every error of this library. Catch it to catch them all, then look at `code`. */
export class TimescaleError extends Error {
  readonly code: ErrorCode
  declare readonly hint?: string

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = new.target.name
    this.code = code
    if (details.hint !== undefined) this.hint = details.hint
  }
}

/** A call or option that cannot be right. Thrown before anything is sent. */
export class UsageError extends TimescaleError {}

/** A setting that cannot be read or is wrong. `source` is `file:line`, the variable or the option it came from. */
export class ConfigError extends TimescaleError {
  readonly source: string

  constructor(code: ErrorCode, message: string, details: ErrorDetails & { readonly source: string }) {
    super(code, message, details)
    this.source = details.source
  }
}

/** The database could not be reached, or went away. `retryable`: the same call may succeed later, unchanged. */
export class ConnectionError extends TimescaleError {
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, details: ErrorDetails & { readonly retryable?: boolean } = {}) {
    super(code, message, details)
    this.retryable = details.retryable ?? false
  }
}

/** What the server said about a statement, without any bound value. */
export interface QueryErrorDetails extends ErrorDetails {
  /** The five-character SQLSTATE. */
  readonly sqlState: string
  /** Where in the statement's text, counted in characters from 1. */
  readonly position?: number | undefined
  readonly detail?: string | undefined
  readonly schema?: string | undefined
  readonly table?: string | undefined
  readonly column?: string | undefined
  readonly constraint?: string | undefined
}

/** The database refused a statement. */
export class QueryError extends TimescaleError {
  readonly sqlState: string
  declare readonly position?: number
  declare readonly detail?: string
  declare readonly schema?: string
  declare readonly table?: string
  declare readonly column?: string
  declare readonly constraint?: string

  constructor(code: ErrorCode, message: string, details: QueryErrorDetails) {
    super(code, message, details)
    this.sqlState = details.sqlState
    if (details.position !== undefined) this.position = details.position
    if (details.detail !== undefined) this.detail = details.detail
    if (details.schema !== undefined) this.schema = details.schema
    if (details.table !== undefined) this.table = details.table
    if (details.column !== undefined) this.column = details.column
    if (details.constraint !== undefined) this.constraint = details.constraint
  }
}

/** The database, its edition, Node or an optional package lacks what a feature needs. */
export class UnsupportedError extends TimescaleError {
  readonly feature: string

  constructor(code: ErrorCode, message: string, details: ErrorDetails & { readonly feature: string }) {
    super(code, message, details)
    this.feature = details.feature
  }
}

/** One row of many failed. Nothing of the batch was kept unless the message says so. */
export class BatchError extends TimescaleError {
  /** The first failing row, counted from 0. */
  readonly row: number
  readonly rowCount: number

  constructor(message: string, details: ErrorDetails & { readonly row: number; readonly rowCount: number }) {
    super('BATCH_FAILED', message, details)
    this.row = details.row
    this.rowCount = details.rowCount
  }
}

/** Refused, because it would silently change settings that exist or lose data without permission. */
export class PlanError extends TimescaleError {}
