import type { ErrorCode } from '../errors.ts'

/** What a SQLSTATE means for the caller. */
export interface SqlStateMeaning {
  readonly kind: 'query' | 'connection'
  readonly code: ErrorCode
  /** Only for `connection`: nothing of the statement can have been kept, so the same call may be made again. */
  readonly retryable?: boolean
  readonly hint?: string
}

const query = (code: ErrorCode, hint?: string): SqlStateMeaning =>
  hint === undefined ? { kind: 'query', code } : { kind: 'query', code, hint }
const connection = (code: ErrorCode, retryable: boolean, hint?: string): SqlStateMeaning =>
  hint === undefined ? { kind: 'connection', code, retryable } : { kind: 'connection', code, retryable, hint }

const lost = connection('CONNECTION_LOST', false)
const notFound = query('NOT_FOUND')
const exists = query('ALREADY_EXISTS')
const denied = connection(
  'AUTHENTICATION_FAILED',
  false,
  'Check user, password and database, and what pg_hba.conf of the server allows (also: with or without TLS).',
)

/** Appendix A of the PostgreSQL manual; TS… from TimescaleDB's src/errors.h; TK… are the embedded engine's own. */
const exact: ReadonlyMap<string, SqlStateMeaning> = new Map(
  Object.entries<SqlStateMeaning>({
    TS001: query('HYPERTABLE_NOT_FOUND'),
    TS002: notFound,
    TS003: notFound,
    TS110: query('HYPERTABLE_EXISTS'),
    TS120: exists,
    TS140: exists,
    TS150: notFound,
    TS160: exists,
    TK001: connection('ENGINE_TRAPPED', false),
    TK002: connection('CONNECTION_BUSY', true),
    TK003: connection('ENGINE_UNRESPONSIVE', false),
    '08P01': query('QUERY_FAILED', 'Check that there is one value for each parameter.'),
    '25P03': lost,
    '25P04': lost,
    '26000': notFound,
    '34000': notFound,
    '3D000': notFound,
    '3F000': notFound,
    '40001': query('SERIALIZATION_FAILURE', 'Run the whole transaction again, or pass the option retries.'),
    '40P01': query('SERIALIZATION_FAILURE', 'Run the whole transaction again, or pass the option retries.'),
    '42000': query('SYNTAX_ERROR'),
    '42501': query('PERMISSION_DENIED'),
    '42601': query('SYNTAX_ERROR'),
    '42701': exists,
    '42703': notFound,
    '42704': notFound,
    '42710': exists,
    '42712': exists,
    '42723': exists,
    '42883': notFound,
    '42P01': notFound,
    '42P02': notFound,
    '42P03': exists,
    '42P04': exists,
    '42P05': exists,
    '42P06': exists,
    '42P07': exists,
    '53100': connection('DISK_FULL', false, 'Free space on the disk of the database.'),
    '53300': connection(
      'CONNECTION_FAILED',
      true,
      'The server allows no more connections: lower poolSize, or raise max_connections.',
    ),
    '57P01': lost,
    '57P02': lost,
    '57P03': connection('CONNECTION_FAILED', true, 'The server is starting up or shutting down.'),
    '57P05': lost,
  }),
)

const classes: ReadonlyMap<string, SqlStateMeaning> = new Map(
  Object.entries<SqlStateMeaning>({
    '08': lost,
    '23': query('CONSTRAINT_VIOLATION'),
    '28': denied,
    '44': query('CONSTRAINT_VIOLATION'),
  }),
)

const other = query('QUERY_FAILED')

/** What a five-character SQLSTATE means; unknown ones are `QUERY_FAILED`. 57014 is told apart by the caller. */
export function sqlStateMeaning(sqlState: string): SqlStateMeaning {
  return exact.get(sqlState) ?? classes.get(sqlState.slice(0, 2)) ?? other
}
