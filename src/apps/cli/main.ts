#!/usr/bin/env node
import { run } from './run.ts'

// A reader such as head may go away early, which is no failure; a full disk behind a redirection is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  void fail(error)
})
// Nobody reads what is said beside a load or job: that is no reason to end it in the middle.
process.stderr.on('error', () => undefined)
process.exitCode = await run(process.argv.slice(2))

async function fail(error: Error): Promise<never> {
  // It reads the library, which help and version do not need.
  const { reportError } = await import('./report.ts')
  const [json, debug] = [process.argv.includes('--json'), process.argv.includes('--debug')]
  process.exit(reportError(error, { json, debug }))
}
