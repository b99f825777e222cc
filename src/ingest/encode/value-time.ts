import { type Interval, type IntervalFields, parseInterval } from '../../sql/interval.ts'
import { DATE_END, type Microseconds, parseTimestamp } from '../../sql/timestamp.ts'
import type { CopyBuffer } from '../../wire/copy-buffer.ts'
import { timeFormatOf } from './time-format.ts'
import { fullDayClock, isoText, isUnclearDay } from './time-text.ts'
import { zoneOffset } from './time-zone.ts'
import { kindOf, Misfit, type ValueOptions, type ValueWriter } from './value.ts'

const epochMs = 946_684_800_000
const epochMicros = 946_684_800_000_000n
const dayMs = 86_400_000
const twoTo32 = 4294967296
const dayMicros = 86_400_000_000n
const infinite = { most: 2n ** 63n - 1n, least: -(2n ** 63n) }
/** What the types hold, in microseconds since 1970: 4714-11-24 BC up to, not including, the year 294277 (but of dates). */
const least = -210_866_803_200_000_000n
const most = 9_224_318_016_000_000_000n

/** A point in time: milliseconds since 1970 and up to 999 microseconds more, or exact where that is too coarse. */
type Instant = { readonly ms: number; readonly micros: number } | bigint | 'infinity' | '-infinity'

/**
 * Dates, ISO texts, bigints (microseconds since 1970) and, with `timeUnit`, numbers. A text without a time zone is UTC,
 * or what `timeZone` says; a time zone has no place in a `timestamp`.
 */
export function timestampWriter(zoned: boolean, options: ValueOptions): ValueWriter {
  timeFormatOf(options)
  return (buffer, value) => {
    if (value instanceof Date) writeMilliseconds(buffer, value.getTime(), 0)
    else writeInstant(buffer, toInstant(value, zoned, options))
  }
}

function writeInstant(buffer: CopyBuffer, instant: Instant): void {
  if (typeof instant === 'object') writeMilliseconds(buffer, instant.ms, instant.micros)
  else if (typeof instant === 'bigint') buffer.bigInteger(instant - epochMicros)
  else buffer.bigInteger(instant === 'infinity' ? infinite.most : infinite.least)
}

function writeMilliseconds(buffer: CopyBuffer, ms: number, more: number): void {
  const micros = (ms - epochMs) * 1000 + more
  if (Number.isSafeInteger(micros)) buffer.safeInteger(micros)
  else if (Number.isNaN(ms)) throw new Misfit('an invalid Date')
  else buffer.bigInteger(inRange(BigInt(ms) * 1000n + BigInt(more)) - epochMicros)
}

/** A field of 12 bytes with a point in time in microseconds since 1970, exact as a number. @throws Misfit */
export function putMicroseconds(view: DataView, at: number, micros: number | bigint): void {
  view.setInt32(at, 8)
  const since = typeof micros === 'number' ? micros - epochMs * 1000 : undefined
  if (since === undefined || !Number.isSafeInteger(since)) {
    view.setBigInt64(at + 4, inRange(BigInt(micros)) - epochMicros)
    return
  }
  const high = Math.floor(since / twoTo32)
  view.setInt32(at + 4, high)
  view.setUint32(at + 8, since - high * twoTo32)
}

/** The day of a point in time in UTC. */
export function dateWriter(options: ValueOptions): ValueWriter {
  timeFormatOf(options)
  return (buffer, value) => {
    const instant =
      value instanceof Date ? { ms: validTime(value), micros: 0 } : toInstant(value, false, options, DATE_END)
    // To the server the day is the one that is written, not the one that follows.
    if (typeof value === 'string' && (endOfDay.test(value) || leapSecond.test(value))) {
      throw new Misfit('a text whose time belongs to the day after')
    }
    const at = buffer.reserve(8)
    buffer.view.setInt32(at, 4)
    if (instant === 'infinity') buffer.view.setInt32(at + 4, 0x7fffffff)
    else if (instant === '-infinity') buffer.view.setInt32(at + 4, -0x80000000)
    else buffer.view.setInt32(at + 4, daysSince2000(instant))
  }
}

