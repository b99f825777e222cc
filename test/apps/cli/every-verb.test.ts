import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { makeProgram, run } from '../../../src/apps/cli/run.ts'
import { sql } from '../../../src/index.ts'
import { CommandDatabase, program } from './command.ts'
import { hasTmux, Screen } from './screen.ts'

const directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-verbs-'))
const later = { initialStart: '2100-01-01' }
let database: CommandDatabase
/** What stands for these in the arguments below. */
let names: Readonly<Record<string, string>>

beforeAll(async () => {
  database = await CommandDatabase.open(`Every 1.a ${randomUUID().slice(0, 8)}`)
  const { db, schema } = database
  const [table, plain, view, other] = ['Größe "ä".1', 'plain', 'By hour', 'By day'].map((name) => ({ schema, name }))
  if (table === undefined || plain === undefined || view === undefined || other === undefined) throw new Error()
  await db.sql`create table ${sql.name(table)} (time timestamptz not null, "Größe" int, v float8)`
  await db.sql`create table ${sql.name(plain)} (time timestamptz not null, v float8)`
  await db.createHypertable(table, { timeColumn: 'time', chunkTimeInterval: '1 day' })
  await db.sql`insert into ${sql.name(table)}
    select '2025-01-01Z'::timestamptz + i * interval '1 hour', i % 2, i from generate_series(0, 95) i`
  await db.enableCompression(table, { segmentBy: ['Größe'] })
  const [newest, second] = await db.getChunkInfo(table)
  if (newest === undefined || second === undefined) throw new Error()
  await db.compressChunk(newest)
  const hourly = { hypertable: table, timeColumn: 'time', bucketInterval: '1 hour', aggregates: { n: 'COUNT(*)' } }
  await db.createContinuousAggregate(view, hourly)
  await db.createContinuousAggregate(other, { ...hourly, bucketInterval: '1 day' })
  const index = { schema, name: 'Own index' }
  await db.sql`create index ${sql.column(index.name)} on ${sql.name(table)} (time)`
  const { jobId } = await db.addRetentionPolicy(table, { dropAfter: '100 years', ...later })
  await db.addCompressionPolicy(table, { compressAfter: '100 years', ...later })
  await db.addContinuousAggregatePolicy(view, {
    startOffset: '3 days',
    endOffset: '1 hour',
    scheduleInterval: '1 hour',
    ...later,
  })
  await db.addReorderPolicy(table, { index: index.name, ...later })
  const file = join(directory, 'more.csv')
  writeFileSync(file, 'time,v\n2026-01-01T00:00:00Z,1\n')
  const task = join(directory, 'more.task')
  const drop = { action: 'drop_hypertable', table_name: database.name(table.name) }
  writeFileSync(task, JSON.stringify(drop))
  names = {
    TABLE: database.name(table.name),
    PLAIN: database.name('plain'),
    VIEW: database.name(view.name),
    OTHER: database.name(other.name),
    NEW: database.name('New'),
    COMPRESSED: `${newest.chunkSchema}.${newest.chunkName}`,
    CHUNK: `${second.chunkSchema}.${second.chunkName}`,
    JOB: String(jobId),
    FILE: file,
    TASK: task,
  }
}, 60_000)
afterAll(async () => {
  rmSync(directory, { recursive: true, force: true })
  await database[Symbol.asyncDispose]()
})

/** Runs a line in this process, which is faster than one of its own. */
async function tsdb(line: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const parts = line.match(/'[^']*'|\S+/g) ?? []
  const args = parts.map((part) => part.replace(/^'(.*)'$/, '$1').replaceAll(/[A-Z]+/g, (word) => names[word] ?? word))
  const output = { stdout: '', stderr: '' }
  const spies = (['stdout', 'stderr'] as const).map((stream) =>
    vi.spyOn(process[stream], 'write').mockImplementation((text) => {
      output[stream] += String(text)
      return true
    }),
  )
  const before = process.exitCode
  process.exitCode = undefined
  try {
    return { code: await run(['-t', database.url, ...args]), ...output }
  } finally {
    process.exitCode = before
    for (const spy of spies) spy.mockRestore()
  }
}

