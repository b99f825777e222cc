import { Duplex } from 'node:stream'

/**
 * One end of a connection inside this process, with the methods of a net.Socket that a PostgreSQL driver calls.
 * A write is done when the other end has taken the bytes, so a slow reader holds the writer back.
 */
export class InProcessSocket extends Duplex {
  #other: InProcessSocket | undefined
  #taken: (() => void) | undefined

  constructor() {
    super({ allowHalfOpen: false, writableHighWaterMark: 1 << 20, readableHighWaterMark: 1 << 20 })
  }

  /** The two ends of a connection. */
  static pair(): [client: InProcessSocket, server: InProcessSocket] {
    const client = new InProcessSocket()
    const server = new InProcessSocket()
    client.#other = server
    server.#other = client
    return [client, server]
  }

  /** There is nothing to connect; the driver waits for the event. */
  connect(): this {
    process.nextTick(() => {
      if (!this.destroyed) this.emit('connect')
    })
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  setTimeout(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  override _read(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const other = this.#other
    if (other === undefined || other.destroyed) done()
    else if (other.push(chunk)) done()
    else other.#taken = done
  }

  override _final(done: () => void): void {
    this.#other?.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const other = this.#other
    this._read()
    if (other !== undefined && !other.destroyed) process.nextTick(() => other.destroy())
    done(error)
  }
}
