/**
 * The directory of an embedded database: `lock`, `engine.json` (which engine it belongs to) and `pgdata`. Everything
 * that the engine would answer with an unreadable crash is checked here first.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { ConnectionError } from '../errors.ts'
import { isAbandoned, LOCK_FILE, lockDirectory } from './directory-lock.ts'
import { ENGINE_PACKAGE, engineVersion } from './engine-package.ts'
import { isErrno, makeDirectory } from './make-directory.ts'
import { createFromTemplate } from './template.ts'

const MARK = 'engine.json'
const DATA = 'pgdata'
/** What PostgreSQL 17 writes into PG_VERSION. */
const DATA_VERSION = '17'
/** Room for a new database and its first WAL; less, and the engine would crash in the middle of its first start. */
const SPACE_NEW = 64 << 20
/** Room for the WAL a start writes. */
const SPACE_OPEN = 8 << 20
const TEMPORARY = 'tsdbkit-'

interface Mark {
  readonly package: string
  readonly version: string
}

export interface OpenDirectory {
  readonly directory: string
  readonly dataDirectory: string
  /** True where `release` removes it. */
  readonly temporary: boolean
  /** Settles when what was just created is on the disk; await it before the first commit is acknowledged. */
  readonly durable: Promise<void>
  /** Frees the lock; a temporary directory is removed. */
  release(): void
}

export interface DirectoryOptions {
  /** undefined: a temporary directory, removed on release. */
  readonly directory: string | undefined
  readonly durability: 'fsync' | 'process'
  readonly onProgress: (line: string) => void
}

/**
 * Takes a directory for this process, with a database in it.
 * @throws ConnectionError DIRECTORY_LOCKED, DIRECTORY_FOREIGN, DIRECTORY_READ_ONLY, DISK_FULL
 */
export async function openDirectory({ directory, durability, onProgress }: DirectoryOptions): Promise<OpenDirectory> {
  const temporary = directory === undefined
  const place = directory === undefined ? makeTemporary() : path.resolve(directory)
  try {
    refuseForeign(place)
    claimDirectory(place)
    const lock = lockDirectory(place)
    const release = (): void => {
      process.off('exit', release)
      // Still locked, so that no other process takes it for abandoned; Windows removes no open file.
      if (temporary) fs.rmSync(path.join(place, DATA), { recursive: true, force: true })
      lock.release()
      if (temporary) removeTree(place)
    }
    if (temporary) process.on('exit', release)
    try {
      const { durable } = await prepare(place, temporary ? 'process' : durability, onProgress)
      return { directory: place, dataDirectory: path.join(place, DATA), temporary, durable, release }
    } catch (error) {
      release()
      throw error
    }
  } catch (error) {
    throw explain(place, error)
  }
}

async function prepare(
  place: string,
  durability: string,
  onProgress: (line: string) => void,
): Promise<Pick<OpenDirectory, 'durable'>> {
  const mark = readMark(place)
  refuseFull(place, mark === undefined ? SPACE_NEW : SPACE_OPEN)
  if (mark !== undefined) {
    await checkMark(place, mark)
    return { durable: Promise.resolve() }
  }
  // A pgdata without a mark is what a crash in the middle of the first start left; nothing was ever committed to it.
  const data = path.join(place, DATA)
  fs.rmSync(data, { recursive: true, force: true })
  const files = await createFromTemplate(data, onProgress)
  const finish = async (): Promise<void> => {
    if (durability === 'fsync') await syncAll([...files, ...directoriesOf(files)])
    writeMark(place, { package: ENGINE_PACKAGE, version: await engineVersion() })
  }
  return { durable: finish() }
}

function refuseForeign(place: string): void {
  let entries: string[]
  try {
    entries = fs.readdirSync(place)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return
    throw error
  }
  const foreign = entries.length > 0 && !entries.includes(LOCK_FILE) && !entries.includes(MARK)
  if (foreign)
    throw new ConnectionError(
      'DIRECTORY_FOREIGN',
      `The directory ${place} holds other files, not a tsdbkit database.`,
      {
        hint: 'Name an empty directory, or one that does not exist yet.',
      },
    )
}

function claimDirectory(place: string): void {
  try {
    makeDirectory(place)
  } catch (error) {
    throw isErrno(error, 'ENOENT') ? readOnly(place, error) : error
  }
}

