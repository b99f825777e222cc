import { types } from 'node:util'
import { ConnectionError, type ErrorCode, QueryError, TimescaleError } from '../errors.ts'
import type { BoundValue } from '../wire/bind-value.ts'
import { sqlStateMeaning } from './sql-state.ts'

/** What was going on when an error came. */
export interface FailureContext {
  /** Whom the connection is to, such as `db.example.org:5432`; never with a password. */
  readonly target: string
  readonly phase: 'connect' | 'statement'
  /** Set when this side asked the server to end the statement. */
  readonly interrupted?: 'signal' | 'timeout' | undefined
  /** The time this side gave the statement, in milliseconds. */
  readonly limitMs?: number | undefined
  /** The known server-side limit of this statement, in milliseconds. */
  readonly timeoutMs?: number | undefined
  /** What was bound, so that it can be kept out of the message. */
  readonly values?: readonly BoundValue[] | undefined
  /** True when a lost connection surely undid the statement: it was part of a transaction not yet committed. */
  readonly undone?: boolean | undefined
  /** A better next action than the usual one, for POOL_EXHAUSTED. */
  readonly hint?: string | undefined
}

/** The fields of the driver's error for an ErrorResponse (PostgreSQL manual, "Error and Notice Message Fields"). */
interface ServerError extends Error {
  readonly code: string
  readonly severity: string
  readonly detail?: string
  readonly hint?: string
  readonly position?: string
  readonly schema?: string
  readonly table?: string
  readonly column?: string
  readonly constraint?: string
  /** The C function that refused; unlike the message it is not translated. */
  readonly routine?: string
}

/**
 * The error of this library for anything the driver, the network or the server reports; it is the `cause`.
 * Server errors are told apart by SQLSTATE, never by their (translatable) text.
 *
 * Values stay out: where the statement had bound values, a message of the classes 22, 23 and P0 shows them as `$1` or
 * `"…"`, and the server's `detail` ("Key (email)=(…) already exists") is left out for 22, 23, 44 and P0, the classes
 * whose details quote rows; `constraint`, `table` and `column` are kept. The cause keeps them where printing it does
 * not show them.
 */
export function databaseError(error: unknown, context: FailureContext): TimescaleError {
  if (error instanceof TimescaleError) return error
  if (isServerError(error)) return serverError(error, context)
  return networkError(error, context)
}

/** True for 40001 and 40P01, also as the cause of an error: the same transaction may succeed when it runs again. */
export function isSerializationFailure(error: unknown): boolean {
  for (let link = error, depth = 0; link instanceof Error && depth < 10; link = link.cause, depth++) {
    if (link instanceof QueryError && link.code === 'SERIALIZATION_FAILURE') return true
  }
  return false
}

const madeMeanwhile: ReadonlySet<string> = new Set(['23505', '42710', '42P06', '42P07'])

/**
 * True for what CREATE fails with where another session has made the same object since this one looked: `IF NOT EXISTS`
 * does not keep from it. By the moment it is the object's own code, that of a table's row type, or that of the unique
 * index of the catalog; in each of them the other transaction has committed.
 */
export function isMadeMeanwhile(error: unknown): boolean {
  return error instanceof QueryError && madeMeanwhile.has(error.sqlState)
}

/** True for 55P03: a lock was not to be had in the time that lock_timeout gives. */
export function isLockTimeout(error: unknown): boolean {
  return error instanceof QueryError && error.sqlState === LOCK_TIMEOUT
}

/** The SQLSTATE of {@link isLockTimeout}. */
export const LOCK_TIMEOUT = '55P03'

/** The error of a statement or transaction whose signal was aborted before anything was sent. */
export function cancelledError(signal: AbortSignal): QueryError {
  return new QueryError('QUERY_CANCELLED', 'The signal was aborted', { sqlState: '57014', cause: signal.reason })
}

function isServerError(error: unknown): error is ServerError {
  // Node's codes may have five characters too (EPIPE); only the server's errors have a severity.
  return error instanceof Error && 'severity' in error && 'code' in error && typeof error.code === 'string'
}

