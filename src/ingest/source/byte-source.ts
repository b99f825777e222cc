import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { createReadStream, type ReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { createGunzip } from 'node:zlib'
import { UsageError } from '../../errors.ts'
import { invalidOption } from '../../sql/option.ts'
import type { LoadOptions } from '../load-option.ts'
import { RunningMark, type SourceMark } from './source-mark.ts'

/** Bytes from a file (`-` is standard input) or a stream, `.gz` unpacked. */
export interface ByteSource {
  readonly name: string
  readonly format: 'csv' | 'tsv' | 'ndjson' | 'json' | 'influx'
  /** Bytes of the file read so far, packed as they are there; undefined where it is none. */
  readonly bytesRead: number | undefined
  /** The size of the file, where it is one: so much is read. */
  readonly totalBytes: number | undefined
  /** Bytes that the file has more by now. */
  readonly grownBytes: number
  /** Of a file that is imported: its size and a hash of its first and last bytes. */
  readonly fingerprint: string | undefined
  /** Of a file that is imported: a checksum of what was read so far. */
  readonly mark: SourceMark | undefined
  /** Of a file. */
  readonly path: string | undefined
  /** Whether it is unpacked here, by the name of a file. */
  readonly packed: boolean
  readonly bytes: AsyncIterable<Buffer>
  /** The same source with other bytes. */
  from(bytes: AsyncIterable<Buffer>): ByteSource
}

const formats: ReadonlyMap<string, NonNullable<LoadOptions['format']>> = new Map<
  string,
  NonNullable<LoadOptions['format']>
>([
  ['parquet', 'parquet'],
  ['csv', 'csv'],
  ['tsv', 'tsv'],
  ['ndjson', 'ndjson'],
  ['jsonl', 'ndjson'],
  ['json', 'json'],
  ['influx', 'influx'],
  ['lp', 'influx'],
  ['line', 'influx'],
])

/** Whether a source is a file or a stream of bytes; one of texts or buffers, as Readable.from makes it, by its format. */
export function isBytes(source: unknown, { format }: Pick<LoadOptions, 'format'>): source is string | URL | Readable {
  if (typeof source === 'string' || source instanceof URL) return true
  return source instanceof Readable && (!source.readableObjectMode || format !== undefined)
}

/** Whether a source is a stream of the web's kind, such as the body of a fetch: of bytes where a format is given. */
export function isWebStream(source: unknown): source is ReadableStream {
  return source instanceof globalThis.ReadableStream
}

/** @throws UsageError INVALID_VALUE for the address of something that is no file */
function pathOf<T>(source: T | URL): T | string {
  const scheme =
    source instanceof URL ? source.protocol : typeof source === 'string' && /^https?:(?=\/\/)/i.exec(source)?.[0]
  if (source instanceof URL && scheme === 'file:') return fileURLToPath(source)
  if (typeof scheme !== 'string') return source as T
  throw new UsageError('INVALID_VALUE', `A file is loaded, or a stream, and no address that begins with ${scheme}`, {
    hint: 'Load what a fetch gives: (await fetch(url)).body, with the option format. On the command line: curl … | tsdb load -.',
  })
}

/** The path of a Parquet file, if the source is one. @throws UsageError for a stream of Parquet */
export function parquetPath(source: unknown, options: LoadOptions): string | undefined {
  if (!isBytes(source, options)) return undefined
  const { format } = options
  const path = pathOf(source)
  if (typeof path === 'string' && path !== '-' && (format ?? formatOf(path)) === 'parquet') return path
  if (format === 'parquet') throw invalidOption('Parquet is read from a file: it begins at its end.')
  return undefined
}

/**
 * @param earlier - the fingerprint that an import which is gone on with began with
 * @throws UsageError where the format is not known; the system's error for a file that cannot be read
 */
export async function openBytes(
  source: string | URL | Readable,
  options: LoadOptions,
  earlier?: string,
): Promise<ByteSource> {
  const path = pathOf(source)
  const name = typeof path !== 'string' ? 'the stream' : path === '-' ? 'standard input' : path
  const format = options.format ?? formatOf(name)
  if (format === undefined || format === 'parquet') {
    throw invalidOption(
      `What ${name} holds is not known.`,
      "Give the option format: 'csv', 'tsv', 'ndjson', 'json' or 'influx'.",
    )
  }
  const isFile = typeof path === 'string' && path !== '-'
  const extent = isFile ? await fileExtent(path, options.importId !== undefined, earlier) : undefined
  const { size: totalBytes } = extent ?? {}
  let file: ReadStream | undefined
  let grownBytes = 0
  // Nothing is opened before it is read, so that what fails before leaves nothing open.
  const open = (): Readable => {
    // Only so far as it was there: what comes to it meanwhile may be half a record. A pipe has no size.
    const end = totalBytes === undefined || totalBytes === 0 ? {} : { end: totalBytes - 1 }
    if (isFile) file = createReadStream(path, { highWaterMark: 2 ** 18, ...end })
    return file ?? (path instanceof Readable ? path : process.stdin)
  }
  const packed = isFile && /\.gz$/i.test(name) ? true : undefined
  const whole = async (last: number | undefined): Promise<void> => {
    if (file === undefined || !isFile || totalBytes === undefined) return
    if (file.bytesRead < totalBytes) throw shortened(name, file.bytesRead)
    // One that is gone by now does not grow.
    const now = await fileSize(path).catch(() => undefined)
    grownBytes = Math.max(0, (now ?? 0) - file.bytesRead)
    if (grownBytes > 0 && packed !== true && format !== 'json' && last !== newline) throw unfinished(name, totalBytes)
  }
  const mark = extent?.fingerprint === undefined ? undefined : new RunningMark()
  const plain = unpacked(open, packed, name, whole, mark)
  const bytes = options.encoding === 'latin1' ? asUtf8(plain) : plain
  const from = (content: AsyncIterable<Buffer>): ByteSource => ({
    name,
    format,
    totalBytes,
    fingerprint: extent?.fingerprint,
    path: isFile ? path : undefined,
    get mark() {
      return mark?.now
    },
    get grownBytes() {
      return grownBytes
    },
    get bytesRead() {
      return file?.bytesRead
    },
    packed: packed === true,
    bytes: content,
    from,
  })
  return from(bytes)
}

interface FileExtent {
  readonly size: number | undefined
  readonly fingerprint: string | undefined
}

/** How far a file is read: to its end, or, where an import began when it was shorter, to what was its end then. */
async function fileExtent(path: string, marked: boolean, earlier: string | undefined): Promise<FileExtent> {
  const size = await fileSize(path)
  if (!marked || size === undefined) return { size, fingerprint: undefined }
  const before = Number.parseInt(earlier ?? '', 10)
  if (before > 0 && before < size && (await fingerprint(path, before)) === earlier) {
    return { size: before, fingerprint: earlier }
  }
  return { size, fingerprint: await fingerprint(path, size) }
}

/**
 * What a file is known again by: its size and a hash of its first and last bytes.
 * @param upTo - where its end is taken to be
 */
export async function fingerprint(path: string, upTo?: number): Promise<string> {
  const file = await open(path)
  try {
    const size = upTo ?? (await file.stat()).size
    const hash = createHash('sha256')
    for (const position of [0, Math.max(0, size - edgeBytes)]) {
      const length = Math.min(edgeBytes, size - position)
      const { buffer, bytesRead } = await file.read(Buffer.alloc(edgeBytes), 0, length, position)
      hash.update(buffer.subarray(0, bytesRead))
    }
    return `${size} ${hash.digest('hex')}`
  } finally {
    await file.close()
  }
}

const edgeBytes = 64 * 1024
const newline = 10

function shortened(name: string, bytes: number): UsageError {
  return new UsageError('INVALID_VALUE', `${name} was cut off while it was read, after ${bytes} bytes`)
}

function unfinished(name: string, bytes: number): UsageError {
  const message = `${name} grew while it was read, and its first ${bytes} bytes, which were there, end within a line`
  return new UsageError('INVALID_VALUE', message, { hint: 'Load it again when what writes it has ended its line.' })
}

/**
 * The bytes of a stream.
 * @param packed - whether they are gzip's; where it is not known, the first two bytes tell
 * @param whole - called with the last byte when all that there is was read
 * @param mark - takes the bytes as they are in the file
 */
async function* unpacked(
  open: () => Readable,
  packed: boolean | undefined,
  name: string,
  whole: (last: number | undefined) => Promise<void>,
  mark: RunningMark | undefined,
): AsyncGenerator<Buffer> {
  const raw = buffers(open(), whole, mark)
  const first = await raw.next()
  if (first.done !== true) refuseForeign(first.value, name)
  const all = resumed(first.done === true ? [] : [first.value], raw)
  if (!(packed ?? (first.done !== true && first.value[0] === 0x1f && first.value[1] === 0x8b))) return yield* all
  const source = Readable.from(all, { objectMode: false })
  const plain = source.pipe(createGunzip())
  // A pipe does not pass errors on.
  source.once('error', (error) => plain.destroy(error))
  let unpackedBytes = 0
  try {
    for await (const chunk of buffers(plain)) {
      unpackedBytes += chunk.length
      yield chunk
    }
  } catch (error) {
    if (!(types.isNativeError(error) && 'code' in error && String(error.code).startsWith('Z_'))) throw error
    const why = error.code === 'Z_BUF_ERROR' ? 'it is cut off' : 'it is damaged, or not packed'
    const message = `${name} cannot be unpacked after ${unpackedBytes} bytes of its content: ${why}`
    throw new UsageError('INVALID_VALUE', message, { cause: error })
  } finally {
    source.destroy()
  }
}

/** What was read, and then the rest. */
export async function* resumed<T>(read: readonly T[], rest: AsyncIterator<T>): AsyncGenerator<T> {
  try {
    yield* read
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}

/** @throws UsageError INVALID_VALUE for a directory; the system's error for a missing file */
export async function fileSize(path: string): Promise<number | undefined> {
  const { size, isDirectory } = await stat(path).then((found) => ({
    size: found.size,
    isDirectory: found.isDirectory(),
  }))
  if (isDirectory) throw new UsageError('INVALID_VALUE', `${path} is a directory`)
  return size
}

function formatOf(name: string): LoadOptions['format'] {
  return formats.get(/\.(\w+)(?:\.gz)?$/i.exec(name)?.[1]?.toLowerCase() ?? '')
}

async function* buffers(
  source: Readable,
  whole?: (last: number | undefined) => Promise<void>,
  mark?: RunningMark,
): AsyncGenerator<Buffer> {
  let last: number | undefined
  for await (const chunk of source) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : bytesOf(chunk)
    last = bytes.at(-1) ?? last
    mark?.add(bytes)
    yield bytes
  }
  await whole?.(last)
}

function bytesOf(chunk: unknown): Buffer {
  if (typeof chunk === 'string') return Buffer.from(chunk)
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  throw new UsageError('INVALID_VALUE', 'The stream gives neither bytes nor texts', {
    hint: 'A stream of rows takes no option format.',
  })
}

/** @throws UsageError INVALID_VALUE for the beginning of what is no text */
function refuseForeign(start: Buffer, name: string): void {
  if (start.subarray(0, 4).toString('latin1') === 'PAR1') {
    throw new UsageError('INVALID_VALUE', `${name} is Parquet`, {
      hint: "Load it as a file, with the option format: 'parquet'.",
    })
  }
  if (['\xff\xfe', '\xfe\xff'].includes(start.subarray(0, 2).toString('latin1'))) {
    throw new UsageError('INVALID_VALUE', `${name} is UTF-16`, { hint: 'Write it as UTF-8.' })
  }
}

async function* asUtf8(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const chunk of source) yield Buffer.from(chunk.toString('latin1'))
}

