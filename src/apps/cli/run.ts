import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'

const EXAMPLES = `
Without --target the database is the one of TSDB_URL, the PG* variables or a
configuration file, else the embedded engine in ./.tsdb.

Examples:
  tsdb info
  tsdb shell
  tsdb sql 'select now()' --json
  tsdb hypertable create sensor_data --time-column time --chunk-interval '1 day'
  tsdb load readings.csv --table sensor_data
  tsdb policy add retention sensor_data --drop-after '30 days' --dry-run
  tsdb bucket sensor_data --time-column time --bucket '15 minutes' --aggregate 'AVG(temperature)'
  tsdb job list --paused

Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 refused because settings
or data would be lost, 130 interrupted.`

interface Verb {
  readonly name: string
  readonly description: string
  /** Reads the verb's file; gives what adds its arguments, options and action. */
  readonly load: () => Promise<(command: Command) => void>
}

/** In the order of the help. Their files, and with them the library, are read only when they are needed. */
const VERBS: readonly Verb[] = [
  {
    name: 'info',
    description: 'what the database is and can, and how much is in it',
    load: async () => (await import('./verbs/info.ts')).addInfo,
  },
  {
    name: 'sql',
    description: 'run one statement and print its rows',
    load: async () => (await import('./verbs/sql.ts')).addSql,
  },
  {
    name: 'load',
    description: 'load files of any length into a table',
    load: async () => (await import('./verbs/load.ts')).addLoad,
  },
  {
    name: 'export',
    description: 'write a table, or the rows of a statement, to a file',
    load: async () => (await import('./verbs/export.ts')).addExport,
  },
  {
    name: 'generate',
    description: 'make up readings of sensors, into a file or a table',
    load: async () => (await import('./verbs/generate.ts')).addGenerate,
  },
  {
    name: 'hypertable',
    description: 'create, list, show and drop hypertables',
    load: async () => (await import('./verbs/hypertable.ts')).addHypertable,
  },
  {
    name: 'chunk',
    description: 'list, compress, decompress and drop chunks',
    load: async () => (await import('./verbs/chunk.ts')).addChunk,
  },
  {
    name: 'aggregate',
    description: 'create, list, show, refresh and drop continuous aggregates',
    load: async () => (await import('./verbs/aggregate.ts')).addAggregate,
  },
  {
    name: 'policy',
    description: 'add, remove, list, preview and check policies',
    load: async () => (await import('./verbs/policy.ts')).addPolicy,
  },
  {
    name: 'job',
    description: 'list, run, change and delete jobs, and see how their runs went',
    load: async () => (await import('./verbs/job.ts')).addJob,
  },
  {
    name: 'bucket',
    description: 'aggregates per bucket of time',
    load: async () => (await import('./verbs/bucket.ts')).addBucket,
  },
  {
    name: 'fill',
    description: 'aggregates per bucket of time, with a row for every bucket',
    load: async () => (await import('./verbs/fill.ts')).addFill,
  },
  {
    name: 'serve',
    description: 'offer the embedded engine to psql, Grafana and other programs, until it is ended',
    load: async () => (await import('./verbs/serve.ts')).addServe,
  },
  {
    name: 'shell',
    description: 'type statements, and see their rows as tables and charts',
    load: async () => (await import('./verbs/shell.ts')).addShell,
  },
  {
    name: 'completion',
    description: 'print a script by which bash, zsh or fish completes verbs and options',
    load: async () => (await import('./verbs/completion.ts')).addCompletion,
  },
  {
    name: 'task',
    description: 'do what a file of tasks says',
    load: async () => (await import('./verbs/task.ts')).addTask,
  },
  {
    name: 'watch',
    description: 'say when a job is in trouble and when it is over it, until it is ended',
    load: async () => (await import('./verbs/watch.ts')).addWatch,
  },
  {
    name: 'metrics',
    description: "jobs, what their policies owe, and sizes, in Prometheus' text format",
    load: async () => (await import('./verbs/metrics.ts')).addMetrics,
  },
]

/**
 * Runs the command line; gives its exit code. Results go to stdout, everything else to stderr.
 * @param args - what follows the program's name
 */
export async function run(args: readonly string[]): Promise<number> {
  let command: Command | undefined
  let program: Command | undefined
  try {
    // Whatever else a word may mean, the verb is one of them. Completion is made from all.
    program = await makeProgram((name) => args.includes(name) || args.includes('completion'))
    program.hook('preAction', (_, action) => {
      command = action
    })
    await program.parseAsync(knownHelp(program, args), { from: 'user' })
    // A verb whose code is its answer has set it.
    return Number(process.exitCode ?? 0)
  } catch (error) {
    // Help and version were asked for, and are written.
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    const [{ reportError }, { misspeltOption }] = await Promise.all([
      import('./report.ts'),
      import('./missing-option.ts'),
    ])
    const why = (program && misspeltOption(program, args, error)) ?? error
    return reportError(why, { json: args.includes('--json'), debug: args.includes('--debug'), command })
  }
}

/**
 * The arguments without what asks for help on a verb that does not exist, so that the verb is refused: the parser would
 * show the help of what stands before it. `help chunk drop` becomes `chunk drop --help`: its own looks no deeper than `chunk`.
 */
function knownHelp(program: Command, [first, ...rest]: readonly string[]): readonly string[] {
  const args = first === undefined ? [] : first === 'help' ? [...rest, '--help'] : [first, ...rest]
  const isHelp = (word: string): boolean => word === '-h' || word === '--help'
  if (!args.some(isHelp)) return args
  let at = program
  for (const [index, word] of args.entries()) {
    if (word.startsWith('-') || /^(-[tc]|--target|--config)$/.test(args[index - 1] ?? '')) continue
    if (at.commands.length === 0) break
    const found = at.commands.find((command) => command.name() === word)
    if (found === undefined && word !== 'help') return args.filter((one) => !isHelp(one))
    at = found ?? at
  }
  return args
}

/** The whole command line, ready to parse; of a verb that is not wanted only its name and description are there. */
export async function makeProgram(isWanted: (verb: string) => boolean = () => true): Promise<Command> {
  const program = new Command('tsdb')
  // Before the verbs are added: they inherit it.
  program
    .exitOverride()
    .configureOutput({ outputError: () => undefined })
    .configureHelp({ showGlobalOptions: true })
    .description('TimescaleDB from the command line, on a server or the embedded engine')
    .version(readVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show help')
    .option('-t, --target <target>', 'postgres://…, embedded:DIR, or embedded: for a temporary one')
    .option('-c, --config <file>', 'configuration file with a section [timescaledb]')
    .option('--json', 'print results, and errors, as JSON')
    .addOption(new Option('--debug', 'print the stack of an error'))
    .addHelpText('after', EXAMPLES)
  for (const { name, description, load } of VERBS) {
    const command = program.command(name).description(description)
    if (isWanted(name)) (await load())(command)
  }
  return program
}

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  const { version }: { readonly version: string } = JSON.parse(text)
  return version
}
