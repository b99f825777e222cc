import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DuckDBInstance } from '@duckdb/node-api'
import * as arrow from 'apache-arrow'
import polars from 'nodejs-polars'
import * as parquet from 'parquet-wasm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import type { ColumnSet } from '../../src/results/column-set.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let db: Client
let directory: string
let table: string
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
  table = sql.name({ schema: database.schema, name: 'Every.Type' }).text
  const columns = cases.map(([name, expression]) => `${expression} as "${name}"`).join(', ')
  await db.executeQuery(`create table ${table} as select 1 as "Zeile 1.a", ${columns}`)
  await db.executeQuery(`insert into ${table} select * from ${table}`)
  await db.executeQuery(`update ${table} set "Zeile 1.a" = 3 where ctid = (select max(ctid) from ${table})`)
  await db.executeQuery(`insert into ${table} values (2)`)
  directory = mkdtempSync(join(tmpdir(), 'tsdb-arrow-'))
})
afterAll(async () => {
  await database.close()
  rmSync(directory, { recursive: true, force: true })
})

/** Expression, its type in Arrow, and its text as DuckDB writes it. */
const cases: readonly (readonly [name: string, expression: string, arrowType: string, duckdb: string, text: string])[] =
  [
    ['bool', 'true', 'Bool', 'BOOLEAN', 'true'],
    ['int2', '(-2)::int2', 'Int16', 'SMALLINT', '-2'],
    ['int4', '2147483647', 'Int32', 'INTEGER', '2147483647'],
    ['int8', '9223372036854775807', 'Int64', 'BIGINT', '9223372036854775807'],
    ['oid', '4294967295::oid', 'Uint32', 'UINTEGER', '4294967295'],
    ['float4', '1.5::float4', 'Float32', 'FLOAT', '1.5'],
    ['float8', '0.1::float8', 'Float64', 'DOUBLE', '0.1'],
    ['numeric', '0.5', 'Float64', 'DOUBLE', '0.5'],
    ['numeric(15,2)', '(-1.25)::numeric(15,2)', 'Float64', 'DOUBLE', '-1.25'],
    [
      'numeric(38,4)',
      '(-12345678901234567890.1234)::numeric(38,4)',
      'Decimal[38e+4]',
      'DECIMAL(38,4)',
      '-12345678901234567890.1234',
    ],
    ['numeric(60,2)', '0.10::numeric(60,2)', 'Dictionary<Int32, Utf8>', 'VARCHAR', '0.10'],
    ['text', `'Größe 雪'::text`, 'Dictionary<Int32, Utf8>', 'VARCHAR', 'Größe 雪'],
    ['json', `'{"a":1}'::json`, 'Dictionary<Int32, Utf8>', 'VARCHAR', '{"a":1}'],
    ['bytea', `'\\x00ff41'::bytea`, 'Binary', 'BLOB', '\\x00\\xFFA'],
    ['date', `'2024-02-29'::date`, 'Date32<DAY>', 'DATE', '2024-02-29'],
    [
      'timestamp',
      `'2024-05-01 10:00:00.123456'::timestamp`,
      'Timestamp<MICROSECOND>',
      'TIMESTAMP',
      '2024-05-01 10:00:00.123456',
    ],
    // All at midnight: no reason to become days.
    ['midnight', `'1969-12-31'::timestamp`, 'Timestamp<MICROSECOND>', 'TIMESTAMP', '1969-12-31 00:00:00'],
    [
      ...(['timestamptz', `'1969-12-31 23:59:59.999999Z'::timestamptz`, 'Timestamp<MICROSECOND, UTC>'] as const),
      ...(['TIMESTAMP WITH TIME ZONE', '1969-12-31 23:59:59.999999+00'] as const),
    ],
    ['time', `'23:59:59.999999'::time`, 'Time64<MICROSECOND>', 'TIME', '23:59:59.999999'],
    [
      ...(['interval', `'1 mon -2 days 00:00:00.000003'::interval`] as const),
      'Struct<{months:Int32, days:Int32, microseconds:Int64}>',
      'STRUCT(months INTEGER, days INTEGER, microseconds BIGINT)',
      `{'months': 1, 'days': -2, 'microseconds': 3}`,
    ],
    [
      'uuid',
      `'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid`,
      'Dictionary<Int32, Utf8>',
      'VARCHAR',
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    ],
    ['int4[]', `'{1,null,3}'::int4[]`, 'List<Int32>', 'INTEGER[]', '[1, NULL, 3]'],
    ['text[]', `'{a,null,a}'::text[]`, 'List<Dictionary<Int32, Utf8>>', 'VARCHAR[]', '[a, NULL, a]'],
    [
      'timestamptz[]',
      `'{2024-05-01 10:00:00.000001Z}'::timestamptz[]`,
      'List<Timestamp<MICROSECOND, UTC>>',
      'TIMESTAMP WITH TIME ZONE[]',
      `['2024-05-01 10:00:00.000001+00']`,
    ],
    ['empty[]', `'{}'::float8[]`, 'List<Float64>', 'DOUBLE[]', '[]'],
  ]

