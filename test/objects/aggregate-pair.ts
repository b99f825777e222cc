import { createContinuousAggregate } from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { sql } from '../../src/sql/template.ts'
import type { TestDatabase } from '../setup/database.ts'

export interface Name {
  readonly schema: string
  readonly name: string
}

let count = 0

/** Ten daily chunks from 2025-01-01 on with a row every hour, and an aggregate that is filled. */
export async function createPair(
  { db, schema }: TestDatabase,
  bucketInterval: string,
): Promise<{ readonly table: Name; readonly view: Name }> {
  count += 1
  const table = { schema, name: `T "${count}".x` }
  const view = { schema, name: `V "${count}".x` }
  await db.query(sql`create table ${sql.name(table)} (time timestamptz not null, v float8)`)
  await createHypertable(db, table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.query(sql`
    insert into ${sql.name(table)}
    select timestamptz '2025-01-01 00:00Z' + i * interval '1 hour', i from generate_series(0, 239) i`)
  await createContinuousAggregate(db, view, {
    hypertable: table,
    timeColumn: 'time',
    bucketInterval,
    selectQuery: `count(*) as n from ${sql.name(table).text} group by bucket`,
    materializedOnly: true,
  })
  return { table, view }
}
