import type { Duplex } from 'node:stream'

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
