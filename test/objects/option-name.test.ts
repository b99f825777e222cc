import { beforeAll, describe, expect, it } from 'vitest'
import { getChunkInfo } from '../../src/catalog/chunk.ts'
import type { Session } from '../../src/connection/session.ts'
import { UsageError } from '../../src/errors.ts'
import * as chunk from '../../src/objects/chunk.ts'
import * as chunkRange from '../../src/objects/chunk-range.ts'
import * as compression from '../../src/objects/compression.ts'
import * as compressionPolicy from '../../src/objects/compression-policy.ts'
import * as aggregate from '../../src/objects/continuous-aggregate.ts'
import { dropChunks } from '../../src/objects/drop-chunks.ts'
import * as hypertable from '../../src/objects/hypertable.ts'
import * as refresh from '../../src/objects/refresh.ts'
import * as refreshPolicy from '../../src/objects/refresh-policy.ts'
import * as retention from '../../src/objects/retention.ts'
import { capabilitiesOf } from '../catalog/capability-set.ts'
import { openTestDatabase } from '../setup/database.ts'

const window = { startOffset: '3 days', endOffset: '1 hour', scheduleInterval: '30 minutes' }
const view = { hypertable: 't', timeColumn: 'time', bucketInterval: '1 hour' }
const select = { ...view, selectQuery: 'count(*) from t group by bucket' }
const parts = { ...view, aggregates: { n: 'COUNT(*)' } }

/** Function, its options as they must be, and the misspelt ones with the key that is meant. */
const CASES: readonly (readonly [string, object, Readonly<Record<string, string>>])[] = [
  [
    'createHypertable',
    { timeColumn: 'time' },
    { chunkInterval: 'chunkTimeInterval', if_not_exists: 'ifNotExists', partition: 'partitions' },
  ],
  ['dropHypertable', {}, { cascades: 'cascade', if_exists: 'ifExists' }],
  ['addRetentionPolicy', { dropAfter: '30 days' }, { drop_after: 'dropAfter', ifNotExist: 'ifNotExists' }],
  ['removeRetentionPolicy', {}, { ifExist: 'ifExists' }],
  ['addCompressionPolicy', { compressAfter: '7 days' }, { segmentby: 'segmentBy', order_by: 'orderBy' }],
  ['removeCompressionPolicy', {}, { if_exists: 'ifExists' }],
  ['enableCompression', {}, { segmentby: 'segmentBy', order_by: 'orderBy' }],
  ['dropChunks', { olderThan: '2025-01-01' }, { older_than: 'olderThan', createdBefor: 'createdBefore' }],
  ['compressChunk', {}, { recompres: 'recompress' }],
  ['decompressChunk', {}, { Signal: 'signal' }],
  ['compressChunks', {}, { olderThen: 'olderThan', older_than: 'olderThan' }],
  ['decompressChunks', {}, { newerThen: 'newerThan' }],
  ['getChunkInfo', {}, { compressed_only: 'compressedOnly', olderThen: 'olderThan' }],
  ['createContinuousAggregate', select, { with_data: 'withData', materialisedOnly: 'materializedOnly' }],
  ['createContinuousAggregate', parts, { groupby: 'groupBy', wher: 'where', chunk_interval: 'chunkInterval' }],
  ['dropContinuousAggregate', {}, { cascad: 'cascade' }],
  ['refreshContinuousAggregate', {}, { startTim: 'startTime', allow_loss: 'allowLoss', end_time: 'endTime' }],
  ['addContinuousAggregatePolicy', window, { startofset: 'startOffset', bucketPerBatch: 'bucketsPerBatch' }],
  ['removeContinuousAggregatePolicy', {}, { ifexists: 'ifExists' }],
]
const modules: Readonly<Record<string, unknown>> = {
  ...chunk,
  ...chunkRange,
  ...compression,
  ...compressionPolicy,
  ...aggregate,
  ...hypertable,
  ...refresh,
  ...refreshPolicy,
  ...retention,
  dropChunks,
  getChunkInfo,
}
const calls = CASES.flatMap(([name, options, wrong]) =>
  Object.entries(wrong).map(([key, meant]) => [name, key, meant, { ...options, [key]: undefined }] as const),
)

/** As from JavaScript, where no type checker looks at the options. */
function call(name: string, ...given: readonly unknown[]): unknown {
  const run = modules[name]
  if (typeof run !== 'function') throw new Error(`There is no function ${name}.`)
  return Reflect.apply(run, undefined, given)
}

function expectHint(error: unknown, name: string, key: string, meant: string): void {
  expect(error).toBeInstanceOf(UsageError)
  expect(error).toMatchObject({ code: 'INVALID_OPTION', hint: `Did you mean ${meant}?` })
  expect(String(error)).toContain(`${name} has no option "${key}"`)
}

describe('a misspelt option is refused', () => {
  let closed: Session
  beforeAll(async () => {
    const database = await openTestDatabase()
    await database.close()
    closed = database.db
  })

  it.each(calls)('by %s: %s', async (name, key, meant, options) => {
    // Whatever is sent to a closed database fails in another way.
    const error: unknown = await Promise.resolve(call(name, closed, 't', options)).catch((caught: unknown) => caught)
    expectHint(error, name, key, meant)
  })

  it.each(calls.filter(([name]) => `${name}Sql` in modules && name !== 'decompressChunk'))(
    'by the statement of %s: %s',
    (name, key, meant, options) => {
      const first = name === 'dropHypertable' || name === 'dropContinuousAggregate' ? [] : [capabilitiesOf('2.28.3')]
      let error: unknown
      try {
        call(`${name}Sql`, ...first, 't', options)
      } catch (caught) {
        error = caught
      }
      expectHint(error, name, key, meant)
    },
  )

  it('within a list too', () => {
    const capabilities = capabilitiesOf('2.28.3')
    const partitions = [{ column: 'a', number: 2, size: 3 }]
    expect(() => hypertable.createHypertableSql(capabilities, 't', { timeColumn: 'time', partitions })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
    const orderBy = [{ column: 'time', nullsFirst: true }]
    expect(() => compression.enableCompressionSql(capabilities, 't', { orderBy })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    )
  })

  it('by a query as text that has options of a query in parts', () => {
    const both = { ...select, where: { v: 1 } }
    expect(() => aggregate.createContinuousAggregateSql(capabilitiesOf('2.28.3'), 'v', both)).toThrow(
      /no option "where"/,
    )
  })
})
