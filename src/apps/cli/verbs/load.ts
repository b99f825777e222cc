import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { type Database, type LoadOptions, type LoadReport, UsageError, unreadableFile } from '../../../index.ts'
import { collect, collectColumns, given, parseNumber, parseSpan, splitPair } from '../argument.ts'
import { importIds } from '../import-id.ts'
import { type GlobalOptions, withDatabase } from '../open.ts'
import { formatCount, print, printResult } from '../output.ts'
import { count, duration, showTransfer } from '../progress.ts'
import { FileFailure, Interrupted } from '../report.ts'
import { addDryRun, printScript } from '../script.ts'

interface Flags {
  readonly table: string
  readonly format?: string
  readonly header?: boolean
  readonly delimiter?: string
  readonly nullText?: string
  readonly encoding?: string
  readonly measurement?: string
  readonly measurementColumn?: string
  readonly missingTime?: string
  readonly columns?: string[]
  readonly constant?: string[]
  readonly timeUnit?: string
  readonly timeFormat?: string
  readonly timeZone?: string
  readonly batchRows?: number
  readonly batchBytes?: number
  readonly parallel?: number
  readonly sort?: string
  readonly directCompress?: string
  readonly clientSorted?: string
  readonly recompress?: string
  readonly onConflict?: string
  readonly conflictColumns?: string[]
  readonly onBadRow?: string
  readonly importId?: string
  readonly verify?: boolean
  readonly retries?: number
  readonly analyze?: boolean
  readonly create?: boolean
  readonly timeColumn?: string | false
  readonly chunkInterval?: string
  readonly segmentBy?: string[]
  readonly orderBy?: string
  readonly type?: string[]
  readonly compress?: boolean
  readonly sampleRows?: number
  readonly dryRun?: boolean
}

const EXAMPLES = `
Files are .csv, .tsv, .ndjson, .jsonl, .json, .lp (InfluxDB), each also .gz, and
.parquet; - is standard input, with --format. Several are loaded one after another.

Examples:
  tsdb load flights.parquet --table flights --create --time-column date
  tsdb load readings.csv --table readings --create --dry-run
  tsdb load 2026-*.csv.gz --table readings --import-id january
  tsdb load points.csv --table readings --columns stamp=time,value --time-unit ms
  zcat big.csv.gz | tsdb load - --format csv --table readings --on-bad-row rejected.ndjson`

/** `tsdb load`: files into a table. */
export function addLoad(command: Command): void {
  command
    .argument('<file...>', 'files, or - for standard input')
    .requiredOption('--table <table>', 'the table')
    .option('--format <format>', 'csv, tsv, ndjson, json, influx or parquet; else by the name')
    .option('--columns <columns>', "only these; 'source=column' where names differ; may be repeated", collectColumns)
    .option('--constant <column=value>', 'a value that is the same in all rows; may be repeated', collect)
    .option('--time-unit <unit>', 'what a number in a time column means: s, ms, us or ns')
    .option('--time-format <format>', "how texts in a time column are written, such as 'DD/MM/YYYY HH24:MI'")
    .option('--time-zone <zone>', 'of times written without one (default UTC)')
  addTextFlags(command)
  addWayFlags(command)
  addCreateFlags(command)
  addDryRun(command).addHelpText('after', EXAMPLES).action(runLoad)
}

function addTextFlags(command: Command): void {
  command
    .option('--no-header', 'CSV: the first record is a row')
    .option('--delimiter <character>', 'CSV: what stands between fields')
    .option('--null-text <text>', 'CSV: what is NULL where it is not quoted (default nothing)')
    .option('--encoding <encoding>', 'utf-8 or latin1')
    .option('--measurement <name>', 'InfluxDB: only points of this one')
    .option('--measurement-column <column>', 'InfluxDB: the column that takes its name')
    .option('--missing-time <how>', 'InfluxDB: points without a time: error or now')
}

function addWayFlags(command: Command): void {
  command
    .option('--import-id <id>', 'exactly once: the same command goes on where it stopped')
    .option('--on-conflict <how>', 'rows whose key is there: error, ignore or update')
    .option('--conflict-columns <columns>', 'the key', collectColumns)
    .option('--on-bad-row <how>', 'rows that do not fit: stop, skip, or a file to note them in')
    .option('--verify', 'compare the table with the source at the end')
    .option(
      '--batch-rows <number>',
      'rows of a transaction (default 50,000), but for a CSV passed through',
      parseNumber,
    )
    .option('--batch-bytes <number>', 'bytes of a transaction', parseNumber)
    .option('--parallel <number>', 'batches sent at once', parseNumber)
    .option('--retries <number>', 'how often a batch is sent again', parseNumber)
    .option('--sort <how>', 'auto or off')
    .option('--direct-compress <how>', 'compress on the way in: auto, on or off')
    .option('--client-sorted <how>', 'declare sorted batches so: auto or off')
    .option('--recompress <when>', 'chunks left unordered: end, policy or never')
    .option('--no-analyze', 'do not analyze the table at the end')
}

