import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import {
  addRetentionPolicy,
  addRetentionPolicySql,
  type RetentionPolicyOptions,
  removeRetentionPolicy,
  removeRetentionPolicySql,
} from '../../src/objects/retention.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

describe('the statements', () => {
  it.each([...OLD, ...NEW])('are the same on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(
      addRetentionPolicySql(capabilities, 'sensor_data', { dropAfter: '30 days', ifNotExists: true }).statement,
    ).toEqual({
      text: `select * from add_retention_policy('"sensor_data"'::regclass, drop_after => interval '30 days', if_not_exists => TRUE)`,
      values: [],
    })
    expect(removeRetentionPolicySql(capabilities, 'a.B', { ifExists: true }).text).toBe(
      `select * from remove_retention_policy('"a"."B"'::regclass, if_exists => TRUE)`,
    )
  })

  it('write every option', () => {
    const options: RetentionPolicyOptions = {
      dropCreatedBefore: { months: 1 },
      scheduleInterval: '1 hour',
      initialStart: '2027-01-01T00:00:00Z',
      timezone: "Europe/O'Hara",
    }
    const { text, values } = addRetentionPolicySql(capabilitiesOf('2.23.0'), 't', options)
    expect(text).toBe(
      `select * from add_retention_policy('"t"'::regclass, drop_created_before => interval '1 mon', schedule_interval => interval '01:00:00', initial_start => $1::timestamptz, timezone => 'Europe/O''Hara')`,
    )
    expect(values).toHaveLength(1)
  })

  it('need the Community edition', () => {
    const apache = capabilitiesOf('2.23.0', 'apache')
    const required = expect.objectContaining({ code: 'EDITION_REQUIRED' })
    expect(() => addRetentionPolicySql(apache, 't', { dropAfter: '1 day' })).toThrow(required)
    expect(() => removeRetentionPolicySql(apache, 't')).toThrow(required)
  })

  it.each<[string, RetentionPolicyOptions]>([
    ['nothing', {}],
    ['both', { dropAfter: '1 day', dropCreatedBefore: '1 day' }],
    ['a negative span', { dropAfter: '-1 day' }],
    ['zero', { dropAfter: 0 }],
  ])('refuse %s', (_what, options) => {
    expect(() => addRetentionPolicySql(capabilitiesOf('2.23.0'), 't', options)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  let table: { schema: string; name: string }
  beforeAll(async () => {
    database = await openTestDatabase()
    table = { schema: database.schema, name: 'Sensor "data".1' }
    await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null)`)
    await createHypertable(database.db, table, { timeColumn: 'time' })
  })
  afterAll(async () => {
    await database.close()
  })

  it('adds, finds the same, names differences, refuses drift, removes', async () => {
    const added = await addRetentionPolicy(database.db, table, { dropAfter: '30 days', ifNotExists: true })
    expect(added).toMatchObject({ created: true, dropAfter: '30 days', differences: [], jobId: expect.any(Number) })
    expect((await getHypertableStats(database.db, table)).policies).toMatchObject([
      { jobId: added.jobId, kind: 'retention' },
    ])

    const same = await addRetentionPolicy(database.db, table, { dropAfter: '720 hours', ifNotExists: true })
    expect(same).toMatchObject({ created: false, jobId: added.jobId, differences: [] })

    const other = { dropAfter: '31 days', scheduleInterval: '7 minutes' }
    const different = await addRetentionPolicy(database.db, table, { ...other, ifNotExists: true })
    expect(different).toMatchObject({ created: false, jobId: added.jobId, dropAfter: '30 days' })
    expect(different.differences).toEqual([
      { setting: 'dropAfter', existing: '30 days', wanted: '31 days' },
      { setting: 'scheduleInterval', existing: added.scheduleInterval, wanted: '00:07:00' },
    ])
    await expect(addRetentionPolicy(database.db, table, other)).rejects.toMatchObject({ code: 'DRIFT' })
    await expect(addRetentionPolicy(database.db, table, { dropAfter: '30 days' })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })

    expect(await removeRetentionPolicy(database.db, table)).toEqual({ removed: true })
    expect(await removeRetentionPolicy(database.db, table, { ifExists: true })).toEqual({ removed: false })
    await expect(removeRetentionPolicy(database.db, table)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('says that a policy by creation is not one by age', async () => {
    const added = await addRetentionPolicy(database.db, table, {
      dropCreatedBefore: '1 year',
      initialStart: new Date('2100-01-01T00:00:00Z'),
      timezone: 'Europe/Berlin',
    })
    expect(added).toMatchObject({ created: true, dropAfter: undefined, dropCreatedBefore: '1 year' })
    const [policy] = (await getHypertableStats(database.db, table)).policies
    expect(policy).toMatchObject({
      initialStart: new Date('2100-01-01T00:00:00Z'),
      timezone: 'Europe/Berlin',
      fixedSchedule: true,
    })
    const { differences } = await addRetentionPolicy(database.db, table, { dropAfter: '1 year', ifNotExists: true })
    expect(differences).toEqual([{ setting: 'dropAfter', existing: '(none)', wanted: '1 year' }])
    await removeRetentionPolicy(database.db, table)
  })

  it('takes numbers for an integer time column', async () => {
    const name = { schema: database.schema, name: 'Int' }
    const now = { schema: database.schema, name: 'int_now' }
    await database.db.query(sql`create table ${sql.name(name)} (t bigint not null)`)
    await database.db.query(
      sql`create function ${sql.name(now)}() returns bigint language sql stable as 'select 5000::bigint'`,
    )
    await createHypertable(database.db, name, { timeColumn: 't', chunkTimeInterval: 10, integerNowFunction: now })
    expect(await addRetentionPolicy(database.db, name, { dropAfter: 2_000n })).toMatchObject({ dropAfter: '2000' })
    const { differences } = await addRetentionPolicy(database.db, name, { dropAfter: 100, ifNotExists: true })
    expect(differences).toEqual([{ setting: 'dropAfter', existing: '2000', wanted: '100' }])
  })

  it('refuses what is no hypertable', async () => {
    const plain = { schema: database.schema, name: 'plain' }
    await database.db.query(sql`create table ${sql.name(plain)} (t int)`)
    const add = (name: typeof plain): Promise<unknown> => addRetentionPolicy(database.db, name, { dropAfter: '1 day' })
    await expect(add(plain)).rejects.toMatchObject({ code: 'HYPERTABLE_NOT_FOUND' })
    await expect(add({ ...plain, name: 'nothing' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })
})
