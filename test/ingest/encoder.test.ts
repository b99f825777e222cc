import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readTable } from '../../src/catalog/column.ts'
import { type TableEncoder, tableEncoder } from '../../src/ingest/encode/encoder.ts'
import type { ValueOptions } from '../../src/ingest/encode/value.ts'
import { sql } from '../../src/sql/template.ts'
import { COPY_HEADER, COPY_TRAILER, CopyBuffer } from '../../src/wire/copy-buffer.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let tables = 0

beforeAll(async () => {
  database = await openTestDatabase()
  const { db, schema } = database
  const inSchema = sql.column(schema)
  await db.query(sql`create type ${inSchema}."Mo od" as enum ('sad', 'O''K, "fine"', 'ünïcode')`)
  await db.query(sql`create domain ${inSchema}."Pos.int" as int check (value > 0)`)
  await db.query(sql`create domain ${inSchema}.deep as ${inSchema}."Pos.int" default 7`)
  await db.query(sql`create domain ${inSchema}.list as text[]`)
  await db.query(sql`create type ${inSchema}.pair as (a int, b text)`)
})

afterAll(() => database.close())

const typeName = (type: string): string => type.replaceAll('SCHEMA', `"${database.schema}"`)

/** Encodes values of one column, has the server read them, and gives the server's texts. */
async function through(type: string, values: readonly unknown[], options: ValueOptions = {}): Promise<unknown[]> {
  const name = { schema: database.schema, name: `t "${++tables}"` }
  const table = sql.name(name)
  await database.db.query(sql`create table ${table} (id int, "V al" ${sql.raw(typeName(type))})`)
  const encoder = tableEncoder(await readTable(database.db, name), ['id', 'V al'], options)
  await send(
    encoder,
    name,
    values.map((value, id) => [id, value]),
  )
  const { rows } = await database.db.query(sql`select "V al"::text as v from ${table} order by id`)
  await database.db.query(sql`drop table ${table}`)
  return rows.map(({ v }) => v)
}

async function send(
  encoder: TableEncoder,
  name: { schema: string; name: string },
  rows: readonly (object | unknown[])[],
): Promise<void> {
  const buffer = new CopyBuffer()
  for (const [index, row] of rows.entries()) encoder.row(buffer, row, index)
  const columns = sql.join(encoder.columns.map((column) => sql.column(column.name)))
  const copy = sql`copy ${sql.name(name)} (${columns}) from stdin (format binary)`
  await database.db.copyIn(copy.text, [COPY_HEADER, ...buffer.take(), COPY_TRAILER])
}

/** What the server itself makes of these texts. */
async function server(type: string, texts: readonly (string | null)[]): Promise<unknown[]> {
  const { rows } = await database.db.query(
    sql`select (v::${sql.raw(typeName(type))})::text as v from unnest(${texts}::text[]) with ordinality u(v, n) order by n`,
  )
  return rows.map(({ v }) => v)
}

async function expectAsServer(type: string, texts: readonly (string | null)[]): Promise<void> {
  expect(await through(type, texts)).toEqual(await server(type, texts))
}

