/**
 * The start of a connection from outside (PostgreSQL documentation, "Start-up" and "SASL Authentication"): TLS on
 * request, then SCRAM-SHA-256. The client's socket is handed on only when it is known who it is, as it is: with
 * nothing in between, and with what the client sent since still in it.
 */
import type { Socket } from 'node:net'
import { type SecureContext, TLSSocket } from 'node:tls'
import { type ErrorFields, errorResponse, HEADER_BYTES, int32, message, readText } from '../wire/message.ts'
import { beginExchange, type ChannelBinding, mechanisms, mockVerifier, type ScramVerifier } from '../wire/scram.ts'
import {
  negotiateProtocolVersion,
  type Parameter,
  readStartup,
  type StartupRequest,
  startupLength,
  startupSettings,
} from '../wire/startup.ts'
import { isUtf8 } from './refused-statement.ts'

/** A SASL message of a client is some hundred bytes long. */
const SASL_LIMIT = 4096
/** SSLRequest, GSSENCRequest, and some to spare. */
const REQUEST_LIMIT = 4
/** How long a client that was refused has to read why. */
const FAREWELL_MS = 1000
const TLS_HANDSHAKE = 0x16
/** Asked for by clients that begin with TLS at once. */
const ALPN = 'postgresql'

/** Who may come in. */
export interface AdmissionRules {
  readonly user: string
  readonly verifier: ScramVerifier
  /** Makes the salts of users that do not exist. */
  readonly secret: Uint8Array
  readonly database: string
  /** Then nobody comes in without. */
  readonly tls: { readonly context: SecureContext; readonly binding: ChannelBinding } | undefined
  readonly timeoutMs: number
}

/** What came of a client's first messages. */
export type Arrival =
  | { readonly kind: 'admitted'; readonly socket: Socket; readonly parameters: readonly Parameter[] }
  | { readonly kind: 'cancel'; readonly processId: number; readonly key: number }

/** The client was told why it may not come in, or has gone. */
class Refused extends Error {
  readonly fields: ErrorFields | undefined

  constructor(fields?: ErrorFields) {
    super('refused')
    this.fields = fields
  }
}

/** Finds out who is at the other end; undefined where the connection was refused or lost, and is closed. */
export async function authenticate(socket: Socket, rules: AdmissionRules): Promise<Arrival | undefined> {
  const client = new Client(socket, rules)
  const deadline = setTimeout(() => client.destroy(), rules.timeoutMs)
  try {
    return await client.arrive()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.fields === undefined) client.destroy()
    else refuse(client.socket, error.fields)
    return undefined
  } finally {
    clearTimeout(deadline)
    client.release()
  }
}

/** Tells a client why its connection ends. */
export function refuse(socket: Socket, fields: ErrorFields): void {
  // Read to the end and thrown away: closing with bytes unread would take the error from the client.
  socket.resume()
  socket.end(errorResponse({ ...fields, severity: 'FATAL' }))
  setTimeout(() => socket.destroy(), FAREWELL_MS).unref()
}

class Client {
  socket: Socket
  readonly #plain: Socket
  readonly #rules: AdmissionRules
  #binding: ChannelBinding = { certificateHash: undefined }
  #wake: (() => void) | undefined
  readonly #changed = (): void => this.#wake?.()
  readonly #destroy = (): void => this.destroy()

  constructor(socket: Socket, rules: AdmissionRules) {
    this.socket = socket
    this.#plain = socket
    this.#rules = rules
    this.#listen(socket)
  }

  destroy(): void {
    this.socket.destroy()
    this.#plain.destroy()
  }

  /** Leaves the socket to whoever is next. */
  release(): void {
    this.#unlisten(this.socket)
  }

  async arrive(): Promise<Arrival> {
    const request = await this.#firstRequest()
    if (request.kind === 'cancel') {
      this.socket.end()
      return request
    }
    const { tls, database } = this.#rules
    const user = parameter(request.parameters, 'user')
    if (tls !== undefined && !(this.socket instanceof TLSSocket))
      throw refusal('28000', 'this server takes connections over TLS only', 'Connect with sslmode=require.')
    if (user === '') throw refusal('28000', 'no PostgreSQL user name specified in startup packet')
    const negotiation = negotiateProtocolVersion(request.minor, request.parameters)
    if (negotiation !== undefined) this.socket.write(negotiation)
    await this.#prove(user)
    const wanted = parameter(request.parameters, 'database') || user
    if (wanted !== database) throw refusal('3D000', `database "${wanted}" does not exist`)
    return { kind: 'admitted', socket: this.socket, parameters: acceptable(request.parameters) }
  }

