/**
 * A ready-made database that new directories are copied from: initdb and CREATE EXTENSION take seconds, writing the
 * files from memory takes 40 ms. Made once per machine and engine version, kept as one file in the user's cache.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { openEngine } from './engine.ts'
import { engineChecksum } from './engine-package.ts'
import { makeDirectory } from './make-directory.ts'

const FORMAT = 5
const MAGIC = Buffer.from('TSDBPACK')
const CHECKSUM_BYTES = 4
const IGNORE = {
  output: (_: Buffer, taken: () => void): void => taken(),
  idle: noop,
  copied: noop,
  refused: noop,
  gone: noop,
}

function noop(): void {}

interface PackedFile {
  readonly path: string
  /** The file's size; zeros beyond `stored` are not kept. */
  readonly size: number
  readonly stored: number
}

interface PackHeader {
  readonly directories: readonly string[]
  readonly files: readonly PackedFile[]
}

/** Where this user's caches are kept, by the custom of the operating system. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const home = os.homedir()
  if (env['XDG_CACHE_HOME']) return path.join(env['XDG_CACHE_HOME'], 'tsdbkit')
  if (process.platform === 'darwin') return path.join(home, 'Library', 'Caches', 'tsdbkit')
  if (process.platform === 'win32')
    return path.join(env['LOCALAPPDATA'] ?? path.join(home, 'AppData', 'Local'), 'tsdbkit')
  return path.join(home, '.cache', 'tsdbkit')
}

/** Writes a new database into `target`, which must not exist. Gives the files written, for a sync. */
export async function createFromTemplate(target: string, onProgress: (line: string) => void): Promise<string[]> {
  const file = path.join(cacheDirectory(), `template-${FORMAT}-${await engineChecksum()}.pack`)
  const pack = readPack(file) ?? (await makeTemplate(file, onProgress))
  return unpack(pack, target)
}

/** Makes a template and puts it in place by a rename, so that others see all of it or nothing. */
async function makeTemplate(file: string, onProgress: (line: string) => void): Promise<Buffer> {
  onProgress('tsdbkit: preparing the embedded engine for its first use, about 3 s …')
  const started = performance.now()
  const cache = path.dirname(file)
  const scratch = makeScratch(cache)
  try {
    const data = path.join(scratch, 'pgdata')
    fs.mkdirSync(data)
    const engine = await openEngine({ dataDirectory: data, durability: 'process', create: true }, IGNORE)
    await engine.close()
    const pack = packDirectory(data)
    const draft = path.join(scratch, 'pack')
    const refused = keepTemplate(draft, file, pack)
    const kept = refused === undefined ? `kept in ${cache}` : `but could not be kept for the next time (${refused})`
    onProgress(`tsdbkit: ready after ${((performance.now() - started) / 1000).toFixed(1)} s, ${kept}`)
    return pack
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
}

/** In the cache, so that the rename stays in one file system; elsewhere if the cache cannot be written. */
function makeScratch(cache: string): string {
  try {
    makeDirectory(cache)
    return fs.mkdtempSync(path.join(cache, 'making-'))
  } catch {
    // A home that cannot be written costs the 3 s each time; makeTemplate says so.
    return fs.mkdtempSync(path.join(os.tmpdir(), 'tsdbkit-making-'))
  }
}

/** Gives why it could not be kept; undefined where it is. */
function keepTemplate(draft: string, file: string, pack: Buffer): string | undefined {
  try {
    fs.writeFileSync(draft, pack, { flush: true })
    fs.renameSync(draft, file)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** All files of a directory in one: magic, header length, header (JSON), contents, CRC-32 of all before. */
export function packDirectory(directory: string): Buffer {
  const entries = fs.readdirSync(directory, { recursive: true, withFileTypes: true })
  const relative = (entry: fs.Dirent): string => path.relative(directory, path.join(entry.parentPath, entry.name))
  const contents: Buffer[] = []
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const bytes = fs.readFileSync(path.join(entry.parentPath, entry.name))
      const kept = bytes.subarray(0, lengthWithoutZeros(bytes))
      contents.push(kept)
      return { path: relative(entry), size: bytes.length, stored: kept.length }
    })
  const directories = entries.filter((entry) => entry.isDirectory()).map(relative)
  const header = Buffer.from(JSON.stringify({ directories, files } satisfies PackHeader))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(header.length)
  const body = Buffer.concat([MAGIC, length, header, ...contents])
  return Buffer.concat([body, checksumOf(body)])
}

/** A pack that is there and whole, or undefined. */
export function readPack(file: string): Buffer | undefined {
  let pack: Buffer
  try {
    pack = fs.readFileSync(file)
  } catch {
    return undefined
  }
  const body = pack.subarray(0, -CHECKSUM_BYTES)
  const whole = pack.length > CHECKSUM_BYTES && checksumOf(body).equals(pack.subarray(-CHECKSUM_BYTES))
  return whole && body.subarray(0, MAGIC.length).equals(MAGIC) ? pack : undefined
}

function checksumOf(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(CHECKSUM_BYTES)
  sum.writeUInt32LE(crc32(bytes))
  return sum
}

/** Writes a pack's files; gives their paths. */
export function unpack(pack: Buffer, target: string): string[] {
  const start = MAGIC.length + 4
  const end = start + pack.readUInt32LE(MAGIC.length)
  const { directories, files }: PackHeader = JSON.parse(pack.toString('utf8', start, end))
  fs.mkdirSync(target, { mode: 0o700 })
  for (const directory of directories) fs.mkdirSync(path.join(target, directory), { recursive: true, mode: 0o700 })
  let at = end
  return files.map((file) => {
    const name = path.join(target, file.path)
    fs.writeFileSync(name, pack.subarray(at, at + file.stored), { mode: 0o600 })
    if (file.size > file.stored) fs.truncateSync(name, file.size)
    at += file.stored
    return name
  })
}

/** How much of `bytes` comes before its last run of zeros, in steps of 8 bytes from the end. */
function lengthWithoutZeros(bytes: Buffer): number {
  let length = bytes.length
  while (length > 0 && bytes[length - 1] === 0) length--
  return length
}
