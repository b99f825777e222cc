import { setTimeout as sleep } from 'node:timers/promises'

const ATTEMPTS = 4
const FIRST_WAIT_MS = 500
const REQUEST_MS = 10_000
/** More events than this at once are dropped, the oldest first. */
const MOST_WAITING = 100

/** Posts events to a URL as JSON, one after the other, each up to four times. What cannot be sent is said on stderr. */
export class WebHook {
  readonly #url: URL
  readonly #headers: Readonly<Record<string, string>>
  readonly #waiting: unknown[] = []
  readonly #ending = new AbortController()
  #sending: Promise<void> = Promise.resolve()

  constructor(url: URL) {
    // fetch refuses a URL with a password in it.
    const { username, password } = url
    this.#url = new URL(url)
    this.#url.username = ''
    this.#url.password = ''
    const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    const login =
      username === '' && password === '' ? {} : { authorization: `Basic ${Buffer.from(user).toString('base64')}` }
    this.#headers = { 'content-type': 'application/json', ...login }
  }

  post(event: unknown): void {
    this.#waiting.push(event)
    if (this.#waiting.length > MOST_WAITING) {
      this.#waiting.shift()
      this.#complain('too many events wait')
    }
    this.#sending = this.#sending.then(() => this.#sendNext())
  }

  /** Waits until all are sent, or given up; once `signal` is aborted, without trying again. */
  async drain(signal: AbortSignal): Promise<void> {
    if (signal.aborted) this.#ending.abort()
    signal.addEventListener('abort', () => this.#ending.abort(), { once: true })
    await this.#sending
  }

  async #sendNext(): Promise<void> {
    if (this.#waiting.length === 0) return
    const body = JSON.stringify(this.#waiting.shift())
    let problem = ''
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      problem = await this.#send(body)
      if (problem === '') return
      // The receiver understood it and does not want it.
      if (/^HTTP 4(?!08|29)/.test(problem) || this.#ending.signal.aborted) break
      if (attempt < ATTEMPTS) await this.#wait(FIRST_WAIT_MS * 2 ** (attempt - 1))
    }
    this.#complain(problem)
  }

  async #send(body: string): Promise<string> {
    try {
      const signal = AbortSignal.timeout(REQUEST_MS)
      const response = await fetch(this.#url, { method: 'POST', headers: this.#headers, body, signal })
      await response.body?.cancel()
      return response.ok ? '' : `HTTP ${response.status}`
    } catch (error) {
      // The cause of fetch has the reason; the message has nothing, or the URL.
      const { cause } = error instanceof Error ? error : {}
      return cause instanceof Error && 'code' in cause ? String(cause.code) : 'no answer'
    }
  }

  async #wait(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { signal: this.#ending.signal })
    } catch (error) {
      if (!this.#ending.signal.aborted) throw error
    }
  }

  /** Its path and query may be secret. */
  #complain(problem: string): void {
    process.stderr.write(`warning: an event was not posted to ${this.#url.host}: ${problem}\n`)
  }
}
