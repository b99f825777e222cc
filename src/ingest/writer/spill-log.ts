import { type FileHandle, mkdir, open, readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { type DirectoryLock, lockDirectory } from '../../embedded/directory-lock.ts'
import { ConnectionError, TimescaleError } from '../../errors.ts'
import { damaged, otherTable, spillError, throwSpillError } from './spill-error.ts'
import { keepDamaged, readSpilled, type SpilledBatch, scanSpillFile } from './spill-file.ts'
import { encodeBatchBody, encodeFrame, encodeHeader } from './spill-frame.ts'
import { Turns } from './wait.ts'
import type { Lane, WriterBatch } from './writer-batch.ts'

interface SpillFile {
  readonly path: string
  readonly importId: string
  /** Those that are not in the table, the oldest first. */
  readonly batches: SpilledBatch[]
  /** All that may be in the file, also what was taken back and could not be cut off. */
  readonly windows: { readonly importId: string; readonly number: number }[]
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
  readonly #rows: Record<Lane, number> = { live: 0, late: 0 }
  readonly #turns = new Turns()
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
    const log = new SpillLog(owner, locked(owner.directory))
    try {
      await log.#read()
      await log.#begin().catch((error: unknown) => {
        // What fills the disk may be what is to be written from here.
        if (log.rows === 0 || spillError(error).code !== 'DISK_FULL') throw error
      })
      return log
    } catch (error) {
      await log.close()
      throw spillError(error)
    }
  }

  /** Rows that are not in the table yet. */
  get rows(): number {
    return this.#rows.live + this.#rows.late
  }

  /** Those of one lane. */
  rowsOf(lane: Lane): number {
    return this.#rows[lane]
  }

  get bytes(): number {
    return this.#files.reduce((sum, { size }) => sum + size, 0)
  }

  /** When the oldest of them was accepted. */
  get since(): number | undefined {
    return this.#files.find(({ batches }) => batches.length > 0)?.batches[0]?.since
  }

  /** The imports that files are of. */
  get importIds(): ReadonlySet<string> {
    return new Set(this.#files.flatMap(({ importId, batches }) => [importId, ...batches.map((one) => one.importId)]))
  }

  /**
   * Appends batches, and waits until they are on disk.
   * @returns how many were taken, and why not all were
   */
  append(batches: readonly WriterBatch[]): Promise<{ readonly taken: number; readonly error?: ConnectionError }> {
    return this.#turns.take(() => this.#append(batches))
  }

  async #append(
    batches: readonly WriterBatch[],
  ): Promise<{ readonly taken: number; readonly error?: ConnectionError }> {
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
    // Not before: until then they are in memory, and rows are in one place.
    for (const { lane, rows } of added) this.#rows[lane] += rows
    this.#unsure = false
    const error = failure === undefined ? undefined : spillError(failure)
    return error === undefined ? { taken: added.length } : { taken: added.length, error }
  }

  /** The oldest batch, of all or of one lane, that is not in the table; undefined where there is none. */
  next(lane?: Lane): Promise<WriterBatch | undefined> {
    return this.#turns.take(() => this.#next(lane))
  }

  async #next(lane: Lane | undefined): Promise<WriterBatch | undefined> {
    for (;;) {
      const { file, spilled } = this.#find((one) => lane === undefined || one.lane === lane) ?? {}
      if (file === undefined || spilled === undefined) return undefined
      const batch = await readSpilled(file.path, spilled).catch(throwSpillError)
      if (batch !== undefined) return batch
      await keepDamaged(file.path)
      this.#owner.onError(damaged(file.path, spilled.length, `${spilled.rows} rows`))
      await this.#remove(file, spilled)
    }
  }

  #find(wanted: (batch: SpilledBatch) => boolean): { file: SpillFile; spilled: SpilledBatch } | undefined {
    for (const file of this.#files) {
      const spilled = file.batches.find(wanted)
      if (spilled !== undefined) return { file, spilled }
    }
    return undefined
  }

  /** Notes that a batch which `next` gave is in the table; gives the file that is removed with it. */
  remove({ importId, number }: WriterBatch): Promise<RemovedFile | undefined> {
    return this.#turns.take(async () => {
      const { file, spilled } = this.#find((one) => one.number === number && one.importId === importId) ?? {}
      return file === undefined || spilled === undefined ? undefined : this.#remove(file, spilled)
    })
  }

  async #remove(file: SpillFile, spilled: SpilledBatch): Promise<RemovedFile | undefined> {
    this.#rows[spilled.lane] -= spilled.rows
    file.batches.splice(file.batches.indexOf(spilled), 1)
    if (file.batches.length > 0) return undefined
    try {
      if (file === this.#files.at(-1) && this.#handle !== undefined) await this.#renew()
      return await this.#unlink(file)
    } catch {
      // The file stays until the log is closed, and the ledger remembers its windows.
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
  close(): Promise<void> {
    return this.#turns.take(() => this.#close())
  }

  async #close(): Promise<void> {
    try {
      await this.#handle?.close()
      this.#handle = undefined
      for (const file of [...this.#files]) {
        if (file.batches.length === 0) await this.#unlink(file)
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
      for (const { lane, rows } of batches) this.#rows[lane] += rows
      this.#files.push({ path: place, importId, batches: [...batches], windows: [...batches], size })
    }
  }

  /** Begins a file of this writer's own; by it the next writer finds this import, should this one be killed. */
  async #begin(): Promise<void> {
    const { directory, importId, target } = this.#owner
    const place = path.join(directory, `${String(++this.#lastNumber).padStart(12, '0')}.spill`)
    const handle = await open(place, 'wx')
    const file: SpillFile = { path: place, importId, batches: [], windows: [], size: 0 }
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

  /** Begins another file, if there is room; else one is begun when it is written to, and there is when the last one is gone. */
  async #renew(): Promise<void> {
    try {
      await this.#begin()
    } catch {
      await this.#handle?.close()
      this.#handle = undefined
    }
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
    const { importId, number, lane, rows, since } = batch
    file.windows.push({ importId, number })
    try {
      await writeAll(handle, frame, file.size)
    } catch (error) {
      await this.#cut(file)
      throw error
    }
    const spilled = { offset: file.size, length, importId, number, lane, rows, since }
    file.batches.push(spilled)
    file.size += length
    return spilled
  }

  async #takeBack(added: readonly SpilledBatch[]): Promise<void> {
    for (const file of this.#files) {
      const first = file.batches.findIndex((one) => added.includes(one))
      if (first < 0) continue
      file.size = file.batches[first]?.offset ?? file.size
      file.batches.splice(first)
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

function locked(directory: string): DirectoryLock {
  try {
    return lockDirectory(directory)
  } catch (error) {
    throw error instanceof TimescaleError ? error : spillError(error)
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
