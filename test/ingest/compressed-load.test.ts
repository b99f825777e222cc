import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { load } from '../../src/ingest/load.ts'
import type { LoadOptions, LoadReport } from '../../src/ingest/load-option.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'
import { expectSameAnswers } from './same-answers.ts'

let database: TestDatabase
let table: { schema: string; name: string }
let heap: { schema: string; name: string }
let made = 0
/** Whether the server compresses rows as they come in. */
let direct = false
const imports: string[] = []

beforeAll(async () => {
  database = await openTestDatabase()
  const { rows } = await database.db.query(
    sql`select current_setting('timescaledb.enable_direct_compress_copy', true) is not null as yes`,
  )
  direct = database.can('compression') && rows[0]?.['yes'] === true
  if (!direct) process.stdout.write('skipped in part: the server has no direct compression\n')
})

afterAll(async () => {
  for (const id of imports) await database.client.executeQuery('delete from tsdbkit.import where id = $1', [id])
  await database.close()
})

beforeEach(() => {
  table = { schema: database.schema, name: `Odd "table".${++made}` }
  heap = { schema: database.schema, name: `heap ${made}` }
})

afterEach(dropTables)

async function dropTables(): Promise<void> {
  // A hypertable is not dropped together with anything else.
  for (const name of [table, heap]) await database.db.query(sql`drop table if exists ${sql.name(name)}`)
}

async function makeTables(orderBy = 'time', constraint = ''): Promise<void> {
  for (const name of [table, heap]) {
    await database.db.query(sql`create table ${sql.name(name)} (
      time timestamptz not null, "Sen.sor" text, v float8, note text${sql.raw(constraint)})`)
  }
  await database.client.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  if (!database.can('compression')) return
  await database.db.query(sql`alter table ${sql.name(table)} set (timescaledb.compress,
    timescaledb.compress_segmentby = '"Sen.sor"', timescaledb.compress_orderby = ${sql.literal(orderBy)})`)
}

const start = Date.UTC(2025, 0, 1)
const minutes = (count: number): Date => new Date(start + count * 60_000)
/** A row of each of three sensors every 20 seconds, one after another. */
const row = (n: number, v = n / 4): Record<string, unknown> => ({
  time: new Date(start + n * 20_000),
  'Sen.sor': n % 3 === 2 ? null : `s"${n % 3}`,
  v,
  note: `note ${n}`,
})
function* rows(from: number, to: number, v?: number): Generator<Record<string, unknown>> {
  for (let n = from; n < to; n++) yield row(n, v)
}
const small: LoadOptions = { batchRows: 600, parallel: 1, analyze: false }
const run = (source: Parameters<typeof load>[2], options: LoadOptions = {}): Promise<LoadReport> =>
  load(database.db, table, source, { ...small, ...options })
const newImport = (): string => {
  const id = `test ${randomUUID()}`
  imports.push(id)
  return id
}
async function statuses(): Promise<unknown[]> {
  const name = sql.name(table).text
  const { rows: chunks } = await database.db.query(sql`
    select _timescaledb_functions.chunk_status(c) as status from show_chunks(${name}::regclass) c order by c::oid`)
  return chunks.map(({ status }) => status)
}
const sameAnswers = (): Promise<void> => expectSameAnswers(database.db, table, heap)
/** All chunks are compressed, what is beside them too. */
async function compressAll(): Promise<void> {
  await database.client.compressChunks(table)
}

