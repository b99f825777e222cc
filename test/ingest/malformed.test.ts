import { readdirSync } from 'node:fs'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { TimescaleError } from '../../src/errors.ts'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import type { LoadSource } from '../../src/ingest/source/input.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { keptBytes } from '../setup/memory.ts'

const directory = fileURLToPath(new URL('malformed/', import.meta.url))
let database: TestDatabase
let table: { schema: string; name: string }

beforeAll(async () => {
  database = await openTestDatabase()
  table = { schema: database.schema, name: 'T.x' }
  await database.db.query(sql`create table ${sql.name(table)} (time timestamptz, n int, note text)`)
})
beforeEach(() => database.db.query(sql`truncate ${sql.name(table)}`))
afterAll(() => database.close())

/** What it fails with; also that what it says to stay is what is in the table. */
async function failure(source: LoadSource, options: LoadOptions): Promise<string> {
  const error = await load(database.db, table, source, { analyze: false, ...options }).then(
    () => new Error('it did not fail'),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(TimescaleError)
  const { message } = error as TimescaleError
  const { rows } = await database.db.query(sql`select count(*)::int as n from ${sql.name(table)}`)
  expect(rows[0]?.['n']).toBe(Number(/(\d+) rows? of other batches/.exec(message)?.[1] ?? 0))
  return message
}

/** By file: how it fails where it is passed through, and where it is parsed; one of them where there is one way only. */
const expected: Readonly<Record<string, RegExp | readonly [RegExp, RegExp]>> = {
  'too-few-columns.csv': [/^Line 6: missing data for column "note"/, /^Row 4: The row has 2 values for 3 columns/],
  'too-many-columns.csv': [/^Line 6: extra data after last expected column/, /^Row 4: The row has 4 values for 3/],
  'bad-stamp.csv': [
    /^Line 6: Column "time": date\/time field value out of range: "…"/,
    /^Row 4: Column "time" \(timestamp with time/,
  ],
  'bad-number.csv': [
    /^Line 6: Column "n": invalid input syntax for type integer: "…"/,
    /^Row 4: Column "n" \(integer\): a text/,
  ],
  'invalid-utf-8.csv': [/^Line 6: invalid byte sequence for encoding "UTF8"/, /^Line 6 of .* is not UTF-8/],
  'utf-16.csv': [/ is UTF-16/, / is UTF-16/],
  'nul.csv': [/^Line 6: invalid byte sequence/, /^Row 4: Column "note" \(text\): a text with NUL/],
  'mixed-line-ends.csv': [/^Line 6: (unquoted carriage return|literal carriage return)/, /it did not fail/],
  'open-quote.csv': [/^Line \d+: unterminated CSV quoted field/, /^Line \d+ of .* is no CSV: quote not closed/],
  'duplicate-header.csv': [/The source has two columns "n"/, /The source has two columns "n"/],
  'unknown-header.csv': [/has no column "nots"/, /has no column "nots"/],
  'empty.csv': [/is empty: it has no header/, /is empty: it has no header/],
  'truncated.csv.gz': [/cannot be unpacked after \d+ bytes of its content: it is cut off/, /it is cut off/],
  'damaged.csv.gz': [/cannot be unpacked after \d+ bytes of its content: it is damaged/, /it is damaged/],
  'not-packed.csv.gz': [/it is damaged, or not packed/, /it is damaged, or not packed/],
  'empty.csv.gz': [/unpacked after 0 bytes of its content: it is cut off/, /it is cut off/],
  'bad-line.ndjson': /^Row 1: line 2 is no JSON object/,
  'not-an-object.ndjson': /^Row 1: line 3 is no JSON object/,
  'unknown-name.ndjson': /has no column "nn"/,
  'nul.ndjson': /^Row 0: Column "note" \(text\): a text with NUL/,
  'invalid-utf-8.ndjson': /^Line 2 of .* is not UTF-8/,
  'too-large-number.ndjson': /^Row 0: Column "n" \(integer\): a text out of range/,
  'truncated.array.json': /^Line 2 of .*: it ends within its array/,
  'bad-item.array.json': /^Row 1: item 2, which ends in line 2, is no JSON object/,
  'two.array.json': /^Line 2 of .*: it goes on after its array/,
  'no-array.array.json': /^Line 1 of .*: it does not begin with \[/,
  'bad-field.lp': /^Row 1: line 2 has a value of the field "n" that is none/,
  'open-text.lp': /^Row 1: line 2 has a text that is not closed/,
  'no-time.lp': /^Row 1: line 2 has no time/,
  'truncated.parquet': /cannot be read as Parquet/,
  'damaged.parquet': /cannot be read as Parquet/,
  'damaged-page.parquet':
    /row group 2 of 2 \(rows 10 to 19\) cannot be read as Parquet: its bytes are damaged\. 10 rows of/,
  'damaged-checksum.parquet':
    /row group 2 of 2 \(rows 10 to 19\) .*: page 1 of column "note" is not as its checksum says/,
  'not-parquet.parquet': /cannot be read as Parquet/,
  'empty.parquet': /cannot be read as Parquet/,
}

const isFine: ReadonlySet<string> = new Set(['header-only.csv'])

test('every file of the folder is expected to fail in a way of its own', () => {
  expect(readdirSync(directory).sort()).toEqual([...Object.keys(expected), ...isFine].sort())
})

describe.each(Object.entries(expected))('%s', (name, messages) => {
  const path = `${directory}${name}`
  const [passed, parsed] = messages instanceof RegExp ? [messages, undefined] : messages

  test('says where and what', async () => {
    expect(await failure(path, {})).toMatch(passed)
    if (parsed === undefined || parsed.source === 'it did not fail') return
    expect(await failure(path, { timeUnit: 's' })).toMatch(parsed)
  })
})

test('what is parsed takes any line end, and a header alone is no error', async () => {
  expect(await load(database.db, table, `${directory}mixed-line-ends.csv`, { timeUnit: 's' })).toMatchObject({
    rowsWritten: 10,
  })
  expect(await load(database.db, table, `${directory}header-only.csv`)).toMatchObject({ rowsWritten: 0 })
})

describe('a line of 2 GB', { timeout: 60_000 }, () => {
  const line = 2 * 2 ** 30
  const block = Buffer.alloc(2 ** 20, 'x')
  let given = 0
  let most = 0
  async function* endless(start: string): AsyncGenerator<Buffer> {
    given = 0
    most = 0
    yield Buffer.from(start)
    for (; given < line; given += block.length) {
      if (given % (32 * block.length) === 0) most = Math.max(most, keptBytes())
      yield block
    }
  }

  test.each<[string, string, LoadOptions]>([
    ['CSV, in a quoted field', 'time,n,note\n2025-01-01,1,"', { format: 'csv' }],
    ['CSV, without a quote', 'time,n,note\n2025-01-01,1,', { format: 'csv' }],
    ['CSV, the header', '', { format: 'csv' }],
    ['CSV, parsed', 'time,n,note\n2025-01-01,1,"', { format: 'csv', timeUnit: 's' }],
    ['NDJSON', '{"note":"', { format: 'ndjson' }],
    ['JSON', '[{"note":"', { format: 'json' }],
    ['line protocol', 'm note="', { format: 'influx' }],
    ['line protocol, of many lines', 'm note="\n', { format: 'influx' }],
  ])('%s, is refused at a limit and never in memory', async (name, start, options) => {
    const source = Readable.from(endless(start), { objectMode: false, highWaterMark: 2 ** 20 })
    const before = keptBytes()
    const message = await failure(source, options)
    expect(message).toMatch(
      /longer than 64 MiB|more than 64 Mi characters|more than 67108864|max record size|quote not closed/,
    )
    // What was taken from the source is little more than the limit, and no more can be in memory several times.
    expect(given).toBeLessThan(200 * 2 ** 20)
    expect(most - before, name).toBeLessThan(300 * 2 ** 20)
  })

  test('lines that are empty, or only comments, are no rows', async () => {
    async function* blank(): AsyncGenerator<Buffer> {
      for (let n = 0; n < 9; n++) yield Buffer.alloc(2 ** 20, n % 2 === 0 ? '\n' : '#')
    }
    for (const format of ['influx'] as const) {
      expect(await load(database.db, table, Readable.from(blank(), { objectMode: false }), { format })).toMatchObject({
        rowsRead: 0,
      })
    }
  })
})
