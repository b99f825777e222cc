import { expect, test } from 'vitest'
import { type GenerateOptions, generateReadings, type Reading } from '../../src/ingest/generate-readings.ts'

const day: GenerateOptions = { sensors: 20, start: '2025-03-01', end: '2025-03-03', interval: '5 minutes' }
const make = (options: GenerateOptions = {}): Reading[] => [...generateReadings({ ...day, ...options })]
const key = ({ time, sensor }: Reading): string => `${time.toISOString()} ${sensor}`
/** How many rows come after one that is newer. */
const lateRows = (rows: readonly Reading[]): number => {
  let newest = 0
  return rows.filter(({ time }) => {
    newest = Math.max(newest, time.getTime())
    return time.getTime() < newest
  }).length
}

test('every sensor at every time, in order, within plausible values', () => {
  const rows = make()
  expect(rows).toHaveLength(20 * 576)
  expect(new Set(rows.map(key)).size).toBe(rows.length)
  expect(lateRows(rows)).toBe(0)
  expect(rows[0]).toMatchObject({ time: new Date('2025-03-01T00:00:00Z'), sensor: 1, site: 'Berlin' })
  expect(rows.at(-1)).toMatchObject({ time: new Date('2025-03-02T23:55:00Z'), sensor: 20 })
  for (const { temperature, humidity } of rows) {
    expect(Math.round(temperature * 100) / 100).toBe(temperature)
    expect(temperature > -20 && temperature < 50 && humidity >= 0 && humidity <= 100).toBe(true)
  }
  const mean = (hour: number): number => {
    const some = rows.filter(({ time }) => time.getUTCHours() === hour)
    return some.reduce((sum, { temperature }) => sum + temperature, 0) / some.length
  }
  expect(mean(15) - mean(3)).toBeGreaterThan(8)
})

test('the same seed gives the same rows, another one others', () => {
  const options = { late: 0.05, gaps: 0.05, duplicates: 0.05 }
  expect(make(options)).toEqual(make({ ...options, seed: 1 }))
  expect(make(options)).not.toEqual(make({ ...options, seed: 2 }))
})

test('late rows, gaps and duplicates are about as many as asked for', () => {
  const all = 20 * 576
  const late = make({ late: 0.1, maxDelay: '30 minutes' })
  expect(late).toHaveLength(all)
  expect(lateRows(late) / all).toBeGreaterThan(0.08)
  expect(lateRows(late) / all).toBeLessThan(0.12)
  let newest = 0
  for (const { time } of late) {
    newest = Math.max(newest, time.getTime())
    expect(newest - time.getTime()).toBeLessThanOrEqual(35 * 60_000)
  }
  const gaps = make({ gaps: 0.2 }).length / all
  expect(gaps).toBeGreaterThan(0.7)
  expect(gaps).toBeLessThan(0.9)
  expect(make({ gaps: 1 })).toEqual([])
  const twice = make({ duplicates: 0.1, late: 0.1 })
  expect(new Set(twice.map(key)).size).toBe(all)
  expect(twice.length / all).toBeCloseTo(1.1, 1)
})

test('nothing of it is made before it is asked for', () => {
  const endless = generateReadings({ sensors: 10_000_000, end: '9999-01-01', interval: '1 ms' })
  expect(endless.next().value).toMatchObject({ sensor: 1 })
})

test.each([
  { sensors: 0 },
  { late: 2 },
  { seed: 0.5 },
  { interval: '1 month' },
  { interval: '1 us' },
  { end: '2020-01-01' },
  { start: new Date(Number.NaN) },
] satisfies GenerateOptions[])('%o is refused', (options) => {
  expect(() => generateReadings(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
})
