import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { count } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { runTask } from '../../src/task/run-task.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let table: { readonly schema: string; readonly name: string }
let jobId = 0
beforeAll(async () => {
  database = await openTestDatabase()
  const { client, schema } = database
  table = { schema, name: `It's "raw".x` }
  await client.sql`create table ${sql.name(table)} (time timestamptz not null, value float8)`
  await client.createHypertable(table, { timeColumn: 'time' })
  await client.executeQuery(
    `create procedure ${sql.name({ schema, name: 'nop' }).text}(job_id int, config jsonb) language sql as 'select 1'`,
  )
  await client.createContinuousAggregate(
    { schema, name: 'By day' },
    { hypertable: table, timeColumn: 'time', bucketInterval: '1 day', aggregates: { n: count() }, withData: false },
  )
  jobId = (await client.addJob({ schema, name: 'nop' }, { scheduleInterval: '1 day', scheduled: false })).jobId
})
afterAll(async () => {
  await database.client.deleteJob(jobId)
  await database.close()
})

const bucket = { timeColumn: 'time', bucketInterval: '1 day', aggregations: { value: 'AVG' } } as const
const window = { startTime: '2025-01-01', endTime: '2025-01-05' } as const
const filled = { timeColumn: 'time', bucketInterval: '1 day', columns: ['value'], ...window } as const
const daily = { scheduleInterval: '1 day' } as const
const row = { time: '2025-01-01 00:00', value: 1 }

const bucketTask = () => ({
  action: 'time_bucket_query',
  table_name: `"${table.schema}"."It's ""raw"".x"`,
  time_column: 'time',
  bucket_interval: '1 day',
  aggregations: { value: 'AVG' },
})

/** Everything that takes the name of a time zone. */
const places: readonly (readonly [string, (timezone: string) => Promise<unknown>])[] = [
  ['timeBucketQuery', (timezone) => database.client.timeBucketQuery(table, { ...bucket, timezone })],
  ['timeBucketColumns', (timezone) => database.client.timeBucketColumns(table, { ...bucket, timezone })],
  ['fillGaps', (timezone) => database.client.fillGaps(table, { ...filled, timezone })],
  ['fillGapsColumns', (timezone) => database.client.fillGapsColumns(table, { ...filled, timezone })],
  ['addRetentionPolicy', (timezone) => database.client.addRetentionPolicy(table, { dropAfter: '1 day', timezone })],
  [
    'addCompressionPolicy',
    (timezone) => database.client.addCompressionPolicy(table, { compressAfter: '1 day', timezone }),
  ],
  ['addReorderPolicy', (timezone) => database.client.addReorderPolicy(table, { index: 'x', timezone })],
  [
    'addContinuousAggregatePolicy',
    (timezone) => {
      const aggregate = { schema: table.schema, name: 'By day' }
      const offsets = { startOffset: '3 days', endOffset: '1 hour' } as const
      return database.client.addContinuousAggregatePolicy(aggregate, { ...offsets, ...daily, timezone })
    },
  ],
  [
    'createContinuousAggregate',
    (timezone) =>
      database.client.createContinuousAggregate(
        { schema: table.schema, name: 'Other' },
        {
          hypertable: table,
          timeColumn: 'time',
          bucketInterval: '1 day',
          aggregates: { n: count() },
          withData: false,
          timezone,
        },
      ),
  ],
  ['addJob', (timezone) => database.client.addJob({ schema: table.schema, name: 'nop' }, { ...daily, timezone })],
  ['alterJob', (timezone) => database.client.alterJob(jobId, { timezone })],
  ['load', (timeZone) => database.client.load(table, [row], { timeZone })],
  ['insert', (timeZone) => database.client.insert(table, [row], { timeZone })],
]

