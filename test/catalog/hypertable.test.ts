import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readCapabilities } from '../../src/catalog/capabilities.ts'
import { getChunkInfo } from '../../src/catalog/chunk.ts'
import { getHypertableStats, listHypertables } from '../../src/catalog/hypertable.ts'
import { findRelation } from '../../src/catalog/relation.ts'
import type { Session } from '../../src/connection/session.ts'
import { compressChunks } from '../../src/objects/chunk-range.ts'
import { enableCompressionSql } from '../../src/objects/compression.ts'
import { createContinuousAggregate } from '../../src/objects/continuous-aggregate.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase } from '../setup/database.ts'

let database: Awaited<ReturnType<typeof openTestDatabase>>
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(async () => {
  await database.close()
})

type Name = { schema: string; name: string }
let count = 0
async function createTable(columns: string, chunkTimeInterval: string | number = '1 day'): Promise<Name> {
  count += 1
  const name = { schema: database.schema, name: `T "${count}'.é` }
  await database.db.query(sql`create table ${sql.name(name)} (${sql.raw(columns)})`)
  await createHypertable(database.db, name, { timeColumn: 'time', chunkTimeInterval })
  return name
}

/** The session, and how many statements went through it. */
function counted(session: Session): { session: Session; count: () => number } {
  let statements = 0
  return {
    count: () => statements,
    session: {
      database: session.database,
      inTransaction: session.inTransaction,
      query: (statement, options) => {
        statements += 1
        return session.query(statement, options)
      },
      copyIn: session.copyIn.bind(session),
      copyOut: session.copyOut.bind(session),
      queryColumns: session.queryColumns.bind(session),
      streamColumns: session.streamColumns.bind(session),
      streamRows: session.streamRows.bind(session),
      transaction: (run, options) => session.transaction(run, options),
    },
  }
}

describe('an empty hypertable', () => {
  it('has statistics and no chunks', async () => {
    const name = await createTable('time timestamptz not null, v float8')
    expect(await getChunkInfo(database.db, name)).toEqual([])
    const stats = await getHypertableStats(database.db, name)
    expect(stats).toMatchObject({
      ...name,
      numChunks: 0,
      compressedChunks: 0,
      compression: { beforeBytes: 0, afterBytes: 0, ratio: undefined },
      approximateRows: 0,
      oldestRange: undefined,
      newestRange: undefined,
      policies: [],
      continuousAggregates: [],
    })
    expect(stats.totalBytes).toBe(stats.tableBytes + stats.indexBytes + stats.toastBytes)
  })
})