function readMark(place: string): Mark | undefined {
  let text: string
  try {
    text = fs.readFileSync(path.join(place, MARK), 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw error
  }
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ConnectionError('DIRECTORY_FOREIGN', `The file ${path.join(place, MARK)} is damaged.`, {
      hint: `It should read {"package":"${ENGINE_PACKAGE}","version":"…"}.`,
      cause,
    })
  }
}

async function checkMark(place: string, mark: Mark): Promise<void> {
  const version = await engineVersion()
  if (mark.package !== ENGINE_PACKAGE || mark.version !== version)
    throw new ConnectionError(
      'DIRECTORY_FOREIGN',
      `The directory ${place} was written by ${mark.package} ${mark.version}; installed is ${ENGINE_PACKAGE} ${version}.`,
      { hint: `Install ${mark.package}@${mark.version}, copy the data out, and load it into a new directory.` },
    )
  let found: string
  try {
    found = fs.readFileSync(path.join(place, DATA, 'PG_VERSION'), 'utf8').trim()
  } catch (cause) {
    throw new ConnectionError('DIRECTORY_FOREIGN', `The directory ${place} has no database files.`, {
      hint: 'Restore it from a copy, or name a new directory.',
      cause,
    })
  }
  if (found !== DATA_VERSION)
    throw new ConnectionError(
      'DIRECTORY_FOREIGN',
      `The database in ${place} is of PostgreSQL ${found}, not ${DATA_VERSION}.`,
    )
}

function writeMark(place: string, mark: Mark): void {
  const draft = path.join(place, `${MARK}.new`)
  fs.writeFileSync(draft, `${JSON.stringify(mark)}\n`, { flush: true })
  fs.renameSync(draft, path.join(place, MARK))
}

async function syncAll(paths: readonly string[]): Promise<void> {
  await Promise.all(
    paths.map(async (name) => {
      const handle = await fs.promises.open(name, 'r')
      await handle.sync()
      await handle.close()
    }),
  )
}

function directoriesOf(files: readonly string[]): string[] {
  return process.platform === 'win32' ? [] : [...new Set(files.map((file) => path.dirname(file)))]
}

function refuseFull(place: string, needed: number): void {
  const { bavail, bsize } = fs.statfsSync(place)
  if (bavail * bsize < needed)
    throw new ConnectionError('DISK_FULL', `The disk of ${place} has less than ${needed >> 20} MB free.`, {
      hint: 'Free some space, or use a directory on another disk.',
    })
}

function makeTemporary(): string {
  removeAbandoned()
  return fs.mkdtempSync(path.join(os.tmpdir(), TEMPORARY))
}

/** Temporary directories whose process was killed before it could remove them. */
function removeAbandoned(): void {
  for (const name of fs.readdirSync(os.tmpdir())) {
    const place = path.join(os.tmpdir(), name)
    if (name.startsWith(TEMPORARY) && isAbandoned(place)) removeTree(place)
  }
}

/** Two processes may do it at once: what the other one removed first is no failure. */
function removeTree(place: string): void {
  fs.rmSync(place, { recursive: true, force: true, maxRetries: 3 })
}

/** What the operating system refused, in our words. */
function explain(place: string, error: unknown): unknown {
  if (isErrno(error, 'EACCES') || isErrno(error, 'EROFS') || isErrno(error, 'EPERM')) return readOnly(place, error)
  if (isErrno(error, 'ENOSPC') || isErrno(error, 'EDQUOT'))
    return new ConnectionError('DISK_FULL', `The disk of ${place} is full.`, {
      hint: 'Free some space, or use a directory on another disk.',
      cause: error,
    })
  if (isErrno(error, 'ENOTDIR') || isErrno(error, 'EEXIST'))
    return new ConnectionError('DIRECTORY_FOREIGN', `${place} is not a directory.`, {
      hint: 'Name a directory that is empty or does not exist yet.',
      cause: error,
    })
  return error
}

function readOnly(place: string, cause: unknown): ConnectionError {
  return new ConnectionError('DIRECTORY_READ_ONLY', `The directory ${place} cannot be written.`, {
    hint: 'Give this user the right to write there, or name another directory.',
    cause,
  })
}
