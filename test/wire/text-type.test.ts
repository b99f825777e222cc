import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { type TextTypeOptions, textParser } from '../../src/wire/text-type.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
let client: pg.Client

beforeAll(async () => {
  server = await startPostgres()
  const { host, port, user, database } = server.options
  client = new pg.Client({ host, port, user, database, password })
  await client.connect()
})

afterAll(async () => {
  await client.end()
  await server[Symbol.asyncDispose]()
})

/** Evaluates SQL and reads its first column: the server's text and type, through our parser. */
async function read(expression: string, options: TextTypeOptions = {}): Promise<unknown> {
  const types = { getTypeParser: () => (text: string) => text }
  const result = await client.query({ text: `select ${expression} as "odd "" name"`, types })
  const [field] = result.fields
  const text = result.rows[0]['odd " name']
  return text === null ? null : textParser(field!.dataTypeID, options)(text, field!.name)
}

describe('values of the server', () => {
  test.each<[string, unknown]>([
    ['true', true],
    ['false', false],
    ['(-32768)::int2', -32768],
    ['2147483647', 2147483647],
    ['4294967295::oid', 4294967295],
    ['9007199254740991::int8', Number.MAX_SAFE_INTEGER],
    ['(-9007199254740991)::int8', Number.MIN_SAFE_INTEGER],
    ['0.1::float4', 0.1],
    ["'-0'::float8", -0],
    ["'NaN'::float8", Number.NaN],
    ["'-Infinity'::float8", Number.NEGATIVE_INFINITY],
    ['5e-324::float8', 5e-324],
    ['12345678901234567890.12345678901234567890', '12345678901234567890.12345678901234567890'],
    ["'NaN'::numeric", 'NaN'],
    ["'2024-02-29 12:34:56.789999+00'::timestamptz", new Date('2024-02-29T12:34:56.789Z')],
    ["'1969-12-31 23:59:59.999999+00'::timestamptz", new Date('1969-12-31T23:59:59.999Z')],
    ["'2024-02-29 12:34:56.7'::timestamp", new Date('2024-02-29T12:34:56.700Z')],
    ["'0044-03-15 BC'::date", new Date('-000043-03-15T00:00:00Z')],
    ["'0001-01-01'::date", new Date('0001-01-01T00:00:00Z')],
    ["'0099-12-31 01:02:03+00'::timestamptz", new Date('0099-12-31T01:02:03Z')],
    ["'99999-12-31 01:02:03.5+00'::timestamptz", new Date('+099999-12-31T01:02:03.500Z')],
    ["'infinity'::timestamptz", Number.POSITIVE_INFINITY],
    ["'-infinity'::date", Number.NEGATIVE_INFINITY],
    ["'24:00:00'::time", '24:00:00'],
    ["'04:05:06.789-08'::timetz", '04:05:06.789-08'],
    ["interval '1 year -2 days 03:04:05.678'", '1 year -2 days +03:04:05.678'],
    ["'\\x00ff41'::bytea", Buffer.from([0, 255, 65])],
    ["''::bytea", Buffer.alloc(0)],
    [`'{"a":[1,null,"ä"]}'::jsonb`, { a: [1, null, 'ä'] }],
    ["'null'::json", null],
    ["'3b241101-e2bb-4255-8caf-4136c566a962'::uuid", '3b241101-e2bb-4255-8caf-4136c566a962'],
    ["'[1,5)'::int4range", '[1,5)'],
    ["''::text", ''],
    ["'(1,2)'::point", '(1,2)'],
    ['null::int', null],
  ])('%s', async (expression, value) => {
    expect(await read(expression)).toStrictEqual(value)
  })

  test.each<[string, unknown]>([
    ['array[1,null,3]', [1, null, 3]],
    [
      'array[[1,2],[3,4]]::int8[]',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    [
      "'[0:1][-2:-1]={{a,b},{c,d}}'::text[]",
      [
        ['a', 'b'],
        ['c', 'd'],
      ],
    ],
    [
      `array['', 'NULL', null, 'null', 'a,b', '{x}', 'q"q', 'back\\slash', ' blank ', '[1:2]={a}']`,
      ['', 'NULL', null, 'null', 'a,b', '{x}', 'q"q', 'back\\slash', ' blank ', '[1:2]={a}'],
    ],
    ["'{}'::text[]", []],
    ["array['2024-01-01'::timestamp, 'infinity']", [new Date('2024-01-01T00:00:00Z'), Number.POSITIVE_INFINITY]],
    ["array['\\x0a'::bytea, null]", [Buffer.from([10]), null]],
    [`array['{"a":"}\\""}'::jsonb]`, [{ a: '}"' }]],
    ['array[true,false]', [true, false]],
    ['array[1.50::numeric]', ['1.50']],
    ["array['1 day'::interval]", ['1 day']],
    ["'{(1,1),(0,0);(2,2),(0,0)}'::box[]", ['(1,1),(0,0)', '(2,2),(0,0)']],
  ])('%s', async (expression, value) => {
    expect(await read(expression)).toStrictEqual(value)
  })

  test('every built-in array type is known', async () => {
    const { rows } = await client.query<{ oid: number; element: number; name: string }>(
      `select oid::int, typelem::int as element, typname as name from pg_type
       where typcategory = 'A' and typnamespace = 'pg_catalog'::regnamespace and typelem <> 0 and oid < 10000
         and not exists (select from pg_class where reltype = typelem)`,
    )
    expect(rows.length).toBeGreaterThan(60)
    const unknown = rows.filter(({ oid }) => !Array.isArray(textParser(oid)('{NULL}', 'c')))
    // int2vector and oidvector are arrays in the catalogue whose text is not one.
    expect(unknown.map(({ name }) => name).sort()).toStrictEqual(['int2vector', 'oidvector'])
  })

  test('int8 and numeric by option, in arrays too', async () => {
    const big = '9223372036854775807'
    expect(await read(`${big}::int8`, { int8: 'bigint' })).toBe(9223372036854775807n)
    expect(await read(`array[${big}::int8]`, { int8: 'bigint' })).toStrictEqual([9223372036854775807n])
    expect(await read(`${big}::int8`, { int8: 'string' })).toBe(big)
    expect(await read('1.25::numeric', { numeric: 'number' })).toBe(1.25)
    expect(await read("'Infinity'::numeric", { numeric: 'number' })).toBe(Number.POSITIVE_INFINITY)
    expect(await read('array[1.25::numeric]', { numeric: 'number' })).toStrictEqual([1.25])
  })

  test.each([
    ['2026-01-01 00:00:00.123456+05:30', '2025-12-31T18:30:00.123456Z'],
    ['1969-12-31 23:59:59.9999+00', '1969-12-31T23:59:59.999900Z'],
    ['2026-01-01 00:00:00.1+00', '2026-01-01T00:00:00.100Z'],
    ['0021-06-01 12:00:00.000001+00', '0021-06-01T12:00:00.000001Z'],
    ['infinity', 'infinity'],
    ['-infinity', '-infinity'],
  ])('times with all of their digits by option: %s', async (time, wanted) => {
    for (const zone of ['UTC', 'America/St_Johns', 'Asia/Kathmandu']) {
      await client.query(`set timezone to '${zone}'`)
      expect(await read(`'${time}'::timestamptz`, { timestamps: 'string' })).toBe(wanted)
      expect(await read(`array['${time}'::timestamptz]`, { timestamps: 'string' })).toEqual([wanted])
      const back = await client.query(`select $1::timestamptz = '${time}' as same`, [wanted])
      expect(back.rows).toEqual([{ same: true }])
    }
    await client.query('reset timezone')
    expect(await read(`'${time}'::timestamptz at time zone 'utc'`, { timestamps: 'string' })).toBe(wanted)
  })

  test.each(['9007199254740992', '-9007199254740992', '9223372036854775807'])('int8 %s is an error', async (digits) => {
    const failure = await read(`(${digits})::int8`).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(UsageError)
    expect(failure).toMatchObject({ code: 'INVALID_VALUE', hint: expect.stringContaining("int8: 'bigint'") })
    expect(String(failure)).toContain('odd " name')
    expect(String(failure)).not.toContain(digits.slice(-6))
  })

  test('an instant beyond Date is an error, not null', async () => {
    await expect(read("'294276-01-01'::timestamp")).rejects.toMatchObject({ code: 'INVALID_VALUE' })
  })

  test('offsets with minutes and seconds', async () => {
    for (const zone of ['Asia/Kolkata', 'America/St_Johns', 'Europe/Amsterdam', 'America/New_York']) {
      await client.query(`set timezone = '${zone}'`)
      for (const instant of ['1800-01-01T00:00:00.123Z', '1930-06-01T12:00:00.000Z', '2024-07-01T00:00:00.999Z']) {
        expect(await read(`'${instant}'::timestamptz`)).toStrictEqual(new Date(instant))
      }
    }
    await client.query('reset timezone')
  })

  test('another DateStyle is refused instead of read wrongly', async () => {
    await client.query('set datestyle = german')
    await expect(read("'2024-03-04'::date")).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    await client.query('set datestyle = sql')
    await expect(read("'2024-03-04 01:02:03+00'::timestamptz")).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    await client.query('reset datestyle')
  })

  test('bytea_output = escape', async () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    await client.query('set bytea_output = escape')
    expect(await read(`'\\x${bytes.toString('hex')}'::bytea`)).toStrictEqual(bytes)
    await client.query('reset bytea_output')
  })
})

