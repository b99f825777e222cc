import { constants, createReadStream } from 'node:fs'
import { access, type FileHandle, open, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { types } from 'node:util'
import { ConnectionError, UsageError } from '../errors.ts'
import type { RejectedRow } from './batch.ts'
import { Turns } from './writer/wait.ts'

/** A file of one JSON object per rejected row: `row`, `reason`, `sqlState`, `source`, of an import also `importId`. */
export class DeadLetterFile {
  readonly #path: string
  readonly #turns = new Turns()
  #file: FileHandle | undefined

  /** Nothing is opened before the first row. */
  constructor(path: string) {
    this.#path = path
  }

  /** Looks whether rows can be noted, before there are any. @throws UsageError INVALID_VALUE */
  async check(): Promise<void> {
    const found = await stat(this.#path).catch(() => undefined)
    if (found?.isDirectory() === true) throw new UsageError('INVALID_VALUE', `${this.#path} is a directory.`)
    const place = found === undefined ? dirname(this.#path) : this.#path
    await access(place, constants.W_OK).catch((error: unknown) => {
      throw this.#unwritable(error)
    })
  }

  /** Appends rows; they are on disk when it returns. @throws ConnectionError DISK_FULL; UsageError INVALID_VALUE */
  async write(rows: readonly RejectedRow[]): Promise<void> {
    await this.#append(rows.map((row) => JSON.stringify(row, plain)))
  }

  /**
   * Appends those rows of an import that are not in the file yet, which other loads write to as well. Two loads of the same
   * import must not do this at once.
   */
  async complete(importId: string, rows: readonly RejectedRow[]): Promise<void> {
    if (rows.length === 0) return
    const lines = rows.map((row) => JSON.stringify({ importId, ...row }, plain))
    const there = await this.#linesOf(importId)
    await this.#append(lines.filter((line) => !there.has(line)))
  }

  close(): Promise<void> {
    return this.#turns.take(async () => this.#file?.close())
  }

  #append(lines: readonly string[]): Promise<void> {
    if (lines.length === 0) return Promise.resolve()
    return this.#turns.take(async () => {
      try {
        this.#file ??= await open(this.#path, 'a')
        await append(this.#file, following(await unfinishedLine(this.#path), lines))
      } catch (error) {
        throw this.#unwritable(error)
      }
    })
  }

  async #linesOf(importId: string): Promise<ReadonlySet<string>> {
    const lines = new Set<string>()
    const found = await stat(this.#path).catch(() => undefined)
    if (found?.isFile() !== true) return lines
    const start = `{"importId":${JSON.stringify(importId)},`
    for await (const line of createInterface({ input: createReadStream(this.#path), crlfDelay: Infinity })) {
      if (line.startsWith(start)) lines.add(line)
    }
    return lines
  }

  #unwritable(cause: unknown): Error {
    const code = codeOf(cause)
    const what = `Rejected rows cannot be noted in ${this.#path}`
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      return new ConnectionError('DISK_FULL', `${what}: no space is left.`, { cause })
    }
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such directory',
      EACCES: 'it is not allowed',
      EROFS: 'the file system is read-only',
    }
    const why = reasons[code ?? ''] ?? (cause instanceof Error ? cause.message : String(cause))
    return new UsageError('INVALID_VALUE', `${what}: ${why}.`, { cause })
  }
}

/** What a file has after its last newline: the beginning of a line that a kill has cut off. */
async function unfinishedLine(path: string): Promise<Buffer> {
  const found = await stat(path)
  // A device or pipe has no lines to be read again.
  if (!found.isFile() || found.size === 0) return Buffer.alloc(0)
  const file = await open(path, 'r')
  try {
    for (let length = 4096; ; length *= 2) {
      const start = Math.max(0, found.size - length)
      const { buffer, bytesRead } = await file.read(Buffer.alloc(found.size - start), 0, found.size - start, start)
      const end = buffer.subarray(0, bytesRead)
      const last = end.lastIndexOf('\n')
      if (last >= 0 || start === 0) return end.subarray(last + 1)
    }
  } finally {
    await file.close()
  }
}

/** The bytes of lines, to come after the beginning of one: of these, which is then ended first, or of another one. */
function following(unfinished: Buffer, lines: readonly string[]): Buffer {
  const bytes = lines.map((line) => Buffer.from(`${line}\n`))
  if (unfinished.length === 0) return Buffer.concat(bytes)
  const own = bytes.findIndex((line) => line.subarray(0, unfinished.length).equals(unfinished))
  if (own < 0) return Buffer.concat([Buffer.from('\n'), ...bytes])
  const [line = unfinished] = bytes.splice(own, 1)
  return Buffer.concat([line.subarray(unfinished.length), ...bytes])
}

/** Appends all of the bytes, or none. */
async function append(file: FileHandle, bytes: Buffer): Promise<void> {
  const { size } = await file.stat()
  let written = 0
  try {
    while (written < bytes.length) written += (await file.write(bytes, written)).bytesWritten
    // A device or pipe knows none.
    await file.datasync().catch((error: unknown) => {
      if (codeOf(error) !== 'EINVAL') throw error
    })
  } catch (error) {
    // Half a line would spoil the next one. What another process appended meanwhile is not ours to cut off.
    if (written > 0 && (await file.stat()).size === size + written) await file.truncate(size)
    throw error
  }
}

function codeOf(error: unknown): string | undefined {
  return types.isNativeError(error) && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
