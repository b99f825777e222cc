import type { Command } from 'commander'
import { type Capabilities, type Client, can, type Database } from '../../../index.ts'
import { withDatabase } from '../open.ts'
import { addFormats, printFields, printRows } from '../output.ts'

/** `tsdb info`: what the database is, and where each setting came from. */
export function addInfo(info: Command): void {
  info
    .option('--settings', 'where each setting came from, instead')
    .addHelpText('after', '\nExamples:\n  tsdb info\n  tsdb info --settings --json\n  tsdb -t embedded:./data info')
    .action((options: { readonly settings?: boolean }, command: Command) =>
      withDatabase(command, (db) => (options.settings === true ? printSettings(command, db) : printInfo(command, db))),
    )
  addFormats(info)
}

async function printSettings(command: Command, db: Database): Promise<void> {
  const rows = db.describeSettings().map(({ name, value, origin }) => ({ name, value, origin }))
  printRows(command, ['name', 'value', 'origin'], rows)
}

async function printInfo(command: Command, db: Database): Promise<void> {
  const capabilities = await db.capabilities()
  const settings = new Map(db.describeSettings().map(({ name, value }) => [name, value]))
  const result = {
    target: settings.get('target'),
    place: settings.get('directory') ?? `${settings.get('host')}:${settings.get('port')}/${settings.get('database')}`,
    postgres: formatPostgres(capabilities.postgresVersion),
    timescaledb: capabilities.timescaleVersion?.text,
    edition: capabilities.timescaleVersion === undefined ? undefined : capabilities.edition,
    toolkit: capabilities.toolkitVersion?.text,
    backgroundJobs: capabilities.backgroundJobs,
    ...(await countObjects(db, capabilities)),
  }
  printFields(command, result, [
    ['database', `${result.target}, ${result.place}`],
    ['PostgreSQL', result.postgres],
    ['TimescaleDB', result.timescaledb === undefined ? 'not created here' : `${result.timescaledb}, ${result.edition}`],
    ['toolkit', result.toolkit ?? 'not created here'],
    ['due jobs', formatJobs(result.target, capabilities.backgroundJobs)],
    ['hypertables', result.hypertables],
    ['continuous aggregates', result.continuousAggregates],
  ])
}

async function countObjects(
  db: Client,
  capabilities: Capabilities,
): Promise<{ readonly hypertables: number; readonly continuousAggregates: number }> {
  if (capabilities.timescaleVersion === undefined) return { hypertables: 0, continuousAggregates: 0 }
  const hypertables = (await db.listHypertables()).length
  const hasAggregates = can(capabilities, 'continuous-aggregate')
  return { hypertables, continuousAggregates: hasAggregates ? (await db.listContinuousAggregates()).length : 0 }
}

function formatJobs(target: string | undefined, backgroundJobs: boolean): string {
  if (target === 'embedded') return 'run while a program has it open, but not with tsdb'
  return backgroundJobs ? 'are run by the server' : 'do not run: the server has no background worker here'
}

function formatPostgres(version: number): string {
  return `${Math.floor(version / 10_000)}.${version % 10_000}`
}
