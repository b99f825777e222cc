import { checkTimeZoneName, unknownTimeZone } from '../../sql/time-zone.ts'

const formats = new Map<string, Intl.DateTimeFormat>()
const known = new Map<string, number>()
/** No zone's offset changes within a quarter of an hour but at its end. */
const stepMs = 900_000
const dayMs = 86_400_000
const firstRuleMs = Date.UTC(1800, 0, 1)

/**
 * Milliseconds a zone is ahead of UTC when its clocks show `localMs` (the wall clock as if it were UTC). As on the server:
 * a time that the clocks skip counts with the offset before, one that they show twice with the offset after.
 */
export function zoneOffset(timeZone: string, localMs: number): number {
  const key = `${timeZone} ${Math.floor(localMs / stepMs)}`
  const cached = known.get(key)
  if (cached !== undefined) return cached
  if (known.size > 10_000) known.clear()
  const offset = findOffset(timeZone, localMs)
  known.set(key, offset)
  return offset
}

function findOffset(timeZone: string, localMs: number): number {
  const before = offsetAt(timeZone, localMs - dayMs)
  const after = offsetAt(timeZone, localMs + dayMs)
  if (before === after) return before
  if (offsetAt(timeZone, localMs - after) === after) return after
  return before
}

/** Milliseconds a zone is ahead of UTC at an instant. */
function offsetAt(timeZone: string, at: number): number {
  // No zone has a rule before its first one, and the formatter's years before 100 would need more care.
  const instantMs = Math.max(at, firstRuleMs)
  const parts = Object.fromEntries(
    format(timeZone)
      .formatToParts(instantMs)
      .map(({ type, value }) => [type, Number(value)]),
  )
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(instantMs / 1000) * 1000
}

function format(timeZone: string): Intl.DateTimeFormat {
  const made = formats.get(timeZone)
  if (made !== undefined) return made
  const created = create(timeZone)
  formats.set(timeZone, created)
  return created
}

function create(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (error) {
    throw unknownTimeZone(timeZone, error)
  }
}

/** @throws UsageError INVALID_OPTION for a time zone that does not exist */
export function checkTimeZone(timeZone: string | undefined): void {
  if (timeZone === undefined) return
  checkTimeZoneName(timeZone)
  format(timeZone)
}
