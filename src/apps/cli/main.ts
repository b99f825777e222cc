#!/usr/bin/env node
import { reportError } from './report.ts'
import { run } from './run.ts'

// A reader such as head may go away early, which is no failure; a full disk behind a redirection is one.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  process.exit(reportError(error, { json: process.argv.includes('--json'), debug: process.argv.includes('--debug') }))
})
// Nobody reads what is said beside a load or job: that is no reason to end it in the middle.
process.stderr.on('error', () => undefined)
process.exitCode = await run(process.argv.slice(2))