test.each<[string, readonly unknown[], readonly unknown[]]>([
  ['bool', [true, false, null, 't', 'no', 'ON', '0'], ['true', 'false', null, 'true', 'false', 'true', 'false']],
  ['int2', [-32768, 32767, 0, -0, '12 ', 5n], ['-32768', '32767', '0', '0', '12', '5']],
  ['int4', [-2147483648, 2147483647, '+7'], ['-2147483648', '2147483647', '7']],
  [
    'int8',
    [-(2n ** 63n), 2n ** 63n - 1n, 2 ** 53 - 1, -(2 ** 53 - 1), '9223372036854775807', -1, 4294967296, -4294967297],
    [
      '-9223372036854775808',
      '9223372036854775807',
      '9007199254740991',
      '-9007199254740991',
      '9223372036854775807',
      '-1',
      '4294967296',
      '-4294967297',
    ],
  ],
  ['float4', [1.5, 'NaN', Number.NEGATIVE_INFINITY, -0], ['1.5', 'NaN', '-Infinity', '-0']],
  [
    'float8',
    [5e-324, 1.7976931348623157e308, 0.1, Number.NaN, Number.POSITIVE_INFINITY, '-inf', ' 1e3', 7n],
    ['5e-324', '1.7976931348623157e+308', '0.1', 'NaN', 'Infinity', '-Infinity', '1000', '7'],
  ],
  [
    'numeric',
    [0, '0.00', -1, 12345678901234567890n, '1e5', '1.5e-7', '.5', '10000', '0.0001', '99999999.00010000', 'NaN', 1e21],
    [
      '0',
      '0.00',
      '-1',
      '12345678901234567890',
      '100000',
      '0.00000015',
      '0.5',
      '10000',
      '0.0001',
      '99999999.00010000',
      'NaN',
      '1000000000000000000000',
    ],
  ],
  ['numeric(6,2)', ['1234.567', -0.005], ['1234.57', '-0.01']],
  [
    'text',
    ['', 'a\tb\n\\N "x" \'y\'', 'ünïcode 𝄞', 42, true, 'x'.repeat(40), 'ü'.repeat(5000)],
    ['', 'a\tb\n\\N "x" \'y\'', 'ünïcode 𝄞', '42', 'true', 'x'.repeat(40), 'ü'.repeat(5000)],
  ],
  ['varchar(5)', ['abcde', 'ä'], ['abcde', 'ä']],
  [
    'bytea',
    [Buffer.from([0, 255]), new Uint8Array(0), '\\xDEad', new DataView(new ArrayBuffer(1))],
    ['\\x00ff', '\\x', '\\xdead', '\\x00'],
  ],
  [
    'date',
    [new Date('2024-02-29T23:59:59.999Z'), '2000-01-01', 'infinity', '-infinity', '0044-03-15 BC', '1999-12-31'],
    ['2024-02-29', '2000-01-01', 'infinity', '-infinity', '0044-03-15 BC', '1999-12-31'],
  ],
  [
    'timestamp',
    [new Date(0), '2024-05-01T10:00:00.123456', '2024-05-01 10:00', '2024-05-01T10:00:00Z', 'infinity', 1n, -1n],
    [
      '1970-01-01 00:00:00',
      '2024-05-01 10:00:00.123456',
      '2024-05-01 10:00:00',
      '2024-05-01 10:00:00',
      'infinity',
      '1970-01-01 00:00:00.000001',
      '1969-12-31 23:59:59.999999',
    ],
  ],
  [
    'time',
    ['00:00', '24:00:00', '10:11:12.000001', 86_399_999_999n],
    ['00:00:00', '24:00:00', '10:11:12.000001', '23:59:59.999999'],
  ],
  [
    'timetz',
    ['10:00:00+02', '10:00:00.5-09:30', '00:00Z', '23:59:59+15:59:59'],
    ['10:00:00+02', '10:00:00.5-09:30', '00:00:00+00', '23:59:59+15:59:59'],
  ],
  [
    'interval',
    ['1 mon 2 days 03:04:05.6', { days: 7 }, '-1 day', 'P1DT2H'],
    ['1 mon 2 days 03:04:05.6', '7 days', '-1 days', '1 day 02:00:00'],
  ],
  [
    'uuid',
    ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{a0eebc999c0b4ef8bb6d6bb9bd380a11}', new Uint8Array(16)],
    [
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
      '00000000-0000-0000-0000-000000000000',
    ],
  ],
  ['json', ['{"a":  1}', { a: [1, null] }, [1, 2], 5, true], ['{"a":  1}', '{"a":[1,null]}', '[1,2]', '5', 'true']],
  ['json', [{ a: -(2n ** 70n), b: ['1'] }, [1n], 7n], ['{"a":-1180591620717411303424,"b":["1"]}', '[1]', '7']],
  ['jsonb', ['{"a":  1}', { b: 'ü', a: {} }, [], ' null'], ['{"a": 1}', '{"a": {}, "b": "ü"}', '[]', 'null']],
  [
    'inet',
    ['10.1.2.3', '10.1.2.3/8', '::1', '2001:db8::a:1/64', '::ffff:1.2.3.4'],
    ['10.1.2.3/32', '10.1.2.3/8', '::1/128', '2001:db8::a:1/64', '::ffff:1.2.3.4/128'],
  ],
  ['cidr', ['10.0.0.0/8', '2001:db8::/32', '1.2.3.4'], ['10.0.0.0/8', '2001:db8::/32', '1.2.3.4/32']],
  ['macaddr', ['08:00:2B:01:02:03', '08002b-010203', '0800.2b01.0203'], Array(3).fill('08:00:2b:01:02:03')],
  ['macaddr8', ['08:00:2b:01:02:03:04:05'], ['08:00:2b:01:02:03:04:05']],
  ['SCHEMA."Mo od"', ['sad', 'O\'K, "fine"', 'ünïcode'], ['sad', 'O\'K, "fine"', 'ünïcode']],
  ['SCHEMA.deep', [1, '2'], ['1', '2']],
  ['SCHEMA.list', [['a', null, 'b"c'], []], ['{a,NULL,"b\\"c"}', '{}']],
  [
    'int4[]',
    [
      [1, null, 3],
      [],
      [
        [1, 2],
        [3, 4],
      ],
      new Int32Array([7]),
      '{{1,NULL},{3,4}}',
    ],
    ['{1,NULL,3}', '{}', '{{1,2},{3,4}}', '{7}', '{{1,NULL},{3,4}}'],
  ],
  ['text[]', [['NULL', '', 'a,b'], '{a,"b c",NULL}'], ['{"NULL","","a,b"}', '{a,"b c",NULL}']],
  ['float8[]', [new Float64Array([1.5, Number.NaN])], ['{1.5,NaN}']],
  ['timestamp[]', [[new Date(0)]], ['{"1970-01-01 00:00:00"}']],
  ['SCHEMA."Mo od"[]', [['sad', null]], ['{sad,NULL}']],
  ['SCHEMA."Pos.int"[]', [[1, 2]], ['{1,2}']],
])('%s: what is written is what the server holds', async (type, values, texts) => {
  expect(await through(type, values)).toEqual(texts)
})

