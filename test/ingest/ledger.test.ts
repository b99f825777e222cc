import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { exportTo } from '../../src/export/export.ts'
import { Ledger } from '../../src/ingest/ledger.ts'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions } from '../../src/ingest/load-option.ts'
import { compileInto } from '../setup/compile.ts'
import { openTestDatabase } from '../setup/database.ts'
import { type PostgresServer, password, startPostgres } from '../setup/postgres.ts'
import { startProxy } from '../setup/proxy.ts'
import { generatedRows } from './killed-loader.ts'

let server: PostgresServer
let pool: ConnectionPool
let db: DatabaseSession
let directory: string
let imports = 0

beforeAll(async () => {
  server = await startPostgres({ settings: { max_wal_size: '2GB' } })
  pool = openPool(server.options)
  db = new DatabaseSession(pool)
  directory = mkdtempSync(join(tmpdir(), 'tsdb-ledger-'))
  await run('create schema "Test 1.a"')
  await run('create table "Test 1.a"."T.x" (id int, note text)')
})

beforeEach(() => run('truncate "Test 1.a"."T.x"'))

afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await pool.close()
  await server[Symbol.asyncDispose]()
})

const table = '"Test 1.a"."T.x"'
const run = (text: string) => db.query({ text, values: [] })
const newId = (): string => `import ${++imports}`
const small: LoadOptions = { batchRows: 1000, batchBytes: 60_000, analyze: false }

/** Exactly the rows 0 to count − 1, each once. */
async function expectRows(count: number): Promise<void> {
  const { rows } = await run(
    `select count(*)::int as n, count(distinct id)::int as ids, sum(id)::float8 as sum,
      count(*) filter (where note <> 'row ' || id)::int as wrong from ${table}`,
  )
  expect(rows).toEqual([{ n: count, ids: count, sum: (count * (count - 1)) / 2, wrong: 0 }])
}

function csvFile(count: number): string {
  const path = join(directory, `f ${++imports}.csv`)
  const lines = Array.from({ length: count }, (_, id) => `${id},row ${id}\n`)
  writeFileSync(path, `id,note\n${lines.join('')}`)
  return path
}

async function* failingAfter(count: number): AsyncGenerator<object> {
  yield* generatedRows(count)
  throw new Error('the source broke')
}

test('an import that failed goes on where it stopped, and a finished one does nothing', async () => {
  const importId = newId()
  await expect(load(db, table, failingAfter(5500), { ...small, importId })).rejects.toThrow('the source broke')
  const report = await load(db, table, generatedRows(12_345), { ...small, importId, batchRows: 77, batchBytes: 9 })
  expect(report).toMatchObject({ rowsResumed: 5000, rowsWritten: 7345 })
  await expectRows(12_345)
  expect(await load(db, table, generatedRows(12_345), { ...small, importId })).toMatchObject({
    rowsResumed: 12_345,
    rowsWritten: 0,
    batches: 0,
  })
  await expectRows(12_345)
})

test('another table, source or way of reading is refused', async () => {
  const importId = newId()
  const path = csvFile(50_000)
  await load(db, table, path, { ...small, importId })
  const again = (source: string, options: LoadOptions = {}): Promise<unknown> =>
    load(db, table, source, { ...small, importId, ...options })
  await expect(again(path, { onBadRow: 'skip' })).rejects.toMatchObject({ code: 'DRIFT' })
  appendFileSync(path, '1,x\n')
  await expect(again(path)).rejects.toMatchObject({ code: 'DRIFT', message: expect.stringContaining('another source') })
  await run('create table if not exists "Test 1.a".other (id int, note text)')
  await expect(load(db, '"Test 1.a".other', path, { ...small, importId })).rejects.toMatchObject({ code: 'DRIFT' })
  await expectRows(50_000)
})

