import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Session } from '../../src/connection/session.ts'
import type { Column } from '../../src/results/column.ts'
import { type ColumnSet, toColumns } from '../../src/results/column-set.ts'
import { type Sql, sql } from '../../src/sql/template.ts'
import type { ColumnOptions } from '../../src/wire/column.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { comparable, comparableText } from './column-text-form.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

/** Runs in UTC, where the server's text of a timestamptz ends in +00. */
const inUtc = <T>(run: (session: Session) => Promise<T>): Promise<T> =>
  database.db.transaction(async (session) => {
    await session.query(sql`set local timezone to 'UTC'`)
    return run(session)
  })

/** The texts as values of the type, beside the server's own text of each. */
async function readBoth(type: string, texts: readonly (string | null)[], options: ColumnOptions = {}): Promise<Column> {
  const columns = await inUtc((session) => query(session, type, texts, options))
  const [value, text] = columns.columns
  if (value === undefined || text === undefined) throw new Error('two columns are selected')
  const seen = [...value].map((item) => comparable(value.type, item))
  const expected = [...text].map((item) => comparableText(value.type, item === null ? null : String(item)))
  expect(seen, type).toEqual(expected)
  expect([...value].map((_, row) => value.get(row))).toEqual([...value])
  expect(value.nullCount).toBe(expected.filter((item) => item === null).length)
  return value
}

async function query(
  session: Session,
  type: string,
  texts: readonly (string | null)[],
  options: ColumnOptions,
): Promise<ColumnSet> {
  // format() writes with the type's output function; a cast to text drops the spaces of char(n) and adds /32 to inet.
  const text = `select x::${type} as v, case when x is not null then format('%s', x::${type}) end as t
    from unnest($1::text[]) with ordinality as u (x, n) order by n`
  return toColumns(await session.queryColumns({ text, values: [texts] }, options))
}

