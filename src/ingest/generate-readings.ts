import { type IntervalInput, parseInterval } from '../sql/interval.ts'
import { checkKeys, invalidOption } from '../sql/option.ts'
import { parseTimestamp } from '../sql/timestamp.ts'

/** What sensors are made up. */
export interface GenerateOptions {
  /** How many sensors there are, numbered from 1. Default 10. */
  readonly sensors?: number
  /** The time of the first readings. Default 2025-01-01. */
  readonly start?: Date | string
  /** No reading is of this time or later. Default a day after the start. */
  readonly end?: Date | string
  /** The time between two readings of a sensor. Default 1 minute. */
  readonly interval?: IntervalInput
  /** The same number gives the same readings. Default 1. */
  readonly seed?: number
  /** The share of readings that come later than those after them. Default 0. */
  readonly late?: number
  /** How late a reading may be. Default 1 hour. */
  readonly maxDelay?: IntervalInput
  /** The share of readings that are missing, some in a row. Default 0. */
  readonly gaps?: number
  /** The share of readings that come twice. Default 0. */
  readonly duplicates?: number
}

/** A reading of a sensor; numbers have two decimals. */
export interface Reading {
  readonly time: Date
  readonly sensor: number
  readonly site: string
  readonly temperature: number
  readonly humidity: number
}

interface Plan {
  readonly sensors: number
  readonly start: number
  readonly steps: number
  readonly step: number
  readonly late: number
  /** Steps that a late reading may wait. */
  readonly maxDelay: number
  readonly gaps: number
  readonly duplicates: number
}

const GENERATE_KEYS = Object.keys({
  sensors: true,
  start: true,
  end: true,
  interval: true,
  seed: true,
  late: true,
  maxDelay: true,
  gaps: true,
  duplicates: true,
} satisfies Record<keyof GenerateOptions, true>)

const sites: readonly string[] = ['Berlin', 'Lagos', 'Lima', 'Osaka', 'Oslo']
const dayMs = 86_400_000
/** Readings missing one after another, on average. */
const meanGap = 20

/**
 * Readings of sensors that look like real ones: a wave of the day, noise, and as far as asked for late ones, gaps and
 * duplicates. In the order they arrive; always the same for the same options. For demos and benches.
 *
 * @throws UsageError INVALID_OPTION, INVALID_INTERVAL, INVALID_TIME
 * @example
 * const rows = [...generateReadings({ sensors: 3, start: '2025-01-01', end: '2025-01-02', interval: '1 hour', late: 0.01 })]
 */
export function generateReadings(options: GenerateOptions = {}): Generator<Reading, void, undefined> {
  const plan = planOf(options)
  const seed = options.seed ?? 1
  if (!Number.isSafeInteger(seed)) throw invalidOption('Option seed must be a whole number.')
  return readings(plan, seed)
}

function* readings(plan: Plan, seed: number): Generator<Reading, void, undefined> {
  const { sensors, steps, late, maxDelay, gaps, duplicates } = plan
  const random = randomNumbers(seed)
  const waiting = new Map<number, Reading[]>()
  const missing = new Int32Array(sensors)
  const startOfGap = gaps === 1 ? 1 : gaps / (meanGap * (1 - gaps))
  for (let step = 0; step < steps; step++) {
    for (let sensor = 0; sensor < sensors; sensor++) {
      if (missing[sensor] === 0 && random() < startOfGap) missing[sensor] = 1 + Math.floor(random() * (2 * meanGap - 1))
      if ((missing[sensor] ?? 0) > 0) {
        missing[sensor] = (missing[sensor] ?? 0) - (gaps === 1 ? 0 : 1)
        continue
      }
      const reading = readingOf(plan, step, sensor, random)
      const copies = random() < duplicates ? 2 : 1
      for (let copy = 0; copy < copies; copy++) {
        if (random() >= late) yield reading
        else arriveAt(waiting, step + 1 + Math.floor(random() * maxDelay), reading)
      }
    }
    yield* waiting.get(step) ?? []
    waiting.delete(step)
  }
  for (const step of [...waiting.keys()].sort((a, b) => a - b)) yield* waiting.get(step) ?? []
}

function arriveAt(waiting: Map<number, Reading[]>, step: number, reading: Reading): void {
  const others = waiting.get(step)
  if (others === undefined) waiting.set(step, [reading])
  else others.push(reading)
}

function readingOf({ start, step: width }: Plan, step: number, sensor: number, random: () => number): Reading {
  const time = start + step * width
  // The warmest hour is in the afternoon.
  const wave = Math.sin(((time % dayMs) / dayMs - 0.375) * 2 * Math.PI)
  const temperature = 12 + (sensor % 17) + 6 * wave + random() + random() - 1
  const humidity = Math.min(100, Math.max(0, 60 - 15 * wave + 4 * (random() + random() - 1)))
  return {
    time: new Date(time),
    sensor: sensor + 1,
    site: sites[sensor % sites.length] ?? '',
    temperature: Math.round(temperature * 100) / 100,
    humidity: Math.round(humidity * 100) / 100,
  }
}

/** Numbers from 0 up to, not including, 1: Mulberry32 by Tommy Ettinger (public domain). */
function randomNumbers(seed: number): () => number {
  let state = (seed ^ Math.floor(seed / 2 ** 32)) | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function planOf(options: GenerateOptions): Plan {
  checkKeys(options, GENERATE_KEYS, 'generateReadings')
  const { sensors = 10, interval = '1 minute', maxDelay = '1 hour' } = options
  if (!(Number.isInteger(sensors) && sensors > 0 && sensors <= 10_000_000)) {
    throw invalidOption('Option sensors must be a whole number from 1 to 10,000,000.')
  }
  const start = milliseconds('start', options.start ?? '2025-01-01')
  const end = options.end === undefined ? start + dayMs : milliseconds('end', options.end)
  const step = fixedLength('interval', interval)
  if (end < start) throw invalidOption('Option end must not be before start.')
  const [late, gaps, duplicates] = (['late', 'gaps', 'duplicates'] as const).map((name) => share(name, options[name]))
  return {
    sensors,
    start,
    step,
    steps: Math.ceil((end - start) / step),
    maxDelay: Math.max(1, Math.ceil(fixedLength('maxDelay', maxDelay) / step)),
    late: late ?? 0,
    gaps: gaps ?? 0,
    duplicates: duplicates ?? 0,
  }
}

function milliseconds(name: string, time: Date | string): number {
  const micros = typeof time === 'string' ? parseTimestamp(time) : undefined
  const ms = time instanceof Date ? time.getTime() : typeof micros === 'bigint' ? Number(micros / 1000n) : Number.NaN
  if (Number.isNaN(new Date(ms).getTime())) throw invalidOption(`Option ${name} must be a Date or a time as ISO 8601.`)
  return ms
}

function fixedLength(name: string, interval: IntervalInput): number {
  const { months, days, microseconds } = parseInterval(interval)
  const ms = days * dayMs + Number(microseconds) / 1000
  if (months === 0 && ms >= 1) return ms
  throw invalidOption(`Option ${name} must be a span of at least a millisecond, without months.`)
}

function share(name: string, value = 0): number {
  if (value >= 0 && value <= 1) return value
  throw invalidOption(`Option ${name} must be a share from 0 to 1.`)
}