test('a file that was changed in its middle, at the same size, is another source', async () => {
  const rows = 'select i as id, md5(i::text) as note from generate_series(0, 19999) i'
  const { rows: made } = await db.query<{ id: number; note: string }>({ text: rows, values: [] })
  const text = (line: (row: (typeof made)[number]) => string): string => made.map((row) => `${line(row)}\n`).join('')
  const csv = `id,note\n${text(({ id, note }) => `${id},${note}`)}`
  const parquet = join(directory, 'changed.parquet')
  await exportTo(db, parquet, { text: rows, values: [] })
  const files: [name: string, content: Buffer, options?: LoadOptions][] = [
    ['passed.csv', Buffer.from(csv)],
    ['parsed.csv', Buffer.from(csv), { onBadRow: 'skip' }],
    ['packed.csv.gz', gzipSync(csv)],
    ['lines.ndjson', Buffer.from(text((row) => JSON.stringify(row)))],
    ['list.json', Buffer.from(JSON.stringify(made))],
    ['points.lp', Buffer.from(text(({ id, note }) => `x id=${id}i,note="${note}" ${id}`)), { columns: ['id', 'note'] }],
    ['changed.parquet', readFileSync(parquet)],
  ]
  const figures = 'select count(*)::int as n, sum(hashtext(note || id))::text as sum from'
  const expected = (await run(`${figures} (${rows}) r`)).rows
  for (const [name, content, given] of files) {
    await run('truncate "Test 1.a"."T.x"')
    const path = join(directory, name)
    writeFileSync(path, content)
    const options: LoadOptions = { ...small, ...given, importId: newId() }
    const stop = new AbortController()
    let batches = 0
    const stopped = load(db, table, path, {
      ...options,
      signal: stop.signal,
      onProgress: () => ++batches > 1 && stop.abort(),
    })
    await expect(stopped, name).rejects.toMatchObject({ code: 'QUERY_CANCELLED' })
    const changed = Buffer.from(content)
    // A digit, which stays one.
    const at = changed.findIndex((byte, place) => place >= 100_000 && byte >= 0x30 && byte <= 0x39)
    changed[at] = (changed[at] ?? 0) ^ 1
    writeFileSync(path, changed)
    const again = (): ReturnType<typeof load> => load(db, table, path, options)
    await expect(again(), name).rejects.toMatchObject({
      code: 'DRIFT',
      message: expect.stringMatching(/bytes \d+ to \d+ of/),
    })
    writeFileSync(path, content)
    expect((await again()).rowsResumed, name).toBeGreaterThan(0)
    expect((await run(`${figures} ${table}`)).rows, name).toEqual(expected)
    // Also when all is done.
    writeFileSync(path, changed)
    await expect(again(), name).rejects.toMatchObject({ code: 'DRIFT' })
    // What an earlier version wrote is known by size and ends alone.
    await run('update tsdbkit.import_window set source_bytes = null, source_crc = null')
    if (name === 'lines.ndjson') expect(await again()).toMatchObject({ rowsWritten: 0, rowsResumed: 20_000 })
  }
})

test('rows that cannot be those that an import began with are refused, and none is left out', async () => {
  const importId = newId()
  await load(db, table, generatedRows(5500), { ...small, importId })
  // The last 500 would be in the window of those that are there.
  await expect(load(db, table, generatedRows(6000), { ...small, importId })).rejects.toMatchObject({
    code: 'DRIFT',
    message: expect.stringContaining('500 were written together from row 5000 on, now they are 1000'),
  })
  await expectRows(5500)
  await run(`truncate ${table}`)
  const long = newId()
  await load(db, table, generatedRows(3000), { ...small, importId: long, batchBytes: 20_000 })
  await run(`delete from tsdbkit.import_window where import_id = '${long}' and start = 0`)
  const shorter = Array.from({ length: 3000 }, (_, id) => ({ id, note: '' }))
  await expect(load(db, table, shorter, { ...small, importId: long })).rejects.toMatchObject({
    code: 'DRIFT',
    message: expect.stringMatching(/\d+ were written together from row 0 on, now they are \d+/),
  })
  await expectRows(3000)
  // Rows that the server drops were there too.
  const drops = newId()
  await run(`create function "Test 1.a".drop_odd() returns trigger language plpgsql as
    $$ begin if new.id % 2 = 1 then return null; end if; return new; end $$`)
  await run(`create trigger odd before insert on ${table} for each row execute function "Test 1.a".drop_odd()`)
  try {
    for (const resumed of [0, 3000]) {
      const report = await load(db, table, generatedRows(3000), { ...small, importId: drops })
      expect(report.rowsResumed).toBe(resumed)
    }
  } finally {
    await run('drop function "Test 1.a".drop_odd() cascade')
  }
})

