import { once } from 'node:events'
import { createInterface, type Interface } from 'node:readline'
import { Interrupted, reportError } from '../report.ts'
import { complete } from './completion.ts'
import { appendHistory, foldStatement, historyFile, holdsSecret, readHistory } from './history.ts'
import { markError, type Shell } from './shell.ts'

/** Marks of the prompt by where the text stops. */
const MARKS = { start: '=', statement: '-', "'": "'", '"': '"', $: '$', '(': '(', '/*': '/' } as const

/** The shell on a terminal: prompt, keys, history, completion. It ends with Ctrl-D, `\q`, or when `signal` is aborted. */
export class Terminal {
  readonly #shell: Shell
  readonly #name: string
  readonly #debug: boolean
  readonly #input: Interface
  readonly #file: string = historyFile(process.env)
  #history: string[] = []
  readonly #typed: string[] = []
  #lines: string[] = []
  #running: AbortController | undefined
  #statement = ''
  #ended = false

  constructor(shell: Shell, { name, debug }: { readonly name: string; readonly debug: boolean }) {
    this.#shell = shell
    this.#name = name
    this.#debug = debug
    this.#input = createInterface({
      input: process.stdin,
      output: process.stdout,
      terminal: true,
      historySize: 1000,
      history: readHistory(this.#file),
      completer: (line: string, done: (error: Error | null, found?: [string[], string]) => void) =>
        void this.#complete(line).then((found) => done(null, found)),
    })
  }

  async run(signal: AbortSignal): Promise<void> {
    const closed = once(this.#input, 'close')
    let wake = (): void => undefined
    const leave = (): void => {
      this.#running?.abort()
      this.#input.close()
    }
    signal.addEventListener('abort', leave, { once: true })
    this.#input.on('history', (history) => this.#keepStatements(history))
    this.#input.on('SIGINT', () => this.#interrupt())
    this.#input.on('line', (line) => {
      this.#lines.push(line)
      wake()
    })
    this.#input.on('close', () => {
      this.#ended = true
      wake()
    })
    this.#prompt()
    while (!this.#ended || this.#lines.length > 0) {
      const line = this.#lines.shift()
      if (line === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      } else if (signal.aborted || (await this.#readLine(line)) === 'leave') break
      else if (this.#lines.length === 0 && !this.#ended) this.#prompt()
    }
    // Ctrl-D leaves the cursor behind the prompt.
    if (this.#ended) process.stdout.write('\n')
    this.#input.close()
    await closed
    signal.removeEventListener('abort', leave)
    if (this.#shell.transactionState !== 'none') process.stderr.write('The open transaction is rolled back.\n')
    if (signal.aborted) throw new Interrupted('Interrupted.')
  }

  async #readLine(line: string): Promise<'go on' | 'leave'> {
    const running = new AbortController()
    this.#running = running
    this.#typed.push(line)
    this.#statement = ''
    const failed = (error: unknown): void => this.#report(error, running.signal.aborted)
    try {
      return await this.#shell.readLine(line, running.signal, (text) => {
        this.#statement = text
      })
    } catch (error) {
      failed(error)
      return 'go on'
    } finally {
      this.#running = undefined
      if (this.#shell.place === 'start') this.#remember()
    }
  }

  #report(error: unknown, interrupted: boolean): void {
    if (interrupted) {
      process.stderr.write('Cancelled.\n')
      return
    }
    reportError(error, { json: false, debug: this.#debug })
    const mark = markError(error, this.#statement)
    if (mark !== undefined) process.stderr.write(`${mark}\n`)
  }

  #prompt(): void {
    const { place, transactionState } = this.#shell
    const state = transactionState === 'none' ? '' : transactionState === 'open' ? '*' : '!'
    this.#input.setPrompt(`${this.#name}${MARKS[place]}${state}> `)
    this.#input.prompt()
  }

  /** Ctrl-C: ends what runs, else forgets what was typed. */
  #interrupt(): void {
    if (this.#running !== undefined) {
      this.#lines = []
      this.#running.abort()
      return
    }
    process.stdout.write('^C\n')
    this.#input.write(null, { ctrl: true, name: 'e' })
    this.#input.write(null, { ctrl: true, name: 'u' })
    this.#shell.reader.clear()
    this.#typed.length = 0
    this.#prompt()
  }

  /** The editor remembers lines; here whole statements are remembered, once they have ended. */
  #keepStatements(history: string[]): void {
    this.#history = history
    history.shift()
  }

  #remember(): void {
    const lines = this.#typed.splice(0)
    const text = lines.join('\n')
    const folded = foldStatement(text)
    for (const entry of folded === undefined ? lines : [folded]) {
      const line = entry.trim()
      if (line === '' || line === this.#history[0]) continue
      this.#history.unshift(line)
      // As a shell does: what begins with a space is not meant to be kept either.
      if (!holdsSecret(text) && !entry.startsWith(' ')) appendHistory(this.#file, line)
    }
  }

  async #complete(line: string): Promise<[string[], string]> {
    // The statement that runs has the connection.
    if (this.#running !== undefined) return [[], line]
    try {
      const names = await this.#shell.names()
      return complete(this.#shell.reader.pending + line, names)
    } catch {
      // Nothing to offer is no reason to disturb who is typing.
      return [[], line]
    }
  }
}
