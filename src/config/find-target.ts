import { resolve } from 'node:path'
import { UsageError } from '../errors.ts'
import { readConfigFile } from './config-file.ts'
import { environmentNamesServer, readEnvironment } from './environment.ts'
import { parseTarget } from './target-text.ts'
import type { Layer } from './value.ts'

/** What to connect to, which source named it, and all that the sources set, the strongest first. */
export interface Plan {
  readonly kind: 'server' | 'embedded'
  /** The embedded engine's directory; undefined: a temporary one. */
  readonly directory: string | undefined
  readonly origin: string
  readonly layers: readonly Layer[]
}

/** What the caller of `connect` gave. */
export interface Argument {
  readonly text: string | undefined
  readonly config: string | undefined
  readonly values: Layer
}

/**
 * Walks the sources in their order and stops at the first that names a target.
 *
 * @throws UsageError INVALID_OPTION when the argument names two targets; ConfigError of the sources it reads
 */
export function findTarget(argument: Argument, env: NodeJS.ProcessEnv, cwd: string): Plan {
  const { text, config, values } = argument
  const file = config === undefined ? undefined : readConfigFile(config, cwd, 'required')
  const layers = file === undefined ? [values] : [values, file]
  const fileNames = file !== undefined && namesServer(file)
  refuseTwo([
    text === undefined ? undefined : 'the target text',
    values.host === undefined ? undefined : 'option host',
    fileNames ? `the configuration file ${config}` : undefined,
  ])
  if (text !== undefined) return fromText(text, 'argument', layers, env, cwd)
  if (values.host !== undefined) return server('argument', layers, env, cwd)
  if (fileNames) return server(config ?? 'argument', layers, env, cwd)
  const url = env['TSDB_URL']
  if (url !== undefined && url !== '') return fromText(url, 'TSDB_URL', layers, env, cwd)
  if (environmentNamesServer(env)) return server('PG*', layers, env, cwd)
  return fromFiles(layers, env, cwd)
}

function fromText(text: string, origin: string, layers: readonly Layer[], env: NodeJS.ProcessEnv, cwd: string): Plan {
  const target = parseTarget(text, origin, cwd)
  if (target.kind === 'server') return server(origin, [...layers, target.layer], env, cwd)
  const foreign = serverOnly.find((name) => layers[0]?.[name] !== undefined)
  if (foreign !== undefined) {
    throw new UsageError(
      'INVALID_OPTION',
      `option ${foreign} has no meaning for the embedded engine that ${origin} names.`,
      {
        hint: `Leave ${foreign} out, or give host to name a server.`,
      },
    )
  }
  return { kind: 'embedded', directory: target.directory, origin, layers }
}

function fromFiles(layers: readonly Layer[], env: NodeJS.ProcessEnv, cwd: string): Plan {
  const own = env['TSDB_CONFIG']
  if (own !== undefined && own !== '') {
    const found = readConfigFile(own, cwd, 'required')
    return found === undefined ? fallback(layers, env, cwd) : fromFile(own, found, layers, env, cwd)
  }
  // aibasic.conf belongs to another program, which need not use TimescaleDB.
  const shared = readConfigFile('./aibasic.conf', cwd, 'section optional')
  if (shared !== undefined) return fromFile('./aibasic.conf', shared, layers, env, cwd)
  const ours = readConfigFile('./tsdb.conf', cwd, 'file optional')
  return ours === undefined ? fallback(layers, env, cwd) : fromFile('./tsdb.conf', ours, layers, env, cwd)
}

function fromFile(file: string, found: Layer, layers: readonly Layer[], env: NodeJS.ProcessEnv, cwd: string): Plan {
  const all = [...layers, found]
  return namesServer(found) ? server(file, all, env, cwd) : fallback(all, env, cwd)
}

function fallback(layers: readonly Layer[], env: NodeJS.ProcessEnv, cwd: string): Plan {
  if (layers.some(namesServer)) return server('argument', layers, env, cwd)
  return { kind: 'embedded', directory: resolve(cwd, '.tsdb'), origin: 'default', layers }
}

function server(origin: string, layers: readonly Layer[], env: NodeJS.ProcessEnv, cwd: string): Plan {
  return { kind: 'server', directory: undefined, origin, layers: [...layers, readEnvironment(env, cwd)] }
}

const serverNames = ['host', 'port', 'database', 'user', 'password'] as const

/** What the embedded engine has no use for. */
const serverOnly = [
  ...serverNames,
  'sslmode',
  'ca',
  'cert',
  'key',
  'sslNegotiation',
  'options',
  'connectTimeoutMs',
  'lockTimeoutMs',
  'idleInTransactionTimeoutMs',
  'keepAlive',
  'keepAliveIdleMs',
  'prepare',
] as const

function namesServer(layer: Layer): boolean {
  return serverNames.some((name) => layer[name] !== undefined)
}

function refuseTwo(names: readonly (string | undefined)[]): void {
  const [one, other] = names.filter((name) => name !== undefined)
  if (one === undefined || other === undefined) return
  throw new UsageError('INVALID_OPTION', `${one} and ${other} both name what to connect to; give one of them.`)
}
