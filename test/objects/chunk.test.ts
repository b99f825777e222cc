import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readCapabilities } from '../../src/catalog/capabilities.ts'
import { getChunkInfo } from '../../src/catalog/chunk.ts'
import { getHypertableStats } from '../../src/catalog/hypertable.ts'
import { compressChunk, compressChunkSql, decompressChunk, decompressChunkSql } from '../../src/objects/chunk.ts'
import { compressChunks, decompressChunks } from '../../src/objects/chunk-range.ts'
import { enableCompressionSql } from '../../src/objects/compression.ts'
import { dropChunks, dropChunksSql } from '../../src/objects/drop-chunks.ts'
import { createHypertable } from '../../src/objects/hypertable.ts'
import { formatName } from '../../src/sql/identifier.ts'
import { sql } from '../../src/sql/template.ts'
import { capabilitiesOf, NEW, OLD } from '../catalog/capability-set.ts'
import { onServer, openTestDatabase } from '../setup/database.ts'

const chunk = { schema: '_timescaledb_internal', name: '_hyper_1_2_chunk' }
const literal = `'"_timescaledb_internal"."_hyper_1_2_chunk"'::regclass`

describe('the statements', () => {
  it.each(OLD)('use the functions on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(compressChunkSql(capabilities, chunk).text).toBe(
      `select * from compress_chunk(${literal}, if_not_compressed => TRUE)`,
    )
    expect(decompressChunkSql(capabilities, chunk).text).toBe(
      `select * from decompress_chunk(${literal}, if_compressed => TRUE)`,
    )
    expect(() => compressChunkSql(capabilities, chunk, { recompress: true })).toThrow(
      expect.objectContaining({ code: 'VERSION_REQUIRED' }),
    )
  })

  it.each(NEW)('use the procedures on %s', (version) => {
    const capabilities = capabilitiesOf(version)
    expect(compressChunkSql(capabilities, chunk, { recompress: true }).text).toBe(
      `call convert_to_columnstore(${literal}, if_not_columnstore => TRUE, recompress => TRUE)`,
    )
    expect(decompressChunkSql(capabilities, chunk).text).toBe(
      `call convert_to_rowstore(${literal}, if_columnstore => TRUE)`,
    )
  })

  it.each([...OLD, ...NEW])('drop chunks on %s, also of the Apache edition', (version) => {
    const expected = {
      text: `select * from drop_chunks('"a"."T.x"'::regclass, older_than => $1::timestamptz, newer_than => now() - $2::interval)`,
      values: ['2025-01-01T00:00:00Z', '30 days'],
    }
    const options = { olderThan: '2025-01-01', newerThan: { ago: '30 days' } }
    expect(dropChunksSql(capabilitiesOf(version), 'a."T.x"', options).statement).toEqual(expected)
    expect(dropChunksSql(capabilitiesOf(version, 'apache'), 'a."T.x"', options).statement).toEqual(expected)
    expect(dropChunksSql(capabilitiesOf(version), 't', { olderThan: 5 }).text).toContain('older_than => $1::bigint')
    expect(dropChunksSql(capabilitiesOf(version), 't', { createdBefore: '2025-01-01' }).text).toContain(
      'created_before => $1::timestamptz',
    )
  })

  it.each([
    ['no bound', {}, 'INVALID_OPTION'],
    ['bounds of both kinds', { olderThan: '2025-01-01', createdBefore: '2025-01-01' }, 'INVALID_OPTION'],
    ['a window the wrong way round', { olderThan: '2025-01-01', newerThan: '2025-01-02' }, 'INVALID_TIME'],
    ['ages the wrong way round', { olderThan: { ago: '2 days' }, newerThan: { ago: '1 day' } }, 'INVALID_TIME'],
    ['a time that is none', { olderThan: 'yesterday or so' }, 'INVALID_TIME'],
  ])('refuse to drop with %s', (_what, options, code) => {
    expect(() => dropChunksSql(capabilitiesOf('2.23.0'), 't', options)).toThrow(expect.objectContaining({ code }))
  })

  it('need the Community edition', () => {
    const apache = capabilitiesOf('2.23.0', 'apache')
    const required = expect.objectContaining({ code: 'EDITION_REQUIRED' })
    expect(() => compressChunkSql(apache, chunk)).toThrow(required)
    expect(() => decompressChunkSql(apache, chunk)).toThrow(required)
  })
})

