import { createReadStream, createWriteStream, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import { avg, type Client, connect, count, type Database, max, sharedConnection, sql } from '../src/index.ts'
import { openTestDatabase, type TestDatabase, testTarget } from './setup/database.ts'
import { type PostgresServer, password, startPostgres } from './setup/postgres.ts'

const quiet = { onProgress: () => undefined }

let database: TestDatabase
let db: Client
let table: { schema: string; name: string }

beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
  table = { schema: database.schema, name: 'Sensor "Data".1' }
  await db.sql`create table ${sql.name(table)} (time timestamptz not null, "Id" int, v float8, big bigint, n numeric)`
  await db.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
})
afterAll(() => database.close())
afterEach(async () => {
  await db.sql`truncate ${sql.name(table)}`
})

describe('statements', () => {
  test('values are bound, never pasted', async () => {
    const attack = `'; drop table x; --"\\$1`
    expect(await db.sql`select ${attack}::text as text, ${[attack, null]}::text[] as list`).toEqual([
      { text: attack, list: [attack, null] },
    ])
    expect((await db.executeQuery('select $1::text as text', [attack])).rows).toEqual([{ text: attack }])
    expect(await db.sql`select 1 as one ${sql`where ${1}::int = 1`}`).toEqual([{ one: 1 }])
  })

  test('a result says what happened', async () => {
    const inserted = await db.executeQuery(`insert into ${sql.name(table).text} (time) values (now()), (now())`)
    expect(inserted).toMatchObject({ rowCount: 2, command: 'INSERT', rows: [] })
    const noticed = await db.executeQuery("do $$ begin raise warning 'look here'; end $$")
    expect(noticed.notices).toMatchObject([{ severity: 'WARNING', message: 'look here' }])
    expect((await db.executeQuery('select 1 as a, 2 as b')).columns.map(({ name }) => name)).toEqual(['a', 'b'])
  })

  test('numbers are exact or refused, and the choice is the caller’s', async () => {
    expect(await db.sql`select 9007199254740991 as safe, 1.10::numeric as exact`).toEqual([
      { safe: 9007199254740991, exact: '1.10' },
    ])
    await expect(db.sql`select 9007199254740993 as unsafe`).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('unsafe'),
    })
    const { rows } = await db.executeQuery('select 9007199254740993 as big, 1.5::numeric as n', [], {
      int8: 'bigint',
      numeric: 'number',
    })
    expect(rows).toEqual([{ big: 9007199254740993n, n: 1.5 }])
  })

  test('an error carries the server’s code and no value', async () => {
    await expect(db.executeQuery('select $1::int', ['secret'])).rejects.toMatchObject({
      name: 'QueryError',
      sqlState: '22P02',
      message: expect.not.stringContaining('secret'),
    })
    await expect(db.sql`select * from nowhere_at_all`).rejects.toMatchObject({ code: 'NOT_FOUND', sqlState: '42P01' })
    await expect(db.sql`select ${undefined}`).rejects.toMatchObject({ name: 'UsageError' })
  })

  test('executeMany keeps all rows or none, and names the row that failed', async () => {
    const rows = Array.from({ length: 5000 }, (_, i) => [new Date(Date.UTC(2025, 0, 1, 0, 0, i)), i, i / 2])
    const text = `insert into ${sql.name(table).text} (time, "Id", v) values ($1, $2, $3)`
    expect(await db.executeMany(text, rows)).toEqual({ rowCount: 5000 })
    const broken = [...rows.slice(0, 1234), [new Date(), 'not a number', 1], ...rows]
    await expect(db.executeMany(text, broken)).rejects.toMatchObject({ name: 'BatchError', row: 1234 })
    expect(await db.sql`select count(*) as n, sum("Id") as ids from ${sql.name(table)}`).toEqual([
      { n: 5000, ids: (4999 * 5000) / 2 },
    ])
  })

  test('a transaction commits or rolls back as one, savepoints inside', async () => {
    await db.transaction(async (tx) => {
      await tx.sql`insert into ${sql.name(table)} (time, "Id") values (now(), 1)`
      await tx
        .transaction(async (inner) => {
          await inner.sql`insert into ${sql.name(table)} (time, "Id") values (now(), 2)`
          throw new Error('inner')
        })
        .catch(() => undefined)
    })
    await expect(
      db.transaction(async (tx) => {
        await tx.sql`insert into ${sql.name(table)} (time, "Id") values (now(), 3)`
        throw new Error('outer')
      }),
    ).rejects.toThrow('outer')
    expect(await db.sql`select "Id" from ${sql.name(table)}`).toEqual([{ Id: 1 }])
  })
})

