import { connect as connectTcp } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

/** Where a CancelRequest goes. */
export interface CancelTarget {
  /** From the server's BackendKeyData. */
  readonly processId: number
  readonly secretKey: number
  /** A new stream to the same server, connected or connecting. */
  open(): Duplex
  /** Set where the connection is TLS: the request then goes over TLS too. */
  readonly tls?: ConnectionOptions | undefined
}

/** How often a cancel is repeated until the statement has answered: one in about ten was seen to have no effect. */
const repeatMs = 250
/** How long a server may leave a cancel unanswered before the connection is given up. */
const giveUpMs = 5000

const cancelRequestCode = 80877102
const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])

/** A stream to a TCP port or (path given) to a Unix socket. */
export function openSocket(
  address: { readonly host: string; readonly port: number } | { readonly path: string },
): Duplex {
  return connectTcp(address)
}

/**
 * Sends one CancelRequest and resolves when the server has closed the stream: from then on this request can hit nothing
 * any more. Errors are not reported: the server answers a CancelRequest with nothing either way.
 * @returns false when the stream had to be given up after `limitMs`, so that the request may still arrive
 */
export async function sendCancelRequest(target: CancelTarget, limitMs: number): Promise<boolean> {
  const raw = target.open()
  const closed = new Promise<boolean>((resolve) => raw.once('close', () => resolve(true)))
  raw.on('error', () => raw.destroy())
  writeRequest(raw, target)
  const limit = new AbortController()
  const late = wait(limitMs, false, { signal: limit.signal, ref: false }).catch(() => false)
  const inTime = await Promise.race([closed, late])
  limit.abort()
  raw.destroy()
  return inTime
}

function writeRequest(raw: Duplex, target: CancelTarget): void {
  const request = Buffer.alloc(16)
  request.writeInt32BE(16, 0)
  request.writeInt32BE(cancelRequestCode, 4)
  request.writeInt32BE(target.processId, 8)
  request.writeInt32BE(target.secretKey, 12)
  if (target.tls === undefined) {
    finish(raw, request)
    return
  }
  const { tls } = target
  raw.once('data', (answer: Buffer) => {
    if (answer.toString('latin1') !== 'S') {
      raw.destroy()
      return
    }
    const secure = connectTls({ ...tls, socket: raw })
    secure.on('error', () => raw.destroy())
    secure.once('close', () => raw.destroy())
    secure.once('secureConnect', () => finish(secure, request))
  })
  raw.write(sslRequest)
}

function finish(stream: Duplex, request: Buffer): void {
  // A stream that nobody reads never sees its end.
  stream.resume()
  stream.once('end', () => stream.destroy())
  stream.write(request)
}

/** What ends a running statement from this side. */
export interface InterruptOptions {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number | undefined
}

/** The connection a statement runs on, as far as an {@link Interruption} needs it. */
export interface Interruptible {
  cancelTarget(): CancelTarget
  /** Closes the connection at once; the statement then fails. */
  destroy(): void
  /** Told before the server is asked. */
  interrupted(): void
}

/**
 * Watches one statement: asks the server to cancel it when its signal is aborted or its time is over, again and again
 * until it has answered, and gives the connection up when it does not.
 */
export class Interruption {
  /** Why the server was asked to end the statement, or undefined when it was not. */
  reason: 'signal' | 'timeout' | undefined
  readonly #connection: Interruptible
  readonly #options: InterruptOptions
  readonly #settled = new AbortController()
  readonly #timer: NodeJS.Timeout | undefined
  readonly #onAbort = (): void => this.interrupt('signal')
  #cancelling: Promise<void> | undefined

  constructor(connection: Interruptible, options: InterruptOptions) {
    this.#connection = connection
    this.#options = options
    options.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (options.timeoutMs !== undefined) {
      this.#timer = setTimeout(() => this.interrupt('timeout'), options.timeoutMs)
    }
  }

  /** To be called when the statement has answered; resolves when no cancel is under way any more. */
  async finish(): Promise<void> {
    clearTimeout(this.#timer)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#settled.abort()
    await this.#cancelling
  }

  /** Asks the server to end the statement, unless that was done already. */
  interrupt(reason: 'signal' | 'timeout'): void {
    if (this.reason !== undefined) return
    this.reason = reason
    this.#connection.interrupted()
    this.#cancelling = this.#cancelUntilSettled()
  }

  async #cancelUntilSettled(): Promise<void> {
    const { signal } = this.#settled
    const end = performance.now() + giveUpMs
    // The statement may hang although every request is delivered, or no request may get through.
    const giveUp = setTimeout(() => this.#connection.destroy(), giveUpMs)
    try {
      while (!signal.aborted && performance.now() < end) {
        const inTime = await sendCancelRequest(this.#connection.cancelTarget(), end - performance.now())
        // A request that may still arrive could hit the next statement of this connection.
        if (!inTime) this.#connection.destroy()
        // It rejects only when it is cut short, which the loop looks at.
        await wait(repeatMs, undefined, { signal }).catch(() => undefined)
      }
    } finally {
      clearTimeout(giveUp)
    }
    if (!signal.aborted) this.#connection.destroy()
  }
}
