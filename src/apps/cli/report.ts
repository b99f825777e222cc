import { CommanderError } from 'commander'
import { ConfigError, PlanError, QueryError, TimescaleError, UnsupportedError, UsageError } from '../../index.ts'
import { paint } from './color.ts'

/** Thrown when the user ends a command; what was running is cancelled. */
export class Interrupted extends Error {
  /** How to go on. */
  readonly hint: string | undefined

  constructor(message: string, { hint, cause }: { readonly hint?: string | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause })
    this.hint = hint
  }
}

/** Thrown when a question is answered with no. */
export class NotConfirmed extends Error {
  constructor() {
    super('Not confirmed; nothing was done.')
  }
}

interface Report {
  readonly code: string
  readonly message: string
  readonly hint?: string | undefined
  readonly sqlState?: string
  readonly detail?: string | undefined
  readonly position?: number | undefined
  readonly source?: string
}

/**
 * Writes an error to stderr; gives the exit code that goes with it.
 * `json`: as one object with the same fields. `debug`: with its stack.
 */
export function reportError(error: unknown, options: { readonly json: boolean; readonly debug: boolean }): number {
  const report = toReport(error)
  if (options.json) process.stderr.write(`${JSON.stringify({ error: report })}\n`)
  else {
    process.stderr.write(`${paint(process.stderr, 'red', `error[${report.code}]`)}: ${report.message}\n`)
    if (report.detail !== undefined) process.stderr.write(`detail: ${report.detail}\n`)
    if (report.hint !== undefined) process.stderr.write(`${paint(process.stderr, 'cyan', 'hint')}: ${report.hint}\n`)
  }
  if (options.debug && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  return exitCode(error)
}

function exitCode(error: unknown): number {
  if (error instanceof Interrupted) return 130
  if (error instanceof UsageError || error instanceof ConfigError || error instanceof CommanderError) return 2
  return error instanceof PlanError ? 3 : 1
}

function toReport(error: unknown): Report {
  if (error instanceof Interrupted) return { code: 'INTERRUPTED', message: 'Interrupted.', hint: error.hint }
  if (error instanceof NotConfirmed) return { code: 'NOT_CONFIRMED', message: error.message }
  if (error instanceof CommanderError) return usageReport(error)
  if (error instanceof QueryError) {
    const { code, message, hint, sqlState, detail, position } = error
    return { code, message, hint: toFlags(hint), sqlState, detail, position }
  }
  if (error instanceof ConfigError) {
    return { code: error.code, message: error.message, hint: error.hint, source: error.source }
  }
  // Its hint speaks of connect(), whose options are no flags here.
  if (error instanceof UnsupportedError) return { code: error.code, message: error.message, hint: error.hint }
  if (error instanceof TimescaleError) return { code: error.code, message: error.message, hint: toFlags(error.hint) }
  if (isSystemError(error)) return { code: error.code, message: error.message }
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error), hint: 'See --debug.' }
}

/** What the operating system refused, such as to read a file that does not exist. */
function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string'
}

/** The library's hints speak of options such as `ifExists: true`; here that is `--if-exists`. */
function toFlags(hint: string | undefined): string | undefined {
  return hint?.replace(/\b([a-z]+(?:[A-Z][a-z]+)*): true\b/g, (_, name: string) => {
    return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
  })
}

/** Commander writes `error: unknown option '--x'` and, on a line of its own, `(Did you mean --y?)`. */
function usageReport(error: CommanderError): Report {
  // A noun without its verb: the help is written already.
  if (error.code === 'commander.help') {
    return { code: 'INVALID_OPTION', message: 'A verb is missing.', hint: 'The verbs are listed above.' }
  }
  const [message = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
  return { code: 'INVALID_OPTION', message, hint: suggestion?.replace(/^\((.*)\)$/, '$1') ?? 'See --help.' }
}
