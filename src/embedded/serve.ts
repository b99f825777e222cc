/**
 * The embedded engine as a server: takes connections from other programs, finds out who they are, and hands those it
 * knows to the session server. Before that nothing they send comes near the engine.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import type { ErrorFields } from '../wire/message.ts'
import { makeVerifier } from '../wire/scram.ts'
import type { Parameter } from '../wire/startup.ts'
import { type AdmissionRules, authenticate, refuse } from './authenticate.ts'
import { listen, type Place } from './listen.ts'
import type { LogicalConnection } from './logical-connection.ts'
import { type ServeOptions, type ServeSettings, serveSettings } from './serve-option.ts'
import type { SessionServer } from './session-server.ts'

/** Clients that have not yet said who they are: one more, and the oldest has to go. */
const UNKNOWN_LIMIT = 128
/** A client may send a value of this size. */
const MESSAGE_LIMIT = 256 << 20
const KEEP_ALIVE_MS = 60_000
/** How long clients have to read that the server ends. */
const FAREWELL_MS = 500
const CLOSING: ErrorFields = {
  sqlState: '57P01',
  message: 'terminating connection due to administrator command',
}

/** What of the session server connections from outside need. */
export type Door = Pick<SessionServer, 'attach' | 'cancel' | 'end'>

/** The embedded engine, offered to other programs until it is closed. */
export interface ServedDatabase extends AsyncDisposable {
  /** The address it listens on; undefined for a Unix socket. */
  readonly host: string | undefined
  readonly port: number
  /** The Unix socket; undefined for a TCP port. */
  readonly path: string | undefined
  readonly user: string
  readonly database: string
  /** Where clients connect to, without the password. */
  readonly url: string
  /** The password that was made; undefined where one was given. */
  readonly password: string | undefined
  /** Ends all its connections, their transactions rolled back, and stops to listen. May be called again. */
  close(): Promise<void>
}

/**
 * Offers the engine behind `door`.
 * @throws UsageError INVALID_OPTION, ConnectionError LISTEN_FAILED
 */
export async function serve(door: Door, options: ServeOptions): Promise<ServedDatabase> {
  const settings = serveSettings(options)
  const made = settings.password === undefined ? randomBytes(18).toString('base64url') : undefined
  const rules: AdmissionRules = {
    user: settings.user,
    verifier: await makeVerifier(made ?? settings.password ?? ''),
    secret: randomBytes(32),
    database: settings.database,
    tls: settings.tls,
    timeoutMs: settings.authenticationTimeoutMs,
  }
  const server = createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS })
  const reception = new Reception(server, door, rules, settings)
  const place = await listen(server, settings)
  const { user, database } = settings
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= reception.close().finally(() => place.kind === 'socket' && place.remove())
    return closing
  }
  return {
    host: place.kind === 'port' ? place.host : undefined,
    port: place.kind === 'port' ? place.port : settings.port,
    path: place.kind === 'socket' ? place.path : undefined,
    user,
    database,
    url: urlOf(place, settings),
    password: made,
    close,
    [Symbol.asyncDispose]: close,
  }
}

function urlOf(place: Place, { user, database, port, tls, socketDirectory = '' }: ServeSettings): string {
  const authority =
    place.kind === 'socket'
      ? `${encodeURIComponent(socketDirectory)}:${port}`
      : `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`
  const query = tls === undefined ? '' : '?sslmode=require'
  return `postgres://${encodeURIComponent(user)}@${authority}/${encodeURIComponent(database)}${query}`
}

/** Takes connections and counts them. */
class Reception {
  readonly #server: Server
  readonly #door: Door
  readonly #rules: AdmissionRules
  readonly #settings: ServeSettings
  /** Those that have not said who they are, the oldest first. */
  readonly #unknown = new Set<Socket>()
  readonly #sockets = new Set<Socket>()
  readonly #admitted = new Map<Socket, LogicalConnection>()
  #closed = false

  constructor(server: Server, door: Door, rules: AdmissionRules, settings: ServeSettings) {
    this.#server = server
    this.#door = door
    this.#rules = rules
    this.#settings = settings
    // Whatever goes wrong with one client is not for the others, or this process, to suffer.
    server.on('connection', (socket) => this.#receive(socket).catch(() => socket.destroy()))
    // Accepting failed, such as for want of file descriptors: the others go on.
    server.on('error', () => undefined)
  }

  async close(): Promise<void> {
    this.#closed = true
    const ended = new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
    for (const socket of this.#unknown) socket.destroy()
    for (const connection of this.#admitted.values()) this.#door.end(connection, CLOSING)
    const late = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, FAREWELL_MS)
    await ended
    clearTimeout(late)
  }

  async #receive(socket: Socket): Promise<void> {
    this.#sockets.add(socket)
    this.#unknown.add(socket)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#unknown.delete(socket)
    })
    const [oldest] = this.#unknown
    if (this.#unknown.size > UNKNOWN_LIMIT) oldest?.destroy()
    const arrival = await authenticate(socket, this.#rules)
    this.#unknown.delete(socket)
    if (arrival === undefined || this.#closed) {
      if (this.#closed) socket.destroy()
      return
    }
    if (arrival.kind === 'cancel') this.#door.cancel(arrival.processId, arrival.key)
    else if (this.#admitted.size >= this.#settings.maxConnections)
      refuse(arrival.socket, { sqlState: '53300', message: 'sorry, too many clients already' })
    else this.#admit(arrival)
  }

  #admit({ socket, parameters }: { readonly socket: Socket; readonly parameters: readonly Parameter[] }): void {
    const { statementTimeoutMs, idleInTransactionTimeoutMs, stallTimeoutMs } = this.#settings
    const defaults = [
      ['statement_timeout', statementTimeoutMs],
      ['idle_in_transaction_session_timeout', idleInTransactionTimeoutMs],
    ] as const
    const own = defaults.flatMap(([name, value]) => (value === 0 ? [] : [[name, String(value)] as const]))
    // Fires when nothing was sent or received for a while, which is a stall only where something is waiting to be sent.
    socket.setTimeout(stallTimeoutMs, () => {
      if (socket.writableLength > 0) socket.destroy()
    })
    socket.once('close', () => this.#admitted.delete(socket))
    // A client that was told that its connection ends, and keeps its end open.
    socket.once('finish', () => setTimeout(() => socket.destroy(), FAREWELL_MS).unref())
    const connection = this.#door.attach(socket, { parameters: [...own, ...parameters], messageLimit: MESSAGE_LIMIT })
    this.#admitted.set(socket, connection)
  }
}
