import { backgroundOf } from '../connection/background.ts'
import type { Session } from '../connection/session.ts'
import { QueryError, UnsupportedError } from '../errors.ts'
import { sql } from '../sql/template.ts'

/** A version of TimescaleDB or its toolkit. */
export interface ExtensionVersion {
  readonly major: number
  readonly minor: number
  readonly patch: number
  /** As the extension itself says it, such as `2.23.0` or `2.24.0-dev`. */
  readonly text: string
}

/** `'timescale'` is the Community edition with everything; `'apache'` has hypertables but none of the rest. */
export type Edition = 'apache' | 'timescale'

/** What a database is and can do. Everything that differs between servers is decided from this value alone. */
export interface Capabilities {
  /** PostgreSQL's version as the server counts it: 170005 is 17.5. */
  readonly postgresVersion: number
  /** Undefined where the extension is not created in this database. */
  readonly timescaleVersion: ExtensionVersion | undefined
  /** Undefined where the extension timescaledb_toolkit is not created in this database. */
  readonly toolkitVersion: ExtensionVersion | undefined
  readonly edition: Edition
  /** True where due jobs run by themselves: by the server's scheduler, or the embedded engine's (not with `jobs: false`). */
  readonly backgroundJobs: boolean
  readonly isSuperuser: boolean
  /** The schema of the table bgw_job, which has what no view shows of a job; some versions moved it. */
  readonly jobSchema: '_timescaledb_catalog' | '_timescaledb_config'
}

interface FeatureNeeds {
  /** What it is called in an error message. */
  readonly label: string
  readonly edition: Edition
  /** The oldest TimescaleDB with it, `[major, minor]`. */
  readonly since: readonly [number, number]
}

const OLDEST: readonly [number, number] = [2, 13]

/** A feature of one edition or version. */
type VersionedFeature =
  | 'hypertable'
  | 'time-bucket'
  | 'gapfill'
  | 'retention'
  | 'compression'
  | 'continuous-aggregate'
  | 'job'
  | 'job-history'
  | 'reorder'
  | 'columnstore'
  | 'forced-refresh'
  | 'tiered-refresh'
  | 'batched-refresh'
  | 'newest-first-refresh'
  | 'bucket-function-catalog'
  | 'own-refresh-frame'
  | 'chunk-relid'

const FEATURES: Readonly<Record<VersionedFeature, FeatureNeeds>> = {
  hypertable: { label: 'Hypertables', edition: 'apache', since: OLDEST },
  'time-bucket': { label: 'time_bucket', edition: 'apache', since: OLDEST },
  gapfill: { label: 'Gap filling', edition: 'timescale', since: OLDEST },
  retention: { label: 'Retention policies', edition: 'timescale', since: OLDEST },
  compression: { label: 'Compression', edition: 'timescale', since: OLDEST },
  'continuous-aggregate': { label: 'Continuous aggregates', edition: 'timescale', since: OLDEST },
  job: { label: 'Jobs', edition: 'timescale', since: OLDEST },
  reorder: { label: 'Reorder policies', edition: 'timescale', since: OLDEST },
  'job-history': { label: 'The history of jobs', edition: 'timescale', since: [2, 15] },
  columnstore: { label: 'The columnstore procedures', edition: 'timescale', since: [2, 18] },
  'forced-refresh': { label: 'Refresh with force', edition: 'timescale', since: [2, 18] },
  'tiered-refresh': { label: 'includeTieredData in a refresh policy', edition: 'timescale', since: [2, 18] },
  'batched-refresh': { label: 'Refresh policies in batches', edition: 'timescale', since: [2, 19] },
  'newest-first-refresh': { label: 'refreshNewestFirst in a refresh policy', edition: 'timescale', since: [2, 20] },
  'bucket-function-catalog': { label: 'The catalog of bucket functions', edition: 'timescale', since: [2, 15] },
  // 2.23 does not, 2.28 does; which of those between was the first is not known.
  'own-refresh-frame': { label: 'Refresh by buckets with an offset', edition: 'timescale', since: [2, 24] },
  'chunk-relid': { label: 'Chunks by oid in the catalog', edition: 'apache', since: [2, 29] },
}

