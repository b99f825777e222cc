import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { UnreadableRow } from '../../src/ingest/encode/encoder.ts'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import { type InfluxRules, influxRows } from '../../src/ingest/source/influx.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

const plain: InfluxRules = {
  measurement: undefined,
  measurementColumn: undefined,
  timeColumn: 'time',
  missingTime: undefined,
}

async function parse(text: string, rules: Partial<InfluxRules> = {}, cut = 7): Promise<unknown[]> {
  const bytes = Buffer.from(text)
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += cut) yield bytes.subarray(at, at + cut)
  }
  const rows: unknown[] = []
  for await (const row of influxRows(pieces(), 'it', { ...plain, ...rules })) rows.push(row)
  return rows
}

describe('points', () => {
  test.each<[string, object]>([
    ['m v=1 5', { time: 5n, v: 1 }],
    ['m,host=a,region=eu\\ west v=1i,w=-2.5e3 -1', { time: -1n, host: 'a', region: 'eu west', v: 1, w: -2500 }],
    ['m v=9007199254740993i,u=18446744073709551615u 1', { time: 1n, v: 9007199254740993n, u: 18446744073709551615n }],
    ['m a=t,b=False,c=TRUE,d=f 1', { time: 1n, a: true, b: false, c: true, d: false }],
    ['m a="x, y=z \\" \\\\ \\n" 1', { time: 1n, a: 'x, y=z " \\ \\n' }],
    ['m,k\\=1=a\\,b f\\ g=1 1', { time: 1n, 'k=1': 'a,b', 'f g': 1 }],
    ['m,path=C:\\dir v=1 1', { time: 1n, path: 'C:\\dir', v: 1 }],
    ['  m  v=1   1  \r', { time: 1n, v: 1 }],
    ['m __proto__="x" 1', JSON.parse('{"time":0,"__proto__":"x"}')],
    ['m a="two\nlines" 1', { time: 1n, a: 'two\nlines' }],
  ])('%s', async (line, row) => {
    const [found, ...others] = await parse(`# a comment\n\n${line}\n`)
    expect(others).toEqual([])
    expect(Object.entries(found as object)).toEqual(
      Object.entries(row).map(([name, value]) =>
        name === 'time' ? ['time', value === 0 ? 1n : value] : [name, value],
      ),
    )
  })

  test.each([
    ['m', 'has no fields'],
    ['m 1', 'has a field without a name or value'],
    ['m v= 1', 'has a value of the field "v" that is none'],
    ['m v=secret 1', 'has a value of the field "v" that is none'],
    ['m v=1e999 1', 'has a value of the field "v" that is none'],
    ['m v=9223372036854775808i 1', 'has a value of the field "v" that is none'],
    ['m v=-1u 1', 'has a value of the field "v" that is none'],
    ['m v=1 1.5', 'has a time that is no whole number'],
    ['m v=1 1 2', 'has a time that is no whole number'],
    ['m,k= v=1 1', 'has no value for the tag "k"'],
    ['m,=a v=1 1', 'has a tag without a name or value'],
    [',k=a v=1 1', 'has no measurement'],
    ['m,v=a v=1 1', 'has two values of the name "v"'],
    ['m time=1 1', 'has two values of the name "time"'],
    ['m v="a"x 1', 'has something after its fields'],
    ['m v=1', 'has no time'],
    ['m v="open 1', 'has a text that is not closed'],
  ])('%s is none', async (line, reason) => {
    const rows = await parse(`m v=1 1\n${line}`)
    expect(rows).toHaveLength(2)
    expect(rows[1]).toBeInstanceOf(UnreadableRow)
    expect((rows[1] as UnreadableRow).reason).toContain(`line 2 ${reason}`)
    expect((rows[1] as UnreadableRow).reason).not.toContain('secret')
  })

  test('several measurements', async () => {
    const text = 'a v=1 1\nb v=2 2\na v=3 3\n'
    expect((await parse(text))[1]).toMatchObject({
      reason: expect.stringContaining('line 2 is of another measurement'),
    })
    expect(await parse(text, { measurement: 'a' })).toEqual([
      { time: 1n, v: 1 },
      { time: 3n, v: 3 },
    ])
    expect(await parse(text, { measurementColumn: 'what', timeColumn: 'at' })).toEqual([
      { at: 1n, what: 'a', v: 1 },
      { at: 2n, what: 'b', v: 2 },
      { at: 3n, what: 'a', v: 3 },
    ])
    expect(await parse('a v=1', { missingTime: 9n })).toEqual([{ time: 9n, v: 1 }])
  })
})

// A writer of its own, from the specification: what it writes is what is read.
type FieldValue = string | boolean | { readonly float: number } | { readonly int: bigint } | { readonly uint: bigint }
const escapeName = (text: string): string => text.replace(/[, =]/g, (char) => `\\${char}`)
function writeField(value: FieldValue): string {
  if (typeof value === 'string') return `"${value.replace(/["\\]/g, (char) => `\\${char}`)}"`
  if (typeof value === 'boolean') return value ? 'true' : 'F'
  // String(-0) is 0.
  if ('float' in value) return Object.is(value.float, -0) ? '-0' : String(value.float)
  return 'int' in value ? `${value.int}i` : `${value.uint}u`
}
const readField = (value: FieldValue): unknown => {
  if (typeof value !== 'object') return value
  if ('float' in value) return value.float
  const whole = 'int' in value ? value.int : value.uint
  return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole
}

