import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import {
  columnFromArray,
  dictionary,
  list as listOf,
  struct,
  Table,
  tableFromColumns,
  tableToIPC,
  utf8,
} from '@uwdata/flechette'
import { Table as ParquetTable, writeParquet } from 'parquet-wasm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TimescaleError } from '../../src/errors.ts'
import { exportTo } from '../../src/export/export.ts'
import { load } from '../../src/ingest/load.ts'
import { parquetGroups } from '../../src/ingest/source/parquet.ts'
import { PageChecksums } from '../../src/results/parquet-checksum.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-parquet-'))
})

afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})

/** A file written by another program: DuckDB. */
async function write(select: string, rowGroup = 2048): Promise<string> {
  const path = join(directory, `f ${Math.random()}.parquet`)
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  await connection.run(`set timezone = 'UTC'`)
  await connection.run(`copy (${select}) to '${path}' (format parquet, row_group_size ${rowGroup}, compression zstd)`)
  connection.closeSync()
  instance.closeSync()
  return path
}

test('an interval of Parquet, whose months would be lost, is refused before anything is made', async () => {
  const path = await write(`select 1::bigint as n, interval '1 month 2 days' as "Span 1"`)
  const table = { schema: database.schema, name: 'Spans' }
  const refusal = {
    code: 'INVALID_VALUE',
    message:
      'The column "Span 1" cannot be loaded: it is an interval of Parquet, of which the reader leaves out the months.',
  }
  await expect(load(database.db, table, path, { create: { timeColumn: false } })).rejects.toMatchObject(refusal)
  expect((await database.db.query(sql`select to_regclass(${`"${table.schema}"."Spans"`}) as made`)).rows).toEqual([
    { made: null },
  ])
  await database.db.query(sql`create table ${sql.name(table)} (n bigint, "Span 1" interval)`)
  await expect(load(database.db, table, path)).rejects.toMatchObject(refusal)
  await expect(load(database.db, table, path, { columns: ['n'] })).resolves.toMatchObject({ rowsWritten: 1 })
})

test('an interval that was exported makes a column of intervals again', async () => {
  const path = join(directory, 'interval.parquet')
  const spans = sql`select interval '1 month -2 days 03:04:05.678901' as span union all select null`
  await exportTo(database.db, path, spans)
  const table = { schema: database.schema, name: 'Exported spans' }
  await load(database.db, table, path, { create: { timeColumn: false } })
  const read = await database.db.query(sql`select span::text from ${sql.name(table)} order by span`)
  expect(read.rows).toEqual([{ span: '1 mon -2 days +03:04:05.678901' }, { span: null }])
})

test('types arrive exactly, to the microsecond, with NULLs', async () => {
  const name = { schema: database.schema, name: 'Ty "pes".x' }
  await database.db.query(sql`create table ${sql.name(name)} (
    n int, big int8, f float8, b boolean, t text, at timestamptz, naive timestamp, ns timestamp, d date, tod time,
    price numeric, raw bytea, list int[], u uuid)`)
  const path = await write(`select * from (values
    (1, 9223372036854775807, 0.1::double, true, 'ü"', timestamptz '2024-05-01 10:00:00.123456+00',
      timestamp '1969-12-31 23:59:59.999999', timestamp_ns '2024-05-01 10:00:00.123456789', date '2024-02-29',
      time '10:11:12.000001', 12345678901234567.89::decimal(20, 2), '\\xFF\\x00'::blob, [1, null, 3], 'x'),
    (2, -1, null, null, null, null, null, null, null, null, -0.05::decimal(20, 2), null, [], null)
  ) v(n, big, f, b, t, "at", naive, ns, d, tod, price, raw, list, other)`)
  const columns = ['n', 'big', 'f', 'b', 't', 'at', 'naive', 'ns', 'd', 'tod', 'price', 'raw', 'list']
  expect(await load(database.db, name, path, { columns })).toMatchObject({ rowsRead: 2, rowsWritten: 2 })
  const { rows } = await database.db.query(sql`
    select n, big::text, f, b, t, (at at time zone 'UTC')::text as at, naive::text, ns::text, d::text, tod::text,
      price::text, raw::text, list::text from ${sql.name(name)} order by n`)
  expect(rows).toEqual([
    {
      n: 1,
      big: '9223372036854775807',
      f: 0.1,
      b: true,
      t: 'ü"',
      at: '2024-05-01 10:00:00.123456',
      naive: '1969-12-31 23:59:59.999999',
      ns: '2024-05-01 10:00:00.123456',
      d: '2024-02-29',
      tod: '10:11:12.000001',
      price: '12345678901234567.89',
      raw: '\\xff00',
      list: '{1,NULL,3}',
    },
    {
      n: 2,
      big: '-1',
      f: null,
      b: null,
      t: null,
      at: null,
      naive: null,
      ns: null,
      d: null,
      tod: null,
      price: '-0.05',
      raw: null,
      list: '{}',
    },
  ])
})