/** All that a statement of these could change. */
async function state(): Promise<unknown> {
  const { db, schema } = database
  const at = sql.column(schema)
  const like = `%${schema}%`
  return db.sql`
    select (select json_agg(row(c.oid, relname, relkind, relfilenode, reloptions) order by c.oid)::text from pg_class c
        join pg_namespace n on n.oid = relnamespace where nspname = ${schema}) as relations,
      (select json_agg(c order by chunk_name)::text from timescaledb_information.chunks c where hypertable_schema = ${schema}) as chunks,
      (select json_agg(row(job_id, schedule_interval, max_runtime, max_retries, retry_period, scheduled, config, fixed_schedule,
        initial_start) order by job_id)::text from timescaledb_information.jobs
        where hypertable_schema = ${schema} or job_id = ${Number(names['JOB'])}) as jobs,
      (select json_agg(s order by hypertable::text)::text from timescaledb_information.hypertable_compression_settings s
        where hypertable::text like ${like}) as compression,
      (select json_agg(row(h.hypertable_name, h.num_chunks, h.compression_enabled) order by 1)::text
        from timescaledb_information.hypertables h where hypertable_schema = ${schema}) as hypertables,
      (select array_agg(t.time::text || t.v order by t.time)::text from ${at}.${sql.column('Größe "ä".1')} t) as rows,
      (select array_agg(bucket::text || n order by bucket)::text from ${at}."By hour") as buckets`
}

function verbs(command: Command, path: readonly string[] = []): [string, Command][] {
  if (command.commands.length === 0) return [[path.join(' '), command]]
  return command.commands.flatMap((verb) => verbs(verb, [...path, verb.name()]))
}
const having = async (flag: string): Promise<string[]> =>
  verbs(await makeProgram()).flatMap(([path, command]) =>
    command.options.some(({ long }) => long === flag) ? [path] : [],
  )
/** The verbs that the lines are for. */
const pathsOf = (lines: readonly string[], paths: readonly string[]): string[] =>
  [
    ...new Set(lines.flatMap((line) => paths.find((path) => line === path || line.startsWith(`${path} `)) ?? line)),
  ].sort()

const CHANGING = [
  `sql 'delete from PLAIN'`,
  `sql 'drop table x'`,
  'load FILE --table PLAIN',
  'load FILE --table NEW --create',
  'generate --table NEW',
  'hypertable create PLAIN --time-column time',
  'hypertable drop TABLE --cascade',
  'chunk compress TABLE --all',
  'chunk compress CHUNK',
  'chunk decompress COMPRESSED',
  `chunk drop TABLE --older-than '1 day ago'`,
  `aggregate create NEW --on TABLE --time-column time --bucket '1 hour' --aggregate 'n=COUNT(*)'`,
  'aggregate refresh VIEW --force',
  'aggregate drop VIEW',
  `policy add retention VIEW --drop-after '1 day'`,
  `policy add compression VIEW --compress-after '1 day'`,
  `policy add refresh OTHER --start-offset '3 days' --end-offset '1 hour' --schedule-interval '1 hour'`,
  'policy add reorder TABLE --index x',
  'policy remove retention TABLE',
  'policy remove compression TABLE',
  'policy remove refresh VIEW',
  'policy remove reorder TABLE',
  'job run JOB',
  'job alter JOB --max-retries 3',
  'job enable JOB',
  'job disable JOB',
  'job delete JOB',
  'task TASK',
]

test('--dry-run of every verb that changes something prints SQL and changes nothing', {
  timeout: 120_000,
}, async () => {
  const paths = await having('--dry-run')
  expect(pathsOf(CHANGING, paths)).toEqual(paths.sort())
  const before = await state()
  for (const line of CHANGING) {
    const { code, stdout } = await tsdb(`${line} --dry-run`)
    expect({ line, code }).toEqual({ line, code: 0 })
    expect(stdout, line).toMatch(/^.+/)
    const json = await tsdb(`${line} --dry-run --json`)
    expect({ line, code: json.code }).toEqual({ line, code: 0 })
    expect(() => JSON.parse(json.stdout), line).not.toThrow()
    expect({ line, state: await state() }).toEqual({ line, state: before })
  }
})

test('what destroys does nothing without --yes where nobody can be asked', { timeout: 60_000 }, async () => {
  const before = await state()
  for (const line of [
    'hypertable drop TABLE --cascade',
    `chunk drop TABLE --older-than '1 day ago'`,
    'aggregate drop VIEW',
    'job delete JOB',
    'task TASK',
    `export FILE 'select 1'`,
    'generate FILE',
  ]) {
    expect(await tsdb(line), line).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--yes') })
  }
  expect(await state()).toEqual(before)
})

