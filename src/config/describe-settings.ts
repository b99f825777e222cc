import type { Settings } from './settings.ts'

/** One line of `describeSettings`. */
export interface SettingDescription {
  readonly name: string
  /** The value as text; a password or a key is `********`. */
  readonly value: string
  readonly origin: string
}

/** Every setting with its origin, in a fixed order, to be shown to people. */
export function describeSettings(settings: Settings): readonly SettingDescription[] {
  const { target, origins, ...rest } = settings
  const { kind, ...values } = target
  const { ssl, ...shown } = { ssl: undefined, ...values }
  const all = {
    ...shown,
    ...(kind === 'server' ? { sslmode: ssl?.mode ?? 'disable', ...ssl, mode: undefined } : {}),
    ...rest,
  }
  const lines = Object.entries(all).flatMap(([name, value]) =>
    value === undefined && name !== 'directory'
      ? []
      : [{ name, value: show(name, value), origin: origins[name] ?? 'default' }],
  )
  return [{ name: 'target', value: kind, origin: origins['target'] ?? 'default' }, ...lines]
}

function showJobs(jobs: unknown): string {
  if (typeof jobs !== 'object' || jobs === null || !('yieldAfterMs' in jobs)) return String(jobs)
  return jobs.yieldAfterMs === undefined ? 'true' : `yield after ${jobs.yieldAfterMs} ms`
}

function show(name: string, value: unknown): string {
  if (name === 'password' || name === 'key') return '********'
  if (name === 'ca' || name === 'cert') return 'given'
  if (name === 'jobs') return showJobs(value)
  if (value instanceof Date) return value.toISOString()
  if (name === 'directory' && value === undefined) return 'temporary'
  return String(value)
}
