import { ConnectionError, UsageError } from '../errors.ts'
import type { ConnectionSource } from './database-session.ts'
import type { ConnectionPool } from './pool.ts'
import type { PoolConnection } from './pool-connection.ts'
import type { PoolOptions } from './pool-option.ts'
import { cancelledError } from './server-error.ts'
import { currentTransaction } from './transaction-context.ts'

/** One connection of a pool that stays with its user: whoever asks for a connection gets this one, in turn. */
export class HeldConnection implements ConnectionSource {
  readonly #pool: ConnectionPool
  readonly #connection: PoolConnection
  #tail: Promise<void> = Promise.resolve()
  #endTurn: (() => void) | undefined
  readonly #database: object
  #reading = false
  #closed: Promise<void> | undefined

  /** @param connection - taken from the pool, and given back by {@link close} */
  constructor(pool: ConnectionPool, connection: PoolConnection, database: object) {
    this.#pool = pool
    this.#connection = connection
    this.#database = database
  }

  get options(): PoolOptions {
    return this.#pool.options
  }

  get heldStatus(): 'I' | 'T' | 'E' {
    return this.#connection.transactionStatus ?? 'I'
  }

  /**
   * Waits for the statements before.
   * @param reading - whether it is held while a loop reads: others are then refused, since one in the loop would wait for ever
   * @throws ConnectionError CONNECTION_LOST; QueryError QUERY_CANCELLED; UsageError CLOSED, INVALID_VALUE
   */
  async acquire(signal?: AbortSignal, _hint?: string, reading = false): Promise<PoolConnection> {
    if (this.#reading) throw busyError('reads a stream or a COPY', 'Use the database itself inside the loop.')
    const outer = currentTransaction(this.#database)
    if (outer?.open === true && outer.connection === this.#connection.stream) {
      throw busyError('is in transaction()', 'Use the client that is passed to its function.')
    }
    const before = this.#tail
    let end = (): void => undefined
    this.#tail = new Promise((resolve) => {
      end = resolve
    })
    await before
    try {
      if (signal?.aborted) throw cancelledError(signal)
      if (this.#closed !== undefined) throw new UsageError('CLOSED', 'The connection is closed')
      if (this.#connection.lost !== undefined) throw lostError(this.#pool.target, this.#connection.lost)
    } catch (error) {
      end()
      throw error
    }
    this.#endTurn = end
    this.#reading = reading
    return this.#connection
  }

  release(): void {
    this.#reading = false
    this.#endTurn?.()
  }

  /** Lets the running statement end, rolls back what is open, and closes the connection with all that was set on it. */
  close(): Promise<void> {
    this.#closed ??= this.#tail.then(() => this.#pool.release(this.#connection, true))
    return this.#closed
  }
}

function busyError(what: string, hint: string): UsageError {
  return new UsageError('INVALID_VALUE', `This call would wait for ever: its connection ${what}`, { hint })
}

function lostError(target: string, cause: Error): ConnectionError {
  return new ConnectionError('CONNECTION_LOST', `Lost the connection to ${target}.`, {
    hint: 'What was set on it is gone, and so is an open transaction. Open another one.',
    retryable: false,
    cause,
  })
}
