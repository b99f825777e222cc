import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from '../../src/client.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

type Name = { readonly schema: string; readonly name: string }

let database: TestDatabase
let db: Client
let table: Name
let integers: Name
let view: Name
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
  table = { schema: database.schema, name: 'Sensor "Data".é' }
  integers = { schema: database.schema, name: 'Integers' }
  view = { schema: database.schema, name: 'View' }
  await db.sql`create table ${sql.name(table)} (time timestamptz not null, "Sensor Id" int, temperature float8)`
  await db.createHypertable(table, { timeColumn: 'time' })
  await db.sql`create table ${sql.name(integers)} (time bigint not null, v float8)`
  await db.createHypertable(integers, { timeColumn: 'time', chunkTimeInterval: 100 })
  await db.createContinuousAggregate(view, hourly())
})
afterAll(() => database.close())

const hourly = () =>
  ({ hypertable: table, timeColumn: 'time', bucketInterval: '1 hour', aggregates: { n: 'COUNT(*)' } }) as const

async function plain(columns: string): Promise<Name> {
  plains += 1
  const name = { schema: database.schema, name: `Plain ${plains}` }
  await db.sql`create table ${sql.name(name)} (${sql.raw(columns)})`
  return name
}
let plains = 0

describe('a column that does not exist is named, with the nearest', () => {
  const notFound = (option: string, column: string, hint: string): object => ({
    name: 'QueryError',
    code: 'NOT_FOUND',
    column,
    message: expect.stringContaining(`${option}: `),
    hint: expect.stringContaining(hint),
  })

  it('by createHypertable', async () => {
    const name = await plain('time timestamptz not null, "Symbol" text')
    await expect(db.createHypertable(name, { timeColumn: 'tiem' })).rejects.toMatchObject(
      notFound('timeColumn', 'tiem', 'Did you mean "time"?'),
    )
    const hashed = { timeColumn: 'time', partitioningColumn: 'symbol', numberPartitions: 2 }
    await expect(db.createHypertable(name, hashed)).rejects.toMatchObject(
      notFound('partitioningColumn', 'symbol', 'Did you mean "Symbol"?'),
    )
    const listed = { timeColumn: 'time', partitions: [{ column: 'nothing like it', number: 2 }] }
    await expect(db.createHypertable(name, listed)).rejects.toMatchObject(
      notFound('partitions', 'nothing like it', 'Its columns are time, Symbol.'),
    )
  })

  it('by what compresses, before anything is changed', async () => {
    const wrong = { compressAfter: '7 days', segmentBy: 'sensor id' }
    await expect(db.addCompressionPolicy(table, wrong)).rejects.toMatchObject(
      notFound('segmentBy', 'sensor id', 'Did you mean "Sensor Id"?'),
    )
    await expect(db.enableCompression(table, { orderBy: 'tiem DESC' })).rejects.toMatchObject(
      notFound('orderBy', 'tiem', 'Did you mean "time"?'),
    )
    await expect(db.enableCompression(view, { segmentBy: 'm' })).rejects.toMatchObject(
      notFound('segmentBy', 'm', 'Did you mean "n"?'),
    )
    const both = { segmentBy: ['Sensor Id'], orderBy: ['"Sensor Id"', 'time'] }
    await expect(db.enableCompression(table, both)).rejects.toMatchObject({
      name: 'UsageError',
      message: expect.stringContaining('"Sensor Id" is in segmentBy and in orderBy'),
    })
    expect(await db.getCompressionSettings(table)).toMatchObject({ enabled: false })
  })

  it('by createContinuousAggregate', async () => {
    const name = { schema: database.schema, name: 'Never' }
    await expect(db.createContinuousAggregate(name, { ...hourly(), timeColumn: 'tyme' })).rejects.toMatchObject(
      notFound('timeColumn', 'tyme', 'Did you mean "time"?'),
    )
  })
})

