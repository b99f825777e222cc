import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import { connect, type Database } from '../../src/database.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import { sql } from '../../src/sql/template.ts'
import { onServer, openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
let source: Database
let target: TestDatabase
const odd = { schema: 'Old "plant".x', name: 'Read ings' }
const total = 24_000

beforeAll(async () => {
  server = await startPostgres()
  source = await connect({
    host: '127.0.0.1',
    port: server.port,
    user: 'Ad min',
    password,
    database: 'postgres',
    sslmode: 'disable',
  })
  target = await openTestDatabase()
  await source.sql`create schema ${sql.column(odd.schema)}`
  await source.sql`create table ${sql.name(odd)} (id int primary key, "T,ime" timestamptz not null, site text,
    v float8, price numeric(12, 3), big bigint, tags text[], extra jsonb, tod time, i interval, d date, raw bytea)`
  await source.sql`insert into ${sql.name(odd)} select n, timestamptz '2025-01-01Z' + n * interval '2.000001 minutes',
      case when n % 5 > 0 then 'site ' || n % 5 end, n / 7.0::float8, n * 0.001, 9007199254740993 + n,
      array['a b', null, n::text], jsonb_build_object('n', n), time '10:00' + n * interval '1 microsecond',
      interval '1 mon -1 day' * (n % 3), date '2025-01-01' - n, decode(lpad(to_hex(n), 8, '0'), 'hex')
    from generate_series(1, ${total}::int) n`
}, 60_000)
afterAll(async () => {
  await source.close()
  await target.close()
  await server[Symbol.asyncDispose]()
})

let tables = 0
async function hypertable(): Promise<{ schema: string; name: string }> {
  const name = { schema: target.schema, name: `Target ${++tables}` }
  await target.client.sql`create table ${sql.name(name)} (id int, "T,ime" timestamptz not null, site text, v float8,
    price numeric(12, 3), big bigint, tags text[], extra jsonb, tod time, i interval, d date, raw bytea)`
  await target.client.createHypertable(name, { timeColumn: 'T,ime', chunkTimeInterval: '7 days' })
  return name
}

async function checksum(client: Client, name: typeof odd): Promise<unknown> {
  const [row] = await client.sql`
    select count(*)::int as n, md5(string_agg(concat_ws('|', id, extract(epoch from "T,ime"), coalesce(site, '-'), v, price,
      big, tags, extra, tod, i, d, encode(raw, 'hex')), E'\n' order by id)) as hash from ${sql.name(name)}`
  return row
}

test('a table of PostgreSQL becomes a hypertable, exactly', async () => {
  const name = await hypertable()
  const report = await target.client.copyFromTable(source, odd, name, { batchRows: 10_000, verify: true })
  expect(report).toMatchObject({ rowsRead: total, rowsWritten: total })
  expect(await checksum(target.client, name)).toEqual(await checksum(source, odd))
})

test('a query with values, mapped columns and constants', async () => {
  const name = await hypertable()
  const query = sql`select "T,ime" as t, id, v * 2 as double -- of some
    from ${sql.name(odd)} where id <= ${3}`
  await target.client.copyFromTable(source, query, name, {
    columns: { t: 'T,ime', id: 'id', double: 'v' },
    constants: { site: 'old' },
    orderBy: ['id'],
  })
  const rows = await target.client.sql`select id, site, v, big from ${sql.name(name)} order by id`
  expect(rows.map((row) => [row['id'], row['site'], row['big']])).toEqual([1, 2, 3].map((id) => [id, 'old', null]))
  expect(rows[1]?.['v']).toBeCloseTo(4 / 7, 12)
})

test('the hypertable is made with the types of the source', async () => {
  const name = { schema: target.schema, name: 'Made' }
  const columns = ['T,ime', 'site', 'price', 'tags', 'tod']
  const report = await target.client.copyFromTable(source, odd, name, {
    create: { chunkTimeInterval: '7 days' },
    columns,
  })
  expect(report).toMatchObject({ rowsWritten: total, created: true })
  const types = await target.client.sql`
    select format_type(atttypid, atttypmod) as type from pg_attribute
    where attrelid = ${sql.name(name).text}::regclass and attnum > 0 order by attnum`
  expect(types.map(({ type }) => type)).toEqual([
    'timestamp with time zone',
    'text',
    'numeric(12,3)',
    'text[]',
    'time without time zone',
  ])
  expect((await target.client.getHypertableStats(name)).numChunks).toBeGreaterThan(2)
})

describe('with importId', () => {
  /** Options that end a copy when so many rows are written. */
  const stopAfter = (rows: number): Pick<LoadOptions, 'signal' | 'onProgress'> => {
    const abort = new AbortController()
    return { signal: abort.signal, onProgress: ({ rowsWritten }) => void (rowsWritten >= rows && abort.abort()) }
  }

  test('goes on where it stopped', async () => {
    const name = await hypertable()
    const options = {
      importId: `copy ${name.schema} ${name.name}`,
      orderBy: ['T,ime', 'id'],
      batchRows: 2000,
      parallel: 1,
    }
    await expect(
      target.client.copyFromTable(source, odd, name, { ...options, ...stopAfter(8000) }),
    ).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const report = await target.client.copyFromTable(source, odd, name, options)
    expect(report.rowsResumed).toBeGreaterThanOrEqual(8000)
    expect(report.rowsResumed + report.rowsWritten).toBe(total)
    expect(await checksum(target.client, name)).toEqual(await checksum(source, odd))
    await expect(target.client.copyFromTable(source, odd, name, { ...options, orderBy: ['id'] })).rejects.toMatchObject(
      { code: 'DRIFT' },
    )
    await target.client.sql`delete from tsdbkit.import where id = ${options.importId}`
  })

  test('a source that has changed since is refused, rows that come after what was copied are not', async () => {
    const name = await hypertable()
    const changing = { schema: odd.schema, name: 'Chan ging' }
    await source.sql`create table ${sql.name(changing)} as select id * 2 as id, "T,ime" from ${sql.name(odd)} where id <= 1000`
    const options = {
      importId: `drift ${name.schema} ${name.name}`,
      orderBy: ['T,ime', 'id'],
      batchRows: 100,
      parallel: 1,
    }
    const copy = (more = {}): Promise<unknown> =>
      target.client.copyFromTable(source, changing, name, { ...options, ...more })
    await expect(copy(stopAfter(500))).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const ids = async (): Promise<unknown[]> =>
      (await target.client.sql`select id from ${sql.name(name)} order by id`).map(({ id }) => id)
    const copied = await ids()
    const late = sql`(301, (select "T,ime" from ${sql.name(changing)} where id = 300))`
    for (const [change, back] of [
      [sql`insert into ${sql.name(changing)} values ${late}`, sql`delete from ${sql.name(changing)} where id = 301`],
      [
        sql`update ${sql.name(changing)} set id = 7 where id = 8`,
        sql`update ${sql.name(changing)} set id = 8 where id = 7`,
      ],
    ] as const) {
      await source.executeQuery(change.text)
      await expect(copy()).rejects.toMatchObject({
        code: 'DRIFT',
        message: expect.stringMatching(/began with other rows: some up to row [1-4]?99 came, went/),
      })
      await source.executeQuery(back.text)
    }
    expect(await ids()).toEqual(copied)
    await source.sql`insert into ${sql.name(changing)} values (2001, '2100-01-01Z')`
    expect(await copy()).toMatchObject({ rowsResumed: copied.length, rowsWritten: 1001 - copied.length })
    expect(await ids()).toEqual([...Array.from({ length: 1000 }, (_, n) => 2 * n + 2), 2001])
    // Run again it would leave a row out that has come since.
    await source.sql`insert into ${sql.name(changing)} values (2003, '2100-01-02Z')`
    await expect(copy()).rejects.toMatchObject({ code: 'DRIFT' })
    await target.client.sql`delete from tsdbkit.import where id = ${options.importId}`
  })

  test('needs an order that says the place of each row', async () => {
    const name = await hypertable()
    const importId = `ties ${name.schema} ${name.name}`
    await expect(target.client.copyFromTable(source, odd, name, { importId })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(target.client.copyFromTable(source, odd, name, { importId, orderBy: ['site'] })).rejects.toMatchObject(
      {
        message: expect.stringMatching(/^Rows 0 and 1 are the same in the columns of orderBy/),
      },
    )
    await target.client.sql`delete from tsdbkit.import where id = ${importId}`
  })
})

test('a failing source is an error, and the connections are free again', async () => {
  const name = await hypertable()
  const query = sql`select id, "T,ime", 1 / (20000 - id) as v from ${sql.name(odd)} order by id`
  await expect(target.client.copyFromTable(source, query, name)).rejects.toThrow(/division by zero/)
  await expect(target.client.copyFromTable(source, odd, { schema: target.schema, name: 'nowhere' })).rejects.toThrow()
  const [row] = await source.sql`select 1 as one`
  expect(row).toEqual({ one: 1 })
})

test.skipIf(onServer)('the embedded engine does not wait for itself', async () => {
  const name = await hypertable()
  await expect(target.client.copyFromTable(target.client, name, name)).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    hint: expect.stringContaining('insert into'),
  })
})

test('a query given as a text, and a type that only the source has', async () => {
  const name = { schema: target.schema, name: 'Moods' }
  await expect(target.client.copyFromTable(source, 'select 1 as id', name)).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    hint: 'Write sql`select …`.',
  })
  await source.sql`create type public.mood_of_old as enum ('good')`
  const query = sql`select 'good'::public.mood_of_old as mood`
  await expect(
    target.client.copyFromTable(source, query, name, { create: { timeColumn: false } }),
  ).rejects.toMatchObject({ code: 'NOT_FOUND', hint: expect.stringContaining('create.columns') })
  await target.client.copyFromTable(source, query, name, { create: { timeColumn: false, columns: { mood: 'text' } } })
  expect(await target.client.sql`select * from ${sql.name(name)}`).toEqual([{ mood: 'good' }])
})
