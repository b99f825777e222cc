/** Real data through everything: `npm run quickstart`. Writes to the schema tsdbkit_demo of ./.tsdb, or of TSDB_URL. */
import { openAsBlob, readFileSync } from 'node:fs'
import { avg, chart, connect, type Database, first, type LoadSource, last, max, min, print, sql, sum } from 'tsdbkit'

const PRICE = 'tsdbkit_demo.price'
const WEATHER = 'tsdbkit_demo.weather'
const COPY = 'tsdbkit_demo.price_since_2010'
const GAPS = 'tsdbkit_demo.temperature_with_gaps'
const FLIGHT = 'tsdbkit_demo.flight'
const TOMORROW = new Date(Date.now() + 86_400_000)

let stepCount = 0

/** Runs one step and prints its number, its result lines and its time. */
async function step(title: string, run: () => Promise<string[]>): Promise<void> {
  const start = performance.now()
  const lines = await run()
  const seconds = `${((performance.now() - start) / 1000).toFixed(2)} s`
  stepCount += 1
  console.log(`\n${String(stepCount).padStart(2)}  ${title.padEnd(64)}${seconds.padStart(10)}`)
  for (const line of lines) console.log(`    ${line}`)
}

const number = (value: number): string => value.toLocaleString('en-US')
const kilobytes = (bytes: number): string => `${number(Math.round(bytes / 1024))} kB`

function readCsv(name: string): string[][] {
  const file = new URL(`../node_modules/vega-datasets/data/${name}`, import.meta.url)
  const [, ...lines] = readFileSync(file, 'utf8').trim().split('\n')
  return lines.map((line) => line.split(','))
}

async function loadPrices(db: Database): Promise<string[]> {
  await db.sql`create table ${sql.name(PRICE)} (day date not null, symbol text not null,
    open float8, high float8, low float8, close float8, volume bigint)`
  await db.createHypertable(PRICE, {
    timeColumn: 'day',
    chunkTimeInterval: '5 years',
    partitioningColumn: 'symbol',
    numberPartitions: 2,
  })
  const rows = readCsv('sp500-2000.csv').map(([day, open, high, low, close, , volume]) => {
    return [day, 'SPX', open, high, low, close, volume]
  })
  const { rowCount } = await db.executeMany(`insert into ${PRICE} values ($1, $2, $3, $4, $5, $6, $7)`, rows)
  const { numChunks } = await db.getHypertableStats(PRICE)
  return [`${number(rowCount)} days in ${numChunks} chunks of 5 years; the symbol is a hash dimension`]
}

async function loadWeather(db: Database): Promise<string[]> {
  await db.sql`create table ${sql.name(WEATHER)} (time timestamptz not null, quantity text not null, value float8)`
  await db.createHypertable(WEATHER, {
    timeColumn: 'time',
    chunkTimeInterval: '1 week',
    partitioningColumn: 'quantity',
    numberPartitions: 2,
  })
  const rows = readCsv('seattle-weather-hourly-normals.csv').flatMap(([time, pressure, temperature, wind]) => [
    [`${time}Z`, 'pressure', pressure],
    [`${time}Z`, 'temperature', temperature],
    [`${time}Z`, 'wind', wind],
  ])
  const { rowCount } = await db.executeMany(`insert into ${WEATHER} values ($1, $2, $3)`, rows)
  const { numChunks } = await db.getHypertableStats(WEATHER)
  return [`${number(rowCount)} values in ${numChunks} chunks of a week; the quantity is a hash dimension`]
}

/** The beginning of three million flights as an Arrow table; with --all-flights the whole file. */
async function flights(): Promise<LoadSource> {
  const file = new URL('../node_modules/vega-datasets/data/flights-3m.parquet', import.meta.url)
  if (process.argv.includes('--all-flights')) return file
  const [{ ParquetFile }, { tableFromIPC }] = await Promise.all([import('parquet-wasm'), import('@uwdata/flechette')])
  const parquet = await ParquetFile.fromFile(await openAsBlob(file))
  const start = await parquet.read({ limit: 300_000 })
  return tableFromIPC(start.intoIPCStream(), { useDate: true })
}

async function loadFlights(db: Database): Promise<string[]> {
  const report = await db.load(FLIGHT, await flights(), {
    create: { timeColumn: 'date', chunkTimeInterval: '1 month', segmentBy: 'origin', orderBy: 'date' },
  })
  const { numChunks, totalBytes } = await db.getHypertableStats(FLIGHT)
  const [worst] = await db.sql<{ origin: string; delay: number }>`
    select origin, round(avg(delay))::int as delay from ${sql.name(FLIGHT)}
    group by origin having count(*) > 1000 order by avg(delay) desc limit 1`
  const rate = number(Math.round(report.rowsWritten / report.seconds.total))
  return [
    `${number(report.rowsWritten)} flights, ${rate} a second; the table was made by a sample`,
    `${numChunks} chunks, compressed on the way in: ${kilobytes(totalBytes)}`,
    `most late from ${worst?.origin}: ${worst?.delay} minutes on average`,
  ]
}