function daysSince2000(instant: { readonly ms: number } | bigint): number {
  if (typeof instant === 'object') return Math.floor((instant.ms - epochMs) / dayMs)
  const micros = instant - epochMicros
  return Number((micros - (((micros % dayMicros) + dayMicros) % dayMicros)) / dayMicros)
}

function validTime(date: Date): number {
  const time = date.getTime()
  if (Number.isNaN(time)) throw new Misfit('an invalid Date')
  return time
}

/** @param end - the first text that is too late */
function toInstant(value: unknown, zoned: boolean, options: ValueOptions, end = most): Instant {
  switch (typeof value) {
    case 'string':
      return textInstant(value, zoned, options, end)
    case 'bigint':
      return scaled(value, options.timeUnit ?? 'us')
    case 'number':
      return numberInstant(value, options.timeUnit)
    default:
      throw new Misfit(kindOf(value))
  }
}

function numberInstant(value: number, unit: ValueOptions['timeUnit']): Instant {
  if (value === Number.POSITIVE_INFINITY) return 'infinity'
  if (value === Number.NEGATIVE_INFINITY) return '-infinity'
  if (Number.isNaN(value)) throw new Misfit('a number that is not finite')
  if (unit === undefined) throw new Misfit('a number, which needs the option timeUnit,')
  // Seconds and milliseconds may have a fraction, exact to the microsecond in this century.
  if (unit === 's') return inRange(BigInt(Math.round(value * 1e6)))
  if (unit === 'ms') return inRange(BigInt(Math.round(value * 1e3)))
  if (!Number.isSafeInteger(value)) throw new Misfit('a number beyond ±(2^53 − 1) or with a fraction')
  return scaled(BigInt(value), unit)
}

/** Microseconds; nanoseconds are cut down to the one below: the server keeps no more. @throws Misfit */
export function scaled(value: bigint, unit: 's' | 'ms' | 'us' | 'ns'): bigint {
  if (unit === 's') return inRange(value * 1_000_000n)
  if (unit === 'ms') return inRange(value * 1000n)
  if (unit === 'us') return inRange(value)
  return inRange((value - (((value % 1000n) + 1000n) % 1000n)) / 1000n)
}

function inRange(micros: bigint): bigint {
  if (micros >= least && micros < most) return micros
  throw new Misfit('a time out of range')
}

const zonePattern = /(?:z|[+-]\d\d(?::?\d\d)?)(?: bc)?$/i
const utcPattern = /(?:z|[+-]00(?::?00)?)(?: bc)?$/i
const clockPattern = /:\d\d/

function textInstant(given: string, zoned: boolean, options: ValueOptions, end: bigint): Instant {
  const text = formattedText(given, options)
  const { timeUnit, timeZone = 'UTC' } = options
  const common = commonText(text)
  if (common !== undefined) {
    if (!zoned || common.zoned || timeZone === 'UTC') return common
    return { ms: common.ms - zoneOffset(timeZone, common.ms), micros: common.micros }
  }
  if (timeUnit !== undefined && /^\s*[+-]?\d+\s*$/.test(text)) return scaled(BigInt(text.trim()), timeUnit)
  if (timeUnit !== undefined && /^\s*[+-]?\d+\.\d+\s*$/.test(text)) return numberInstant(Number(text), timeUnit)
  const trimmed = isoText(text.trim()) ?? text.trim()
  const hasZone = clockPattern.test(trimmed) && zonePattern.test(trimmed)
  if (hasZone && !zoned && !utcPattern.test(trimmed)) {
    throw new Misfit('a text with a time zone, which the type has no place for,')
  }
  const micros = parsed(trimmed, end)
  if (typeof micros === 'string' || hasZone || !zoned || timeZone === 'UTC') return micros
  return inRange(micros - BigInt(zoneOffset(timeZone, Number(micros / 1000n))) * 1000n)
}

function formattedText(text: string, options: ValueOptions): string {
  const format = timeFormatOf(options)
  const iso = format === undefined ? text : format(text)
  if (iso === undefined) throw new Misfit('a text that is not as the option timeFormat says')
  return iso
}

const finerThanMicros = /^(.*:\d\d)(\.\d{7,})(.*)$/
const endOfDay = /^(.*\d[T ])24:00(?::00(?:\.0+)?)?(?![\d:.])(.*)$/i
const leapSecond = /^(.*\d:\d\d):60(?:\.0+)?(?![\d.])(.*)$/

