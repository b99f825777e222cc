import { type FileHandle, mkdir, open, readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { type DirectoryLock, lockDirectory } from '../../embedded/directory-lock.ts'
import { ConnectionError } from '../../errors.ts'
import { damaged, otherTable, spillError, throwSpillError } from './spill-error.ts'
import { keepDamaged, readSpilled, type SpilledBatch, scanSpillFile } from './spill-file.ts'
import { encodeBatchBody, encodeFrame, encodeHeader } from './spill-frame.ts'
import type { WriterBatch } from './writer-batch.ts'

interface SpillFile {
  readonly path: string
  readonly importId: string
  readonly batches: SpilledBatch[]
  /** All that may be in the file, also what was taken back and could not be cut off. */
  readonly windows: { readonly importId: string; readonly number: number }[]
  /** How many of the batches are in the table. */
  done: number
  size: number
}

/** A file that is gone: its windows can be forgotten. */
export interface RemovedFile {
  readonly importId: string
  readonly windows: readonly { readonly importId: string; readonly number: number }[]
}

/** Whose rows a spill directory holds. */
export interface SpillOwner {
  readonly directory: string
  readonly importId: string
  readonly target: string
  readonly maxBytes: number
  readonly onError: (error: Error) => void
}

/** A file that is this large is followed by another. */
const fileBytes = 16 * 1024 * 1024

/** Batches on disk, in the order they were written, until each is in the table. One process at a time has the directory. */
export class SpillLog {
  readonly #owner: SpillOwner
  readonly #lock: DirectoryLock
  /** The oldest first; the last one is written to where `#handle` is set. */
  readonly #files: SpillFile[] = []
  #handle: FileHandle | undefined
  #rows = 0
  #lastNumber = 0
  /** Whether cutting a file failed, so that it is not known what of it is on disk. */
  #unsure = false

  private constructor(owner: SpillOwner, lock: DirectoryLock) {
    this.#owner = owner
    this.#lock = lock
  }

  /**
   * Locks the directory and reads what it holds.
   * @throws ConnectionError DIRECTORY_LOCKED, DISK_FULL, DIRECTORY_READ_ONLY, SPILL_FAILED
   * @throws PlanError DRIFT where it holds rows of another table
   */
  static async open(owner: SpillOwner): Promise<SpillLog> {
    await mkdir(owner.directory, { recursive: true }).catch(throwSpillError)
    const log = new SpillLog(owner, lockDirectory(owner.directory))
    try {
      await log.#read()
      await log.#begin()
      return log
    } catch (error) {
      await log.close()
      throw spillError(error)
    }
  }

  /** Rows that are not in the table yet. */
  get rows(): number {
    return this.#rows
  }

  get bytes(): number {
    return this.#files.reduce((sum, { size }) => sum + size, 0)
  }

  /** When the oldest of them was accepted. */
  get since(): number | undefined {
    const file = this.#files.find(({ batches, done }) => done < batches.length)
    return file?.batches[file.done]?.since
  }

  /** The imports that files are of. */
  get importIds(): ReadonlySet<string> {
    return new Set(this.#files.flatMap(({ importId, batches }) => [importId, ...batches.map((one) => one.importId)]))
  }

  /**
   * Appends batches, and waits until they are on disk.
   * @returns how many were taken, and why not all were
   */
  async append(batches: readonly WriterBatch[]): Promise<{ readonly taken: number; readonly error?: ConnectionError }> {
    const added: SpilledBatch[] = []
    let failure: unknown
    try {
      for (const batch of batches) added.push(await this.#write(batch))
    } catch (error) {
      failure = error
    }
    try {
      if (added.length > 0) await this.#handle?.datasync()
      if (this.#unsure) throw failure
    } catch (error) {
      // What did not reach the disk is not known: nothing since the last sync counts.
      failure = error
      await this.#takeBack(added)
      added.length = 0
    }
    this.#unsure = false
    const error = failure === undefined ? undefined : spillError(failure)
    return error === undefined ? { taken: added.length } : { taken: added.length, error }
  }

  /** The oldest batch that is not in the table; undefined where there is none. */
  async next(): Promise<WriterBatch | undefined> {
    for (;;) {
      const file = this.#files.find(({ batches, done }) => done < batches.length)
      const head = file?.batches[file.done]
      if (file === undefined || head === undefined) return undefined
      const batch = await readSpilled(file.path, head).catch(throwSpillError)
      if (batch !== undefined) return batch
      await keepDamaged(file.path)
      this.#owner.onError(damaged(file.path, head.length, `${head.rows} rows`))
      await this.remove()
    }
  }

  /** Notes that the batch `next` gave is in the table; gives the file that is removed with it. */
  async remove(): Promise<RemovedFile | undefined> {
    const file = this.#files.find(({ batches, done }) => done < batches.length)
    if (file === undefined) return undefined
    this.#rows -= file.batches[file.done]?.rows ?? 0
    file.done++
    if (file.done < file.batches.length) return undefined
    try {
      if (file === this.#files.at(-1)) await this.#begin()
      return await this.#unlink(file)
    } catch {
      // A full disk: the file stays until the log is closed, and the ledger remembers its windows.
      return undefined
    }
  }

  /** Whether a batch of this import may be in a file, and its window must not be forgotten. */
  holds(importId: string, number: number): boolean {
    return this.#files.some(({ windows }) => windows.some((one) => one.number === number && one.importId === importId))
  }

  /** Removes the files of earlier writers that hold nothing. */
  async removeEmpty(): Promise<RemovedFile[]> {
    const removed: RemovedFile[] = []
    for (const file of this.#files.slice(0, -1)) {
      if (file.batches.length === 0) removed.push(await this.#unlink(file).catch(throwSpillError))
    }
    return removed
  }

  /** Frees the directory. What is not in the table stays there; files without any of it are removed. */
  async close(): Promise<void> {
    try {
      await this.#handle?.close()
      this.#handle = undefined
      for (const file of [...this.#files]) {
        if (file.done === file.batches.length) await this.#unlink(file)
      }
    } finally {
      this.#lock.release()
    }
  }

  async #read(): Promise<void> {
    const { directory, target, onError } = this.#owner
    const names = (await readdir(directory)).filter((name) => /^\d{12}\.spill$/.test(name)).sort()
    for (const name of names) {
      const place = path.join(directory, name)
      const { header, batches, size, damagedBytes } = await scanSpillFile(place)
      this.#lastNumber = Number.parseInt(name, 10)
      if (header !== undefined && header.target !== target) throw otherTable(directory, header.target, target)
      if (damagedBytes > 0) onError(damaged(place, damagedBytes))
      const importId = header?.importId ?? batches[0]?.importId ?? ''
      this.#rows += batches.reduce((sum, { rows }) => sum + rows, 0)
      this.#files.push({ path: place, importId, batches: [...batches], windows: [...batches], done: 0, size })
    }
  }

  /** Begins a file of this writer's own; by it the next writer finds this import, should this one be killed. */
  async #begin(): Promise<void> {
    const { directory, importId, target } = this.#owner
    const place = path.join(directory, `${String(++this.#lastNumber).padStart(12, '0')}.spill`)
    const handle = await open(place, 'wx')
    const file: SpillFile = { path: place, importId, batches: [], windows: [], done: 0, size: 0 }
    try {
      file.size = await writeAll(handle, encodeFrame(encodeHeader({ version: 1, importId, target })), 0)
      await handle.datasync()
      await syncDirectory(directory)
    } catch (error) {
      await handle.close()
      await unlink(place)
      throw error
    }
    await this.#handle?.close()
    this.#handle = handle
    this.#files.push(file)
  }

  async #write(batch: WriterBatch): Promise<SpilledBatch> {
    if (this.#handle === undefined || (this.#files.at(-1)?.size ?? 0) >= fileBytes) {
      await this.#handle?.datasync()
      await this.#begin()
    }
    const file = this.#files.at(-1)
    const handle = this.#handle
    if (file === undefined || handle === undefined) throw new TypeError('There is no spill file')
    const frame = encodeFrame(encodeBatchBody(batch))
    const length = frame.reduce((sum, part) => sum + part.length, 0)
    if (this.bytes + length > this.#owner.maxBytes) {
      throw new ConnectionError(
        'DISK_FULL',
        `The spill directory has reached its limit of ${this.#owner.maxBytes} bytes.`,
      )
    }
    const { importId, number, rows, since } = batch
    file.windows.push({ importId, number })
    try {
      await writeAll(handle, frame, file.size)
    } catch (error) {
      await this.#cut(file)
      throw error
    }
    const spilled = { offset: file.size, length, importId, number, rows, since }
    file.batches.push(spilled)
    this.#rows += rows
    file.size += length
    return spilled
  }

  async #takeBack(added: readonly SpilledBatch[]): Promise<void> {
    for (const file of this.#files) {
      const first = file.batches.findIndex((one) => added.includes(one))
      if (first < 0) continue
      file.size = file.batches[first]?.offset ?? file.size
      for (const { rows } of file.batches.splice(first)) this.#rows -= rows
      await this.#cut(file)
    }
  }

  /** Cuts off what was not written whole, and syncs what was before. Where that fails, the file is not gone on with. */
  async #cut(file: SpillFile): Promise<void> {
    const handle = this.#handle
    try {
      await handle?.truncate(file.size)
      await handle?.datasync()
    } catch {
      this.#unsure = true
      this.#handle = undefined
      await handle?.close()
    }
  }

  async #unlink(file: SpillFile): Promise<RemovedFile> {
    await unlink(file.path)
    // Else it could come back after a power failure, when the ledger has forgotten its windows.
    await syncDirectory(this.#owner.directory)
    this.#files.splice(this.#files.indexOf(file), 1)
    return { importId: file.importId, windows: file.windows }
  }
}

async function writeAll(handle: FileHandle, parts: readonly Buffer[], at: number): Promise<number> {
  const bytes = Buffer.concat(parts)
  for (let written = 0; written < bytes.length; ) {
    written += (await handle.write(bytes, written, bytes.length - written, at + written)).bytesWritten
  }
  return at + bytes.length
}

async function syncDirectory(directory: string): Promise<void> {
  // Windows cannot open a directory, and needs no sync of it.
  if (process.platform === 'win32') return
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
