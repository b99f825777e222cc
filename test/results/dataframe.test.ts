import { op } from 'arquero'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let db: Client
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
})
afterAll(() => database.close())

describe('queryToDataFrame', () => {
  test('columns in the order of the result, values of each type, NULL', async () => {
    const df = await db.queryToDataFrame(`select * from (values
      ('2024-01-01T00:00:00Z'::timestamptz, 'x', 1.5::float8, 7::int8, 0.10, true, '2024-02-29'::date),
      (null, null, null, null, null, null, null),
      ('2024-01-01T00:00:00Z', '', 'NaN', 8, 'NaN', false, '2024-03-01')
    ) as t (time, "Test 1.a", v, n, d, b, day)`)
    const time = new Date('2024-01-01T00:00:00Z')
    expect(df.columnNames()).toEqual(['time', 'Test 1.a', 'v', 'n', 'd', 'b', 'day'])
    expect(df.objects()).toEqual([
      { time, 'Test 1.a': 'x', v: 1.5, n: 7, d: 0.1, b: true, day: new Date('2024-02-29Z') },
      { time: null, 'Test 1.a': null, v: null, n: null, d: null, b: null, day: null },
      { time, 'Test 1.a': '', v: Number.NaN, n: 8, d: Number.NaN, b: false, day: new Date('2024-03-01Z') },
    ])
    expect(df.get('time', 0)).toBeInstanceOf(Date)
  })

  test('the values of every type are those of rows', async () => {
    const text = `select * from (values (1::int2, 2::int4, 3::int8, 4.5::float8, true, 'text', 'v'::varchar, 'c'::char(3),
      '{"a":[1]}'::json, '{"b":null}'::jsonb, '\\x00ff'::bytea, '2024-05-01'::date, '2024-05-01 10:00:00.123456'::timestamp,
      '2024-05-01 10:00:00.999999Z'::timestamptz, '24:00'::time, '10:00:00.5+02'::timetz, '1 mon -2 days 03:00'::interval,
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '10.0.0.1'::inet, '10.0.0.0/8'::cidr, '08:00:2b:01:02:03'::macaddr,
      '{{1,2},{3,null}}'::int4[], '{a,null}'::text[], '{2024-05-01 10:00Z,infinity}'::timestamptz[], '{5}'::int8[],
      'infinity'::timestamptz, '-infinity'::date, 'infinity'::timestamp, '4713-01-01 BC'::timestamp, 12::oid,
      '[1,2)'::int4range, row(1, 'x'), '{"{\\"x\\":1}"}'::jsonb[], '1969-12-31 23:59:59.999999Z'::timestamptz,
      '{01:00:00}'::time[], '{1 day}'::interval[], '{t,f}'::bool[], '{1.5}'::float4[], '{}'::int4[]),
      (${Array(39).fill('null').join(', ')})) as t`
    const { rows } = await db.executeQuery(text)
    expect((await db.queryToDataFrame(text)).objects()).toEqual(rows)
    // The same where no column has a NULL.
    const { rows: full } = await db.executeQuery(`${text} where column1 is not null`)
    expect((await db.queryToDataFrame(`${text} where column1 is not null`)).objects()).toEqual(full)
  })

  test('the columns are there without rows too', async () => {
    const df = await db.queryToDataFrame(`select 'x' as b, 1::int8 as a where false`)
    expect(df.columnNames()).toEqual(['b', 'a'])
    expect(df.numRows()).toBe(0)
    expect((await db.queryToDataFrame('set local work_mem = 1000')).numCols()).toBe(0)
  })

  test('columns of numbers without NULL are typed arrays; from one batch, of the result itself', async () => {
    const text = 'select x::int4 as i, x::float8 as f, x::int8 as n, x::int2 as s from generate_series(1, 1000) x'
    const columns = await db.queryToColumns(text)
    const df = await columns.toDataFrame()
    expect(df.column('i')).toBeInstanceOf(Int32Array)
    expect(df.column('s')).toBeInstanceOf(Int16Array)
    expect(df.column('n')).toBeInstanceOf(Float64Array)
    expect(df.column('f')).toBe(columns.column('f').values)
    expect(df.rollup({ sum: op.sum('n'), mean: op.mean('i') }).objects()).toEqual([{ sum: 500_500, mean: 500.5 }])
  })

  test('bigint columns work with aggregates; beyond 2^53 they must be asked for', async () => {
    const some = await db.queryToDataFrame('select x::int8 as n from unnest(array[1, null, 3, -5]) x')
    expect(some.rollup({ mean: op.mean('n'), deviation: op.stdev('n') }).get('mean', 0)).toBeCloseTo(-1 / 3)
    expect(some.derive({ double: (d: { n: number }) => d.n * 2 }).array('double')).toEqual([2, 0, 6, -10])
    for (const large of ['9007199254740992', '-9007199254740992', '9223372036854775807', '-9223372036854775808']) {
      const text = `select * from (values (1::int8), (null), (${large})) as t ("n 1.a")`
      await expect(db.queryToDataFrame(text)).rejects.toMatchObject({
        code: 'INVALID_VALUE',
        message: expect.stringContaining('"n 1.a"'),
        hint: expect.stringContaining("int8: 'bigint'"),
      })
      const frame = await db.queryToDataFrame(text, [], { int8: 'bigint' })
      expect(frame.array('n 1.a')).toEqual([1n, null, BigInt(large)])
    }
    const edge = await db.queryToDataFrame(`select unnest('{9007199254740991,-9007199254740991}'::int8[]) as n`)
    expect([...edge.array('n')]).toEqual([9007199254740991, -9007199254740991])
    const list = await db.queryToDataFrame(`select '{1,9007199254740993}'::int8[] as n`, [], { int8: 'bigint' })
    expect(list.get('n', 0)).toEqual([1n, 9007199254740993n])
  })

  test('timestamps as microseconds, infinity as infinity', async () => {
    const text = `select unnest(array['2024-05-01 10:00:00.123456Z', 'infinity', null, '-infinity']::timestamptz[]) as t`
    const df = await db.queryToDataFrame(text, [], { timestamps: 'micros' })
    expect(df.array('t')).toEqual([1714557600123456, Number.POSITIVE_INFINITY, null, Number.NEGATIVE_INFINITY])
    expect((await db.queryToDataFrame(text)).array('t')).toEqual([
      new Date('2024-05-01T10:00:00.123Z'),
      Number.POSITIVE_INFINITY,
      null,
      Number.NEGATIVE_INFINITY,
    ])
    const late = `select '2300-01-01'::timestamp as "t 1.a"`
    await expect(db.queryToDataFrame(late, [], { timestamps: 'micros' })).rejects.toThrow(/"t 1\.a"/)
    expect((await db.queryToDataFrame(late)).get('t 1.a', 0)).toEqual(new Date('2300-01-01Z'))
  })

  test('numeric is a number, or text when asked for', async () => {
    const text = `select unnest(array[0.10, 12345678901234567000.5, null]) as n, 1.50::numeric(20, 2) as d`
    const df = await db.queryToDataFrame(text)
    expect(df.array('n')).toEqual([0.1, 12345678901234567000, null])
    expect(df.column('d')).toBeInstanceOf(Float64Array)
    const exact = await db.queryToDataFrame(text, [], { numeric: 'string' })
    expect([exact.array('n'), exact.get('d', 0)]).toEqual([['0.10', '12345678901234567000.5', null], '1.50'])
    // Columns read exactly become numbers where a DataFrame is made of them.
    expect((await (await db.queryToColumns(text)).toDataFrame()).get('d', 0)).toBe(1.5)
  })

  test('long texts in several batches', async () => {
    const text = `select x as n, repeat(chr(97 + x % 26), 3000 + x) as t, nullif(x % 3, 0) as m from generate_series(0, 5999) x`
    const columns = await db.queryToColumns(text)
    expect(columns.column('t').batches.length).toBeGreaterThan(1)
    expect(() => columns.column('t').values).toThrow(/batches/)
    const df = await columns.toDataFrame()
    const expected = Array.from({ length: 6000 }, (_, x) => String.fromCharCode(97 + (x % 26)).repeat(3000 + x))
    expect(df.array('t')).toEqual(expected)
    expect(df.column('n')).toEqual(new Int32Array(6000).map((_, x) => x))
    expect(df.array('m')).toEqual(expected.map((_, x) => x % 3 || null))
    expect([columns.column('t').get(5999), columns.column('t').get(6000)]).toEqual([expected[5999], undefined])
  })

  test('two columns of one name, unknown options and values are refused', async () => {
    for (const columns of ['1 as v, 2 as v', '1 as "__proto__", 2 as v']) {
      await expect(db.queryToDataFrame(`select ${columns}`)).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    }
    for (const options of [{ int8: 'string' }, { timestamps: 'micro' }, { numeric: 'decimal' }, { nulls: true }]) {
      const call = db.queryToDataFrame('select 1 as v', [], options as object)
      await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
  })
})
