import { readFileSync } from 'node:fs'
import { unreadableFile } from '../../index.ts'

/**
 * The text of a file; `-` is standard input.
 * @throws UsageError INVALID_VALUE
 */
export function readText(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    throw unreadableFile(file === '-' ? 'standard input' : file, cause)
  }
}