/** Also the end of a day, and a leap second, which the server takes for the first of the next minute. */
function parsed(text: string, end: bigint): Microseconds {
  const midnight = endOfDay.exec(text)
  if (midnight !== null) return later(parsedClock(`${midnight[1]}00:00${midnight[2]}`, end), dayMicros)
  const leap = leapSecond.exec(text)
  return leap === null ? parsedClock(text, end) : later(parsedClock(`${leap[1]}:59${leap[2]}`, end), 1_000_000n)
}

function later(time: Microseconds, by: bigint): Microseconds {
  return typeof time === 'string' ? time : inRange(time + by)
}

function parsedClock(text: string, end: bigint): Microseconds {
  const [, before, fraction, after] = finerThanMicros.exec(text) ?? []
  try {
    if (fraction === undefined) return parseTimestamp(text, end)
    const micros = parseTimestamp(`${before}${after}`)
    return typeof micros === 'string' ? micros : inRange(micros + BigInt(roundHalfEven(Number(fraction) * 1e6)))
  } catch {
    if (isUnclearDay(text)) throw new Misfit('a text whose day and month could be either, without timeFormat')
    throw new Misfit(text === '' ? 'an empty text' : 'a text that is no ISO 8601 time the server can hold')
  }
}

/** As the server rounds the digits of a text beyond microseconds. */
function roundHalfEven(value: number): number {
  const rounded = Math.round(value)
  return rounded - value === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded
}

interface CommonText {
  readonly ms: number
  readonly micros: number
  readonly zoned: boolean
}

/**
 * `2024-05-01[T10:00:00[.123456][Z]]` of the years 1000 to 9999, many times faster than the pattern. Undefined for all
 * else; a day that does not exist is else.
 */
function commonText(text: string): CommonText | undefined {
  const { length } = text
  if (length < 10 || text.charCodeAt(4) !== 45 || text.charCodeAt(7) !== 45) return undefined
  const year = digits(text, 0) * 100 + digits(text, 2)
  const month = digits(text, 5)
  const day = digits(text, 8)
  if (!(year >= 1000 && month >= 1 && month <= 12 && day >= 1 && day <= 31)) return undefined
  if (day > 28 && new Date(Date.UTC(year, month - 1, day)).getUTCDate() !== day) return undefined
  if (length === 10) return { ms: Date.UTC(year, month - 1, day), micros: 0, zoned: false }
  const between = text.charCodeAt(10)
  if (length < 19 || (between !== 84 && between !== 32)) return undefined
  if (text.charCodeAt(13) !== 58 || text.charCodeAt(16) !== 58) return undefined
  const hour = digits(text, 11)
  const minute = digits(text, 14)
  const second = digits(text, 17)
  if (!(hour <= 23 && minute <= 59 && second <= 59)) return undefined
  const last = text.charCodeAt(length - 1)
  const zoned = last === 90 || last === 122
  const end = zoned ? length - 1 : length
  const fraction = end === 19 ? 0 : fractionOf(text, end)
  if (Number.isNaN(fraction)) return undefined
  const ms = Date.UTC(year, month - 1, day, hour, minute, second, Math.floor(fraction / 1000))
  return { ms, micros: fraction % 1000, zoned }
}

/** The microseconds of `.1` to `.123456` from place 19; NaN for anything else. */
function fractionOf(text: string, end: number): number {
  if (text.charCodeAt(19) !== 46 || end < 21 || end > 26) return Number.NaN
  let value = 0
  for (let at = 20; at < 26; at++) value = value * 10 + (at < end ? digit(text, at) : 0)
  return value
}

function digit(text: string, at: number): number {
  const value = text.charCodeAt(at) - 48
  return value >= 0 && value <= 9 ? value : Number.NaN
}

function digits(text: string, at: number): number {
  return digit(text, at) * 10 + digit(text, at + 1)
}

const clock = /^(\d{1,2}):(\d\d)(?::(\d\d)(\.\d+)?)?$/