describe('as the server reads the same text', () => {
  test('timestamptz, also BC, far years and open ends', async () => {
    const texts = [
      '2024-05-01T10:00:00Z',
      '2024-05-01 10:00:00.1+02',
      '2024-05-01 10:00:00.123456-09:30',
      '0001-01-01 00:00:00Z',
      '0044-03-15 12:00:00Z BC',
      '4714-11-24 00:00:00Z BC',
      '294276-12-31 23:59:59.999999Z',
      '9999-12-31 23:59:59.999999Z',
      '1677-09-21 00:12:43.145224Z',
      'infinity',
      '-infinity',
      '1969-12-31 23:59:59.999999Z',
      '1969-12-31 23:59:59.9999995Z',
      '2026-01-31T00:00:00.1234565Z',
      '2026-01-31T00:00:00.1234575Z',
      '2026-01-31T23:59:59.9999999+05:30',
      '2262-04-11 23:47:16.854775Z',
      '2285-06-05 23:59:59.999999Z',
    ]
    await expectAsServer('timestamptz', texts)
  })

  test('the end of a day, leap seconds, and digits beyond microseconds', async () => {
    const texts = [
      '2026-01-31T24:00:00Z',
      '2026-12-31 24:00',
      '2024-02-28 24:00:00.000+05:30',
      '2016-12-31T23:59:60Z',
      '2016-12-31 23:59:60.0+01',
      '2026-01-31T10:00:60Z',
    ]
    await expectAsServer('timestamptz', texts)
    await expectAsServer('timestamp', [...texts.slice(0, 2), ...texts.slice(3, 4)])
    const clocks = ['12:00:00.1234567', '12:00:00.0000005', '23:59:59.9999999', '23:59:60', '10:00:60', '24:00:00.0']
    await expectAsServer('time', clocks)
    await expectAsServer(
      'timetz',
      clocks.map((clock) => `${clock}+02`),
    )
    for (const text of ['2026-01-31T24:00:01Z', '2026-01-31T24:01Z', '2026-01-31T23:59:61Z', '2026-01-31T25:00Z']) {
      await expect(through('timestamptz', [text]), text).rejects.toThrow('does not fit')
    }
    await expect(through('date', ['2026-01-31T24:00:00'])).rejects.toThrow('the day after')
    await expect(through('time', ['24:00:60'])).rejects.toThrow('does not fit')
    expect(
      await through('timestamptz', ['2026-03-28T24:00', '2026-03-29T24:00'], { timeZone: 'Europe/Berlin' }),
    ).toEqual(await server('timestamptz', ['2026-03-29 00:00+01', '2026-03-30 00:00+02']))
  })

  test('days that are not ISO 8601 but have one meaning', async () => {
    const texts = [
      '2001/01/31 06:55',
      '2001/1/3 6:55:01.5',
      '2001/12/31',
      'Jan 1 2000',
      'September 30, 1999 23:59',
      '1 Feb 2000',
      '29-feb-2000 00:00:00',
      ' 2001/01/31T06:55Z ',
    ]
    await expectAsServer('timestamptz', texts)
    await expectAsServer('date', texts.slice(0, 7))
    // Dates go on for longer than times.
    await expectAsServer('date', ['294276-12-31', '294277-01-01', '300000-02-29', '5874897-12-31', '4714-11-24 BC'])
    await expectAsServer('timestamp', texts.slice(0, 7))
    expect(await through('timestamptz', ['2001/07/01 06:55'], { timeZone: 'Europe/Berlin' })).toEqual(
      await server('timestamptz', ['2001-07-01 06:55+02']),
    )
  })

  test('properties', { timeout: 60_000 }, async () => {
    const check = async (type: string, texts: fc.Arbitrary<string | null>): Promise<void> => {
      const sample = fc.sample(texts, { numRuns: 300, seed: 7 })
      expect(await through(type, sample), type).toEqual(await server(type, sample))
    }
    await check('int8', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String))
    await check('float8', fc.double().map(String))
    await check('float4', fc.float({ noNaN: true }).map(String))
    const decimal = fc.tuple(fc.bigInt({ min: -(10n ** 60n), max: 10n ** 60n }), fc.nat(80)).map(([digits, places]) => {
      const text = String(digits < 0n ? -digits : digits).padStart(places + 1, '0')
      return `${digits < 0n ? '-' : ''}${text.slice(0, text.length - places)}${places > 0 ? '.' : ''}${text.slice(text.length - places)}`
    })
    await check('numeric', decimal)
    await check('numeric', fc.double({ noNaN: true, min: -1e300, max: 1e300 }).map(String))
    const unicode = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((text) => !text.includes('\0'))
    await check('text', fc.option(unicode))
    const instant = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true })
    await check(
      'timestamptz',
      instant.map((date) => date.toISOString()),
    )
    await check(
      'timestamptz',
      fc
        .tuple(instant, fc.stringMatching(/^\d{4,9}$/))
        .map(([date, finer]) => date.toISOString().replace('Z', `${finer}Z`)),
    )
    await check(
      'timestamp',
      instant.map((date) => date.toISOString().slice(0, -1)),
    )
    await check(
      'date',
      instant.map((date) => date.toISOString().slice(0, 10)),
    )
    await check('inet', fc.oneof(fc.ipV4(), fc.ipV6()))
    await check('uuid', fc.uuid())
    await check(
      'jsonb',
      fc.json().filter((text) => !/\\u0000|\\ud[89a-f]/i.test(text)),
    )
    const span = fc.tuple(fc.integer({ min: -999, max: 999 }), fc.integer({ min: -99, max: 99 }), fc.nat(86_399))
    await check(
      'interval',
      span.map(([months, days, seconds]) => `${months} mons ${days} days ${seconds} secs`),
    )
  })

  test.each(['Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kolkata', 'Africa/Monrovia'])(
    'times without a zone, in %s',
    async (timeZone) => {
      const around = ['2024-03-10', '2024-03-31', '2024-10-27', '2024-11-03', '2024-04-07', '2024-10-06', '1960-06-01']
      const texts = around.flatMap((day) =>
        Array.from({ length: 30 }, (_, step) => {
          const minutes = step * 10
          return `${day} ${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}:00.5`
        }),
      )
      const expected = await database.db.query(
        sql`select (v::timestamp at time zone ${timeZone})::text as v from unnest(${texts}::text[]) u(v)`,
      )
      expect(await through('timestamptz', texts, { timeZone })).toEqual(expected.rows.map(({ v }) => v))
    },
  )
})

