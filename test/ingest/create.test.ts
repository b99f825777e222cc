import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { planLoad } from '../../src/ingest/create/plan-load.ts'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import type { LoadSource } from '../../src/ingest/source/input.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string
let table: { schema: string; name: string }
let made = 0

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-create-'))
})
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})
beforeEach(() => {
  table = { schema: database.schema, name: `New "table".${++made}` }
})

const run = (source: LoadSource, options: LoadOptions = {}): ReturnType<typeof load> =>
  load(database.db, table, source, { create: true, ...options })
const plan = (source: LoadSource, options: LoadOptions = {}): ReturnType<typeof planLoad> =>
  planLoad(database.db, table, source, options)
const contents = async (): Promise<unknown[]> =>
  (await database.db.query(sql`select * from ${sql.name(table)} order by 1, 2`)).rows
const types = async (): Promise<Record<string, string>> => {
  const { rows } = await database.db.query<{ name: string; type: string }>(sql`
    select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
    where attrelid = ${sql.name(table).text}::regclass and attnum > 0`)
  return Object.fromEntries(rows.map(({ name, type }) => [name, type]))
}
function file(content: string | Buffer, extension = 'csv'): string {
  const path = join(directory, `f ${++made}.${extension}`)
  writeFileSync(path, content)
  return path
}

const minute = (n: number): string => new Date(Date.UTC(2025, 0, 1) + n * 60_000).toISOString()
const sensors = (count: number): string =>
  `ti.me,Sen"sor,v,on\n${Array.from({ length: count }, (_, n) => `${minute(n)},s${n % 5},${n / 4},${n % 2 === 0}\n`).join('')}`

