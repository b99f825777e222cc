import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { gunzipSync } from 'node:zlib'
import { DuckDBInstance } from '@duckdb/node-api'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExportOptions, ExportProgress, ExportReport, ExportTarget } from '../../src/export/export-option.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string
let all: { schema: string; name: string }
let finite: { schema: string; name: string }

/** Every type of docs/reference/type.md, with the values that are easily got wrong. */
const columns: readonly (readonly [string, readonly string[]])[] = [
  ['bool', ['true', 'false']],
  ['int2', ['-32768', '32767']],
  ['int4', ['-2147483648', '42']],
  ['int8', ['-9223372036854775808', '9007199254740993']],
  ['oid', ['4294967295', '1']],
  ['float4', ["'-0'", "'1e-45'", "'0.1'", "'1e6'", "'123456'", "'3.4028235e38'", "'NaN'", "'-Infinity'"]],
  [
    'float8',
    ["'1e23'", "'-7e22'", "'-0'", "'5e-324'", "'0.1'", "'1e15'", "'123456789012345'", "'1e-5'", "'NaN'", "'Infinity'"],
  ],
  ['numeric', ["'123456789012345678901234567890.123456789'", "'NaN'", "'0.00'", "'-Infinity'"]],
  ['numeric(10,2)', ["'0.10'", "'-12345678.90'"]],
  ['numeric(30,4)', ["'12345678901234567890.1234'", "'-0.0001'"]],
  ['numeric(60,2)', ["'0.10'", "'-9'"]],
  [
    'text',
    ["''", `'a,b"c'`, String.raw`E'two\nlines'`, String.raw`E'\r\t'`, String.raw`'\.'`, "'NULL'", "'ünï ☃ 𝄞'", "' x '"],
  ],
  ['varchar(5)', ["'abc'"]],
  ['char(5)', ["'abc'"]],
  ['name', ["'abc'"]],
  ['uuid', ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"]],
  ['json', [`'{"b":  1.10, "a": "x\\n"}'`, `'"text"'`, `'null'`, String.raw`E'[1,\n 2]'`]],
  ['jsonb', [`'{"a": 12345678901234567890.10}'`, `'"text"'`, `'null'`, `'[]'`]],
  ['bytea', [String.raw`'\x00ff'`, "''"]],
  ['date', ["'2024-02-29'", "'0044-03-15 BC'", "'200000-01-01'", "'infinity'"]],
  [
    'timestamptz',
    [
      "'2024-05-01 10:00:00.123456+02'",
      "'1969-12-31 23:59:59.999999Z'",
      "'0001-01-01 00:00Z'",
      "'0044-03-15 12:00Z BC'",
      "'12000-01-01 00:00:00.1Z'",
      "'infinity'",
      "'-infinity'",
    ],
  ],
  ['timestamp', ["'2024-05-01 10:00:00.1'", "'9999-12-31 23:59:59.999999'", "'-infinity'"]],
  ['time', ["'10:00:00.000001'", "'24:00'"]],
  ['timetz', ["'10:00:00.5+02'"]],
  ['interval', ["'1 year 2 mons -3 days 00:00:04.5'", "'-1 mon'", "'0'"]],
  ['inet', ["'10.0.0.1/8'"]],
  ['cidr', ["'10.0.0.0/8'"]],
  ['macaddr', ["'08:00:2b:01:02:03'"]],
  ['int4range', ["'[1,5)'", "'empty'"]],
  ['point', ["'(1,2)'"]],
  ['int4[]', ["'{1,null,3}'", "'{}'", "'{{1,2},{3,4}}'"]],
  ['int8[]', ["'{9007199254740993}'"]],
  ['numeric[]', ["'{0.10,NaN}'"]],
  ['float4[]', ["'{0.1,-Infinity}'"]],
  ['bool[]', ["'{t,f,null}'"]],
  ['text[]', [String.raw`array['a b', '', 'NULL', null, '"', E'\\', '{', 'ü', E'\n', 'a,b', E'\u00a0']`]],
  ['timestamptz[]', ["'{2024-05-01 10:00:00.123456Z,null,infinity}'"]],
  ['date[]', ["'{2024-05-01}'"]],
  ['bytea[]', [String.raw`array['\x00ff'::bytea]`]],
  ['json[]', [`array['{"a": "b"}'::json]`]],
  ['interval[]', ["'{1 day}'"]],
]

/** What Parquet has no place for. */
const notParquet = /infinity|\{\{|^'NaN'/i

async function createTable(name: string, keep: (type: string, value: string) => boolean): Promise<typeof all> {
  const table = { schema: database.schema, name }
  const kept = columns.map(([type, values]) => [type, values.filter((value) => keep(type, value))] as const)
  const definitions = kept.map(([type], at) => `"c,${at}" ${type}`)
  await database.db.query({
    text: `create table ${sql.name(table).text} (n int, ${definitions.join(', ')})`,
    values: [],
  })
  const rows = Math.max(...kept.map(([, values]) => values.length))
  for (let row = 0; row <= rows; row++) {
    const values = kept.map(([type, list]) => (list[row] === undefined ? 'null' : `cast(${list[row]} as ${type})`))
    await database.db.query({
      text: `insert into ${sql.name(table).text} values (${row}, ${values.join(', ')})`,
      values: [],
    })
  }
  return table
}

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-export-'))
  all = await createTable('All "types".x', () => true)
  const numbers = /^(?:float|numeric$)/
  finite = await createTable('finite', (type, value) => numbers.test(type) || !notParquet.test(value))
})
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})

