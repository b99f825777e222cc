import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
import { PlanError } from '../../src/errors.ts'
import { createContinuousAggregate } from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import {
  type RefreshOptions,
  refreshContinuousAggregate,
  refreshContinuousAggregateSql,
} from '../../src/objects/refresh.ts'
import {
  addContinuousAggregatePolicy,
  addContinuousAggregatePolicySql,
  removeContinuousAggregatePolicy,
} from '../../src/objects/refresh-policy.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

describe('the statements', () => {
  it.each([...OLD, ...NEW])('refresh on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(refreshContinuousAggregateSql(capabilities, 'a.V').statement).toEqual({
      text: `call refresh_continuous_aggregate('"a"."V"'::regclass, NULL, NULL)`,
      values: [],
    })
    const window = { startTime: new Date('2025-01-01T00:00:00Z'), endTime: { ago: '1 hour' } }
    const { text, values } = refreshContinuousAggregateSql(capabilities, 'V', window)
    expect(text).toBe(`call refresh_continuous_aggregate('"V"'::regclass, $1::timestamptz, now() - $2::interval)`)
    expect(values).toHaveLength(2)
    expect(refreshContinuousAggregateSql(capabilities, 'V', { endTime: 5n }).text).toBe(
      `call refresh_continuous_aggregate('"V"'::regclass, NULL, $1::bigint)`,
    )
  })

  it('force where the server can', () => {
    expect(refreshContinuousAggregateSql(capabilitiesOf('2.18.0'), 'V', { force: true }).text).toBe(
      `call refresh_continuous_aggregate('"V"'::regclass, NULL, NULL, force => TRUE)`,
    )
    expect(() => refreshContinuousAggregateSql(capabilitiesOf('2.17.2'), 'V', { force: true })).toThrow(
      expect.objectContaining({ code: 'VERSION_REQUIRED' }),
    )
  })

  it.each<[string, RefreshOptions]>([
    ['dates', { startTime: '2025-01-02', endTime: '2025-01-01' }],
    ['the same date twice', { startTime: '2025-01-02', endTime: new Date('2025-01-02T00:00:00Z') }],
    ['ages', { startTime: { ago: '1 hour' }, endTime: { ago: '1 day' } }],
    ['numbers', { startTime: 10, endTime: 5 }],
  ])('refuse a window the wrong way round: %s', (_what, window) => {
    expect(() => refreshContinuousAggregateSql(capabilitiesOf('2.23.0'), 'V', window)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })

  it.each([...OLD, ...NEW])('add the document’s policy on %s', (version) => {
    const options = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '30 minutes', ifNotExists: true }
    expect(addContinuousAggregatePolicySql(capabilitiesOf(version), 'sensor_data_hourly', options).text).toBe(
      `select * from add_continuous_aggregate_policy('"sensor_data_hourly"'::regclass, start_offset => interval '3 days', end_offset => interval '01:00:00', schedule_interval => interval '00:30:00', if_not_exists => TRUE)`,
    )
  })

  it('add what newer servers know', () => {
    const options = { startOffset: null, endOffset: 10, scheduleInterval: '1 hour', bucketsPerBatch: 5 }
    expect(
      addContinuousAggregatePolicySql(capabilitiesOf('2.28.3'), 'V', { ...options, refreshNewestFirst: true }).text,
    ).toBe(
      `select * from add_continuous_aggregate_policy('"V"'::regclass, start_offset => NULL, end_offset => 10, schedule_interval => interval '01:00:00', buckets_per_batch => 5, refresh_newest_first => TRUE)`,
    )
    expect(() => addContinuousAggregatePolicySql(capabilitiesOf('2.18.0'), 'V', options)).toThrow(
      expect.objectContaining({ code: 'VERSION_REQUIRED' }),
    )
    expect(() =>
      addContinuousAggregatePolicySql(capabilitiesOf('2.23.0'), 'V', { ...options, startOffset: 1 }),
    ).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  type Name = { schema: string; name: string }
  let count = 0
  /** Ten daily chunks from 2025-01-01 on with a row every hour, and an aggregate that is filled. */
  async function createPair(bucketInterval: string): Promise<{ table: Name; view: Name }> {
    count += 1
    const table = { schema: database.schema, name: `T "${count}".x` }
    const view = { schema: database.schema, name: `V "${count}".x` }
    await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null, v float8)`)
    await createHypertable(database.db, table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await database.db.query(sql`
      insert into ${sql.name(table)}
      select timestamptz '2025-01-01 00:00Z' + i * interval '1 hour', i from generate_series(0, 239) i`)
    await createContinuousAggregate(database.db, view, {
      hypertable: table,
      timeColumn: 'time',
      bucketInterval,
      selectQuery: `count(*) as n from ${sql.name(table).text} group by bucket`,
      materializedOnly: true,
    })
    return { table, view }
  }
  const dropBefore = (table: Name, day: string): Promise<unknown> =>
    database.db.query(sql`
      select drop_chunks(${sql.raw(`'${sql.name(table).text.replaceAll("'", "''")}'`)}::regclass, older_than => ${day}::timestamptz)`)
  const countOf = async (view: Name): Promise<number> =>
    (await database.db.query<{ n: number }>(sql`select count(*)::int as n from ${sql.name(view)}`)).rows[0]?.n ?? -1

  it('refuses to delete history whose chunks are dropped, and names the buckets', async () => {
    const { table, view } = await createPair('1 hour')
    await dropBefore(table, '2025-01-05')
    expect(await countOf(view)).toBe(240)
    const error = await refreshContinuousAggregate(database.db, view).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(PlanError)
    expect(error).toMatchObject({ code: 'DATA_LOSS_REFUSED' })
    if (!(error instanceof PlanError)) throw error
    expect(error.message).toContain(`96 buckets from '2025-01-01T00:00:00Z' to '2025-01-04T23:00:00Z'`)
    expect(error.hint).toContain(`startTime: '2025-01-05T00:00:00Z'`)
    expect(await countOf(view)).toBe(240)

    // Also with a window of which only a part is gone, and when all of it is.
    for (const window of [
      { startTime: '2025-01-04T22:00:00Z', endTime: '2025-01-06' },
      { startTime: '2025-01-02', endTime: '2025-01-03' },
      { endTime: '2025-01-02' },
    ]) {
      await expect(refreshContinuousAggregate(database.db, view, window)).rejects.toMatchObject({
        code: 'DATA_LOSS_REFUSED',
      })
    }
    expect(await countOf(view)).toBe(240)
  })

  it('refreshes what is safe, and with allowLoss everything', async () => {
    const { table, view } = await createPair('1 hour')
    await dropBefore(table, '2025-01-05')
    await database.db.query(sql`insert into ${sql.name(table)} values ('2025-01-06 00:30Z', 1)`)
    expect(await refreshContinuousAggregate(database.db, view, { startTime: '2025-01-05' })).toMatchObject({
      refreshed: true,
    })
    expect(await countOf(view)).toBe(240)
    await refreshContinuousAggregate(database.db, view, { allowLoss: true })
    expect(await countOf(view)).toBe(144)
    // Nothing is left to lose.
    await refreshContinuousAggregate(database.db, view)
  })

  it('refuses to falsify a bucket of which a part is dropped', async () => {
    const { table, view } = await createPair('5 days')
    const { rows } = await database.db.query<{ bucket: Date }>(
      sql`select bucket from ${sql.name(view)} order by bucket`,
    )
    await dropBefore(table, new Date((rows[1]?.bucket.getTime() ?? 0) + 86_400_000).toISOString())
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringMatching(/2 buckets/),
    })
  })

  it('does not mistake the beginning of the data for a loss', async () => {
    const { table, view } = await createPair('1 month')
    await database.db.query(
      sql`insert into ${sql.name(table)} values ('2025-01-02 00:30Z', 1), ('2025-01-09 00:30Z', 1)`,
    )
    expect(await refreshContinuousAggregate(database.db, view)).toMatchObject({ refreshed: true })
  })

  it('lets rows that were deleted disappear', async () => {
    const { table, view } = await createPair('1 hour')
    await database.db.query(sql`delete from ${sql.name(table)} where time < '2025-01-02'`)
    expect(await refreshContinuousAggregate(database.db, view)).toMatchObject({ refreshed: true })
    expect(await countOf(view)).toBe(216)
  })

  it('refuses when all chunks are gone', async () => {
    const { table, view } = await createPair('1 hour')
    await dropBefore(table, '2030-01-01')
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringContaining('240 buckets'),
    })
  })

  it('refuses on an aggregate of an aggregate too', async () => {
    const { view } = await createPair('1 hour')
    const upper = { ...view, name: `${view.name} upper` }
    await createContinuousAggregate(database.db, upper, {
      hypertable: view,
      timeColumn: 'bucket',
      bucketInterval: '1 day',
      bucketColumn: 'day',
      selectQuery: `sum(n) as n from ${sql.name(view).text} group by day`,
      materializedOnly: true,
    })
    await dropBefore(view, '2030-01-01')
    await expect(refreshContinuousAggregate(database.db, upper)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringContaining('10 buckets'),
    })
  })

  it('is refused within a transaction, before the server does it', async () => {
    const { view } = await createPair('1 hour')
    await database.db.transaction(async (session) => {
      await expect(refreshContinuousAggregate(session, view)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
      expect((await session.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }])
    })
  })

  it('adds, compares and removes policies', async () => {
    const { table, view } = await createPair('1 hour')
    const options = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '30 minutes' }
    const added = await addContinuousAggregatePolicy(database.db, view, options)
    expect(added).toMatchObject({ created: true, startOffset: '3 days', endOffset: '01:00:00', differences: [] })
    expect((await getHypertableStats(database.db, view)).policies).toMatchObject([
      { kind: 'refresh', jobId: added.jobId },
    ])
    const same = { ...options, startOffset: '72 hours', ifNotExists: true }
    expect(await addContinuousAggregatePolicy(database.db, view, same)).toMatchObject({
      created: false,
      jobId: added.jobId,
      differences: [],
    })
    const open = { ...options, startOffset: null, scheduleInterval: '1 hour' }
    const { differences } = await addContinuousAggregatePolicy(database.db, view, { ...open, ifNotExists: true })
    expect(differences).toEqual([
      { setting: 'startOffset', existing: '3 days', wanted: 'open' },
      { setting: 'scheduleInterval', existing: '00:30:00', wanted: '01:00:00' },
    ])
    await expect(addContinuousAggregatePolicy(database.db, view, open)).rejects.toMatchObject({ code: 'DRIFT' })
    await expect(addContinuousAggregatePolicy(database.db, view, options)).rejects.toThrow(/already exists/)
    await expect(addContinuousAggregatePolicy(database.db, table, options)).rejects.toMatchObject({
      code: 'HYPERTABLE_NOT_FOUND',
    })
    expect(await removeContinuousAggregatePolicy(database.db, view)).toEqual({ removed: true })
    expect(await removeContinuousAggregatePolicy(database.db, view, { ifExists: true })).toEqual({ removed: false })
    await expect(removeContinuousAggregatePolicy(database.db, view)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
