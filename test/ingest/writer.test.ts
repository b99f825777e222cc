import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { readTable } from '../../src/catalog/column.ts'
import type { CompressedRange } from '../../src/catalog/compressed-range.ts'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { SpillLog } from '../../src/ingest/writer/spill-log.ts'
import { openWriter, Writer } from '../../src/ingest/writer/writer.ts'
import { RowCollector } from '../../src/ingest/writer/writer-collector.ts'
import { WriterDelivery } from '../../src/ingest/writer/writer-delivery.ts'
import { type WriterOptions, writerSettings } from '../../src/ingest/writer/writer-option.ts'
import { WriterQueue } from '../../src/ingest/writer/writer-queue.ts'
import { compileInto } from '../setup/compile.ts'
import { openTestDatabase } from '../setup/database.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession
let directory: string
let errors: Error[]
let left: unknown[]

beforeAll(async () => {
  server = await startPostgres()
  pool = openPool(server.options)
  db = new DatabaseSession(pool)
  await run('create schema "Test 1.a"')
  await run('create table "Test 1.a"."W.x" (id int, note text)')
  await (await opened()).close()
})

beforeEach(async () => {
  errors = []
  directory = mkdtempSync(join(tmpdir(), 'tsdb writer-'))
  await run('drop table if exists "Test 1.a"."W.x"')
  await run('create table "Test 1.a"."W.x" (id int, note text)')
  left = await imports()
})

afterEach(() => rmSync(directory, { recursive: true, force: true }))

afterAll(async () => {
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const table = '"Test 1.a"."W.x"'
const run = (text: string) => db.query<Record<string, unknown>>({ text, values: [] })
const row = (id: number): object => ({ id, note: `row ${id}` })
const rowsOf = (from: number, to: number): object[] => Array.from({ length: to - from }, (_, at) => row(from + at))
const opened = (options: WriterOptions = {}, session = db): Promise<Writer> =>
  openWriter(session, table, { flushMs: 20, onError: (error) => errors.push(error), ...options })
const ids = async (): Promise<unknown[]> => (await run(`select id from ${table} order by id`)).rows.map(({ id }) => id)
const sleep = (ms: number): Promise<void> => new Promise((next) => setTimeout(next, ms))

/** Those that a writer could not end, because the server was away. */
const imports = async (): Promise<unknown[]> =>
  (await run(`select id from tsdbkit.import where id like 'writer %' order by id`)).rows.map(({ id }) => id)

/** Exactly the rows 0 to count − 1, each once. */
async function expectRows(count: number): Promise<void> {
  const { rows } = await run(
    `select count(*)::int as n, count(distinct id)::int as ids, coalesce(sum(id), 0)::float8 as sum,
      count(*) filter (where note <> 'row ' || id)::int as wrong from ${table}`,
  )
  expect(rows).toEqual([{ n: count, ids: count, sum: (count * (count - 1)) / 2, wrong: 0 }])
}

/** Every row that was taken is in one place. */
function expectBalance({ metrics }: Writer): void {
  const { accepted, recovered, written, skipped, rejected, buffered, spilled } = metrics
  expect(written + skipped + rejected + buffered + spilled).toBe(accepted + recovered)
}

describe('rows', () => {
  test('one by one and many, by time, by rows and by bytes', async () => {
    const writer = await opened({ batchRows: 100 })
    await writer.write(row(0))
    await sleep(100)
    await expectRows(1)
    await writer.write(rowsOf(1, 1000))
    for (let id = 1000; id < 1100; id++) await writer.write(row(id))
    expectBalance(writer)
    await writer.flush()
    await expectRows(1100)
    expect(writer.metrics).toMatchObject({ accepted: 1100, written: 1100, buffered: 0, lagMs: 0, problem: undefined })
    await writer.close()
    await expect(writer.write(row(1))).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await imports()).toEqual(left)
  })

  test('may be changed once they are accepted, and are arrays too', async () => {
    const one = { id: 1, note: 'a' }
    await using writer = await opened({ flushMs: 10_000 })
    await writer.write(one)
    one.id = 2
    await writer.write([one, [3, 'c']])
    one.id = 9
    await writer.flush()
    expect(await ids()).toEqual([1, 2, 3])
  })

  test('of different properties, with defaults where they are left out', async () => {
    await run(`alter table ${table} add flag text default 'd', add w float8`)
    await using writer = await opened({ flushMs: 10_000 })
    await writer.write([
      { id: 1 },
      { id: 2, flag: null },
      { note: 'n', id: 3 },
      { id: 4, note: 'm' },
      { w: 0.5, id: 5 },
    ])
    await writer.flush()
    expect((await run(`select id, note, flag, w from ${table} order by id`)).rows).toEqual([
      { id: 1, note: null, flag: 'd', w: null },
      { id: 2, note: null, flag: null, w: null },
      { id: 3, note: 'n', flag: 'd', w: null },
      { id: 4, note: 'm', flag: 'd', w: null },
      { id: 5, note: null, flag: 'd', w: 0.5 },
    ])
  })

  test('that do not fit reject the call as a whole, and the writer goes on', async () => {
    await using writer = await opened()
    const failure = await writer.write([row(1), { id: 'secret' }]).catch((error: unknown) => error)
    expect(failure).toMatchObject({ code: 'BATCH_FAILED', row: 1 })
    expect(String(failure)).not.toContain('secret')
    await expect(writer.write({ idd: 1 })).rejects.toMatchObject({ hint: expect.stringContaining('id') })
    await expect(writer.write(null as never)).rejects.toMatchObject({ code: 'BATCH_FAILED' })
    await writer.write(row(2))
    await writer.flush()
    expect(await ids()).toEqual([2])
  })

  test('with a key that is there already', async () => {
    await run(`alter table ${table} add primary key (id)`)
    for (const [onConflict, written, note] of [
      ['ignore', 2, 'a'],
      ['update', 3, 'c'],
    ] as const) {
      await run(`truncate ${table}`)
      await using writer = await opened({ onConflict, batchRows: 2 })
      await writer.write([{ id: 1, note: 'a' }, row(2)])
      await writer.write([{ id: 1, note: 'b' }, { note: 'c', id: 1 }, { id: 2 }])
      await writer.flush()
      expectBalance(writer)
      expect(writer.metrics.written).toBe(written)
      expect((await run(`select note from ${table} where id = 1`)).rows).toEqual([{ note }])
    }
    await expect(opened({ onConflict: 'update', conflictColumns: ['note'] })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    })
  })

  test('wait while the buffer is full', async () => {
    await run(`create or replace function slow() returns trigger language plpgsql as
      'begin perform pg_sleep(0.02); return null; end'`)
    await run(`create trigger slow after insert on ${table} for each statement execute function slow()`)
    await using writer = await opened({ batchRows: 100, bufferBytes: 10_000 })
    let peak = 0
    let accepted = 0
    const writing = Array.from({ length: 20 }, async (_, at) => {
      await writer.write(rowsOf(at * 100, at * 100 + 100))
      accepted++
      peak = Math.max(peak, writer.metrics.bufferedBytes)
    })
    await sleep(30)
    expect(accepted).toBeLessThan(15)
    await Promise.all(writing)
    await writer.flush()
    await expectRows(2000)
    expect(peak).toBeLessThan(16_000)
  })
})

