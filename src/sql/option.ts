import { UsageError } from '../errors.ts'
import { nearest } from './nearest.ts'

/** Refuses keys that mean nothing, so that a misspelt option is never silently without effect. */
export function checkKeys(value: object, allowed: readonly string[], what: string): void {
  // Callers without a type checker leave the options out.
  if (typeof value !== 'object' || value === null) {
    throw new UsageError('INVALID_OPTION', `${what} needs an object of options.`, {
      hint: `Known are ${allowed.join(', ')}.`,
    })
  }
  for (const key of Object.keys(value)) {
    if (allowed.includes(key)) continue
    const candidate = nearest(key.replaceAll('_', ''), allowed)
    throw new UsageError('INVALID_OPTION', `${what} has no option ${JSON.stringify(key)}.`, {
      hint: candidate === undefined ? `Known are ${allowed.join(', ')}.` : `Did you mean ${candidate}?`,
    })
  }
}

/** Refuses options that must be given and are not. */
export function requireKeys(value: object, required: readonly string[], what: string): void {
  const given = new Map(Object.entries(value))
  const missing = required.find((key) => given.get(key) === undefined)
  if (missing !== undefined) throw new UsageError('INVALID_OPTION', `${what} needs ${missing}.`)
}

/** An error about one option. */
export function invalidOption(message: string, hint?: string): UsageError {
  return new UsageError('INVALID_OPTION', message, { hint })
}

/** One value or many as a list. */
export function toList<T>(value: T | readonly T[] | undefined): readonly T[] {
  if (value === undefined) return []
  return isList(value) ? value : [value]
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value)
}