/** Two rows with values, around one of NULLs; of a table, which keeps precision and scale. */
const everyType = (): Promise<ColumnSet> =>
  db.queryToColumns(`select ${cases.map(([name]) => `"${name}"`).join(', ')} from ${table} order by "Zeile 1.a"`)

const written: readonly (readonly [string, (columns: ColumnSet) => Promise<Uint8Array>])[] = [
  ['stream', (columns) => columns.toIPC()],
  ['file', (columns) => columns.toIPC({ format: 'file' })],
]

describe.each(written)('IPC as %s', (format, write) => {
  test('apache-arrow reads types, values and NULLs', async () => {
    const columns = await everyType()
    const table = arrow.tableFromIPC(await write(columns))
    expect(table.schema.fields.map(({ name, type }) => [name, String(type)])).toEqual(
      cases.map(([name, , type]) => [name, type]),
    )
    for (const column of columns) {
      const vector = table.getChild(column.name)
      expect([vector?.nullCount, vector?.get(1)], column.name).toEqual([1, null])
    }
    // The buffers themselves: what get() gives of a timestamp are milliseconds.
    expect(table.getChild('timestamptz')?.data[0]?.values[2]).toBe(-1n)
    expect(table.getChild('timestamp')?.data[0]?.values[0]).toBe(1714557600123456n)
    expect(table.getChild('int8')?.get(2)).toBe(9223372036854775807n)
    expect(table.getChild('text')?.get(0)).toBe('Größe 雪')
    expect(table.getChild('interval')?.get(0)?.toJSON()).toEqual({ months: 1, days: -2, microseconds: 3n })
    expect(table.getChild('text[]')?.get(2)?.toJSON()).toEqual(['a', null, 'a'])
  })

  test('polars reads types, microseconds and NULLs', async () => {
    const bytes = Buffer.from(await write(await everyType()))
    const frame = format === 'stream' ? polars.readIPCStream(bytes) : polars.readIPC(bytes)
    expect(frame.columns).toEqual(cases.map(([name]) => name))
    expect(frame.nullCount().row(0)).toEqual(cases.map(() => 1))
    const types = (...names: string[]): string[] => frame.select(...names).dtypes.map(String)
    expect(types('timestamptz', 'timestamp', 'midnight', 'date', 'time')).toEqual(
      [polars.Datetime('us', 'UTC'), polars.Datetime('us'), polars.Datetime('us'), polars.Date, polars.Time].map(
        String,
      ),
    )
    expect(types('text', 'int8', 'bool', 'int4[]')).toEqual(
      [polars.Categorical, polars.Int64, polars.Bool, polars.List(polars.Int32)].map(String),
    )
    const micros = frame.select(
      polars.col('timestamptz').cast(polars.Int64).cast(polars.Utf8).alias('a'),
      polars.col('midnight').cast(polars.Int64).cast(polars.Utf8).alias('b'),
      polars.col('numeric(38,4)').cast(polars.Utf8).alias('c'),
      polars.col('int8').cast(polars.Utf8).alias('d'),
      polars.col('text').cast(polars.Utf8).alias('e'),
    )
    const row = ['-1', '-86400000000', '-12345678901234567890.1234', '9223372036854775807', 'Größe 雪']
    expect(micros.rows()).toEqual([row, row.map(() => null), row])
  })
})

test('DuckDB reads the same through Parquet', { timeout: 60_000 }, async () => {
  const path = join(directory, 'x.parquet')
  const bytes = await (await everyType()).toIPC()
  writeFileSync(path, parquet.writeParquet(parquet.Table.fromIPCStream(bytes)))
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`set timezone = 'UTC'`)
  const shown = cases.map(([name]) => `"${name}"::varchar`).join(', ')
  const types = cases.map(([name]) => `typeof("${name}")`).join(', ')
  const rows = (await connection.runAndReadAll(`select ${shown} from '${path}'`)).getRows()
  const [typeRow] = (await connection.runAndReadAll(`select ${types} from '${path}' limit 1`)).getRows()
  connection.closeSync()
  instance.closeSync()
  expect(typeRow?.map((type) => String(type).replaceAll('"', ''))).toEqual(cases.map(([, , , type]) => type))
  const texts = cases.map(([, , , , text]) => text)
  expect(rows.map((row) => row.map((item) => (typeof item === 'string' ? item.replaceAll('"', '') : item)))).toEqual(
    [texts, texts.map(() => null), texts].map((row) => row.map((item) => item?.replaceAll('"', '') ?? null)),
  )
})

