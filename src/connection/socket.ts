import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** As much as Node reads at once from any socket. */
const readBytes = 64 * 1024

/** Takes bytes that came; `reused`: their memory is written anew when it returns. */
export type Receive = (bytes: Buffer, reused: boolean) => void

/** Who takes the bytes of a socket straight from its buffer; `attached` while his listener is there. */
interface DirectReceiver {
  readonly receive: Receive
  attached: boolean
}

const directReceivers = new WeakMap<Duplex, DirectReceiver>()

/**
 * A TCP or Unix socket that reads into one buffer again and again, for {@link receiveFrom}: a buffer made for each read
 * would be half of what reading costs. To everybody else it is a socket as any other.
 */
export function reusingSocket(): Socket {
  const buffer = Buffer.allocUnsafeSlow(readBytes)
  const callback = (length: number): boolean => {
    const bytes = buffer.subarray(0, length)
    const direct = directReceivers.get(socket)
    if (direct?.attached === true && socket.listenerCount('data') === 1 && socket.readableLength === 0) {
      direct.receive(bytes, true)
      return true
    }
    // Somebody listens or pipes in his own way, as libraries for COPY do on the driver's connections.
    return socket.push(Buffer.from(bytes))
  }
  // Not written in the call: the types of Node 20 know it for connect() only.
  const options = { allowHalfOpen: false, onread: { buffer, callback } }
  const socket = new Socket(options)
  return socket
}

/** Hands on all bytes of a stream, straight from its buffer where it is a {@link reusingSocket} with no other listener. */
export function receiveFrom(stream: Duplex, receive: Receive): void {
  const listener = (chunk: Buffer): void => receive(chunk, false)
  const direct: DirectReceiver = { receive, attached: true }
  stream.on('data', listener)
  stream.on('removeListener', (_name, removed) => {
    if (removed === listener) direct.attached = false
  })
  stream.on('newListener', (_name, added) => {
    if (added === listener) direct.attached = true
  })
  directReceivers.set(stream, direct)
}

/** Adds what the driver calls on a socket and a plain Duplex lacks. */
export function asSocket(stream: Duplex): Duplex {
  const nothing = (): Duplex => stream
  const connect = (): Duplex => {
    process.nextTick(() => stream.emit('connect'))
    return stream
  }
  const methods = { connect, setNoDelay: nothing, setKeepAlive: nothing, ref: nothing, unref: nothing }
  for (const [name, method] of Object.entries(methods)) {
    if (!(name in stream)) Object.defineProperty(stream, name, { value: method })
  }
  return stream
}

/** Resolves when the stream is closed, which is forced after a second. */
export function untilClosed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) {
      resolve()
      return
    }
    const limit = setTimeout(() => stream.destroy(), 1000)
    stream.once('close', () => {
      clearTimeout(limit)
      resolve()
    })
  })
}
