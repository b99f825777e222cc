import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bindValues } from '../../src/wire/bind-value.ts'
import { textParser } from '../../src/wire/text-type.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
let client: pg.Client

beforeAll(async () => {
  server = await startPostgres({ settings: { timezone: 'America/New_York' } })
  const { host, port, user, database } = server.options
  client = new pg.Client({ host, port, user, database, password })
  await client.connect()
})

afterAll(async () => {
  await client.end()
  await server[Symbol.asyncDispose]()
})

/** Binds the value as `type` and reads `result` of it: the server's text through our parser. */
async function echo(value: unknown, type: string, result = '$1'): Promise<unknown> {
  const types = { getTypeParser: (oid: number) => (text: string) => textParser(oid)(text, 'c') }
  const text = `select ${result.replace('$1', `$1::${type}`)} as v`
  const { rows } = await client.query({ text, values: bindValues([value]), types })
  return rows[0].v
}

describe('Date', () => {
  const instants = [
    '2024-03-10T02:30:00.123Z',
    '-000043-03-15T12:00:00.000Z',
    '0000-01-01T00:00:00.000Z',
    '0001-01-01T00:00:00.000Z',
    '+010000-01-01T00:00:00.000Z',
    '+123456-01-02T03:04:05.006Z',
  ]
  test.each(instants)('%s keeps its instant and stores UTC', async (iso) => {
    const date = new Date(iso)
    expect(await echo(date, 'timestamptz')).toStrictEqual(date)
    expect(await echo(date, 'timestamp')).toStrictEqual(date)
    expect(await echo([date], 'timestamptz[]')).toStrictEqual([date])
    expect(await echo(date, 'timestamptz', "$1 at time zone 'UTC'")).toStrictEqual(date)
    const midnight = new Date(date)
    midnight.setUTCHours(0, 0, 0, 0)
    expect(await echo(date, 'date')).toStrictEqual(midnight)
  })

  test('round trip of any Date the server holds', async () => {
    const dates = fc.date({ min: new Date('-004712-01-01T00:00:00Z'), noInvalidDate: true })
    await fc.assert(
      fc.asyncProperty(
        fc.array(dates, { minLength: 1, maxLength: 100 }),
        fc.constantFrom('timestamptz[]', 'timestamp[]'),
        async (list, type) => {
          expect(await echo(list, type)).toStrictEqual(list)
        },
      ),
      { numRuns: 50 },
    )
  })

  test.each(['America/New_York', 'Asia/Kolkata'])('does not depend on the zone of the process: %s', (zone) => {
    const module = new URL('../../dist/wire/bind-value.js', import.meta.url).href
    const script = `import { bindValues } from ${JSON.stringify(module)}
      console.log(bindValues([new Date('2024-03-10T06:30:00Z')])[0])`
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, TZ: zone },
      encoding: 'utf8',
    })
    expect(output.trim()).toBe('2024-03-10T06:30:00.000Z')
  })
})

