import { expect, test } from 'vitest'
import { describeSettings } from '../../src/config/describe-settings.ts'
import { type ConnectOptions, resolveSettings, type Settings } from '../../src/config/settings.ts'

const settle = (options: ConnectOptions, target = 'embedded:'): Settings => resolveSettings(target, options, {}, '/')

test.each<[ConnectOptions['jobs'], Settings['jobs'], string]>([
  [undefined, { yieldAfterMs: undefined }, 'true'],
  [true, { yieldAfterMs: undefined }, 'true'],
  [{}, { yieldAfterMs: undefined }, 'true'],
  [false, false, 'false'],
  [{ yieldAfter: '1.5 s' }, { yieldAfterMs: 1500 }, 'yield after 1500 ms'],
  [{ yieldAfter: { minutes: 1 } }, { yieldAfterMs: 60_000 }, 'yield after 60000 ms'],
])('jobs: %o', (jobs, expected, shown) => {
  const settings = settle({ jobs })
  expect(settings.jobs).toEqual(expected)
  expect(describeSettings(settings)).toContainEqual({
    name: 'jobs',
    value: shown,
    origin: jobs === undefined ? 'default' : 'argument',
  })
})

test.each([null, 1, 'yes', '{"yieldAfter":"soon"}', '{"yieldAfter":"-1 s"}', '{"yield":"1 s"}'])(
  'jobs: %s is refused',
  (text) => {
    const jobs = typeof text === 'string' && text.startsWith('{') ? JSON.parse(text) : JSON.parse(JSON.stringify(text))
    expect(() => settle({ jobs })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID_VALUE' }))
  },
)

test.each<[ConnectOptions['clock'], string]>([
  ['2025-01-01', '2025-01-01T00:00:00.000Z'],
  ['1999-12-31T23:30:00+01:00', '1999-12-31T22:30:00.000Z'],
  [new Date(0), '1970-01-01T00:00:00.000Z'],
])('clock: %s', (clock, shown) => {
  const settings = settle({ clock })
  expect(settings.clock).toEqual(new Date(shown))
  expect(describeSettings(settings)).toContainEqual({ name: 'clock', value: shown, origin: 'argument' })
})

test.each(['soon', 'infinity', 'now()', '', new Date(Number.NaN)])('clock: %s is refused', (clock) => {
  expect(() => settle({ clock })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID_VALUE' }))
})

test('without a clock there is none', () => {
  expect(settle({})).not.toHaveProperty('clock')
})