describe('chunks', () => {
  it('come newest first, with ranges, sizes and filters', async () => {
    const name = await createTable('time timestamptz not null, v float8')
    await database.db.query(sql`
      insert into ${sql.name(name)} select timestamptz '2025-01-01 12:00Z' + i * interval '1 day', i from generate_series(0, 4) i`)
    const days = (chunks: { rangeStart: unknown }[]): unknown[] =>
      chunks.map(({ rangeStart }) => (rangeStart instanceof Date ? rangeStart.toISOString().slice(8, 10) : rangeStart))
    const all = await getChunkInfo(database.db, name)
    expect(days(all)).toEqual(['05', '04', '03', '02', '01'])
    expect(all[0]).toMatchObject({
      hypertableSchema: name.schema,
      hypertableName: name.name,
      rangeEnd: new Date('2025-01-06T00:00:00Z'),
      isCompressed: false,
      needsRecompression: false,
      beforeCompressionBytes: undefined,
      tablespace: undefined,
      createdAt: expect.any(Date),
    })
    expect(all.every((chunk) => chunk.totalBytes > 0 && chunk.tableBytes > 0)).toBe(true)
    const filtered = async (filter: Parameters<typeof getChunkInfo>[2]): Promise<unknown[]> =>
      days(await getChunkInfo(database.db, name, filter))
    expect(await filtered({ olderThan: '2025-01-03T00:00:00Z' })).toEqual(['02', '01'])
    expect(await filtered({ olderThan: '2025-01-02T23:59:59Z' })).toEqual(['01'])
    expect(await filtered({ newerThan: new Date('2025-01-04T00:00:00Z') })).toEqual(['05', '04'])
    expect(await filtered({ newerThan: '2025-01-02', olderThan: '2025-01-04' })).toEqual(['03', '02'])
    expect(await filtered({ olderThan: { ago: '1 day' } })).toHaveLength(5)
    expect(await filtered({ compressed: true })).toEqual([])
    expect(await filtered({ compressed: false })).toHaveLength(5)
    await expect(filtered({ compressedOnly: true, compressed: false })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    await expect(filtered({ olderThan: 5 })).rejects.toMatchObject({ code: 'INVALID_TIME' })
  })

  it('of integer time have bigint ranges, exact beyond 2^53', async () => {
    const name = await createTable('time bigint not null', 1_000_000_000)
    await database.db.query(sql`insert into ${sql.name(name)} values (1700000000000000001), (-5)`)
    expect((await getChunkInfo(database.db, name)).map(({ rangeStart, rangeEnd }) => [rangeStart, rangeEnd])).toEqual([
      [1_700_000_000_000_000_000n, 1_700_000_001_000_000_000n],
      [-1_000_000_000n, 0n],
    ])
    expect(await getChunkInfo(database.db, name, { olderThan: 0 })).toHaveLength(1)
    expect(await getHypertableStats(database.db, name)).toMatchObject({
      oldestRange: -1_000_000_000n,
      newestRange: 1_700_000_001_000_000_000n,
    })
    await expect(getChunkInfo(database.db, name, { olderThan: '2025-01-01' })).rejects.toMatchObject({
      code: 'INVALID_TIME',
    })
  })

  it('of a table with hash partitions are all there, once', async () => {
    count += 1
    const name = { schema: database.schema, name: `Hash ${count}` }
    await database.db.query(sql`create table ${sql.name(name)} (time timestamptz not null, s text)`)
    const options = { timeColumn: 'time', chunkTimeInterval: '1 day', partitioningColumn: 's', numberPartitions: 3 }
    await createHypertable(database.db, name, options)
    await database.db.query(sql`
      insert into ${sql.name(name)}
      select timestamptz '2025-01-01' + i * interval '1 hour', 's' || i % 50 from generate_series(0, 47) i`)
    const chunks = await getChunkInfo(database.db, name)
    expect(new Set(chunks.map((chunk) => chunk.chunkName)).size).toBe(chunks.length)
    expect(await getHypertableStats(database.db, name)).toMatchObject({ numChunks: chunks.length })
    expect(chunks.length).toBeGreaterThan(3)
  })

  it('that are dropped are gone from every figure', async () => {
    const name = await createTable('time timestamptz not null, v float8')
    await database.db.query(sql`
      insert into ${sql.name(name)} select timestamptz '2025-01-01' + i * interval '1 day', i from generate_series(0, 3) i`)
    await database.db.query(enableCompressionSql(await readCapabilities(database.db), name))
    await compressChunks(database.db, name)
    const before = await getHypertableStats(database.db, name)
    await database.db.query(sql`
      select drop_chunks(${sql.literal(sql.name(name).text)}::regclass, older_than => timestamptz '2025-01-03')`)
    const after = await getHypertableStats(database.db, name)
    expect(after).toMatchObject({ numChunks: 2, compressedChunks: 2, oldestRange: new Date('2025-01-03') })
    expect(after.compression.beforeBytes).toBeLessThan(before.compression.beforeBytes)
    expect(await getChunkInfo(database.db, name)).toHaveLength(2)
  })
})

describe('statistics', () => {
  it('measure compression and count rows, compressed or not', async () => {
    const name = await createTable('time timestamptz not null, id int, v float8, note text')
    await database.db.query(sql`
      insert into ${sql.name(name)}
      select timestamptz '2025-01-01 00:00Z' + i * interval '10 seconds', i % 5, i, 'note ' || i % 3
      from generate_series(0, 17279) i`)
    await database.db.query(enableCompressionSql(await readCapabilities(database.db), name, { segmentBy: 'id' }))
    // Never analyzed: by size.
    const guess = (await getHypertableStats(database.db, name)).approximateRows
    expect(guess).toBeGreaterThan(17_280 / 3)
    expect(guess).toBeLessThan(17_280 * 3)
    await database.db.query(sql`analyze ${sql.name(name)}`)
    expect((await getHypertableStats(database.db, name)).approximateRows).toBe(17_280)

    await compressChunks(database.db, name, { olderThan: '2025-01-02' })
    const stats = await getHypertableStats(database.db, name)
    expect(stats).toMatchObject({ numChunks: 2, compressedChunks: 1, approximateRows: 17_280 })
    expect(stats.compression.ratio).toBeGreaterThan(2)
    expect(stats.compression.beforeBytes / stats.compression.afterBytes).toBe(stats.compression.ratio)
    const chunks = await getChunkInfo(database.db, name)
    expect(stats.totalBytes).toBeGreaterThanOrEqual(chunks.reduce((sum, chunk) => sum + chunk.totalBytes, 0))
    expect(chunks[1]?.beforeCompressionBytes).toBe(stats.compression.beforeBytes)
  })

  it('list hypertables without the inner tables of aggregates', async () => {
    const name = await createTable('time timestamptz not null')
    const listed = await listHypertables(database.db)
    expect(listed).toContainEqual(expect.objectContaining({ ...name, numChunks: 0, numDimensions: 1 }))
    expect(listed.some((one) => one.schema === '_timescaledb_internal')).toBe(false)
  })

  it('need no right on the table', async (context) => {
    const capabilities = await readCapabilities(database.db)
    if (!capabilities.isSuperuser) context.skip('needs a superuser, to make a role')
    const name = await createTable('time timestamptz not null')
    await database.db.query(sql`insert into ${sql.name(name)} values (now())`)
    await database.db
      .transaction(async (session) => {
        // Somebody else's aggregate, in a schema this role may not use.
        const hidden = { schema: `${database.schema} hidden`, name: 't' }
        await session.query(sql`create schema ${sql.column(hidden.schema)}`)
        await session.query(sql`create table ${sql.name(hidden)} (time timestamptz not null, v float8)`)
        await createHypertable(session, hidden, { timeColumn: 'time' })
        await createContinuousAggregate(
          session,
          { ...hidden, name: 'c' },
          {
            hypertable: hidden,
            timeColumn: 'time',
            bucketInterval: '1 day',
            aggregates: { v: 'AVG' },
            withData: false,
          },
        )
        await session.query(sql`create role "Test nobody"`)
        await session.query(sql`grant usage on schema ${sql.column(database.schema)} to "Test nobody"`)
        await session.query(sql`set local role "Test nobody"`)
        expect(await getHypertableStats(session, name)).toMatchObject({ numChunks: 1 })
        expect(await getChunkInfo(session, name)).toHaveLength(1)
        throw new Error('roll back')
      })
      .catch((error: unknown) => {
        if (!(error instanceof Error) || error.message !== 'roll back') throw error
      })
  })

  it('take as many statements for 400 chunks as for 4', async () => {
    const calls = async (chunks: number): Promise<{ chunkInfo: number; stats: number }> => {
      const name = await createTable('time timestamptz not null')
      await database.db.query(sql`
        insert into ${sql.name(name)}
        select timestamptz '2025-01-01 12:00Z' + i * interval '1 day' from generate_series(1, ${chunks}::int) i`)
      const forChunks = counted(database.db)
      expect(await getChunkInfo(forChunks.session, name)).toHaveLength(chunks)
      const forStats = counted(database.db)
      expect(await getHypertableStats(forStats.session, name)).toMatchObject({ numChunks: chunks })
      return { chunkInfo: forChunks.count(), stats: forStats.count() }
    }
    expect(await calls(400)).toEqual(await calls(4))
  })
})

it('findRelation tells what a name is', async () => {
  const name = await createTable('time timestamptz not null')
  expect(await findRelation(database.db, name)).toEqual({ ...name, kind: 'hypertable', storage: name })
  expect(await findRelation(database.db, { ...name, name: 'nothing' })).toBeUndefined()
  expect(await findRelation(database.db, { schema: 'no such schema', name: 'x' })).toBeUndefined()
  expect(await findRelation(database.db, 'pg_catalog.pg_class')).toMatchObject({ kind: 'table', storage: undefined })
})