/** What says how a text file is read, too. */
type Shape = Pick<ExportOptions, 'header' | 'delimiter' | 'nullText'>

let files = 0
const path = (extension: string): string => join(directory, `f ${++files}.${extension}`)
const select = (table: typeof all): string => `select * from ${sql.name(table).text} order by n`
const run = (target: ExportTarget, text: string, options: ExportOptions = {}): Promise<ExportReport> =>
  database.client.exportTo(target, text, [], options)
const leftovers = (): string[] => readdirSync(directory).filter((name) => name.endsWith('.part'))

async function copyText(query: string, options: string): Promise<string> {
  const blocks: Buffer[] = []
  await database.db.transaction(async (tx) => {
    await tx.query(sql`set local timezone = 'UTC'`)
    for await (const block of tx.copyOut(`copy (${query}) to stdout (format csv, ${options})`)) blocks.push(block)
  })
  return Buffer.concat(blocks).toString()
}

/** All values as the server writes them. */
async function contents(table: typeof all): Promise<string> {
  return copyText(select(table), 'header false')
}

describe('CSV is what COPY of the server writes', () => {
  test.each<[string, ExportOptions, string]>([
    ['csv', {}, 'header'],
    ['tsv', {}, String.raw`header, delimiter E'\t'`],
    ['csv', { header: false, delimiter: ';', nullText: 'NULL' }, `delimiter ';', null 'NULL'`],
    ['csv', { delimiter: '0' }, `header, delimiter '0'`],
    ['csv', { nullText: '42' }, `header, null '42'`],
  ])('%s %o', async (extension, options, copy) => {
    const file = path(extension)
    const report = await run(file, select(all), options)
    const written = readFileSync(file, 'utf8')
    expect(written).toBe(await copyText(select(all), copy))
    expect(report).toMatchObject({ rows: 11, format: extension, file, bytes: Buffer.byteLength(written) })
  })

  test.each([
    String.raw`select * from (values ('\.'), (null), (''), ('a')) v("x,y")`,
    `select '{(1,1),(0,0);(3,3),(2,2)}'::box[] as b`,
    `select (i::numeric * 10 ^ (i % 8 + 15))::float8 as v from generate_series(1, 5000) i`,
    `select 'infinity'::date as d, 2082088.25::float4 as f, '{1e23,2.5}'::float4[] as l`,
  ])('%s', async (query) => {
    const file = path('csv')
    await run(file, query)
    expect(readFileSync(file, 'utf8')).toBe(await copyText(query, 'header'))
  })

  test('any number, time and text', async () => {
    const row = fc.record({
      f8: fc.oneof(
        fc.double(),
        fc.tuple(fc.integer(), fc.nat(24)).map(([digits, zeros]) => digits * 10 ** zeros),
      ),
      f4: fc.float(),
      micros: fc.bigInt({ min: -210_866_803_200_000_000n, max: 9_223_371_331_199_999_999n }),
      days: fc.integer({ min: -2_451_545, max: 2_145_031_948 }),
      list: fc.array(fc.option(fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', '')))),
      months: fc.integer({ min: -40_000, max: 40_000 }),
      micro: fc.bigInt({ min: -(10n ** 15n), max: 10n ** 15n }),
    })
    const table = { schema: database.schema, name: 'any' }
    await database.db.query(sql`create table ${sql.name(table)} (n int, f8 float8, f4 float4, t timestamptz, d date,
      list text[], i interval)`)
    const rows = fc.sample(row, { numRuns: 2000, seed: Number(process.env['TSDB_TEST_SEED'] ?? 7) })
    await database.client.load(
      table,
      rows.map(({ f8, f4, micros, days, list, months, micro }, n) => ({
        n,
        f8,
        f4,
        t: micros,
        d: new Date(0),
        list,
        i: { months, days: days % 1000, microseconds: Number(micro) },
      })),
    )
    await database.db
      .query(sql`update ${sql.name(table)} set d = date '1970-01-01' + (n * 1073) * (-1) ^ n::int`)
      .catch(() => undefined)
    const file = path('csv')
    await run(file, select(table))
    const [mine, theirs] = [
      readFileSync(file, 'utf8').split('\n'),
      (await copyText(select(table), 'header')).split('\n'),
    ]
    mine.forEach((line, at) => void expect(line).toBe(theirs[at]))
    expect(mine).toHaveLength(theirs.length)
  })
})

describe('what is written is what is loaded again', () => {
  test.each([
    ['csv', {}],
    ['tsv', {}],
    ['csv.gz', {}],
    ['csv', { header: false, delimiter: '|', nullText: '-' }],
    ['ndjson', {}],
    ['jsonl.gz', {}],
  ] satisfies [string, Shape][])('%s %o', async (extension, options: Shape) => {
    const file = path(extension)
    await run(file, select(all), options)
    expect(await reload(all, file, options)).toBe(await contents(all))
  })

  test('Parquet', async () => {
    const file = path('parquet')
    await run(file, select(finite))
    expect(await reload(finite, file, {})).toBe(await contents(finite))
  })

  async function reload(table: typeof all, file: string, options: Shape): Promise<string> {
    const copy = { schema: database.schema, name: `copy ${++files}` }
    await database.db.query(sql`create table ${sql.name(copy)} (like ${sql.name(table)})`)
    const { rowsWritten } = await database.client.load(copy, file, options)
    expect(rowsWritten).toBeGreaterThan(8)
    return contents(copy)
  }
})

test('Parquet as another program reads it', async () => {
  const query = `select i::int2 as small, i::int8 as big, (i * 0.01)::numeric(10,2) as price, (i * 0.1)::numeric as free,
    i * 0.5::float8 as f, timestamptz '2024-05-01 10:00:00.123456Z' + i * interval '1 day' as at,
    timestamp '2024-05-01 10:00:00.5' as naive, date '2024-02-29' as d, time '10:00:00.000001' as tod,
    'site ' || i % 3 as site, repeat('x', i % 400) || i as note, array[i, null] as list, i % 2 = 0 as even,
    case when i % 3 = 0 then i end as maybe, '\\x00ff'::bytea as raw
    from generate_series(1, 10000) i`
  const file = path('parquet')
  const report = await run(file, query, { rowGroupRows: 3000 })
  expect(report).toMatchObject({ rows: 10_000, format: 'parquet' })
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run("set timezone = 'UTC'")
  const ask = async (text: string): Promise<unknown[]> => (await connection.runAndReadAll(text)).getRowObjectsJson()
  const source = `read_parquet('${file}')`
  expect(await ask(`select column_name as name, column_type as type from (describe select * from ${source})`)).toEqual(
    Object.entries({
      small: 'SMALLINT',
      big: 'BIGINT',
      price: 'DECIMAL(10,2)',
      free: 'VARCHAR',
      f: 'DOUBLE',
      at: 'TIMESTAMP WITH TIME ZONE',
      naive: 'TIMESTAMP',
      d: 'DATE',
      tod: 'TIME',
      site: 'VARCHAR',
      note: 'VARCHAR',
      list: 'INTEGER[]',
      even: 'BOOLEAN',
      maybe: 'INTEGER',
      raw: 'BLOB',
    }).map(([name, type]) => ({ name, type })),
  )
  expect(
    await ask(`select sum(small)::text as small, sum(price)::text as price, sum(free::decimal(20,1))::text as free,
      count(maybe)::text as maybe, count(distinct note)::text as notes, max("at")::text as last,
      max(tod)::text as tod, max(hex(raw)) as raw, max(naive)::text as naive from ${source}`),
  ).toEqual([
    {
      small: '50005000',
      price: '500050.00',
      free: '5000500.0',
      maybe: '3333',
      notes: '10000',
      last: '2051-09-17 10:00:00.123456+00',
      tod: '10:00:00.000001',
      raw: '00FF',
      naive: '2024-05-01 10:00:00.5',
    },
  ])
  expect(
    await ask(
      `select distinct row_group_num_rows::text as rows, compression from parquet_metadata('${file}') order by 1`,
    ),
  ).toEqual([
    { rows: '1000', compression: 'ZSTD' },
    { rows: '3000', compression: 'ZSTD' },
  ])
  connection.closeSync()
  instance.closeSync()
})

describe('NDJSON', () => {
  const lines = (file: string): unknown[] =>
    readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line): unknown => JSON.parse(line))

  test('is exact', async () => {
    const file = path('ndjson')
    await run(
      file,
      `select 1 as i, 9007199254740993 as big, 9007199254740991 as safe, 0.10 as n, 'NaN'::float8 as nan, 1e300::float8 as f, null as none,
      '' as empty, timestamptz '2024-05-01 10:00:00.123456Z' as t, timestamp '2024-05-01' as naive,
      'infinity'::timestamptz as never, '{"a": [1]}'::jsonb as j, array[1, null] as list,
      array['2024-05-01Z'::timestamptz] as times, '{{1,2},{3,4}}'::int8[] as nested, false as no`,
    )
    expect(lines(file)).toEqual([
      {
        i: 1,
        big: '9007199254740993',
        safe: 9007199254740991,
        n: '0.10',
        nan: 'NaN',
        f: 1e300,
        none: null,
        empty: '',
        t: '2024-05-01T10:00:00.123456Z',
        naive: '2024-05-01T00:00:00',
        never: 'infinity',
        j: '{"a": [1]}',
        list: [1, null],
        times: ['2024-05-01T00:00:00Z'],
        nested: [
          [1, 2],
          [3, 4],
        ],
        no: false,
      },
    ])
  })

  test('with json nested', async () => {
    const file = path('ndjson')
    await run(file, String.raw`select E'{"a":\n "b\\n"}'::json as j, array['1'::json, null] as l`, { json: 'nested' })
    expect(lines(file)).toEqual([{ j: { a: 'b\n' }, l: [1, null] }])
  })
})