test('rejected rows of all runs are in the file', async () => {
  const importId = newId()
  const file = join(directory, 'bad.ndjson')
  async function* rows(fail: boolean): AsyncGenerator<object> {
    for (let id = 0; id < 5000; id++) {
      if (fail && id === 3500) throw new Error('the source broke')
      yield id % 1500 === 7 ? { id: `x${id}\0`, note: 'y' } : { id, note: `row ${id}` }
    }
  }
  const options: LoadOptions = { ...small, importId, onBadRow: { file } }
  await expect(load(db, table, rows(true), options)).rejects.toThrow('broke')
  expect(await load(db, table, rows(false), options)).toMatchObject({ rowsResumed: 3000, rowsRejected: 2 })
  const noted = readFileSync(file, 'utf8').trim().split('\n')
  expect(noted.map((line) => JSON.parse(line).row)).toEqual([7, 1507, 3007, 4507])
})

test('several imports share a dead-letter file, which keeps what was in it', async () => {
  const file = join(directory, 'all.ndjson')
  writeFileSync(file, 'of somebody else\n')
  const ids = [newId(), `${newId()} "2"`]
  const load5 = (importId: string): Promise<unknown> =>
    load(db, table, [{ id: 1 }, { id: 'x' }, { id: `${importId}` }], { importId, onBadRow: { file } })
  for (const importId of ids) await load5(importId)
  const noted = readFileSync(file, 'utf8')
  const [first, ...others] = noted.trimEnd().split('\n')
  expect(first).toBe('of somebody else')
  expect(others.map((line) => JSON.parse(line)).map(({ importId, row }) => [importId, row])).toEqual(
    ids.flatMap((id) => [1, 2].map((at) => [id, at])),
  )
  for (const importId of ids) await load5(importId)
  expect(readFileSync(file, 'utf8')).toBe(noted)
})

test('loaders of one import that end at once note each row once', async () => {
  const file = join(directory, 'once.ndjson')
  const rows = Array.from({ length: 600 }, (_, id) => (id % 3 === 0 ? { id: 'x', note: 'y' } : { id }))
  const expected = rows.flatMap(({ id }, row) => (id === 'x' ? [row] : []))
  for (let round = 0; round < 5; round++) {
    const importId = newId()
    const options: LoadOptions = { ...small, importId, onBadRow: { file }, batchRows: 50 }
    await Promise.all([1, 2, 3, 4].map(() => load(db, table, rows, options)))
    const noted = readFileSync(file, 'utf8').trimEnd().split('\n')
    expect(noted.flatMap((line) => (JSON.parse(line).importId === importId ? JSON.parse(line).row : []))).toEqual(
      expected,
    )
  }
})

test('half a line that a kill left in the dead-letter file spoils no other', async () => {
  const file = join(directory, 'torn.ndjson')
  const half = '{"importId":"other","row":1,"rea'
  writeFileSync(file, half)
  const importId = newId()
  const load3 = (): Promise<unknown> => load(db, table, [{ id: 1 }, { id: 'x' }], { importId, onBadRow: { file } })
  await load3()
  await load3()
  const [torn, line, ...others] = readFileSync(file, 'utf8').split('\n')
  expect([torn, others]).toEqual([half, ['']])
  expect(JSON.parse(line ?? '')).toMatchObject({ importId, row: 1 })
  // Half of a line of this import is ended.
  const whole = readFileSync(file, 'utf8')
  for (const length of [whole.length - 2, whole.length - 30]) {
    writeFileSync(file, whole.slice(0, length))
    await load3()
    expect(readFileSync(file, 'utf8')).toBe(whole)
  }
})

test.skipIf(process.platform !== 'linux')(
  'a dead-letter file that cannot be written: before the first row, or with what stays',
  async () => {
    const rows = [{ id: 1 }, { id: 'x' }]
    await expect(load(db, table, rows, { onBadRow: { file: join(directory, 'no', 'x') } })).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      message: expect.stringContaining('no such directory'),
    })
    expect((await run(`select from ${table}`)).rows).toEqual([])
    await expect(load(db, table, rows, { onBadRow: { file: '/dev/full' } })).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(/dev.full: no space is left\. 1 row of other batches is written and stays\.$/),
    })
  },
)

