import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
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
import { createPair } from './aggregate-pair.ts'

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

  it('is refused within a transaction, before the server does it', async () => {
    const { view } = await createPair(database, '1 hour')
    await database.db.transaction(async (session) => {
      await expect(refreshContinuousAggregate(session, view)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
      expect((await session.query(sql`select 1 as one`)).rows).toEqual([{ one: 1 }])
    })
  })

  it('adds, compares and removes policies', async () => {
    const { table, view } = await createPair(database, '1 hour')
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
    await expect(addContinuousAggregatePolicy(database.db, view, options)).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    await expect(addContinuousAggregatePolicy(database.db, table, options)).rejects.toMatchObject({
      code: 'HYPERTABLE_NOT_FOUND',
    })
    expect(await removeContinuousAggregatePolicy(database.db, view)).toEqual({ removed: true })
    expect(await removeContinuousAggregatePolicy(database.db, view, { ifExists: true })).toEqual({ removed: false })
    await expect(removeContinuousAggregatePolicy(database.db, view)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