describe.each(places)('%s', (_, run) => {
  it('names a time zone that does not exist, with the one that may be meant, also where there are no rows', async () => {
    await expect(run('Europe/Brelin')).rejects.toMatchObject({
      name: 'UsageError',
      code: 'INVALID_OPTION',
      message: 'There is no time zone "Europe/Brelin".',
      hint: "Did you mean 'Europe/Berlin'?",
    })
    await expect(run("it's $")).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      hint: expect.stringContaining('IANA'),
    })
  })

  it('refuses an offset, whose sign would be read the other way round', async () => {
    for (const [offset, hint] of [
      ['+02', 'Etc/GMT-2'],
      ['-05:00', 'Etc/GMT+5'],
      ['+05:30', 'a name'],
    ]) {
      await expect(run(offset ?? '')).rejects.toMatchObject({
        code: 'INVALID_OPTION',
        hint: expect.stringContaining(hint ?? ''),
      })
    }
  })
})

it('what an offset is refused for: the server takes its sign the other way round', async () => {
  const { rows } = await database.client.executeQuery<Record<string, number>>(
    `select extract(epoch from timezone('+02', now()) - timezone('UTC', now()))::int as read,
       extract(epoch from timezone('Etc/GMT-2', now()) - timezone('UTC', now()))::int as named`,
  )
  expect(rows).toEqual([{ read: -7200, named: 7200 }])
})

it('a task says so too, read-only or not', async () => {
  const task = { ...bucketTask(), timezone: 'Europe/Brelin' }
  for (const readOnly of [false, true]) {
    expect(await runTask(database.client, task, { readOnly })).toMatchObject({
      success: false,
      error: { code: 'INVALID_OPTION', hint: "Did you mean 'Europe/Berlin'?" },
    })
  }
})

it('a transaction goes on after the refusal', async () => {
  await database.client.transaction(async (tx) => {
    await tx.sql`insert into ${sql.name(table)} values ('2025-01-01', 1)`
    await expect(tx.timeBucketQuery(table, { ...bucket, timezone: 'Mars/Olympus' })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
    const days = await tx.timeBucketQuery(table, { ...bucket, timezone: 'America/Sao_Paulo' })
    expect(days).toEqual([{ bucket: new Date('2024-12-31T03:00:00Z'), value: 1 }])
  })
  await database.client.sql`delete from ${sql.name(table)}`
})

it('what the server knows is taken, however it is written', async () => {
  for (const timezone of ['europe/berlin', 'EST5EDT', 'CEST', 'UTC', '<-03>3']) {
    expect(await database.client.timeBucketQuery(table, { ...bucket, timezone })).toEqual([])
  }
  // The definition of an aggregate needs the name as it is listed.
  const create = places.find(([name]) => name === 'createContinuousAggregate')?.[1]
  await expect(create?.('europe/berlin')).rejects.toMatchObject({ hint: "Did you mean 'Europe/Berlin'?" })
  await create?.('Europe/Berlin')
})

describe('a time zone with a number', () => {
  const run = (timezone: string): Promise<unknown> => database.client.timeBucketQuery(table, { ...bucket, timezone })

  it.each([
    ['Europe/Berlin1', "Did you mean 'Europe/Berlin'?"],
    ['FOO3', "Write an IANA name such as 'Europe/Berlin'."],
    ['CET-1CEST', undefined],
    ['UTC+3', expect.stringContaining("'Etc/GMT-3'")],
    ['gmt-2', expect.stringContaining("'Etc/GMT+2'")],
    ['UTC0', expect.stringContaining("'UTC'")],
  ])('%s is refused, since it is not what the server takes it for', async (timezone, hint) => {
    const error = { name: 'UsageError', code: 'INVALID_OPTION' }
    await expect(run(timezone)).rejects.toMatchObject(hint === undefined ? error : { ...error, hint })
    await expect(
      database.client.transaction(async (tx) => {
        await expect(tx.timeBucketQuery(table, { ...bucket, timezone })).rejects.toMatchObject(error)
        return tx.sql`select 1 as one`
      }),
    ).resolves.toEqual([{ one: 1 }])
    const task = { ...bucketTask(), timezone }
    expect(await runTask(database.client, task, { readOnly: true })).toMatchObject({
      error: { code: 'INVALID_OPTION' },
    })
  })

  it.each(['UTC', 'GMT', 'gmt0', 'GMT+0', 'Etc/GMT+3', 'etc/gmt-14', 'EST5EDT', 'CET', 'EST', 'europe/berlin', 'Zulu'])(
    '%s is one of its own, and works',
    async (timezone) => {
      await expect(run(timezone)).resolves.toEqual([])
    },
  )
})
