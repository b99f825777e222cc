import { invalidValue, type Layer, setValue, type Values } from './value.ts'

const variables: Readonly<Record<string, keyof Values>> = {
  PGHOST: 'host',
  PGPORT: 'port',
  PGDATABASE: 'database',
  PGUSER: 'user',
  PGPASSWORD: 'password',
  PGSSLMODE: 'sslmode',
  PGSSLROOTCERT: 'ca',
  PGSSLCERT: 'cert',
  PGSSLKEY: 'key',
  PGSSLNEGOTIATION: 'sslNegotiation',
  PGAPPNAME: 'applicationName',
  PGOPTIONS: 'options',
  PGCONNECT_TIMEOUT: 'connectTimeoutMs',
}

const naming: readonly string[] = ['PGHOST', 'PGPORT', 'PGDATABASE']
const unread: readonly string[] = ['PGHOSTADDR', 'PGSERVICE']

/**
 * Whether the variables name a server: `PGHOST`, `PGPORT` or `PGDATABASE` is set. `PGUSER`, `PGPASSWORD` and the
 * others complete a server that is named elsewhere and never name one.
 *
 * @throws ConfigError CONFIG_INVALID_VALUE when only a variable that libpq knows and this library does not names one
 */
export function environmentNamesServer(env: NodeJS.ProcessEnv): boolean {
  const other = unread.find((variable) => isSet(env, variable))
  if (other !== undefined) {
    const place = { origin: other, label: 'this variable', directory: '' }
    throw invalidValue(place, 'is not read', 'Set PGHOST and PGPORT, or TSDB_URL, instead.')
  }
  return naming.some((variable) => isSet(env, variable))
}

/** What the `PG*` variables set. An empty variable counts as not set, as in libpq. */
export function readEnvironment(env: NodeJS.ProcessEnv, cwd: string): Layer {
  const layer: Layer = {}
  for (const [variable, name] of Object.entries(variables)) {
    const raw = env[variable]
    if (raw === undefined || raw === '') continue
    const value = variable === 'PGCONNECT_TIMEOUT' && /^\d+$/.test(raw) ? `${raw}000` : raw
    setValue(layer, name, value, { origin: variable, label: 'this variable', directory: cwd })
  }
  return layer
}

function isSet(env: NodeJS.ProcessEnv, variable: string): boolean {
  return env[variable] !== undefined && env[variable] !== ''
}
