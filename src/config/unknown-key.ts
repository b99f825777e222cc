import { ConfigError } from '../errors.ts'
import { nearest } from '../sql/nearest.ts'

/** The error for a key that does not exist. It names the nearest key that does, or all of them when none is near. */
export function unknownKey(key: string, valid: readonly string[], source: string): ConfigError {
  const meant = nearestKey(key, valid)
  return new ConfigError('CONFIG_UNKNOWN_KEY', `${source}: "${key}" is not a setting.`, {
    source,
    hint: meant === undefined ? `Valid here: ${valid.join(', ')}.` : `Did you mean "${meant}"?`,
  })
}

function nearestKey(key: string, valid: readonly string[]): string | undefined {
  const wanted = fold(key)
  const folded = new Map(valid.map((candidate) => [fold(candidate), candidate]))
  const part = (candidate: string): boolean => candidate.includes(wanted) || wanted.includes(candidate)
  const found = nearest(wanted, folded.keys()) ?? (wanted.length < 3 ? undefined : [...folded.keys()].find(part))
  return found === undefined ? undefined : folded.get(found)
}

/** Without case and separators: `pool_size` and `poolSize` are one key to a reader. */
function fold(key: string): string {
  return key.toLowerCase().replace(/[^a-z0-9]/g, '')
}