/** Something a server may lack: `'background-jobs'`, `'toolkit'`, or a feature of one edition or version. */
export type Feature = VersionedFeature | 'background-jobs' | 'toolkit'

/** True where the database has the feature. Asks nothing of the server. */
export function can(capabilities: Capabilities, feature: Feature): boolean {
  if (feature === 'background-jobs') return capabilities.backgroundJobs
  if (feature === 'toolkit') return capabilities.toolkitVersion !== undefined
  const needs: FeatureNeeds = FEATURES[feature]
  return (
    capabilities.timescaleVersion !== undefined &&
    hasEdition(capabilities, needs) &&
    isAtLeast(capabilities.timescaleVersion, needs.since)
  )
}

/**
 * Returns where the database has the feature, before any statement is sent.
 * @throws UnsupportedError EXTENSION_MISSING, EDITION_REQUIRED or VERSION_REQUIRED; the hint says what to do.
 */
export function requireFeature(capabilities: Capabilities, feature: Feature): void {
  if (can(capabilities, feature)) return
  // An extension may have been updated since they were read: the next call asks again.
  const database = owners.get(capabilities)
  if (database !== undefined) cache.delete(database)
  if (feature === 'toolkit') throw missingExtension('toolkit', 'timescaledb_toolkit', 'The hyperfunctions')
  const version = capabilities.timescaleVersion
  if (version === undefined) {
    const label = feature === 'background-jobs' ? 'Background jobs' : FEATURES[feature].label
    throw missingExtension(feature, 'timescaledb', label)
  }
  if (feature === 'background-jobs') {
    throw new UnsupportedError('VERSION_REQUIRED', 'No background worker of TimescaleDB runs in this database.', {
      feature,
      hint: "On a server: shared_preload_libraries = 'timescaledb' and timescaledb.max_background_workers above 0. Embedded: without jobs: false.",
    })
  }
  const needs: FeatureNeeds = FEATURES[feature]
  if (!hasEdition(capabilities, needs)) {
    const message = `${needs.label}: needs the Community edition of TimescaleDB; this server runs the Apache edition.`
    throw new UnsupportedError('EDITION_REQUIRED', message, {
      feature,
      hint: "Run a server with the Community edition (timescaledb.license = 'timescale'), or use the embedded engine.",
    })
  }
  const wanted = needs.since.join('.')
  const message = `${needs.label}: needs TimescaleDB ${wanted} or newer; this server has ${version.text}.`
  throw new UnsupportedError('VERSION_REQUIRED', message, {
    feature,
    hint: `Update the extension to ${wanted} or newer: alter extension timescaledb update`,
  })
}

interface CapabilityRow {
  readonly postgres: number
  readonly timescale: string | null
  readonly toolkit: string | null
  readonly license: string | null
  readonly scheduler: boolean
  readonly superuser: boolean
  readonly jobsInCatalog: boolean
}

const cache = new WeakMap<object, Capabilities>()
/** The database that capabilities were read from. */
const owners = new WeakMap<Capabilities, object>()

/**
 * What the session's database is and can do. Asked once for each database object; asked again as long as the extension
 * is missing, within transactions that begin before it is known, and after {@link forgetCapabilities}.
 */
