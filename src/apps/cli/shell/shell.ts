import { setTimeout as wait } from 'node:timers/promises'
import {
  type ColumnSet,
  type Connection,
  ConnectionError,
  type Database,
  QueryError,
  UsageError,
} from '../../../index.ts'
import { type ChartColumns, parseColumns } from '../chart.ts'
import { paint } from '../color.ts'
import { readText } from '../read-text.ts'
import { COMMANDS } from './command-list.ts'
import { copy } from './copy.ts'
import { describe } from './describe.ts'
import { holdsSecret } from './history.ts'
import type { Names } from './names.ts'
import { readNames } from './names.ts'
import { type Display, printChart, printListing, printResult } from './result.ts'
import { type Place, StatementReader } from './statement.ts'

/** What a line led to: more is wanted, or the end of the shell. */
export type Outcome = 'go on' | 'leave'

const NO_NAMES: Names = { relations: [], functions: [] }

/** Statements and commands, one after the other, on one connection: SET, BEGIN and temporary tables hold. */
export class Shell {
  readonly reader: StatementReader = new StatementReader()
  readonly display: Display = { expanded: false, timing: false, rows: undefined }
  readonly #db: Database
  #connection: Connection | undefined
  #last: { readonly text: string; readonly result: ColumnSet | undefined } | undefined
  #names: Names | undefined

  constructor(db: Database) {
    this.#db = db
  }

  get transactionState(): Connection['transactionState'] {
    return this.#connection?.transactionState ?? 'none'
  }

  /** What the shell waits for: the next statement, or the rest of one. */
  get place(): Place {
    return this.reader.place
  }

  /**
   * Runs what a line ends. `onStatement` is called with each statement before it runs.
   * @throws whatever a statement or command fails with; what follows it in the line is left out
   */
  async readLine(line: string, signal: AbortSignal, onStatement: (text: string) => void): Promise<Outcome> {
    if (this.place === 'start' && /^\s*(exit|quit)\s*;?\s*$/i.test(line)) return 'leave'
    try {
      for (const input of this.reader.add(line)) {
        if (input.kind === 'statement') {
          onStatement(input.text)
          await this.run(input.text, signal)
        } else if ((await this.#command(input.text, signal, onStatement)) === 'leave') return 'leave'
      }
    } catch (error) {
      this.reader.clear()
      throw error
    }
    return 'go on'
  }

  /** Runs one statement and shows what it gave. */
  async run(text: string, signal: AbortSignal): Promise<void> {
    printResult(await this.#query(text, signal), this.display)
  }

  /** The names of the database, for completion: as they were before an open transaction. */
  async names(): Promise<Names> {
    if (this.#names === undefined && this.transactionState === 'none') {
      this.#names = await readNames(await this.#connect())
    }
    return this.#names ?? NO_NAMES
  }

  async close(): Promise<void> {
    await this.#connection?.close()
  }

  async #query(text: string, signal: AbortSignal): Promise<ColumnSet> {
    const connection = await this.#connect()
    const started = performance.now()
    try {
      this.#last = { text, result: undefined }
      const result = await connection.queryToColumns(text, [], { signal, numeric: 'string' })
      this.#last = { text, result }
      if (!/^(SELECT|INSERT|UPDATE|DELETE|SHOW|EXPLAIN|BEGIN|FETCH)$/.test(result.command)) this.#names = undefined
      return result
    } catch (error) {
      if (error instanceof ConnectionError) await this.#reconnect(connection)
      if (/^\s*copy\b/i.test(text) && error instanceof UsageError) throw copyRefused(error)
      throw error
    } finally {
      if (this.display.timing) process.stderr.write(`Time: ${(performance.now() - started).toFixed(1)} ms\n`)
    }
  }

  async #connect(): Promise<Connection> {
    this.#connection ??= await this.#db.openConnection()
    return this.#connection
  }

  /** The next statement gets another connection, and the user is told what that costs. */
  async #reconnect(connection: Connection): Promise<void> {
    this.#connection = undefined
    await connection.close()
    process.stderr.write('The next statement opens another connection: settings and an open transaction are gone.\n')
  }