describe('batches declared sorted', () => {
  test.each(['time', 'time desc'])('rows in the order of time, by %s', async (orderBy) => {
    await makeTables(orderBy)
    const report = await run(rows(0, 9000))
    await load(database.db, heap, rows(0, 9000))
    await sameAnswers()
    if (!direct) return
    expect(report.directCompress.batches).toBe(15)
    // In falling order, the ranges go backwards.
    expect(report.clientSorted).toEqual({ batches: 15, without: 0, reason: undefined })
    expect(await statuses()).toEqual([1, 1, 1])
    expect(report.recompressedChunks).toBe(0)
  })

  test('by time and value: rows that meet at one time are not declared', async () => {
    await makeTables('time, v')
    const report = await run([...rows(0, 3000), ...rows(2999, 4000, -1)], { recompress: 'never' })
    await load(database.db, heap, [...rows(0, 3000), ...rows(2999, 4000, -1)])
    await sameAnswers()
    if (direct) expect(report.clientSorted.without).toBeGreaterThan(0)
  })

  test('off where rows overlap with others of the load, of another load, or are of unknown order', async () => {
    await makeTables()
    const all = [...rows(0, 3000), ...rows(300, 1500, -1)]
    const report = await run(all, { recompress: 'never' })
    const second = await run(rows(1200, 3000, -2), { recompress: 'never' })
    const off = await run(rows(9000, 10_200), { clientSorted: 'off', recompress: 'never' })
    await load(database.db, heap, [...all, ...rows(1200, 3000, -2), ...rows(9000, 10_200)])
    await sameAnswers()
    if (!direct) return
    expect(report.clientSorted).toMatchObject({ batches: 6, without: 1, reason: expect.stringContaining('overlap') })
    // The first of the second load found the chunk unordered already.
    expect(second.clientSorted).toMatchObject({ batches: 3 })
    expect(off.clientSorted).toEqual({ batches: 0, without: 2, reason: 'clientSorted is off' })
    expect(await statuses()).toEqual([3, 3])
  })

  test('off after others have written into a chunk and it was compressed', { timeout: 60_000 }, async () => {
    await makeTables()
    const foreign = Array.from({ length: 900 }, (_, n) => ({ ...row(2400 + n, 1e6), time: minutes(810 + n / 10) }))
    async function* disturbed(): AsyncGenerator<object> {
      yield* rows(0, 2400)
      // The loader has sent what came before when it asks for so much more.
      await load(database.db, table, foreign, { directCompress: 'off', analyze: false })
      if (database.can('compression')) await compressAll()
      yield* rows(2400, 4200)
    }
    const report = await run(disturbed(), { recompress: 'never' })
    await load(database.db, heap, [...rows(0, 4200), ...foreign])
    await sameAnswers()
    if (direct) expect(report.clientSorted.without).toBeGreaterThan(0)
  })

  test('an import that is gone on with knows its ranges and chunks', async () => {
    await makeTables()
    const importId = newImport()
    async function* broken(): AsyncGenerator<object> {
      yield* rows(0, 3300)
      throw new Error('the source broke')
    }
    await expect(run(broken(), { importId })).rejects.toThrow('broke')
    const report = await run(rows(0, 6000), { importId })
    expect(report).toMatchObject({ rowsResumed: 3000, rowsWritten: 3000 })
    await load(database.db, heap, rows(0, 6000))
    await sameAnswers()
    if (!direct) return
    expect(report.clientSorted).toEqual({ batches: 5, without: 0, reason: undefined })
    expect(await statuses()).toEqual([1, 1])
  })

  test('in a transaction only where a chunk is unordered already', async () => {
    await makeTables()
    const report = await database.db.transaction((tx) =>
      load(tx, table, rows(0, 3000), { ...small, recompress: 'never' }),
    )
    await load(database.db, heap, rows(0, 3000))
    await sameAnswers()
    if (direct) expect(report.clientSorted).toMatchObject({ batches: 4, without: 1 })
  })
})

describe('chunks that are left', () => {
  test('are put in order at the end, or not', async () => {
    await makeTables()
    const never = await run(rows(0, 1800), { clientSorted: 'off', recompress: 'never' })
    expect(never.recompressedChunks).toBe(0)
    if (direct) expect(await statuses()).toEqual([3])
    const end = await run(rows(1800, 3600), { clientSorted: 'off' })
    expect(end.recompressPolicy).toBeUndefined()
    await load(database.db, heap, rows(0, 3600))
    await sameAnswers()
    if (!direct) return
    expect(end.recompressedChunks).toBe(1)
    expect(end.seconds.recompress).toBeGreaterThan(0)
    expect(await statuses()).toEqual([1])
  })

  test('are left to the policy, which there must be', async () => {
    await makeTables()
    await expect(run(rows(0, 10), { recompress: 'policy' })).rejects.toMatchObject({ code: 'INVALID_OPTION' })
    if (!database.can('compression')) return
    const policy = await database.client.addCompressionPolicy(table, { compressAfter: '100 years' })
    const report = await run(rows(0, 1800), { recompress: 'policy', clientSorted: 'off' })
    expect(report.recompressPolicy).toEqual({ jobId: policy.jobId, scheduleInterval: expect.any(String) })
    if (direct) expect(await statuses()).toEqual([3])
  })

  test('what the server says about direct compression is reported', async () => {
    await makeTables()
    const source = async function* (): AsyncGenerator<object> {
      // The loader has looked at the table when it asks for the first row.
      await database.db.query(sql`create function ${sql.name({ ...table, name: `f ${made}` })}() returns trigger
        language plpgsql as 'begin return new; end'`)
      await database.db.query(sql`create trigger t before insert on ${sql.name(table)} for each row
        execute function ${sql.name({ ...table, name: `f ${made}` })}()`)
      yield* rows(0, 1800)
    }
    const report = await run(source())
    expect(report.rowsWritten).toBe(1800)
    if (!direct) return
    expect(report.directCompress).toMatchObject({ batches: 0, reason: expect.stringContaining('direct compress') })
    expect(report.clientSorted).toMatchObject({ batches: 0, without: 0 })
  })
})

