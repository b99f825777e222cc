import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import { MessageRouter } from '../wire/message-router.ts'
import { pg } from './pool-driver.ts'
import { receiveFrom } from './socket.ts'
import type { StatementCache } from './statement-cache.ts'

/** The driver's configuration of a connection. */
interface WireConfig {
  readonly stream: pg.ClientConfig['stream']
  readonly ssl: pg.ClientConfig['ssl']
  readonly sslNegotiation: string | undefined
  readonly keepAlive: boolean | undefined
  readonly keepAliveInitialDelayMillis: number | undefined
}

// What the driver's class has and its types do not say: `parse` of pg-protocol, which is called here, needs only `on`.
const Base = pg.Connection as unknown as new (
  config: WireConfig,
) => pg.Connection & { attachListeners(stream: Pick<EventEmitter, 'on'>): void }

class DriverConnection extends Base {
  /** Takes rows past the driver; there once the bytes of the server's messages begin, after TLS is set up. */
  router: MessageRouter | undefined
  readonly statements: StatementCache

  constructor(config: WireConfig, statements: StatementCache) {
    super(config)
    this.statements = statements
    this.on('commandComplete', ({ text }: { readonly text: string }) => statements.completed(text))
  }

  override attachListeners(stream: Duplex): void {
    const parser = new EventEmitter()
    super.attachListeners(parser)
    const router = new MessageRouter(
      (bytes) => parser.emit('data', bytes),
      (reason) => stream.destroy(reason),
    )
    this.router = router
    receiveFrom(stream, (bytes, reused) => router.push(bytes, reused))
  }
}

/**
 * A connection of the driver whose bytes are framed here first, so that a result's rows can be read past the driver's
 * parser. Taking over the socket's listeners for a query instead would lose a notification that is cut at that moment.
 */
export function wireConnection(config: pg.ClientConfig, statements: StatementCache): pg.Connection {
  const { stream, ssl, sslnegotiation, keepAlive, keepAliveInitialDelayMillis } = config
  return new DriverConnection(
    { stream, ssl, sslNegotiation: sslnegotiation, keepAlive, keepAliveInitialDelayMillis },
    statements,
  )
}
