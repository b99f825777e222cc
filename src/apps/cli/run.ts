import { readFileSync } from 'node:fs'
import { Command, CommanderError, Option } from 'commander'
import { reportError } from './report.ts'
import { addAggregate } from './verbs/aggregate.ts'
import { addBucket } from './verbs/bucket.ts'
import { addChunk } from './verbs/chunk.ts'
import { addCompletion } from './verbs/completion.ts'
import { addExport } from './verbs/export.ts'
import { addFill } from './verbs/fill.ts'
import { addGenerate } from './verbs/generate.ts'
import { addHypertable } from './verbs/hypertable.ts'
import { addInfo } from './verbs/info.ts'
import { addJob } from './verbs/job.ts'
import { addLoad } from './verbs/load.ts'
import { addMetrics } from './verbs/metrics.ts'
import { addPolicy } from './verbs/policy.ts'
import { addServe } from './verbs/serve.ts'
import { addShell } from './verbs/shell.ts'
import { addSql } from './verbs/sql.ts'
import { addTask } from './verbs/task.ts'
import { addWatch } from './verbs/watch.ts'

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

/**
 * Runs the command line; gives its exit code. Results go to stdout, everything else to stderr.
 * @param args - what follows the program's name
 */
export async function run(args: readonly string[]): Promise<number> {
  try {
    await makeProgram().parseAsync(args, { from: 'user' })
    // A verb whose code is its answer has set it.
    return Number(process.exitCode ?? 0)
  } catch (error) {
    // Help and version were asked for, and are written.
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    return reportError(error, { json: args.includes('--json'), debug: args.includes('--debug') })
  }
}

/** The whole command line, ready to parse. */
export function makeProgram(): Command {
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
  for (const add of [
    addInfo,
    addSql,
    addLoad,
    addExport,
    addGenerate,
    addHypertable,
    addChunk,
    addAggregate,
    addPolicy,
    addJob,
    addBucket,
    addFill,
    addServe,
    addShell,
    addCompletion,
    addTask,
    addWatch,
    addMetrics,
  ]) {
    add(program)
  }
  return program
}

function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  const { version }: { readonly version: string } = JSON.parse(text)
  return version
}
