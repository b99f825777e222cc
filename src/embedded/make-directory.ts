import fs from 'node:fs'
import path from 'node:path'
import { types } from 'node:util'

/**
 * Makes a directory and those above it. Not by `recursive`: Node 20 then tries for ever where the kernel answers ENOENT
 * to mkdir, as it does in /proc.
 */
export function makeDirectory(place: string): void {
  const missing: string[] = []
  for (let up = place; !fs.existsSync(up) && up !== path.dirname(up); up = path.dirname(up)) missing.unshift(up)
  for (const directory of missing) {
    try {
      fs.mkdirSync(directory)
    } catch (error) {
      // Another process that makes the same directory was faster.
      if (!isErrno(error, 'EEXIST') || !fs.existsSync(directory)) throw error
    }
  }
}

/** True for the operating system's error of this code, also where tests run in a realm of their own, as jest's do. */
export const isErrno = (error: unknown, code: string): boolean =>
  types.isNativeError(error) && 'code' in error && error.code === code