describe('the file', () => {
  test('that exists stays, unless it may be replaced', async () => {
    const file = path('csv')
    writeFileSync(file, 'mine')
    await expect(run(file, 'select 1 as a')).rejects.toMatchObject({ code: 'INVALID_VALUE', hint: /overwrite: true/ })
    expect(readFileSync(file, 'utf8')).toBe('mine')
    await run(file, 'select 1 as a', { overwrite: true })
    expect(readFileSync(file, 'utf8')).toBe('a\n1\n')
    const link = path('csv')
    symlinkSync(join(directory, 'nowhere'), link)
    await expect(run(link, 'select 1 as a')).rejects.toMatchObject({ code: 'INVALID_VALUE' })
  })

  test('made meanwhile by another stays', async () => {
    const file = path('csv')
    const onProgress = (): void => writeFileSync(file, 'theirs')
    await expect(run(file, 'select 1 as a', { onProgress })).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    expect(readFileSync(file, 'utf8')).toBe('theirs')
    expect(leftovers()).toEqual([])
  })

  const failing = 'select i, 1 / (30000 - i) as x from generate_series(1, 40000) i'
  test.each(['csv', 'ndjson.gz', 'parquet'])(
    '%s is not there, and what was, when the statement fails',
    async (extension) => {
      const file = path(extension)
      const seen: string[][] = []
      const onProgress = (): void =>
        void seen.push(readdirSync(directory).filter((name) => name === `f ${files}.${extension}`))
      await expect(run(file, failing, { onProgress })).rejects.toMatchObject({ sqlState: '22012' })
      expect(seen.length).toBeGreaterThan(0)
      expect(seen.flat()).toEqual([])
      expect(readdirSync(directory)).not.toContain(`f ${files}.${extension}`)
      expect(leftovers()).toEqual([])
    },
  )

  test('cannot be made, or is for nothing', async () => {
    await expect(run(join(directory, 'no/where.csv'), 'select 1 as a')).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('no such directory'),
    })
    await expect(run(directory, 'select 1', { format: 'csv' })).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    const file = path('csv')
    await expect(run(file, 'select 1 as a, 2 as a')).rejects.toMatchObject({ message: expect.stringContaining('"a"') })
    await expect(run(file, 'set local work_mem = 100')).rejects.toMatchObject({
      message: expect.stringContaining('no columns'),
    })
    await expect(run(path('parquet'), `select 'infinity'::date as d`)).rejects.toMatchObject({
      message: expect.stringContaining('infinity'),
    })
    expect(leftovers()).toEqual([])
  })

  test.skipIf(process.platform !== 'linux')('on a full disk', async () => {
    const error = await run('/dev/full', `select repeat('x', 1000) from generate_series(1, 5000)`, {
      format: 'csv',
    }).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'DISK_FULL' })
  })

  test('of a DELETE has the rows, or the table has', async () => {
    const table = { schema: database.schema, name: 'archived' }
    await database.db.query(sql`create table ${sql.name(table)} as select i from generate_series(1, 5) i`)
    const text = `delete from ${sql.name(table).text} where i < 3 returning i`
    const count = async (): Promise<unknown> =>
      (await database.db.query(sql`select count(*)::int as n from ${sql.name(table)}`)).rows[0]?.['n']
    const file = path('csv')
    writeFileSync(file, '')
    await expect(run(file, text, { overwrite: false })).rejects.toThrow('exists')
    const broken = new Writable({ write: (_chunk, _encoding, done) => done(new Error('gone')) })
    await expect(run(broken, text, { format: 'csv' })).rejects.toThrow('gone')
    expect(await count()).toBe(5)
    expect(await run(file, text, { overwrite: true })).toMatchObject({ rows: 2 })
    expect(await count()).toBe(3)
  })
})

