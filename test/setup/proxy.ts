import { connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy on the loopback that can delay, cut and swallow what passes. `await using` closes it. */
export class TcpProxy implements AsyncDisposable {
  readonly port: number
  readonly #server: Server
  readonly #sockets: Set<Socket>
  readonly #state: ProxyState

  constructor(server: Server, port: number, sockets: Set<Socket>, state: ProxyState) {
    this.#server = server
    this.port = port
    this.#sockets = sockets
    this.#state = state
  }

  /** Connections accepted so far. */
  get accepted(): number {
    return this.#state.accepted
  }

  /** Breaks every connection at once, as a dead router does when it says so. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
  }

  /** From now on nothing passes, and nobody is told. */
  swallow(swallowing = true): void {
    this.#state.swallowing = swallowing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise((done) => this.#server.close(done))
  }
}

interface ProxyState {
  swallowing: boolean
  accepted: number
}

/** @param delayMs - added to every byte, each way */
export async function startProxy(targetPort: number, delayMs = 0): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  const state: ProxyState = { swallowing: false, accepted: 0 }
  const server = createServer((client) => {
    state.accepted++
    const upstream = connect(targetPort, '127.0.0.1')
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.on('data', (data) => {
        if (state.swallowing) return
        if (delayMs === 0) to.write(data)
        else setTimeout(() => to.write(data), delayMs)
      })
    }
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return new TcpProxy(server, address.port, sockets, state)
}