test('a stream that fails at once is an error of the call, not the end of the process', async () => {
  const missing = join(tmpdir(), 'tsdbkit is not here', 'file.csv')
  const source = (): ReturnType<typeof createReadStream> => createReadStream(missing)
  const { text } = sql.name(table)
  const calls = [
    db.load(table, source(), { format: 'csv' }),
    db.planLoad('not there yet', source(), { format: 'csv' }),
    db.copyIn(`copy ${text} from stdin`, source()),
    db.exportTo(createWriteStream(missing), `select * from ${text}`, [], { format: 'csv' }),
  ]
  const outcomes = await Promise.allSettled(calls)
  expect(outcomes).toEqual(
    calls.map(() => ({ status: 'rejected', reason: expect.objectContaining({ code: 'ENOENT' }) })),
  )
})

test('a file that is not there is said in a sentence', async () => {
  const missing = { code: 'INVALID_VALUE', message: 'The file nofile.csv does not exist.' }
  await expect(db.load(table, 'nofile.csv')).rejects.toMatchObject(missing)
  await expect(db.planLoad('new', 'nofile.csv')).rejects.toMatchObject(missing)
  await expect(db.load(table, tmpdir())).rejects.toMatchObject({ message: `The file ${tmpdir()} is a directory.` })
  // What is wrong in the call itself comes first.
  await expect(db.load(table, 'nofile.csv', { batchRows: 0 })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})

test('standard output is given back as it was: what fails later is not kept quiet', async () => {
  const before = process.stdout.listenerCount('error')
  const nothing = `select * from ${sql.name(table).text} limit 0`
  await db.exportTo(process.stdout, nothing, [], { format: 'csv', header: false })
  await setImmediate()
  expect(process.stdout.listenerCount('error')).toBe(before)
})

describe('reading', () => {
  test('a DataFrame has Dates, numbers, bigints and strings', async () => {
    await db.sql`insert into ${sql.name(table)} values ('2025-01-01T00:00Z', 1, 2.5, 9007199254740993, 1.25)`
    const query = `select time, "Id", v, n, 'text' as text from ${sql.name(table).text}`
    const frame = await db.queryToDataFrame(query)
    expect(frame.objects()).toEqual([{ time: new Date('2025-01-01T00:00Z'), Id: 1, v: 2.5, n: 1.25, text: 'text' }])
    const big = `select big from ${sql.name(table).text}`
    await expect(db.queryToDataFrame(big)).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    expect((await db.queryToDataFrame(big, [], { int8: 'bigint' })).objects()).toEqual([{ big: 9007199254740993n }])
  })

  test('rows of time buckets and gaps are typed by what was asked for', async () => {
    await db.sql`insert into ${sql.name(table)} (time, "Id", v) values
      ('2025-01-01T00:10Z', 1, 1), ('2025-01-01T00:50Z', 1, 3), ('2025-01-01T02:10Z', 1, 5)`
    const buckets = await db.timeBucketQuery(table, {
      timeColumn: 'time',
      bucketInterval: '1 hour',
      aggregations: { mean: avg('v'), most: max('v'), n: count(), v: 'MAX' },
      groupBy: 'Id',
      where: { Id: { in: [1, 2] } },
      startTime: '2025-01-01',
      orderBy: 'bucket ASC',
    })
    expectTypeOf(buckets[0]!.mean).toEqualTypeOf<number | null>()
    expectTypeOf(buckets[0]!.most).toEqualTypeOf<number | null>()
    expectTypeOf(buckets[0]!.n).toEqualTypeOf<number>()
    expectTypeOf(buckets[0]!.bucket).toEqualTypeOf<Date>()
    expect(buckets).toEqual([
      { bucket: new Date('2025-01-01T00:00Z'), Id: 1, mean: 2, most: 3, n: 2, v: 3 },
      { bucket: new Date('2025-01-01T02:00Z'), Id: 1, mean: 5, most: 5, n: 1, v: 5 },
    ])
    const filled = await db.fillGaps(table, {
      timeColumn: 'time',
      bucketInterval: '1 hour',
      startTime: '2025-01-01T00:00Z',
      endTime: '2025-01-01T03:00Z',
      columns: ['v'],
      fillMethod: 'linear',
    })
    expect(filled.map(({ v }) => v)).toEqual([2, 3.5, 5])
  })
})

describe('opening', () => {
  const open: Database[] = []
  afterEach(async () => {
    for (const one of open.splice(0)) await one.close()
  })

  test('the settings say where each value came from, the password masked', async () => {
    const one = await connect(testTarget, { ...quiet, poolSize: 2 })
    open.push(one)
    const described = one.describeSettings()
    expect(described.find(({ name }) => name === 'poolSize')).toMatchObject({ value: '2' })
    expect(described.every(({ name, value }) => name !== 'password' || value === '********')).toBe(true)
    expect(await one.ping()).toBeGreaterThan(0)
  })

  test('a closed database refuses, and closing twice does no harm', async () => {
    const one = await connect(testTarget, quiet)
    await Promise.all([one.close(), one.close()])
    await expect(one.sql`select 1`).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('the shared connection is one object, other settings are refused, closing lets go of it', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsdb-shared-'))
    const target = testTarget === 'embedded:' ? `embedded:${join(directory, 'db')}` : testTarget
    const [one, two] = await Promise.all([sharedConnection(target, quiet), sharedConnection(target, quiet)])
    expect(one).toBe(two)
    expect(() => sharedConnection(target, { ...quiet, poolSize: 1 })).toThrow(
      expect.objectContaining({ code: 'SHARED_CONNECTION_CONFLICT' }),
    )
    await one.close()
    const again = await sharedConnection(target, { ...quiet, poolSize: 1 })
    expect(again).not.toBe(one)
    await again.close()
    rmSync(directory, { recursive: true })
  })

  test('a failed shared connection can be tried again', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsdb-shared-'))
    writeFileSync(join(directory, 'other'), '')
    await expect(sharedConnection(`embedded:${directory}`, quiet)).rejects.toMatchObject({ code: 'DIRECTORY_FOREIGN' })
    rmSync(join(directory, 'other'))
    await (await sharedConnection(`embedded:${directory}`, quiet)).close()
    rmSync(directory, { recursive: true })
  })
})

describe('a server without the extension', () => {
  let server: PostgresServer
  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const target = (): object => ({
    host: '127.0.0.1',
    port: server.port,
    database: 'postgres',
    user: 'Ad min',
    password,
    ...quiet,
  })

  test('runs SQL, and refuses what needs the extension with the command as hint', async () => {
    await using one = await connect(target())
    expect(await one.sql`select 1 as one`).toEqual([{ one: 1 }])
    await one.sql`create table t (time timestamptz not null)`
    await expect(one.createHypertable('t', { timeColumn: 'time' })).rejects.toMatchObject({
      name: 'UnsupportedError',
      code: 'EXTENSION_MISSING',
      hint: expect.stringMatching(/create extension/i),
    })
    expect((await one.capabilities()).timescaleVersion).toBeUndefined()
  })

  test('createExtension fails clearly where it is not installed, and leaves nothing open', async () => {
    await expect(connect({ ...target(), createExtension: true })).rejects.toMatchObject({ name: 'QueryError' })
  })
})