test('a ledger of an earlier version gets the columns it lacks; who may not add them is told', async () => {
  await run('drop schema if exists tsdbkit cascade')
  await run('create schema tsdbkit')
  await run(`create table tsdbkit.import (
    id text primary key, target text not null, unit text not null, batch_rows bigint not null,
    batch_bytes bigint not null, fingerprint text, started_at timestamptz not null default now(), finished_at timestamptz)`)
  await run(`create table tsdbkit.import_window (
    import_id text not null references tsdbkit.import on delete cascade, start bigint not null,
    rows bigint, written bigint, skipped bigint, rejected jsonb, primary key (import_id, start))`)
  const importId = newId()
  await run(`insert into tsdbkit.import (id, target, unit, batch_rows, batch_bytes)
    values ('${importId}', '${table.replaceAll("'", "''")}', 'row', 1000, 60000)`)
  await run(`insert into tsdbkit.import_window values ('${importId}', 0, 1000, 1000, 0, null)`)
  await run(`insert into ${table} select i, 'row ' || i from generate_series(0, 999) i`)
  // A second attempt of this test finds that of the first.
  await run('drop role if exists "no owner"')
  await run('create role "no owner" in role pg_read_all_data, pg_write_all_data')
  const asOther = db.transaction(async (tx) => {
    await tx.query({ text: 'set local role "no owner"', values: [] })
    return load(tx, table, generatedRows(5000), { ...small, importId })
  })
  await expect(asOther).rejects.toMatchObject({
    code: 'DRIFT',
    message: expect.stringMatching(/import_window lacks state, error.*; import lacks reading/),
    hint: expect.stringMatching(
      /alter table tsdbkit.import_window add column .*; alter table tsdbkit.import add column/,
    ),
  })
  const options: LoadOptions = { ...small, importId, onBatchError: () => 'skip' }
  const two = [1, 2].map(() => load(db, table, generatedRows(5000), options))
  for (const { rowsResumed } of await Promise.all(two)) expect(rowsResumed).toBeGreaterThanOrEqual(1000)
  await expectRows(5000)
  // What it was read by before is not known, and anything goes.
  const { rows: kept } = await run(`select reading from tsdbkit.import where id = '${importId}'`)
  expect(kept).toEqual([{ reading: null }])
  await run('drop role "no owner"')
})

test.each<[LoadOptions, LoadOptions, string]>([
  [{ header: false }, {}, 'header'],
  [{}, { header: false }, 'header'],
  [{ delimiter: ',' }, { columns: { note: 'id', id: 'note' }, constants: {} }, 'columns'],
  [{ header: false }, { header: false, delimiter: ';' }, 'delimiter'],
  [{ columns: ['id', 'note'], header: false }, { columns: ['note', 'id'], header: false }, 'columns'],
  [{ constants: {} }, { constants: { note: 'x' }, columns: { id: 'id' } }, 'columns, constants'],
  [{ nullText: 'NULL' }, {}, 'nullText'],
  [{}, { timeFormat: 'DD.MM.YYYY' }, 'timeFormat'],
  [{ timeZone: 'Europe/Berlin' }, { timeZone: 'America/New_York', encoding: 'latin1' }, 'encoding, timeZone'],
  [{}, { format: 'tsv' }, 'format'],
])('an import is not gone on with by other options: %j, %j', async (before, then, names) => {
  const path = join(directory, `f ${++imports}.csv`)
  writeFileSync(path, '0,row 0\n1,row 1\n')
  const named = join(directory, `f ${++imports}.csv`)
  writeFileSync(named, 'id,note\n0,row 0\n1,row 1\n')
  const importId = newId()
  const file = before.header === false ? path : named
  const { rowsWritten } = await load(db, table, file, { ...before, importId })
  expect(rowsWritten).toBe(2)
  await expect(load(db, table, file, { ...then, importId })).rejects.toMatchObject({
    code: 'DRIFT',
    message: `The import "${importId}" began with other options: ${names}.`,
  })
  await expectRows(2)
})