test('times of any unit, and row groups of several pieces, as the server reads their texts', async () => {
  const name = { schema: database.schema, name: 'units' }
  await database.db.query(sql`create table ${sql.name(name)} (
    id int, s timestamp, ms timestamp, us timestamptz, ns timestamp, f float4, g float8, small int8, t varchar, texts text)`)
  // Random points from 1677 to 2262, what nanoseconds hold, and 70,000 rows: two pieces, of 65,536 at most.
  const select = `select id::int as id, make_timestamp(us // 1000000 * 1000000)::timestamp_s as s,
    make_timestamp(us // 1000 * 1000)::timestamp_ms as ms, make_timestamp(us)::timestamptz as us,
    make_timestamp_ns(us * 1000 + id % 1000) as ns, (us % 1000)::float as f, (us % 1000)::float as g,
    (us % 100)::int8 as small, if(id % 7 = 0, null, 'ü' || id::varchar) as t, us::varchar as texts
    from (select id, case id when 0 then -9223286400000000 when 1 then -1 when 2 then 0 when 3 then 9223286400000000
      else hash(id)::hugeint % 18446572800000000 - 9223286400000000 end::int8 as us from range(70000) r(id))`
  await load(database.db, name, await write(select, 80_000))
  const { rows } = await database.db.query(sql`select count(*)::int as rows, count(t)::int as t,
      count(*) filter (where t = 'ü' || id)::int as same,
      count(*) filter (where extract(epoch from us) * 1000000 = n and extract(epoch from ns) * 1000000 = n)::int as exact,
      count(*) filter (where extract(epoch from ms) * 1000 = trunc(n / 1000)
        and extract(epoch from s) = trunc(n / 1000000))::int as coarse,
      count(*) filter (where f = n % 1000 and g = f and small = n % 100)::int as numbers
    from (select *, texts::numeric as n from ${sql.name(name)}) r`)
  const all = 70_000
  expect(rows).toEqual([{ rows: all, t: 60_000, same: 60_000, exact: all, coarse: all, numbers: all }])
})

test('times without a zone are those of timeZone, and no option changes what a unit means', async () => {
  const name = { schema: database.schema, name: 'zones' }
  await database.db.query(
    sql`create table ${sql.name(name)} (id int, at timestamptz, zoned timestamptz, naive timestamp)`,
  )
  // The clocks of Berlin skip 02:30 on the first day, and show it twice on the second.
  const select = `select id, "at", "at"::timestamptz as zoned, "at" as naive from (values (1, timestamp '2024-03-31 02:30'),
    (2, timestamp '2024-10-27 02:30'), (3, timestamp '2024-07-01 12:00:00.000001'), (4, null)) v(id, "at")`
  await load(database.db, name, await write(select), { timeZone: 'Europe/Berlin', timeUnit: 'ms', verify: true })
  const { rows } = await database.db.query(sql`select count(*)::int as rows,
      bool_and(at = naive at time zone 'Europe/Berlin') as shifted, bool_and(zoned = naive at time zone 'UTC') as kept
    from ${sql.name(name)}`)
  expect(rows).toEqual([{ rows: 4, shifted: true, kept: true }])
})

test('a text with NUL, and two columns of one name', async () => {
  const name = { schema: database.schema, name: 'texts' }
  await database.db.query(sql`create table ${sql.name(name)} (id int, t text)`)
  for (const text of [`'a' || chr(0)`, `repeat('a', 40) || chr(0)`]) {
    const path = await write(`select id::int as id, if(id = 5, ${text}, 'b') as t from range(9) r(id)`)
    await expect(load(database.db, name, path)).rejects.toMatchObject({
      row: 5,
      message: expect.stringContaining('Column "t" (text): a text with NUL'),
    })
  }
  const twice = { id: columnFromArray([1, 2]), t: columnFromArray(['a', 'b']) }
  const table = tableFromColumns(Object.entries(twice))
  const fields = table.schema.fields.map((field) => ({ ...field, name: 'id' }))
  const ipc = tableToIPC(new Table({ ...table.schema, fields }, table.children), { format: 'stream' })
  const path = join(directory, 'twice.parquet')
  writeFileSync(path, writeParquet(ParquetTable.fromIPCStream(ipc ?? new Uint8Array(0))))
  await expect(load(database.db, name, path)).rejects.toMatchObject({
    code: 'INVALID_VALUE',
    message: `${path}: There are two columns "id"`,
  })
})