test('time units', async () => {
  const read = (values: readonly unknown[], timeUnit: 's' | 'ms' | 'us' | 'ns'): Promise<unknown[]> =>
    through('timestamp', values, { timeUnit })
  expect(await read([1.5, 1n, '2', '2.25'], 's')).toEqual([
    '1970-01-01 00:00:01.5',
    '1970-01-01 00:00:01',
    '1970-01-01 00:00:02',
    '1970-01-01 00:00:02.25',
  ])
  expect(await read([1700000000123.456], 'ms')).toEqual(['2023-11-14 22:13:20.123456'])
  expect(await read(['1700000000123456789', -1n], 'ns')).toEqual([
    '2023-11-14 22:13:20.123456',
    '1969-12-31 23:59:59.999999',
  ])
})

test.each<[string, unknown, string]>([
  ['int2', 32768, 'a number out of range'],
  ['int4', 1.5, 'a number with a fraction'],
  ['int4', 'secret', 'a text that is no whole number'],
  ['int4', '', 'an empty text'],
  ['int4', 2n ** 31n, 'a bigint out of range'],
  ['int4', Number.NaN, 'a number that is not finite'],
  ['int8', 2 ** 53, 'a number beyond'],
  ['int8', 2n ** 63n, 'a bigint out of range'],
  ['float4', 1e300, 'a number out of range'],
  ['float8', '0x10', 'a text that is no number'],
  ['float8', '1e-400', 'a text out of range'],
  ['float8', true, 'a boolean'],
  ['numeric', 'secret', 'a text that is no numeric'],
  ['text', 'a\0secret', 'a text with NUL'],
  ['text', `${'long '.repeat(20)}\0`, 'a text with NUL'],
  ['text', 'secret\ud800', 'half a surrogate pair'],
  ['text', { secret: 1 }, 'an object'],
  ['text', undefined, 'undefined'],
  ['bool', 'secret', 'a text'],
  ['bytea', 'secret', 'a text that is not \\x'],
  ['timestamptz', 1700000000, 'needs the option timeUnit'],
  ['timestamptz', 'secret', 'no ISO 8601'],
  ['timestamptz', '00:00.1234567'.repeat(50_000), 'no ISO 8601'],
  ['timestamptz', '294276-12-31 23:59:59.9999999Z', 'no ISO 8601'],
  ['timestamptz', '2024-02-30T00:00:00Z', 'no ISO 8601'],
  ['timestamptz', '01/02/2001', 'could be either, without timeFormat'],
  ['date', '1.2.01', 'could be either, without timeFormat'],
  ['date', '2001/02/30', 'no ISO 8601'],
  ['date', '5874898-01-01', 'no ISO 8601'],
  ['timestamp', '294277-01-01', 'no ISO 8601'],
  ['date', 'Mayor 5 2000', 'no ISO 8601'],
  ['timestamptz', '2001/01-31', 'no ISO 8601'],
  ['timestamptz', new Date(Number.NaN), 'an invalid Date'],
  ['timestamptz', 2n ** 64n, 'a time out of range'],
  ['timestamp', '2024-05-01T10:00:00+02', 'a text with a time zone'],
  ['time', '25:00', 'no time of day'],
  ['timetz', '10:00', 'no time of day with an offset'],
  ['interval', 'secret', 'a text that is no interval'],
  ['uuid', 'secret', 'a text that is no uuid'],
  ['jsonb', '{secret', 'a text that is not JSON'],
  ['json', () => 1, 'a function'],
  ['jsonb', new Map([['secret', 1]]), 'a Map, which is {} in JSON,'],
  ['jsonb', new Set(['secret']), 'a Set, which is {} in JSON,'],
  ['json', Promise.resolve('secret'), 'a Promise, which is {} in JSON,'],
  ['jsonb', Number.NaN, 'a number that is not finite'],
  ['inet', '1.2.3.256', 'a text that is no inet'],
  ['cidr', '10.0.0.1/8', 'a text that is no cidr'],
  ['int4[]', [1, 'secret'], 'a text that is no whole number'],
  ['int4[]', [[1], [2, 3]], 'not equally long'],
  ['int4[]', [[1], 2], 'not nested equally deep'],
  ['int4[]', '{1,2', 'a text that is no array'],
  ['int4[]', '{1},{2}', 'a text that is no array'],
  ['int4[]', '{1,}', 'a text that is no array'],
  ['text[]', 'secret {a}', 'a text that is no array'],
  ['text[]', '{'.repeat(100_000), 'a text that is no array'],
])('%s refuses its misfit %#: row, column, type and kind are named, not the value', async (type, value, kind) => {
  const failure = await through(type, [null, value]).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'BATCH_FAILED', row: 1 })
  const message = String(failure)
  expect(message).toContain('Row 1: Column "V al" (')
  expect(message).toContain(kind)
  expect(message).not.toContain('secret')
})

