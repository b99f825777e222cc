import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../../src/client.ts'
import type { Session } from '../../src/connection/session.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase } from '../setup/database.ts'

const { schema, capabilities, db, close } = await openTestDatabase()
afterAll(close)

const table = { schema, name: 'T "1".x' }
const view = { schema, name: 'V "1".x' }
const query = {
  hypertable: table,
  timeColumn: 'time',
  bucketInterval: '1 hour',
  aggregates: { n: 'COUNT(*)' },
} as const
const policy = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '30 minutes' }
const gaps = { timeColumn: 'time', bucketInterval: '1 hour', columns: ['v'] } as const
const window = { startTime: '2025-01-01', endTime: '2025-01-02' }

const refused: readonly (readonly [string, (client: Client) => Promise<unknown>])[] = [
  ['addRetentionPolicy', (client) => client.addRetentionPolicy(table, { dropAfter: '30 days' })],
  ['removeRetentionPolicy', (client) => client.removeRetentionPolicy(table, { ifExists: true })],
  ['addCompressionPolicy', (client) => client.addCompressionPolicy(table, { compressAfter: '7 days' })],
  ['removeCompressionPolicy', (client) => client.removeCompressionPolicy(table, { ifExists: true })],
  ['compressChunk', (client) => client.compressChunk('c')],
  ['decompressChunk', (client) => client.decompressChunk('c')],
  ['compressChunks', (client) => client.compressChunks(table)],
  ['decompressChunks', (client) => client.decompressChunks(table)],
  ['createContinuousAggregate', (client) => client.createContinuousAggregate(view, query)],
  ['refreshContinuousAggregate', (client) => client.refreshContinuousAggregate(view)],
  ['addContinuousAggregatePolicy', (client) => client.addContinuousAggregatePolicy(view, policy)],
  ['removeContinuousAggregatePolicy', (client) => client.removeContinuousAggregatePolicy(view)],
  ['fillGaps', (client) => client.fillGaps(table, { ...gaps, ...window })],
]

const isApache = capabilities.edition === 'apache'
const needed = `needs a server whose timescaledb.license is apache; this one has ${capabilities.edition}`
if (!isApache) process.stdout.write(`Skipped: ${refused.length + 1} tests of the Apache edition (${needed}).\n`)

describe.skipIf(!isApache)(`the Apache edition: ${needed}`, () => {
  const sent: string[] = []
  /** The same database, which writes down what is sent to it. */
  const watched: Session = {
    database: db.database,
    inTransaction: false,
    query: (statement, options) => {
      sent.push(statement.text)
      return db.query(statement, options)
    },
    copyIn: db.copyIn.bind(db),
    copyOut: db.copyOut.bind(db),
    queryColumns: db.queryColumns.bind(db),
    streamColumns: db.streamColumns.bind(db),
    streamRows: db.streamRows.bind(db),
    transaction: (run, options) => {
      sent.push('begin')
      return db.transaction(run, options)
    },
  }

  beforeAll(async () => {
    await db.query(sql`create table ${sql.name(table)} (time timestamptz not null, v float8)`)
  })

  it('has hypertables and time_bucket', async () => {
    const client = new Client(db, {})
    expect(await client.createHypertable(table, { timeColumn: 'time' })).toMatchObject({ created: true })
    await db.query(sql`insert into ${sql.name(table)} values ('2025-01-01 00:30Z', 1), ('2025-01-01 00:40Z', 3)`)
    const aggregations = { mean: 'AVG(v)' } as const
    const rows = await client.timeBucketQuery(table, { timeColumn: 'time', bucketInterval: '1 hour', aggregations })
    expect(rows).toEqual([{ bucket: new Date('2025-01-01T00:00:00Z'), mean: 2 }])
    expect(await client.getHypertableStats(table)).toMatchObject({ numChunks: 1, policies: [] })
    expect(await client.getChunkInfo(table)).toHaveLength(1)
  })

  it.each(refused)('refuses %s before a statement is sent', async (_name, call) => {
    sent.length = 0
    await expect(call(new Client(watched, {}))).rejects.toMatchObject({
      code: 'EDITION_REQUIRED',
      message: expect.stringContaining('Community edition'),
    })
    expect(sent).toEqual([])
  })
})
