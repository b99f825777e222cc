import { execFileSync } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'

/** Whether tmux, which gives a program a real terminal of any size, is installed. */
export const hasTmux: boolean = (() => {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()
if (!hasTmux) process.stdout.write('Skipped: the tests of the shell in a terminal (tmux is not installed).\n')

/** A program in a terminal of its own. */
export class Screen implements Disposable {
  readonly #socket: string = `tsdb-test-${process.pid}-${Math.random().toString(36).slice(2, 8)}`

  /** @param command - run by sh; its exit code is shown when it has ended */
  constructor(
    command: string,
    env: Readonly<Record<string, string>>,
    size: { readonly width: number; readonly height: number },
  ) {
    const settings = Object.entries(env).map(([name, value]) => `${name}='${value}'`)
    const shown = `env ${settings.join(' ')} ${command}; echo "exit $?"; sleep 600`
    this.#tmux('new-session', '-d', '-x', String(size.width), '-y', String(size.height), shown)
  }

  /** What is on the screen, without the spaces at the end. */
  get text(): string {
    return this.#tmux('capture-pane', '-p').trimEnd()
  }

  /** Types a text, as it is. */
  type(text: string): void {
    // tmux takes a semicolon at the end for its own.
    this.#tmux('send-keys', '-l', '--', text.replace(/;$/, '\\;'))
  }

  /** Presses keys by tmux's names, such as `Tab`, `C-c`. */
  press(...keys: string[]): void {
    this.#tmux('send-keys', ...keys)
  }

  /** Types a line. */
  enter(text: string): void {
    this.type(text)
    this.press('Enter')
  }

  /** Waits until the screen shows something; gives the screen. */
  async shows(pattern: RegExp): Promise<string> {
    for (let attempt = 0; attempt < 300; attempt++) {
      const text = this.text
      if (pattern.test(text)) return text
      await wait(100)
    }
    throw new Error(`The screen does not show ${pattern}:\n${this.text}`)
  }

  [Symbol.dispose](): void {
    try {
      this.#tmux('kill-server')
    } catch {
      // It ended with its last program.
    }
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-L', this.#socket, '-f', '/dev/null', ...args], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], TERM: 'xterm-256color', LANG: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }
}
