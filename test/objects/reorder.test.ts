import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { getJob } from '../../src/catalog/job.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { disableJob } from '../../src/objects/job.ts'
import { runJob } from '../../src/objects/job-run.ts'
import {
  addReorderPolicy,
  addReorderPolicySql,
  removeReorderPolicy,
  removeReorderPolicySql,
} from '../../src/objects/reorder.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

describe('the statements', () => {
  it.each([...OLD, ...NEW])('are the same on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    const { text, values } = addReorderPolicySql(
      capabilities,
      { schema: 'Test 1.a', name: 'b' },
      { index: "it's.1", ifNotExists: true, initialStart: '2027-01-01T00:00:00Z', timezone: 'UTC' },
    )
    expect(text).toBe(
      `select * from add_reorder_policy('"Test 1.a"."b"'::regclass, 'it''s.1', if_not_exists => TRUE, initial_start => $1::timestamptz, timezone => 'UTC')`,
    )
    expect(values).toHaveLength(1)
    expect(removeReorderPolicySql(capabilities, 'b', { ifExists: true }).text).toBe(
      `select * from remove_reorder_policy('"b"'::regclass, if_exists => TRUE)`,
    )
  })

  it('need an index, and the Community edition', () => {
    const wrong = expect.objectContaining({ code: 'INVALID_OPTION' })
    expect(() => addReorderPolicySql(capabilitiesOf('2.23.0'), 't', JSON.parse('{}'))).toThrow(wrong)
    const required = expect.objectContaining({ code: 'EDITION_REQUIRED' })
    expect(() => addReorderPolicySql(capabilitiesOf('2.23.0', 'apache'), 't', { index: 'i' })).toThrow(required)
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  let table: { schema: string; name: string }
  beforeAll(async () => {
    database = await openTestDatabase()
    table = { schema: database.schema, name: 'Sensor "data".1' }
    await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null, sensor int)`)
    await createHypertable(database.db, table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await database.db.query(sql`create index "By sensor.1" on ${sql.name(table)} (sensor, time)`)
    await database.db.query(sql`
      insert into ${sql.name(table)} select '2025-01-01'::timestamptz + i * interval '1 hour', 7 * i % 24 from generate_series(0, 119) i`)
  })
  afterAll(async () => {
    await database.close()
  })

  it('adds, finds the same, names differences, refuses drift, removes', async () => {
    const added = await addReorderPolicy(database.db, table, {
      index: 'By sensor.1',
      initialStart: '2100-01-01T00:00:00Z',
    })
    expect(added).toMatchObject({ created: true, index: 'By sensor.1', differences: [], jobId: expect.any(Number) })
    expect(await getJob(database.db, added.jobId)).toMatchObject({ kind: 'reorder', relation: table })
    const same = await addReorderPolicy(database.db, table, { index: 'By sensor.1', ifNotExists: true })
    expect(same).toMatchObject({ created: false, jobId: added.jobId, differences: [] })
    const other = { index: 'Sensor "data".1_time_idx' }
    expect((await addReorderPolicy(database.db, table, { ...other, ifNotExists: true })).differences).toEqual([
      { setting: 'index', existing: 'By sensor.1', wanted: other.index },
    ])
    await expect(addReorderPolicy(database.db, table, other)).rejects.toMatchObject({ code: 'DRIFT' })
    await expect(addReorderPolicy(database.db, table, { index: 'By sensor.1' })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    })
    expect(await removeReorderPolicy(database.db, table)).toEqual({ removed: true })
    expect(await removeReorderPolicy(database.db, table, { ifExists: true })).toEqual({ removed: false })
    await expect(removeReorderPolicy(database.db, table)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('puts the rows of an old chunk in the order of the index', async () => {
    const { jobId } = await addReorderPolicy(database.db, table, {
      index: 'By sensor.1',
      initialStart: '2100-01-01T00:00:00Z',
    })
    await disableJob(database.db, jobId)
    expect(await runJob(database.db, jobId)).toMatchObject({ outcome: 'success' })
    const { rows } = await database.db.query<{ sensor: number }>(
      sql`select sensor from ${sql.name(table)} where time < '2025-01-02' order by tableoid, ctid`,
    )
    expect(rows.map(({ sensor }) => sensor)).toEqual([...Array(24).keys()])
    await removeReorderPolicy(database.db, table)
  })

  it('refuses what is no hypertable, and an index that is not there', async () => {
    const plain = { schema: database.schema, name: 'plain' }
    await database.db.query(sql`create table ${sql.name(plain)} (t int)`)
    await expect(addReorderPolicy(database.db, plain, { index: 'i' })).rejects.toMatchObject({
      code: 'HYPERTABLE_NOT_FOUND',
    })
    await expect(addReorderPolicy(database.db, table, { index: 'nothing' })).rejects.toMatchObject({
      name: 'QueryError',
    })
  })
})