/**
 * The text of UTF-8 bytes, without a byte order mark at the start of the source; after that it belongs to a text.
 * @param linesBefore - how many lines of the source come before them
 * @throws UsageError INVALID_VALUE for bytes that are no UTF-8, which would be replaced silently
 */
export async function* decode(source: AsyncIterable<Buffer>, name: string, linesBefore = 0): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: linesBefore > 0 })
  let lines = linesBefore
  let tail: Buffer = Buffer.alloc(0)
  for await (const chunk of source) {
    let text: string
    try {
      text = decoder.decode(chunk, { stream: true })
    } catch (error) {
      throw notText(error, name, lines + badLine(Buffer.concat([tail, chunk])))
    }
    yield text
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) lines++
    // A character may be cut after three of its bytes.
    const end = chunk.subarray(-3)
    tail = end.subarray(end.lastIndexOf(10) + 1)
  }
  let rest = ''
  try {
    rest = decoder.decode()
  } catch (error) {
    throw notText(error, name, lines + 1)
  }
  if (rest !== '') yield rest
}

/** The first line that is no UTF-8, from 1. */
function badLine(bytes: Buffer): number {
  let line = 1
  for (let start = 0; ; line++) {
    const end = bytes.indexOf(10, start)
    const whole = bytes.subarray(start, end === -1 ? bytes.length : end)
    // What is before it of a line that began earlier may be half a character.
    if (end === -1 || !isUtf8(start === 0 ? trimmed(whole) : whole)) return line
    start = end + 1
  }
}

/** Without the rest of a character at the beginning. */
function trimmed(bytes: Buffer): Buffer {
  let at = 0
  while (at < 3 && ((bytes[at] ?? 0) & 0xc0) === 0x80) at++
  return bytes.subarray(at)
}

function notText(error: unknown, name: string, line: number): unknown {
  if (!(error instanceof TypeError)) return error
  return new UsageError('INVALID_VALUE', `Line ${line} of ${name} is not UTF-8`, {
    hint: "Give the option encoding: 'latin1' where it is that.",
  })
}