const cases: readonly (readonly [type: string, kind: string, texts: readonly string[]])[] = [
  ['bool', 'bool', ['true', 'false', 'true', 'true', 'false', 'false', 'false', 'true', 'true', 'false']],
  ['int2', 'int16', ['0', '-1', '32767', '-32768']],
  ['int4', 'int32', ['0', '-1', '2147483647', '-2147483648']],
  ['int8', 'int64', ['0', '-1', '9223372036854775807', '-9223372036854775808', '4294967296', '-4294967297']],
  ['oid', 'uint32', ['0', '4294967295']],
  ['float4', 'float32', ['0', '-0', 'NaN', 'Infinity', '-Infinity', '0.1', '3.4028235e38', '1e-45', '-1.5']],
  ['float8', 'float64', ['0', '-0', 'NaN', 'Infinity', '-Infinity', '0.1', '1.7976931348623157e308', '5e-324']],
  ['text', 'text', ['', 'a', 'NULL', 'ünïcödé 雪 🎉', '"{}\\,', ' x ', 'a']],
  ['varchar(5)', 'text', ['', 'abcde', '雪']],
  ['char(5)', 'text', ['', 'ab', '雪']],
  ['name', 'text', ['x', 'Test 1.a']],
  ['uuid', 'text', ['00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']],
  ['json', 'json', ['{"a": [1, null,  "x"]}', 'null', '"é"']],
  ['jsonb', 'json', ['{"b":1,"a":[1,2.50]}', 'null', '1e3']],
  ['bytea', 'binary', ['', '\\x00ff5c', '\\xdeadbeef']],
  ['inet', 'text', ['192.168.0.1', '10.0.0.0/8', '::1', '2001:db8::ff00:42:8329/64']],
  ['cidr', 'text', ['192.168.0.0/24', '2001:db8::/32']],
  ['macaddr', 'text', ['08:00:2b:01:02:03']],
  [
    'date',
    'date',
    ['infinity', '-infinity', '2024-02-29', '1970-01-01', '4713-01-01 BC', '5874897-12-31', '0001-12-31 BC'],
  ],
  [
    'timestamp',
    'timestamp',
    [
      'infinity',
      '-infinity',
      '2024-02-29 23:59:59.999999',
      '1969-12-31 23:59:59.999999',
      '4713-01-01 BC',
      '294246-12-31',
    ],
  ],
  [
    'timestamptz',
    'timestamptz',
    [
      ...['infinity', '-infinity', '2000-01-01', '1970-01-01 00:00:00.000001Z', '0001-01-01 00:00 BC'],
      // An hour that comes twice, and the last moment 64 bits can say.
      ...['2024-10-27 02:30 Europe/Berlin', '2024-10-27 02:30 CET', '2024-03-31 03:00 Europe/Berlin'],
      '294247-01-10 04:00:54.775806',
    ],
  ],
  ['time', 'time', ['00:00', '24:00', '23:59:59.999999', '12:30:00.5']],
  ['timetz', 'text', ['00:00+00', '23:59:59.999999-15:59', '12:30:00.5+05:30:10']],
  [
    'interval',
    'interval',
    [
      ...['0', '1 year 2 mons 3 days 04:05:06.789', '-1 mon 1 day', '1 day -00:00:00.000001', '-1 year -1 mon'],
      ...['1 mon -2 days 3 hours', '178000000 years', '-178000000 years', '2147483647 days', '2562047788:00:54.775807'],
    ],
  ],
  ['numeric(5,2)', 'float64', ['0', '-999.99', '0.01', '123.4', 'NaN']],
  ['numeric(15,0)', 'float64', ['999999999999999', '-1', '10000']],
  ['numeric(15,7)', 'float64', ['12345678.1234567', '-0.0000001', '10000.0001']],
  ['numeric(16,6)', 'decimal', ['9999999999.999999', '-0.000001', '0', '-4294967296', '42949.67296', '-65536.0']],
  [
    'numeric(38,10)',
    'decimal',
    ['9999999999999999999999999999.9999999999', '-9999999999999999999999999999.9999999999'],
  ],
  [
    'numeric(38)',
    'decimal',
    ['-1', '18446744073709551616', '-18446744073709551616', '99999999999999999999999999999999999999'],
  ],
  ['numeric(50,2)', 'text', ['-123456789012345678901234567890123456789012345678.99', '0', 'NaN']],
  [
    'numeric',
    'float64',
    ['0', '1', '-1.5', '0.1', 'NaN', 'Infinity', '-Infinity', '1e300', '1e-300', '12345.678', '1e22', '10000'],
  ],
  ['money', 'text', ['12.5']],
  ['int4range', 'text', ['[1,5)', 'empty']],
  ['point', 'text', ['(1,2)']],
]

describe('each type reads as the server writes it, with NULL', () => {
  test.each(cases)('%s is %s', async (type, kind, texts) => {
    expect((await readBoth(type, texts)).type.kind).toBe(kind)
    await readBoth(type, [null, ...texts, null, ...texts])
    const nothing = await readBoth(type, [null, null])
    expect([nothing.type.kind, nothing.toArray()]).toEqual([kind, [null, null]])
    expect((await readBoth(type, [])).type.kind).toBe(kind)
  })
})

