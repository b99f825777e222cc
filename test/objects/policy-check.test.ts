import { afterAll, describe, expect, it } from 'vitest'
import type { Database, PolicyRule } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { lendDatabases } from '../setup/database.ts'

// Months pass only on the embedded engine.
const databases = lendDatabases({ clock: '2025-01-01T00:00:00Z' })
afterAll(() => databases.close())

const schema = 'Test 1.a'
const raw = { schema, name: `It's "raw".x` }
const low = { schema, name: 'By "hour"' }
const high = { schema, name: 'By day' }
const initialStart = '2025-01-01T00:00:00Z'
/** In one step; in batches of a bucket each, months take minutes. */
const atOnce = { bucketsPerBatch: 0 } as const
const noon = { scheduleInterval: '1 day', initialStart: '2025-01-01T12:00:00Z' } as const
const daily = { scheduleInterval: '1 day', initialStart } as const

async function makeTable(db: Database, chunkTimeInterval = '1 day'): Promise<void> {
  await db.sql`create schema ${sql.column(schema)}`
  await db.sql`create table ${sql.name(raw)} ("Time" timestamptz not null, v float8)`
  await db.createHypertable(raw, { timeColumn: 'Time', chunkTimeInterval })
}

async function makeAggregate(db: Database, bucketInterval: string, options = {}): Promise<void> {
  await db.createContinuousAggregate(low, {
    hypertable: raw,
    timeColumn: 'Time',
    bucketInterval,
    aggregates: { n: 'COUNT(*)' },
    materializedOnly: true,
    ...options,
  })
}

async function makeUpper(db: Database): Promise<void> {
  await db.createContinuousAggregate(high, {
    hypertable: low,
    timeColumn: 'bucket',
    bucketInterval: '1 day',
    bucketColumn: 'day',
    aggregates: { n: 'SUM(n)' },
    materializedOnly: true,
  })
}

/** So long that it drops nothing here. */
const keep = (db: Database): Promise<unknown> => db.addRetentionPolicy(raw, { dropAfter: '1000 days', ...daily })

/** A row for each hour from `from` to `until` hours before now. */
async function insert(db: Database, from: number, until = 0): Promise<void> {
  await db.sql`insert into ${sql.name(raw)}
    select now() - i * interval '1 hour' - interval '1 minute', i from generate_series(${until}::int, ${from - 1}::int) i`
}

/** Days that pass with 24 rows each; gives how often a chunk was to be compressed again. */
async function pass(
  db: Database,
  days: number,
  meanwhile: () => Promise<unknown> = async () => undefined,
  compressed?: typeof raw,
): Promise<number> {
  let again = 0
  for (let day = 0; day < days; day++) {
    const { runs } = await db.clock.advance('1 day')
    expect(runs.filter(({ outcome }) => outcome === 'failure')).toEqual([])
    await insert(db, 24)
    await meanwhile()
    if (compressed === undefined) continue
    const { chunks } = await db.previewPolicy({ table: compressed, kind: 'compression' })
    again += chunks.filter(({ isCompressed }) => isCompressed).length
  }
  return again
}

/** Quarters of a day that pass with 6 rows each. */
async function passQuarters(db: Database, quarters: number): Promise<void> {
  for (let quarter = 0; quarter < quarters; quarter++) {
    await db.clock.advance('6 hours')
    await insert(db, 6)
  }
}

const one = async (db: Database, text: string): Promise<number> =>
  Number((await db.executeQuery<{ n: unknown }>(text)).rows[0]?.n ?? 0)
const text = (name: { readonly schema: string; readonly name: string }): string => sql.name(name).text

interface Scenario {
  readonly rule: PolicyRule
  readonly severity: 'loss' | 'wrong' | 'waste'
  /** A part of the evidence. */
  readonly evidence: RegExp
  prepare(db: Database): Promise<void>
  /** Lets time pass; gives whether the damage is done. */
  happens(db: Database): Promise<boolean>
}