async function aggregatePrices(db: Database): Promise<string[]> {
  // A month is not a whole number of weeks, so both stand on days.
  const views = [
    { view: 'daily', source: PRICE, timeColumn: 'day', bucketInterval: '1 day' },
    { view: 'weekly', source: 'tsdbkit_demo.daily', timeColumn: 'bucket', bucketInterval: '1 week' },
    { view: 'monthly', source: 'tsdbkit_demo.daily', timeColumn: 'bucket', bucketInterval: '1 month' },
  ]
  for (const { view, source, timeColumn, bucketInterval } of views) {
    await db.createContinuousAggregate(`tsdbkit_demo.${view}`, {
      hypertable: source,
      timeColumn,
      bucketInterval,
      groupBy: 'symbol',
      aggregates: {
        open: first('open', timeColumn),
        high: max('high'),
        low: min('low'),
        close: last('close', timeColumn),
        volume: sum('volume'),
      },
    })
  }
  const months = await db.queryToDataFrame(`select to_char(bucket, 'YYYY-MM') as month,
    round(open) as open, round(high) as high, round(low) as low, round(close) as close
    from tsdbkit_demo.monthly order by bucket`)
  const lines: string[] = []
  print(months.slice(-3), { write: (text) => lines.push(...text.split('\n')) })
  const counts = `${number(await count(db, 'tsdbkit_demo.weekly'))} weeks and ${months.numRows()} months`
  return [`${counts}, both from days; the last three months:`, ...lines]
}

async function drawPrices(db: Database): Promise<string[]> {
  const months = await db.queryToDataFrame('select bucket as month, close from tsdbkit_demo.monthly order by bucket')
  const lines: string[] = []
  chart(months, { x: 'month', y: 'close', height: 15, width: 76, write: (text) => lines.push(...text.split('\n')) })
  return lines
}

async function compress(db: Database): Promise<string[]> {
  const lines: string[] = []
  for (const [name, segmentBy, orderBy] of [
    [PRICE, 'symbol', 'day'],
    [WEATHER, 'quantity', 'time'],
  ] as const) {
    await db.addCompressionPolicy(name, { compressAfter: '1 year', segmentBy, orderBy, initialStart: TOMORROW })
    const chunks = await db.compressChunks(name)
    const { beforeBytes, afterBytes, ratio } = (await db.getHypertableStats(name)).compression
    const sizes = `${kilobytes(beforeBytes).padStart(9)} -> ${kilobytes(afterBytes).padStart(8)}`
    lines.push(
      `${name.padEnd(21)}${String(chunks.length).padStart(4)} chunks ${sizes}, ${ratio?.toFixed(2)} times smaller`,
    )
  }
  return lines
}

async function retain(db: Database): Promise<string[]> {
  await db.sql`create table ${sql.name(COPY)} as select * from ${sql.name(PRICE)}`
  await db.sql`alter table ${sql.name(COPY)} alter day set not null`
  await db.createHypertable(COPY, { timeColumn: 'day', chunkTimeInterval: '1 year', migrateData: true })
  const days = Math.floor((Date.now() - Date.UTC(2010, 0, 1)) / 86_400_000)
  const { jobId } = await db.addRetentionPolicy(COPY, { dropAfter: { days }, initialStart: TOMORROW })
  const before = await count(db, COPY)
  await db.sql`call run_job(${jobId})`
  const [{ oldest } = { oldest: undefined }] = await db.sql<{ oldest: string }>`
    select min(day)::text as oldest from ${sql.name(COPY)}`
  return [
    `the copy: ${number(before)} days before, ${number(await count(db, COPY))} after, the oldest ${oldest}`,
    `the original still has ${number(await count(db, PRICE))} days`,
  ]
}