test('an import is gone on with by options that say the same', async () => {
  const importId = newId()
  const file = csvFile(3000)
  await load(db, table, file, { importId, columns: { id: 'id', note: 'note' } })
  const same: LoadOptions = { columns: { note: 'note', id: 'id' }, header: true, delimiter: ',', encoding: 'utf-8' }
  const { rowsResumed } = await load(db, table, file, { ...same, nullText: '', format: 'csv', importId })
  expect(rowsResumed).toBe(3000)
  const other = newId()
  const constants = (note: string): LoadOptions => ({ importId: other, columns: ['id'], constants: { note } })
  const ids = Array.from({ length: 10 }, (_, id) => [id])
  await load(db, table, ids, constants('row 0'))
  expect((await load(db, table, ids, constants('another time'))).rowsResumed).toBe(10)
})

test('loaders that all find no ledger', async () => {
  for (let round = 0; round < 20; round++) {
    await run('drop schema if exists tsdbkit cascade')
    await run(`truncate ${table}`)
    const loaders = Array.from({ length: 6 }, (_, nth) => {
      const rows = Array.from({ length: 5 }, (__, row) => ({ id: nth * 5 + row, note: `row ${nth * 5 + row}` }))
      return load(db, table, rows, { ...small, importId: newId() })
    })
    await Promise.all(loaders)
    await expectRows(30)
  }
})

test('two loaders with one id at once', async () => {
  const importId = newId()
  const reports = await Promise.all([1, 2].map(() => load(db, table, generatedRows(20_000), { ...small, importId })))
  await expectRows(20_000)
  expect(reports.reduce((sum, { rowsWritten }) => sum + rowsWritten, 0)).toBe(20_000)
  for (const { rowsRead, rowsWritten, rowsResumed } of reports) {
    expect([rowsRead, rowsRead + rowsResumed]).toEqual([rowsWritten, 20_000])
  }
})

test('a batch whose COMMIT had no answer is counted', async () => {
  await using proxy = await startProxy(server.port)
  const far = openPool({ ...server.options, port: proxy.port })
  await run(`create function "Test 1.a".slow() returns trigger language plpgsql as
    $$ begin perform pg_sleep(0.5); return null; end $$`)
  await run(`create constraint trigger slow after insert on ${table} deferrable initially deferred
    for each row when (new.id = 0) execute function "Test 1.a".slow()`)
  const csv = join(directory, 'slow.csv')
  writeFileSync(csv, `id,note\n${Array.from({ length: 10 }, (_, id) => `${id},row ${id}\n`).join('')}`)
  const rows = [
    ...generatedRows(8),
    { id: 'x' },
    { id: 8, note: 'row 8' },
    { id: 9, note: 'row 9\0' },
    { id: 9, note: 'row 9' },
  ]
  try {
    for (const [source, read, options] of [
      [csv, 10, {}],
      [rows, 12, { onBadRow: 'skip', verify: true }],
    ] as const) {
      const loading = load(new DatabaseSession(far), table, source, { importId: newId(), ...options })
      const sleeping = `select from pg_stat_activity where wait_event = 'PgSleep'`
      await expect.poll(async () => (await run(sleeping)).rows.length, { timeout: 10_000, interval: 10 }).toBe(1)
      proxy.cut()
      const counts = {
        rowsRead: read,
        rowsWritten: 10,
        rowsRejected: read - 10,
        rowsResumed: 0,
        batches: 1,
        retried: 1,
      }
      expect(await loading).toMatchObject(counts)
      await expectRows(10)
      await run(`truncate ${table}`)
    }
  } finally {
    await run('drop function "Test 1.a".slow() cascade')
    await far.close()
  }
})

