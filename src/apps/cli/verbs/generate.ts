import { createWriteStream, existsSync } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { type Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import type { Command } from 'commander'
import { type GenerateOptions, generateReadings, type Reading, UsageError } from '../../../index.ts'
import { given, parseNumber } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withDatabase } from '../open.ts'
import { formatCount, printResult } from '../output.ts'
import { duration, showTransfer } from '../progress.ts'
import { Interrupted } from '../report.ts'
import { addDryRun, printSteps } from '../script.ts'

interface Flags {
  readonly sensors?: number
  readonly start?: string
  readonly end?: string
  readonly interval?: string
  readonly seed?: number
  readonly late?: number
  readonly maxDelay?: string
  readonly gaps?: number
  readonly duplicates?: number
  readonly table?: string
  readonly format?: string
  readonly dryRun?: boolean
}

const EXAMPLES = `
Shares are percentages: --late 1 makes one reading in a hundred late. The same
options give the same readings.

Examples:
  tsdb generate readings.csv --sensors 100 --start 2026-01-01 --end 2026-01-08
  tsdb generate --table readings --sensors 1000 --interval '10 seconds' --late 1 --gaps 2
  tsdb generate - --format ndjson --duplicates 0.1 | head`

/** `tsdb generate`: readings of sensors that there are not. */
export function addGenerate(command: Command): void {
  command
    .argument('[file]', '.csv or .ndjson, each also .gz; - for standard output')
    .option('--table <table>', 'load them into this table, which is made where it does not exist')
    .option('--sensors <number>', 'how many (default 10)', parseNumber)
    .option('--start <time>', 'the first time (default 2025-01-01)')
    .option('--end <time>', 'the end, which is not included (default a day later)')
    .option('--interval <span>', "between two readings of a sensor (default '1 minute')")
    .option('--late <percent>', 'readings that come later than those after them', parseShare)
    .option('--max-delay <span>', "how late they may be (default '1 hour')")
    .option('--gaps <percent>', 'readings that are missing', parseShare)
    .option('--duplicates <percent>', 'readings that come twice', parseShare)
    .option('--seed <number>', 'another number gives other readings (default 1)', parseNumber)
    .option('--format <format>', 'csv or ndjson; else by the name')
    .addHelpText('after', EXAMPLES)
    .action(runGenerate)
  addYes(addDryRun(command))
}

async function runGenerate(file: string | undefined, flags: Flags, command: Command): Promise<void> {
  const { table, format, sensors, start, end, interval, seed, late, maxDelay, gaps, duplicates } = flags
  const options = given({ sensors, start, end, interval, seed, late, maxDelay, gaps, duplicates })
  if ((file === undefined) === (table === undefined)) {
    throw new UsageError('INVALID_OPTION', 'Give either a file or --table.')
  }
  if (table === undefined && flags.dryRun === true) {
    throw new UsageError('INVALID_OPTION', '--dry-run belongs to --table: a file takes no SQL.')
  }
  if (table !== undefined && flags.dryRun === true) return printPlan(table, options, command)
  if (table !== undefined) return intoTable(table, options, command)
  await intoFile(file ?? '-', format, options, command)
}

const create = { timeColumn: 'time', segmentBy: ['sensor'], orderBy: 'time DESC' }

async function printPlan(table: string, options: GenerateOptions, command: Command): Promise<void> {
  await withDatabase(command, async (db) => {
    printSteps(command, (await db.planLoad(table, generateReadings(options), { create })).statements)
  })
}

async function intoTable(table: string, options: GenerateOptions, command: Command): Promise<void> {
  await withDatabase(command, async (db, signal) => {
    const progress = showTransfer(command, table)
    const report = await db
      .load(table, generateReadings(options), {
        create,
        signal,
        onProgress: ({ rowsRead: rows, ...rest }) => progress.update({ rows, ...rest }),
      })
      .finally(progress.stop)
    const { rowsWritten, seconds } = report
    printResult(command, report, `${table}: ${formatCount(rowsWritten, 'reading')} in ${duration(seconds.total)}.`)
  })
}

async function intoFile(
  file: string,
  given: string | undefined,
  options: GenerateOptions,
  command: Command,
): Promise<void> {
  const [, extension, packed] = /\.(\w+?)(\.gz)?$/i.exec(file) ?? []
  const format = given ?? (file === '-' ? 'csv' : extension?.toLowerCase().replace('jsonl', 'ndjson'))
  if (format !== 'csv' && format !== 'ndjson') {
    throw new UsageError('INVALID_OPTION', `What to write to ${file} is not known.`, {
      hint: 'Give --format csv or ndjson.',
    })
  }
  const rows = { count: 0 }
  const interruption = new AbortController()
  const { signal } = interruption
  const interrupt = (): void => interruption.abort()
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    if (file !== '-' && existsSync(file)) await confirm(command, `${file} exists. Replace it?`, signal)
    const source = Readable.from(blocks(generateReadings(options), format, rows), { objectMode: false })
    await write([source, ...(packed === undefined ? [] : [createGzip()])], file, signal)
  } catch (error) {
    throw signal.aborted ? new Interrupted('Interrupted.', { cause: error }) : error
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
  if (file !== '-') printResult(command, { file, rows: rows.count }, `${file}: ${formatCount(rows.count, 'reading')}.`)
}

/** Writes a file, which has its name when it is whole, or to standard output. */
async function write(streams: readonly (Readable | Duplex)[], file: string, signal: AbortSignal): Promise<void> {
  if (file === '-') return pipeline([...streams, process.stdout], { signal })
  const part = `${file}.part`
  try {
    await pipeline([...streams, createWriteStream(part)], { signal })
    await rename(part, file)
  } catch (error) {
    await rm(part, { force: true })
    throw error
  }
}

const blockChars = 64 * 1024

function* blocks(readings: Iterable<Reading>, format: 'csv' | 'ndjson', rows: { count: number }): Generator<string> {
  let block = format === 'csv' ? 'time,sensor,site,temperature,humidity\n' : ''
  for (const reading of readings) {
    rows.count++
    const { time, sensor, site, temperature, humidity } = reading
    block +=
      format === 'csv'
        ? `${time.toISOString()},${sensor},${site},${temperature},${humidity}\n`
        : `${JSON.stringify(reading)}\n`
    if (block.length < blockChars) continue
    yield block
    block = ''
  }
  yield block
}

function parseShare(text: string): number {
  const percent = parseNumber(text)
  if (percent >= 0 && percent <= 100) return percent / 100
  throw new UsageError('INVALID_OPTION', 'A share of readings must be a percentage from 0 to 100.')
}
