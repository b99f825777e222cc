/**
 * The child of a soak: writes into one directory until it is killed. `begin WHAT` goes to stdout before a step, an
 * acknowledgement only after its commit resolved. With `hold` it only opens the directory and says whether it got it.
 */
import fs from 'node:fs'
import { connect, type Database, TimescaleError } from 'tsdbkit'
import { AGGREGATE, BATCH_ROWS, TABLE } from './soak-schema.ts'

const BATCHES_PER_DAY = 4
const DAY_MS = 86_400_000
const FIRST_DAY = Date.UTC(2026, 0, 1)

const say = (line: string): void => {
  // Synchronous, so that a kill never loses an acknowledgement that was given.
  fs.writeSync(1, `${line}\n`)
}

async function main(directory: string, mode: string, round: number): Promise<void> {
  say('begin open')
  if (mode === 'hold') return hold(directory)
  const db = await connect(`embedded:${directory}`)
  await createTables(db)
  await Promise.all([writePlain(db, round), writePairs(db, round), writeReadings(db, round)])
}

async function hold(directory: string): Promise<void> {
  try {
    const db = await connect(`embedded:${directory}`)
    say('opened')
    await new Promise((done) => process.stdin.once('end', done).resume())
    await db.close()
  } catch (error) {
    say(`refused ${error instanceof TimescaleError ? error.code : 'none'} ${String(error)}`)
  }
}

async function createTables(db: Database): Promise<void> {
  const { rows } = await db.executeQuery(`select to_regclass('"Soak ready"') is not null as ready`)
  if (rows[0]?.['ready'] === true) return
  await db.executeQuery('create table if not exists plain (id bigint primary key)')
  await db.executeQuery('create table if not exists left_side (id bigint primary key)')
  await db.executeQuery('create table if not exists right_side (id bigint primary key)')
  await db.executeQuery(`create table if not exists "${TABLE}" (time timestamptz not null, sensor int not null,
    batch bigint not null, revision int not null default 0, value float8 not null)`)
  const name = { name: TABLE }
  await db.createHypertable(name, { timeColumn: 'time', chunkTimeInterval: '1 day', ifNotExists: true })
  await db.executeQuery(`alter table "${TABLE}" set (timescaledb.compress, timescaledb.compress_segmentby = 'sensor',
    timescaledb.compress_orderby = 'time')`)
  await db.executeQuery(`create materialized view if not exists "${AGGREGATE}" with (timescaledb.continuous,
    timescaledb.materialized_only = true) as select time_bucket('1 hour', time) as bucket, sensor, count(*) as rows,
    sum(value) as total, max(revision) as revision from "${TABLE}" group by 1, 2 with no data`)
  await db.executeQuery('create table "Soak ready" ()')
}

async function writePlain(db: Database, round: number): Promise<never> {
  for (let id = round * 1_000_000; ; id++) {
    await db.executeQuery('insert into plain values ($1)', [id])
    say(`plain ${id}`)
  }
}

async function writePairs(db: Database, round: number): Promise<never> {
  for (let id = round * 1_000_000; ; id++) {
    await db.transaction(async (inner) => {
      await inner.executeQuery('insert into left_side values ($1)', [id])
      await inner.executeQuery('insert into right_side values ($1)', [id])
    })
    say(`pair ${id}`)
  }
}

async function writeReadings(db: Database, round: number): Promise<never> {
  for (let step = 0; ; step++) {
    const day = new Date(FIRST_DAY + (round * 40 + (step % 40)) * DAY_MS)
    const batch = round * 1_000_000 + step * 10
    for (let n = 0; n < BATCHES_PER_DAY; n++) await insertBatch(db, day, batch + n)
    await compressDay(db, day)
    await db.executeQuery(`update "${TABLE}" set revision = revision + 1 where batch = $1`, [batch])
    say(`update ${batch}`)
    // Into a chunk that is compressed.
    await insertBatch(db, day, batch + BATCHES_PER_DAY)
    say('begin refresh')
    await db.refreshContinuousAggregate(
      { name: AGGREGATE },
      { startTime: day, endTime: new Date(day.getTime() + DAY_MS) },
    )
    say('refresh')
    say('begin checkpoint')
    await db.executeQuery('checkpoint')
    say('checkpoint')
  }
}

async function insertBatch(db: Database, day: Date, batch: number): Promise<void> {
  await db.executeQuery(
    `insert into "${TABLE}" (time, sensor, batch, value)
     select $1::timestamptz + n * interval '7 minutes', n % 5, $2::bigint, n from generate_series(0, ${BATCH_ROWS - 1}) as n`,
    [day, batch],
  )
  say(`batch ${batch}`)
}

async function compressDay(db: Database, day: Date): Promise<void> {
  const chunks = await db.getChunkInfo({ name: TABLE })
  for (const chunk of chunks) {
    if (chunk.isCompressed || !(chunk.rangeStart instanceof Date) || chunk.rangeStart.getTime() !== day.getTime())
      continue
    say('begin compress')
    await db.compressChunk(chunk)
    say(`compress ${chunk.chunkName}`)
  }
}

const [directory = '', mode = 'write', round = '0'] = process.argv.slice(2)
await main(directory, mode, Number(round))