test('what another writer writes is read, however the bytes are cut', async () => {
  // A backslash before a character that is escaped, or at the end, cannot be written as a name.
  const word = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 8 })
    .filter((text) => !/[\n\r\\\0]|^\s|^#|\s$/u.test(text) && text !== 'time')
  const text = fc.string({ unit: 'binary', maxLength: 12 }).filter((one) => !one.includes('\r'))
  const value: fc.Arbitrary<FieldValue> = fc.oneof(
    text,
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((float) => ({ float })),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((int) => ({ int })),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((uint) => ({ uint })),
  )
  const point = fc
    .record({
      tags: fc.dictionary(word, word, { maxKeys: 3, noNullPrototype: true }),
      fields: fc.dictionary(word, value, { minKeys: 1, maxKeys: 4, noNullPrototype: true }),
      time: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    })
    .filter(({ tags, fields }) => Object.keys(tags).every((name) => !Object.hasOwn(fields, name)))
  await fc.assert(
    fc.asyncProperty(
      word,
      fc.array(point, { maxLength: 8 }),
      fc.integer({ min: 1, max: 40 }),
      async (measurement, points, cut) => {
        const lines = points.map(({ tags, fields, time }) => {
          const head = [measurement.replace(/[, ]/g, (char) => `\\${char}`)]
          for (const [name, tag] of Object.entries(tags)) head.push(`${escapeName(name)}=${escapeName(tag)}`)
          const body = Object.entries(fields).map(([name, field]) => `${escapeName(name)}=${writeField(field)}`)
          return `${head.join(',')} ${body.join(',')} ${time}`
        })
        const expected = points.map(({ tags, fields, time }) => [
          ['time', time],
          ...Object.entries(tags),
          ...Object.entries(fields).map(([name, field]) => [name, readField(field)]),
        ])
        const rows = await parse(`${lines.join('\n# between\n')}\n`, {}, cut)
        // An object has names that look like numbers first.
        const byName = (fields: unknown[][]): unknown[][] => fields.sort(([a], [b]) => (String(a) < String(b) ? -1 : 1))
        expect(rows.map((row) => byName(Object.entries(row as object)))).toEqual(expected.map(byName))
      },
    ),
    { numRuns: 300 },
  )
})

describe('loaded', () => {
  let database: TestDatabase
  let directory: string
  let table: { schema: string; name: string }
  let made = 0

  beforeAll(async () => {
    database = await openTestDatabase()
    directory = mkdtempSync(join(tmpdir(), 'tsdb-influx-'))
  })
  afterAll(async () => {
    rmSync(directory, { recursive: true, force: true })
    await database.close()
  })
  beforeEach(() => {
    table = { schema: database.schema, name: `Influx "x".${++made}` }
  })
  const file = (content: string, extension = 'lp'): string => {
    const path = join(directory, `f ${++made}.${extension}`)
    writeFileSync(path, content)
    return path
  }
  const run = (source: string, options: LoadOptions = {}): ReturnType<typeof load> =>
    load(database.db, table, source, options)

  test.each<[LoadOptions['timeUnit'], string]>([
    [undefined, '1735689600123456789'],
    ['ns', '1735689600123456789'],
    ['us', '1735689600123456'],
    ['ms', '1735689600123'],
    ['s', '1735689600'],
  ])('into a table that create makes, times in %s', async (timeUnit, time) => {
    const lines = Array.from({ length: 300 }, (_, n) => `weather,station=s${n % 3} temp=${n / 2},n=${n}i ${time}`)
    // A field that only later points have.
    lines.push(`weather,station=s1 temp=1,wind=3.5 ${time}`)
    const options: LoadOptions = { create: true, batchRows: 100, ...(timeUnit !== undefined && { timeUnit }) }
    expect(await run(file(`${lines.join('\n')}\n`), options)).toMatchObject({ created: true, rowsWritten: 301 })
    const { rows } = await database.db.query(sql`
      select extract(epoch from min(time))::text as time, count(*)::int as n, count(wind)::int as wind,
        sum(n)::int as sum, count(distinct station)::int as stations, pg_typeof(min(n))::text as type
      from ${sql.name(table)}`)
    const micros = { ns: '123456', us: '123456', ms: '123000', s: '000000' }[timeUnit ?? 'ns']
    expect(rows).toEqual([
      { time: `1735689600.${micros}`, n: 301, wind: 1, sum: (299 * 300) / 2, stations: 3, type: 'bigint' },
    ])
  })

  test('into a table that is there: its time column, measurements, missing times, bad lines', async () => {
    await database.db.query(
      sql`create table ${sql.name(table)} (at timestamptz not null, kind text, host text, v float8)`,
    )
    await database.client.createHypertable(table, { timeColumn: 'at' })
    const text = 'cpu,host=a v=1 1735689600000000000\nmem v=2\ncpu v=secret 5\ncpu,host=b v=3 1735689600000000001\n'
    await expect(run(file(text), { measurementColumn: 'kind' })).rejects.toThrow(/Row 1: line 2 has no time/)
    const letters = join(directory, 'letters.ndjson')
    const options: LoadOptions = { measurementColumn: 'kind', onBadRow: { file: letters }, missingTime: 'now' }
    expect(await run(file(text), options)).toMatchObject({ rowsRead: 4, rowsWritten: 3, rowsRejected: 1 })
    expect(readFileSync(letters, 'utf8')).toContain('line 3 has a value of the field')
    const { rows } = await database.db.query(
      sql`select kind, host, v, at > now() - interval '1 hour' as now from ${sql.name(table)} order by v`,
    )
    expect(rows).toEqual([
      { kind: 'cpu', host: 'a', v: 1, now: false },
      { kind: 'mem', host: null, v: 2, now: true },
      { kind: 'cpu', host: 'b', v: 3, now: false },
    ])
    const good = text.replace('secret', '4')
    expect(await run(file(good), { measurement: 'mem', missingTime: 'now' })).toMatchObject({ rowsWritten: 1 })
  })
})