test('row groups one after another, resumed, and what does not fit', async () => {
  const name = { schema: database.schema, name: 'groups' }
  await database.db.query(sql`create table ${sql.name(name)} (id int not null, v int2)`)
  const path = await write('select id::int as id, (id % 100)::int as v from range(10000) r(id)')
  const importId = `${database.schema} parquet`
  const options = { batchRows: 1000, importId, onProgress: () => undefined }
  expect(await load(database.db, name, path, options)).toMatchObject({ rowsWritten: 10_000 })
  expect(await load(database.db, name, path, options)).toMatchObject({ rowsWritten: 0, rowsResumed: 10_000 })
  const { rows } = await database.db.query(
    sql`select count(distinct id)::int as ids, sum(v)::int as v from ${sql.name(name)}`,
  )
  expect(rows).toEqual([{ ids: 10_000, v: 495_000 }])
  await database.db.query(sql`delete from tsdbkit.import where id = ${importId}`)
  const bad = await write('select id::int as id, (id * 10)::int as v from range(5000) r(id)')
  await expect(load(database.db, name, bad)).rejects.toMatchObject({
    row: 3277,
    message: expect.stringContaining('Column "v" (smallint): a number out of range'),
  })
})

test('a file that is none, or is cut off', async () => {
  const good = readFileSync(await write('select 1 as id'))
  for (const bytes of [Buffer.alloc(0), Buffer.from('PAR1 no'), good.subarray(0, good.length - 20)]) {
    const path = join(directory, 'bad.parquet')
    writeFileSync(path, bytes)
    await expect(load(database.db, { schema: database.schema, name: 'groups' }, path)).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('cannot be read as Parquet'),
    })
  }
})

describe('damage inside of pages', () => {
  const good = fileURLToPath(new URL('parquet/checksums-v1.parquet', import.meta.url))

  async function read(path: string): Promise<unknown[][]> {
    const rows: unknown[][] = []
    for await (const group of parquetGroups(path, undefined)) {
      for (let row = 0; row < group.rows; row++) rows.push([...group.columns.values()].map(({ get }) => get(row)))
    }
    return rows
  }

  const expected = Array.from({ length: 600 }, (_, n) => [n, n % 10 === 0 ? null : `text ${n % 17}`])

  test.each(['v1', 'v2'])('of pages with checksums, %s: any byte', async (version) => {
    const bytes = readFileSync(good.replace('v1', version))
    const footer = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8)
    const whole = await PageChecksums.open(new Blob([bytes]))
    expect([await whole.damage(0), await whole.damage(1)]).toEqual([undefined, undefined])
    expect(await read(good.replace('v1', version))).toEqual(expected)
    const unseen: Buffer[] = []
    let seen = 0
    for (let at = 4; at < footer; at += 3) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8))
      const file = await PageChecksums.open(new Blob([damaged]))
      if (((await file.damage(0)) ?? (await file.damage(1))) === undefined) unseen.push(damaged)
      else seen++
    }
    // A sum is that of the page, not of the page's header, where the library looks itself.
    expect(unseen.length).toBeLessThan(seen / 4)
    for (const [at, damaged] of unseen.entries()) {
      if (at % 12 !== 0) continue
      const path = join(directory, 'unseen.parquet')
      writeFileSync(path, damaged)
      const found = await read(path).catch((error: unknown) => error)
      if (Array.isArray(found)) expect(found).toEqual(expected)
      else expect(found).toMatchObject({ code: 'INVALID_VALUE', message: expect.stringMatching(/row group [12] of 2/) })
    }
  })

  test('without checksums: the process lives, and what stays is said', async () => {
    const name = { schema: database.schema, name: 'damaged' }
    await database.db.query(sql`create table ${sql.name(name)} (id int, note text)`)
    const bytes = readFileSync(await write(`select id::int as id, 'text ' || id % 97 as note from range(6000) r(id)`))
    const path = join(directory, 'flipped.parquet')
    let failed = 0
    for (let flip = 0; flip < 12; flip++) {
      const damaged = Buffer.from(bytes)
      const at = 100 + Math.floor(((bytes.length - 700) * flip) / 12)
      damaged[at] = (damaged[at] ?? 0) ^ 0x41
      writeFileSync(path, damaged)
      await database.db.query(sql`truncate ${sql.name(name)}`)
      const error = await load(database.db, name, path, { analyze: false }).catch((thrown: unknown) => thrown)
      const { rows } = await database.db.query(sql`select count(*)::int as n from ${sql.name(name)}`)
      if (!(error instanceof TimescaleError)) {
        expect(rows).toEqual([{ n: 6000 }])
        continue
      }
      failed++
      const [, stay = '0'] = /(\d+) rows? of other batches/.exec(error.message) ?? []
      expect(error).toMatchObject({
        message: expect.stringMatching(/: row group \d of 3 \(rows \d+ to \d+\) cannot be/),
      })
      expect(rows).toEqual([{ n: Number(stay) }])
    }
    expect(failed).toBeGreaterThan(0)
  })

  test('a file that is changed while it is read', async () => {
    const path = await write('select id::int as id from range(10000) r(id)')
    const groups = parquetGroups(path, undefined)
    await groups.next()
    appendFileSync(path, 'x')
    await expect(groups.next()).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining(
        'row group 2 of 5 (rows 2048 to 4095) cannot be read as Parquet: it was changed',
      ),
    })
  })

  test('a signal ends the thread while it reads', async () => {
    const aborted = new AbortController()
    const groups = parquetGroups(await write('select id::int as id from range(10000) r(id)'), aborted.signal)
    await groups.next()
    const next = groups.next()
    aborted.abort()
    await expect(next).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  })
})

