import type { IntervalInput } from '../sql/interval.ts'
import { unknownKey } from './unknown-key.ts'
import { invalidValue, isValueName, type Layer, type Password, type SslMode, setValue, valueNames } from './value.ts'

/** What `connect` takes beside a target. An option that is left out comes from the next source, then the default. */
export interface ConnectOptions {
  /** What to connect to: `postgres://…`, `embedded:DIR` or `embedded:`; the same as the first argument of `connect`. */
  readonly url?: string | undefined
  /** A configuration file with a section `[timescaledb]`. */
  readonly config?: string | undefined
  /** Default `localhost`. A directory of a socket when it begins with `/`. */
  readonly host?: string | undefined
  /** Default 5432. */
  readonly port?: number | undefined
  /** Default `tsdb`. */
  readonly database?: string | undefined
  /** Default `postgres`. */
  readonly user?: string | undefined
  /** A function is asked at each new connection. */
  readonly password?: Password | undefined
  /** Default `disable`, or `verify-full` when `ca` is given. */
  readonly sslmode?: SslMode | undefined
  /** Certificates that the server's certificate is checked against: PEM text or the name of a PEM file. */
  readonly ca?: string | undefined
  /** The client's certificate: PEM text or the name of a PEM file. */
  readonly cert?: string | undefined
  /** The client's private key: PEM text or the name of a PEM file. */
  readonly key?: string | undefined
  readonly sslNegotiation?: 'postgres' | 'direct' | undefined
  /** Default `tsdbkit`. */
  readonly applicationName?: string | undefined
  /** libpq's `options`, such as `-c work_mem=64MB`. */
  readonly options?: string | undefined
  /** Default 10,000; 0 waits for ever. */
  readonly connectTimeoutMs?: number | undefined
  readonly lockTimeoutMs?: number | undefined
  readonly idleInTransactionTimeoutMs?: number | undefined
  readonly keepAlive?: boolean | undefined
  readonly keepAliveIdleMs?: number | undefined
  /**
   * Whether statements read as columns stay prepared on the server. Default true; false behind a pooler that gives a
   * connection to several sessions.
   */
  readonly prepare?: boolean | undefined
  /** The server ends a statement after this time. Default none. */
  readonly statementTimeoutMs?: number | undefined
  /** Connections kept open. Default 5. */
  readonly poolSize?: number | undefined
  /** Connections opened beyond `poolSize` under load; they close when idle. Default 10. */
  readonly maxOverflow?: number | undefined
  /** How long a call waits for a connection of the pool. Default 30,000. */
  readonly acquireTimeoutMs?: number | undefined
  /** Embedded engine: how long a statement waits while a transaction of another connection is open. Default 5,000. */
  readonly lockWaitMs?: number | undefined
  /** Runs `CREATE EXTENSION IF NOT EXISTS timescaledb` on a server that lacks it. Default false. */
  readonly createExtension?: boolean | undefined
  /** Embedded engine: what a commit survives, a power loss (`fsync`, the default) or the death of the process. */
  readonly durability?: 'fsync' | 'process' | undefined
  /**
   * Embedded engine: whether due jobs run by themselves. Default true. With `yieldAfter` a job is cancelled, and queued
   * again without counting, when a statement has waited for it so long.
   */
  readonly jobs?: boolean | { readonly yieldAfter?: IntervalInput } | undefined
  /**
   * Embedded engine, temporary directory: its clock starts at this time, and `db.clock` moves it. Jobs run only when
   * it is moved.
   */
  readonly clock?: Date | string | undefined
  /** How bigint columns arrive. Default `number`. */
  readonly int8?: 'number' | 'bigint' | 'string' | undefined
  /** How numeric columns arrive. Default `string`. */
  readonly numeric?: 'string' | 'number' | undefined
  /** Is told, in one line each, what takes long: the embedded engine's first start. */
  readonly onProgress?: ((line: string) => void) | undefined
}

const others: readonly string[] = ['url', 'config', 'onProgress']

/** The checked values of an options object. @throws ConfigError CONFIG_UNKNOWN_KEY, CONFIG_INVALID_VALUE */
export function readOptions(options: ConnectOptions, cwd: string): Layer {
  const layer: Layer = {}
  for (const [name, raw] of Object.entries(options)) {
    const place = { origin: 'argument', label: name, directory: cwd }
    if (isValueName(name)) {
      if (raw !== undefined) setValue(layer, name, raw, place)
    } else if (!others.includes(name)) {
      throw unknownKey(name, [...valueNames, ...others], 'argument')
    } else if (raw !== undefined && typeof raw !== (name === 'onProgress' ? 'function' : 'string')) {
      throw invalidValue(place, name === 'onProgress' ? 'must be a function' : 'must be a text')
    }
  }
  return layer
}