test.each([
  ['rows', () => '60000'],
  ['CSV', () => csvFile(60_000)],
])('killed at random, then run again: %s', { timeout: 90_000 }, async (_name, make) => {
  const source = make()
  const importId = newId()
  const script = compileInto(directory, new URL('killed-loader.ts', import.meta.url))
  let left = 2
  for (;;) {
    const child = spawn(process.execPath, [script, String(server.port), password, importId, source], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await new Promise<void>((ready) => child.stdout.once('data', () => ready()))
    const ended = new Promise<number | null>((done) => child.once('exit', (code) => done(code)))
    if (left-- > 0) setTimeout(() => child.kill('SIGKILL'), 20 + Math.random() * 150)
    const code = await ended
    if (code === 0) break
  }
  await expectRows(60_000)
})

test('cut sockets and ended backends in the middle', { timeout: 60_000 }, async () => {
  await using proxy = await startProxy(server.port)
  const far = openPool({ ...server.options, port: proxy.port })
  const importId = newId()
  let stop = false
  let begin = (): void => undefined
  const begun = new Promise<void>((done) => {
    begin = done
  })
  const trouble = begun.then(async () => {
    for (let round = 0; !stop; round++) {
      await new Promise((next) => setTimeout(next, 40 + Math.random() * 80))
      if (round % 2 === 0) proxy.cut()
      else {
        await run(
          `select pg_terminate_backend(pid) from pg_stat_activity where query ilike '%copy%' and pid <> pg_backend_pid()`,
        )
      }
    }
  })
  const options: LoadOptions = { ...small, importId, retries: 50, onProgress: () => begin() }
  try {
    const report = await load(new DatabaseSession(far), table, generatedRows(60_000), options)
    expect(report.retried).toBeGreaterThan(0)
  } finally {
    stop = true
    begin()
    await trouble
    await far.close()
  }
  await expectRows(60_000)
})

/** Runs a statement in a transaction that stays open. @returns what ends it: rolled back where an error is given */
async function openTransaction(text: string): Promise<(error?: Error) => Promise<void>> {
  let end = (_error?: Error): void => undefined
  let transaction: Promise<void> = Promise.resolve()
  await new Promise<void>((ready, failed) => {
    transaction = db.transaction(async (tx) => {
      await tx.query({ text, values: [] })
      await new Promise<void>((commit, undo) => {
        end = (error) => (error === undefined ? commit() : undo(error))
        ready()
      })
    })
    transaction.catch(failed)
  })
  return async (error) => {
    end(error)
    await transaction.catch((failure: unknown) => {
      if (failure !== error) throw failure
    })
  }
}

test.each([
  ['before the first row', `lock table tsdbkit.import in access exclusive mode`, 'select fingerprint%'],
  ['when the import begins', `lock table tsdbkit.import in exclusive mode`, 'insert into tsdbkit.import %'],
  [
    'when all rows are written',
    'select from tsdbkit.import for no key update',
    '%update tsdbkit.import set finished_at%',
  ],
  ['at ANALYZE', `lock table ${table} in share update exclusive mode`, 'analyze%'],
])('a connection that is lost %s', async (_when, lock, waiting) => {
  // With a ledger there is something to wait for from the first statement on.
  const importId = newId()
  await load(db, table, [], { batchRows: 1000, importId })
  const unlock = await openTransaction(lock)
  const first = load(db, table, generatedRows(1000), { batchRows: 1000, importId })
  try {
    await expect
      .poll(
        async () => {
          const { rows } = await run(
            `select pg_terminate_backend(pid) from pg_stat_activity where query ilike $$${waiting}$$ and wait_event_type = 'Lock'`,
          )
          return rows.length
        },
        { timeout: 10_000 },
      )
      .toBe(1)
  } finally {
    await unlock()
  }
  expect(await first).toMatchObject({ rowsWritten: 1000, retried: 0 })
  await expectRows(1000)
})

test('ended at ANALYZE: run again it is done, also where the file has grown since', async () => {
  const path = csvFile(3000)
  const options: LoadOptions = { batchRows: 1000, importId: newId() }
  let unlock = (): void => undefined
  const locked = db.transaction(async (tx) => {
    await tx.query({ text: `lock table ${table} in share update exclusive mode`, values: [] })
    await new Promise<void>((done) => {
      unlock = done
    })
  })
  const analyzing = async (): Promise<unknown> =>
    (await run(`select from pg_stat_activity where query like 'analyze%' and wait_event_type = 'Lock'`)).rows.length
  const stopped = load(db, table, path, options)
  const ended = expect(stopped).rejects.toThrow()
  try {
    await expect.poll(analyzing, { timeout: 10_000 }).toBe(1)
    await run(`select pg_cancel_backend(pid) from pg_stat_activity where query like 'analyze%'`)
    await ended
  } finally {
    unlock()
    await locked
  }
  appendFileSync(path, '3000,row 3000\n')
  const before = `select coalesce(max(last_analyze), '-infinity') as at from pg_stat_user_tables where relname = 'T.x'`
  const [analyzed] = (await run(before)).rows
  expect(await load(db, table, path, options)).toMatchObject({ rowsResumed: 3000, rowsWritten: 0, grownBytes: 14 })
  await expect.poll(async () => (await run(before)).rows[0]).not.toEqual(analyzed)
  await expectRows(3000)
})

test('a window that another connection holds is waited for, and not for ever', async () => {
  const importId = newId()
  const options: LoadOptions = { batchRows: 1000, analyze: false, importId }
  await load(db, table, [], options)
  const hasty = openPool({ ...server.options, startupOptions: '-c lock_timeout=200' })
  const held = `insert into tsdbkit.import_window (import_id, start, rows, written, skipped) values ('${importId}', 0, 1000, 1000, 0)`
  const end = await openTransaction(held)
  const failure = load(new DatabaseSession(hasty), table, generatedRows(1000), { ...options, retries: 1 })
  await expect(failure).rejects.toMatchObject({
    sqlState: '55P03',
    message: `The window from 0 on of the import "${importId}" is held by another connection.`,
    hint: expect.stringContaining('pg_terminate_backend'),
  })
  const patient = load(new DatabaseSession(hasty), table, generatedRows(1000), { ...options, retries: 50 })
  const begun = performance.now()
  await expect.poll(() => performance.now() - begun).toBeGreaterThan(500)
  await end(new Error('undone'))
  const report = await patient
  expect(report).toMatchObject({ rowsWritten: 1000, rowsResumed: 0 })
  expect(report.retried).toBeGreaterThan(0)
  await expectRows(1000)
  await hasty.close()

  const again = await openTransaction(held.replace(', 0,', ', 1000,'))
  const claim = db.transaction(async (tx) => {
    const identity = {
      table: { schema: 'Test 1.a', name: 'T.x' },
      unit: 'row',
      batchRows: 1000,
      batchBytes: 1,
    } as const
    const ledger = await Ledger.open(tx, importId, { ...identity, fingerprint: undefined })
    return ledger.claim(tx, 1000, 1000, undefined, 200)
  })
  await expect(claim).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT', sqlState: '55P03' })
  await again()
})

test('a connection that is lost while the table is made', async () => {
  const made = '"Test 1.a"."Ma de"'
  const end = await openTransaction(`create table ${made} (id int)`)
  const loading = load(db, made, generatedRows(10), { create: { timeColumn: false } })
  try {
    const kill = `select pg_terminate_backend(pid) from pg_stat_activity
      where query ilike 'create table%' and wait_event_type = 'Lock'`
    await expect.poll(async () => (await run(kill)).rows.length, { timeout: 10_000 }).toBe(1)
  } finally {
    await end(new Error('undone'))
  }
  expect(await loading).toMatchObject({ created: true, rowsWritten: 10 })
  await run(`drop table ${made}`)
})

test('a server that restarts in the middle', { timeout: 60_000 }, async () => {
  const importId = newId()
  let restart: Promise<void> | undefined
  const onProgress = (): void => {
    restart ??= server.restart('immediate')
  }
  const report = await load(db, table, generatedRows(100_000), { ...small, importId, retries: 50, onProgress })
  expect(restart).toBeDefined()
  await restart
  expect(report.rowsWritten + report.rowsResumed).toBeLessThanOrEqual(100_000)
  await expectRows(100_000)
})

test('on the test database, in a transaction too', async () => {
  const database = await openTestDatabase()
  const name = { schema: database.schema, name: 'T.x' }
  const importId = `${database.schema} import`
  await database.client.executeQuery(`create table "${database.schema}"."T.x" (id int, note text)`)
  await expect(load(database.db, name, failingAfter(2500), { ...small, importId })).rejects.toThrow('broke')
  await expect(
    database.db.transaction(async (tx) => {
      await load(tx, name, generatedRows(4000), { ...small, importId })
      throw new Error('no')
    }),
  ).rejects.toThrow('no')
  const report = await load(database.db, name, generatedRows(4000), { ...small, importId })
  expect(report).toMatchObject({ rowsResumed: 2000, rowsWritten: 2000 })
  await database.client.executeQuery('delete from tsdbkit.import where id = $1', [importId])
  await database.close()
})
