import type { Capabilities, Edition } from '../../src/catalog/capabilities.ts'

/** What a server of one version can do, as if it had been asked. */
export function capabilitiesOf(version: string | undefined, edition: Edition = 'timescale'): Capabilities {
  const [major = 0, minor = 0, patch = 0] = version?.split('.').map(Number) ?? []
  return {
    postgresVersion: 160_004,
    timescaleVersion: version === undefined ? undefined : { major, minor, patch, text: version },
    toolkitVersion: undefined,
    edition,
    backgroundJobs: true,
    isSuperuser: false,
    jobSchema: '_timescaledb_config',
  }
}

/** The versions at which SQL changed, and newer ones. */
export const OLD = ['2.13.0', '2.17.2']
export const NEW = ['2.18.0', '2.23.0', '2.28.3']