describe("properties against the server's own text", () => {
  const list = (type: string, values: string[]): Promise<unknown> =>
    read(`array[${values.map((value) => `'${value}'`).join(',')}]::${type}[]`)

  test('timestamptz over its whole common range', async () => {
    const dates = fc.date({
      min: new Date('-004712-01-01T00:00:00Z'),
      max: new Date('+200000-01-01T00:00:00Z'),
      noInvalidDate: true,
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(dates, { minLength: 1, maxLength: 300 }),
        fc.constantFrom('timestamptz', 'timestamp'),
        async (instants, type) => {
          const seconds = instants.map((date) => date.getTime())
          const texts = await read(
            `array(select (timestamp 'epoch' + (ms || ' milliseconds')::interval)${type === 'timestamptz' ? " at time zone 'UTC'" : ''}
             from unnest('{${seconds.join(',')}}'::int8[]) with ordinality as u(ms, n) order by n)`,
          )
          expect(texts).toStrictEqual(instants)
        },
      ),
      { numRuns: 30 },
    )
  })

  test('date', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: -2_400_000, max: 80_000_000 }), { minLength: 1, maxLength: 300 }),
        async (days) => {
          const texts = await read(
            `array(select date '1970-01-01' + d from unnest('{${days.join(',')}}'::int[]) with ordinality as u(d, n) order by n)`,
          )
          expect(texts).toStrictEqual(days.map((day) => new Date(day * 86_400_000)))
        },
      ),
      { numRuns: 20 },
    )
  })

  test('float8 and int8', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.double(), { minLength: 1, maxLength: 200 }), async (values) => {
        const texts = values.map((value) => (Object.is(value, -0) ? '-0' : String(value)))
        expect(await list('float8', texts)).toStrictEqual(values)
      }),
      { numRuns: 20 },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.maxSafeInteger(), { minLength: 1, maxLength: 200 }), async (values) => {
        expect(await list('int8', values.map(String))).toStrictEqual(values)
      }),
      { numRuns: 20 },
    )
  })

  test('text arrays, nested, with everything that needs quotes', async () => {
    const item = fc.option(
      fc.string({ unit: fc.constantFrom('a', '"', '\\', ',', '{', '}', ' ', 'NULL', 'ü', '[', '=', '\n', "'") }),
    )
    const table = fc
      .integer({ min: 1, max: 4 })
      .chain((width) =>
        fc.array(fc.array(item, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 5 }),
      )
    await fc.assert(
      fc.asyncProperty(table, async (rows) => {
        const quoted = rows.map(
          (row) =>
            `array[${row.map((text) => (text === null ? 'null' : `'${text.replaceAll("'", "''")}'`)).join(',')}]::text[]`,
        )
        expect(await read(`array[${quoted.join(',')}]`)).toStrictEqual(rows)
      }),
      { numRuns: 200 },
    )
  })
})

test.each(['America/New_York', 'Asia/Kolkata', 'UTC'])(
  'timestamp and date do not depend on the zone of the process: %s',
  (zone) => {
    const module = new URL('../../dist/wire/text-type.js', import.meta.url).href
    const script = `
    import { textParser } from ${JSON.stringify(module)}
    const read = (oid, text) => textParser(oid)(text, 'c').toISOString()
    console.log(read(1114, '2024-03-10 02:30:00'), read(1114, '0044-03-15 02:30:00 BC'), read(1082, '2024-11-03'), read(1082, '0099-11-03'), read(1184, '2024-03-10 02:30:00-05'))`
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, TZ: zone },
      encoding: 'utf8',
    })
    expect(output.trim().split(' ')).toStrictEqual([
      '2024-03-10T02:30:00.000Z',
      '-000043-03-15T02:30:00.000Z',
      '2024-11-03T00:00:00.000Z',
      '0099-11-03T00:00:00.000Z',
      '2024-03-10T07:30:00.000Z',
    ])
  },
)