  /** Requests for encryption come before the one that says what the connection is for. */
  async #firstRequest(): Promise<Extract<StartupRequest, { kind: 'start' | 'cancel' }>> {
    for (let count = 0; count < REQUEST_LIMIT; count++) {
      const head = await this.#take(4)
      if (count === 0 && head[0] === TLS_HANDSHAKE && this.#rules.tls !== undefined) {
        this.socket.unshift(head)
        await this.#startTls(true)
        continue
      }
      const length = startupLength(head)
      if (length === undefined) throw refusal('08P01', 'invalid length of startup packet')
      const request = readStartup(Buffer.concat([head, await this.#take(length - 4)]))
      if (request.kind === 'start' || request.kind === 'cancel') return request
      if (request.kind === 'unknown')
        throw refusal('0A000', `unsupported frontend protocol ${request.version}: server supports 3.0 to 3.0`)
      if (request.kind === 'tls' && this.#rules.tls !== undefined && this.socket === this.#plain) await this.#startTls()
      else this.socket.write('N')
    }
    throw refusal('08P01', 'too many requests for encryption')
  }

  async #startTls(direct = false): Promise<void> {
    const { tls } = this.#rules
    if (tls === undefined) return
    if (!direct) {
      // CVE-2021-23214: whoever is in between could have put it there, to be taken for the client's own.
      if (this.socket.readableLength > 0)
        throw refusal('08P01', 'received unencrypted data after SSL request', 'This could be an attack.')
      this.socket.write('S')
    }
    this.#unlisten(this.#plain)
    const secured = new TLSSocket(this.#plain, { isServer: true, secureContext: tls.context, ALPNProtocols: [ALPN] })
    // Node reports what fails in the handshake here only.
    secured.on('_tlsError', this.#destroy)
    this.#listen(secured)
    this.socket = secured
    this.#binding = tls.binding
    await new Promise<void>((resolve, reject) => {
      secured.once('secure', resolve)
      secured.once('close', () => reject(new Refused()))
    })
    if (direct && secured.alpnProtocol !== ALPN) throw new Refused()
  }

  async #prove(user: string): Promise<void> {
    const { rules, binding } = { rules: this.#rules, binding: this.#binding }
    const verifier = user === rules.user ? rules.verifier : mockVerifier(user, rules.secret)
    this.socket.write(message('R', int32(10), ...mechanisms(binding), Buffer.alloc(1)))
    const first = await this.#takeSasl()
    const [mechanism, at] = readText(first, 0)
    const length = at + 4 <= first.length ? first.readInt32BE(at) : -1
    if (length !== first.length - at - 4) throw refusal('08P01', 'malformed SASL message')
    const exchange = beginExchange(mechanism, first.toString('utf8', at + 4), verifier, binding)
    if (exchange === undefined) throw refusal('08P01', 'malformed SCRAM message')
    this.socket.write(message('R', int32(11), Buffer.from(exchange.serverFirst)))
    const last = exchange.finish((await this.#takeSasl()).toString('utf8'))
    if (last === undefined) throw refusal('28P01', `password authentication failed for user "${user}"`)
    this.socket.write(message('R', int32(12), Buffer.from(last)))
  }

  async #takeSasl(): Promise<Buffer> {
    const head = await this.#take(HEADER_BYTES)
    const length = head.readInt32BE(1)
    if (head.toString('latin1', 0, 1) !== 'p' || length < 4 || length > SASL_LIMIT)
      throw refusal('08P01', 'expected a SASL response')
    return this.#take(length - 4)
  }

  /** Exactly so many bytes. No more are read from the socket than its own buffer holds. */
  async #take(count: number): Promise<Buffer> {
    if (count === 0) return Buffer.alloc(0)
    const { socket } = this
    for (;;) {
      const bytes: Buffer | null = socket.read(count)
      if (bytes?.length === count) return bytes
      if (bytes !== null || socket.destroyed || socket.readableEnded) throw new Refused()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Once for each socket: a listener that is added while bytes are waiting is called again and again. */
  #listen(socket: Socket): void {
    socket.on('error', this.#destroy)
    for (const event of EVENTS) socket.on(event, this.#changed)
  }

  #unlisten(socket: Socket): void {
    for (const event of EVENTS) socket.off(event, this.#changed)
  }
}

const EVENTS = ['readable', 'end', 'close']

const refusal = (sqlState: string, text: string, hint?: string): Refused =>
  new Refused({ sqlState, message: text, ...(hint === undefined ? {} : { hint }) })

const parameter = (parameters: readonly Parameter[], name: string): string =>
  parameters.findLast(([each]) => each === name)?.[1] ?? ''

/** What the engine can do, of what a client that was let in asks for. */
function acceptable(parameters: readonly Parameter[]): readonly Parameter[] {
  if (!['', 'false', 'off', 'no', '0'].includes(parameter(parameters, 'replication').toLowerCase()))
    throw refusal('0A000', 'the embedded engine has no replication')
  const encodings = startupSettings(parameters).filter(([name]) => name.toLowerCase() === 'client_encoding')
  // A terminal without a locale: nothing is converted for it, so that it can be left out.
  const foreign = encodings.find(([, value]) => !isUtf8(value.replaceAll("'", '')) && !/^sql_?ascii$/i.test(value))
  if (foreign !== undefined)
    throw refusal('0A000', 'the embedded engine speaks UTF8 only', 'Set PGCLIENTENCODING=UTF8 for the client.')
  return parameters.filter(([name]) => name.toLowerCase() !== 'client_encoding')
}
