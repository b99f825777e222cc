import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions, LoadReport } from '../../src/ingest/load-option.ts'
import { CsvReader, lastRecordEnd } from '../../src/ingest/source/csv.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

let database: TestDatabase
let directory: string
let table: { schema: string; name: string }
let files = 0

beforeAll(async () => {
  database = await openTestDatabase()
  directory = mkdtempSync(join(tmpdir(), 'tsdb-file-'))
  table = { schema: database.schema, name: 'Odd "table".x' }
  await database.db.query(sql`create table ${sql.name(table)} ("T,ime" timestamptz, n int, note text)`)
})

beforeEach(() => database.db.query(sql`truncate ${sql.name(table)}`))

afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database.close()
})

function file(content: string | Buffer, extension = 'csv'): string {
  const path = join(directory, `f ${++files}.${extension}`)
  writeFileSync(path, content)
  return path
}

const run = (source: Parameters<typeof load>[2], options: LoadOptions = {}): ReturnType<typeof load> =>
  load(database.db, table, source, options)
const contents = async (): Promise<unknown[]> =>
  (
    await database.db.query(
      sql`select n, note, extract(epoch from "T,ime")::int as t from ${sql.name(table)} order by n`,
    )
  ).rows
const failure = (source: string, options: LoadOptions = {}): Promise<Error> =>
  run(source, options).then(
    () => new Error('it did not fail'),
    (error: Error) => error,
  )

const header = '"T,ime",n,note\n'
const text = `${header}2025-01-01 00:00,1,"a ""quoted"", two\nlines"\n2025-01-01T00:00:01Z,2,\n,3,""\n2025-01-01 00:00:03+00,4,ünïcode`
const expected = [
  { n: 1, note: 'a "quoted", two\nlines', t: 1_735_689_600 },
  { n: 2, note: null, t: 1_735_689_601 },
  { n: 3, note: '', t: null },
  { n: 4, note: 'ünïcode', t: 1_735_689_603 },
]

// The embedded engine is sent the values of what a server is sent as it is.
const wayOf = ({ path }: LoadReport): string =>
  path.reason.startsWith('parsed: the engine in this process') ? 'csv' : path.kind