describe('rows the server refuses', () => {
  const bad = { id: 7, note: 'too long' }
  beforeEach(() => run(`alter table ${table} alter note type varchar(7)`))

  test('stop the writer by default', async () => {
    const writer = await opened({ flushMs: 10_000 })
    await writer.write([row(1), bad, row(2)])
    await expect(writer.flush()).rejects.toMatchObject({ code: 'BATCH_FAILED', row: 1 })
    await expect(writer.write(row(3))).rejects.toMatchObject({ code: 'BATCH_FAILED' })
    await expect(writer.close()).rejects.toThrow('3 rows that were accepted are not written')
    expect(await ids()).toEqual([])
  })

  test('are kept for the next writer where there is a spill directory', async () => {
    const writer = await opened({ spillDirectory: directory, flushMs: 10_000 })
    await writer.write([row(1), bad, row(2)])
    await expect(writer.close()).rejects.toMatchObject({ code: 'BATCH_FAILED' })
    await using next = await opened({ spillDirectory: directory, onBadRow: 'skip' })
    await next.flush()
    while (next.metrics.spilled > 0) await sleep(5)
    expect(next.metrics).toMatchObject({ recovered: 3, written: 2, rejected: 1 })
    expect(await ids()).toEqual([1, 2])
  })

  test('go to the dead-letter file, also those that a constraint refuses at the end', async () => {
    await run(`alter table ${table} add unique (id) deferrable initially deferred`)
    const file = join(directory, 'bad.ndjson')
    const writer = await opened({ onBadRow: { file }, batchRows: 5 })
    await writer.write([row(0), bad, row(1), { id: 2n, note: 3 }, { id: 'x' }, row(1), row(3), row(4)])
    await writer.close()
    expect(await ids()).toEqual([0, 1, 2, 3, 4])
    const noted = readFileSync(file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(noted.map(({ source }) => source)).toEqual(expect.arrayContaining([bad, { id: 'x' }, row(1)]))
    expect(noted.map(({ sqlState }) => sqlState).sort()).toEqual(['22001', '23505', undefined])
    expect(writer.metrics).toMatchObject({ accepted: 8, written: 5, rejected: 3 })
  })
})

test.skipIf(process.platform !== 'linux')(
  'a dead-letter file on a full disk: what write has accepted stays accepted, and nothing more is',
  async () => {
    const writer = await opened({ onBadRow: { file: '/dev/full' } })
    await writer.write([row(0), { id: 'x' }, row(1)])
    expect(errors).toMatchObject([{ code: 'DISK_FULL', message: expect.stringContaining('/dev/full') }])
    await expect(writer.write(row(2))).rejects.toMatchObject({ code: 'DISK_FULL' })
    await expect(writer.flush()).rejects.toMatchObject({ code: 'DISK_FULL' })
    expect(writer.metrics).toMatchObject({ accepted: 3, written: 2, rejected: 1 })
    await expect(writer.close()).rejects.toMatchObject({ code: 'DISK_FULL' })
    await expectRows(2)
    await expect(opened({ onBadRow: { file: join(directory, 'no', 'bad.ndjson') } })).rejects.toThrow(
      'no such directory',
    )
  },
)

test('a dead letter names its own row, also where JSON cannot say the one before', async () => {
  await run(`alter table ${table} add check (id <> 2)`)
  const file = join(directory, 'bad.ndjson')
  const writer = await opened({ onBadRow: { file }, columns: ['id', 'note'] })
  const circular: Record<string, unknown> = { ...row(0) }
  circular['self'] = circular
  await writer.write([circular, row(1), row(2), row(3)])
  await writer.close()
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ source: row(2), sqlState: '23514' })
})

