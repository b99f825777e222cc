import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream, unlinkSync } from 'node:fs'
import { link, lstat, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { types } from 'node:util'
import { createGzip } from 'node:zlib'
import { cancelledError } from '../connection/server-error.ts'
import { TimescaleError, UsageError } from '../errors.ts'

/** How a sink is opened. */
export interface SinkOptions {
  readonly gzip: boolean
  readonly overwrite: boolean
  readonly signal: AbortSignal | undefined
}

/** A file under a name of its own until it is whole. */
interface PartFile {
  readonly part: string
  readonly path: string
}

/** Files of exports that are under way. A program that ends in the middle, by whatever but a kill, leaves none. */
const parts = new Set<string>()

function removeParts(): void {
  for (const part of parts) {
    try {
      unlinkSync(part)
    } catch {
      // It is gone, or stays: the program ends.
    }
  }
}

function keepPart(part: string): void {
  if (parts.size === 0) process.on('exit', removeParts)
  parts.add(part)
}

function forgetPart(part: string): void {
  parts.delete(part)
  if (parts.size === 0) process.off('exit', removeParts)
}

/** Takes the bytes of an export, packs them where asked, and puts a file in its place when it is whole. */
export class ExportSink {
  /** Bytes that went out, packed. */
  bytes = 0
  readonly #out: Writable
  readonly #head: Writable
  readonly #file: PartFile | undefined
  readonly #options: SinkOptions
  #failure: unknown
  #wake: (() => void) | undefined

  private constructor(out: Writable, file: PartFile | undefined, options: SinkOptions) {
    this.#out = out
    this.#file = file
    this.#options = options
    this.#head = options.gzip ? this.#packer() : out
    for (const stream of new Set([this.#out, this.#head])) {
      stream.on('error', this.#fail)
      stream.on('drain', this.#onDrain)
    }
    out.on('close', this.#onClose)
    options.signal?.addEventListener('abort', this.#onAbort)
    // Of one that is gone already nothing more is heard.
    if (out.errored) this.#fail(out.errored)
    else if (out.destroyed) this.#onClose()
  }

  /**
   * Opens a stream or a file; of a file that may not be replaced, before anything is asked of the server.
   * @throws UsageError INVALID_VALUE for a file that exists or that cannot be made
   */
  static async open(target: Writable | string, options: SinkOptions): Promise<ExportSink> {
    if (typeof target !== 'string') return new ExportSink(target, undefined, options)
    // What cannot be looked at cannot be opened either, which says why.
    const found = await stat(target).catch(() => undefined)
    if (found?.isDirectory() === true) throw new UsageError('INVALID_VALUE', `${target} is a directory.`)
    if (found !== undefined && !found.isFile()) {
      // A device or pipe is written to as it is.
      return new ExportSink(await openFile(target, 'w'), undefined, options)
    }
    if (!options.overwrite && (await exists(target))) throw inTheWay(target)
    const part = join(dirname(target), `.${basename(target)}.${randomBytes(4).toString('hex')}.part`)
    const out = await openFile(part, 'wx', target)
    keepPart(part)
    return new ExportSink(out, { part, path: target }, options)
  }

  /** Takes bytes; resolves when more may come. @throws what the stream or file fails with; QUERY_CANCELLED */
  async write(chunk: Uint8Array): Promise<void> {
    this.#check()
    if (chunk.length === 0) return
    const more = this.#head === this.#out ? this.#send(chunk) : this.#head.write(chunk)
    if (more) return
    await new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    this.#wake = undefined
    this.#check()
  }

  /** Ends the stream, or puts the file in its place. @throws as {@link write}; UsageError for a file that came between */
  async finish(): Promise<void> {
    this.#check()
    if (this.#head !== this.#out) {
      this.#head.end()
      await this.#until(finished(this.#head))
    }
    this.#out.off('close', this.#onClose)
    await this.#until(isStandard(this.#out) ? flushed(this.#out) : ended(this.#out))
    if (this.#file !== undefined) {
      await this.#place(this.#file)
      forgetPart(this.#file.part)
    }
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    // It lives on, and what fails later is not this export's.
    if (isStandard(this.#out)) this.#out.off('error', this.#fail).off('drain', this.#onDrain)
  }

  /** Leaves nothing that looks whole: the file goes, a stream is destroyed. */
  async abort(error: unknown): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    this.#out.off('close', this.#onClose)
    const reason = error instanceof Error ? error : undefined
    if (this.#head !== this.#out) this.#head.destroy()
    if (this.#file === undefined) {
      if (!isStandard(this.#out)) this.#out.destroy(reason)
      return
    }
    this.#out.destroy()
    await closed(this.#out)
    // The error that led here is the one to be thrown.
    await unlink(this.#file.part).catch(() => undefined)
    forgetPart(this.#file.part)
  }

  #packer(): Writable {
    const gzip = createGzip()
    gzip.on('data', (chunk: Buffer) => {
      if (this.#send(chunk)) return
      gzip.pause()
      this.#out.once('drain', () => gzip.resume())
    })
    return gzip
  }

  #send(chunk: Uint8Array): boolean {
    this.bytes += chunk.length
    return this.#out.write(chunk)
  }

  /** Waits, but not for what will not come any more. */
  async #until(work: Promise<void>): Promise<void> {
    const failed = new Promise<void>((resolve) => {
      this.#wake = resolve
    })
    await Promise.race([work, failed]).catch(this.#fail)
    this.#wake = undefined
    this.#check()
  }

  async #place({ part, path }: PartFile): Promise<void> {
    if (this.#options.overwrite) return rename(part, path)
    try {
      // Unlike a rename, a link never replaces a file that another program made meanwhile.
      await link(part, path)
    } catch (error) {
      if (codeOf(error) === 'EEXIST') throw inTheWay(path)
      // A file system without links.
      if (await exists(path)) throw inTheWay(path)
      return rename(part, path)
    }
    await unlink(part)
  }

  #check(): void {
    const { signal } = this.#options
    if (this.#failure !== undefined) throw this.#failure
    if (signal?.aborted) throw cancelledError(signal)
  }

  readonly #fail = (error: unknown): void => {
    this.#failure ??= codeOf(error) === 'ENOSPC' ? diskFull(this.#file?.path, error) : error
    this.#wake?.()
  }

  readonly #onDrain = (): void => this.#wake?.()

  readonly #onClose = (): void => this.#fail(new UsageError('CLOSED', 'The stream was closed before the export ended.'))

  readonly #onAbort = (): void => this.#wake?.()
}

/** Opens a file, which is on the disk before it is closed. */
async function openFile(path: string, flags: 'w' | 'wx', shown: string = path): Promise<Writable> {
  // A device or pipe knows no flush.
  const file = createWriteStream(path, { flags, flush: flags === 'wx', highWaterMark: 2 ** 20 })
  try {
    await once(file, 'open')
    return file
  } catch (cause) {
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such directory',
      ENOTDIR: 'there is no such directory',
      EACCES: 'it is not allowed',
      EPERM: 'it is not allowed',
      EROFS: 'the file system is read-only',
    }
    const reason = reasons[codeOf(cause) ?? ''] ?? (cause instanceof Error ? cause.message : String(cause))
    throw new UsageError('INVALID_VALUE', `${shown} cannot be written: ${reason}.`, { cause })
  }
}

/** Whether the name is taken, also by a link that leads nowhere. */
function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function inTheWay(path: string): UsageError {
  return new UsageError('INVALID_VALUE', `${path} exists.`, { hint: 'Give overwrite: true to replace it.' })
}

function diskFull(path: string | undefined, cause: unknown): TimescaleError {
  const where = path === undefined ? '' : ` with ${path}`
  return new TimescaleError('DISK_FULL', `The disk${where} is full; nothing of the export is kept.`, { cause })
}

function codeOf(error: unknown): string | undefined {
  return types.isNativeError(error) && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** The program's own streams stay open. */
function isStandard(stream: Writable): boolean {
  return stream === process.stdout || stream === process.stderr
}

function flushed(stream: Writable): Promise<void> {
  return new Promise((resolve, reject) => stream.write('', (error) => (error ? reject(error) : resolve())))
}

/** Ends a stream; a file is then closed. */
async function ended(stream: Writable): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    stream.end((error?: Error | null) => (error ? reject(error) : resolve()))
  })
  await finished(stream, { readable: false })
}

function closed(stream: Writable): Promise<void> {
  return new Promise((resolve) => (stream.closed ? resolve() : stream.once('close', () => resolve())))
}