const scenarios: readonly Scenario[] = [
  {
    rule: 'refresh-erases-history',
    severity: 'loss',
    evidence: /^25 materialized buckets, from 2025-01-01T00:00Z on, are older/,
    async prepare(db) {
      await makeTable(db)
      await makeAggregate(db, '1 hour')
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '60 days', endOffset: '1 hour', ...daily })
      await db.addRetentionPolicy(raw, { dropAfter: '4 days', ...daily })
      await pass(db, 5)
    },
    async happens(db) {
      await pass(db, 3)
      return (await one(db, `select count(*) as n from ${text(low)} where bucket < '2025-01-02'`)) < 24
    },
  },
  {
    rule: 'retention-before-refresh',
    severity: 'loss',
    evidence: /^A chunk of .* holds 10 hours; rows from 2025-01-01T00:00Z on wait to be refreshed and may be dropped/,
    async prepare(db) {
      await makeTable(db, '1 hour')
      await keep(db)
      await makeAggregate(db, '1 hour')
      await makeUpper(db)
      const often = { scheduleInterval: '6 hours', initialStart } as const
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '2 days', endOffset: '0 hours', ...often })
      await db.addRetentionPolicy(low, { dropAfter: '12 hours', ...often })
      await db.addContinuousAggregatePolicy(high, { ...atOnce, startOffset: '3 days', endOffset: '1 hour', ...daily })
      await passQuarters(db, 5)
    },
    async happens(db) {
      await passQuarters(db, 12)
      return (await one(db, `select count(*) as n from ${text(high)} where n = 24`)) < 2
    },
  },
  {
    rule: 'retention-without-refresh',
    severity: 'loss',
    evidence: /rows from 2025-01-01T00:00Z on wait to be refreshed and may be dropped in/,
    async prepare(db) {
      await makeTable(db)
      await makeAggregate(db, '6 hours')
      await db.addRetentionPolicy(raw, { dropAfter: '5 days', ...daily })
      await pass(db, 4)
    },
    async happens(db) {
      await pass(db, 6)
      return (await one(db, `select count(*) as n from ${text(low)} where bucket < '2025-01-03'`)) < 8
    },
  },
  {
    rule: 'open-bucket-refreshed',
    severity: 'wrong',
    evidence: /^Its newest materialized bucket begins at 2025-01-03T00:00Z, and is not over\.$/,
    async prepare(db) {
      await makeTable(db)
      await keep(db)
      await makeAggregate(db, '1 day', { materializedOnly: false })
      const often = { scheduleInterval: '6 hours', initialStart } as const
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '10 days', endOffset: null, ...often })
      await pass(db, 2)
      await db.clock.advance('6 hours')
      await insert(db, 6)
      await db.clock.advance('6 hours')
    },
    async happens(db) {
      await pass(db, 2)
      await db.clock.advance('6 hours')
      await insert(db, 6)
      await db.clock.advance('6 hours')
      await insert(db, 6)
      return (
        (await one(db, `select sum(n) as n from ${text(low)}`)) <
        (await one(db, `select count(*) as n from ${text(raw)}`))
      )
    },
  },
  {
    rule: 'late-data-not-refreshed',
    severity: 'wrong',
    evidence: /has rows between 2025-01-06T00:00Z and 2025-01-07T00:00Z that are not in it/,
    async prepare(db) {
      await makeTable(db)
      await keep(db)
      await makeAggregate(db, '1 hour')
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '3 days', endOffset: '1 hour', ...daily })
      await pass(db, 10)
      await insert(db, 5 * 24, 4 * 24)
    },
    async happens(db) {
      await pass(db, 2)
      return (
        (await one(
          db,
          `select sum(n) as n from ${text(low)} where bucket between '2025-01-06' and '2025-01-06 23:00Z'`,
        )) < 48
      )
    },
  },
  {
    rule: 'history-never-refreshed',
    severity: 'wrong',
    evidence: /has rows between 2024-12-22T00:00Z and 2024-12-29T01:00Z that are not in it/,
    async prepare(db) {
      await makeTable(db)
      await keep(db)
      await insert(db, 240)
      await makeAggregate(db, '1 hour', { withData: false })
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '3 days', endOffset: '1 hour', ...daily })
    },
    async happens(db) {
      await pass(db, 3)
      return (await one(db, `select count(*) as n from ${text(low)} where bucket < '2024-12-28'`)) < 6 * 24
    },
  },
  {
    rule: 'compression-in-refresh-window',
    severity: 'waste',
    evidence: /^\d+ of its \d+ compressed chunks wait to be compressed again\.$/,
    async prepare(db) {
      await makeTable(db, '3 hours')
      await keep(db)
      await makeAggregate(db, '1 hour')
      await db.addContinuousAggregatePolicy(low, { ...atOnce, startOffset: '5 days', endOffset: '1 hour', ...daily })
      await db.addCompressionPolicy(low, { compressAfter: '1 day', ...noon })
      await pass(db, 6)
    },
    async happens(db) {
      return (await pass(db, 5, () => insert(db, 3 * 24 + 4, 3 * 24), low)) > 2
    },
  },
  {
    rule: 'compression-of-late-data',
    severity: 'waste',
    evidence: /^1 of its \d+ compressed chunks, from 2025-01-04T00:00Z on, have taken rows since/,
    async prepare(db) {
      await makeTable(db)
      await db.addCompressionPolicy(raw, { compressAfter: '1 day', ...noon })
      await pass(db, 6)
      await insert(db, 3 * 24, 3 * 24 - 4)
    },
    async happens(db) {
      return (await pass(db, 5, () => insert(db, 3 * 24, 3 * 24 - 4), raw)) > 2
    },
  },
  {
    rule: 'compression-after-retention',
    severity: 'waste',
    evidence: /^4 of its 4 chunks are not compressed, \d+ bytes in all\.$/,
    async prepare(db) {
      await makeTable(db)
      await db.addCompressionPolicy(raw, { compressAfter: '8 days', ...daily })
      await db.addRetentionPolicy(raw, { dropAfter: '6 days', ...daily })
      await pass(db, 4)
    },
    async happens(db) {
      await pass(db, 5)
      return (await db.getChunkInfo(raw, { compressed: true })).length === 0
    },
  },
  {
    rule: 'unbounded-growth',
    severity: 'waste',
    evidence: /^5 chunks of 5 days, \d+ bytes, \d+ in a year\.$/,
    async prepare(db) {
      await makeTable(db)
      await pass(db, 5)
    },
    async happens(db) {
      await pass(db, 12)
      return (await db.getChunkInfo(raw)).length > 14
    },
  },
]