describe('arrays', () => {
  test.each([
    ['int4[]', ['{}', '{1,2}', '{NULL,-5}', '{{1,2},{3,NULL}}', '{{{1}},{{2}}}', '[0:1]={7,8}', '{{},{}}']],
    ['int8[]', ['{9223372036854775807}', '{}']],
    ['bool[]', ['{t,f,NULL,t,t,f,f,t,t,t}']],
    ['float8[]', ['{NaN,Infinity,-0,1.5}']],
    ['text[]', ['{}', '{"",a,NULL,"NULL","{\\"\\\\,雪"}', '{{a,b},{c,a}}']],
    ['varchar(3)[]', ['{abc,NULL}']],
    ['bytea[]', ['{"\\\\x00ff",NULL}']],
    ['timestamptz[]', ['{"2024-10-27 00:30:00.000001+00",infinity,NULL}']],
    ['timestamp[]', ['{"2024-10-27 00:30:00"}']],
    ['date[]', ['{2024-02-29,-infinity}']],
    ['time[]', ['{24:00:00}']],
    ['timetz[]', ['{24:00:00+01}']],
    ['interval[]', ['{"1 mon -1 days",NULL}']],
    ['numeric[]', ['{1.5,NaN,NULL}']],
    ['numeric(20,3)[]', ['{1.500,NULL,12345678901234567.890}']],
    ['uuid[]', ['{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}']],
    ['inet[]', ['{10.0.0.1,::1}']],
    ['cidr[]', ['{10.0.0.0/8}']],
    ['macaddr[]', ['{08:00:2b:01:02:03}']],
    ['json[]', ['{"{\\"a\\": [1, 2]}",NULL}']],
    ['jsonb[]', ['{"{\\"a\\": [1, 2]}",NULL}']],
    ['box[]', ['{(2,2),(1,1);(4,4),(3,3)}']],
  ])('%s', async (type, texts) => {
    const columns = await inUtc((session) => query(session, type, [...texts, null], {}))
    const [value] = columns.columns
    if (value?.type.kind !== 'list') throw new Error(`${type} is no list`)
    // The server takes apart its own text, so that both are compared element by element.
    const element = type.slice(0, -2)
    const { rows } = await inUtc((session) =>
      session.query<{ items: (string | null)[]; shape: string }>({
        text: `select array_dims(x::${type}) as shape, array(select case when e is not null then format('%s', e) end
          from unnest(x::${type}) e) as items from unnest($1::text[]) with ordinality u (x, n) order by n`,
        values: [texts],
      }),
    )
    const { type: listType } = value
    const seen = [...value].slice(0, -1).map((list) => (list as unknown[]).flat(9))
    expect(
      seen.map((list) => list.map((item) => comparable(listType.element, item))),
      element,
    ).toEqual(rows.map(({ items }) => items.map((item) => comparableText(listType.element, item))))
    expect(value.get(texts.length)).toBeNull()
  })

  test('several dimensions are nested, lower bounds are dropped', async () => {
    const value = await inUtc(async (session) => {
      const texts = ['{{1,2},{3,NULL},{5,6}}', '[5:6]={7,8}', '{{{a}}}'.replace('a', '9'), '{}']
      return (await query(session, 'int4[]', texts, {})).column('v')
    })
    expect([...value]).toEqual([
      [
        [1, 2],
        [3, null],
        [5, 6],
      ],
      [7, 8],
      [[[9]]],
      [],
    ])
    expect(value.children?.[0]?.values).toEqual(new Int32Array([1, 2, 3, 0, 5, 6, 7, 8, 9]))
    expect(value.offsets).toEqual(new Int32Array([0, 6, 8, 9, 9]))
  })
})