/** Microseconds of the day from `10:00`, `10:00:00.1234567`, `24:00:00`, `23:59:60` or `06:55 PM`. */
export function clockMicros(text: string): number | undefined {
  const match = clock.exec(fullDayClock(text) ?? text)
  if (match === null) return undefined
  const [hour, minute, second] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)]
  const micros = ((hour * 60 + minute) * 60 + second) * 1e6 + roundHalfEven(Number(match[4] ?? 0) * 1e6)
  return minute <= 59 && second <= 60 && micros <= 86_400_000_000 ? micros : undefined
}

/** `time`: a text, or a bigint of microseconds since midnight. */
export const timeWriter: ValueWriter = (buffer, value) => {
  const micros = typeof value === 'string' ? clockMicros(value.trim()) : ofDay(value)
  if (micros === undefined) throw new Misfit('a text that is no time of day')
  buffer.safeInteger(micros)
}

function ofDay(value: unknown): number {
  if (typeof value !== 'bigint') throw new Misfit(kindOf(value))
  if (value < 0n || value > dayMicros) throw new Misfit('a time out of range')
  return Number(value)
}

const withZone = /^([\d:.]+) ?(?:(z)|([+-])(\d{1,2})(?::?(\d\d)(?::?(\d\d))?)?)$/i

/** `timetz`: a text with an offset, such as `10:00:00+02`. */
export const timeWithZoneWriter: ValueWriter = (buffer, value) => {
  if (typeof value !== 'string') throw new Misfit(kindOf(value))
  const match = withZone.exec(value.trim())
  const micros = clockMicros(match?.[1] ?? '')
  const east = (Number(match?.[4] ?? 0) * 60 + Number(match?.[5] ?? 0)) * 60 + Number(match?.[6] ?? 0)
  if (match === null || micros === undefined || east >= 16 * 3600) {
    throw new Misfit('a text that is no time of day with an offset such as +02')
  }
  const at = buffer.reserve(16)
  buffer.view.setInt32(at, 12)
  buffer.view.setBigInt64(at + 4, BigInt(micros))
  // The server counts the offset westwards.
  buffer.view.setInt32(at + 12, match[3] === '-' ? east : -east)
}

/** `interval`: a text, or an object such as `{ days: 7 }`. */
export const intervalWriter: ValueWriter = (buffer, value) => {
  const interval = intervalOf(value)
  const { months, days, microseconds } = interval
  const fits = Math.abs(months) < 2 ** 31 && Math.abs(days) < 2 ** 31
  if (!fits || microseconds > infinite.most || microseconds < infinite.least)
    throw new Misfit('an interval out of range')
  const at = buffer.reserve(20)
  buffer.view.setInt32(at, 16)
  buffer.view.setBigInt64(at + 4, microseconds)
  buffer.view.setInt32(at + 12, days)
  buffer.view.setInt32(at + 16, months)
}

/** The interval that a value stands for. @throws Misfit */
export function intervalOf(value: unknown): Interval {
  if (isParts(value)) return value
  if (typeof value !== 'string' && !isFields(value)) throw new Misfit(kindOf(value))
  try {
    return parseInterval(value)
  } catch {
    throw new Misfit(`${kindOf(value)} that is no interval`)
  }
}

function isFields(value: unknown): value is IntervalFields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** An interval as columns and Parquet have it. */
function isParts(value: unknown): value is Interval {
  if (!isFields(value)) return false
  const { months, days, microseconds, ...others }: Readonly<Record<string, unknown>> = { ...value }
  const whole = Number.isInteger(months) && Number.isInteger(days) && typeof microseconds === 'bigint'
  return whole && Object.keys(others).length === 0
}

/**
 * The microseconds since 1970 that a value stands for in a column of this type.
 * @throws Misfit
 */
export function microsecondsOf(
  value: unknown,
  type: 'timestamptz' | 'timestamp' | 'date',
  options: ValueOptions,
): Microseconds {
  const end = type === 'date' ? DATE_END : most
  const instant =
    value instanceof Date ? BigInt(validTime(value)) * 1000n : toInstant(value, type === 'timestamptz', options, end)
  const micros = typeof instant === 'object' ? BigInt(instant.ms) * 1000n + BigInt(instant.micros) : instant
  if (typeof micros === 'string' || type !== 'date') return micros
  return micros - (((micros % dayMicros) + dayMicros) % dayMicros)
}