  async #command(text: string, signal: AbortSignal, onStatement: (text: string) => void): Promise<Outcome> {
    const [, word = '', rest = ''] = /^(\S*)\s*(.*?)\s*$/s.exec(text) ?? []
    const command = `\\${word}`
    if (!COMMANDS.some(({ name }) => name === command)) {
      throw new UsageError('INVALID_OPTION', `There is no command ${command}.`, { hint: '\\? lists all.' })
    }
    if (command.startsWith('\\d')) {
      for (const listing of await describe(await this.#connect(), command, rest)) printListing(listing)
      return 'go on'
    }
    if (command === '\\q') return 'leave'
    if (command === '\\chart') await this.#chart(rest, signal, onStatement)
    else if (command === '\\watch') await this.#watch(rest, signal, onStatement)
    else if (command === '\\copy') process.stdout.write(`${await copy(await this.#connect(), rest, signal)}\n`)
    else if (command === '\\i') return this.#include(rest, signal, onStatement)
    else this.#set(command, rest)
    return 'go on'
  }

  #set(command: string, value: string): void {
    const { display } = this
    if (command === '\\r') this.reader.clear()
    if (command === '\\x') {
      display.expanded = !display.expanded
      process.stdout.write(`Rows are shown ${display.expanded ? 'below each other' : 'as a table'}.\n`)
    }
    if (command === '\\timing') {
      display.timing = !display.timing
      process.stdout.write(`Timing is ${display.timing ? 'on' : 'off'}.\n`)
    }
    if (command === '\\rows') display.rows = parseRows(value)
    if (command === '\\?') {
      const lines = COMMANDS.map(
        ({ name, argument, description }) => `${`${name} ${argument}`.padEnd(36)}${description}`,
      )
      process.stdout.write(`${lines.join('\n')}\n\nStatements end with a semicolon. Tab completes, Ctrl-C cancels.\n`)
    }
  }

  /** What stands before the command, as a statement. */
  #takePending(onStatement: (text: string) => void): string | undefined {
    const [statement] = this.reader.take()
    if (statement?.kind !== 'statement') return undefined
    onStatement(statement.text)
    return statement.text
  }

  async #chart(columns: string, signal: AbortSignal, onStatement: (text: string) => void): Promise<void> {
    const drawn: ChartColumns | undefined = columns === '' ? undefined : parseColumns(columns)
    const text = this.#takePending(onStatement)
    printChart(text === undefined ? this.#last?.result : await this.#query(text, signal), drawn)
  }

  async #watch(seconds: string, signal: AbortSignal, onStatement: (text: string) => void): Promise<void> {
    const every = Number(seconds === '' ? 2 : seconds)
    if (!(every > 0 && every <= 86_400)) throw new UsageError('INVALID_OPTION', '\\watch needs a number of seconds.')
    const text = this.#takePending(onStatement) ?? this.#last?.text
    if (text === undefined) throw new UsageError('INVALID_OPTION', 'There is no statement to watch.')
    while (!signal.aborted) {
      process.stdout.write(`${new Date().toISOString()}, every ${every} s\n`)
      await this.run(text, signal)
      // It rejects only when it is cut short, which the loop looks at.
      await wait(every * 1000, undefined, { signal }).catch(() => undefined)
    }
  }

  async #include(file: string, signal: AbortSignal, onStatement: (text: string) => void): Promise<Outcome> {
    if (this.place !== 'start') throw new UsageError('INVALID_OPTION', '\\i does not stand within a statement.')
    for (const line of readText(file.replace(/^'(.*)'$/s, '$1')).split(/\r?\n/)) {
      if ((await this.readLine(line, signal, onStatement)) === 'leave') return 'leave'
    }
    const text = this.#takePending(onStatement)
    if (text !== undefined) await this.run(text, signal)
    return 'go on'
  }
}

function copyRefused(cause: UsageError): UsageError {
  return new UsageError('INVALID_VALUE', 'COPY with standard input or output is no statement of the shell.', {
    hint: '\\copy does it with a file.',
    cause,
  })
}

function parseRows(text: string): number {
  if (text === 'all') return Number.MAX_SAFE_INTEGER
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new UsageError('INVALID_OPTION', '\\rows needs a whole number, or all.')
}

/** The line of a statement in which the server found an error, with a mark below it; undefined where it says none. */
export function markError(error: unknown, text: string): string | undefined {
  // A terminal's contents are copied to others, and so are logs.
  if (!(error instanceof QueryError) || error.position === undefined || holdsSecret(text)) return undefined
  // Positions count characters, not UTF-16 units.
  const before = [...text].slice(0, error.position - 1).join('')
  const number = before.split('\n').length
  const column = before.length - (before.lastIndexOf('\n') + 1)
  const line = (text.split('\n')[number - 1] ?? '').replaceAll('\t', ' ')
  const label = `line ${number}: `
  const start = Math.max(0, column - 60)
  const shown = line.slice(start, start + 100)
  return `${label}${shown}\n${' '.repeat(label.length + column - start)}${paint(process.stderr, 'red', '^')}`
}