describe('as a role that does not own the table', () => {
  const role = `Wri "ter" ${randomUUID().slice(0, 8)}`
  const key = ', unique ("Sen.sor", time)'
  let mayMakeRoles = false

  beforeAll(async () => {
    const { rows } = await database.db.query(
      sql`select rolsuper or rolcreaterole as yes from pg_roles where rolname = current_user`,
    )
    mayMakeRoles = rows[0]?.['yes'] === true
    if (mayMakeRoles) await database.db.query(sql`create role ${sql.column(role)}`)
  })

  afterAll(async () => {
    if (!mayMakeRoles) return
    await database.db.query(sql`drop owned by ${sql.column(role)}`)
    await database.db.query(sql`drop role ${sql.column(role)}`)
  })

  async function asWriter(options: LoadOptions, source: Iterable<object> = rows(0, 1800)): Promise<LoadReport> {
    await database.db.query(sql`grant usage on schema ${sql.column(database.schema)} to ${sql.column(role)}`)
    await database.db.query(sql`grant select, insert, update on ${sql.name(table)} to ${sql.column(role)}`)
    return database.db.transaction(async (tx) => {
      await tx.query(sql`set local role ${sql.column(role)}`)
      return load(tx, table, source, options)
    })
  }

  test('rows are written, and no chunk is left unordered', async ({ skip }) => {
    skip(!mayMakeRoles, 'the role may make none')
    await makeTables()
    const report = await asWriter({ clientSorted: 'off' })
    expect(report).toMatchObject({ rowsWritten: 1800, recompressedChunks: 0 })
    if (!direct) return
    expect(report.directCompress).toMatchObject({ batches: 0, reason: expect.stringContaining('does not own') })
    expect(await statuses()).toEqual([0])
    let asked = false
    function* counted(): Generator<object> {
      asked = true
      yield* rows(0, 10)
    }
    await expect(asWriter({ directCompress: 'on' }, counted())).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('does not own the table'),
    })
    expect(asked).toBe(false)
    const never = await asWriter({ clientSorted: 'off', recompress: 'never' })
    expect(never.directCompress.batches).toBe(1)
    expect(await statuses()).toEqual([11])
  })

  test('updates take compressed batches apart, and leave the chunk compressed', async ({ skip }) => {
    skip(!mayMakeRoles || !direct, 'the role may make none, or nothing is compressed')
    await makeTables('time', key)
    const all = Array.from({ length: 1500 }, (_, n) => ({ ...row(n), 'Sen.sor': `s${n % 3}` }))
    await run(all)
    await database.client.compressChunks(table)
    const report = await asWriter(
      { onConflict: 'update' },
      all.map((one) => ({ ...one, v: -1 })),
    )
    expect(report).toMatchObject({ rowsWritten: 1500, recompressedChunks: 0 })
    const { rows: seen } = await database.db.query(sql`select count(*)::int as n, max(v) as v from ${sql.name(table)}`)
    expect(seen).toEqual([{ n: 1500, v: -1 }])
  })
})

describe('updates of compressed chunks', () => {
  const key = ', unique ("Sen.sor", time)'
  const named = (from: number, to: number, v?: number): object[] =>
    Array.from(rows(from, to, v), (one, n) => ({ ...one, 'Sen.sor': `s ${(from + n) % 3}` }))
  const compressed = async (): Promise<unknown> => (await statuses()).map((status) => Number(status) & 1)

  beforeEach(async () => {
    await makeTables('time', key)
    await run(named(0, 6000))
    if (database.can('compression')) await compressAll()
  })

  test('of most of a chunk decompress it and compress it again', async () => {
    const report = await run(named(0, 4000, -1), { onConflict: 'update', batchRows: 4000 })
    expect(report).toMatchObject({ rowsWritten: 4000, rowsSkipped: 0 })
    await load(database.db, heap, [...named(0, 4000, -1), ...named(4000, 6000)])
    await sameAnswers()
    if (!database.can('compression')) return
    expect(report.recompressedChunks).toBe(1)
    expect(await statuses()).toEqual([1, 1])
  })

  test('of little of it do not', async () => {
    const report = await run(named(0, 120, -1), { onConflict: 'update' })
    await load(database.db, heap, [...named(0, 120, -1), ...named(120, 6000)])
    await sameAnswers()
    expect(report.recompressedChunks).toBe(0)
  })

  test('that fail compress what they have decompressed', async () => {
    const source = [...named(0, 4000, -1), { time: 'nonsense' }]
    await expect(run(source, { onConflict: 'update', batchRows: 4000 })).rejects.toThrow('4000 rows of other batches')
    if (database.can('compression')) expect(await compressed()).toEqual([1, 1])
  })

  test('leave all to the policy where they shall', async () => {
    const report = await run(named(0, 4000, -1), { onConflict: 'update', batchRows: 4000, recompress: 'never' })
    await load(database.db, heap, [...named(0, 4000, -1), ...named(4000, 6000)])
    await sameAnswers()
    expect(report.recompressedChunks).toBe(0)
    if (database.can('compression')) expect(await compressed()).toEqual([1, 1])
  })
})

