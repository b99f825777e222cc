import { SingleBar } from 'cli-progress'
import type { Command } from 'commander'
import {
  type ChunkInfo,
  type ChunkRangeOptions,
  compressChunkSql,
  type Database,
  type DropChunksOptions,
  decompressChunkSql,
  dropChunksSql,
  type TimeInput,
  timeTypeOf,
  UsageError,
} from '../../../index.ts'
import { given, parseTime } from '../argument.ts'
import { addYes, confirm } from '../confirm.ts'
import { withDatabase } from '../open.ts'
import { addFormats, formatBytes, formatCount, formatObject, printResult, printRows } from '../output.ts'
import { addDryRun, printScript, printSteps } from '../script.ts'

const TIMES = `
A time is '2025-01-31', '2025-01-31T12:00Z', '30 days ago', NOW(), or a whole number
for an integer time column.
`

/** `tsdb chunk …` */
export function addChunk(chunk: Command): void {
  addList(chunk)
  addChange(chunk, 'compress')
  addChange(chunk, 'decompress')
  addDrop(chunk)
}

interface RangeOptions {
  readonly olderThan?: TimeInput
  readonly newerThan?: TimeInput
}

function addRange(command: Command): Command {
  return command
    .option('--older-than <time>', 'only chunks that end at or before this time', parseTime)
    .option('--newer-than <time>', 'only chunks that start at or after this time', parseTime)
}

interface ListOptions extends RangeOptions {
  readonly compressed?: boolean
  readonly uncompressed?: boolean
}

const COLUMNS = [
  'chunk',
  'rangeStart',
  'rangeEnd',
  'isCompressed',
  'totalBytes',
  'beforeCompressionBytes',
  'tablespace',
]

function addList(chunk: Command): void {
  const command = chunk
    .command('list')
    .description('the chunks of a hypertable, newest first')
    .argument('<hypertable>', 'the hypertable or continuous aggregate')
    .option('--compressed', 'only compressed ones')
    .option('--uncompressed', 'only those that are not compressed')
    .addHelpText('after', `${TIMES}\nExamples:\n  tsdb chunk list sensor_data --older-than '30 days ago' --csv`)
    .action((name: string, options: ListOptions, command: Command) => {
      const { olderThan, newerThan, compressed, uncompressed } = options
      if (compressed === true && uncompressed === true) {
        throw new UsageError('INVALID_OPTION', 'Give either --compressed or --uncompressed.')
      }
      return withDatabase(command, async (db, signal) => {
        const wanted = compressed === true ? true : uncompressed === true ? false : undefined
        const chunks = await db.getChunkInfo(name, { signal, ...given({ olderThan, newerThan, compressed: wanted }) })
        printRows(
          command,
          COLUMNS,
          chunks.map((one) => ({ chunk: formatChunk(one), ...one })),
          { x: 'rangeStart', y: 'totalBytes' },
        )
      })
    })
  addFormats(addRange(command))
}

function formatChunk({ chunkSchema, chunkName }: ChunkInfo): string {
  return formatObject({ schema: chunkSchema, name: chunkName })
}

interface ChangeOptions extends RangeOptions {
  readonly all?: boolean
  readonly recompress?: boolean
  readonly dryRun?: boolean
}

type Verb = 'compress' | 'decompress'

function addChange(chunk: Command, verb: Verb): void {
  const command = chunk
    .command(verb)
    .description(`${verb} chunks: some by name, or those of a hypertable in a range`)
    .argument('<name...>', 'chunks; or with a range or --all one hypertable or continuous aggregate')
    .option('--all', 'all chunks of the hypertable')
    .addHelpText(
      'after',
      `${TIMES}\nExamples:\n  tsdb chunk ${verb} _hyper_1_2_chunk\n  tsdb chunk ${verb} sensor_data --older-than '7 days ago'`,
    )
    .action((names: string[], options: ChangeOptions, command: Command) => change(verb, names, options, command))
  if (verb === 'compress') command.option('--recompress', 'bring compressed chunks to the present settings')
  addDryRun(addRange(command))
}

async function change(verb: Verb, names: string[], options: ChangeOptions, command: Command): Promise<void> {
  const { olderThan, newerThan, recompress } = options
  const isRange = olderThan !== undefined || newerThan !== undefined
  if (options.all === true && isRange) throw new UsageError('INVALID_OPTION', 'Give either --all or a range.')
  await withDatabase(command, async (db, signal) => {
    if (options.all !== true && !isRange) return changeNamed(verb, db, names, { ...options, signal }, command)
    const [name, ...others] = names
    if (name === undefined || others.length > 0) {
      throw new UsageError('INVALID_OPTION', 'A range belongs to one hypertable.')
    }
    if (recompress === true) throw new UsageError('INVALID_OPTION', '--recompress takes chunks by name.')
    const range = given({ olderThan, newerThan })
    if (options.dryRun === true) return printRange(verb, db, name, range, command)
    const progress = showProgress()
    const rangeOptions = { ...range, signal, onProgress: progress.update }
    const done = await (verb === 'compress' ? db.compressChunks : db.decompressChunks)
      .call(db, name, rangeOptions)
      .finally(progress.stop)
    const gone = progress.gone()
    const passedOver = gone === 0 ? '' : ` Passed over ${formatCount(gone, 'chunk')} that had been dropped meanwhile.`
    printResult(
      command,
      done,
      `${verb === 'compress' ? 'Compressed' : 'Decompressed'} ${formatCount(done.length, 'chunk')}.${passedOver}`,
    )
  })
}

