import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const text = `select i as "A.b", i::int8 as big, 1.5 * i as n, 'w' || i % 3 as word, nullif(i, 2) as hole,
  timestamptz '2024-05-01 00:00:00.123456+00' + i * interval '1 s' as t from generate_series(1, $1::int) i`

test('rows one by one, as executeQuery gives them', async () => {
  const { client } = database
  const rows: unknown[] = []
  for await (const row of client.stream(text, [2000])) rows.push(row)
  expect(rows).toStrictEqual((await client.executeQuery(text, [2000])).rows)
  const typed: number[] = []
  for await (const { n } of client.stream<{ n: number }>('select 1.5 as n', [], { numeric: 'number' })) typed.push(n)
  expect(typed).toStrictEqual([1.5])
  const options = { timestamps: 'string' } as const
  const exact: string[] = []
  for await (const { t } of client.stream<{ t: string }>(text, [2], options)) exact.push(t)
  expect(exact).toStrictEqual(['2024-05-01T00:00:01.123456Z', '2024-05-01T00:00:02.123456Z'])
  expect((await client.executeQuery<{ t: string }>(text, [2], options)).rows.map(({ t }) => t)).toStrictEqual(exact)
})

test('batches of columns', async () => {
  const { client } = database
  const seen: unknown[] = []
  const lengths: number[] = []
  for await (const batch of client.streamColumns(text, [2500], { batchRows: 1000, numeric: 'string' })) {
    lengths.push(batch.length)
    expect(batch.columns.map(({ name }) => name)).toStrictEqual(['A.b', 'big', 'n', 'word', 'hole', 't'])
    seen.push(batch.columns.map((column) => column.get(1)))
  }
  expect(lengths).toStrictEqual([1000, 1000, 500])
  const micros = (second: number): bigint => BigInt(Date.UTC(2024, 4, 1, 0, 0, second)) * 1000n + 123456n
  expect(seen).toStrictEqual([
    [2, 2n, '3.0', 'w2', null, micros(2)],
    [1002, 1002n, '1503.0', 'w0', 1002, micros(1002)],
    [2002, 2002n, '3003.0', 'w1', 2002, micros(2002)],
  ])
})

test('a loop left early, inside and outside of a transaction', async () => {
  const { client } = database
  for await (const { 'A.b': row } of client.stream<{ 'A.b': number }>(text, [1_000_000])) if (row === 10) break
  await client.transaction(async (tx) => {
    for await (const batch of tx.streamColumns(text, [1_000_000], { batchRows: 5 })) {
      expect(batch.length).toBe(5)
      break
    }
    expect(await tx.sql`select 1 as one`).toStrictEqual([{ one: 1 }])
  })
  expect(await client.sql`select 1 as one`).toStrictEqual([{ one: 1 }])
})

test('what cannot be right is refused before anything is sent', () => {
  const { client } = database
  const invalid = expect.objectContaining({ code: 'INVALID_OPTION' })
  expect(() => client.streamColumns('select 1', [], { batchRows: 0 })).toThrow(invalid)
  // @ts-expect-error: a misspelt option
  expect(() => client.streamColumns('select 1', [], { batchrows: 5 })).toThrow(invalid)
  // @ts-expect-error: a misspelt option
  expect(() => client.stream('select 1', [], { batchRows: 5 })).toThrow(invalid)
  expect(() => client.stream('select $1', [undefined])).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
  expect(() => client.stream('select 1', [], { timeoutMs: 0 })).toThrow(invalid)
  // @ts-expect-error: those of a DataFrame
  expect(() => client.stream('select 1', [], { timestamps: 'micros' })).toThrow(invalid)
  // @ts-expect-error: unknown
  expect(() => client.stream('select 1', [], { json: 'text' })).toThrow(invalid)
})

test('json as the server writes it keeps all digits', async () => {
  const { client } = database
  const text = `select '{"n": 9007199254740993, "d": 1.10}'::json as j, '[12345678901234567890.5]'::jsonb as b,
    array['{"n":1.0}'::json, null] as l, null::jsonb as z`
  const expected = [
    { j: '{"n": 9007199254740993, "d": 1.10}', b: '[12345678901234567890.5]', l: ['{"n":1.0}', null], z: null },
  ]
  expect((await client.executeQuery(text, [], { json: 'string' })).rows).toEqual(expected)
  const streamed: unknown[] = []
  for await (const row of client.stream(text, [], { json: 'string' })) streamed.push(row)
  expect(streamed).toEqual(expected)
  expect((await client.executeQuery(text, [], { json: 'value' })).rows).toMatchObject([{ l: [{ n: 1 }, null] }])
  // @ts-expect-error: unknown
  const call = client.executeQuery('select 1', [], { json: 'text' })
  await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION', message: expect.stringContaining("'string'") })
})

test('a numeric that decimals do not have is named, with what to do', async () => {
  const { client } = database
  for (const [value, layout] of [
    ['NaN', 'decimal128(20, 2)'],
    ['-Infinity', 'decimal128(38, 18)'],
  ] as const) {
    const type = value === 'NaN' ? 'numeric(20, 2)' : 'numeric'
    const text = `select 1.5::${type} as "v 1" union all select '${value}'::${type}`
    const options = value === 'NaN' ? {} : ({ numeric: 'decimal128' } as const)
    await expect(client.queryToColumns(text, [], options)).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: `Column "v 1" holds ${value}, which ${layout} does not have.`,
      hint: `Read it with numeric: 'string' or numeric: 'float64', or select nullif("v 1", '${value}').`,
    })
    const floats = await client.queryToColumns(text, [], { numeric: 'float64' })
    expect([...floats.column('v 1')].map(String).sort()).toEqual(['1.5', value].sort())
  }
})

test('times of rows as a DataFrame has them are refused', async () => {
  // @ts-expect-error: those of a DataFrame
  const call = database.client.executeQuery('select 1', [], { timestamps: 'micros' })
  await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})