function serverError(error: ServerError, context: FailureContext): TimescaleError {
  const sqlState = error.code
  const message = withoutValues(error.message, sqlState, context.values)
  hideValues(error, message)
  const meaning = sqlStateMeaning(sqlState)
  const own = ownHint(error, context.values) ?? meaning.hint
  const hint = error.hint === undefined ? own : withoutValues(error.hint, sqlState, context.values)
  if (meaning.kind === 'connection') {
    const retryable = meaning.retryable === true || (meaning.code === 'CONNECTION_LOST' && context.undone === true)
    return new ConnectionError(meaning.code, `${context.target}: ${message}`, { retryable, hint, cause: error })
  }
  if (context.phase === 'connect') {
    return new ConnectionError('CONNECTION_FAILED', `Cannot connect to ${context.target}: ${message}`, {
      hint,
      cause: error,
    })
  }
  // The server knows no other reason than a request, which was ours.
  const isOurLimit = sqlState === '57014' && context.interrupted === 'timeout' && context.limitMs !== undefined
  const said = isOurLimit ? `canceling statement due to its time limit of ${context.limitMs} ms` : message
  return new QueryError(sqlState === '57014' ? cancelCode(context) : meaning.code, said, {
    sqlState,
    hint,
    cause: error,
    position: error.position === undefined ? undefined : Number(error.position),
    detail: quotesRows(sqlState) ? undefined : error.detail,
    schema: error.schema,
    table: error.table,
    column: error.column,
    constraint: error.constraint,
  })
}

/** What to do where the reason lies in how this library sends statements. */
function ownHint(error: ServerError, values: readonly BoundValue[] | undefined): string | undefined {
  if (error.code === '42601' && error.routine === 'exec_parse_message') {
    return 'One statement per call: give each a call of its own, within transaction() where they belong together.'
  }
  if (error.code === '22007' && values?.some((value) => typeof value === 'string' && value.startsWith('{"'))) {
    return "An object is bound as JSON: for an interval pass a text such as '7 days'."
  }
  if (error.code === '22P02' && values?.some(isArrayText)) {
    return 'A list is bound as a PostgreSQL array: for a json or jsonb parameter pass JSON.stringify(list).'
  }
  return undefined
}

/** True for the text of an array, `{…}`, and not for that of a JSON object. */
function isArrayText(value: BoundValue): boolean {
  if (typeof value !== 'string' || !value.startsWith('{') || !value.endsWith('}')) return false
  try {
    JSON.parse(value)
    return false
  } catch {
    return true
  }
}

function cancelCode(context: FailureContext): ErrorCode {
  if (context.interrupted === 'signal') return 'QUERY_CANCELLED'
  return context.interrupted === 'timeout' || (context.timeoutMs ?? 0) > 0 ? 'STATEMENT_TIMEOUT' : 'QUERY_CANCELLED'
}

const rowClasses: ReadonlySet<string> = new Set(['22', '23', '44', 'P0'])

function quotesRows(sqlState: string): boolean {
  return rowClasses.has(sqlState.slice(0, 2))
}

// These quote their input, or one element of it: `invalid input syntax for type integer: "abc"`.
const conversionErrors: ReadonlySet<string> = new Set(['22003', '22007', '22008', '22P02', '22P03'])

function withoutValues(text: string, sqlState: string, values: readonly BoundValue[] | undefined): string {
  if (values === undefined || values.length === 0 || !quotesRows(sqlState)) return text
  const masked = conversionErrors.has(sqlState) ? text.replace(/"(?!datestyle")[\s\S]*"/i, '"…"') : text
  return values.reduce<string>((shown, value, index) => {
    // One or two characters are found in any text by chance, unless they are quoted.
    if (typeof value !== 'string' || value === '') return shown
    return shown.replaceAll(value.length > 2 ? value : `"${value}"`, () => `$${index + 1}`)
  }, masked)
}

/** The driver's error stays the cause, with all its fields, but printing it shows no values. */
function hideValues(error: ServerError, message: string): void {
  if (!quotesRows(error.code)) return
  if (message !== error.message) {
    if (error.stack !== undefined) error.stack = error.stack.replace(error.message, () => message)
    error.message = message
  }
  for (const field of ['detail', 'where', 'internalQuery', 'hint']) {
    if (Object.hasOwn(error, field)) Object.defineProperty(error, field, { enumerable: false })
  }
}

interface NetworkMeaning {
  readonly code: ErrorCode
  readonly what: string
  readonly retryable: boolean
  readonly hint?: string
}

const networkCodes: ReadonlyMap<string, NetworkMeaning> = new Map(
  Object.entries<NetworkMeaning>({
    ECONNREFUSED: {
      code: 'CONNECTION_FAILED',
      what: 'connection refused',
      retryable: true,
      hint: 'Is the server running, on this host and port?',
    },
    ENOTFOUND: { code: 'CONNECTION_FAILED', what: 'host not found', retryable: false, hint: 'Check the host name.' },
    EAI_AGAIN: { code: 'CONNECTION_FAILED', what: 'the name service does not answer', retryable: true },
    ENOENT: { code: 'CONNECTION_FAILED', what: 'no such socket', retryable: true, hint: 'Is the server running?' },
    EACCES: { code: 'CONNECTION_FAILED', what: 'no permission to use the socket', retryable: false },
    EHOSTUNREACH: { code: 'CONNECTION_FAILED', what: 'host unreachable', retryable: true },
    ENETUNREACH: { code: 'CONNECTION_FAILED', what: 'network unreachable', retryable: true },
  }),
)