describe.each(['csv', 'binary'] as const)('CSV by the path %s', (kind) => {
  const options: LoadOptions = kind === 'csv' ? {} : { onBadRow: 'skip' }

  test.each([
    ['as it is', () => file(text), {}],
    ['packed', () => file(gzipSync(text), 'csv.gz'), {}],
    ['with a byte order mark', () => file(`\ufeff${text}`), {}],
    ['with CRLF', () => file(text.replaceAll('\n', '\r\n').replace('two\r\n', 'two\n')), {}],
    ['in latin1', () => file(Buffer.from(text, 'latin1')), { encoding: 'latin1' }],
    [
      'tabs',
      () => file(text.replaceAll(',', '\t').replaceAll('T\time', 'T,ime').replace('"\t two', '", two'), 'tsv'),
      {},
    ],
    [
      'a stream',
      () => Readable.from([Buffer.from(text.slice(0, 40)), Buffer.from(text.slice(40))], { objectMode: false }),
      { format: 'csv' },
    ],
    ['without a header', () => file(text.slice(header.length)), { header: false }],
    ['without a header, in another order', () => file('x,1\n"y",2\n'), { header: false, columns: ['note', 'n'] }],
    ['in small batches', () => file(text), { batchBytes: 1, batchRows: 1 }],
  ] satisfies [string, () => string | Readable, LoadOptions][])('%s', async (name, source, more) => {
    const report = await run(source(), { ...options, ...more })
    expect(wayOf(report)).toBe(kind)
    if (name.endsWith('order')) {
      expect(await contents()).toEqual([
        { n: 1, note: 'x', t: null },
        { n: 2, note: 'y', t: null },
      ])
      return
    }
    expect(report).toMatchObject({ rowsRead: 4, rowsWritten: 4, rowsRejected: 0 })
    expect(await contents()).toEqual(expected)
  })

  test('one column: empty lines are NULL, and what the server takes for the end of the data is a value', async () => {
    const options: LoadOptions = kind === 'csv' ? {} : { timeUnit: 's' }
    const lines = ['x', '', '\\.', '"\\."', '"a', '\\.', 'b"', 'C:\\.git', '', 'z']
    for (const [ended, batchBytes] of [
      ['\n', undefined],
      ['', 3],
    ] as const) {
      await database.db.query(sql`truncate ${sql.name(table)}`)
      const path = file(`note\n${lines.join('\n')}${ended}`)
      const report = await run(path, { ...options, parallel: 1, ...(batchBytes && { batchBytes }) })
      expect(wayOf(report)).toBe(kind)
      const { rows } = await database.db.query(sql`select note from ${sql.name(table)}`)
      expect(rows.map(({ note }) => note)).toEqual(['x', null, '\\.', '\\.', 'a\n\\.\nb', 'C:\\.git', null, 'z'])
    }
    await database.db.query(sql`truncate ${sql.name(table)}`)
    await run(file('note\r\na\r\n\\.\r\nb\r\n'), options)
    expect((await contents()).map((row) => (row as { note: string }).note)).toEqual(['a', '\\.', 'b'])
    const three = await failure(file(`${header}2025-01-01,1,x\n\\.\n2025-01-01,2,y\n`), options)
    expect(three.message).toMatch(kind === 'csv' ? /^Line 3: / : /^Row 1: The row has 1 values for 3/)
  })

  test('NULL text, delimiter, mapped columns, time zone', async () => {
    const source = file('stamp;id\n"2025-07-01 00:00";1\n-;"2"\n')
    await run(source, {
      ...options,
      delimiter: ';',
      nullText: '-',
      columns: { stamp: 'T,ime', id: 'n' },
      timeZone: 'Europe/Berlin',
    })
    expect(await contents()).toEqual([
      { n: 1, note: null, t: Date.UTC(2025, 5, 30, 22) / 1000 },
      { n: 2, note: null, t: null },
    ])
  })

  test('many rows in many batches', async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `2025-01-01,${n},"a\n${n}"`)
    const report = await run(file(header + lines.join('\n')), { ...options, batchBytes: 50_000 })
    expect(report.batches).toBeGreaterThan(1)
    expect(report.rowsWritten).toBe(20_000)
    const { rows } = await database.db.query(
      sql`select sum(n)::int as s, count(distinct note)::int as c from ${sql.name(table)}`,
    )
    expect(rows).toEqual([{ s: 199_990_000, c: 20_000 }])
  })
})

test('a stream of texts or buffers, as Readable.from makes it, is one of bytes where the format is given', async () => {
  for (const source of [Readable.from(text), Readable.from([Buffer.from(text)])]) {
    expect(await run(source, { format: 'csv' })).toMatchObject({ rowsWritten: 4 })
  }
  await expect(run(Readable.from([{ n: 1 }]), { format: 'csv' })).rejects.toMatchObject({
    code: 'INVALID_VALUE',
    message: expect.stringContaining('neither bytes nor texts'),
  })
})

test('why a file is parsed', async () => {
  const reasons: [LoadOptions, string][] = [
    [{ columns: ['n'] }, 'not all of its columns'],
    [{ constants: { note: 'x' }, columns: { 'T,ime': 'T,ime', n: 'n' } }, 'not all of its columns'],
    [{ timeUnit: 's' }, 'timeUnit'],
    [{ onBadRow: 'skip' }, 'bad rows'],
  ]
  for (const [options, reason] of reasons) {
    expect((await run(file(text), options)).path).toMatchObject({
      kind: 'binary',
      reason: expect.stringContaining(reason),
    })
  }
  const carriage = await run(file(text.replaceAll('\n', '\r')))
  expect(carriage).toMatchObject({ rowsWritten: 4, path: { reason: expect.stringContaining('carriage return') } })
})

