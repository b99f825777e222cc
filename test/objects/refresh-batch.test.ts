import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
const table = (): { schema: string; name: string } => ({ schema: database.schema, name: `It's "raw".x` })
beforeAll(async () => {
  database = await openTestDatabase()
  await database.client.sql`create table ${sql.name(table())} (time timestamptz not null, v float8)`
  await database.client.createHypertable(table(), { timeColumn: 'time', chunkTimeInterval: '10 days' })
  await database.client.sql`
    insert into ${sql.name(table())}
    select timestamptz '2025-01-01 00:30Z' + i * interval '3 hours', i from generate_series(0, 1000) i`
})
afterAll(() => database.close())

let count = 0
async function make(options: object): Promise<{ schema: string; name: string }> {
  const view = { schema: database.schema, name: `V "${count++}"` }
  const query = { hypertable: table(), timeColumn: 'time', aggregates: { n: 'COUNT(*)' }, withData: false } as const
  await database.client.createContinuousAggregate(view, {
    ...query,
    bucketInterval: '1 day',
    materializedOnly: true,
    ...options,
  })
  return view
}

const rowsOf = (view: { schema: string; name: string }): Promise<unknown[]> =>
  database.client.sql`select * from ${sql.name(view)} order by bucket`

describe('a refresh in batches', () => {
  it.each([
    [{ bucketInterval: '6 hours' }, '40 hours'],
    [{ bucketInterval: '6 hours', offset: '1 hour' }, '7 days'],
    [{ bucketInterval: '1 day', origin: '2000-01-01T05:00:00Z' }, '10 days'],
    [{ bucketInterval: '1 day', timezone: 'Europe/Berlin' }, '9 days'],
    [{ bucketInterval: '1 day', timezone: 'America/New_York', offset: '7 hours' }, '9 days'],
    [{ bucketInterval: '1 month' }, '20 days'],
    [{ bucketInterval: '7 days' }, '1 hour'],
  ] as const)('of %j by %s gives what one refresh gives', { timeout: 30_000 }, async (options, batch) => {
    const { client } = database
    for (const window of [{}, { startTime: '2025-01-09T01:00:00Z', endTime: '2025-04-20T05:00:00Z' }]) {
      const [whole, parts] = [await make(options), await make(options)]
      await client.refreshContinuousAggregate(whole, window)
      const seen: string[] = []
      const onProgress = (one: { done: number; total: number }): unknown => seen.push(`${one.done}/${one.total}`)
      expect(await client.refreshContinuousAggregate(parts, { ...window, batch, onProgress })).toMatchObject({
        refreshed: true,
      })
      expect(await rowsOf(parts)).toEqual(await rowsOf(whole))
      expect(seen.length).toBeGreaterThan(1)
      expect(seen.at(-1)).toBe(`${seen.length}/${seen.length}`)
      for (const view of [whole, parts]) await client.dropContinuousAggregate(view)
    }
  })

  it('keeps what is done when it is stopped, and says how far that is', async () => {
    const view = await make({})
    let reached: unknown
    await expect(
      database.client.refreshContinuousAggregate(view, {
        batch: '10 days',
        onProgress: ({ done, endTime }) => {
          reached = endTime
          if (done === 2) throw new Error('stop')
        },
      }),
    ).rejects.toThrow('stop')
    const rows = await database.client.sql<{ n: number }>`
      select count(*)::int as n, max(bucket) + interval '1 day' as reached from ${sql.name(view)}`
    expect(rows).toEqual([{ n: expect.any(Number), reached }])
    expect(rows[0]?.n).toBeGreaterThan(9)
  })

  it('is refused where a part of it would lose history, before anything is done', async () => {
    const view = await make({ withData: true })
    await database.client.sql`insert into ${sql.name(table())} values ('2025-04-01 00:10Z')`
    const before = await rowsOf(view)
    const name = sql.literal(sql.name(table()).text)
    await database.client.transaction(async (tx) => {
      await tx.sql`select drop_chunks(${name}::regclass, newer_than => '2025-04-20'::timestamptz)`
    })
    await expect(database.client.refreshContinuousAggregate(view, { batch: '5 days' })).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
    })
    expect(await rowsOf(view)).toEqual(before)
  })

  it('takes a span of the kind of the time column', async () => {
    const view = await make({})
    for (const batch of [5, '-1 day', '0 days', 'many'])
      await expect(database.client.refreshContinuousAggregate(view, { batch })).rejects.toMatchObject({
        name: 'UsageError',
      })
  })

  it('counts in an integer time column', async () => {
    const { client, schema } = database
    const numbers = { schema, name: 'Numbers' }
    await client.executeQuery(
      `create function ${sql.name({ schema, name: 'present' }).text}() returns bigint language sql stable as 'select 100::bigint'`,
    )
    await client.sql`create table ${sql.name(numbers)} (time bigint not null)`
    const integerNowFunction = { schema, name: 'present' }
    await client.createHypertable(numbers, { timeColumn: 'time', chunkTimeInterval: 20, integerNowFunction })
    await client.sql`insert into ${sql.name(numbers)} select i from generate_series(0, 99) i`
    const view = await make({ hypertable: numbers, bucketInterval: 4, offset: 1 })
    const ends: unknown[] = []
    await client.refreshContinuousAggregate(view, { batch: 30, onProgress: ({ endTime }) => ends.push(endTime) })
    expect(ends.length).toBeGreaterThan(2)
    expect(await client.sql`select sum(n)::int as n, count(*)::int as buckets from ${sql.name(view)}`).toEqual([
      { n: 100, buckets: 26 },
    ])
  })
})
