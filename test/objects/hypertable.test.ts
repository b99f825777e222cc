import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getChunkInfo } from '../../src/catalog/chunk.ts'
import { getHypertableStats, listHypertables } from '../../src/catalog/hypertable.ts'
import { PlanError, QueryError } from '../../src/errors.ts'
import {
  createHypertable,
  createHypertableSql,
  dropHypertable,
  dropHypertableSql,
  type HypertableOptions,
  setChunkTimeInterval,
} from '../../src/objects/hypertable.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

const now = capabilitiesOf('2.23.0')
const texts = (name: string, options: HypertableOptions): string[] =>
  createHypertableSql(now, name, options).map((statement) => {
    expect(statement.values).toEqual([])
    return statement.text
  })

describe('createHypertableSql', () => {
  it('writes only what is asked for', () => {
    expect(texts('sensor_data', { timeColumn: 'time' })).toEqual([
      `select * from create_hypertable('"sensor_data"'::regclass, by_range('time'))`,
    ])
  })

  it('writes the document’s example', () => {
    const options = {
      timeColumn: 'time',
      chunkTimeInterval: '1 week',
      partitioningColumn: 'symbol',
      numberPartitions: 4,
      ifNotExists: true,
    }
    expect(texts('stock_prices', options)).toEqual([
      `select * from create_hypertable('"stock_prices"'::regclass, by_range('time', interval '7 days'), if_not_exists => TRUE)`,
      `select * from add_dimension('"stock_prices"'::regclass, by_hash('symbol', 4))`,
    ])
  })

  it('writes every option', () => {
    const options: HypertableOptions = {
      timeColumn: `Ti"me's`,
      chunkTimeInterval: 1000,
      partitions: [
        { column: 'a', number: 2 },
        { column: 'b', number: 3 },
      ],
      migrateData: true,
      createDefaultIndexes: false,
      integerNowFunction: { schema: 'Odd.schema', name: 'now i' },
      timePartitioningFunction: 'to_time',
    }
    expect(texts('"Odd.schema"."T""x"', options)).toEqual([
      `select * from create_hypertable('"Odd.schema"."T""x"'::regclass, by_range('Ti"me''s', 1000, partition_func => '"to_time"'::regproc), create_default_indexes => FALSE, migrate_data => TRUE)`,
      `select * from add_dimension('"Odd.schema"."T""x"'::regclass, by_hash('a', 2))`,
      `select * from add_dimension('"Odd.schema"."T""x"'::regclass, by_hash('b', 3))`,
      `select * from set_integer_now_func('"Odd.schema"."T""x"'::regclass, '"Odd.schema"."now i"'::regproc)`,
    ])
  })

  it('takes the older form for the place of chunks', () => {
    const options = {
      timeColumn: 'time',
      associatedSchema: 'my chunks',
      associatedTablePrefix: 'pre',
      ifNotExists: true,
    }
    expect(texts('t', options)).toEqual([
      `select * from create_hypertable('"t"'::regclass, 'time', associated_schema_name => 'my chunks', associated_table_prefix => 'pre', if_not_exists => TRUE)`,
    ])
  })

  it.each([...OLD, ...NEW])('is the same on %s, and on the Apache edition', (version) => {
    const options = { timeColumn: 'time', chunkTimeInterval: { days: 1 } }
    const expected = createHypertableSql(now, 't', options)
    expect(createHypertableSql(capabilitiesOf(version), 't', options)).toEqual(expected)
    expect(createHypertableSql(capabilitiesOf(version, 'apache'), 't', options)).toEqual(expected)
  })

  it.each<[string, Partial<HypertableOptions>]>([
    ['a column without a number', { partitioningColumn: 'a' }],
    ['a number without a column', { numberPartitions: 4 }],
    ['no partitions', { partitions: [{ column: 'a', number: 0 }] }],
    ['half a partition', { partitions: [{ column: 'a', number: 1.5 }] }],
    ['an interval of nothing', { chunkTimeInterval: '0 days' }],
    ['a negative interval', { chunkTimeInterval: -5 }],
  ])('refuses %s', (_what, options) => {
    expect(() => createHypertableSql(now, 't', { timeColumn: 'time', ...options })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})

it('dropHypertableSql', () => {
  expect(dropHypertableSql('a.b', { cascade: true, ifExists: true }).text).toBe('drop table if exists "a"."b" cascade')
  expect(dropHypertableSql('b').text).toBe('drop table "b"')
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  let count = 0
  async function createTable(columns: string): Promise<{ schema: string; name: string }> {
    count += 1
    const name = { schema: database.schema, name: `T "${count}'.é` }
    await database.db.query(sql`create table ${sql.name(name)} (${sql.raw(columns)})`)
    return name
  }

  it.each([
    ['timestamptz', '1 day', '2025-01-01'],
    ['timestamp', '1 day', '2025-01-01'],
    ['date', '7 days', '2025-01-01'],
    ['bigint', 1000, '1500'],
    ['integer', 1000, '1500'],
    ['smallint', 100, '150'],
  ])('takes a %s time column', async (type, chunkTimeInterval, value) => {
    const name = await createTable(`"Time" ${type} not null, v float8`)
    const result = await createHypertable(database.db, name, { timeColumn: 'Time', chunkTimeInterval })
    expect(result).toMatchObject({ ...name, created: true, differences: [] })
    const wanted = typeof chunkTimeInterval === 'number' ? BigInt(chunkTimeInterval) : chunkTimeInterval
    expect(result.dimensions).toMatchObject([{ kind: 'range', column: 'Time', interval: wanted }])
    await database.db.query(sql`insert into ${sql.name(name)} values (${sql.literal(value)}, 1)`)
    const [chunk] = await getChunkInfo(database.db, name)
    if (typeof wanted === 'bigint') expect(chunk?.rangeStart).toBe(BigInt(value) - (BigInt(value) % wanted))
    else expect(chunk?.rangeStart).toBeInstanceOf(Date)
  })

  it('takes a uuid of version 7 as time column, where the server does', async (context) => {
    const { rows } = await database.db.query(sql`select 1 from pg_proc where proname = 'to_uuidv7'`)
    if (rows.length === 0) context.skip('the server knows no uuid of version 7')
    const name = await createTable('id uuid not null')
    const { dimensions } = await createHypertable(database.db, name, { timeColumn: 'id', chunkTimeInterval: '1 day' })
    expect(dimensions).toMatchObject([{ columnType: 'uuid', interval: '1 day' }])
    await database.db.query(sql`
      insert into ${sql.name(name)} select to_uuidv7(t) from unnest('{2025-01-01 12:00Z, 2025-01-03 12:00Z}'::timestamptz[]) t`)
    const ranges = (await getChunkInfo(database.db, name)).map((chunk) => chunk.rangeStart)
    expect(ranges).toEqual([new Date('2025-01-03'), new Date('2025-01-01')])
    const older = await getChunkInfo(database.db, name, { olderThan: '2025-01-02' })
    expect(older.map((chunk) => chunk.rangeEnd)).toEqual([new Date('2025-01-02')])
    expect(await getHypertableStats(database.db, name)).toMatchObject({
      oldestRange: new Date('2025-01-01'),
      newestRange: new Date('2025-01-04'),
    })
  })

  it('makes any number of hash dimensions, in one transaction', async () => {
    const name = await createTable('time timestamptz not null, "S 1" text, b int')
    const partitions = [
      { column: 'S 1', number: 4 },
      { column: 'b', number: 2 },
    ]
    const { dimensions } = await createHypertable(database.db, name, { timeColumn: 'time', partitions })
    expect(dimensions.slice(1)).toEqual([
      { kind: 'hash', column: 'S 1', columnType: 'text', partitions: 4 },
      { kind: 'hash', column: 'b', columnType: 'integer', partitions: 2 },
    ])
  })

  it('leaves a plain table where one of the dimensions cannot be made', async () => {
    const name = await createTable('time timestamptz not null, a text')
    const options = { timeColumn: 'time', partitions: [{ column: 'nothing', number: 4 }] }
    await expect(createHypertable(database.db, name, options)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect((await listHypertables(database.db)).map((one) => one.name)).not.toContain(name.name)
  })

  it('says that it was there, and how it differs', async () => {
    const name = await createTable('time timestamptz not null, other timestamptz, s text')
    const first = { timeColumn: 'time', chunkTimeInterval: '1 day', partitioningColumn: 's', numberPartitions: 4 }
    await createHypertable(database.db, name, first)
    const same = await createHypertable(database.db, name, {
      ...first,
      chunkTimeInterval: '24 hours',
      ifNotExists: true,
    })
    expect(same).toMatchObject({ created: false, differences: [] })
    const wanted = { timeColumn: 'other', chunkTimeInterval: '1 week', partitioningColumn: 's', numberPartitions: 8 }
    const { created, differences } = await createHypertable(database.db, name, { ...wanted, ifNotExists: true })
    expect(created).toBe(false)
    expect(differences).toEqual([
      { setting: 'timeColumn', existing: 'time', wanted: 'other' },
      { setting: 'chunkTimeInterval', existing: '1 day', wanted: '7 days' },
      { setting: 'partitions', existing: '"s" in 4', wanted: '"s" in 8' },
    ])
    await expect(createHypertable(database.db, name, first)).rejects.toMatchObject({ code: 'HYPERTABLE_EXISTS' })
    const drift = await createHypertable(database.db, name, wanted).catch((error: unknown) => error)
    expect(drift).toBeInstanceOf(PlanError)
    expect(drift).toMatchObject({
      code: 'DRIFT',
      message: expect.stringContaining('chunkTimeInterval is 1 day, not 7 days'),
    })
  })

  it('moves rows into chunks only when asked', async () => {
    const name = await createTable('time timestamptz not null, v float8')
    await database.db.query(sql`insert into ${sql.name(name)} values ('2025-01-01', 1), ('2025-02-01', 2)`)
    await expect(createHypertable(database.db, name, { timeColumn: 'time' })).rejects.toBeInstanceOf(QueryError)
    await createHypertable(database.db, name, { timeColumn: 'time', migrateData: true })
    expect(await getHypertableStats(database.db, name)).toMatchObject({ numChunks: 2 })
  })

  it.each([
    ['id int primary key', '"P"', 'primary key ("time", "id")'],
    ['id int, constraint "U ""1" unique (id)', '"U ""1"', 'unique ("time", "id")'],
  ])('repairs %s', async (columns, _constraint, kind) => {
    const name = await createTable(`time timestamptz not null, ${columns}`)
    const error = await createHypertable(database.db, name, { timeColumn: 'time' }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'CONSTRAINT_VIOLATION', sqlState: 'TS103' })
    if (!(error instanceof QueryError)) throw error
    expect(error.hint).toContain(kind)
    expect(error.message).toContain(JSON.stringify('time'))
    await database.db.query(sql.raw(error.hint ?? ''))
    expect(await createHypertable(database.db, name, { timeColumn: 'time' })).toMatchObject({ created: true })
  })

  it('names a unique index that is no constraint, and every index that lacks a column', async () => {
    const name = await createTable('time timestamptz not null, a int, b int, primary key (a, time)')
    const index = sql.column('Unique "a"')
    await database.db.query(sql`create unique index ${index} on ${sql.name(name)} (time, b)`)
    const options = { timeColumn: 'time', partitioningColumn: 'b', numberPartitions: 2 }
    const error = await createHypertable(database.db, name, options).catch((caught: unknown) => caught)
    if (!(error instanceof QueryError)) throw error
    expect(error.message).toMatch(/primary key ".*" lacks "b"/)
    expect(error.message).not.toContain('Unique')
    await database.db.query(sql`create unique index "Only time" on ${sql.name(name)} (time)`)
    const both = await createHypertable(database.db, name, options).catch((caught: unknown) => caught)
    if (!(both instanceof QueryError)) throw both
    expect(both.message).toContain('unique index "Only time" lacks "b"')
    for (const statement of both.hint?.split('; ') ?? []) await database.db.query(sql.raw(statement))
    expect(await createHypertable(database.db, name, options)).toMatchObject({ created: true })
  })

  it('keeps a transaction usable after the refusal', async () => {
    const name = await createTable('time timestamptz not null, id int primary key')
    await database.db.transaction(async (session) => {
      await expect(createHypertable(session, name, { timeColumn: 'time' })).rejects.toMatchObject({ sqlState: 'TS103' })
      expect((await session.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }])
    })
  })

  it('puts chunks where it is told', async () => {
    const name = await createTable('time timestamptz not null')
    await createHypertable(database.db, name, {
      timeColumn: 'time',
      associatedSchema: database.schema,
      associatedTablePrefix: 'pre',
    })
    await database.db.query(sql`insert into ${sql.name(name)} values (now())`)
    const [chunk] = await getChunkInfo(database.db, name)
    expect(chunk).toMatchObject({ chunkSchema: database.schema, chunkName: expect.stringMatching(/^pre/) })
  })

  it('makes the default index or not', async () => {
    const indexes = async (createDefaultIndexes: boolean): Promise<number> => {
      const name = await createTable('time timestamptz not null')
      await createHypertable(database.db, name, { timeColumn: 'time', createDefaultIndexes })
      const { rows } = await database.db.query(sql`
        select 1 from pg_indexes where schemaname = ${name.schema} and tablename = ${name.name}`)
      return rows.length
    }
    expect(await indexes(true)).toBe(1)
    expect(await indexes(false)).toBe(0)
  })

  it('sets the function for the time of integers', async () => {
    const now = { schema: database.schema, name: 'now "i"' }
    await database.db.query(
      sql`create function ${sql.name(now)}() returns bigint language sql stable as 'select 5000::bigint'`,
    )
    const name = await createTable('t bigint not null')
    const options = { timeColumn: 't', chunkTimeInterval: 1000n, integerNowFunction: now }
    const { dimensions } = await createHypertable(database.db, name, options)
    expect(dimensions).toMatchObject([{ integerNowFunction: 'now "i"' }])
    expect((await createHypertable(database.db, name, { ...options, ifNotExists: true })).differences).toEqual([])
    const other = await createHypertable(database.db, name, {
      ...options,
      integerNowFunction: 'other',
      ifNotExists: true,
    })
    expect(other.differences).toEqual([{ setting: 'integerNowFunction', existing: 'now "i"', wanted: 'other' }])
  })

  it('drops hypertables only', async () => {
    const plain = await createTable('time timestamptz not null')
    await expect(dropHypertable(database.db, plain)).rejects.toMatchObject({ code: 'HYPERTABLE_NOT_FOUND' })
    await createHypertable(database.db, plain, { timeColumn: 'time' })
    expect(await dropHypertable(database.db, plain)).toEqual({ dropped: true })
    expect(await dropHypertable(database.db, plain, { ifExists: true })).toEqual({ dropped: false })
    await expect(dropHypertable(database.db, plain)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('changes the length of further chunks', async () => {
    const name = await createTable('time timestamptz not null')
    await createHypertable(database.db, name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await setChunkTimeInterval(database.db, name, '12 hours')
    expect((await getHypertableStats(database.db, name)).dimensions).toMatchObject([{ interval: '12:00:00' }])
  })
})