describe('what is found really happens, and does not with the fix', () => {
  it.each(scenarios)('$rule', { timeout: 120_000 }, async ({ rule, severity, evidence, prepare, happens }) => {
    for (const fixed of [false, true]) {
      const db = await databases.fresh()
      await prepare(db)
      const findings = await db.checkPolicies()
      expect(findings.map((finding) => finding.rule)).toEqual([rule])
      expect(findings[0]).toMatchObject({ severity, evidence: expect.stringMatching(evidence) })
      expect(await db.checkPolicies(raw)).toEqual(findings)
      if (fixed) {
        for (const { fix } of findings) await db.executeQuery(fix.text, fix.values)
        expect(await db.checkPolicies()).toEqual([])
      }
      expect(await happens(db)).toBe(!fixed)
    }
  })
})

it('nothing is found where everything is in order', { timeout: 120_000 }, async () => {
  const db = await databases.fresh()
  await makeTable(db)
  await makeAggregate(db, '1 hour')
  await makeUpper(db)
  const start = { initialStart } as const
  await db.addCompressionPolicy(raw, { compressAfter: '7 days', ...daily })
  await db.addRetentionPolicy(raw, { dropAfter: '14 days', ...daily })
  await db.addContinuousAggregatePolicy(low, {
    ...atOnce,
    startOffset: '3 days',
    endOffset: '1 hour',
    scheduleInterval: '12 hours',
    ...start,
  })
  await db.addCompressionPolicy(low, { compressAfter: '10 days', ...daily })
  await db.addContinuousAggregatePolicy(high, { ...atOnce, startOffset: '7 days', endOffset: '1 day', ...daily })
  await db.addRetentionPolicy(low, { dropAfter: '60 days', ...daily })
  expect(await db.checkPolicies()).toEqual([])
  for (let days = 0; days < 20; days += 4) {
    await pass(db, 4)
    expect(await db.checkPolicies(high)).toEqual([])
  }
  await expect(db.checkPolicies('nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})