describe('a number where an interval belongs, and the other way round, is refused before it is sent', () => {
  const refused = (option: string): object => ({
    name: 'UsageError',
    code: 'INVALID_OPTION',
    message: expect.stringContaining(option),
    hint: expect.stringMatching(/'7 days'|whole number/),
  })

  it.each<[string, (client: Client) => Promise<unknown>]>([
    ['chunkTimeInterval', (client) => client.setChunkTimeInterval(table, 5)],
    ['chunkTimeInterval', (client) => client.setChunkTimeInterval(integers, '1 day')],
    ['dropAfter', (client) => client.addRetentionPolicy(table, { dropAfter: 30 })],
    ['dropAfter', (client) => client.addRetentionPolicy(integers, { dropAfter: '30 days' })],
    ['compressAfter', (client) => client.addCompressionPolicy(table, { compressAfter: 7 })],
    ['bucketInterval', (client) => client.createContinuousAggregate('x', { ...hourly(), bucketInterval: 5 })],
    [
      'startOffset',
      (client) => client.addContinuousAggregatePolicy(view, { startOffset: 9, endOffset: 1, scheduleInterval: '1 h' }),
    ],
  ])('%s, %#', async (option, call) => {
    await expect(call(db)).rejects.toMatchObject(refused(option))
  })

  it('by createHypertable, which the server would take for microseconds', async () => {
    const name = await plain('time timestamptz not null')
    await expect(db.createHypertable(name, { timeColumn: 'time', chunkTimeInterval: 5 })).rejects.toMatchObject(
      refused('chunkTimeInterval'),
    )
    expect(await db.createHypertable(name, { timeColumn: 'time' })).toMatchObject({ created: true })
  })

  it('but not where a function makes the time', async () => {
    const now = await plain('at text not null')
    const toTime = { schema: database.schema, name: 'to time' }
    await db.sql`create function ${sql.name(toTime)} (text) returns bigint language sql immutable as 'select $1::bigint'`
    const options = { timeColumn: 'at', chunkTimeInterval: 5, timePartitioningFunction: toTime }
    expect(await db.createHypertable(now, options)).toMatchObject({ created: true })
  })
})

describe('a refusal of the server names our option', () => {
  it('migrateData, for a table with rows', async () => {
    const name = await plain('time timestamptz not null')
    await db.sql`insert into ${sql.name(name)} values (now())`
    const refused = { name: 'QueryError', hint: expect.stringContaining('migrateData: true') }
    await expect(db.createHypertable(name, { timeColumn: 'time' })).rejects.toMatchObject(refused)
    await db.transaction(async (tx) => {
      await expect(tx.createHypertable(name, { timeColumn: 'time' })).rejects.toMatchObject(refused)
    })
    expect(await db.createHypertable(name, { timeColumn: 'time', migrateData: true })).toMatchObject({ created: true })
    await expect(db.createHypertable(name, { timeColumn: 'time' })).rejects.toMatchObject({
      code: 'HYPERTABLE_EXISTS',
      hint: expect.stringContaining('ifNotExists: true'),
    })
  })

  it('ifNotExists and ifExists, for policies and aggregates', async () => {
    const exists = { code: 'ALREADY_EXISTS', hint: expect.stringContaining('ifNotExists: true') }
    const missing = { code: 'NOT_FOUND', hint: expect.stringContaining('ifExists: true') }
    await expect(db.removeRetentionPolicy(table)).rejects.toMatchObject(missing)
    await db.addRetentionPolicy(table, { dropAfter: '1000 years' })
    await expect(db.addRetentionPolicy(table, { dropAfter: '1000 years' })).rejects.toMatchObject(exists)
    await expect(db.removeCompressionPolicy(table)).rejects.toMatchObject(missing)
    await expect(db.removeContinuousAggregatePolicy(view)).rejects.toMatchObject(missing)
    await expect(db.createContinuousAggregate(view, hourly())).rejects.toMatchObject(exists)
    const window = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '1 hour' }
    await db.addContinuousAggregatePolicy(view, window)
    await expect(db.addContinuousAggregatePolicy(view, window)).rejects.toMatchObject(exists)
    await db.removeContinuousAggregatePolicy(view)
    await expect(db.addContinuousAggregatePolicy(view, { ...window, startOffset: '2 hours' })).rejects.toMatchObject({
      hint: expect.stringContaining('two buckets of 01:00:00'),
    })
  })

  it('cascade, where something depends on it', async () => {
    const cascade = { sqlState: '2BP01', hint: expect.stringContaining('cascade: true') }
    await expect(db.dropHypertable(table)).rejects.toMatchObject(cascade)
    const above = { schema: database.schema, name: 'Above' }
    await db.sql`create view ${sql.name(above)} as select * from ${sql.name(view)}`
    await expect(db.dropContinuousAggregate(view)).rejects.toMatchObject(cascade)
    await db.sql`drop view ${sql.name(above)}`
  })
})

it('lists hypertables and aggregates, also those on one relation', async () => {
  const tables = await db.listHypertables()
  expect(tables).toContainEqual(expect.objectContaining({ ...table, compressionEnabled: false }))
  expect(tables.some(({ schema }) => schema === '_timescaledb_internal')).toBe(false)
  expect(await db.listContinuousAggregates({ on: table })).toMatchObject([{ ...view, source: table }])
  expect(await db.listContinuousAggregates({ on: integers })).toEqual([])
  expect(await db.listContinuousAggregates()).toContainEqual(expect.objectContaining(view))
  expect(await db.getContinuousAggregate(view)).toMatchObject({ bucketColumn: 'bucket', bucketInterval: '01:00:00' })
})