/** One thing that happens to the table. */
interface Step {
  readonly from: number
  readonly size: number
  readonly step: number
  readonly order: 'rising' | 'falling' | 'mixed' | 'twice through'
  readonly kind: 'load' | 'resumed' | 'transaction' | 'plain' | 'compress'
  readonly options: LoadOptions
}

const stepArbitrary: fc.Arbitrary<Step> = fc.record({
  from: fc.nat(6000),
  size: fc.integer({ min: 200, max: 4000 }),
  step: fc.integer({ min: 1, max: 3 }),
  order: fc.constantFrom('rising', 'rising', 'falling', 'mixed', 'twice through', 'twice through'),
  kind: fc.constantFrom('load', 'load', 'resumed', 'transaction', 'plain', 'compress'),
  options: fc.record({
    batchRows: fc.integer({ min: 200, max: 1500 }),
    directCompress: fc.constantFrom('auto', 'auto', 'on'),
    sort: fc.constantFrom('auto', 'auto', 'off'),
    clientSorted: fc.constantFrom('auto', 'auto', 'auto', 'off'),
    recompress: fc.constantFrom('end', 'never'),
    onBadRow: fc.constantFrom('stop', 'stop', 'skip'),
  }),
})

/** Every second row of a sensor comes in a second pass. */
function passOf(one: object): number {
  return 'v' in one ? Math.floor(Number(one.v) / 3) % 2 : 0
}

function sourceOf({ from, size, step, order }: Step, part: number): object[] {
  const source: object[] = Array.from({ length: size }, (_, n) => row(from + n * step, part * 10_000 + n))
  if (order === 'falling') source.reverse()
  if (order === 'twice through') source.sort((a, b) => passOf(a) - passOf(b))
  // The same for the same step, since an import is gone on with.
  return order === 'mixed' ? source.map((_, n) => source[(n * 7919) % size] ?? {}) : source
}

async function take(step: Step, source: readonly object[], parallel: number): Promise<LoadReport | undefined> {
  const { directCompress = 'auto' } = step.options
  const options: LoadOptions = { ...step.options, analyze: false, directCompress: direct ? directCompress : 'auto' }
  switch (step.kind) {
    case 'plain':
      return load(database.db, table, source, { directCompress: 'off', analyze: false })
    case 'transaction':
      return database.db.transaction((tx) => load(tx, table, source, options))
    case 'resumed': {
      const importId = newImport()
      const cut = Math.floor(source.length * 0.6)
      async function* broken(): AsyncGenerator<object> {
        yield* source.slice(0, cut)
        throw new Error('the source broke')
      }
      await load(database.db, table, broken(), { ...options, importId, parallel }).catch((error: unknown) => {
        if (!String(error).includes('broke')) throw error
      })
      return load(database.db, table, source, { ...options, importId, parallel })
    }
    default:
      return load(database.db, table, source, { ...options, parallel })
  }
}

const rounds = Number(process.env['TSDB_INGEST_ROUNDS'] ?? '2')
const seed = Number(process.env['TSDB_INGEST_SEED'] ?? '1')

test(`random, overlapping, late, parallel and resumed batches answer as a heap does (seed ${seed})`, {
  timeout: 60_000 + rounds * 30_000,
}, async () => {
  const scenario = fc.record({
    orderBy: fc.constantFrom('time', 'time desc', 'time, v', 'time desc, v desc'),
    steps: fc.array(stepArbitrary, { minLength: 3, maxLength: 5 }),
  })
  let declared = 0
  for (const [round, { orderBy, steps }] of fc.sample(scenario, { numRuns: rounds, seed }).entries()) {
    await dropTables()
    await makeTables(orderBy)
    for (const [part, step] of steps.entries()) {
      if (step.kind === 'compress') {
        if (database.can('compression')) await compressAll()
        continue
      }
      const source = sourceOf(step, part)
      const report = await take(step, source, 1 + (part % 2))
      declared += report?.clientSorted.batches ?? 0
      await load(database.db, heap, source, { analyze: false })
      await sameAnswers().catch((error: unknown) => {
        throw new Error(`seed ${seed}, round ${round}, by ${orderBy}: ${JSON.stringify(steps.slice(0, part + 1))}`, {
          cause: error,
        })
      })
    }
  }
  if (direct) expect(declared).toBeGreaterThan(0)
})
