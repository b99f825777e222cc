import type { Command } from 'commander'
import { connect, type Database } from '../../index.ts'
import { Interrupted } from './report.ts'

/** The options that every verb has. */
export interface GlobalOptions {
  readonly target?: string
  readonly config?: string
  readonly json?: boolean
}

/** Work on an open database; `signal` is aborted when the user interrupts it. */
export type Work<T> = (db: Database, signal: AbortSignal) => Promise<T>

/** Ctrl-C, the end of a service, and a terminal that is closed. */
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Opens the database that the options name, works on it and closes it. Ctrl-C cancels the running statement; a second
 * one ends the program at once.
 * @throws Interrupted, and whatever `work` throws
 */
export async function withDatabase<T>(
  command: Command,
  work: Work<T>,
  { jobs = false }: { readonly jobs?: boolean } = {},
): Promise<T> {
  const { target, config } = command.optsWithGlobals<GlobalOptions>()
  const interruption = new AbortController()
  const interrupt = (): void => {
    if (interruption.signal.aborted) process.exit(130)
    interruption.abort()
  }
  for (const signal of ENDING) process.on(signal, interrupt)
  try {
    // A verb that only looks must not start what is due: a retention policy would drop chunks.
    await using db = await connect(target, { jobs, ...(config === undefined ? {} : { config }) })
    interruption.signal.throwIfAborted()
    return await work(db, interruption.signal)
  } catch (error) {
    if (!interruption.signal.aborted || error instanceof Interrupted) throw error
    throw new Interrupted('Interrupted.', { cause: error })
  } finally {
    for (const signal of ENDING) process.off(signal, interrupt)
  }
}
