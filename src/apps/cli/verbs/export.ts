import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { type ExportOptions, type ExportReport, sql, UsageError } from '../../../index.ts'
import { collect, given, parseNumber } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withDatabase } from '../open.ts'
import { formatBytes, formatCount, printResult } from '../output.ts'
import { count, duration, showTransfer } from '../progress.ts'
import { readText } from '../read-text.ts'
import { Interrupted } from '../report.ts'

interface Flags {
  readonly table?: string
  readonly query?: string
  readonly param?: string[]
  readonly format?: string
  readonly gzip?: boolean
  readonly header?: boolean
  readonly delimiter?: string
  readonly nullText?: string
  readonly nestedJson?: boolean
  readonly rowGroupRows?: number
  readonly numeric?: string
  readonly infinity?: string
  readonly timeout?: number
  readonly yes?: boolean
}

const EXAMPLES = `
A file gets its name when it is whole: one that is there is whole. Of a file that
exists you are asked, or give --yes.

Examples:
  tsdb export readings.parquet --table readings
  tsdb export hot.csv.gz 'select * from readings where temperature > $1' -p 30
  tsdb export - --query query.sql --format ndjson | jq .sensor`

/** `tsdb export`: rows into a file. */
export function addExport(command: Command): void {
  command
    .argument('<file>', '.csv, .tsv, .ndjson, each also .gz, or .parquet; - for standard output')
    .argument('[statement]', 'the statement; $1 and so on stand for --param')
    .option('--table <table>', 'all rows of a table or view, instead of a statement')
    .option('--query <file>', 'read the statement from a file')
    .option('-p, --param <value>', 'the value of the next $n, as text; may be repeated', collect)
    .option('--format <format>', 'csv, tsv, ndjson or parquet; else by the name')
    .option('--gzip', 'pack a text format; else by the name')
    .option('--no-header', 'CSV: no record with the names of the columns')
    .option('--delimiter <character>', 'CSV: what stands between fields')
    .option('--null-text <text>', 'CSV: what stands for NULL (default nothing)')
    .option('--nested-json', 'NDJSON: json values as part of the object, not as text')
    .option('--row-group-rows <number>', 'Parquet: rows of a row group', parseNumber)
    .option('--numeric <how>', 'Parquet: exact, float64, decimal128 or string')
    .option('--infinity <how>', 'Parquet: infinite times: error or null')
    .option('--timeout <ms>', 'cancel it after so many milliseconds', parseNumber)
    .addHelpText('after', EXAMPLES)
    .action(runExport)
  addYes(command)
}

async function runExport(file: string, statement: string | undefined, flags: Flags, command: Command): Promise<void> {
  const text = readStatement(statement, flags)
  const options = readOptions(flags)
  await withDatabase(command, async (db, signal) => {
    const overwrite = file !== '-' && existsSync(file)
    if (overwrite) await confirm(command, `${file} exists. Replace it?`, signal)
    const progress = showTransfer(command, file === '-' ? 'standard output' : file)
    try {
      const report = await db.exportTo(file, text, flags.param ?? [], {
        ...options,
        overwrite,
        signal,
        onProgress: progress.update,
      })
      progress.stop()
      announce(command, file, report)
    } catch (error) {
      progress.stop()
      if (!signal.aborted) throw error
      const hint = file === '-' ? undefined : `${file} is as it was before.`
      throw new Interrupted('Interrupted.', { hint, cause: error })
    }
  })
}

function announce(command: Command, file: string, report: ExportReport): void {
  const { rows, bytes, format, seconds, limit } = report
  const rate = count(Math.round(rows / Math.max(seconds.total, 0.001)))
  const size = `${formatCount(rows, 'row')}, ${formatBytes(bytes)} of ${format}`
  const sentence = `${size} in ${duration(seconds.total)} (${rate} rows/s, limit: ${limit}).`
  // Standard output is the file.
  if (file === '-') process.stderr.write(`${sentence}\n`)
  else printResult(command, report, `${file}: ${sentence}`)
}

function readStatement(statement: string | undefined, { table, query, param }: Flags): string {
  if ([statement, table, query].filter((one) => one !== undefined).length !== 1) {
    throw new UsageError('INVALID_OPTION', 'Give one of a statement, --table and --query.')
  }
  if (table !== undefined && param !== undefined) {
    throw new UsageError('INVALID_OPTION', 'A table has no $1 for --param.')
  }
  if (table !== undefined) return `select * from ${sql.name(table).text}`
  if (query === undefined) return statement ?? ''
  return readText(query)
}

function readOptions(flags: Flags): ExportOptions {
  // Texts that are none of an option's words are for the library to refuse.
  const known: Record<string, unknown> = given({
    format: flags.format,
    gzip: flags.gzip,
    header: flags.header === false ? false : undefined,
    delimiter: flags.delimiter,
    nullText: flags.nullText,
    json: flags.nestedJson === true ? 'nested' : undefined,
    rowGroupRows: flags.rowGroupRows,
    numeric: flags.numeric,
    infinity: flags.infinity,
    timeoutMs: flags.timeout,
  })
  return known
}
