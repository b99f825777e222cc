import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DuckDBInstance } from '@duckdb/node-api'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { load } from '../../src/ingest/load.ts'
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
