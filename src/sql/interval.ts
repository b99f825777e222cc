import { UsageError } from '../errors.ts'
import { nearest } from './nearest.ts'

/** A span by its units; every field may be negative or a fraction. */
export interface IntervalFields {
  readonly years?: number
  readonly months?: number
  readonly weeks?: number
  readonly days?: number
  readonly hours?: number
  readonly minutes?: number
  readonly seconds?: number
  readonly milliseconds?: number
  readonly microseconds?: number
}

/** A span of time: a text such as `'15 minutes'`, `'1 day 02:30:00'` or `'P1DT2H'`, or fields such as `{ days: 7 }`. */
export type IntervalInput = string | IntervalFields

/** A span as the server keeps it: months and days have no fixed length, so they stay apart. */
export interface Interval {
  readonly months: number
  readonly days: number
  readonly microseconds: bigint
}

interface Unit {
  /** The plural, which is also the name of the field. */
  readonly field: string
  readonly part: 'months' | 'days' | 'microseconds'
  readonly size: number
  /** The names the server's own table (deltatktbl in datetime.c) knows. */
  readonly names: string
}

const UNIT_LIST: readonly Unit[] = [
  { field: 'millennia', part: 'months', size: 12_000, names: 'mil mils millennia millennium' },
  { field: 'centuries', part: 'months', size: 1200, names: 'c cent centuries century' },
  { field: 'decades', part: 'months', size: 120, names: 'dec decs decade decades' },
  { field: 'years', part: 'months', size: 12, names: 'y yr yrs year years' },
  { field: 'months', part: 'months', size: 1, names: 'mon mons month months' },
  { field: 'weeks', part: 'days', size: 7, names: 'w week weeks' },
  { field: 'days', part: 'days', size: 1, names: 'd day days' },
  { field: 'hours', part: 'microseconds', size: 3_600_000_000, names: 'h hr hrs hour hours' },
  { field: 'minutes', part: 'microseconds', size: 60_000_000, names: 'm min mins minute minutes' },
  { field: 'seconds', part: 'microseconds', size: 1_000_000, names: 's sec secs second seconds' },
  {
    field: 'milliseconds',
    part: 'microseconds',
    size: 1000,
    names: 'ms msec msecs msecond mseconds millisecond milliseconds',
  },
  {
    field: 'microseconds',
    part: 'microseconds',
    size: 1,
    names: 'us usec usecs usecond useconds microsecond microseconds',
  },
]
const UNITS = new Map(UNIT_LIST.flatMap((unit) => unit.names.split(' ').map((name) => [name, unit] as const)))
const FIELDS = new Map(UNIT_LIST.slice(3).map((unit) => [unit.field, unit]))

const CLOCK = /^([+-]?)(\d+):(\d{1,2})(?::(\d{1,2})(?:\.(\d+))?)?(?:\s+|$)/
const QUANTITY = /^([+-]?)(\d+(?:\.\d+)?|(?<![+-])\.\d+)\s*([a-z]+)(?:\s+|(?=\d)|$)/i
const ISO =
  /^P(?=.)(?:(-?[\d.]+)Y)?(?:(-?[\d.]+)M)?(?:(-?[\d.]+)W)?(?:(-?[\d.]+)D)?(?:T(?=.)(?:(-?[\d.]+)H)?(?:(-?[\d.]+)M)?(?:(-?[\d.]+)S)?)?$/
const ISO_FIELDS = ['years', 'months', 'weeks', 'days', 'hours', 'minutes', 'seconds']
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d+))?$/

/**
 * The span a text or an object of fields means, read as the server reads it: `'1 hour 30 min'`, `'1.5 hours'`,
 * `'-3 days'`, `'1 day 02:03:04.5'`, `'2 weeks ago'`, `'P1DT2H'`. A number without a unit is refused, and so are the
 * server's rarer forms (`'1-2'`, `'infinity'`).
 * @throws UsageError INVALID_INTERVAL
 */
