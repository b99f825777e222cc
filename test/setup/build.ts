import { execFileSync } from 'node:child_process'

/** The engine's worker thread runs compiled code (dist), also when the tests import src, so dist must be fresh. */
export function setup(): void {
  execFileSync('npm', ['run', 'build', '--silent'], { stdio: 'inherit', shell: process.platform === 'win32' })
}