test('a thread that nobody asks anything keeps no process alive', () => {
  const compiled = new URL('../../dist/ingest/source/parquet.js', import.meta.url).href
  const file = fileURLToPath(new URL('parquet/checksums-v1.parquet', import.meta.url))
  const program = `const { parquetGroups } = await import(${JSON.stringify(compiled)})
    const { value } = await parquetGroups(${JSON.stringify(file)}).next()
    console.log(value.rows)`
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 }).toString()).toBe(
    '300\n',
  )
})

test('real flights', { timeout: 60_000 }, async () => {
  const path = fileURLToPath(new URL('../../node_modules/vega-datasets/data/flights-3m.parquet', import.meta.url))
  const name = { schema: database.schema, name: 'flights' }
  await database.db.query(sql`create table ${sql.name(name)} (
    date timestamp not null, delay int2, distance int4, origin text, destination text)`)
  const controller = new AbortController()
  let written = 0
  // Not all of it: this is about its types.
  const running = load(database.db, name, path, {
    signal: controller.signal,
    onProgress: ({ rowsWritten }) => {
      written = rowsWritten
      if (rowsWritten >= 200_000) controller.abort()
    },
  })
  await expect(running).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
  const { rows } = await database.db.query(
    sql`select count(*)::int as n, min(date)::text as first from ${sql.name(name)}`,
  )
  expect(rows[0]).toMatchObject({ first: '2001-01-01 00:01:00' })
  expect(Number(rows[0]?.['n'])).toBeGreaterThanOrEqual(written)
})

test('lists and structs with 64-bit integers become JSON with all of their digits', async () => {
  const path = await write(`select * from (values
    (1, [1::bigint, null, 9223372036854775807], {'a': 9007199254740993::bigint, 'b': 'x'}), (2, [], null)) v(n, list, document)`)
  const name = { schema: database.schema, name: 'Di "gits' }
  await load(database.db, name, path, { create: { timeColumn: false } })
  const { rows } = await database.db.query(sql`select list::text, document::text from ${sql.name(name)} order by n`)
  expect(rows).toEqual([
    { list: '[1, null, 9223372036854775807]', document: '{"a": 9007199254740993, "b": "x"}' },
    { list: '[]', document: null },
  ])
})

test('texts that begin with a byte order mark keep it, in lists, structs and dictionaries too', async () => {
  const path = join(directory, 'marks.parquet')
  const value = { t: '\ufeffa', list: ['\ufeff', '\ufeffb'], document: { key: '\ufeffc' }, word: '\ufeffd' }
  const table = tableFromColumns({
    t: columnFromArray([value.t, ''], utf8()),
    list: columnFromArray([value.list, null], listOf(utf8())),
    document: columnFromArray([value.document, null], struct({ key: utf8() })),
    word: columnFromArray([value.word, null], dictionary(utf8())),
  })
  writeFileSync(path, writeParquet(ParquetTable.fromIPCStream(tableToIPC(table, {}) ?? new Uint8Array())))
  const name = { schema: database.schema, name: 'Ma "rks' }
  await database.db.query(sql`create table ${sql.name(name)} (t text, list text[], document jsonb, word text)`)
  await load(database.db, name, path, { verify: true })
  const { rows } = await database.db.query(sql`select * from ${sql.name(name)} order by t desc`)
  expect(rows[0]).toEqual(value)
})