test('NDJSON', async () => {
  const source = `{"T,ime":"2025-01-01T00:00:00Z","n":1,"note":"x"}\n\n{"n":2}\r\n{"T,ime":null,"n":3,"note":7}`
  for (const path of [file(source, 'ndjson'), file(gzipSync(source), 'jsonl.gz')]) {
    expect(await run(path)).toMatchObject({ rowsRead: 3, rowsWritten: 3 })
  }
  const letters = join(directory, 'letters.ndjson')
  const bad = file('{"n":10}\n{"n":secret\n[1]\n"text"\n{"n":11}\n', 'ndjson')
  expect(await run(bad, { onBadRow: { file: letters }, columns: ['n'] })).toMatchObject({
    rowsWritten: 2,
    rowsRejected: 3,
  })
  expect(readFileSync(letters, 'utf8')).toContain('"source":"{\\"n\\":secret"')
  const error = await failure(bad)
  expect(String(error)).toContain('Row 1: line 2 is no JSON object')
  expect(String(error)).not.toContain('secret')
})

describe('malformed files: the place is named, and what stays is said', () => {
  const many = (bad: string): string => {
    const good = Array.from({ length: 30_000 }, (_, n) => `2025-01-01,${n},x`)
    return `${header}${good.join('\n')}\n${bad}\n`
  }
  test.each<[string, string, RegExp]>([
    ['too few fields', many('2025-01-01,5'), /^Line 30002: missing data/],
    ['too many fields', many('2025-01-01,5,x,y'), /^Line 30002: extra data/],
    [
      'a bad stamp',
      many('yesterdayish,5,x'),
      /^Line 30002: Column "T,ime": invalid input syntax for type timestamp with time zone: "…"/,
    ],
    [
      'a bad number',
      many('2025-01-01,secret,x'),
      /^Line 30002: Column "[^"]+": invalid input syntax for type integer: "…"/,
    ],
    ['an open quote', many('2025-01-01,5,"x'), /unterminated CSV quoted field/],
    ['NUL', many('2025-01-01,5,a\0b'), /^Line 30002: invalid byte sequence/],
    ['mixed line ends', many('2025-01-01,5,a\r\n2025-01-01,6,b'), /Line 30002: unquoted (carriage return|newline)/],
  ])('%s, passed through', async (_name, content, message) => {
    const error = await failure(file(content), { batchBytes: 20_000, parallel: 1 })
    expect(error.message).toMatch(message)
    expect(error.message).toMatch(/ \d+ rows? of other batches (?:are|is) written and stays?\.$/)
    expect(error.message).not.toContain('secret')
  })

  test.each<[string, string, RegExp]>([
    ['too few fields', many('2025-01-01,5'), /^Row 30000: The row has 2 values for 3 columns/],
    ['a bad stamp', many('secret,5,x'), /^Row 30000: Column "T,ime" .* a text that is no ISO 8601/],
    ['NUL', many('2025-01-01,5,a\0b'), /^Row 30000: Column "note" \(text\): a text with NUL/],
    ['an open quote', many('2025-01-01,5,"secret'), /Line \d+ of .* is no CSV: quote not closed/],
  ])('%s, parsed', async (_name, content, message) => {
    const error = await failure(file(content), { timeUnit: 's', batchRows: 10_000, parallel: 1 })
    expect(error.message).toMatch(message)
    expect(error.message).not.toContain('secret')
  })

  test('a column without a name', async () => {
    const path = file(',"T,ime",n\n0,2025-01-01,5\n')
    const refusal = {
      message: 'Column 1 of the source has no name',
      hint: expect.stringContaining('in the option columns: T,ime, n. pandas'),
    }
    await expect(run(path)).rejects.toMatchObject(refusal)
    const other = { schema: database.schema, name: 'nameless' }
    await expect(load(database.db, other, path, { create: true })).rejects.toMatchObject(refusal)
    await load(database.db, other, path, { create: true, columns: ['T,ime', 'n'] })
    const { rows } = await database.db.query(sql`select n from ${sql.name(other)}`)
    expect(rows).toEqual([{ n: 5 }])
  })

  test('a header that is cut by another delimiter', async () => {
    const names = (await database.db.query(sql`select * from ${sql.name(table)}`)).columns.map(({ name }) => name)
    await expect(run(file(`${names.map((name) => `"${name}"`).join(';')}\n`))).rejects.toMatchObject({
      hint: "Fields are apart by something else: give delimiter: ';'.",
    })
  })

  test('a day that could be two', async () => {
    const path = file(`${header}2001/01/31 06:55,1,a\nJan 31 2001,2,b\n01/02/2001,3,c\n`)
    await expect(run(path)).rejects.toMatchObject({
      message: expect.stringMatching(/^Line 4: Column "T,ime": date\/time field value out of range/),
      hint: expect.stringContaining('timeFormat'),
    })
    expect((await failure(path, { timeUnit: 's' })).message).toMatch(/^Row 2: .* could be either, without timeFormat/)
    expect(await run(path, { onBadRow: 'skip' })).toMatchObject({ rowsWritten: 2, rowsRejected: 1 })
    expect(await contents()).toMatchObject([{ t: 980_924_100 }, { t: 980_899_200 }])
    const other = { schema: database.schema, name: 'unclear' }
    await expect(load(database.db, other, path, { create: { timeColumn: 'T,ime' } })).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      hint: expect.stringContaining('timeFormat'),
    })
  })

  test('invalid UTF-8', async () => {
    const bytes = Buffer.concat([Buffer.from(`${header}2025-01-01,1,`), Buffer.from([0xff, 0xfe]), Buffer.from('\n')])
    expect((await failure(file(bytes))).message).toMatch(/^Line 2: invalid byte sequence/)
    expect((await failure(file(bytes), { timeUnit: 's' })).message).toMatch(/^Line 2 of .* is not UTF-8/)
    expect((await failure(file(bytes, 'ndjson'))).message).toMatch(/is not UTF-8/)
  })

  test('a file that is cut off while it is read', async () => {
    const lines = Array.from({ length: 100_000 }, (_, n) => `2025-01-01,${n},${'x'.repeat(40)}\n`)
    for (const options of [{}, { timeUnit: 's' }] as const) {
      const path = file(header + lines.join(''))
      let cut = false
      const failed = await run(path, {
        ...options,
        batchBytes: 300_000,
        parallel: 1,
        onProgress: () => {
          // At the end of a line: what is left looks whole.
          if (!cut) truncateSync(path, Buffer.byteLength(header + lines.slice(0, 60_000).join('')))
          cut = true
        },
      }).catch((error: Error) => error)
      expect(failed).toMatchObject({
        message: expect.stringMatching(/was cut off while it was read, after \d+ bytes\./),
      })
      await database.db.query(sql`truncate ${sql.name(table)}`)
    }
  })

  test('a file that grows while it is read is loaded as it was, also when the import goes on', async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `2025-01-01,${n},${'x'.repeat(40)}\n`)
    for (const options of [{}, { timeUnit: 's' }] as const) {
      const path = file(header + lines.join(''))
      const stop = new AbortController()
      const settings = {
        ...options,
        batchRows: 2000,
        batchBytes: 100_000,
        parallel: 1,
        importId: `grows ${path}`,
      } as const
      const onProgress = (): void => {
        // Half a line last, as a program leaves it that writes blocks.
        appendFileSync(path, '2025-01-02,-1,later\n2025-0')
        stop.abort()
      }
      await expect(run(path, { ...settings, signal: stop.signal, onProgress })).rejects.toMatchObject({
        code: 'QUERY_CANCELLED',
      })
      const { size } = statSync(path)
      const report = await run(path, settings)
      expect(report).toMatchObject({
        rowsRead: report.rowsWritten,
        grownBytes: size - Buffer.byteLength(header + lines.join('')),
      })
      expect(report.rowsResumed).toBeGreaterThan(0)
      const { rows } = await database.db.query(sql`select count(*)::int, sum(n)::int, min(n) from ${sql.name(table)}`)
      expect(rows).toEqual([{ count: 20_000, sum: 199_990_000, min: 0 }])
      // All of it is there: what is new would be left out without a word.
      await expect(run(path, settings)).rejects.toMatchObject({ code: 'DRIFT' })
      await database.db.query(sql`truncate ${sql.name(table)}`)
    }
  })

  test('a file that grows where a line was not finished', async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `2025-01-01,${n},${'x'.repeat(40)}\n`)
    for (const options of [{}, { timeUnit: 's' }] as const) {
      const path = file(`${header}${lines.join('')}2025-01-01,12`)
      let grown = false
      const onProgress = (): void => {
        if (!grown) appendFileSync(path, '34,whole\n')
        grown = true
      }
      await expect(run(path, { ...options, batchBytes: 100_000, parallel: 1, onProgress })).rejects.toMatchObject({
        message: expect.stringContaining('grew while it was read'),
        hint: expect.stringContaining('ended its line'),
      })
      const { rows } = await database.db.query(sql`select count(*)::int from ${sql.name(table)} where n = 12`)
      expect(rows).toEqual([{ count: 1 }])
      await database.db.query(sql`truncate ${sql.name(table)}`)
    }
  })

  test('what a file is but its name does not say', async () => {
    await run(file(gzipSync(text)))
    expect(await contents()).toEqual(expected)
    expect((await failure(file('PAR1\x15\0'))).message).toMatch(/ is Parquet/)
    expect((await failure(directory, { format: 'parquet' })).message).toMatch(/ is a directory/)
  })

  test('a truncated gz', async () => {
    const packed = gzipSync(many('2025-01-01,1,x'))
    const error = await failure(file(packed.subarray(0, packed.length - 30), 'csv.gz'))
    expect(`${error.message} ${String(error.cause)}`).toMatch(/unexpected end of file/)
  })

  test('headers', async () => {
    expect((await failure(file(''))).message).toMatch(/is empty: it has no header/)
    expect((await failure(file('n,n\n1,2\n'))).message).toContain('The source has two columns "n"')
    expect(await failure(file('N,note\n1,2\n'))).toMatchObject({ hint: 'Did you mean n?' })
    expect(await failure(file('n'))).toMatchObject({ message: 'it did not fail' })
    expect(await failure(join(directory, 'nowhere.csv'))).toMatchObject({ code: 'ENOENT' })
    expect(await failure(directory)).toMatchObject({ code: 'INVALID_OPTION' })
    expect(await failure(file('x', 'dat'))).toMatchObject({ code: 'INVALID_OPTION' })
    expect(await failure(file(text), { delimiter: '""' })).toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('a record that never ends', { timeout: 60_000 }, async () => {
    async function* endless(): AsyncGenerator<Buffer> {
      yield Buffer.from(`${header}2025-01-01,1,"`)
      for (;;) yield Buffer.alloc(2 ** 20, 'x')
    }
    const source = Readable.from(endless(), { objectMode: false })
    await expect(run(source, { format: 'csv' })).rejects.toThrow('longer than 64 MiB')
  })
})