describe('types of the user', () => {
  test('enums, domains, composites', async () => {
    const name = (type: string): string => sql.name({ schema: database.schema, name: type }).text
    await database.db.query({ text: `create type ${name('Mood "x"')} as enum ('sad', 'so ''so''', '雪')`, values: [] })
    await database.db.query({ text: `create domain ${name('Cents')} as numeric(20, 2) check (value >= 0)`, values: [] })
    await database.db.query({ text: `create domain ${name('Count')} as int4`, values: [] })
    await database.db.query({ text: `create domain ${name('List')} as int4[]`, values: [] })
    await database.db.query({ text: `create type ${name('Pair')} as (a int4, b text)`, values: [] })
    expect((await readBoth(name('Mood "x"'), ['sad', null, "so 'so'", '雪'])).type.kind).toBe('text')
    expect((await readBoth(name('Cents'), ['0.10', null])).type).toEqual({ kind: 'decimal', precision: 20, scale: 2 })
    expect((await readBoth(name('Count'), ['1', null])).type.kind).toBe('int32')
    expect((await readBoth(name('Pair'), ['(1,"a b")', null])).type.kind).toBe('text')
    const list = await query(database.db, name('List'), ['{1,2}'], {})
    expect(list.column('v').toArray()).toEqual([[1, 2]])
  })

  test('citext', async ({ skip }) => {
    const { rowCount } = await database.db.query(sql`select 1 from pg_available_extensions where name = 'citext'`)
    skip(rowCount === 0, 'the server does not have citext')
    await database.db.query(sql`create extension if not exists citext with schema ${sql.column(database.schema)}`)
    const { rows } = await database.db.query<{ name: string }>(
      sql`select format('%s.citext', extnamespace::regnamespace) as name from pg_extension where extname = 'citext'`,
    )
    expect((await readBoth(rows[0]?.name ?? '', ['Aa', 'aa', null])).toArray()).toEqual(['Aa', 'aa', null])
  })

  test('arrays of them are lists of what they are sent as', async () => {
    const { db, schema } = database
    const own = (name: string): Sql => sql.name({ schema, name })
    await db.query(sql`create type ${own('State 1.a')} as enum ('on', 'o "f" f, {x}')`)
    await db.query(sql`create domain ${own('state')} as ${own('State 1.a')}`)
    await db.query(sql`create domain ${own('price')} as numeric(20, 2)`)
    await db.query(sql`create domain ${own('deep')} as ${own('price')} check (value > 0)`)
    await db.query(sql`create domain ${own('day')} as date`)
    await db.query(sql`create domain ${own('address')} as inet`)
    await db.query(sql`create domain ${own('numbers')} as int4[]`)
    await db.query(sql`create type ${own('pair')} as (a int4, b text)`)
    const statement = sql`select
      array['on', null, 'o "f" f, {x}']::${own('State 1.a')}[] as "enum",
      array['on']::${own('state')}[] as "domain of enum",
      array[0.10, null]::${own('deep')}[] as "numeric",
      array['2024-05-01']::${own('day')}[] as "date",
      array['10.0.0.1']::${own('address')}[] as "inet",
      array[row(1, 'x')::${own('pair')}] as "composite",
      array[array[1, 2]::${own('numbers')}] as "list",
      '{}'::${own('state')}[] as "empty", null::${own('state')}[] as "null", 'on'::${own('state')} as "scalar"`
    const wanted = {
      enum: ['on', null, 'o "f" f, {x}'],
      'domain of enum': ['on'],
      numeric: ['0.10', null],
      inet: ['10.0.0.1'],
      composite: '{"(1,x)"}',
      list: '{"{1,2}"}',
      empty: [],
      null: null,
      scalar: 'on',
    }
    const columns = toColumns(await db.queryColumns(statement))
    const values = Object.fromEntries(columns.columns.map((column) => [column.name, column.get(0)]))
    expect(values).toEqual({ ...wanted, date: [19_844] })
    expect(columns.column('numeric').type).toEqual({
      kind: 'list',
      element: { kind: 'decimal', precision: 20, scale: 2 },
    })
    const row = { ...wanted, date: [new Date('2024-05-01')] }
    expect((await db.query(statement)).rows).toEqual([row])
    expect(await db.streamRows(statement).next()).toEqual({ done: false, value: row })
  })

  test.each(['query', 'queryColumns', 'streamRows'] as const)('%s knows a type made a moment ago', async (way) => {
    const { db, schema } = database
    const type = sql.name({ schema, name: `new ${way}` })
    const read = async (session: Session): Promise<unknown> => {
      const statement = sql`select '{a,b}'::${type}[] as v`
      if (way === 'queryColumns')
        return toColumns(await session.queryColumns(statement))
          .column('v')
          .get(0)
      if (way === 'query') return (await session.query(statement)).rows[0]?.['v']
      const rows = session.streamRows(statement)
      const { value } = await rows.next()
      await rows.return?.()
      return value?.['v']
    }
    await db.transaction(async (session) => {
      await session.query(sql`create type ${type} as enum ('a', 'b')`)
      expect(await read(session)).toEqual(['a', 'b'])
    })
    expect(await read(db)).toEqual(['a', 'b'])
    // The same name, another type: text that only the new one has.
    await db.query(sql`drop type ${type}`)
    await db.query(sql`create domain ${type} as text`)
    expect(await read(db)).toEqual(['a', 'b'])
  })
})