/** What is read, and what a chart of it begins with; undefined where there is nothing to draw. */
const READING: readonly (readonly [string, RegExp | undefined])[] = [
  ['info', /^postgres by target\n/],
  ['info --settings', undefined],
  ['sql --read-only values', undefined],
  [`sql 'select 1 as i, 2 as n union select 2, 4'`, /^n over i\n/],
  [`sql 'select time, v from TABLE'`, /^v over time\n/],
  ['hypertable list', /^numChunks by name\n[\s\S]*Größe "ä"\.1 +┤█+ 4\n/],
  ['hypertable show TABLE', /^bytes by part\ntable +┤/],
  ['chunk list TABLE', /^totalBytes over rangeStart\n/],
  ['aggregate list', undefined],
  ['aggregate show VIEW', undefined],
  ['policy list TABLE', undefined],
  ['policy preview retention TABLE --at 2200-01-01', /^totalBytes over rangeStart\n/],
  ['policy check TABLE', undefined],
  ['job list --relation TABLE', /^totalRuns by name\n/],
  ['job show JOB', /^\w+ over /],
  ['job history JOB', undefined],
  ['job errors JOB', undefined],
  [`bucket TABLE --time-column time --bucket '1 day' --aggregate 'n=SUM(v)'`, /^n over bucket\n/],
  [`fill TABLE --time-column time --bucket '1 day' --from 2025-01-01 --to 2025-01-04 --column v`, /^v over bucket\n/],
  ['task --list', undefined],
  ['metrics', /^value by metric\n/],
]

describe('every verb that reads', () => {
  test('prints JSON, CSV, and a chart or what there is none of', { timeout: 120_000 }, async () => {
    // A watch has no end: watch.test.ts.
    const paths = (await having('--csv')).filter((path) => path !== 'watch').sort()
    const lines = READING.map(([line]) =>
      line.replace('sql --read-only values', `sql 'select 1 as "a,b", now() as t where false'`),
    )
    expect(pathsOf(lines, paths)).toEqual(paths)
    for (const [index, line] of lines.entries()) {
      const json = await tsdb(`${line} --json`)
      // A check that found something has its own exit code.
      expect([0, 3], line).toContain(json.code)
      expect(() => JSON.parse(json.stdout), line).not.toThrow()
      const csv = await tsdb(`${line} --csv`)
      expect(csv.code, line).toBe(json.code)
      expect(csv.stdout, line).toMatch(/^\S.*\r\n/)
      const fields = csv.stdout.split('\r\n').map((row) => row.replaceAll(/"(?:[^"]|"")*"/g, '').split(',').length)
      expect(new Set(fields.slice(0, -1)).size, line).toBe(1)
      const chart = await tsdb(`${line} --chart`)
      const expected = READING[index]?.[1]
      if (expected !== undefined)
        expect(chart, line).toMatchObject({ code: 0, stdout: expect.stringMatching(expected) })
      else if (chart.code !== 0) {
        expect(chart, line).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('nothing to draw') })
      } else expect(chart.stdout, line).toBe('No rows.\n')
      const both = await tsdb(`${line} --json --csv`)
      expect(both, line).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('Give one of') })
    }
  })
})

test.skipIf(!hasTmux)(
  'on a narrow terminal a row stands below its name, and nothing is cut',
  { timeout: 60_000 },
  async () => {
    const show = (width: number): Screen =>
      new Screen(
        `'${process.execPath}' '${program}' job list --relation '${names['VIEW']}'`,
        { TSDB_URL: database.url },
        { width, height: 40 },
      )
    using narrow = show(60)
    const text = await narrow.shows(/exit 0$/)
    expect(text).toMatch(/^─ 1 ─+\njobId +\d+\nkind +refresh\nrelation +"Every 1\.a \w+"\."By hour"\nprocedure +\S+\n/)
    expect(text).toMatch(/\ntotalRuns +0\ntotalFailures +0\nexit 0$/)
    using wide = show(260)
    expect(await wide.shows(/exit 0$/)).toMatch(/^┌─+┬/)
  },
)
