import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import { histogram, max } from '../../src/sql/aggregate.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let db: Client
const place = (): { schema: string; name: string } => ({ schema: database.schema, name: 'Sensor.Data' })
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
  await db.sql`create table ${sql.name(place())} (time timestamptz not null, "Sensor 1.a" text, v float8, n numeric)`
  await db.createHypertable(place(), { timeColumn: 'time' })
  await db.sql`insert into ${sql.name(place())} values ('2025-01-01T00:10Z', 'a', 1, 1.5), ('2025-01-01T00:50Z', 'a', 3, 2),
    ('2025-01-01T02:10Z', 'b', 5, null)`
})
afterAll(() => database.close())

describe('queryToColumns', () => {
  test('columns by name and in their order, values one by one, as a list and as an iterable', async () => {
    const columns = await db.queryToColumns(
      'select x as n, nullif(x, 2)::text as t from generate_series(1, $1::int) x order by x',
      [3],
    )
    expect([columns.length, columns.command, columns.notices]).toEqual([3, 'SELECT', []])
    expect([...columns].map(({ name, type, nullCount }) => [name, type, nullCount])).toEqual([
      ['n', { kind: 'int32' }, 0],
      ['t', { kind: 'text' }, 1],
    ])
    const [n, t] = [columns.column('n'), columns.column('t')]
    expect(n.toArray()).toBe(n.values)
    expect([t.get(0), t.get(1), t.get(3), t.get(-1), t.get(0.5)]).toEqual(['1', null, undefined, undefined, undefined])
    expect([...t]).toEqual(['1', null, '3'])
    expect([t.validity[0]! & 7, n.validity.length]).toEqual([0b101, 0])
  })

  test('a column that is not there, or twice', async () => {
    const columns = await db.queryToColumns('select 1 as a, 2 as "b 1", 3 as "b 1"')
    expect(columns.columns.map((column) => column.get(0))).toEqual([1, 2, 3])
    expect(() => columns.column('c')).toThrow(/"c"/)
    expect(() => columns.column('b 1')).toThrow(/Two columns/)
  })

  test('unknown options and no statement are refused', async () => {
    for (const options of [{ int8: 'bigint' }, { numeric: 'number' }, { batchRows: 3 }]) {
      const call = db.queryToColumns('select 1', [], options as object)
      await expect(call).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
    await expect(db.queryToColumns(undefined as unknown as string)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('in a transaction', async () => {
    const seen = await db.transaction(async (tx) => {
      await tx.sql`insert into ${sql.name(place())} values ('2020-01-01Z', 'c', 9, 9)`
      const rows = await tx.queryToColumns(`select v from ${sql.name(place()).text} where "Sensor 1.a" = 'c'`)
      await tx.sql`delete from ${sql.name(place())} where "Sensor 1.a" = 'c'`
      return rows.column('v').toArray()
    })
    expect(seen).toEqual(new Float64Array([9]))
  })
})

describe('time buckets and gaps', () => {
  const options = { timeColumn: 'time', bucketInterval: '1 hour' } as const

  test('as columns named as the rows, with numeric as numbers', async () => {
    const columns = await db.timeBucketColumns(place(), {
      ...options,
      groupBy: 'Sensor 1.a',
      aggregations: {
        mean: 'AVG(n)',
        most: max('v'),
        count: 'COUNT(*)',
        spread: histogram('v', { min: 0, max: 4, buckets: 2 }),
      },
    })
    expectTypeOf(columns.column)
      .parameter(0)
      .toEqualTypeOf<'bucket' | 'Sensor 1.a' | 'mean' | 'most' | 'count' | 'spread'>()
    expect(columns.column('bucket').toArray()).toEqual(
      new BigInt64Array([1735689600000000n, 1735689600000000n + 7_200_000_000n]),
    )
    expect(columns.column('mean').toArray()).toEqual([1.75, null])
    expect(columns.column('count').toArray()).toEqual(new BigInt64Array([2n, 1n]))
    expect(columns.column('spread').toArray()).toEqual([
      [0, 1, 1, 0],
      [0, 0, 0, 1],
    ])
    const df = await columns.toDataFrame()
    expect(df.objects()).toEqual(
      await db.timeBucketQuery(place(), {
        ...options,
        groupBy: 'Sensor 1.a',
        aggregations: {
          mean: 'AVG(n)',
          most: max('v'),
          count: 'COUNT(*)',
          spread: histogram('v', { min: 0, max: 4, buckets: 2 }),
        },
      }),
    )
  })

  test('gaps filled, as columns', async () => {
    const filled = {
      ...options,
      startTime: '2025-01-01',
      endTime: '2025-01-01T03:00Z',
      columns: ['v'],
      fillMethod: 'locf',
    }
    const columns = await db.fillGapsColumns(place(), { ...filled, columns: ['v'], fillMethod: 'locf' })
    expectTypeOf(columns.column).parameter(0).toEqualTypeOf<'bucket' | 'v'>()
    expect(columns.column('v').toArray()).toEqual(new Float64Array([2, 2, 5]))
    expect((await columns.toDataFrame()).get('bucket', 1)).toEqual(new Date('2025-01-01T01:00Z'))
    // What can be refused is refused before anything is sent.
    await expect(
      db.fillGapsColumns(place(), { ...filled, endTime: 'infinity', fillMethod: 'null' }),
    ).rejects.toMatchObject({
      code: 'INVALID_TIME',
    })
  })
})
