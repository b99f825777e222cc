import { types } from 'node:util'
import { ConnectionError, PlanError } from '../../errors.ts'

const fullCodes: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])
const readOnlyCodes: ReadonlySet<unknown> = new Set(['EROFS', 'EACCES', 'EPERM'])

/** The error of this library for one of the file system's. @throws PlanError as it is */
export function spillError(error: unknown): ConnectionError {
  // Both have no other class: they are this library's own already.
  if (error instanceof ConnectionError) return error
  if (error instanceof PlanError) throw error
  const code = types.isNativeError(error) && 'code' in error ? error.code : undefined
  const full = fullCodes.has(code)
  const readOnly = readOnlyCodes.has(code)
  const what = full ? 'No space is left' : readOnly ? 'Nothing can be written' : 'Reading or writing failed'
  return new ConnectionError(
    full ? 'DISK_FULL' : readOnly ? 'DIRECTORY_READ_ONLY' : 'SPILL_FAILED',
    `${what} in the spill directory${typeof code === 'string' ? ` (${code})` : ''}.`,
    { hint: 'What was accepted is kept; free space, or bring the database back.', retryable: true, cause: error },
  )
}

/** For a promise's `catch`. */
export function throwSpillError(error: unknown): never {
  throw spillError(error)
}

/** Bytes that are not as they were written. */
export function damaged(place: string, bytes: number, what = 'their rows'): ConnectionError {
  return new ConnectionError(
    'SPILL_DAMAGED',
    `${bytes} bytes of ${place} are not as they were written: ${what} are lost.`,
    {
      hint: `A copy is in ${place}.damaged. Look at the disk.`,
    },
  )
}

/** A directory that was used for another table. */
export function otherTable(directory: string, there: string, wanted: string): PlanError {
  return new PlanError('DRIFT', `The spill directory ${directory} holds rows of ${there}, not of ${wanted}.`, {
    hint: 'Give each table a directory of its own.',
  })
}
