import type { Command } from 'commander'
import { type Statement, sql, UsageError } from '../../index.ts'
import { printResult } from './output.ts'

/** Adds `--dry-run` to a verb that changes something. */
export function addDryRun(command: Command): Command {
  return command.option('--dry-run', 'print the SQL and change nothing')
}

/** Prints statements as a script that psql runs; several that belong together in one transaction. */
export function printScript(command: Command, statements: readonly Statement[]): void {
  const texts = statements.map(formatStatement)
  const script = texts.length > 1 ? ['begin', ...texts, 'commit'] : texts
  printResult(command, { sql: texts }, script.map((text) => `${text};`).join('\n'))
}

/** Prints statements that are not run in one transaction. */
export function printSteps(command: Command, statements: readonly Statement[]): void {
  const texts = statements.map(formatStatement)
  printResult(command, { sql: texts }, texts.map((text) => `${text};`).join('\n') || '-- Nothing to do.')
}

/** Quoted parts, which are passed over, or a placeholder. */
const PLACEHOLDER = /'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|\$(\d+)/gs

/** A statement with its values written into it. */
export function formatStatement({ text, values }: Statement): string {
  return text.replace(PLACEHOLDER, (part, number: string | undefined) =>
    number === undefined ? part : formatValue(values[Number(number) - 1]),
  )
}

function formatValue(value: unknown): string {
  if (value === null || value instanceof Date) return sql.literal(value).text
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'bigint':
    case 'boolean':
      return sql.literal(value).text
    default:
      throw new UsageError('INVALID_VALUE', `A ${typeof value} cannot be written as SQL text.`)
  }
}
