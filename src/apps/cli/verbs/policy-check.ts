import type { Command } from 'commander'
import { type GlobalOptions, withDatabase } from '../open.ts'
import { addFormats, formatObject, printRows } from '../output.ts'
import { formatStatement } from '../script.ts'

/** `tsdb policy check`: contradictions between policies. */
export function addCheck(policy: Command): void {
  const command = policy
    .command('check')
    .description('contradictions between policies, each with the statement that mends it')
    .argument('[name]', 'the hypertable or continuous aggregate; else all')
    .addHelpText(
      'after',
      '\nThe exit code is 3 where data would be lost, else 0.\n\nExamples:\n  tsdb policy check\n  tsdb policy check sensor_data --json',
    )
    .action((name: string | undefined, flags: { readonly csv?: boolean }, command: Command) =>
      withDatabase(command, async (db) => {
        const found = await db.checkPolicies(name)
        const findings = found.map((finding) => ({ ...finding, fix: `${formatStatement(finding.fix)};` }))
        const columns = ['severity', 'rule', 'relation', 'jobId', 'reason', 'evidence', 'fix']
        if (flags.csv === true || command.optsWithGlobals<GlobalOptions>().json === true) {
          const rows = findings.map((finding) => ({ ...finding, relation: formatObject(finding.relation) }))
          printRows(command, columns, flags.csv === true ? rows : findings)
        } else {
          const texts = findings.map(
            ({ severity, rule, reason, evidence, fix }) =>
              `${severity}: ${rule}\n  ${reason}\n  ${evidence}\n  fix: ${fix}\n`,
          )
          process.stdout.write(texts.length === 0 ? 'Nothing is wrong.\n' : texts.join('\n'))
        }
        if (findings.some(({ severity }) => severity === 'loss')) process.exitCode = 3
      }),
    )
  addFormats(command)
}
