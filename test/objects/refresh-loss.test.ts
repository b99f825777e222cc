import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PlanError } from '../../src/errors.ts'
import { createContinuousAggregate } from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { refreshContinuousAggregate } from '../../src/objects/refresh.ts'
import type { Span } from '../../src/objects/span.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase } from '../setup/database.ts'
import { createPair, type Name } from './aggregate-pair.ts'

describe('a refresh over dropped chunks', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  const dropBefore = (table: Name, day: string): Promise<unknown> =>
    database.db.query(sql`
      select drop_chunks(${sql.raw(`'${sql.name(table).text.replaceAll("'", "''")}'`)}::regclass, older_than => ${day}::timestamptz)`)
  const countOf = async (view: Name): Promise<number> =>
    (await database.db.query<{ n: number }>(sql`select count(*)::int as n from ${sql.name(view)}`)).rows[0]?.n ?? -1

  it('refuses to delete history whose chunks are dropped, and names the buckets', async () => {
    const { table, view } = await createPair(database, '1 hour')
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
    const { table, view } = await createPair(database, '1 hour')
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
    const { table, view } = await createPair(database, '5 days')
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
    const { table, view } = await createPair(database, '1 month')
    await database.db.query(
      sql`insert into ${sql.name(table)} values ('2025-01-02 00:30Z', 1), ('2025-01-09 00:30Z', 1)`,
    )
    expect(await refreshContinuousAggregate(database.db, view)).toMatchObject({ refreshed: true })
  })

  it('lets rows that were deleted disappear', async () => {
    const { table, view } = await createPair(database, '1 hour')
    await database.db.query(sql`delete from ${sql.name(table)} where time < '2025-01-02'`)
    expect(await refreshContinuousAggregate(database.db, view)).toMatchObject({ refreshed: true })
    expect(await countOf(view)).toBe(216)
  })

  it('is not misled by a late row that makes a dropped chunk anew', async () => {
    const { table, view } = await createPair(database, '1 hour')
    await dropBefore(table, '2025-01-05')
    await database.db.query(
      sql`insert into ${sql.name(table)} values ('2025-01-01 05:30Z', 1), ('2025-01-03 00:30Z', 1)`,
    )
    const refused = { code: 'DATA_LOSS_REFUSED', message: expect.stringContaining('94 buckets from') }
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject(refused)
    // The server then keeps what has changed in another form.
    await refreshContinuousAggregate(database.db, view, { startTime: '2025-01-05' })
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject({
      ...refused,
      hint: expect.stringContaining(`startTime: '2025-01-05T00:00:00Z'`),
    })
    const late = { startTime: '2025-01-03T01:00:00Z', endTime: '2025-01-03T04:00:00Z' }
    await expect(refreshContinuousAggregate(database.db, view, late)).rejects.toMatchObject({
      message: expect.stringContaining('3 buckets'),
    })
    expect(await countOf(view)).toBe(240)
    await refreshContinuousAggregate(database.db, view, { allowLoss: true })
    expect(await countOf(view)).toBe(146)
  })

  it('sees under a late row that a wide bucket has lost a part', async () => {
    const { table, view } = await createPair(database, '1 month')
    await dropBefore(table, '2025-01-05')
    await database.db.query(sql`insert into ${sql.name(table)} values ('2025-01-01 05:30Z', 1)`)
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringContaining('the bucket'),
    })
  })

  it('lets a dropped chunk that was loaded again be refreshed', async () => {
    const { table, view } = await createPair(database, '1 hour')
    await dropBefore(table, '2025-01-03')
    await database.db.query(sql`
      insert into ${sql.name(table)}
      select timestamptz '2025-01-01 00:00Z' + i * interval '1 hour', 0 from generate_series(0, 47) i`)
    expect(await refreshContinuousAggregate(database.db, view)).toMatchObject({ refreshed: true })
    expect(await countOf(view)).toBe(240)
  })

  it('forced, still tells deleted rows from dropped chunks', async (context) => {
    context.skip(!database.can('forced-refresh'), 'needs forced-refresh')
    const { table, view } = await createPair(database, '1 hour')
    await dropBefore(table, '2025-01-02')
    await database.db.query(sql`insert into ${sql.name(table)} values ('2025-01-01 05:30Z', 1)`)
    await database.db.query(
      sql`delete from ${sql.name(table)} where time between '2025-01-03 02:00Z' and '2025-01-03 04:00Z'`,
    )
    const force = { force: true }
    await expect(refreshContinuousAggregate(database.db, view, force)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringMatching(/23 buckets .* to '2025-01-01T23:00:00Z'/),
    })
    await refreshContinuousAggregate(database.db, view, { ...force, startTime: '2025-01-02' })
    expect(await countOf(view)).toBe(237)
  })

  it.each<[string, Span, Span, string, string, string, string]>([
    ['date', '2 days', '1 day', `date '2025-01-01' + i`, `'2025-01-05'`, `'2025-01-03'`, '2 buckets'],
    ['bigint', 10, 5, 'i * 5', '20', '12', '3 buckets'],
  ])(
    'does so with a time column of type %s',
    async (type, chunkTimeInterval, bucketInterval, times, cut, late, lost) => {
      const { db, schema } = database
      const named = (name: string): Name => ({ schema, name: `${name} of ${type}` })
      const [table, view, now] = [named('T'), named('V'), named('now')]
      await db.query(sql`create table ${sql.name(table)} ("Time" ${sql.raw(type)} not null)`)
      await db.query(
        sql`create function ${sql.name(now)}() returns bigint language sql stable as 'select 1000::bigint'`,
      )
      const integerNow = type === 'bigint' ? { integerNowFunction: now } : {}
      await createHypertable(db, table, { timeColumn: 'Time', chunkTimeInterval, ...integerNow })
      await db.query(sql`insert into ${sql.name(table)} select ${sql.raw(times)} from generate_series(0, 9) i`)
      const query = { hypertable: table, timeColumn: 'Time', bucketInterval, aggregates: { n: 'COUNT(*)' } } as const
      await createContinuousAggregate(db, view, { ...query, materializedOnly: true })
      expect(await countOf(view)).toBe(10)
      await db.query(sql`
      select drop_chunks(${sql.literal(sql.name(table).text)}::regclass, older_than => ${sql.raw(cut)}::${sql.raw(type)})`)
      await db.query(sql`insert into ${sql.name(table)} values (${sql.raw(late)})`)
      await expect(refreshContinuousAggregate(db, view)).rejects.toMatchObject({
        code: 'DATA_LOSS_REFUSED',
        message: expect.stringContaining(lost),
      })
      expect(await countOf(view)).toBe(10)
    },
  )

  it('refuses when all chunks are gone', async () => {
    const { table, view } = await createPair(database, '1 hour')
    await dropBefore(table, '2030-01-01')
    await expect(refreshContinuousAggregate(database.db, view)).rejects.toMatchObject({
      code: 'DATA_LOSS_REFUSED',
      message: expect.stringContaining('240 buckets'),
    })
  })

  it('refuses on an aggregate of an aggregate too', async () => {
    const { view } = await createPair(database, '1 hour')
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
})
