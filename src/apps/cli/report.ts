import { type Command, CommanderError } from 'commander'
import { ConfigError, PlanError, QueryError, TimescaleError, UsageError } from '../../index.ts'
import { paint } from './color.ts'
import { toFlags } from './flag-name.ts'

/** Thrown when the user ends a command; what was running is cancelled. */
export class Interrupted extends Error {
  /** How to go on. */
  readonly hint: string | undefined

  constructor(message: string, { hint, cause }: { readonly hint?: string | undefined; readonly cause?: unknown } = {}) {
    super(message, { cause })
    this.hint = hint
  }
}

/** What failed at one of several files. */
export class FileFailure extends Error {
  readonly file: string
  /** What became of the others, a sentence. */
  readonly others: string

  constructor(file: string, others: string, cause: unknown) {
    super(`Failed at ${file}`, { cause })
    this.file = file
    this.others = others
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
  readonly file?: string
  readonly hint?: string | undefined
  readonly sqlState?: string
  readonly detail?: string | undefined
  readonly position?: number | undefined
  readonly source?: string
}

interface ReportOptions {
  readonly json: boolean
  readonly debug: boolean
  /** The command that failed, whose flags the library's options are here. */
  readonly command?: Command | undefined
}

/**
 * Writes an error to stderr; gives the exit code that goes with it.
 * `json`: as one object with the same fields. `debug`: with its stack.
 */
export function reportError(error: unknown, options: ReportOptions): number {
  const report = toReport(error, options.command)
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
  if (error instanceof FileFailure) return exitCode(error.cause)
  if (error instanceof Interrupted) return 130
  if (error instanceof UsageError || error instanceof ConfigError || error instanceof CommanderError) return 2
  return error instanceof PlanError ? 3 : 1
}

function toReport(error: unknown, command: Command | undefined): Report {
  if (error instanceof FileFailure) return atFile(toReport(error.cause, command), error)
  if (error instanceof Interrupted) return { code: 'INTERRUPTED', message: 'Interrupted.', hint: error.hint }
  if (error instanceof NotConfirmed) return { code: 'NOT_CONFIRMED', message: error.message }
  if (error instanceof CommanderError) return usageReport(error)
  if (error instanceof TimescaleError) return { ...libraryReport(error, command), ...detailsOf(error) }
  if (isSystemError(error)) return { code: error.code, message: error.message }
  return { code: 'INTERNAL', message: error instanceof Error ? error.message : String(error), hint: 'See --debug.' }
}

function atFile(report: Report, { file, others }: FileFailure): Report {
  const message = report.message.includes(file) ? report.message : `${file}: ${report.message}`
  return { ...report, message: `${/[.!?]$/.test(message) ? message : `${message}.`} ${others}`.trimEnd(), file }
}

function libraryReport({ code, message, hint }: TimescaleError, command: Command | undefined): Report {
  return { code, message: toFlags(message, command), hint: hint === undefined ? undefined : toFlags(hint, command) }
}

function detailsOf(error: TimescaleError): Partial<Report> {
  if (error instanceof QueryError) {
    return { sqlState: error.sqlState, detail: error.detail, position: error.position }
  }
  return error instanceof ConfigError ? { source: error.source } : {}
}

/** What the operating system refused, such as to read a file that does not exist. */
function isSystemError(error: unknown): error is Error & { readonly code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string'
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
