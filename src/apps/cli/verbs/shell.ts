import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import { type Database, UsageError } from '../../../index.ts'
import { type GlobalOptions, withDatabase } from '../open.ts'
import { Shell } from '../shell/shell.ts'
import { Terminal } from '../shell/terminal.ts'

const EXAMPLES = `
In a terminal: statements of several lines, ended by a semicolon; Tab completes, the
arrow keys bring earlier statements, Ctrl-C cancels what runs, Ctrl-D or \\q leaves,
\\? lists the commands, such as \\d, \\dh, \\chart, \\watch. One connection serves it
all, so that SET and BEGIN hold; the prompt shows an open transaction by a *.

Else statements are read from standard input, and the first error ends it with 1.

Examples:
  tsdb shell
  tsdb -t embedded:./data shell --jobs
  tsdb shell < script.sql`

interface ShellOptions extends GlobalOptions {
  readonly jobs?: boolean
  readonly debug?: boolean
}

/** `tsdb shell`: statements one after the other. */
export function addShell(command: Command): void {
  command
    .option('--jobs', 'run due jobs, such as retention policies, meanwhile')
    .addHelpText('after', EXAMPLES)
    .action(async (options: ShellOptions, command: Command) => {
      const { json, debug = false } = command.optsWithGlobals<ShellOptions>()
      if (json === true) {
        throw new UsageError('INVALID_OPTION', 'The shell shows results to people.', { hint: 'Use `tsdb sql --json`.' })
      }
      await withDatabase(
        command,
        async (db, signal) => {
          const shell = new Shell(db)
          try {
            if (process.stdin.isTTY && process.stdout.isTTY)
              await new Terminal(shell, { name: nameOf(db), debug }).run(signal)
            else await readInput(shell, signal)
          } finally {
            await shell.close()
          }
        },
        { jobs: options.jobs === true },
      )
    })
}

function nameOf(db: Database): string {
  const settings = new Map(db.describeSettings().map(({ name, value }) => [name, value]))
  return settings.get('target') === 'embedded' ? 'tsdb' : String(settings.get('database') ?? 'tsdb')
}

/** Statements from standard input, up to the first error. */
async function readInput(shell: Shell, signal: AbortSignal): Promise<void> {
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  const leave = (): void => lines.close()
  signal.addEventListener('abort', leave, { once: true })
  const ignore = (): void => undefined
  for await (const line of lines) {
    if ((await shell.readLine(line, signal, ignore)) === 'leave') return
  }
  signal.throwIfAborted()
  await finish(shell, signal)
}

const WITHIN = { "'": 'a text', '"': 'a name', $: 'a text in $$', '(': 'parentheses', '/*': 'a comment' } as const

/** The last statement may come without a semicolon, but not in the middle of a quote. */
async function finish(shell: Shell, signal: AbortSignal): Promise<void> {
  const { place } = shell
  if (place !== 'start' && place !== 'statement') {
    throw new UsageError('INVALID_VALUE', `The input ends in the middle of ${WITHIN[place]}.`)
  }
  for (const input of shell.reader.take()) if (input.kind === 'statement') await shell.run(input.text, signal)
  if (shell.transactionState !== 'none') {
    throw new UsageError('INVALID_VALUE', 'The input ends inside of a transaction, which is rolled back.', {
      hint: 'End it with commit.',
    })
  }
}