function addCreateFlags(command: Command): void {
  command
    .option('--create', 'make the table where it does not exist, by a sample of the first file')
    .option('--time-column <column>', 'with --create: the column with the time')
    .option('--no-time-column', 'with --create: a plain table')
    .option('--chunk-interval <span>', 'with --create: the length of a chunk')
    .option('--segment-by <columns>', 'with --create: columns by which it is compressed', collectColumns)
    .option('--order-by <order>', "with --create: the order within, such as 'time DESC'")
    .option('--type <column=type>', 'with --create: the type of a column; may be repeated', collect)
    .option('--no-compress', 'with --create: without compression')
    .option('--sample-rows <number>', 'with --create: rows to look at', parseNumber)
}

async function runLoad(files: readonly string[], flags: Flags, command: Command): Promise<void> {
  const options = readOptions(flags)
  if (flags.dryRun === true) return printPlan(files, flags, options, command)
  // Before the first is loaded: after that a wrong name leaves half of the work done.
  if (files.length > 1) for (const file of files) await checkFile(file)
  await withDatabase(command, async (db, signal) => {
    const ids = await importIds(db, flags.importId, files)
    const isJson = command.optsWithGlobals<GlobalOptions>().json === true
    const reports: (LoadReport & { readonly file: string })[] = []
    for (const [at, file] of files.entries()) {
      try {
        const own = { ...options, ...given({ importId: ids.get(file) }), signal }
        reports.push({ file, ...(await loadFile(db, file, flags.table, own, command)) })
      } catch (error) {
        if (files.length === 1) throw error
        if (isJson && reports.length > 0) printResult(command, reports, '')
        throw new FileFailure(file, others(files, at), error)
      }
      const [report] = reports.slice(-1)
      if (report !== undefined && !isJson) print(sentence(report))
    }
    if (isJson) printResult(command, files.length === 1 ? reports[0] : reports, '')
  })
}

/** What became of the other files when one failed. */
function others(files: readonly string[], failed: number): string {
  const named = (some: readonly string[]): string =>
    some.length > 3 ? `${some.slice(0, 2).join(', ')} and ${some.length - 2} others` : some.join(', ')
  const [before, after] = [files.slice(0, failed), files.slice(failed + 1)]
  return [
    before.length > 0 ? `Loaded before it: ${named(before)}.` : '',
    after.length > 0 ? `Not begun: ${named(after)}.` : '',
  ]
    .filter((part) => part !== '')
    .join(' ')
}

async function checkFile(file: string): Promise<void> {
  if (file === '-' || URL.canParse(file)) return
  await stat(file).catch((cause: unknown) => {
    throw unreadableFile(file, cause)
  })
}

async function loadFile(
  db: Database,
  file: string,
  table: string,
  options: LoadOptions & { readonly signal: AbortSignal },
  command: Command,
): Promise<LoadReport> {
  const progress = showTransfer(command, file === '-' ? 'standard input' : file)
  let written = 0
  try {
    return await db.load(table, file, {
      ...options,
      onProgress: ({ rowsRead: rows, rowsWritten, ...rest }) => {
        written = rowsWritten
        progress.update({ rows, ...rest })
      },
    })
  } catch (error) {
    if (!options.signal.aborted) throw error
    throw new Interrupted('Interrupted.', { hint: howToGoOn(file, written, options.importId), cause: error })
  } finally {
    progress.stop()
  }
}

function howToGoOn(file: string, written: number, importId: string | undefined): string {
  if (importId !== undefined) return `Run the same command again: it goes on where it stopped in ${file}.`
  if (written === 0) return 'Nothing is written.'
  return `${formatCount(written, 'row')} of ${file} ${written === 1 ? 'is' : 'are'} written and ${written === 1 ? 'stays' : 'stay'}. With --import-id a load can be gone on with.`
}

