import { expect } from 'vitest'
import type { RelationName } from '../../src/catalog/relation.ts'
import type { Session } from '../../src/connection/session.ts'
import { sql } from '../../src/sql/template.ts'

/** What depends on the order of compressed batches in one way or another; T is the table. */
const queries: readonly string[] = [
  'select count(*)::int, sum(v), min(time), max(time) from T',
  'select * from T order by time, v, note limit 500',
  'select * from T order by time desc, v desc, note limit 500',
  'select "Sen.sor", array_agg(time order by time)::text as times from T group by 1 order by 1',
  'select "Sen.sor", count(*)::int, first(time, time), last(time, time), last(v, v) from T group by 1 order by 1',
  `select time_bucket('1 hour', time) b, count(*)::int, sum(v) from T group by 1 order by 1`,
  `select time_bucket('7 min', time) b, "Sen.sor", max(v) from T group by 1, 2 order by 1, 2`,
  `select * from T where time >= '2025-01-01 05:00Z' and time < '2025-01-01 09:00Z' order by time, v, note`,
  `select time, v - lag(v) over (partition by "Sen.sor" order by time, v) as step from T where "Sen.sor" = 's"1'
    and time < '2025-01-02Z' order by time, v`,
  `select time_bucket_gapfill('6 hours', time, '2025-01-01Z'::timestamptz, '2025-01-05Z'::timestamptz) b, count(v)::int
    from T where time >= '2025-01-01Z' and time < '2025-01-05Z' group by 1 order by 1`,
]

/** Compares a hypertable of time, "Sen.sor", v and note with a heap of the same rows. */
export async function expectSameAnswers(db: Session, table: RelationName, heap: RelationName): Promise<void> {
  for (const text of queries) {
    const of = async (name: RelationName): Promise<unknown> =>
      (await db.query(sql.raw(text.replaceAll(/\bT\b/g, sql.name(name).text)))).rows
    expect(await of(table), text).toEqual(await of(heap))
  }
}