test('records end where the server ends them, however the bytes are cut', async () => {
  const field = fc.oneof(
    fc.string({ maxLength: 5 }).map((value) => value.replaceAll(/[",\r\n]/g, '')),
    fc.string({ maxLength: 5 }).map((value) => `"${`${value}\n`.replaceAll('"', '""')}"`),
  )
  const record = fc.array(field, { minLength: 1, maxLength: 3 }).map((fields) => `${fields.join(',')}\n`)
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { minLength: 1, maxLength: 20 }),
      fc.array(fc.nat(50), { minLength: 1 }),
      fc.nat(60),
      async (records, cuts, size) => {
        const bytes = Buffer.from(records.join(''))
        async function* source(): AsyncGenerator<Buffer> {
          let at = 0
          for (let n = 0; at < bytes.length; n++) {
            const end = at + (cuts[n % cuts.length] ?? 0) + 1
            yield bytes.subarray(at, end)
            at = end
          }
        }
        const ends = new Set<number>()
        let total = 0
        for (const one of records) {
          total += Buffer.byteLength(one)
          ends.add(total)
        }
        let at = 0
        for await (const { blocks, lines } of new CsvReader(source(), 'it').pieces(size)) {
          expect(lines).toBe(bytes.subarray(0, at).filter((byte) => byte === 10).length)
          at += Buffer.concat(blocks).length
          expect(ends).toContain(at)
        }
        expect(at).toBe(total)
      },
    ),
    { numRuns: 300 },
  )
  expect(lastRecordEnd(Buffer.from('a,"\n'), false)).toEqual({ end: 0, quoted: true })
})