export function parseInterval(input: IntervalInput): Interval {
  if (typeof input === 'string') return input.trim().startsWith('P') ? parseIso(input) : parseUnits(input)
  if (typeof input !== 'object' || input === null) throw invalid(input, 'is neither a text nor an object of fields')
  const total = new IntervalSum(input)
  for (const [field, value] of Object.entries(input)) {
    if (value === undefined) continue
    const unit = FIELDS.get(field)
    if (unit === undefined) throw unknownUnit(input, field, FIELDS.keys())
    if (typeof value !== 'number' || !Number.isFinite(value)) throw invalid(input, `has a ${field} that is no number`)
    const decimal = String(value)
    total.add(unit, decimal.includes('e') ? value.toFixed(20) : decimal)
  }
  return total.result()
}

/**
 * The text the server itself prints for a span, such as `1 mon 2 days 03:04:05.6`: every IntervalStyle reads it to the
 * same span, and `parseInterval` too.
 * @throws UsageError INVALID_INTERVAL
 */
export function formatInterval(input: Interval | IntervalInput): string {
  const { months, days, microseconds } = isInterval(input) ? input : parseInterval(input)
  const parts: string[] = []
  let afterNegative = false
  for (const [value, name] of [
    [Math.trunc(months / 12), 'year'],
    [months % 12, 'mon'],
    [days, 'day'],
  ] as const) {
    if (value === 0) continue
    parts.push(`${afterNegative && value > 0 ? '+' : ''}${value} ${name}${value === 1 ? '' : 's'}`)
    afterNegative = value < 0
  }
  if (microseconds !== 0n || parts.length === 0) {
    const sign = microseconds < 0n ? '-' : afterNegative ? '+' : ''
    parts.push(`${sign}${formatClock(microseconds < 0n ? -microseconds : microseconds)}`)
  }
  return parts.join(' ')
}

function isInterval(input: Interval | IntervalInput): input is Interval {
  return typeof input === 'object' && input !== null && typeof input.microseconds === 'bigint'
}

function formatClock(microseconds: bigint): string {
  const seconds = microseconds / 1_000_000n
  const fraction = String(microseconds % 1_000_000n)
    .padStart(6, '0')
    .replace(/0+$/, '')
  const clock = [seconds / 3600n, (seconds / 60n) % 60n, seconds % 60n].map((part) => String(part).padStart(2, '0'))
  return `${clock.join(':')}${fraction === '' ? '' : `.${fraction}`}`
}

function parseUnits(input: string): Interval {
  const total = new IntervalSum(input)
  let rest = input.trim().replace(/^@\s*/, '')
  while (rest !== '') {
    const clock = CLOCK.exec(rest)
    const quantity = clock === null ? QUANTITY.exec(rest) : null
    if (clock !== null) {
      total.addClock(clock)
    } else if (quantity !== null) {
      const [, sign = '', decimal = '', name = ''] = quantity
      const unit = UNITS.get(name.toLowerCase())
      if (unit === undefined) throw unknownUnit(input, name, UNITS.keys())
      total.add(unit, `${sign}${decimal}`)
    } else if (/^ago$/i.test(rest)) {
      return total.result(-1)
    } else {
      throw invalid(input, /^[+-]?[\d.]+$/.test(rest) ? 'has a number without a unit' : 'is not understood')
    }
    rest = rest.slice((clock ?? quantity)?.[0].length ?? 0)
  }
  return total.result()
}

function parseIso(input: string): Interval {
  const match = ISO.exec(input.trim())
  if (match === null) throw invalid(input, 'is not an ISO 8601 duration')
  const total = new IntervalSum(input)
  ISO_FIELDS.forEach((field, index) => {
    const decimal = match[index + 1]
    if (decimal !== undefined) total.addField(field, decimal)
  })
  return total.result()
}

/** Adds up the parts of one input, each unit once. */
class IntervalSum {
  readonly #input: IntervalInput
  readonly #seen = new Set<Unit>()
  #months = 0n
  #days = 0n
  #microseconds = 0n

  constructor(input: IntervalInput) {
    this.#input = input
  }

