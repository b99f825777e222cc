/**
 * Runs programs from the working directory, one after the other in this process, and prints a line of JSON for each. Their
 * temporary databases stand on one engine that goes back to its beginning: an engine and an import of the package for each
 * program would be ten times the work. Those named after `--alone` have a thread and an engine of their own.
 */
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { EmbeddedDatabase as Embedded, EmbeddedOptions } from '../../src/embedded/embedded-database.ts'
import type { RewindableEngine as Rewindable } from '../../src/embedded/rewindable-engine.ts'
import { EngineLender } from './engine-lender.ts'

export interface ProgramOutcome {
  readonly name: string
  readonly output: string
  /** Empty where it ended well. */
  readonly error: string
}

const LIMIT_MS = 60_000

/** The files that `tsdbkit` runs, which hold the same classes for the programs. */
const built = (file: string): string => pathToFileURL(`node_modules/tsdbkit/dist/embedded/${file}`).href
const { EmbeddedDatabase }: { EmbeddedDatabase: { open(options: EmbeddedOptions): Promise<Embedded> } } = await import(
  built('embedded-database.js')
)
const { RewindableEngine }: { RewindableEngine: typeof Rewindable } = await import(built('rewindable-engine.js'))

const engine = new RewindableEngine(() => undefined)
const lender = new EngineLender(engine)
const openOwn = EmbeddedDatabase.open.bind(EmbeddedDatabase)
EmbeddedDatabase.open = async (options) => {
  // One that is to stay, and a second one beside another, are opened as ever.
  const { directory, clock, jobs = false } = options
  if (directory !== undefined) return openOwn(options)
  return (await lender.lend({ ...options, jobs: clock === undefined && jobs })) ?? openOwn(options)
}

async function runHere(name: string): Promise<ProgramOutcome> {
  const errors: string[] = []
  const fail = (error: unknown): void => {
    errors.push(error instanceof Error ? (error.stack ?? String(error)) : String(error))
  }
  let output = ''
  const { write } = process.stdout
  process.stdout.write = (bytes: Uint8Array | string): boolean => {
    output += typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString()
    return true
  }
  process.on('unhandledRejection', fail).on('uncaughtException', fail)
  let limit: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    limit = setTimeout(() => reject(new Error(`it has not ended after ${LIMIT_MS / 1000} s`)), LIMIT_MS)
  })
  try {
    await Promise.race([import(pathToFileURL(name).href), late])
    // What it left running has a turn to fail.
    await new Promise(setImmediate)
    if (lender.isLent) fail('it left its database open')
  } catch (error) {
    fail(error)
  } finally {
    clearTimeout(limit)
    process.stdout.write = write
    process.off('unhandledRejection', fail).off('uncaughtException', fail)
  }
  return { name, output, error: errors.join('\n') }
}

async function runAlone(name: string): Promise<ProgramOutcome> {
  const thread = new Worker(pathToFileURL(name), { stdout: true, stderr: true })
  const errors: string[] = []
  const limit = setTimeout(() => {
    errors.push(`it has not ended after ${LIMIT_MS / 1000} s`)
    void thread.terminate()
  }, LIMIT_MS)
  thread.on('error', (error) => errors.push(error.stack ?? String(error)))
  const code = new Promise<number>((resolve) => thread.once('exit', resolve))
  const [output, written] = await Promise.all([text(thread.stdout), text(thread.stderr)])
  if ((await code) !== 0) errors.push(`exit code ${await code}`, written)
  clearTimeout(limit)
  return { name, output, error: errors.join('\n') }
}

let run = runHere
for (const name of process.argv.slice(2)) {
  if (name === '--alone') run = runAlone
  else process.stdout.write(`${JSON.stringify(await run(name))}\n`)
}
await engine.close()