describe('numeric', () => {
  test('says how many values a number does not say exactly', async () => {
    const inexact = async (...texts: string[]): Promise<number> => (await readBothNumbers(texts)).inexact
    expect(await inexact('0.1', '123456789012345', '-0.00001', '1e22', 'NaN', 'Infinity', '9007199254740993')).toBe(1)
    expect(await inexact('0.1234567890123456789', '1e-400', '12345678901234567890')).toBe(2 + 1)
    expect(await inexact('9007199254740992', '1e300', '1.7976931348623157e308', '0.3', '4.35')).toBe(0)
  })

  test('what does not fit is an error that names the column, not the value', async () => {
    const read = (text: string, options: ColumnOptions): Promise<unknown> =>
      database.db.queryColumns({ text: `select ${text} as "Preis 1.a"`, values: [] }, options)
    for (const [text, options] of [
      ['1e400::numeric', {}],
      ['1e400::numeric', { numeric: 'float64' }],
      [`'NaN'::numeric(20,2)`, {}],
      [`'Infinity'::numeric`, { numeric: 'decimal128' }],
      ['1e20::numeric', { numeric: 'decimal128' }],
      ['0.1234567890123456789::numeric', { numeric: 'decimal128' }],
      [`'1e37'::numeric(60,2)`, { numeric: 'decimal128' }],
    ] as const) {
      const error = await read(text, options).catch((reason: unknown) => reason)
      expect(error, text).toMatchObject({
        code: 'INVALID_VALUE',
        message: expect.stringContaining('"Preis 1.a"'),
        hint: expect.stringContaining("numeric: 'string'"),
      })
    }
    // The connection is whole afterwards.
    expect((await database.db.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }])
  })

  test('by option', async () => {
    const texts = ['0', '-1.50', '99999999999999999999.999999999999999999', '0.000000000000000001']
    expect((await readBoth('numeric', ['NaN', '1e400', '-0.10', null], { numeric: 'string' })).type.kind).toBe('text')
    const { rows } = await database.db.query<{ v: string }>({
      text: 'select x::numeric(38,18) as v from unnest($1::text[]) with ordinality u (x, n) order by n',
      values: [texts],
    })
    const decimals = await query(database.db, 'numeric', texts, { numeric: 'decimal128' })
    expect(decimals.column('v').type).toEqual({ kind: 'decimal', precision: 38, scale: 18 })
    expect(decimals.column('v').toArray()).toEqual(rows.map(({ v }) => v))
    expect((await readBoth('numeric(30,2)', ['0.10', '-5'], { numeric: 'float64' })).type.kind).toBe('float64')
    expect((await readBoth('numeric(4,2)', ['0.10', '-5.25'], { numeric: 'decimal128' })).type.kind).toBe('decimal')
  })

  test('a scale below zero and beyond the precision', async ({ skip }) => {
    skip(database.capabilities.postgresVersion < 150_000, 'a server before PostgreSQL 15 has no such scales')
    expect((await readBoth('numeric(3,-2)', ['12345', '-99900'])).type.kind).toBe('float64')
    expect((await readBoth('numeric(16,-2)', ['123456789012345600', '-100'])).type).toMatchObject({
      precision: 18,
      scale: 0,
    })
    expect((await readBoth('numeric(16,20)', ['0.00001234567890123456'])).type).toMatchObject({
      precision: 20,
      scale: 20,
    })
  })

  async function readBothNumbers(texts: readonly string[]): Promise<Column> {
    const columns = await query(database.db, 'numeric', texts, {})
    expect(columns.column('v').toArray()).toEqual(new Float64Array(texts.map(Number)))
    return columns.column('v')
  }
})

describe('infinite and extreme times', () => {
  test('are counted, and no finite value is taken for one', async () => {
    const columns = await query(database.db, 'timestamptz', ['infinity', '-infinity', null, '2024-01-01Z'], {})
    const value = columns.column('v')
    expect(value.infinite).toBe(2)
    expect(value.toArray()).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, null, 1704067200000000n])
    const days = await query(database.db, 'date', ['infinity', '-infinity', '5874897-12-31', '4713-01-01 BC'], {})
    expect(days.column('v').infinite).toBe(2)
    expect((await query(database.db, 'date[]', ['{infinity,2024-01-01}'], {})).column('v').infinite).toBe(1)
  })

  test('intervals without end', async ({ skip }) => {
    skip(database.capabilities.postgresVersion < 170_000, 'a server before PostgreSQL 17 has no infinite intervals')
    const longest = '178956970 years 7 mons 2147483647 days 2562047788:00:54.775806'
    const value = await readBoth('interval', ['infinity', '-infinity', null, '1 day', longest])
    expect(value.infinite).toBe(2)
    expect(value.get(0)).toBe(Number.POSITIVE_INFINITY)
    expect(value.get(4)).toMatchObject({ days: 2147483647 })
  })

  test.each(['294247-01-10 04:00:54.775807', '294276-12-31 23:59:59'])('%s does not fit, and says so', async (text) => {
    await expect(query(database.db, 'timestamp', [text], {})).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('"v"'),
    })
  })
})