describe('on a database', () => {
  let database: Awaited<ReturnType<typeof openTestDatabase>>
  beforeAll(async () => {
    database = await openTestDatabase()
  })
  afterAll(async () => {
    await database.close()
  })

  let count = 0
  /** Ten daily chunks from 2025-01-01 on, 144 rows each, with compression enabled. */
  async function createTable(): Promise<{ schema: string; name: string }> {
    count += 1
    const name = { schema: database.schema, name: `T "${count}".x` }
    await database.db.query(sql`create table ${sql.name(name)} (time timestamptz not null, "Id" int, v float8)`)
    await createHypertable(database.db, name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await database.db.query(sql`
      insert into ${sql.name(name)}
      select timestamptz '2025-01-01 00:00Z' + i * interval '10 minutes', i % 5, i from generate_series(0, 1439) i`)
    await database.db.query(enableCompressionSql(await readCapabilities(database.db), name, { segmentBy: 'Id' }))
    return name
  }

  it('compresses a chunk by name, by qualified name and as listed, and says what it did', async () => {
    const table = await createTable()
    const chunks = await getChunkInfo(database.db, table)
    const [a, b, c] = chunks
    if (a === undefined || b === undefined || c === undefined) throw new Error('no chunks')
    const named = (one: typeof a) => ({ schema: one.chunkSchema, name: one.chunkName })
    expect(await compressChunk(database.db, a)).toEqual({ chunk: named(a), compressed: true })
    expect(await compressChunk(database.db, a.chunkName)).toEqual({ chunk: named(a), compressed: false })
    expect(await compressChunk(database.db, b.chunkName)).toMatchObject({ compressed: true })
    expect(await compressChunk(database.db, `${c.chunkSchema}.${c.chunkName}`)).toMatchObject({ compressed: true })

    const after = await getChunkInfo(database.db, table)
    expect(after.map((one) => one.isCompressed)).toEqual([true, true, true, ...Array(7).fill(false)])
    expect(after[0]).toMatchObject({
      beforeCompressionBytes: expect.any(Number),
      afterCompressionBytes: expect.any(Number),
      needsRecompression: false,
    })
    expect(after[3]).toMatchObject({ beforeCompressionBytes: undefined, afterCompressionBytes: undefined })
    expect(await decompressChunk(database.db, a)).toEqual({ chunk: named(a), decompressed: true })
    expect(await decompressChunk(database.db, a.chunkName)).toEqual({ chunk: named(a), decompressed: false })
  })

  it.each(['compressChunk', 'compressChunks'] as const)('%s puts in order what the server would not', async (way) => {
    const name = { schema: database.schema, name: `unordered ${way}` }
    await database.db.query(sql`create table ${sql.name(name)} (time timestamptz not null, "Id" int, v float8)`)
    await createHypertable(database.db, name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    await database.db.query(enableCompressionSql(await readCapabilities(database.db), name, { segmentBy: 'Id' }))
    // Two batches compressed as they came, overlapping, and rows of one segment beside them.
    const insert = (from: number, to: number, step: number, direct: string): Promise<unknown> =>
      database.db.transaction(async (tx) => {
        await tx.query(sql`select set_config('timescaledb.enable_direct_compress_insert', ${direct}, true)`)
        await tx.query(sql`insert into ${sql.name(name)}
          select timestamptz '2025-01-01 00:00Z' + k * interval '1 s', i, k
          from generate_series(0, 2) i, generate_series(${from}::int, ${to}::int, ${step}::int) k
          where i < 2 or ${direct} = 'on'`)
      })
    await insert(1, 20_000, 2, 'on')
    await insert(0, 20_000, 2, 'on')
    await insert(5000, 5100, 3, 'off')
    const [only] = await getChunkInfo(database.db, name)
    if (only === undefined) throw new Error('no chunk')
    if (way === 'compressChunk') await compressChunk(database.db, only)
    else await compressChunks(database.db, name)
    expect(await getChunkInfo(database.db, name)).toMatchObject([{ isCompressed: true, needsRecompression: false }])
    const ordered = await database.db.query<{ v: number }>(
      sql`select v from ${sql.name(name)} where "Id" = 2 order by time`,
    )
    expect(ordered.rows.map(({ v }) => v)).toEqual(Array.from({ length: 20_001 }, (_, index) => index))
  })

  it('compresses rows that came later', async () => {
    const table = await createTable()
    const [newest] = await getChunkInfo(database.db, table)
    if (newest === undefined) throw new Error('no chunk')
    await compressChunk(database.db, newest)
    await database.db.query(sql`insert into ${sql.name(table)} values ('2025-01-10 00:00:01Z', 1, 1)`)
    expect(await getChunkInfo(database.db, table, { compressedOnly: true })).toMatchObject([
      { needsRecompression: true },
    ])
    expect(await compressChunk(database.db, newest)).toMatchObject({ compressed: true })
    expect(await getChunkInfo(database.db, table, { compressed: true })).toMatchObject([{ needsRecompression: false }])
    expect(await compressChunk(database.db, newest)).toMatchObject({ compressed: false })
  })

  it('names what is no chunk', async () => {
    const table = await createTable()
    await expect(compressChunk(database.db, 'no_such_chunk')).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(compressChunk(database.db, table)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    await expect(decompressChunk(database.db, table)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  it('compresses a range, oldest first, with progress, and again nothing', async () => {
    const table = await createTable()
    const seen: string[] = []
    const range = { newerThan: '2025-01-03', olderThan: new Date('2025-01-06T00:00:00Z') }
    const done = await compressChunks(database.db, table, {
      ...range,
      onProgress: ({ done, total, chunk }) => seen.push(`${done}/${total} ${chunk.name}`),
    })
    const compressed = await getChunkInfo(database.db, table, { compressedOnly: true })
    expect(compressed.map((one) => one.rangeStart)).toEqual(
      ['2025-01-05', '2025-01-04', '2025-01-03'].map((day) => new Date(day)),
    )
    expect(done.map((one) => one.name)).toEqual(compressed.map((one) => one.chunkName).reverse())
    expect(seen).toEqual(done.map((one, index) => `${index + 1}/3 ${one.name}`))
    expect(await compressChunks(database.db, table, range)).toEqual([])
    expect(await decompressChunks(database.db, table)).toHaveLength(3)
    expect(await getHypertableStats(database.db, table)).toMatchObject({ compressedChunks: 0, numChunks: 10 })
  })

  it.each(['compressChunks', 'decompressChunks'] as const)(
    '%s passes over chunks that others drop or change meanwhile',
    async (way) => {
      const table = await createTable()
      const { client } = database
      if (way === 'decompressChunks') await client.compressChunks(table)
      const [dropped, changed] = (await client.getChunkInfo(table)).slice(2)
      if (dropped === undefined || changed === undefined) throw new Error('There are no chunks.')
      const name = (chunk: typeof dropped) =>
        sql.literal(formatName({ schema: chunk.chunkSchema, name: chunk.chunkName }))
      const change = sql.raw(way === 'compressChunks' ? 'compress_chunk' : 'decompress_chunk')
      const others: Promise<unknown>[] = []
      const seen = new Map<string, string>()
      const done = await client[way](table, {
        onProgress: ({ chunk, outcome, done }) => {
          seen.set(chunk.name, outcome)
          if (done > 1) return
          // Each by another connection.
          others.push(client.sql`select _timescaledb_functions.drop_chunk(${name(dropped)}::regclass)`)
          others.push(client.sql`select ${change}(${name(changed)}::regclass, true)`)
        },
      })
      await Promise.all(others)
      const names = done.map((chunk) => chunk.name)
      expect(seen.size).toBe(10)
      for (const [chunk, outcome] of seen) expect(names.includes(chunk)).toBe(outcome === 'changed')
      expect([...seen.values()].filter((outcome) => outcome === 'changed').length).toBeGreaterThanOrEqual(8)
      const left = await client.getChunkInfo(table, { compressed: way === 'compressChunks' })
      expect(left).toHaveLength(9)
      // The engine takes statements in the order of their arrival; a server may finish ours first.
      if (!onServer) expect([dropped, changed].map((chunk) => seen.get(chunk.chunkName))).toEqual(['gone', 'unchanged'])
    },
  )

  it('keeps what is done when it is stopped', async () => {
    const table = await createTable()
    await expect(
      compressChunks(database.db, table, {
        onProgress: ({ done }) => {
          if (done === 2) throw new Error('stop')
        },
      }),
    ).rejects.toThrow('stop')
    expect(await getHypertableStats(database.db, table)).toMatchObject({ compressedChunks: 2 })
  })

  it('drops whole chunks within the bounds, names them, and nothing else', async () => {
    const table = await createTable()
    const other = await createTable()
    const before = await getChunkInfo(database.db, table)
    const days = async (): Promise<unknown> =>
      (await getChunkInfo(database.db, table)).map((one) =>
        one.rangeStart instanceof Date ? one.rangeStart.getUTCDate() : undefined,
      )
    const dropped = await dropChunks(database.db, table, { newerThan: '2025-01-03', olderThan: '2025-01-05T12:00Z' })
    // The chunk of the 5th reaches over the bound.
    expect(await days()).toEqual([10, 9, 8, 7, 6, 5, 2, 1])
    const gone = before.filter((one) => ['2025-01-03', '2025-01-04'].some((day) => isStart(one.rangeStart, day)))
    expect(dropped).toEqual(gone.reverse().map((one) => ({ schema: one.chunkSchema, name: one.chunkName })))
    expect(await dropChunks(database.db, table, { olderThan: new Date('2025-01-03') })).toHaveLength(2)
    expect(await dropChunks(database.db, table, { olderThan: '2025-01-03' })).toEqual([])
    await expect(dropChunks(database.db, table, { olderThan: 5 })).rejects.toMatchObject({ code: 'INVALID_TIME' })
    expect(await dropChunks(database.db, table, { createdAfter: { ago: '1 day' } })).toHaveLength(6)
    expect(await days()).toEqual([])
    expect(await getChunkInfo(database.db, other)).toHaveLength(10)
  })

  it('drops chunks of an integer time column and names that need quotes', async () => {
    count += 1
    const name = { schema: database.schema, name: `T "${count}".x` }
    await database.db.query(sql`create table ${sql.name(name)} (time bigint not null)`)
    const associatedSchema = `${database.schema} "chunks.1"`
    await createHypertable(database.db, name, { timeColumn: 'time', chunkTimeInterval: 100, associatedSchema })
    await database.db.query(sql`insert into ${sql.name(name)} select generate_series(0, 450, 50)`)
    const dropped = await dropChunks(database.db, name, { olderThan: 250n })
    expect(dropped.map((one) => one.schema)).toEqual([associatedSchema, associatedSchema])
    expect((await getChunkInfo(database.db, name)).map((one) => one.rangeStart)).toEqual([400n, 300n, 200n])
    await database.db.query(sql`drop table ${sql.name(name)}`)
    await database.db.query(sql`drop schema ${sql.column(associatedSchema)} cascade`)
  })

  it('says how to enable compression where it is not', async () => {
    count += 1
    const name = { schema: database.schema, name: `T "${count}".x` }
    await database.db.query(sql`create table ${sql.name(name)} (time timestamptz not null)`)
    await createHypertable(database.db, name, { timeColumn: 'time' })
    await database.db.query(sql`insert into ${sql.name(name)} values ('2025-01-01')`)
    const [only] = await getChunkInfo(database.db, name)
    if (only === undefined) throw new Error('no chunk')
    const refused = { name: 'QueryError', sqlState: '0A000', hint: expect.stringContaining('enableCompression') }
    await expect(compressChunk(database.db, only)).rejects.toMatchObject(refused)
    await expect(compressChunks(database.db, name)).rejects.toMatchObject(refused)
  })
})

function isStart(start: Date | bigint | undefined, day: string): boolean {
  return start instanceof Date && start.toISOString().startsWith(day)
}