  add(unit: Unit, decimal: string): void {
    const match = DECIMAL.exec(decimal)
    const [, sign = '', whole = '', fraction = ''] = match ?? []
    if (match === null || (whole === '' && fraction === '')) throw invalid(this.#input, 'has a part that is no number')
    this.#claim(unit)
    // Like the server: in a text, seconds with a fraction leave no place for smaller units beside them.
    if (unit.field === 'seconds' && fraction !== '' && typeof this.#input === 'string') this.#claimSubseconds()
    const direction = sign === '-' ? -1 : 1
    this.#addWhole(unit, BigInt(whole || '0') * BigInt(direction))
    if (fraction !== '') this.#addFraction(unit, Number(`.${fraction}`) * direction)
  }

  addClock(match: RegExpExecArray): void {
    const [, sign = '', hours = '0', minutes = '0', seconds = '0', fraction = '0'] = match
    if (Number(minutes) > 59 || Number(seconds) > 59) throw invalid(this.#input, 'has a clock time out of range')
    this.addField('hours', `${sign}${hours}`)
    this.addField('minutes', `${sign}${minutes}`)
    this.addField('seconds', `${sign}${seconds}`)
    this.#claimSubseconds()
    // The server rounds this fraction half to even (ParseFractionalSecond), the ones of units half towards zero.
    this.#addMicroseconds(roundHalfEven(Number(`${sign}.${fraction}`) * 1_000_000))
  }

  result(direction: 1 | -1 = 1): Interval {
    if (this.#seen.size === 0) throw invalid(this.#input, 'is empty')
    const sign = BigInt(direction)
    const [months, days, microseconds] = [this.#months * sign, this.#days * sign, this.#microseconds * sign]
    const fits =
      BigInt.asIntN(32, months) === months &&
      BigInt.asIntN(32, days) === days &&
      BigInt.asIntN(64, microseconds) === microseconds
    if (!fits) throw invalid(this.#input, 'is longer than the server can hold')
    return { months: Number(months), days: Number(days), microseconds }
  }

  addField(field: string, decimal: string): void {
    const unit = FIELDS.get(field)
    if (unit !== undefined) this.add(unit, decimal)
  }

  #claim(unit: Unit): void {
    if (this.#seen.has(unit)) throw invalid(this.#input, `has ${unit.field} twice`)
    this.#seen.add(unit)
  }

  #claimSubseconds(): void {
    for (const unit of UNIT_LIST.slice(-2)) this.#claim(unit)
  }

  #addWhole(unit: Unit, whole: bigint): void {
    const amount = whole * BigInt(unit.size)
    if (unit.part === 'months') this.#months += amount
    else if (unit.part === 'days') this.#days += amount
    else this.#microseconds += amount
  }

  // In doubles and with the server's own steps (AdjustFract… in datetime.c of PostgreSQL 15 and newer), so that
  // '1.1 months' is the same span here and there.
  #addFraction(unit: Unit, fraction: number): void {
    if (unit.part === 'microseconds') {
      this.#addMicroseconds(fraction * unit.size)
    } else if (unit.part === 'months' && unit.size > 1) {
      this.#months += BigInt(roundHalfEven(fraction * unit.size))
    } else {
      const days = fraction * (unit.part === 'months' ? 30 : unit.size)
      this.#days += BigInt(Math.trunc(days))
      this.#addMicroseconds((days - Math.trunc(days)) * 86_400_000_000)
    }
  }

  #addMicroseconds(value: number): void {
    const whole = Math.trunc(value)
    const rest = value - whole
    this.#microseconds += BigInt(whole) + (rest > 0.5 ? 1n : rest < -0.5 ? -1n : 0n)
  }
}

/** C's rint(). */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

function unknownUnit(input: IntervalInput, name: string, known: Iterable<string>): UsageError {
  const candidate = nearest(name, known)
  return invalid(input, `has the unknown unit ${JSON.stringify(name)}`, candidate && `Did you mean '${candidate}'?`)
}

function invalid(input: unknown, problem: string, hint?: string): UsageError {
  const shown = typeof input === 'string' ? JSON.stringify(input) : 'given as an object'
  return new UsageError('INVALID_INTERVAL', `The interval ${shown} ${problem}.`, {
    hint: hint ?? "Write a number and a unit, such as '15 minutes', '1 day 02:30:00' or { days: 7 }.",
  })
}