describe('any values', () => {
  const property = <T>(
    type: string,
    one: fc.Arbitrary<T>,
    text: (value: T) => string,
  ): [string, () => Promise<void>] => [
    type,
    () =>
      fc.assert(
        fc.asyncProperty(fc.array(fc.option(one.map(text)), { maxLength: 200 }), async (texts) => {
          await readBoth(type, texts)
        }),
        { numRuns: 12 },
      ),
  ]
  const int = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max })
  const decimal = (digits: number, scale: number): fc.Arbitrary<string> =>
    fc
      .tuple(
        fc.boolean(),
        int(1, digits).chain((length) => fc.bigInt({ min: 0n, max: 10n ** BigInt(length) - 1n })),
      )
      .map(([negative, value]) => {
        const text = String(value).padStart(scale + 1, '0')
        return `${negative ? '-' : ''}${text.slice(0, text.length - scale)}.${text.slice(text.length - scale)}`
      })
  const unicode = fc.string({ unit: 'binary' }).map((value) => value.replaceAll('\0', ''))
  const microseconds = fc.bigInt({
    min: -210_866_803_200_000_000n,
    max: 9_223_371_331_200_000_000n - 946_684_800_000_000n,
  })
  const seconds = (value: bigint): string => `${value / 1_000_000n}.${String(value % 1_000_000n).padStart(6, '0')}`

  test.each([
    property('int8', fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), String),
    property('float8', fc.double(), String),
    property('float4', fc.float(), String),
    property('text', unicode, String),
    property('text', fc.constantFrom('a', 'b', 'ü', ''), String),
    property('numeric', fc.double({ noDefaultInfinity: true }), String),
    property('numeric(15,4)', decimal(15, 4), String),
    property('numeric(20,6)', decimal(20, 6), String),
    property('numeric(38,18)', decimal(38, 18), String),
    property('numeric(38,0)', decimal(38, 0), (value) => value.replace('.', '')),
    property('numeric(80,40)', decimal(80, 40), String),
    property('bytea', fc.uint8Array(), (value) => `\\x${Buffer.from(value).toString('hex')}`),
    property(
      'interval',
      fc.tuple(int(-(2 ** 31), 2 ** 31 - 1), int(-(2 ** 31), 2 ** 31 - 1), microseconds),
      ([m, d, us]) => {
        const rest = us % 1_000_000_000_000_000n
        return `${m} mons ${d} days ${rest < 0n ? '-' : ''}${seconds(rest < 0n ? -rest : rest)} secs`
      },
    ),
  ])('%s', (_type, check) => check())

  test('date and timestamp', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(int(-2_440_588, 2_145_042_540), { maxLength: 100 }),
        fc.array(microseconds),
        async (days, times) => {
          await inUtc(async (session) => {
            const dates = await session.queryColumns({
              text: `select d as v, format('%s', d) as t from (select '1970-01-01'::date + x as d
              from unnest($1::int4[]) with ordinality u (x, n) order by n) s`,
              values: [days],
            })
            const [date, dateShown] = toColumns(dates).columns
            expect([...(date ?? [])].map((value) => comparable({ kind: 'date' }, value))).toEqual([
              ...(dateShown ?? []),
            ])
            expect([...(date ?? [])]).toEqual(days)
            const instants = await session.queryColumns({
              text: `select d as v, format('%s', d) as t from (select '1970-01-01Z'::timestamptz
              + x / 1000000 / 3600 * interval '1 hour' + x % 3600000000 * interval '1 microsecond' as d
              from unnest($1::int8[]) with ordinality u (x, n) order by n) s`,
              values: [times],
            })
            const [time, timeShown] = toColumns(instants).columns
            expect([...(time ?? [])].map((value) => comparable({ kind: 'timestamptz' }, value))).toEqual([
              ...(timeShown ?? []),
            ])
            expect([...(time ?? [])]).toEqual(times)
          })
        },
      ),
      { numRuns: 15 },
    )
  })
})
