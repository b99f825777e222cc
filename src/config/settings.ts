import { isDeepStrictEqual } from 'node:util'
import { UsageError } from '../errors.ts'
import { findTarget, type Plan } from './find-target.ts'
import { type ConnectOptions, readOptions } from './options.ts'
import {
  invalidValue,
  type JobSettings,
  type Layer,
  longestTimeoutMs,
  type Password,
  type SslMode,
  type Values,
} from './value.ts'

export type { ConnectOptions } from './options.ts'

/** TLS to a server. */
export interface SslSettings {
  /** `require` encrypts without checking the certificate; `verify-ca` checks its issuer, `verify-full` its host too. */
  readonly mode: Exclude<SslMode, 'disable'>
  /** PEM texts. Without `ca` the certificates that Node trusts are used. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** A PostgreSQL server and how to log in. */
export interface ServerTarget {
  readonly kind: 'server'
  /** A name, an address, or the directory of a socket when it begins with `/`. */
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  /** Undefined: the driver looks into the password file (`PGPASSFILE`, `~/.pgpass`). */
  readonly password?: Password
  /** Undefined: not encrypted. */
  readonly ssl?: SslSettings
  readonly sslNegotiation?: 'postgres' | 'direct'
  /** libpq's `options`: command-line options for the server process. */
  readonly options?: string
  readonly connectTimeoutMs: number
  readonly lockTimeoutMs?: number
  readonly idleInTransactionTimeoutMs?: number
  readonly keepAlive: boolean
  readonly keepAliveIdleMs?: number
  /** Undefined: statements read as columns stay prepared on the server. */
  readonly prepare?: boolean
}

/** A directory of the embedded engine. */
export interface EmbeddedTarget {
  readonly kind: 'embedded'
  /** An absolute path; undefined: a temporary directory that is removed on close. */
  readonly directory: string | undefined
  /** `fsync`: a commit survives a power loss; `process`: only the death of the process. */
  readonly durability: 'fsync' | 'process'
}

/** What `connect` opens. */
export type Target = ServerTarget | EmbeddedTarget

/** Everything `connect` needs to know, with the origin of each value. */
export interface Settings {
  readonly target: Target
  /** Connections kept open. */
  readonly poolSize: number
  /** Connections opened beyond `poolSize` under load; they close when idle. */
  readonly maxOverflow: number
  /** How long a call waits for a connection of the pool. */
  readonly acquireTimeoutMs: number
  /** Embedded engine: how long a statement waits while a transaction of another connection is open. */
  readonly lockWaitMs: number
  /** Embedded engine: how due jobs run. */
  readonly jobs: JobSettings
  /** Embedded engine: the time its clock starts at; undefined: the true one. */
  readonly clock?: Date
  readonly applicationName: string
  /** Undefined or 0: statements run as long as they take. */
  readonly statementTimeoutMs?: number
  readonly createExtension: boolean
  readonly int8: 'number' | 'bigint' | 'string'
  readonly numeric: 'string' | 'number'
  /** Setting → where it came from: `argument`, `TSDB_URL`, `PGHOST`, `./tsdb.conf:3`, `default` … */
  readonly origins: Readonly<Record<string, string>>
}

const defaults = {
  host: 'localhost',
  port: 5432,
  database: 'tsdb',
  user: 'postgres',
  connectTimeoutMs: 10_000,
  keepAlive: true,
  poolSize: 5,
  maxOverflow: 10,
  acquireTimeoutMs: 30_000,
  lockWaitMs: 5_000,
  jobs: { yieldAfterMs: undefined },
  applicationName: 'tsdbkit',
  createExtension: false,
  durability: 'fsync',
  int8: 'number',
  numeric: 'string',
} as const

/**
 * The settings of one connection.
 *
 * The first of these that names a target is the target: the argument (a text, `url`, `host`, `config`), `TSDB_URL`,
 * the variables `PGHOST`, `PGPORT` or `PGDATABASE`, the file in `TSDB_CONFIG`, `./aibasic.conf`, `./tsdb.conf`; without
 * any, a server on localhost when the options have a port, database, user or password, else the embedded engine
 * in `./.tsdb`. Sources below it are not read, so a password never goes to a server it was not written for. Two
 * exceptions: single options always win, and `PG*` variables complete what a server's source leaves open, as in libpq.
 *
 * @throws ConfigError CONFIG_UNREADABLE, CONFIG_UNKNOWN_KEY, CONFIG_INVALID_VALUE; UsageError INVALID_OPTION
 */
export function resolveSettings(
  target: string | ConnectOptions | undefined,
  options: ConnectOptions | undefined,
  env: NodeJS.ProcessEnv,
  cwd: string,
): Settings {
  const given: ConnectOptions = typeof target === 'string' ? { ...options } : { ...target, ...options }
  if (typeof target === 'string' && given.url !== undefined) {
    throw new UsageError('INVALID_OPTION', 'option url repeats the target; give one of them.')
  }
  const values = readOptions(given, cwd)
  const text = typeof target === 'string' ? target : given.url
  const plan = findTarget({ text, config: given.config, values }, env, cwd)
  const found = new FoundValues(plan)
  return {
    target: plan.kind === 'server' ? serverTarget(found) : embeddedTarget(found, plan.directory),
    poolSize: found.get('poolSize') ?? defaults.poolSize,
    maxOverflow: found.get('maxOverflow') ?? defaults.maxOverflow,
    acquireTimeoutMs: found.get('acquireTimeoutMs') ?? defaults.acquireTimeoutMs,
    lockWaitMs: found.get('lockWaitMs') ?? defaults.lockWaitMs,
    jobs: found.get('jobs') ?? defaults.jobs,
    ...clockSetting(found, plan),
    applicationName: found.get('applicationName') ?? defaults.applicationName,
    ...found.optional('statementTimeoutMs'),
    createExtension: found.get('createExtension') ?? defaults.createExtension,
    int8: found.get('int8') ?? defaults.int8,
    numeric: found.get('numeric') ?? defaults.numeric,
    origins: found.origins,
  }
}

/** Whether two calls asked for the same connection: every value is equal, wherever it came from. */
export function sameSettings(a: Settings, b: Settings): boolean {
  return isDeepStrictEqual({ ...a, origins: {} }, { ...b, origins: {} })
}

/** A directory that is kept would go on with a clock that nobody moves. */
function clockSetting(found: FoundValues, plan: Plan): Partial<Pick<Settings, 'clock'>> {
  const clock = found.optional('clock')
  if (clock.clock === undefined || (plan.kind === 'embedded' && plan.directory === undefined)) return clock
  throw new UsageError('INVALID_OPTION', 'option clock needs a temporary database of the embedded engine.', {
    hint: "Connect to 'embedded:', without a directory.",
  })
}

function embeddedTarget(found: FoundValues, directory: string | undefined): EmbeddedTarget {
  return { kind: 'embedded', directory, durability: found.get('durability') ?? defaults.durability }
}

function serverTarget(found: FoundValues): ServerTarget {
  const host = found.get('host') ?? defaults.host
  // libpq does not encrypt a socket either.
  const ssl = host.startsWith('/') ? undefined : sslSettings(found)
  return {
    kind: 'server',
    host,
    port: found.get('port') ?? defaults.port,
    database: found.get('database') ?? defaults.database,
    user: found.get('user') ?? defaults.user,
    ...found.optional('password'),
    ...(ssl === undefined ? {} : { ssl, ...found.optional('sslNegotiation') }),
    ...found.optional('options'),
    // libpq's 0 waits for ever.
    connectTimeoutMs: (found.get('connectTimeoutMs') ?? defaults.connectTimeoutMs) || longestTimeoutMs,
    ...found.optional('lockTimeoutMs'),
    ...found.optional('idleInTransactionTimeoutMs'),
    keepAlive: found.get('keepAlive') ?? defaults.keepAlive,
    ...found.optional('keepAliveIdleMs'),
    ...found.optional('prepare'),
  }
}

function sslSettings(found: FoundValues): SslSettings | undefined {
  const asked = found.get('sslmode')
  const ca = found.get('ca')
  const mode = asked ?? (ca === undefined ? 'disable' : 'verify-full')
  const place = { origin: found.origins['sslmode'] ?? 'default', label: 'sslmode', directory: '' }
  if (mode === 'disable') {
    if (found.get('sslNegotiation') === 'direct') throw invalidValue(place, 'must not be disable for direct TLS')
    return undefined
  }
  // Against all public certificates verify-ca would accept anybody who has one.
  if (mode === 'verify-ca' && ca === undefined) {
    throw invalidValue(place, 'verify-ca needs a CA file', 'Give ca (sslrootcert), or use verify-full.')
  }
  const cert = found.get('cert')
  const key = found.get('key')
  if ((cert === undefined) !== (key === undefined)) {
    const label = cert === undefined ? 'key' : 'cert'
    throw invalidValue({ ...place, origin: found.origins[label] ?? '', label }, 'needs both cert and key')
  }
  return { mode, ...found.optional('ca'), ...found.optional('cert'), ...found.optional('key') }
}

/** The values of all layers, the strongest first, and where those came from that were asked for. */
class FoundValues {
  readonly origins: Record<string, string>
  readonly #layers: readonly Layer[]

  constructor(plan: Plan) {
    this.origins = { target: plan.origin, ...(plan.kind === 'embedded' ? { directory: plan.origin } : {}) }
    this.#layers = plan.layers
  }

  get<K extends keyof Values>(name: K): Values[K] | undefined {
    for (const layer of this.#layers) {
      const found: Layer[K] = layer[name]
      if (found === undefined) continue
      this.origins[name] = found.origin
      return found.value
    }
    return undefined
  }

  /** The value as a property, or no property. */
  optional<K extends keyof Values>(name: K): Partial<Pick<Values, K>> {
    const value = this.get(name)
    const property: Partial<Pick<Values, K>> = {}
    if (value !== undefined) property[name] = value
    return property
  }
}
