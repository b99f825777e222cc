import { type FileHandle, open, writeFile } from 'node:fs/promises'
import type { RejectedRow } from './batch.ts'

/** A file of one JSON object per rejected row: `row`, `reason`, `sqlState`, `source`. */
export class DeadLetterFile {
  readonly #path: string
  #file: FileHandle | undefined

  /** Nothing is opened before the first row. */
  constructor(path: string) {
    this.#path = path
  }

  /** Appends rows; they are on disk when it returns. */
  async write(rows: readonly RejectedRow[]): Promise<void> {
    if (rows.length === 0) return
    this.#file ??= await open(this.#path, 'a')
    await this.#file.appendFile(rows.map((row) => `${JSON.stringify(row, plain)}\n`).join(''))
    await this.#file.datasync()
  }

  /** Writes the file anew. */
  async replace(rows: readonly RejectedRow[]): Promise<void> {
    await writeFile(this.#path, '')
    await this.write(rows)
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