describe('a table for a CSV', () => {
  test('is a compressed hypertable with every row of the sample in it', { timeout: 30_000 }, async () => {
    const text = sensors(3000).replace('Sen"sor', '"Sen""sor"')
    const planned = await plan(file(text))
    expect(planned.create).toBe(true)
    expect(planned.columns.map(({ name, type, notNull }) => [name, type, notNull])).toEqual([
      ['ti.me', 'timestamptz', true],
      ['Sen"sor', 'text', false],
      ['v', 'double precision', false],
      ['on', 'boolean', false],
    ])
    expect(planned.statements[0]?.text).toContain('create table')
    await expect(database.db.query(sql`select from ${sql.name(table)}`)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const report = await run(file(text))
    expect(report).toMatchObject({ created: true, rowsWritten: 3000 })
    const [dimension] = (await database.client.getHypertableStats(table)).dimensions
    expect(dimension).toMatchObject({ column: 'ti.me', interval: '365 days' })
    if (database.can('compression')) {
      expect(await database.client.getCompressionSettings(table)).toMatchObject({
        segmentBy: ['Sen"sor'],
        orderBy: [{ column: 'ti.me', direction: 'desc' }],
      })
    }
    expect(await run(file(text))).toMatchObject({ created: false, rowsWritten: 3000 })
  })

  test.each<[string, (text: string) => LoadSource, LoadOptions]>([
    ['a gz file', (text) => file(gzipSync(text), 'csv.gz'), {}],
    [
      'a stream',
      (text) => Readable.from([Buffer.from(text.slice(0, 99)), Buffer.from(text.slice(99))], { objectMode: false }),
      { format: 'csv' },
    ],
    ['a packed stream', (text) => Readable.from([gzipSync(text)], { objectMode: false }), { format: 'csv' }],
    ['carriage returns', (text) => file(text.replaceAll('\n', '\r')), {}],
    [
      'no header',
      (text) => file(text.slice(text.indexOf('\n') + 1)),
      { header: false, columns: ['ti.me', 'Sen"sor', 'v', 'on'] },
    ],
  ])('from %s: the rows of the sample are not lost', async (_name, make, options) => {
    const report = await run(make(sensors(500).replace('Sen"sor', '"Sen""sor"')), {
      ...options,
      create: { sampleRows: 20, compress: false },
    })
    expect(report).toMatchObject({ created: true, rowsWritten: 500 })
    expect(await contents()).toHaveLength(500)
  })
})

describe('what is chosen', () => {
  const times = (count: number, stepMinutes = 1): Record<string, unknown>[] =>
    Array.from({ length: count }, (_, n) => ({
      time: new Date(Date.UTC(2025, 0, 1) + n * stepMinutes * 60_000),
      v: n / 2,
    }))

  test('types of every kind, which then hold every value', async () => {
    const text = `at,n,big,f,exact,b,d,naive,u,j,zip,empty
2025-01-01T00:00:00Z,1,9223372036854775808,0.5,1234567890.1234567,true,2025-01-01,2025-01-01 10:00,00000000-0000-4000-8000-00000000000a,"{""a"":1}",00501,
2025-01-02T00:00:00Z,,7,NaN,2,false,2025-01-02,2025-01-02 10:00:00.000001,00000000-0000-4000-8000-00000000000b,[],12345,
`
    await run(file(text), { create: { compress: false, timeColumn: 'at' } })
    expect(await types()).toEqual({
      at: 'timestamp with time zone',
      n: 'bigint',
      big: 'numeric',
      f: 'double precision',
      exact: 'numeric',
      b: 'boolean',
      d: 'date',
      naive: 'timestamp without time zone',
      u: 'uuid',
      j: 'jsonb',
      zip: 'text',
      empty: 'text',
    })
    const { rows } = await database.db.query(
      sql`select zip, exact::text, big::text from ${sql.name(table)} order by at`,
    )
    expect(rows).toEqual([
      { zip: '00501', exact: '1234567890.1234567', big: '9223372036854775808' },
      { zip: '12345', exact: '2', big: '7' },
    ])
  })

  test.each([
    ['timestamptz', ['20260131T065500Z', '20260131T065500.25+0100', '2026-01-31 06:55:00 UTC', '2026-01-31 6:55 GMT']],
    ['timestamp', ['20260131T065500', '2026-01-31 06:55 PM', '2026-01-31 12:00:00.5 AM', '31-Jan-2026 12:01PM']],
    ['time', ['24:00:00', '06:55 PM', '6:55:01.5am', '12:00 AM', '12:59:59 pm', '00:10 PM', '23:59:59.999999']],
  ])('%s is read as the server reads it, passed through and parsed', async (type, texts) => {
    const csv = file(`n,v\n${texts.map((text, n) => `${n},${text}\n`).join('')}`)
    const asked = texts.map((text, n) => sql`(${n}::bigint, ${sql.raw(type)} ${sql.literal(text)})`)
    const { rows } = await database.db.query(
      sql`select n, v::text from (values ${sql.join(asked)}) t (n, v) order by n`,
    )
    for (const options of [{}, { onBadRow: 'skip' as const }]) {
      table = { schema: database.schema, name: `Times ${++made}` }
      const report = await run(csv, { ...options, create: { timeColumn: false } })
      expect(report.rowsWritten).toBe(texts.length)
      if ('onBadRow' in options) expect(report.path.kind).toBe('binary')
      const read = await database.db.query(sql`select n, v::text from ${sql.name(table)} order by n`)
      expect(read.rows).toEqual(rows)
      const typed = await database.db.query(
        sql`select ${sql.literal(type)}::regtype = pg_typeof(v) as ok from ${sql.name(table)}`,
      )
      expect(typed.rows[0]).toEqual({ ok: true })
    }
  })

  test('a line of another length is told by its number, and is no question of types', async () => {
    const csv = file(`time,note,v\n${minute(0)},x,1\n${minute(1)},"two\nlines",1\n${minute(2)},x\n`)
    const passed = await run(csv).catch((error: unknown) => error)
    expect(passed).toMatchObject({
      message: expect.stringMatching(/^Line 5: missing data/),
      hint: expect.stringContaining('Quote values'),
    })
    table = { schema: database.schema, name: `Ragged ${++made}` }
    const parsed = await run(csv, { columns: { time: 'time', note: 'n', v: 'v' }, constants: { c: 1 } }).catch(
      (error: unknown) => error,
    )
    expect(parsed).toMatchObject({
      message: expect.stringMatching(/^Row 2: The row has 2 values for 3 columns, in line 5\./),
      hint: expect.stringContaining('Quote values'),
    })
  })

  test('a value that comes later and does not fit is an error that says what stays', async () => {
    const lines = Array.from({ length: 40 }, (_, n) => `${minute(n)},${n === 39 ? 'secret' : n}`)
    const failure = await run(file(`time,n\n${lines.join('\n')}\n`), {
      create: { sampleRows: 10, compress: false },
    }).catch((error: unknown) => error)
    expect(failure).toMatchObject({
      code: 'BATCH_FAILED',
      message: expect.stringMatching(
        /^Line 41: Column "n": invalid input syntax for type bigint.* The table was created and stays\.$/,
      ),
      hint: expect.stringContaining('create.sampleRows'),
    })
    expect(String(failure)).not.toContain('secret')
    await database.db.query(sql`drop table ${sql.name(table)}`)
    const options: LoadOptions = { create: { columns: { n: 'text' }, sampleRows: 10, compress: false } }
    expect(await run(file(`time,n\n${lines.join('\n')}\n`), options)).toMatchObject({ rowsWritten: 40 })
  })

  test('the time column', async () => {
    const of = (row: object, options: LoadOptions = {}): ReturnType<typeof plan> => plan([row, row], options)
    const two = { created_at: new Date(0), ended_at: new Date(1), v: 1 }
    await expect(of(two)).rejects.toMatchObject({
      message: expect.stringContaining('created_at (timestamptz), ended_at (timestamptz)'),
      hint: expect.stringContaining('create.timeColumn'),
    })
    expect((await of({ ...two, time: new Date(0) })).reasons[0]).toBe(
      'Time column time: by its name, before created_at, ended_at.',
    )
    expect((await of(two, { create: { timeColumn: 'ended_at' } })).reasons[0]).toContain('ended_at: as asked for')
    await expect(of({ v: 1, ts: 5 })).rejects.toThrow('No column has times in every row: v (bigint), ts (bigint)')
    expect((await of({ v: 1, ts: 5 }, { timeUnit: 's' })).columns[1]).toMatchObject({
      type: 'timestamptz',
      notNull: true,
    })
    await expect(of({ v: 1, ts: 5 }, { create: { timeColumn: 'ts' } })).rejects.toThrow(
      'how long a chunk is cannot be guessed',
    )
    const integer = await of({ v: 1, ts: 5 }, { create: { timeColumn: 'ts', chunkTimeInterval: 1000 } })
    expect(integer.statements[1]?.text).toContain("by_range('ts', 1000)")
    expect((await of({ v: 1 }, { create: { timeColumn: false } })).statements).toHaveLength(1)
    expect(
      (
        await plan([
          { time: null, at: new Date(0) },
          { time: new Date(0), at: new Date(0) },
        ])
      ).reasons[0],
    ).toContain('column at')
    await expect(of({ v: 1 }, { create: { timeColumn: 'w' } })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('chunks of about ten million rows, at the rate of the sample', async () => {
    const spanOf = async (step: number): Promise<string | undefined> =>
      (await plan(times(2000, step), { create: { compress: false } })).reasons[1]
    expect(await spanOf(1)).toMatch(/^Chunks of 365 days: about 525,\d{3} rows each at the rate of the sample\.$/)
    expect(await spanOf(1 / 60)).toContain('Chunks of 30 days')
    expect(await spanOf(1 / 60_000)).toContain('Chunks of 1 hour')
    expect((await plan(times(5))).reasons[1]).toContain('Chunks of 7 days: the sample does not show')
    expect((await plan(times(2000), { create: { chunkTimeInterval: '3 days' } })).statements[1]?.text).toContain(
      "interval '3 days'",
    )
    // A source in the order of its series: the sample is one stretch of each.
    const series = Array.from({ length: 4 }, () => times(300)).flat()
    expect((await plan(series)).reasons[1]).toContain('about')
  })

  test('segments by what is named like a series, before what is measured', async ({ skip }) => {
    skip(!database.can('compression'), 'needs compression')
    const rows = times(2000).map((row, n) => ({ ...row, state: `state ${n % 20}`, sensor_id: n % 7, reading: n % 50 }))
    const planned = await plan(rows)
    expect(planned.reasons[2]).toBe(
      'Segments by sensor_id: it has 7 values in the sample, and at least 100 rows of each in a chunk.',
    )
    expect((await plan(rows, { create: { segmentBy: ['state'], orderBy: 'time' } })).reasons.slice(2)).toEqual([
      'Segments: as asked for.',
      'Order: as asked for.',
    ])
    expect((await plan(rows, { create: { compress: false } })).statements).toHaveLength(2)
    const unique = times(2000).map((row, n) => ({ ...row, id: `row ${n}` }))
    expect((await plan(unique)).reasons[2]).toContain('No segments')
  })

  test('constants, mapped columns, arrays, typed arrays, an iterator', async () => {
    const report = await run([{ t: 1_735_689_600, x: 1.5 }], {
      create: { compress: false },
      columns: { t: 'time', x: 'value' },
      constants: { site: 'Berlin', batch: 7 },
      timeUnit: 's',
    })
    expect(report).toMatchObject({ created: true, rowsWritten: 1 })
    expect(await contents()).toEqual([{ time: new Date('2025-01-01'), value: 1.5, site: 'Berlin', batch: 7 }])
    expect((await plan([])).create).toBe(false)
    await database.db.query(sql`drop table ${sql.name(table)}`)
    expect((await plan([[new Date(0), 1]], { columns: ['at', 'n'] })).create).toBe(true)
    await expect(run([[new Date(0), 1]])).rejects.toThrow('give the option columns')
    function* some(): Generator<object> {
      yield* times(30)
    }
    expect(await run(some(), { create: { sampleRows: 7, compress: false } })).toMatchObject({ rowsWritten: 30 })
    await database.db.query(sql`drop table ${sql.name(table)}`)
    async function* later(): AsyncGenerator<object> {
      yield* times(30)
    }
    expect(await run(later(), { create: { sampleRows: 7, compress: false } })).toMatchObject({ rowsWritten: 30 })
    await database.db.query(sql`drop table ${sql.name(table)}`)
    const columns = { time: BigInt64Array.from([1n, 2n]), v: Float64Array.from([1, 2]), n: Int32Array.from([1, 2]) }
    await run(columns, { timeUnit: 'us', create: { compress: false } })
    expect(await types()).toEqual({ time: 'timestamp with time zone', v: 'double precision', n: 'integer' })
  })

  test('a time format, NDJSON and JSON with every digit', async () => {
    await run(file('when,v\n31/12/2024 11:05:06 PM,1\n01/01/2025 12:00:00 AM,2\n'), {
      timeFormat: 'DD/MM/YYYY HH12:MI:SS AM',
      timeZone: 'Europe/Berlin',
      create: { compress: false },
    })
    expect(await contents()).toMatchObject([
      { when: new Date('2024-12-31T22:05:06Z') },
      { when: new Date('2024-12-31T23:00:00Z') },
    ])
    await database.db.query(sql`drop table ${sql.name(table)}`)
    const items = [
      '{"time":"2025-01-01T00:00:00Z","n":12345678901234567890.125,"j":{"deep":[1.23456789012345678901]}}',
      '{"time":"2025-01-02T00:00:00Z","n":1,"j":{"deep":[2]}}',
    ]
    const options: LoadOptions = { create: { compress: false, columns: { n: 'numeric', j: 'jsonb' } } }
    for (const path of [file(items.join('\n'), 'ndjson'), file(`[${items.join(',\n')}]`, 'json')]) {
      await run(path, options)
      const { rows } = await database.db.query(sql`select n::text, j::text from ${sql.name(table)} order by time`)
      expect(rows).toEqual([
        { n: '12345678901234567890.125', j: '{"deep": [1.23456789012345678901]}' },
        { n: '1', j: '{"deep": [2]}' },
      ])
      await database.db.query(sql`drop table ${sql.name(table)}`)
    }
  })

  test('options that mean nothing', async () => {
    for (const create of [
      { timeColum: 'x' },
      { sampleRows: 0 },
      { columns: { time: 'int); drop table x' } },
      { columns: { nope: 'int' } },
      5,
    ]) {
      await expect(run(times(3), { create } as object)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    }
    await expect(run(times(3), { onConflict: 'update' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(run(times(3), { timeFormat: 'DD/MM/YY' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await expect(run([])).rejects.toThrow('no rows')
    await expect(run(times(3), { create: false })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  })

  test('real flights: a Parquet file of three million rows, and JSON', async () => {
    const data = (name: string): string =>
      fileURLToPath(new URL(`../../node_modules/vega-datasets/data/${name}`, import.meta.url))
    const { columns, reasons } = await plan(data('flights-3m.parquet'))
    expect(columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
      'date timestamp',
      'delay bigint',
      'distance bigint',
      'origin text',
      'destination text',
    ])
    expect(reasons[0]).toContain('Time column date')
    const report = await run(data('flights-2k.json'), { verify: true })
    expect(report).toMatchObject({ created: true, rowsWritten: 2000, verified: { rows: 2000 } })
  })

  test('two loads at once make one table', async () => {
    const reports = await Promise.all([1, 2].map(() => run(times(50), { create: { compress: false }, analyze: false })))
    expect(reports.filter(({ created }) => created)).toHaveLength(1)
    expect(await contents()).toHaveLength(100)
  })
})