test('a text for an array is what the server reads in it, or refused', async () => {
  const { db, schema } = database
  const read = sql`${sql.column(schema)}."Re ad"`
  await db.query(sql`create function ${read}(v text) returns text language plpgsql as
    'begin return v::text[]; exception when others then return null; end'`)
  await db.query(sql`create table ${sql.column(schema)}."Lists" (v text[])`)
  const encoder = tableEncoder(await readTable(db, { schema, name: 'Lists' }), ['v'])
  const part = fc.constantFrom(
    '{',
    '}',
    ',',
    '"',
    '\\\\',
    '\\"',
    ' ',
    '\n',
    'NULL',
    'null',
    'a',
    '\u00a0',
    '\ufeff',
    '1',
  )
  const list = fc
    .array(fc.oneof(part, fc.constantFrom('nUll', '"NULL"', '""', 'a b', '"a,b"', '{a}', ' "\\" \\\\"')))
    .map((all) => `{${all.join(',')}}`)
  const loose = fc.array(part, { maxLength: 8 }).map((all) => `{${all.join('')}}`)
  const texts = fc.sample(fc.oneof(list, loose), { numRuns: 3000, seed: 11 })
  const { rows } = await db.query<{ v: string | null }>(
    sql`select ${read}(v) as v from unnest(${texts}::text[]) with ordinality u(v, n) order by n`,
  )
  const taken = texts.flatMap((text, at) => {
    try {
      encoder.row(new CopyBuffer(), [text], at)
      return [{ text, expected: rows[at]?.v }]
    } catch {
      return []
    }
  })
  expect(taken.length).toBeGreaterThan(500)
  const written = await through(
    'text[]',
    taken.map(({ text }) => text),
  )
  expect(written.map((v, at) => [taken[at]?.text, v])).toEqual(taken.map(({ text, expected }) => [text, expected]))
})

