import type { IntervalValue } from './column-value.ts'

/*
 * The server's text of dates and times, in DateStyle ISO and IntervalStyle postgres (datetime.c: EncodeDateOnly,
 * EncodeDateTime, EncodeInterval).
 */

const DAY = 86_400_000_000n

/** The text of a date; `days` since 1970-01-01. */
export function dateText(days: number): string {
  if (!Number.isFinite(days)) return infinityText(days)
  const { date, era } = calendarDay(days)
  return date + era
}

/** The text of an instant in UTC, or of a timestamp without zone; `microseconds` since 1970, or ±Infinity. */
export function timestampText(microseconds: bigint | number, zone: '' | '+00'): string {
  if (typeof microseconds === 'number') return infinityText(microseconds)
  const inDay = ((microseconds % DAY) + DAY) % DAY
  const { date, era } = calendarDay(Number((microseconds - inDay) / DAY))
  return `${date} ${timeText(inDay)}${zone}${era}`
}

/** The text of a time; `microseconds` since midnight. */
export function timeText(microseconds: bigint): string {
  const total = Number(microseconds)
  return clock(Math.floor(total / 3_600_000_000), total % 3_600_000_000)
}

/** The text of an interval. */
export function intervalText(value: IntervalValue | number): string {
  if (typeof value === 'number') return infinityText(value)
  const parts: string[] = []
  let afterMinus = false
  const add = (count: number, unit: string): void => {
    if (count === 0) return
    parts.push(`${afterMinus && count > 0 ? '+' : ''}${count} ${unit}${count === 1 ? '' : 's'}`)
    afterMinus = count < 0
  }
  add(Math.trunc(value.months / 12), 'year')
  add(value.months % 12, 'mon')
  add(value.days, 'day')
  const { microseconds } = value
  if (microseconds !== 0n || parts.length === 0) {
    const size = microseconds < 0n ? -microseconds : microseconds
    const sign = microseconds < 0n ? '-' : afterMinus ? '+' : ''
    parts.push(sign + clock(Number(size / 3_600_000_000n), Number(size % 3_600_000_000n)))
  }
  return parts.join(' ')
}

function clock(hours: number, rest: number): string {
  const seconds = Math.floor(rest / 1_000_000)
  const fraction = rest % 1_000_000
  const text = [hours, Math.floor(seconds / 60), seconds % 60].map((part) => String(part).padStart(2, '0')).join(':')
  return fraction === 0 ? text : `${text}.${String(fraction).padStart(6, '0').replace(/0+$/, '')}`
}

function infinityText(value: number): string {
  return value > 0 ? 'infinity' : '-infinity'
}

/** A day of the Gregorian calendar without end; JavaScript's Date ends in 275760, the server's dates in 5874897. */
function calendarDay(days: number): { readonly date: string; readonly era: string } {
  // Eras of 400 years, and years that begin in March, so that the leap day is the last.
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const leaps = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096)
  const yearOfEra = Math.floor((dayOfEra - leaps) / 365)
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const fromMarch = Math.floor((5 * dayOfYear + 2) / 153)
  const month = fromMarch < 10 ? fromMarch + 3 : fromMarch - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const day = dayOfYear - Math.floor((153 * fromMarch + 2) / 5) + 1
  const two = (part: number): string => String(part).padStart(2, '0')
  const shown = year > 0 ? year : 1 - year
  return { date: `${String(shown).padStart(4, '0')}-${two(month)}-${two(day)}`, era: year > 0 ? '' : ' BC' }
}
