import type { Command } from 'commander'
import { type ServedDatabase, type ServeOptions, UsageError } from '../../../index.ts'
import { given } from '../argument.ts'
import { withDatabase } from '../open.ts'
import { printResult } from '../output.ts'
import { readText } from '../read-text.ts'

interface Flags {
  readonly host?: string
  readonly port?: string
  readonly socketDirectory?: string
  readonly user?: string
  readonly database?: string
  readonly passwordFile?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly allowRemote?: boolean
  readonly maxConnections?: string
  readonly statementTimeout?: string
  readonly idleInTransactionTimeout?: string
  readonly jobs?: boolean
}

const EXAMPLES = `
The password is that of --password-file or TSDB_SERVE_PASSWORD; without one a new
one is made and printed once. SIGTERM and Ctrl-C end it: clients are told, their
open transactions are rolled back.

Examples:
  tsdb -t embedded:./data serve
  tsdb serve --port 5433 --idle-in-transaction-timeout 60000 --jobs
  tsdb serve --socket-directory /tmp      (then: psql -h /tmp -U postgres)
  tsdb serve --host 0.0.0.0 --allow-remote --tls-cert cert.pem --tls-key key.pem`

/** What one session cannot give, which clients made for a server may count on. */
const LIMITS = `All connections share one session and take turns:
- one transaction at a time: others wait, and fail after lockWaitMs with TK002
- temporary tables, SQL's PREPARE, cursors WITH HOLD and advisory locks are shared
- every user is the superuser postgres; current_database() is template1
- no CREATE INDEX CONCURRENTLY, pg_cancel_backend, replication; UTF8 only
`

/** `tsdb serve`: the embedded engine for psql, Grafana and every other program. */
export function addServe(command: Command): void {
  command
    .option('--host <address>', 'the address to listen on (default 127.0.0.1)')
    .option('--port <number>', 'the port; 0 takes any free one (default 5432)')
    .option('--socket-directory <directory>', 'a Unix socket there instead, for this user only')
    .option('--user <name>', 'the user who may connect (default postgres)')
    .option('--database <name>', 'the name clients know the database by (default postgres)')
    .option('--password-file <file>', 'the password, in the first line of a file')
    .option('--tls-cert <file>', 'certificate chain in PEM; then TLS is required')
    .option('--tls-key <file>', 'its key in PEM')
    .option('--allow-remote', 'allow an address that other machines can reach')
    .option('--max-connections <number>', 'connections at once (default 100)')
    .option('--statement-timeout <ms>', 'default of statement_timeout')
    .option('--idle-in-transaction-timeout <ms>', 'default of idle_in_transaction_session_timeout')
    .option('--jobs', 'run due jobs, such as retention policies')
    .addHelpText('after', EXAMPLES)
    .action(runServe)
}

async function runServe(flags: Flags, command: Command): Promise<void> {
  const options = readOptions(flags)
  await withDatabase(
    command,
    async (db, signal) => {
      await using served = await db.serve(options)
      announce(command, served)
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        signal.addEventListener('abort', () => resolve())
      })
    },
    { jobs: flags.jobs === true },
  )
}

function announce(command: Command, served: ServedDatabase): void {
  const { url, host, port, path, user, database, password } = served
  const made = password === undefined ? '' : `\nThe password is ${password} (made for this run, and not shown again).`
  printResult(command, { url, host, port, path, user, database, password }, `Serving on ${url}${made}`)
  process.stderr.write(LIMITS)
}

function readOptions(flags: Flags): ServeOptions {
  const { host, socketDirectory, user, database, allowRemote, tlsCert, tlsKey } = flags
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError('INVALID_OPTION', 'Give both --tls-cert and --tls-key.')
  const tls =
    tlsCert === undefined || tlsKey === undefined ? undefined : { cert: readText(tlsCert), key: readText(tlsKey) }
  return given({
    host,
    socketDirectory,
    user,
    database,
    allowRemote,
    tls,
    password: readPassword(flags.passwordFile),
    port: toNumber(flags.port),
    maxConnections: toNumber(flags.maxConnections),
    statementTimeoutMs: toNumber(flags.statementTimeout),
    idleInTransactionTimeoutMs: toNumber(flags.idleInTransactionTimeout),
  })
}

/** Never an argument: other users of the machine can read those. */
function readPassword(file: string | undefined): string | undefined {
  return file === undefined ? process.env['TSDB_SERVE_PASSWORD'] : readText(file).split(/\r?\n/, 1)[0]
}

/** What is no number is for the library to refuse. */
const toNumber = (text: string | undefined): number | undefined =>
  text === undefined ? undefined : /^\d+$/.test(text) ? Number(text) : Number.NaN
