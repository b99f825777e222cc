/**
 * Runs programs from the working directory, each in a thread of its own, and prints a line of JSON for each. A thread ends
 * as a process does: when nothing keeps it alive. It is started and warm in a fifth of the time.
 */
import { text } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { connect } from 'tsdbkit'

export interface ProgramOutcome {
  readonly name: string
  readonly output: string
  /** Empty where it ended well. */
  readonly error: string
}

const AT_ONCE = 2
const LIMIT_MS = 60_000

async function run(name: string): Promise<ProgramOutcome> {
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

// Open all the time: engines of one process share their compiled code as long as one of them is there.
const db = await connect('embedded:')
const waiting = process.argv.slice(2)
async function work(): Promise<void> {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    process.stdout.write(`${JSON.stringify(await run(name))}\n`)
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, work))
await db.close()