async function changeNamed(
  verb: Verb,
  db: Database,
  names: readonly string[],
  options: ChangeOptions & { readonly signal: AbortSignal },
  command: Command,
): Promise<void> {
  const { signal, recompress } = options
  if (options.dryRun === true) {
    const capabilities = await db.capabilities()
    const statements = names.map((name) =>
      verb === 'compress'
        ? compressChunkSql(capabilities, name, given({ recompress }))
        : decompressChunkSql(capabilities, name),
    )
    return printSteps(command, statements)
  }
  const results = []
  for (const name of names) {
    results.push(
      verb === 'compress'
        ? await db.compressChunk(name, { signal, ...given({ recompress }) })
        : await db.decompressChunk(name, { signal }),
    )
  }
  const sentences = results.map((result) => {
    const done = 'compressed' in result ? result.compressed : result.decompressed
    return `${formatObject(result.chunk)}: ${done ? `${verb}ed` : `nothing to ${verb}`}.`
  })
  printResult(command, results, sentences.join('\n'))
}

async function printRange(
  verb: Verb,
  db: Database,
  name: string,
  range: RangeOptions,
  command: Command,
): Promise<void> {
  const capabilities = await db.capabilities()
  const chunks = await db.getChunkInfo(name, range)
  const isNeeded = (chunk: ChunkInfo): boolean =>
    verb === 'decompress' ? chunk.isCompressed : !chunk.isCompressed || chunk.needsRecompression
  const statements = chunks
    .filter(isNeeded)
    .reverse()
    .map(({ chunkSchema, chunkName }) => ({ schema: chunkSchema, name: chunkName }))
    .map((chunk) =>
      verb === 'compress' ? compressChunkSql(capabilities, chunk) : decompressChunkSql(capabilities, chunk),
    )
  printSteps(command, statements)
}

/** A bar on stderr where that is a terminal, and how many chunks were gone. */
function showProgress(): {
  readonly update: NonNullable<ChunkRangeOptions['onProgress']>
  readonly gone: () => number
  readonly stop: () => void
} {
  const bar = new SingleBar({ format: '{bar} {value}/{total} chunks, {eta_formatted} left', stream: process.stderr })
  let started = false
  let gone = 0
  return {
    gone: () => gone,
    update: ({ done, total, outcome }) => {
      if (outcome === 'gone') gone++
      if (!process.stderr.isTTY) return
      if (!started) bar.start(total, 0)
      started = true
      bar.update(done)
    },
    stop: () => {
      if (started) bar.stop()
    },
  }
}

interface DropOptions extends RangeOptions {
  readonly createdBefore?: TimeInput
  readonly createdAfter?: TimeInput
  readonly dryRun?: boolean
}

function addDrop(chunk: Command): void {
  const command = chunk
    .command('drop')
    .description('drop whole chunks with their rows')
    .argument('<hypertable>', 'the hypertable or continuous aggregate')
    .option('--created-before <time>', 'only chunks made before this time, instead', parseTime)
    .option('--created-after <time>', 'only chunks made after this time', parseTime)
    .addHelpText('after', `${TIMES}\nExamples:\n  tsdb chunk drop sensor_data --older-than '90 days ago' --dry-run`)
    .action(drop)
  addYes(addDryRun(addRange(command)))
}

async function drop(name: string, options: DropOptions, command: Command): Promise<void> {
  const { olderThan, newerThan, createdBefore, createdAfter } = options
  const bounds: DropChunksOptions = given({ olderThan, newerThan, createdBefore, createdAfter })
  await withDatabase(command, async (db, signal) => {
    if (options.dryRun === true) return printDrop(db, name, bounds, command)
    await confirm(command, `${await describeDrop(db, name, bounds)} Drop them?`, signal)
    const dropped = await db.dropChunks(name, { ...bounds, signal })
    printResult(command, dropped, `Dropped ${formatCount(dropped.length, 'chunk')}.`)
  })
}

async function printDrop(db: Database, name: string, bounds: DropChunksOptions, command: Command): Promise<void> {
  const capabilities = await db.capabilities()
  // Refuses bounds that say nothing before it asks for the table.
  dropChunksSql(capabilities, name, bounds)
  const [time] = (await db.getHypertableStats(name)).dimensions
  const timeType = timeTypeOf(time?.columnType ?? '')
  printScript(command, [dropChunksSql(capabilities, name, { ...bounds, timeType })])
}

async function describeDrop(db: Database, name: string, bounds: DropChunksOptions): Promise<string> {
  const { olderThan, newerThan } = bounds
  if (olderThan === undefined && newerThan === undefined) return `Chunks of ${name} by the time they were made.`
  const chunks = await db.getChunkInfo(name, given({ olderThan, newerThan }))
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.totalBytes, 0)
  const lie = chunks.length === 1 ? 'lies' : 'lie'
  return `${formatCount(chunks.length, 'chunk')} of ${name} with ${formatBytes(bytes)} ${lie} within the bounds.`
}
