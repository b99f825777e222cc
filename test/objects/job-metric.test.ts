import { afterAll, expect, it } from 'vitest'
import { type Metric, prometheusText } from '../../src/index.ts'
import { sql } from '../../src/sql/template.ts'
import { lendDatabases } from '../setup/database.ts'

const databases = lendDatabases({ clock: '2025-01-01T00:00:00Z' })
afterAll(() => databases.close())

interface Parsed {
  readonly help: string
  readonly type: string
  readonly samples: { readonly labels: Record<string, string>; readonly value: number }[]
}

/** Reads the text format 0.0.4 by its description, and refuses everything else. */
function parse(text: string): Map<string, Parsed> {
  const found = new Map<string, Parsed>()
  if (text !== '' && !text.endsWith('\n')) throw new Error('The last line must end with a line feed.')
  const unescaped = (escaped: string): string =>
    escaped.replaceAll(/\\(.)/gs, (_, one: string) => (one === 'n' ? '\n' : one))
  let current = ''
  let help: string | undefined
  for (const line of text.split('\n').slice(0, -1)) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (comment?.[1] === 'HELP') {
      if (found.has(comment[2] ?? '')) throw new Error(`${comment[2]} is there twice.`)
      help = unescaped(comment[3] ?? '')
      current = comment[2] ?? ''
    } else if (comment?.[1] === 'TYPE') {
      if (comment[2] !== current || help === undefined) throw new Error(`TYPE of ${comment[2]} is out of place.`)
      if (!['counter', 'gauge', 'histogram', 'summary', 'untyped'].includes(comment[3] ?? '')) throw new Error(line)
      found.set(current, { help, type: comment[3] ?? '', samples: [] })
    } else {
      const sample = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([+-]?Inf|NaN|[-+0-9.eE]+)$/.exec(line)
      const metric = found.get(sample?.[1] ?? '')
      if (sample === null || metric === undefined || sample[1] !== current) throw new Error(`Not a sample: ${line}`)
      const labels: Record<string, string> = {}
      let rest = sample[2] ?? ''
      while (rest !== '') {
        const label = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/.exec(rest)
        if (label === null) throw new Error(`Not a label: ${rest}`)
        labels[label[1] ?? ''] = unescaped(label[2] ?? '')
        rest = rest.slice(label[0].length)
      }
      if (metric.samples.some((one) => JSON.stringify(one.labels) === JSON.stringify(labels)))
        throw new Error(`Twice: ${line}`)
      metric.samples.push({ labels, value: Number((sample[3] ?? '').replace('Inf', 'Infinity')) })
    }
  }
  return found
}

it('the text is the format of Prometheus, whatever names and values there are', () => {
  const awkward = 'a\\b"c"\nd,}= ü\\n'
  const metrics: Metric[] = [
    { name: 'one', help: awkward, type: 'counter', samples: [{ labels: { x: awkward, y: '' }, value: 1e21 }] },
    {
      name: 'two',
      help: '',
      type: 'gauge',
      samples: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0.5, 1e-7].map((value, index) => ({
        labels: { index: String(index) },
        value,
      })),
    },
    { name: 'three', help: 'none', type: 'gauge', samples: [] },
    { name: 'four', help: 'no labels', type: 'gauge', samples: [{ labels: {}, value: 4 }] },
  ]
  const parsed = parse(prometheusText(metrics))
  expect([...parsed].map(([name, { help, type, samples }]) => ({ name, help, type, samples }))).toEqual(metrics)
  expect(prometheusText([])).toBe('')
})

it('jobs, what they owe and sizes are measured', { timeout: 60_000 }, async () => {
  const db = await databases.fresh()
  const table = { schema: 'Test 1.a', name: 'It\'s "raw"\n.x' }
  const view = { schema: 'Test 1.a', name: 'By hour' }
  await db.sql`create schema "Test 1.a"`
  await db.sql`create table ${sql.name(table)} ("Time" timestamptz not null, v float8)`
  await db.createHypertable(table, { timeColumn: 'Time', chunkTimeInterval: '1 day' })
  await db.sql`insert into ${sql.name(table)} select now() - i * interval '1 hour', i from generate_series(1, 100) i`
  await db.createContinuousAggregate(view, {
    hypertable: table,
    timeColumn: 'Time',
    bucketInterval: '1 hour',
    aggregates: { n: 'COUNT(*)' },
    withData: false,
  })
  const daily = { scheduleInterval: '1 day', initialStart: '2025-01-02T00:00:00Z' } as const
  const { jobId: retention } = await db.addRetentionPolicy(table, { dropAfter: '2 days', ...daily })
  const { jobId: refresh } = await db.addContinuousAggregatePolicy(view, {
    startOffset: '30 days',
    endOffset: '1 hour',
    bucketsPerBatch: 0,
    ...daily,
  })
  const read = async (name: string, jobId?: number): Promise<number | undefined> => {
    const samples = parse(prometheusText(await db.jobMetrics())).get(name)?.samples
    return samples?.find(({ labels }) =>
      jobId === undefined ? labels['table'] === table.name : labels['job_id'] === String(jobId),
    )?.value
  }
  expect(await read('tsdb_hypertable_chunks')).toBe(5)
  expect(await read('tsdb_hypertable_bytes')).toBeGreaterThan(10_000)
  expect(await read('tsdb_policy_due_chunks', retention)).toBe(3)
  expect(await read('tsdb_refresh_lag_seconds', refresh)).toBe(99 * 3600)
  expect(await read('tsdb_job_runs_total', refresh)).toBe(0)
  await db.clock.advance('1 day')
  expect(await read('tsdb_policy_due_chunks', retention)).toBe(0)
  expect(await read('tsdb_job_successes_total', refresh)).toBe(1)
  expect(await read('tsdb_job_next_start_timestamp_seconds', refresh)).toBe(Date.parse('2025-01-03T00:00:00Z') / 1000)
  expect(await read('tsdb_refresh_lag_seconds', refresh)).toBe(0)
  await db.alterJob(refresh, { nextStart: '2024-12-29T00:00:00Z' })
  expect(await read('tsdb_job_problem', refresh)).toBe(1)
})
