import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { UsageError } from '../../index.ts'
import { paint } from './color.ts'
import { NotConfirmed } from './report.ts'

/** Adds `--yes` to a verb that destroys something. */
export function addYes(command: Command): Command {
  return command.option('-y, --yes', 'do not ask')
}

/**
 * Asks on a terminal before something is destroyed, unless `--yes` was given.
 * @throws UsageError INVALID_OPTION where there is nobody to ask; NotConfirmed for any answer but yes, also Ctrl-D
 */
export async function confirm(command: Command, question: string, signal: AbortSignal): Promise<void> {
  if (command.opts<{ readonly yes?: boolean }>().yes === true) return
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError('INVALID_OPTION', `There is no terminal to ask on: ${question}`, {
      hint: `Give --yes to do it${command.options.some(({ long }) => long === '--dry-run') ? ', or --dry-run to see the SQL' : ''}.`,
    })
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  // The terminal is in raw mode meanwhile, and Ctrl-C no signal.
  terminal.on('SIGINT', () => process.emit('SIGINT'))
  // The end of the input answers nothing: the question would wait for ever.
  const ended = new Promise<string>((resolve) => terminal.once('close', () => resolve('')))
  try {
    const asked = terminal.question(`${paint(process.stderr, 'yellow', question)} [y/N] `, { signal })
    if (!/^y(es)?$/i.test((await Promise.race([asked, ended])).trim())) throw new NotConfirmed()
  } finally {
    terminal.close()
  }
}
