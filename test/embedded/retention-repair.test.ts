import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { connect, type Database } from '../../src/index.ts'

const scratch = mkdtempSync(join(tmpdir(), 'tsdb-retention-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const open = (): Promise<Database> => connect(`embedded:${join(scratch, 'db')}`, { jobs: false })

const EXTENSIONS_OWN = `
  alter extension timescaledb drop procedure _timescaledb_functions.tsdbkit_policy_retention(int, jsonb);
  drop procedure _timescaledb_functions.tsdbkit_policy_retention(int, jsonb);
  create or replace procedure _timescaledb_functions.policy_retention(job_id int, config jsonb)
    language c as '$libdir/timescaledb-2.23.0-dev', 'ts_policy_retention_proc'`

/** Times of one row of each chunk, ten units apart, that are left when those before 20 units ago are dropped. */
async function dropOld(db: Database, type: string): Promise<{ left: number }> {
  const isTime = type === 'timestamptz'
  const time = isTime ? `now() - interval '1 day' * (100 - n)` : 'n'
  const name = `Old ${type}`
  await db.executeQuery(`create table "${name}" (t ${type} not null)`)
  await db.createHypertable(name, { timeColumn: 't', chunkTimeInterval: isTime ? '10 days' : 10 })
  await db.executeQuery(`insert into "${name}" select ${time} from generate_series(0, 100, 10) n`)
  if (!isTime) {
    await db.executeQuery(`create function "at ${type}"() returns ${type} language sql stable as 'select 100::${type}'`)
    await db.executeQuery(`select set_integer_now_func('"${name}"', '"at ${type}"')`)
  }
  const dropAfter = isTime ? '20 days' : 20
  const { jobId = 0 } = await db.addRetentionPolicy(name, { dropAfter, initialStart: '2999-01-01' })
  await db.executeQuery(`call run_job(${jobId})`)
  const { rows } = await db.executeQuery<{ left: number }>(`select count(*)::int as left from "${name}"`)
  return rows[0] ?? { left: Number.NaN }
}

test('a retention policy drops by the values of an integer column, also in a directory of an earlier version', async () => {
  const first = await open()
  for (const statement of EXTENSIONS_OWN.split(';')) await first.executeQuery(statement)
  await first.close()
  await using db = await open()
  // The chunk in which 20 units ago lies is kept; where it begins is the server's choice for times.
  for (const type of ['integer', 'smallint', 'bigint']) await expect(dropOld(db, type)).resolves.toEqual({ left: 3 })
  expect([3, 4]).toContain((await dropOld(db, 'timestamptz')).left)
  const members = await db.sql`
    select from pg_depend where deptype = 'e' and objid::regproc::text = '_timescaledb_functions.tsdbkit_policy_retention'`
  expect(members).toHaveLength(1)
})
