import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createHypertable } from '../../src/objects/hypertable.ts'
import {
  addContinuousAggregatePolicy,
  addContinuousAggregatePolicySql,
  type RefreshPolicyOptions,
} from '../../src/objects/refresh-policy.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf } from '../catalog/capability-set.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

const window: RefreshPolicyOptions = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '1 hour' }

describe('the options of newer servers', () => {
  it('are written where the server has them', () => {
    const options = { ...window, bucketsPerBatch: 5, maxBatchesPerExecution: 0, refreshNewestFirst: false }
    expect(addContinuousAggregatePolicySql(capabilitiesOf('2.28.3'), 'h', options).text).toBe(
      `select * from add_continuous_aggregate_policy('"h"'::regclass, start_offset => interval '3 days', end_offset => interval '01:00:00', schedule_interval => interval '01:00:00', buckets_per_batch => 5, max_batches_per_execution => 0, refresh_newest_first => FALSE)`,
    )
  })

  it.each<[string, Partial<RefreshPolicyOptions>]>([
    ['2.17.2', { includeTieredData: true }],
    ['2.18.0', { bucketsPerBatch: 5 }],
    ['2.18.0', { maxBatchesPerExecution: 5 }],
    ['2.19.0', { refreshNewestFirst: true }],
  ])('%s refuses %o', (version, options) => {
    expect(() => addContinuousAggregatePolicySql(capabilitiesOf(version), 'h', { ...window, ...options })).toThrow(
      expect.objectContaining({ code: 'VERSION_REQUIRED' }),
    )
  })

  it.each([-1, 1.5])('%s is no number of buckets', (bucketsPerBatch) => {
    const options = { ...window, bucketsPerBatch }
    expect(() => addContinuousAggregatePolicySql(capabilitiesOf('2.28.3'), 'h', options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})

describe('on a database', () => {
  let database: TestDatabase
  const own = (name: string): { schema: string; name: string } => ({ schema: database.schema, name })
  beforeAll(async () => {
    database = await openTestDatabase()
    await database.db.query(sql`create table ${sql.name(own('Raw'))} (time timestamptz not null, v int)`)
    await createHypertable(database.db, own('Raw'), { timeColumn: 'time' })
    await database.db.query(sql`
      create materialized view ${sql.name(own('Hourly "h"'))} with (timescaledb.continuous) as
      select time_bucket('1 hour', time) as bucket, sum(v) as total from ${sql.name(own('Raw'))} group by 1 with no data`)
  })
  afterAll(async () => {
    await database.close()
  })

  it('are kept, compared and given back', async ({ skip }) => {
    if (!database.can('newest-first-refresh')) skip('no capability newest-first-refresh')
    const options = { ...window, bucketsPerBatch: 5, maxBatchesPerExecution: 7, refreshNewestFirst: false }
    const added = await addContinuousAggregatePolicy(database.db, own('Hourly "h"'), options)
    expect(added).toMatchObject({
      created: true,
      bucketsPerBatch: 5,
      maxBatchesPerExecution: 7,
      refreshNewestFirst: false,
    })
    const other = { ...options, bucketsPerBatch: 6, refreshNewestFirst: true }
    const same = await addContinuousAggregatePolicy(database.db, own('Hourly "h"'), { ...other, ifNotExists: true })
    expect(same.differences).toEqual([
      { setting: 'bucketsPerBatch', existing: '5', wanted: '6' },
      { setting: 'refreshNewestFirst', existing: 'false', wanted: 'true' },
    ])
    await expect(addContinuousAggregatePolicy(database.db, own('Hourly "h"'), other)).rejects.toMatchObject({
      code: 'DRIFT',
    })
  })
})