test('a ledger that is dropped meanwhile is made again', async () => {
  const writer = await opened({ giveUpMs: 5000 })
  await writer.write(row(0))
  await writer.flush()
  await run('drop schema tsdbkit cascade')
  await writer.write(row(1))
  await writer.flush()
  await writer.close()
  expect(errors).toMatchObject([{ message: expect.stringContaining('gone from the ledger') }])
  await expectRows(2)
})

test('times are read by timeFormat, also by one that would have another meaning without it', async () => {
  await run(`alter table ${table} add at timestamptz, add days date[]`)
  await using writer = await opened({ timeFormat: 'YYYY/DD/MM' })
  await writer.write({ at: '2026/03/02', days: ['2026/03/02'] })
  await writer.flush()
  const { rows } = await run(`select at = '2026-02-03Z' as at, days = '{2026-02-03}' as days from ${table}`)
  expect(rows).toEqual([{ at: true, days: true }])
  await expect(opened({ timeFormat: 'QQ' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
})

test('a column that gets another type: the rows before it too are written right', async () => {
  await run(`alter table ${table} add big int8, add gone text`)
  await using writer = await opened({ flushMs: 10_000 })
  await writer.write([
    { id: 1, big: 12345 },
    { id: 2, big: null },
  ])
  await run(`alter table ${table} alter big type float8`)
  await writer.flush()
  await writer.write({ id: 3, big: 0.5 })
  await writer.flush()
  expect((await run(`select id, big from ${table} order by id`)).rows).toEqual([
    { id: 1, big: 12345 },
    { id: 2, big: null },
    { id: 3, big: 0.5 },
  ])
})

test('a type of elements that is dropped and made again: rows before it are written, in memory and on disk', async () => {
  const make = `create type "Test 1.a"."Mo od" as enum ('ok', 'b,ad'); alter table ${table} add moods "Test 1.a"."Mo od"[][]`
  const remake = `drop type "Test 1.a"."Mo od" cascade; ${make}`
  const runAll = async (text: string): Promise<void> => {
    for (const one of text.split('; ')) await run(one)
  }
  await runAll(make)
  try {
    const rows = [
      { id: 0, moods: ['ok', null] },
      { id: 1, moods: null },
      { id: 2, moods: [['ok'], ['b,ad']] },
      { id: 3, moods: [] },
    ]
    const writer = await opened({ spillDirectory: directory, flushMs: 10_000 })
    await writer.write(rows)
    await runAll(remake)
    await writer.flush()
    await writer.write(rows.map(({ id, moods }) => ({ id: id + 4, moods })))
    await writer.flush()
    await server.stop('immediate')
    await writer.write(rows.map(({ id, moods }) => ({ id: id + 8, moods })))
    await writer.close()
    await server.start()
    await runAll(`drop type "Test 1.a"."Mo od" cascade; create type "Test 1.a"."Mo od" as enum ('ok')`)
    await run(`alter table ${table} add moods "Test 1.a"."Mo od"[]`)
    const dead = join(directory, 'dead.ndjson')
    await using last = await opened({ spillDirectory: directory, onBadRow: { file: dead } })
    await last.flush()
    await expect.poll(() => last.metrics.written + last.metrics.rejected).toBe(4)
    // A label that is not there any more is the row's own fault.
    expect(JSON.parse(readFileSync(dead, 'utf8'))).toMatchObject({ row: 2, sqlState: '22P02' })
    const { rows: found } = await run(`select id, moods::text from ${table} where id >= 8 order by id`)
    expect(found.map(({ moods }) => moods)).toEqual(['{ok,NULL}', null, '{}'])
    expect(await ids()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
  } finally {
    await run('drop type if exists "Test 1.a"."Mo od" cascade')
  }
})

describe('without a spill directory', () => {
  test('a server that restarts: what was accepted is written once', async () => {
    const writer = await opened({ batchRows: 200 })
    let accepted = 0
    let stop = false
    const writing = (async () => {
      for (; !stop; accepted += 50) {
        await writer.write(rowsOf(accepted, accepted + 50))
        await sleep(1)
      }
    })()
    await sleep(50)
    await server.restart('immediate')
    await sleep(50)
    stop = true
    await writing
    await writer.flush()
    await expectRows(accepted)
    expectBalance(writer)
    await writer.close()
  })

  test('calls that wait give up after the time that is given, and nothing is dropped', async () => {
    const writer = await opened({ bufferBytes: 5000, giveUpMs: 300 })
    await writer.write(rowsOf(0, 10))
    await writer.flush()
    await server.stop('immediate')
    let accepted = 10
    const failure = await (async () => {
      for (;;) {
        await writer.write(row(accepted))
        accepted++
      }
    })().catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'ConnectionError', retryable: true })
    await expect(writer.flush()).rejects.toThrow('300 ms')
    expect(errors.length).toBeGreaterThan(0)
    expect(writer.metrics).toMatchObject({ accepted, buffered: accepted - 10, spilled: 0 })
    expect(writer.metrics.lagMs).toBeGreaterThan(250)
    await server.start()
    await writer.close()
    await expectRows(accepted)
  })

  test('closing while the server is away says what is lost', async () => {
    const writer = await opened({ giveUpMs: 100 })
    await server.stop('immediate')
    await writer.write(rowsOf(0, 10))
    await expect(writer.close()).rejects.toThrow('10 rows that were accepted are not written')
    await server.start()
  })
})

describe('with a spill directory', () => {
  test('rows go there while the server is away, and come back in their order', async () => {
    await run(`alter table ${table} add place serial`)
    const writer = await opened({ spillDirectory: directory, batchRows: 50 })
    await writer.write(rowsOf(0, 200))
    await writer.flush()
    await server.stop('immediate')
    for (let id = 200; id < 2000; id += 100) await writer.write(rowsOf(id, id + 100))
    await writer.flush()
    expect(writer.metrics).toMatchObject({ written: 200, spilled: 1800, buffered: 0 })
    expect(writer.metrics.problem).toBeInstanceOf(Error)
    expectBalance(writer)
    await server.start()
    await writer.write(rowsOf(2000, 2100))
    await writer.close()
    await expectRows(2100)
    expect((await run(`select id from ${table} order by place`)).rows.map(({ id }) => id)).toEqual(await ids())
    expect(writer.metrics).toMatchObject({ accepted: 2100, written: 2100, spilled: 0, problem: undefined })
    expect(readdirSync(directory)).toEqual(['lock'])
    expect(await imports()).toEqual(left)
  })

  test('what is on disk when it is closed is written by the next one; only one may have it', async () => {
    const writer = await opened({ spillDirectory: directory })
    await expect(opened({ spillDirectory: directory })).rejects.toMatchObject({ code: 'DIRECTORY_LOCKED' })
    await server.stop('immediate')
    await writer.write(rowsOf(0, 300))
    await writer.close()
    expect(writer.metrics).toMatchObject({ spilled: 300 })
    await server.start()
    await run('create table if not exists "Test 1.a".other (id int)')
    await expect(openWriter(db, '"Test 1.a".other', { spillDirectory: directory })).rejects.toMatchObject({
      code: 'DRIFT',
    })
    const next = await opened({ spillDirectory: directory })
    expect(next.metrics.recovered).toBe(300)
    await next.write(rowsOf(300, 310))
    await next.close()
    await expectRows(310)
  })

  test('connections that are cut at any moment: every row once', { timeout: 30_000 }, async () => {
    await using proxy = await startProxy(server.port)
    const far = openPool({ ...server.options, port: proxy.port })
    const writer = await opened({ spillDirectory: directory, batchRows: 100 }, new DatabaseSession(far))
    let id = 0
    for (let round = 0; round < 15; round++) {
      for (const until = Date.now() + 20 + Math.random() * 40; Date.now() < until; id += 30) {
        await writer.write(rowsOf(id, id + 30))
        await sleep(0)
      }
      proxy.cut()
    }
    await writer.close()
    await far.close()
    expect(writer.metrics.retried).toBeGreaterThan(0)
    await expectRows(id)
    expectBalance(writer)
  })

  test('a network that swallows everything', { timeout: 30_000 }, async () => {
    await using proxy = await startProxy(server.port)
    const far = openPool({ ...server.options, port: proxy.port, connectTimeoutMs: 500 })
    const writer = await opened({ spillDirectory: directory, sendTimeoutMs: 500 }, new DatabaseSession(far))
    await writer.write(rowsOf(0, 100))
    await writer.flush()
    proxy.swallow()
    await writer.write(rowsOf(100, 300))
    await writer.flush()
    expect(writer.metrics.spilled).toBe(200)
    proxy.swallow(false)
    proxy.cut()
    await writer.close()
    await far.close()
    await expectRows(300)
  })

  const programs = mkdtempSync(join(tmpdir(), 'tsdb-writer-program-'))
  afterAll(() => rmSync(programs, { recursive: true, force: true }))

  const child = (first: number, mode: string, prefix = '') => {
    const script = compileInto(programs, new URL('killed-writer.ts', import.meta.url))
    const args = ['-c', `${prefix} exec "$0" "$@"`, process.execPath, script]
    const spawned = spawn('bash', [...args, String(server.port), password, directory, String(first), mode], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const lines: string[] = []
    const reader = createInterface({ input: spawned.stdout })
    reader.on('line', (line) => lines.push(line))
    const said = (word: string): Promise<string> =>
      new Promise((resolve) => {
        const seen = lines.find((line) => line.startsWith(word))
        if (seen !== undefined) resolve(seen)
        reader.on('line', (line) => line.startsWith(word) && resolve(line))
      })
    const ended = new Promise<void>((done) => spawned.once('close', () => done()))
    return { spawned, lines, said, ended }
  }

  test('killed at random, with the server there and away: what was safe is there once', {
    timeout: 60_000,
  }, async () => {
    let first = 0
    for (let round = 0; round < 2; round++) {
      const { spawned, lines, said, ended } = child(first, 'forever')
      await said('ready')
      await sleep(100 + Math.random() * 100)
      if (round > 0) await server.stop('immediate')
      await sleep(100 + Math.random() * 200)
      spawned.kill('SIGKILL')
      await ended
      if (round > 0) await server.start()
      const safe = Number(lines.findLast((line) => line.startsWith('safe'))?.split(' ')[1] ?? first)
      const next = await opened({ spillDirectory: directory })
      await next.close()
      const count = (await ids()).length
      expect(count).toBeGreaterThanOrEqual(safe)
      await expectRows(count)
      first = count
    }
    expect(first).toBeGreaterThan(100)
    expect(await imports()).toEqual(left)
  })

  test('a full disk: write rejects, and what was accepted is written when the server is back', {
    timeout: 30_000,
  }, async () => {
    // No file of the process may grow beyond this many kB: the kernel refuses the write, as on a full disk.
    const { spawned, said, ended } = child(0, 'limit', 'ulimit -f 60;')
    await said('ready')
    await said('safe')
    await server.stop('immediate')
    const [, accepted, code] = (await said('refused')).split(' ')
    expect(code).toBe('DISK_FULL')
    await server.start()
    spawned.stdin.end()
    const metrics = JSON.parse((await said('closed')).slice(7))
    await ended
    expect(metrics).toMatchObject({ accepted: Number(accepted), written: Number(accepted), buffered: 0, spilled: 0 })
    await expectRows(Number(accepted))
  })
})

describe('on a hypertable', () => {
  test('rows into compressed chunks go their own way, and none is lost', async () => {
    const database = await openTestDatabase()
    const { client, schema } = database
    const name = { schema, name: 'W.y' }
    await client.executeQuery(`create table "${schema}"."W.y" (time timestamptz not null, v int, unique (time))`)
    await client.createHypertable(name, { timeColumn: 'time', chunkTimeInterval: '1 day' })
    const at = (hour: number): Date => new Date(Date.UTC(2025, 0, 1, hour))
    const rows = Array.from({ length: 48 }, (_, hour) => ({ time: at(hour), v: hour }))
    await client.insert(name, rows)
    if (database.can('compression')) {
      await client.enableCompression(name, { orderBy: 'time' })
      await client.compressChunks(name, { olderThan: at(25) })
    }
    const writer = await client.writer(name, { onConflict: 'update', flushMs: 20 })
    await writer.write(rows.map(({ time, v }) => ({ time: time.toISOString(), v: v + 1000 })))
    await writer.write({ time: new Date(at(3).getTime() + 1), v: 1 })
    await writer.close()
    expect(writer.metrics).toMatchObject({ accepted: 49, written: 49 })
    const { rows: read } = await client.executeQuery(
      `select count(*)::int as n, count(*) filter (where v >= 1000)::int as new from "${schema}"."W.y"`,
    )
    expect(read).toEqual([{ n: 49, new: 48 }])
    await expect(client.transaction((tx) => tx.writer(name))).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    await database.close()
  })
})

test('rows are late by the ranges of compressed chunks, to the instant, whatever their time is written as', async () => {
  await run(`create table if not exists "Test 1.a".timed (time timestamptz, id int)`)
  const description = await readTable(db, '"Test 1.a".timed')
  const target = {
    time: { column: 'time', chunkLength: 86_400_000, integer: false },
    segmentBy: [],
    orderBy: [],
    notDirect: 'a test',
    owned: true,
  }
  const day = Date.UTC(2025, 0, 2)
  const collector = new RowCollector({
    table: description,
    target,
    conflict: { onConflict: 'error', key: [] },
    settings: writerSettings({ timeUnit: 'ms' }),
  })
  collector.ranges = [{ start: day, end: day + 86_400_000 }]
  const times = [
    day - 1,
    day,
    new Date(day + 1),
    '2025-01-02T23:59:59Z',
    '2025-01-03 00:30:00+01',
    day + 86_400_000,
    null,
  ]
  for (const [id, time] of times.entries()) collector.add({ time, id }, id, () => undefined)
  const batches = collector.takeAll()
  expect(batches.map(({ lane, rows }) => [lane, rows]).sort()).toEqual([
    ['late', 4],
    ['live', 3],
  ])
})

// On PostgreSQL, where a partition stands for the compressed chunk that somebody holds: the embedded engine runs one
// transaction at a time, in which nothing could wait beside anything.
const day = Date.UTC(2025, 0, 2)
const lateAt = new Date(day - 1000)

/** A writer to a table in which what is before `day` is late. */
async function partedWriter(options: WriterOptions, session = db): Promise<Writer> {
  await run(
    `create table if not exists "Test 1.a".parted (time timestamptz not null, id int) partition by range (time)`,
  )
  for (const [name, from, to] of [
    ['late', '2025-01-01Z', '2025-01-02Z'],
    ['live', '2025-01-02Z', '2026-01-01Z'],
  ]) {
    await run(`create table if not exists "Test 1.a".${name} partition of "Test 1.a".parted
      for values from ('${from}') to ('${to}')`)
  }
  const table = await readTable(db, '"Test 1.a".parted')
  const time = { column: 'time', chunkLength: 86_400_000, integer: false }
  const target = { time, segmentBy: [], orderBy: [], notDirect: 'a test', owned: true }
  const conflict = { onConflict: 'error', key: [] } as const
  const settings = writerSettings({ flushMs: 10, onError: (error) => errors.push(error), ...options })
  const rules = { table, target, conflict, settings }
  const collector = new RowCollector(rules)
  const delivery = new WriterDelivery({ ...rules, session, onChanged: () => undefined })
  const importId = `writer lanes ${Math.random()}`
  await delivery.openImport(importId)
  const { spillDirectory, spillBytes: maxBytes, onError } = settings
  const log =
    spillDirectory === undefined
      ? undefined
      : await SpillLog.open({ directory: spillDirectory, importId, target: 'parted', maxBytes, onError })
  const readRanges = async (): Promise<CompressedRange[]> => [{ start: day - 86_400_000, end: day }]
  const queue = new WriterQueue({ importId, settings, delivery, collector, log, readRanges, ordered: false })
  await queue.start()
  return new Writer(settings, collector, delivery, queue)
}

const countOf = async (name: string): Promise<number> =>
  Number((await run(`select count(*)::int as n from "Test 1.a".${name}`)).rows[0]?.['n'])
const lockLate = { text: 'lock table "Test 1.a".late in access exclusive mode', values: [] }

test('late rows that wait for a lock do not keep the others waiting', async () => {
  const writer = await partedWriter({ bufferBytes: 64 * 1024 })
  const count = countOf
  let id = 0
  /** Milliseconds until a live row is in the table, of a late one beside it; the median of 15. */
  async function wait(): Promise<number> {
    const times: number[] = []
    for (let round = 0; round < 15; round++) {
      const start = performance.now()
      await writer.write([
        { time: lateAt, id },
        { time: new Date(day + id), id },
      ])
      id++
      while ((await count('live')) < id && performance.now() - start < 3000)
        await new Promise((next) => setTimeout(next, 2))
      times.push(performance.now() - start)
    }
    return times.sort((a, b) => a - b)[7] ?? 0
  }
  const free = await wait()
  await writer.flush()
  let more: Promise<void> | undefined
  await db.transaction(async (tx) => {
    await tx.query(lockLate)
    const locked = await wait()
    process.stdout.write(`a live row takes ${free.toFixed(0)} ms, beside late rows that wait ${locked.toFixed(0)} ms\n`)
    expect(locked).toBeLessThan(free * 3 + 100)
    expect(writer.metrics).toMatchObject({ accepted: 60, written: 45, buffered: 15, problem: undefined })
    // Those that fill their half of the buffer do not keep others out of it either.
    const late = Array.from({ length: 2000 }, () => ({ time: lateAt, id: -1 }))
    await writer.write(late)
    let taken = false
    more = writer.write(late).then(() => {
      taken = true
    })
    for (const end = id + 10; id < end; id++) await writer.write({ time: new Date(day + id), id })
    while ((await count('live')) < id) await new Promise((next) => setTimeout(next, 10))
    expect(taken).toBe(false)
  })
  await more
  await writer.close()
  expect([await count('live'), await count('late')]).toEqual([40, 4030])
})

describe('late rows that wait for longer than a batch may take', () => {
  let id: number
  const both = (): object[] => [
    { time: lateAt, id },
    { time: new Date(day + id), id: id++ },
  ]
  const liveNow = async (writer: Writer): Promise<void> => {
    const start = performance.now()
    await writer.write(both())
    while ((await countOf('live')) < id) {
      if (performance.now() - start > 2000) throw new Error(`row ${id} is not there: ${writer.metrics.problem}`)
      await sleep(2)
    }
  }
  /** Every row of both kinds once. */
  async function expectAll(): Promise<void> {
    const { rows } = await run(`select count(*)::int as n, count(distinct (time < '2025-01-02Z', id))::int as ids,
      max(id) as last from "Test 1.a".parted`)
    expect(rows).toEqual([{ n: id * 2, ids: id * 2, last: id - 1 }])
  }

  beforeEach(async () => {
    id = 0
    await run('drop table if exists "Test 1.a".parted')
  })

  test('with a spill directory: they go there alone, and the others are written meanwhile', async () => {
    const writer = await partedWriter({ spillDirectory: directory, sendTimeoutMs: 500 })
    await db.transaction(async (tx) => {
      await tx.query(lockLate)
      await liveNow(writer)
      while (writer.metrics.problem === undefined) await sleep(5)
      for (let round = 0; round < 100; round++) {
        await liveNow(writer)
        // What is not written are the late rows; the live one may not be counted yet.
        const { spilled, buffered } = writer.metrics
        expect([id, id + 1]).toContain(spilled + buffered)
      }
      await writer.flush()
      expect(writer.metrics).toMatchObject({ accepted: 202, written: 101, buffered: 0, spilled: 101 })
      expectBalance(writer)
    })
    await writer.write(both())
    await writer.close()
    await expectAll()
    expect(errors[0]).toMatchObject({ code: 'STATEMENT_TIMEOUT' })
    expect(writer.metrics).toMatchObject({ written: 204, spilled: 0, problem: undefined })
    expect(readdirSync(directory)).toEqual(['lock'])
  })

  test('without one: they wait in memory, and only calls that wait for them give up', async () => {
    const writer = await partedWriter({ sendTimeoutMs: 100, giveUpMs: 300, bufferBytes: 4000 })
    await db.transaction(async (tx) => {
      await tx.query(lockLate)
      for (let round = 0; round < 30; round++) await liveNow(writer)
      await sleep(300)
      await expect(writer.flush()).rejects.toThrow('300 ms')
      for (; !(writer.metrics.bufferedBytes > 2000); id++) await writer.write({ time: lateAt, id })
      await expect(writer.write({ time: lateAt, id })).rejects.toThrow('300 ms')
      await writer.write({ time: new Date(day), id: 0 })
    })
    while (writer.metrics.problem !== undefined) await sleep(5)
    await writer.flush()
    expectBalance(writer)
    expect(await countOf('late')).toBe(id)
    expect(await countOf('live')).toBe(31)
    await writer.close()
  })

  test('after the server was away: what was on disk beside them is written', async () => {
    const writer = await partedWriter({ spillDirectory: directory, sendTimeoutMs: 500 })
    await writer.write(both())
    await writer.flush()
    await server.stop('immediate')
    for (let round = 0; round < 20; round++) {
      await writer.write(both())
      await writer.flush()
    }
    expect(writer.metrics).toMatchObject({ written: 2, spilled: 40 })
    await server.start()
    // Before the writer comes to it, most likely: else only the rest waits.
    await db.transaction(async (tx) => {
      await tx.query(lockLate)
      while ((await countOf('live')) < id) await sleep(5)
      await liveNow(writer)
    })
    await writer.close()
    await expectAll()
  })

  test('closed meanwhile: they are left to the next writer; connections that are cut meanwhile', async () => {
    await using proxy = await startProxy(server.port)
    const far = openPool({ ...server.options, port: proxy.port })
    const writer = await partedWriter({ spillDirectory: directory, sendTimeoutMs: 100 }, new DatabaseSession(far))
    await db.transaction(async (tx) => {
      await tx.query(lockLate)
      for (let round = 0; round < 40; round++) {
        await writer.write(both())
        await sleep(15)
        if (round % 10 === 5) proxy.cut()
      }
      await writer.close()
      expect(writer.metrics).toMatchObject({ written: 40, spilled: 40, buffered: 0 })
    })
    await far.close()
    await (await partedWriter({ spillDirectory: directory })).close()
    await expectAll()
  })
})

test('wrong options', async () => {
  for (const options of [{ flushMs: 0 }, { batchRows: 1.5 }, { onBadRow: 'x' }, { flush: 1 }, { spillDirectory: '' }]) {
    await expect(opened(options as object)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  }
  await expect(openWriter(db, 'nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

test('what takes no COPY is refused at the start, instead of tried again for as long as giveUpMs', async () => {
  await run('create view "Test 1.a"."V" as select * from "Test 1.a"."W.x"')
  await run('create materialized view "Test 1.a"."M" as select 1 as id')
  try {
    for (const [name, why] of [
      ['V', 'is a view without an INSTEAD OF trigger'],
      ['M', 'is a materialized view'],
    ]) {
      await expect(openWriter(db, { schema: 'Test 1.a', name: name ?? '' })).rejects.toMatchObject({
        code: 'INVALID_VALUE',
        message: `"Test 1.a"."${name}" ${why}: a writer's COPY is refused there`,
        hint: 'Use insert.',
      })
    }
    await run(`create function "Test 1.a".f() returns trigger language plpgsql as
      'begin insert into "Test 1.a"."W.x" values (new.id, new.note); return new; end'`)
    await run('create trigger t instead of insert on "Test 1.a"."V" for each row execute function "Test 1.a".f()')
    await using writer = await openWriter(db, { schema: 'Test 1.a', name: 'V' })
    await writer.write(row(1))
    await writer.flush()
    expect(await ids()).toEqual([1])
  } finally {
    await run('drop view "Test 1.a"."V"')
    await run('drop materialized view "Test 1.a"."M"')
  }
})