async function printPlan(
  files: readonly string[],
  flags: Flags,
  options: LoadOptions,
  command: Command,
): Promise<void> {
  const [file] = files
  if (file === undefined) return
  await withDatabase(command, async (db) => {
    const { statements, reasons } = await db.planLoad(flags.table, file, options)
    if (command.optsWithGlobals<{ readonly json?: boolean }>().json !== true) {
      for (const reason of reasons) process.stderr.write(`-- ${reason}\n`)
    }
    if (statements.length > 0) printScript(command, statements)
    else
      printResult(
        command,
        { sql: [] },
        `-- The table exists, and ${files.length === 1 ? 'the file' : 'each file'} is copied into it.`,
      )
  })
}

function sentence({
  file,
  rowsWritten,
  rowsRead,
  rowsResumed,
  rowsSkipped,
  rowsRejected,
  ...rest
}: LoadReport & { readonly file: string }): string {
  const { seconds, limit, path, directCompress, created, grownBytes, verified } = rest
  const rate = count(Math.round(rowsRead / Math.max(seconds.total, 0.001)))
  const others = [
    [rowsResumed, 'done by a run before'],
    [rowsSkipped, 'skipped'],
    [rowsRejected, 'rejected'],
  ] as const
  const more = others.filter(([rows]) => rows > 0).map(([rows, what]) => `, ${count(rows)} ${what}`)
  const grown = grownBytes > 0 ? `; the ${formatCount(grownBytes, 'byte')} that came to it meanwhile are not read` : ''
  const compressed = directCompress.batches > 0 ? ', compressed on the way in' : ''
  return (
    `${file}: ${formatCount(rowsWritten, 'row')} written${more.join('')} in ${duration(seconds.total)} (${rate} rows/s, limit: ` +
    `${limit}, ${path.kind}${compressed})${created ? '; the table is new' : ''}${verified === undefined ? '' : '; verified'}${grown}.`
  )
}

function readOptions(flags: Flags): LoadOptions {
  const { header, analyze, verify, columns, constant, onBadRow } = flags
  const known: Record<string, unknown> = given({
    format: flags.format,
    delimiter: flags.delimiter,
    nullText: flags.nullText,
    encoding: flags.encoding,
    measurement: flags.measurement,
    measurementColumn: flags.measurementColumn,
    missingTime: flags.missingTime,
    timeUnit: flags.timeUnit,
    timeFormat: flags.timeFormat,
    timeZone: flags.timeZone,
    batchRows: flags.batchRows,
    batchBytes: flags.batchBytes,
    parallel: flags.parallel,
    retries: flags.retries,
    sort: flags.sort,
    directCompress: flags.directCompress,
    clientSorted: flags.clientSorted,
    recompress: flags.recompress,
    onConflict: flags.onConflict,
    conflictColumns: flags.conflictColumns,
    verify,
    header: header === false ? false : undefined,
    analyze: analyze === false ? false : undefined,
    columns: columns === undefined ? undefined : readColumns(columns),
    constants: constant === undefined ? undefined : pairs(constant),
    onBadRow: onBadRow === undefined ? undefined : readOnBadRow(onBadRow),
    create: readCreate(flags),
  })
  // Texts that are none of an option's words are for the library to refuse.
  return known
}

/** A bare word is more likely a mistyped one of the two than the name of a file. */
function readOnBadRow(text: string): LoadOptions['onBadRow'] {
  if (text === 'stop' || text === 'skip') return text
  if (/[./\\]/.test(text)) return { file: text }
  throw new UsageError('INVALID_OPTION', '--on-bad-row must be stop, skip or a file.', {
    hint: `A file of such a name is ./${text}.`,
  })
}

/** A list of columns, or names in the source and the columns they go to. */
function readColumns(texts: readonly string[]): LoadOptions['columns'] {
  if (!texts.some((text) => text.includes('='))) return texts
  return Object.fromEntries(texts.map((text) => (text.includes('=') ? splitPair('--columns', text) : [text, text])))
}

function readCreate(flags: Flags): LoadOptions['create'] {
  const { timeColumn, chunkInterval, segmentBy, orderBy, type, sampleRows } = flags
  const options = given({
    timeColumn,
    chunkTimeInterval: chunkInterval === undefined ? undefined : parseSpan(chunkInterval),
    segmentBy,
    orderBy,
    columns: type === undefined ? undefined : pairs(type),
    compress: flags.compress === false ? false : undefined,
    sampleRows,
  })
  if (flags.create === true || flags.dryRun === true) return options
  if (Object.keys(options).length === 0) return undefined
  throw new UsageError('INVALID_OPTION', 'How a table is made is for --create.', { hint: 'Give --create too.' })
}

function pairs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => splitPair('The option', text)))
}