/** Messages of the driver (pg 8.23.1), which gives its own errors no code. */
const driverMessages: ReadonlyMap<string, NetworkMeaning> = new Map(
  Object.entries<NetworkMeaning>({
    'timeout exceeded when trying to connect': {
      code: 'POOL_EXHAUSTED',
      what: 'all connections of the pool are in use',
      retryable: true,
      hint: 'Raise poolSize or maxOverflow, or look for transactions that stay open.',
    },
    'timeout expired': { code: 'CONNECTION_FAILED', what: 'no answer in time', retryable: true },
    'Connection terminated due to connection timeout': {
      code: 'CONNECTION_FAILED',
      what: 'no answer in time',
      retryable: true,
    },
    'The server does not support SSL connections': {
      code: 'TLS_FAILED',
      what: 'the server does not offer TLS',
      retryable: false,
      hint: 'Switch TLS on in the server, or set sslmode=disable where the network is trusted.',
    },
    'There was an error establishing an SSL connection': { code: 'TLS_FAILED', what: 'TLS failed', retryable: false },
  }),
)

function networkError(error: unknown, context: FailureContext): ConnectionError {
  const cause = types.isNativeError(error) ? error : new Error('not an Error', { cause: error })
  const meaning = networkMeaning(cause, context)
  const hint = meaning.code === 'POOL_EXHAUSTED' ? (context.hint ?? meaning.hint) : meaning.hint
  const connecting = context.phase === 'connect' || meaning.code === 'POOL_EXHAUSTED'
  const message =
    meaning.code === 'POOL_EXHAUSTED'
      ? `No free connection to ${context.target}: ${meaning.what}.`
      : `${connecting ? 'Cannot connect to' : 'Lost the connection to'} ${context.target}: ${meaning.what}.`
  return new ConnectionError(meaning.code, message, { retryable: meaning.retryable, hint, cause })
}

function networkMeaning(error: Error, context: FailureContext): NetworkMeaning {
  const nodeCode = firstCode(error)
  const known = driverMessages.get(error.message) ?? driverMessages.get(causeMessage(error))
  if (known?.code === 'POOL_EXHAUSTED') return known
  if (context.phase === 'statement') {
    const undone = context.undone === true
    return {
      code: 'CONNECTION_LOST',
      what: nodeCode === undefined ? 'it was closed' : `it was closed (${nodeCode})`,
      retryable: undone,
      hint: undone
        ? 'The transaction was rolled back.'
        : 'The statement may or may not have run: check before repeating it.',
    }
  }
  if (known !== undefined) return known
  if (nodeCode !== undefined && isTlsCode(nodeCode)) {
    return {
      code: 'TLS_FAILED',
      what: tlsReason(nodeCode),
      retryable: false,
      hint: 'Check the CA file, the host name in the certificate, and sslmode.',
    }
  }
  const network = nodeCode === undefined ? undefined : networkCodes.get(nodeCode)
  if (network !== undefined) return network
  // The driver's own SCRAM errors: a wrong or missing password, or a server that is not what it says.
  if (error.message.startsWith('SASL')) {
    return {
      code: 'AUTHENTICATION_FAILED',
      what: 'password authentication failed',
      retryable: false,
      hint: 'Is the password set?',
    }
  }
  return { code: 'CONNECTION_FAILED', what: nodeCode ?? 'the connection was closed', retryable: true }
}

/** The system's code of an error; a host with several addresses fails with an AggregateError of one per address. */
function firstCode(error: Error): string | undefined {
  if ('code' in error && typeof error.code === 'string') return error.code
  if (error instanceof AggregateError)
    return error.errors.map((inner) => firstCode(inner)).find((code) => code !== undefined)
  return undefined
}

function causeMessage(error: Error): string {
  return error.cause instanceof Error ? error.cause.message : ''
}

function isTlsCode(code: string): boolean {
  return /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|PATH_LENGTH|CRL_|EPROTO)/.test(
    code,
  )
}

function tlsReason(code: string): string {
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID'
    ? "the server's certificate is for another host name"
    : `the server's certificate or TLS version is not accepted (${code})`
}