async function fill(db: Database): Promise<string[]> {
  await db.sql`create table ${sql.name(GAPS)} as
    select time, value as temperature from ${sql.name(WEATHER)}
    where quantity = 'temperature' and time >= '2010-07-01Z' and time < '2010-08-01Z'`
  await db.sql`alter table ${sql.name(GAPS)} alter time set not null`
  await db.createHypertable(GAPS, { timeColumn: 'time', chunkTimeInterval: '1 week', migrateData: true })
  const cut = await db.sql<{ time: Date; temperature: number }>`
    delete from ${sql.name(GAPS)} where extract(hour from time at time zone 'UTC') between 9 and 13
    returning time, temperature`
  const rows = await db.fillGaps(GAPS, {
    timeColumn: 'time',
    bucketInterval: '1 hour',
    startTime: '2010-07-01T00:00:00Z',
    endTime: '2010-08-01T00:00:00Z',
    columns: {
      locf: { aggregate: avg('temperature'), method: 'locf' },
      linear: { aggregate: avg('temperature'), method: 'linear' },
    },
  })
  const filled = new Map(rows.map((row) => [row.bucket.getTime(), row]))
  const pairs = cut.flatMap(({ time, temperature }) => {
    const row = filled.get(time.getTime())
    return row === undefined ? [] : [{ time, temperature, locf: row.locf ?? NaN, linear: row.linear ?? NaN }]
  })
  const error = (method: 'locf' | 'linear'): string => {
    const total = pairs.reduce((all, pair) => all + Math.abs(pair[method] - pair.temperature), 0)
    return `${(total / pairs.length).toFixed(2)} °C`
  }
  const show = (value: number): string => value.toFixed(1).padStart(8)
  pairs.sort((a, b) => a.time.getTime() - b.time.getTime())
  return [
    `${cut.length} of ${rows.length} hours cut out (9 to 13 UTC), ${pairs.length} filled; the first day:`,
    'hour     cut out    locf  linear',
    ...pairs.slice(0, 5).map((p) => {
      return `${p.time.toISOString().slice(11, 16)}    ${show(p.temperature)}${show(p.locf)}${show(p.linear)}`
    }),
    `off by, on average: ${error('locf')} with locf, ${error('linear')} with linear`,
  ]
}

async function count(db: Database, table: string): Promise<number> {
  const [row] = await db.sql<{ count: number }>`select count(*) from ${sql.name(table)}`
  return row?.count ?? 0
}

/** What a second look at the database must find unchanged. */
async function countAll(db: Database): Promise<string[]> {
  const tables = [PRICE, WEATHER, FLIGHT, COPY, GAPS, 'tsdbkit_demo.weekly', 'tsdbkit_demo.monthly']
  const lines: string[] = []
  for (const table of tables) {
    const { compressedChunks, numChunks } = await db.getHypertableStats(table)
    const rows = `${number(await count(db, table)).padStart(7)} rows`
    lines.push(
      `${table.replace(/.*\./, '').padEnd(22)}${rows}${String(compressedChunks).padStart(5)} of ${numChunks} chunks compressed`,
    )
  }
  return lines
}

async function fillDatabase(db: Database): Promise<string[]> {
  await db.sql`drop schema if exists tsdbkit_demo cascade`
  await db.sql`create schema tsdbkit_demo`
  await step('S&P 500, every day from 2000 to 2020', () => loadPrices(db))
  await step('Seattle, the normal weather of every hour of a year', () => loadWeather(db))
  await step('Flights, from Parquet into a table made by a sample of them', () => loadFlights(db))
  await step('Weekly and monthly open, high, low, close: continuous aggregates', () => aggregatePrices(db))
  await step('The monthly close', () => drawPrices(db))
  await step('Compression', () => compress(db))
  await step('Retention: a copy loses the chunks before 2010', () => retain(db))
  await step('Gaps, filled with the last value (locf) and with a line (linear)', () => fill(db))
  return countAll(db)
}

async function main(): Promise<void> {
  let db = await connect()
  const { timescaleVersion: version } = await db.capabilities()
  const settings = new Map(db.describeSettings().map(({ name, value }) => [name, value]))
  const place = settings.get('directory') ?? `${settings.get('host')}/${settings.get('database')}`
  console.log(`TimescaleDB ${version?.text}, ${settings.get('target')}`)
  console.log(place)
  const before = await fillDatabase(db).finally(() => db.close())
  if (settings.get('directory') === 'temporary') return
  await step('Closed and opened again: everything is there', async () => {
    db = await connect()
    const after = await countAll(db).finally(() => db.close())
    if (after.join() === before.join()) return [...after, 'the same as before']
    process.exitCode = 1
    return [...after, 'but before it was:', ...before]
  })
  console.log(`
Try next:
  ls examples                                  a short program for each feature
  npx tsx examples/gap-filling.ts              one of them
  docs/guide.md                                from the first row to old data
  npm run quickstart -- --all-flights          with all three million flights
  TSDB_URL=postgres://… npm run quickstart     all of this on your server`)
}

await main()
