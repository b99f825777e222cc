import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * The engine's worker thread runs compiled code (dist), also when the tests import src, so dist must be fresh. Makes the
 * place of what the files of one run share; gives what removes it.
 */
export function setup(): () => void {
  execFileSync('npm', ['run', 'build', '--silent'], { stdio: 'inherit', shell: process.platform === 'win32' })
  const shared = mkdtempSync(join(tmpdir(), 'tsdbkit-run-'))
  // PostgreSQL runs as another user where the tests run as root.
  chmodSync(shared, 0o755)
  process.env['TSDB_TEST_CLUSTER'] = shared
  return () => rmSync(shared, { recursive: true, force: true })
}
