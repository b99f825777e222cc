import { UsageError } from '../errors.ts'

/** A point in time in microseconds since 1970-01-01T00:00:00Z, or one of the server's two open ends. */
export type Microseconds = bigint | 'infinity' | '-infinity'

const DAY = 86_400_000_000n
// What timestamptz holds: 4714-11-24 BC up to, not including, the year 294277.
const MIN = -210_866_803_200_000_000n
const MAX = 9_224_318_016_000_000_000n
/** Days end later: what a date holds, up to, not including, the year 5874898. */
export const DATE_END: bigint = 185_331_707_078_400_000_000n

const ISO =
  /^(?<year>\d{4,7}|[+-]\d{4,7})-(?<month>\d\d)-(?<day>\d\d)(?:[T ](?<hour>\d\d):(?<minute>\d\d)(?::(?<second>\d\d)(?:\.(?<fraction>\d+))?)? ?(?<zone>Z|[+-]\d\d(?::?\d\d)?)?)?(?<bc> BC)?$/i

/**
 * Reads an ISO 8601 date or date-time; microseconds are kept. Without a zone it means UTC, so that no result depends on
 * a session's TimeZone. Also reads what the server prints (a space for the T, `+02`, ` BC`), `infinity` and `-infinity`.
 * @param end - the first instant that is too late; default that of timestamptz
 * @throws UsageError INVALID_TIME
 */
export function parseTimestamp(text: string, end: bigint = MAX): Microseconds {
  const trimmed = text.trim()
  if (/^\+?infinity$/i.test(trimmed)) return 'infinity'
  if (/^-infinity$/i.test(trimmed)) return '-infinity'
  const parts = ISO.exec(trimmed)?.groups
  if (parts === undefined) throw invalid(text, 'is not an ISO 8601 date or time')
  const year = readYear(parts['year'] ?? '', parts['bc'] !== undefined, text)
  const month = Number(parts['month'])
  const day = Number(parts['day'])
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) throw invalid(text, 'is no calendar day')
  const hour = Number(parts['hour'] ?? 0)
  const minute = Number(parts['minute'] ?? 0)
  const second = Number(parts['second'] ?? 0)
  if (hour > 23 || minute > 59 || second > 59) throw invalid(text, 'is no time of day')
  const fraction = (parts['fraction'] ?? '').replace(/0+$/, '')
  if (fraction.length > 6) throw invalid(text, 'is finer than a microsecond, which the server does not keep')
  const seconds = hour * 3600 + minute * 60 + second - readZone(parts['zone'], text)
  const microseconds =
    BigInt(daysFromCivil(year, month, day)) * DAY + BigInt(seconds) * 1_000_000n + BigInt(fraction.padEnd(6, '0'))
  return checkRange(microseconds, end)
}

/**
 * The microseconds of a Date.
 * @throws UsageError INVALID_TIME for an invalid Date or one the server cannot hold.
 */
export function toMicroseconds(date: Date): bigint {
  const milliseconds = date.getTime()
  if (Number.isNaN(milliseconds)) throw new UsageError('INVALID_TIME', 'The Date is invalid.')
  return checkRange(BigInt(milliseconds) * 1000n)
}

/**
 * A point in time as text the server reads, in UTC: `2024-01-31T00:00:00.000001Z`, `0044-03-15T00:00:00Z BC`,
 * `infinity`. Without `zone` the Z is left out, as a timestamp without time zone wants it.
 */
export function formatTimestamp(microseconds: Microseconds, options: { readonly zone: boolean }): string {
  if (typeof microseconds === 'string') return microseconds
  const day = floorDivide(microseconds, DAY)
  const ofDay = microseconds - day * DAY
  const seconds = Number(ofDay / 1_000_000n)
  const fraction = String(ofDay % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const time = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(twoDigits).join(':')
  const { date, bc } = civilDate(Number(day))
  return `${date}T${time}${fraction === '' ? '' : `.${fraction}`}${options.zone ? 'Z' : ''}${bc ? ' BC' : ''}`
}

/**
 * The UTC day as text the server reads. A time within the day goes to its own day, or with `round: 'up'` to the next
 * one: for a date column that keeps `>=` and `<` exact.
 */
export function formatDate(microseconds: Microseconds, options: { readonly round: 'down' | 'up' }): string {
  if (typeof microseconds === 'string') return microseconds
  const day = floorDivide(options.round === 'up' ? microseconds + DAY - 1n : microseconds, DAY)
  const { date, bc } = civilDate(Number(day))
  return bc ? `${date} BC` : date
}

function readYear(digits: string, bc: boolean, text: string): number {
  const year = Number(digits)
  if (!bc) {
    if (digits.startsWith('-') && year === 0) throw invalid(text, 'has the year -0')
    return year
  }
  if (year < 1 || /^[+-]/.test(digits)) throw invalid(text, 'has a year that cannot be BC')
  return 1 - year
}

/** Seconds east of UTC. */
function readZone(zone: string | undefined, text: string): number {
  if (zone === undefined || zone.toUpperCase() === 'Z') return 0
  const hours = Number(zone.slice(1, 3))
  const minutes = Number(zone.slice(3).replace(':', '') || 0)
  if (hours > 15 || minutes > 59) throw invalid(text, 'has an offset out of range')
  return (zone.startsWith('-') ? -1 : 1) * (hours * 3600 + minutes * 60)
}

function checkRange(microseconds: bigint, end = MAX): bigint {
  if (microseconds >= MIN && microseconds < end) return microseconds
  throw new UsageError('INVALID_TIME', 'The time is outside of what the server can hold (4714 BC to 294276).')
}

function daysInMonth(year: number, month: number): number {
  return daysFromCivil(month === 12 ? year + 1 : year, month === 12 ? 1 : month + 1, 1) - daysFromCivil(year, month, 1)
}

/** Days since 1970-01-01 in the proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms"). */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

function civilDate(days: number): { date: string; bc: boolean } {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  // ISO's year 0 is the server's 1 BC.
  const shown = year > 0 ? year : 1 - year
  return { date: `${String(shown).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}`, bc: year <= 0 }
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0')
}

function floorDivide(value: bigint, by: bigint): bigint {
  const quotient = value / by
  return value % by < 0n ? quotient - 1n : quotient
}

function invalid(text: string, problem: string): UsageError {
  return new UsageError('INVALID_TIME', `The time ${JSON.stringify(text)} ${problem}.`, {
    hint: "Write an ISO 8601 text such as '2024-01-31T12:00:00Z', a Date, { ago: '24 hours' } or \"NOW() - INTERVAL '24 hours'\".",
  })
}
