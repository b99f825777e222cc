/** Races for directories named on standard input, one per line; answers `won` or the error's code and message. */
import { createInterface } from 'node:readline'
import { lockDirectory } from '../../src/embedded/directory-lock.ts'

const held: { release(): void }[] = []
for await (const directory of createInterface({ input: process.stdin })) {
  try {
    held.push(lockDirectory(directory))
    process.stdout.write('won\n')
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string }
    process.stdout.write(`${code} ${message}\n`)
  }
}
