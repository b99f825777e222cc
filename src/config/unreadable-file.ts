import { open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { UsageError } from '../errors.ts'
import { nearest } from '../sql/nearest.ts'

/** Why a file cannot be read, to be put after its name; undefined for what the system says in its own words. */
export function whyUnreadable(cause: unknown): string | undefined {
  const code = types.isNativeError(cause) && 'code' in cause ? cause.code : undefined
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist'
  if (code === 'EISDIR') return 'is a directory'
  if (code === 'EACCES' || code === 'EPERM') return 'may not be read by this user'
  return undefined
}

/** The error for a file that cannot be read, with its path as it was given, and what to do. */
export function unreadableFile(path: string, cause: unknown): UsageError {
  const why = whyUnreadable(cause)
  const said = types.isNativeError(cause) ? cause.message : String(cause)
  const hints: Readonly<Record<string, string>> = {
    'does not exist': `It was looked for in ${dirname(resolve(path))}.`,
    'is a directory': 'Give one of the files in it.',
    'may not be read by this user': 'Give this user the right to read it, and to enter its directories.',
  }
  const message = why === undefined ? `The file ${path} cannot be read: ${said}.` : `The file ${path} ${why}.`
  return new UsageError('INVALID_VALUE', message, { hint: hints[why ?? ''], cause })
}

/**
 * Runs what reads a source; where that fails because of the file, the error says so, with the path and what to do.
 * @throws UsageError INVALID_VALUE
 */
export async function readingFile<T>(source: unknown, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (error) {
    // A directory without a known ending is refused for that.
    if ((types.isNativeError(error) && 'syscall' in error) || error instanceof UsageError) {
      const path = pathOf(source)
      const found = path === undefined ? undefined : await stat(path).catch(() => undefined)
      if (!(error instanceof UsageError) || found?.isDirectory() === true) await requireReadable(source)
    }
    throw error
  }
}

function pathOf(source: unknown): string | undefined {
  const path = source instanceof URL && source.protocol === 'file:' ? fileURLToPath(source) : source
  return typeof path === 'string' && path !== '-' ? path : undefined
}

/**
 * Returns where a source is no file, or one that can be read.
 * @throws UsageError INVALID_VALUE; the hint names a file beside it that may be meant
 */
export async function requireReadable(source: unknown): Promise<void> {
  const path = pathOf(source)
  if (path === undefined) return
  try {
    const found = await stat(path)
    if (found.isDirectory()) throw Object.assign(new Error('is a directory'), { code: 'EISDIR' })
    // Opening a pipe would wait for who writes to it.
    if (found.isFile()) await (await open(path)).close()
  } catch (cause) {
    const error = unreadableFile(path, cause)
    const beside = whyUnreadable(cause) === 'does not exist' ? await readdir(dirname(path)).catch(() => []) : []
    const like = nearest(basename(path), beside)
    if (like === undefined) throw error
    throw new UsageError('INVALID_VALUE', error.message, {
      hint: `Did you mean '${join(dirname(path), like)}'?`,
      cause,
    })
  }
}