describe('a table', () => {
  const name = (): { schema: string; name: string } => ({ schema: database.schema, name: 'Odd "table".x' })
  beforeAll(async () => {
    await database.db.query(sql`create table ${sql.name(name())} (
      id int generated always as identity, n int, "Dou""ble" int generated always as (n * 2) stored,
      d text default 'x', p ${sql.raw(typeName('SCHEMA.pair'))}, r int4range, deep ${sql.raw(typeName('SCHEMA.deep'))})`)
    await database.db.query(sql`alter table ${sql.name(name())} drop column r`)
  })

  test('is read with its domains, generated and default columns', async () => {
    const table = await readTable(database.db, name())
    expect(table).toMatchObject(name())
    const shown = table.columns.map(({ name, receive, generated, hasDefault }) => [
      name,
      receive,
      generated,
      hasDefault,
    ])
    expect(shown).toEqual([
      ['id', 'int4recv', 'identity', true],
      ['n', 'int4recv', undefined, false],
      ['Dou"ble', 'int4recv', 'expression', true],
      ['d', 'textrecv', undefined, true],
      ['p', 'record_recv', undefined, false],
      ['deep', 'int4recv', undefined, true],
    ])
    await expect(readTable(database.db, 'nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('refuses columns that do not exist or cannot be written', async () => {
    const table = await readTable(database.db, name())
    expect(() => tableEncoder(table, ['N'])).toThrow(expect.objectContaining({ hint: 'Did you mean n?' }))
    expect(() => tableEncoder(table, ['id'])).toThrow('IDENTITY')
    expect(() => tableEncoder(table, ['Dou"ble'])).toThrow('is computed')
    expect(() => tableEncoder(table, ['n', 'n'])).toThrow('given twice')
  })

  test('knows the types it must send as text', async () => {
    const table = await readTable(database.db, name())
    expect(tableEncoder(table, ['n']).asText).toBe(false)
    expect(tableEncoder(table, ['n', 'p']).asText).toBe(true)
  })

  test('objects: what is missing, and what is too much', async () => {
    const table = await readTable(database.db, name())
    const encoder = tableEncoder(table, ['n', 'd'])
    const buffer = new CopyBuffer()
    encoder.row(buffer, { n: undefined, d: null }, 0)
    expect(() => encoder.row(buffer, { n: 1 }, 1)).toThrow('undefined, where the column has a default')
    expect(() => encoder.row(buffer, { n: 1, d: 'x', N: 5 }, 2)).toThrow('property "N", which no column takes')
    expect(() => encoder.row(buffer, [1], 3)).toThrow('The row has 1 values for 2 columns')
    expect(() => encoder.row(buffer, 5 as unknown as object, 4)).toThrow('The row is a number')
  })
})

test('a buffer takes rows back, also across blocks', () => {
  const buffer = new CopyBuffer()
  buffer.text('one')
  const mark = buffer.mark()
  for (let at = 0; at < 100_000; at++) buffer.text(`row ${at}`)
  buffer.rewind(mark)
  expect(buffer.length).toBe(7)
  buffer.text('two')
  expect(Buffer.concat(buffer.take()).toString('latin1')).toBe('\0\0\0\x03one\0\0\0\x03two')
})