export async function readCapabilities(session: Session): Promise<Capabilities> {
  const known = cache.get(session.database)
  if (known !== undefined) return known
  const { rows } = await session.query<CapabilityRow>(sql`
    select current_setting('server_version_num')::int as postgres,
      (select extversion from pg_catalog.pg_extension where extname = 'timescaledb') as timescale,
      (select extversion from pg_catalog.pg_extension where extname = 'timescaledb_toolkit') as toolkit,
      current_setting('timescaledb.license', true) as license,
      exists (
        select from pg_catalog.pg_stat_activity
        where datname = current_database() and application_name = 'TimescaleDB Background Worker Scheduler'
      ) as scheduler,
      coalesce((select rolsuper from pg_catalog.pg_roles where rolname = current_user), false) as superuser,
      pg_catalog.to_regclass('_timescaledb_catalog.bgw_job') is not null as "jobsInCatalog"`)
  const row = rows[0]
  if (row === undefined) throw new TypeError('The database answered no row.')
  const capabilities: Capabilities = {
    postgresVersion: row.postgres,
    timescaleVersion: parseVersion(row.timescale),
    toolkitVersion: parseVersion(row.toolkit),
    // Unknown until the library is loaded: then the server's own refusal decides.
    edition: row.license === 'apache' ? 'apache' : 'timescale',
    backgroundJobs: backgroundOf(session)?.runsJobs ?? row.scheduler,
    isSuperuser: row.superuser,
    jobSchema: row.jobsInCatalog ? '_timescaledb_catalog' : '_timescaledb_config',
  }
  // A transaction may have created the extension itself, and be rolled back.
  const isLasting = capabilities.timescaleVersion !== undefined && !session.inTransaction
  if (isLasting) {
    cache.set(session.database, capabilities)
    owners.set(capabilities, session.database)
  }
  return capabilities
}

/** The next {@link readCapabilities} asks the server again: to be called after an extension was created or updated. */
export function forgetCapabilities(session: Session): void {
  cache.delete(session.database)
}

/** Undefined schema, table and function: what a statement on the extension's own catalog fails with when it is gone. */
const UNDEFINED_FUNCTION = '42883'
const GONE: ReadonlySet<string> = new Set(['3F000', '42P01', UNDEFINED_FUNCTION])

/**
 * Runs a statement on the extension's own catalog. When it fails because the extension was dropped since the
 * capabilities were read, they are forgotten.
 * @throws UnsupportedError EXTENSION_MISSING
 */
export async function onCatalog<R>(session: Session, run: () => Promise<R>): Promise<R> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof QueryError && GONE.has(error.sqlState)) {
      forgetCapabilities(session)
      // A transaction that failed answers nothing any more.
      if (session.inTransaction) throw missingExtension('hypertable', 'timescaledb', FEATURES.hypertable.label)
      requireFeature(await readCapabilities(session), 'hypertable')
    }
    throw error
  }
}

/**
 * Runs a statement that calls functions of the extension. When one is not there, because the extension was dropped or
 * changed since the capabilities were read, they are forgotten.
 * @throws UnsupportedError EXTENSION_MISSING, VERSION_REQUIRED
 */
export async function withFeature<R>(session: Session, feature: Feature, run: () => Promise<R>): Promise<R> {
  requireFeature(await readCapabilities(session), feature)
  try {
    return await run()
  } catch (error) {
    if (error instanceof QueryError && error.sqlState === UNDEFINED_FUNCTION) {
      forgetCapabilities(session)
      if (!session.inTransaction) requireFeature(await readCapabilities(session), feature)
    }
    throw error
  }
}

/** The version in an extension's version text such as `2.23.0-dev`; undefined where there is none. */
export function parseVersion(text: string | null): ExtensionVersion | undefined {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(text ?? '')
  if (text === null || match === null) return undefined
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0), text }
}

function isAtLeast(version: ExtensionVersion, [major, minor]: readonly [number, number]): boolean {
  return version.major > major || (version.major === major && version.minor >= minor)
}

function hasEdition(capabilities: Capabilities, needs: FeatureNeeds): boolean {
  return needs.edition === 'apache' || capabilities.edition === 'timescale'
}

function missingExtension(feature: Feature, extension: string, label: string): UnsupportedError {
  const createExtension = extension === 'timescaledb' ? ', or connect with createExtension: true' : ''
  const message = `${label}: the extension ${extension} is not created in this database.`
  return new UnsupportedError('EXTENSION_MISSING', message, {
    feature,
    hint: `create extension ${extension}${createExtension}`,
  })
}
