import type { Command } from 'commander'
import { withDatabase } from '../open.ts'
import { addFormats, formatObject, formatOf, printRows } from '../output.ts'
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
    .action((name: string | undefined, _flags: object, command: Command) =>
      withDatabase(command, async (db) => {
        const found = await db.checkPolicies(name)
        const findings = found.map((finding) => ({ ...finding, fix: `${formatStatement(finding.fix)};` }))
        const columns = ['severity', 'rule', 'relation', 'jobId', 'reason', 'evidence', 'fix']
        const format = formatOf(command)
        if (format !== 'text') {
          const rows = findings.map((finding) => ({ ...finding, relation: formatObject(finding.relation) }))
          printRows(command, columns, format === 'json' ? findings : rows)
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