describe('queryToArrow', () => {
  test('is a table over the buffers of the result', async () => {
    const table = await db.queryToArrow(
      `select x as n, x * 0.5::float8 as half, 'w' || x % 2 as word from generate_series(1, 3) x`,
    )
    expect(table.toArray()).toEqual([
      { n: 1, half: 0.5, word: 'w1' },
      { n: 2, half: 1, word: 'w0' },
      { n: 3, half: 1.5, word: 'w1' },
    ])
    const columns = await db.queryToColumns('select x as n from generate_series(1, 3) x')
    const [batch] = (await columns.toArrow()).getChild('n').data
    expect(batch?.values?.buffer).toBe(columns.column('n').values.buffer)
  })

  test('says in the metadata how many numbers are not exact', async () => {
    const table = await db.queryToArrow('select unnest(array[0.1, 0.12345678901234567890, null]) as n, 1 as one')
    expect(table.schema.fields.map(({ metadata }) => metadata)).toEqual([new Map([['inexact', '1']]), null])
  })

  test('infinity is an error, or NULL where asked for, and never a date', async () => {
    const text = `select unnest(array['infinity', '2024-01-01Z', null, '-infinity']::timestamptz[]) as "t 1.a"`
    await expect(db.queryToArrow(text)).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('"t 1.a"'),
      hint: expect.stringContaining("infinity: 'null'"),
    })
    await expect((await db.queryToColumns(text)).toIPC()).rejects.toThrow(/infinity/)
    const table = await db.queryToArrow(text, [], { infinity: 'null' })
    expect([...table.getChild('t 1.a')]).toEqual([null, Date.UTC(2024, 0, 1), null, null])
    const lists = await db.queryToArrow(`select '{infinity,2024-01-01}'::date[] as d`, [], { infinity: 'null' })
    expect([...lists.getChild('d').at(0)]).toEqual([null, Date.UTC(2024, 0, 1)])
    await expect(db.queryToArrow(`select '{infinity}'::date[] as d`)).rejects.toThrow(/infinity/)
    // The result itself is left as it was.
    const columns = await db.queryToColumns(text)
    await columns.toIPC({ infinity: 'null' })
    expect(columns.column('t 1.a').get(0)).toBe(Number.POSITIVE_INFINITY)
  })

  test('arrays of several dimensions, two columns of one name and unknown options are refused', async () => {
    await expect(db.queryToArrow(`select '{{1,2},{3,4}}'::int4[] as a`)).rejects.toMatchObject({
      code: 'INVALID_VALUE',
    })
    await expect(db.queryToArrow('select 1 as v, 2 as v')).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    for (const options of [{ infinity: 'zero' }, { int8: 'number' }, { numeric: 'float' }]) {
      const call = db.queryToArrow('select 1 as v', [], options as object)
      await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
  })

  test('no rows, only NULLs, several batches', async () => {
    const empty = arrow.tableFromIPC(await (await db.queryToColumns(`select 'x' as t, now() as d where false`)).toIPC())
    expect([empty.numRows, empty.schema.names]).toEqual([0, ['t', 'd']])
    const nulls = arrow.tableFromIPC(
      await (await db.queryToColumns('select null::text as t, null::int4[] as l')).toIPC(),
    )
    expect(nulls.toArray().map((row) => row?.toJSON())).toEqual([{ t: null, l: null }])
    // Words first, then long texts: the batches before and after are of one type.
    const columns = await db.queryToColumns(`select x as n, case when x < 90000 then 'word' || x % 7
      else repeat('y', 2000) || x end as t, 'w' || x % 5 as w from generate_series(0, 99999) x`)
    expect(columns.column('t').batches.length).toBeGreaterThan(1)
    const table = arrow.tableFromIPC(await columns.toIPC())
    expect(table.batches.length).toBe(columns.column('t').batches.length)
    for (const row of [0, 89_999, 90_000, 95_000, 99_999]) {
      const seen = [table.getChild('n')?.get(row), table.getChild('t')?.get(row), table.getChild('w')?.get(row)]
      expect(seen).toEqual([row, row < 90_000 ? `word${row % 7}` : `${'y'.repeat(2000)}${row}`, `w${row % 5}`])
    }
  })
})
