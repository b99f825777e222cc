import { UsageError } from '../errors.ts'
import { nearest } from './nearest.ts'

/** A name is no secret, but whatever was written there instead of one need not be shown whole. */
const SHOWN = 60

/** The error for a time zone that does not exist, wherever it was given. */
export function unknownTimeZone(timeZone: string, cause?: unknown): UsageError {
  const like = nearest(timeZone, Intl.supportedValuesOf('timeZone'))
  return new UsageError('INVALID_OPTION', `There is no time zone ${JSON.stringify(timeZone.slice(0, SHOWN))}.`, {
    hint: like === undefined ? "Write an IANA name such as 'Europe/Berlin'." : `Did you mean '${like}'?`,
    cause,
  })
}

/**
 * Refuses what cannot be meant as the name of a time zone. An offset is one: the server reads its sign the other way
 * round than everybody else, Node's newer versions among them.
 * @throws UsageError INVALID_OPTION
 */
export function checkTimeZoneName(timeZone: string): void {
  if (typeof timeZone !== 'string') throw new UsageError('INVALID_OPTION', 'A time zone must be a text.')
  const offset = /^\s*(?:UTC|GMT(?=[+-]?0*[1-9]))?([+-]?)(\d{1,2})(?::?00)?\s*$/i.exec(timeZone)
  if (offset === null && !/^\s*[+-]?\d/.test(timeZone)) return
  const hours = Number(offset?.[2] ?? 99)
  const named = hours === 0 ? "'UTC'" : `'Etc/GMT${offset?.[1] === '-' ? '+' : '-'}${hours}'`
  throw new UsageError('INVALID_OPTION', `${JSON.stringify(timeZone.slice(0, SHOWN))} is an offset, not a time zone.`, {
    hint: `Write ${hours <= 14 ? named : "a name such as 'Europe/Berlin'"}: the server would read its sign the other way round.`,
  })
}