describe('streams', () => {
  test('are ended when all is written, and only then', async () => {
    const stream = new PassThrough()
    const read = (async (): Promise<Buffer[]> => stream.toArray())()
    const report = await run(stream, 'select i from generate_series(1, 20000) i', { format: 'csv', gzip: true })
    const bytes = Buffer.concat(await read)
    expect(report).toMatchObject({ rows: 20_000, bytes: bytes.length, file: undefined })
    expect(gunzipSync(bytes).toString().split('\n')).toHaveLength(20_002)

    const failing = new PassThrough()
    const drained = (async (): Promise<Buffer[]> => failing.toArray())().catch((error: unknown) => error)
    await expect(
      run(failing, 'select 1 / (9000 - i) as x from generate_series(1, 20000) i', { format: 'csv' }),
    ).rejects.toMatchObject({
      sqlState: '22012',
    })
    expect(await drained).toMatchObject({ sqlState: '22012' })
  })

  test('that are slow hold the server back, and an abort ends it', async () => {
    const stuck = new Writable({ write: () => undefined, highWaterMark: 1000 })
    const abort = new AbortController()
    const seen: ExportProgress[] = []
    const work = run(stuck, `select repeat('x', 1000) from generate_series(1, 10000000)`, {
      format: 'csv',
      signal: abort.signal,
      onProgress: (progress) => seen.push(progress),
    })
    setTimeout(() => abort.abort(), 500)
    await expect(work).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    expect(stuck.destroyed).toBe(true)
    expect(seen.length).toBeLessThan(2)
    // The connection is free again.
    expect((await database.db.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }])
  })

  test('closed by their reader are an error', async () => {
    const closing = new Writable({
      write(_chunk, _encoding, done) {
        done()
        this.destroy()
      },
    })
    await expect(
      run(closing, `select repeat('x', 1000) from generate_series(1, 100000)`, { format: 'csv' }),
    ).rejects.toMatchObject({
      code: 'CLOSED',
    })
  })
})

test('options that mean nothing are refused before anything is done', async () => {
  const refused: [string, ExportOptions][] = [
    ['x.dat', {}],
    ['x.csv', { delimiter: '""' }],
    ['x.csv', { nullText: 'a,b' }],
    ['x.csv', { numeric: 'exact' }],
    ['x.parquet', { header: false }],
    ['x.parquet', { gzip: true }],
    ['x.parquet', { rowGroupRows: 0 }],
    ['x.ndjson', { delimiter: ',' }],
  ]
  for (const [name, options] of refused) {
    await expect(run(join(directory, name), 'nonsense', options), name).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  }
})
