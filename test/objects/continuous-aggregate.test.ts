import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getContinuousAggregate, listContinuousAggregates } from '../../src/catalog/continuous-aggregate.ts'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
import type { AggregateParts, AggregateSelect } from '../../src/objects/aggregate-query.ts'
import {
  type ContinuousAggregateOptions,
  createContinuousAggregate,
  createContinuousAggregateSql,
  dropContinuousAggregate,
} from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { refreshContinuousAggregate } from '../../src/objects/refresh.ts'
import { avg, sum } from '../../src/sql/aggregate.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

const hourly = {
  hypertable: 'sensor_data',
  timeColumn: 'time',
  bucketInterval: '1 hour',
  selectQuery: `
        sensor_id,
        AVG(temperature) as avg_temp
        FROM sensor_data
        GROUP BY bucket, sensor_id;
    `,
  withData: true,
}

const textsOf = (options: ContinuousAggregateOptions, version = '2.23.0'): string[] =>
  createContinuousAggregateSql(capabilitiesOf(version), 'a.H 1', options).map(({ text }) => text)

describe('createContinuousAggregateSql', () => {
  it.each([...OLD, ...NEW])('writes the document’s example for %s', (version) => {
    expect(textsOf(hourly, version)).toEqual([
      `create materialized view "a"."H 1" with (timescaledb.continuous) as select time_bucket(interval '01:00:00', "time") as "bucket", sensor_id,
        AVG(temperature) as avg_temp
        FROM sensor_data
        GROUP BY bucket, sensor_id with data`,
    ])
  })

  it('writes every option', () => {
    const options: ContinuousAggregateOptions = {
      ...hourly,
      bucketInterval: '1 day',
      bucketColumn: 'Day "1"',
      timezone: "O'Hara",
      origin: '2020-01-01',
      selectQuery: 'count(*) from t group by 1',
      withData: false,
      materializedOnly: false,
      createGroupIndexes: false,
      chunkInterval: '30 days',
      indexes: [['a', 'Day 1 desc']],
      ifNotExists: true,
    }
    expect(textsOf(options)).toEqual([
      `create materialized view if not exists "a"."H 1" with (timescaledb.continuous, timescaledb.materialized_only = FALSE, timescaledb.create_group_indexes = FALSE, timescaledb.chunk_interval = '30 days') as select time_bucket(interval '1 day', "time", timezone => 'O''Hara', origin => '2020-01-01T00:00:00Z') as "Day ""1""", count(*) from t group by 1 with no data`,
      `create index on "a"."H 1" ("a", "Day 1" desc)`,
    ])
  })

  it('leaves out what is left out', () => {
    const { withData: _, ...rest } = hourly
    expect(textsOf({ ...rest, bucketInterval: 100, selectQuery: 'count(*) FROM t GROUP BY 1' })).toEqual([
      'create materialized view "a"."H 1" with (timescaledb.continuous) as select time_bucket(100, "time") as "bucket", count(*) FROM t GROUP BY 1',
    ])
  })

  it('writes the typed form, with values as literals', () => {
    const options: AggregateParts = {
      hypertable: 'Odd x',
      timeColumn: 'Time "1"',
      bucketInterval: { hours: 1 },
      groupBy: ['a b', 'c'],
      aggregates: {
        'Avg 1': avg('v'),
        'V 2': 'MAX',
        m: 'min(V)',
        n: sql`count(*) filter (where v > ${-0.5})`,
      },
      where: sql`note = ${"it's"} and time > ${new Date('2025-01-01T00:00:00Z')} and ok is not ${null}`,
    }
    expect(textsOf(options)).toEqual([
      `create materialized view "a"."H 1" with (timescaledb.continuous) as select time_bucket(interval '01:00:00', "Time ""1""") as "bucket", "a b", "c", avg("v")::float8 as "Avg 1", max("V 2") as "V 2", min("V") as "m", count(*) filter (where v >  -0.5) as "n" from "Odd x" where (note = 'it''s' and time > '2025-01-01T00:00:00Z'::timestamptz and ok is not NULL) group by 1, 2, 3`,
    ])
    const dollar = { ...options, where: sql`note = ${'a'} and b = '$1'` }
    expect(() => textsOf(dollar)).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
    // A value is never searched for placeholders.
    expect(textsOf({ ...options, where: sql`note = ${'$2'} and b = ${'$1'}` })[0]).toContain(`note = '$2' and b = '$1'`)
    expect(() => textsOf({ ...options, aggregates: {} })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
    const where = { device: { in: ['a"b', 'c\\', "it's"] }, 'Odd "x': null, v: { gte: 1, lt: 2.5 } }
    expect(textsOf({ ...options, where })[0]).toContain(
      String.raw`where "device" = any( E'{"a\\"b","c\\\\","it''s"}') and "Odd ""x" is null and "v" >= 1 and "v" < 2.5 group by`,
    )
    const bad = { ...options, where: sql`a = any(${[{}]})` }
    expect(() => textsOf(bad)).toThrow(expect.objectContaining({ code: 'INVALID_VALUE' }))
  })

  it.each([
    ['a whole query', { selectQuery: 'SELECT time_bucket(1, t), count(*) from t' }, 'INVALID_OPTION'],
    ['a query without FROM', { selectQuery: 'count(*)' }, 'INVALID_OPTION'],
    ['a bucket of nothing', { bucketInterval: '0 hours' }, 'INVALID_OPTION'],
    ['a bucket of nonsense', { bucketInterval: 'often' }, 'INVALID_INTERVAL'],
  ])('refuses %s', (_what, wrong, code) => {
    expect(() => textsOf({ ...hourly, ...wrong })).toThrow(expect.objectContaining({ code }))
  })

  it('needs the Community edition', () => {
    expect(() => createContinuousAggregateSql(capabilitiesOf('2.23.0', 'apache'), 'h', hourly)).toThrow(
      expect.objectContaining({ code: 'EDITION_REQUIRED' }),
    )
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  let table: { schema: string; name: string }
  const inSchema = (name: string): { schema: string; name: string } => ({ schema: database.schema, name })
  const from = (name: { schema: string; name: string }): string => sql.name(name).text
  const countOf = async (name: { schema: string; name: string }): Promise<number> =>
    (await database.db.query<{ n: number }>(sql`select count(*)::int as n from ${sql.name(name)}`)).rows[0]?.n ?? -1

  beforeAll(async () => {
    database = await openTestDatabase()
    table = inSchema('Sensor "data".1')
    await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null, "Id" int, v float8)`)
    await createHypertable(database.db, table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await database.db.query(sql`
      insert into ${sql.name(table)}
      select timestamptz '2025-01-01 00:00Z' + i * interval '10 minutes', i % 3, i from generate_series(0, 431) i`)
  })
  afterAll(async () => {
    await database.close()
  })

  const optionsOn = (source: { schema: string; name: string }): AggregateSelect => ({
    hypertable: source,
    timeColumn: 'time',
    bucketInterval: '1 hour',
    selectQuery: `"Id", avg(v) as "Avg v", count(*) as n from ${from(source)} group by bucket, "Id"`,
  })

  it('fills it at once by default, or with false at the first refresh', async () => {
    const full = inSchema('Full')
    expect(await createContinuousAggregate(database.db, full, optionsOn(table))).toMatchObject({
      ...full,
      created: true,
      bucketColumn: 'bucket',
      differences: [],
    })
    expect(await countOf(full)).toBe(72 * 3)
    const empty = inSchema('Empty "1"')
    await createContinuousAggregate(database.db, empty, {
      ...optionsOn(table),
      withData: false,
      materializedOnly: true,
    })
    expect(await countOf(empty)).toBe(0)
    expect(await refreshContinuousAggregate(database.db, empty)).toMatchObject({ refreshed: true })
    expect(await countOf(empty)).toBe(72 * 3)
    expect(await refreshContinuousAggregate(database.db, empty)).toMatchObject({ refreshed: false })
  })

  it('takes the typed form, also on a table with a column called bucket', async () => {
    const source = inSchema('Has a bucket')
    await database.db.query(sql`create table ${sql.name(source)} (time timestamp not null, bucket int, v int)`)
    await createHypertable(database.db, source, { timeColumn: 'time' })
    await database.db.query(sql`
      insert into ${sql.name(source)} select timestamp '2025-01-01' + i * interval '1 hour', i % 2, i from generate_series(0, 47) i`)
    const name = inSchema('Typed')
    const options: ContinuousAggregateOptions = {
      hypertable: source,
      timeColumn: 'time',
      bucketInterval: '1 day',
      bucketColumn: 'Day',
      groupBy: 'bucket',
      aggregates: { total: sum('v') },
      where: [{ v: { gte: 2, notIn: [-7] } }, sql`bucket in (0, 1)`],
      origin: new Date('2025-01-01T00:00:00Z'),
    }
    await createContinuousAggregate(database.db, name, options)
    const { rows } = await database.db.query(sql`
      select "Day"::text as day, bucket, total::int from ${sql.name(name)} order by 1, 2`)
    expect(rows).toEqual([
      { day: '2025-01-01 00:00:00', bucket: 0, total: 132 },
      { day: '2025-01-01 00:00:00', bucket: 1, total: 143 },
      { day: '2025-01-02 00:00:00', bucket: 0, total: 420 },
      { day: '2025-01-02 00:00:00', bucket: 1, total: 432 },
    ])
    expect(await createContinuousAggregate(database.db, name, { ...options, ifNotExists: true })).toMatchObject({
      created: false,
      differences: [],
    })
    await database.db.query(sql`insert into ${sql.name(source)} values ('2025-01-01 05:00', 0, 1000)`)
    const window = { startTime: '2025-01-01', endTime: '2025-01-02' }
    expect(await refreshContinuousAggregate(database.db, name, window)).toMatchObject({ refreshed: true })
  })

  it('shows its settings in the catalog', async () => {
    const name = inSchema('Real "time"')
    await createContinuousAggregate(database.db, name, {
      ...optionsOn(table),
      bucketInterval: '1 day',
      bucketColumn: 'Day',
      timezone: 'Europe/Berlin',
      selectQuery: `"Id", avg(v) from ${from(table)} group by "Day", "Id"`,
      materializedOnly: false,
      createGroupIndexes: false,
      chunkInterval: '30 days',
      indexes: [['Id', 'Day DESC']],
      withData: false,
    })
    const aggregate = await getContinuousAggregate(database.db, name)
    expect(aggregate).toMatchObject({
      ...name,
      source: table,
      materializedOnly: false,
      bucketColumn: 'Day',
      bucketColumnType: 'timestamp with time zone',
      bucketInterval: '1 day',
      bucketTimezone: 'Europe/Berlin',
    })
    expect((await getHypertableStats(database.db, name)).dimensions).toMatchObject([{ interval: '30 days' }])
    const { rows } = await database.db.query<{ indexdef: string }>(sql`
      select indexdef from pg_indexes
      where schemaname = ${aggregate.materialization.schema} and tablename = ${aggregate.materialization.name}`)
    expect(rows.some((row) => row.indexdef.endsWith('("Id", "Day" DESC)'))).toBe(true)
    // Real-time: what is not materialized is there too.
    expect(await countOf(name)).toBeGreaterThan(0)
    expect(await listContinuousAggregates(database.db, table)).toContainEqual(expect.objectContaining(name))
  })

  it('builds on another aggregate', async () => {
    const lower = inSchema('Lower.1')
    await createContinuousAggregate(database.db, lower, optionsOn(table))
    const upper = inSchema('Upper.1')
    await createContinuousAggregate(database.db, upper, {
      hypertable: lower,
      timeColumn: 'bucket',
      bucketInterval: '1 day',
      bucketColumn: 'day',
      selectQuery: `sum(n) as n from ${from(lower)} group by day`,
    })
    expect(await getContinuousAggregate(database.db, upper)).toMatchObject({ source: lower })
    const { rows } = await database.db.query<{ n: number }>(sql`select n::int from ${sql.name(upper)} order by day`)
    expect(rows).toEqual([{ n: 144 }, { n: 144 }, { n: 144 }])
    expect((await getHypertableStats(database.db, lower)).continuousAggregates).toEqual([upper])

    await expect(dropContinuousAggregate(database.db, lower)).rejects.toMatchObject({ sqlState: '2BP01' })
    expect(await dropContinuousAggregate(database.db, lower, { cascade: true })).toEqual({ dropped: true })
    expect(await dropContinuousAggregate(database.db, upper, { ifExists: true })).toEqual({ dropped: false })
    await expect(dropContinuousAggregate(database.db, upper)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('compares definitions, not texts', async () => {
    const name = inSchema('Compared')
    await createContinuousAggregate(database.db, name, { ...optionsOn(table), withData: false })
    const spelled = `"Id",AVG( v ) AS "Avg v" ,COUNT(*) n FROM ${from(table)} GROUP BY bucket,2`
    for (const selectQuery of [optionsOn(table).selectQuery, spelled]) {
      const again = {
        ...optionsOn(table),
        selectQuery,
        bucketInterval: '60 minutes',
        ifNotExists: true,
        withData: false,
      }
      expect(await createContinuousAggregate(database.db, name, again)).toMatchObject({
        created: false,
        differences: [],
      })
    }
    await expect(
      createContinuousAggregate(database.db, name, { ...optionsOn(table), withData: false }),
    ).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })

    const other = { ...optionsOn(table), bucketInterval: '2 hours', materializedOnly: false, withData: false }
    const { differences } = await createContinuousAggregate(database.db, name, { ...other, ifNotExists: true })
    expect(differences).toEqual([
      { setting: 'query', existing: expect.stringContaining('01:00:00'), wanted: expect.stringContaining('02:00:00') },
      { setting: 'materializedOnly', existing: 'true', wanted: 'false' },
    ])
    await expect(createContinuousAggregate(database.db, name, other)).rejects.toMatchObject({ code: 'DRIFT' })
    // The comparison leaves nothing behind.
    const { rows } = await database.db.query(sql`select 1 from pg_class where relname = 'tsdbkit_wanted'`)
    expect(rows).toEqual([])
  })

  it('says before the server does that a transaction is no place for data', async () => {
    const name = inSchema('In transaction')
    await database.db.transaction(async (session) => {
      await expect(createContinuousAggregate(session, name, optionsOn(table))).rejects.toMatchObject({
        code: 'INVALID_OPTION',
      })
      await createContinuousAggregate(session, name, { ...optionsOn(table), withData: false })
    })
    expect(await getContinuousAggregate(database.db, name)).toMatchObject(name)
  })

  it('leaves other views alone', async () => {
    const view = inSchema('Plain view')
    await database.db.query(sql`create materialized view ${sql.name(view)} as select 1 as one`)
    await expect(dropContinuousAggregate(database.db, view)).rejects.toMatchObject({ code: 'HYPERTABLE_NOT_FOUND' })
    await expect(
      createContinuousAggregate(database.db, view, { ...optionsOn(table), ifNotExists: true }),
    ).rejects.toMatchObject({ code: 'HYPERTABLE_NOT_FOUND' })
    expect(await countOf(view)).toBe(1)
  })

  it('works on an integer time column', async () => {
    const ints = inSchema('Ints')
    await database.db.query(sql`create table ${sql.name(ints)} (t bigint not null, v int)`)
    const now = inSchema('int now')
    await database.db.query(
      sql`create function ${sql.name(now)}() returns bigint language sql stable as 'select 999::bigint'`,
    )
    await createHypertable(database.db, ints, { timeColumn: 't', chunkTimeInterval: 100, integerNowFunction: now })
    await database.db.query(sql`insert into ${sql.name(ints)} select i, i from generate_series(0, 999) i`)
    const name = inSchema('Ints by ten')
    const selectQuery = `sum(v) as total from ${from(ints)} group by bucket`
    await createContinuousAggregate(database.db, name, {
      hypertable: ints,
      timeColumn: 't',
      bucketInterval: 10,
      selectQuery,
    })
    expect(await countOf(name)).toBe(100)
    await database.db.query(sql`insert into ${sql.name(ints)} values (5, 1000)`)
    expect(await refreshContinuousAggregate(database.db, name, { startTime: 0, endTime: 100n })).toMatchObject({
      refreshed: true,
    })
    const { rows } = await database.db.query(sql`select total::int from ${sql.name(name)} where bucket = 0`)
    expect(rows).toEqual([{ total: 1045 }])
  })
})