describe('other values', () => {
  test.each<[unknown, string, unknown]>([
    [null, 'int', null],
    [true, 'bool', true],
    [-0, 'float8', -0],
    [1e21, 'numeric', '1000000000000000000000'],
    [Number.NaN, 'float8', Number.NaN],
    [Number.POSITIVE_INFINITY, 'timestamptz', Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, 'float8', Number.NEGATIVE_INFINITY],
    [9223372036854775807n, 'numeric', '9223372036854775807'],
    ['', 'text', ''],
    ['O\'Reilly \\ "x" $1 😀', 'text', 'O\'Reilly \\ "x" $1 😀'],
    [Buffer.from([0, 1, 255]), 'bytea', Buffer.from([0, 1, 255])],
    [new Uint8Array([9, 8, 7, 6]).subarray(1, 3), 'bytea', Buffer.from([8, 7])],
    [new Uint8Array([1, 2]).buffer, 'bytea', Buffer.from([1, 2])],
    [{ a: [1, { b: 'ü' }], d: new Date(0) }, 'jsonb', { a: [1, { b: 'ü' }], d: '1970-01-01T00:00:00.000Z' }],
    [Object.assign(Object.create(null), { a: 1 }), 'jsonb', { a: 1 }],
    [[], 'int[]', []],
    [
      [
        [1, null],
        [3, 4],
      ],
      'int[]',
      [
        [1, null],
        [3, 4],
      ],
    ],
    [['NULL', null, '', '{"', 'a\\b'], 'text[]', ['NULL', null, '', '{"', 'a\\b']],
    [[Buffer.from([0, 92])], 'bytea[]', [Buffer.from([0, 92])]],
    [[{ a: '"' }, { b: [1] }], 'jsonb[]', [{ a: '"' }, { b: [1] }]],
    [[-0, Number.NaN], 'float8[]', [-0, Number.NaN]],
    [[true, false], 'bool[]', [true, false]],
    [new Float64Array([1.5, -0]), 'float8[]', [1.5, -0]],
    [new BigInt64Array([-1n]), 'int8[]', [-1]],
  ])('%s as %s', async (value, type, expected) => {
    expect(await echo(value, type)).toStrictEqual(expected)
  })

  test('text arrays of any shape come back as they were', async () => {
    const item = fc.option(
      fc.string({ unit: 'binary' }).filter((text) => !text.includes('\0') && !/[\ud800-\udfff]/u.test(text)),
    )
    const rows = fc
      .integer({ min: 1, max: 3 })
      .chain((width) =>
        fc.array(fc.array(item, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 4 }),
      )
    await fc.assert(
      fc.asyncProperty(rows, async (value) => {
        expect(await echo(value, 'text[]')).toStrictEqual(value)
      }),
      { numRuns: 200 },
    )
  })
})

const circle: unknown[] = []
circle.push(circle)
const ring: Record<string, unknown> = {}
ring['self'] = ring

test.each<[string, unknown]>([
  ['undefined', undefined],
  ['an invalid Date', new Date(Number.NaN)],
  ['a function', () => 'secret'],
  ['a symbol', Symbol('secret')],
  ['a Promise', Promise.resolve('secret')],
  ['a Map', new Map([['secret', 1]])],
  ['a regular expression', /secret/],
  [
    'an instance',
    new (class Secret {
      password = 'secret'
    })(),
  ],
  ['NUL', 'secret\0'],
  ['half a surrogate pair', 'secret\ud800'],
  ['a nested invalid Date', [[new Date(Number.NaN)]]],
  ['undefined in an array', ['secret', undefined]],
  ['an array in itself', circle],
  ['JSON in itself', ring],
  ['a bigint in JSON', { secret: 1n }],
  ['half a surrogate pair in an array', ['secret\udc00']],
])('%s is refused before it is sent, without its value', (_name, value) => {
  let failure: unknown
  try {
    bindValues([1, value])
  } catch (error) {
    failure = error
  }
  expect(failure).toMatchObject({ code: 'INVALID_VALUE', message: expect.stringContaining('$2') })
  expect(String(failure)).not.toContain('secret')
})

test('half a surrogate pair inside JSON is escaped by JSON itself', () => {
  expect(bindValues([{ a: '\ud800' }])).toStrictEqual(['{"a":"\\ud800"}'])
})

// 17 and later refuse the plain JSON too: TSDB_TEST_POSTGRES names an earlier one.
test('JSON is an interval to no server, and the same JSON', async () => {
  const objects = [
    { days: 7 },
    { Hours: 2, minutes: 30 },
    { h: 1e21 },
    { weeks: '7' },
    { microseconds: 1.5 },
    { a: { d: 1 } },
    { days: [1, 2] },
    { milliseconds: 1 },
    { years: -1, days: 'ago' },
  ]
  for (const value of [...objects, [{ days: 7 }]]) {
    const type = Array.isArray(value) ? '[]' : ''
    await expect(echo(value, `interval${type}`)).rejects.toMatchObject({ code: '22007' })
    expect(await echo(value, `jsonb${type}`)).toStrictEqual(value)
  }
  expect(bindValues([{ day: 'off' }])).toStrictEqual(['{"day":"off"}'])
})
