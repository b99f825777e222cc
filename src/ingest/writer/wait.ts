import { ConnectionError } from '../../errors.ts'

/** Wakes all who wait for it. */
export class Signal {
  #wake = (): void => undefined
  #promise: Promise<void> | undefined

  /** Resolves when it is given next. */
  next(): Promise<void> {
    this.#promise ??= new Promise((resolve) => {
      this.#wake = resolve
    })
    return this.#promise
  }

  give(): void {
    this.#promise = undefined
    this.#wake()
  }
}

/** Lets one after another. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs it when all that came before has ended. */
  take<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(run)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

/** Waits for a promise, but no longer than `ms`; without it as long as it takes. */
export async function atMost(promise: Promise<void>, ms: number | undefined): Promise<void> {
  if (ms === undefined) return promise
  let timer: NodeJS.Timeout | undefined
  const elapsed = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([promise, elapsed]).finally(() => clearTimeout(timer))
}

/** 50 ms, doubled with each attempt up to 5 s or `mostMs`, and by chance half to one and a half of it. */
export class Pause {
  readonly elapsed: Promise<void>
  isOver = false
  readonly #timer: NodeJS.Timeout

  /** @param attempt - how many there were before, from 0 */
  constructor(attempt: number, mostMs: number) {
    const delay = Math.min(50 * 2 ** Math.min(attempt, 10), 5000, mostMs) * (0.5 + Math.random())
    let resolve = (): void => undefined
    this.elapsed = new Promise((done) => {
      resolve = done
    })
    this.#timer = setTimeout(() => {
      this.isOver = true
      resolve()
    }, delay)
  }

  set keepsProcess(keeps: boolean) {
    if (keeps) this.#timer.ref()
    else this.#timer.unref()
  }

  end(): void {
    clearTimeout(this.#timer)
  }
}

/** Until a connection that takes everything and gives nothing is given up, rows would be in memory only. */
const graceMs = 1000

/**
 * What comes of an attempt; a second after its signal was aborted it is not waited for any more.
 * @throws ConnectionError CONNECTION_LOST then; what the attempt throws
 */
export async function answered<T>(attempt: Promise<T>, signal: AbortSignal): Promise<T> {
  let giveUp = (): void => undefined
  let timer: NodeJS.Timeout | undefined
  const silence = new Promise<never>((_, reject) => {
    giveUp = () => {
      timer = setTimeout(() => reject(new ConnectionError('CONNECTION_LOST', 'The database does not answer.')), graceMs)
    }
    signal.addEventListener('abort', giveUp, { once: true })
  })
  try {
    return await Promise.race([attempt, silence])
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', giveUp)
  }
}
