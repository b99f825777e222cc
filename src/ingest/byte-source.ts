import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { createGunzip } from 'node:zlib'
import { UsageError } from '../errors.ts'
import { invalidOption } from '../sql/option.ts'
import type { LoadOptions } from './load-option.ts'

/** Bytes from a file (`-` is standard input) or a stream, `.gz` unpacked. */
export interface ByteSource {
  readonly name: string
  readonly format: 'csv' | 'tsv' | 'ndjson'
  /** Bytes of the file read so far, packed as they are there; undefined where it is none. */
  readonly bytesRead: number | undefined
  /** The size of the file, where it is one. */
  readonly totalBytes: number | undefined
  /** Of a file: its size and a hash of its first and last bytes. */
  readonly fingerprint: string | undefined
  readonly bytes: AsyncIterable<Buffer>
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
])

/** Whether a source is a file or a stream of bytes. */
export function isBytes(source: unknown): source is string | URL | Readable {
  return (
    typeof source === 'string' || source instanceof URL || (source instanceof Readable && !source.readableObjectMode)
  )
}

/** The path of a Parquet file, if the source is one. @throws UsageError for a stream of Parquet */
export function parquetPath(source: unknown, { format }: LoadOptions): string | undefined {
  if (!isBytes(source)) return undefined
  const path = source instanceof URL ? fileURLToPath(source) : source
  if (typeof path === 'string' && path !== '-' && (format ?? formatOf(path)) === 'parquet') return path
  if (format === 'parquet') throw invalidOption('Parquet is read from a file: it begins at its end.')
  return undefined
}

/** @throws UsageError where the format is not known; the system's error for a file that cannot be read */
export async function openBytes(source: string | URL | Readable, options: LoadOptions): Promise<ByteSource> {
  const path = source instanceof URL ? fileURLToPath(source) : source
  const name = typeof path !== 'string' ? 'the stream' : path === '-' ? 'standard input' : path
  const format = options.format ?? formatOf(name)
  if (format === undefined || format === 'parquet') {
    throw invalidOption(`What ${name} holds is not known.`, "Give the option format: 'csv', 'tsv' or 'ndjson'.")
  }
  const isFile = typeof path === 'string' && path !== '-'
  const totalBytes = isFile ? await fileSize(path) : undefined
  const file = isFile ? createReadStream(path, { highWaterMark: 2 ** 18 }) : undefined
  const raw = file ?? (path instanceof Readable ? path : process.stdin)
  const plain = /\.gz$/i.test(name) ? unpacked(raw) : raw
  const bytes = options.encoding === 'latin1' ? asUtf8(plain) : buffers(plain)
  return {
    name,
    format,
    totalBytes,
    fingerprint: isFile && options.importId !== undefined ? await fingerprint(path) : undefined,
    get bytesRead() {
      return file?.bytesRead
    },
    bytes,
  }
}

/** What a file is known again by: its size and a hash of its first and last bytes. */
export async function fingerprint(path: string): Promise<string> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const hash = createHash('sha256')
    for (const position of [0, Math.max(0, size - edgeBytes)]) {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(edgeBytes), 0, edgeBytes, position)
      hash.update(buffer.subarray(0, bytesRead))
    }
    return `${size} ${hash.digest('hex')}`
  } finally {
    await file.close()
  }
}

const edgeBytes = 64 * 1024

function unpacked(raw: Readable): Readable {
  const plain = raw.pipe(createGunzip())
  // A pipe does not pass errors on.
  raw.once('error', (error) => plain.destroy(error))
  return plain
}

async function fileSize(path: string): Promise<number | undefined> {
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

async function* buffers(source: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of source) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk)
}

async function* asUtf8(source: Readable): AsyncGenerator<Buffer> {
  for await (const chunk of buffers(source)) yield Buffer.from(chunk.toString('latin1'))
}

/**
 * The text of UTF-8 bytes, without a byte order mark.
 * @throws UsageError INVALID_VALUE for bytes that are no UTF-8, which would be replaced silently
 */
export async function* decode(source: AsyncIterable<Buffer>, name: string): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let at = 0
  try {
    for await (const chunk of source) {
      yield decoder.decode(chunk, { stream: true })
      at += chunk.length
    }
    const rest = decoder.decode()
    if (rest !== '') yield rest
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new UsageError('INVALID_VALUE', `${name} is not UTF-8 after byte ${at}`, {
      hint: "Give the option encoding: 'latin1' where it is that.",
    })
  }
}
