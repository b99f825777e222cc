/**
 * A kernel lock on a file in the directory. The kernel frees it when its holder dies, however it dies, so there is
 * nothing to take over, and processes in several containers on one volume see each other.
 */
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { ConnectionError, UnsupportedError } from '../errors.ts'

/** The file in the directory that is locked; it holds the holder's process id and is never removed. */
export const LOCK_FILE = 'lock'

interface NativeLock {
  tryLock(descriptor: number): boolean
}

export interface DirectoryLock {
  release(): void
}

/**
 * Locks the directory for this process.
 * @throws ConnectionError DIRECTORY_LOCKED with the holder's process id, also when the holder is this process
 */
export function lockDirectory(directory: string): DirectoryLock {
  const native = loadNative()
  const descriptor = fs.openSync(path.join(directory, LOCK_FILE), 'a+')
  try {
    if (!native.tryLock(descriptor)) throw locked(directory, descriptor)
    fs.ftruncateSync(descriptor)
    fs.writeSync(descriptor, `${process.pid} ${os.hostname()}\n`)
  } catch (error) {
    fs.closeSync(descriptor)
    throw error
  }
  let held = true
  return {
    release: () => {
      if (held) fs.closeSync(descriptor)
      held = false
    },
  }
}

/**
 * True where a process held the directory and is gone. A file without its holder's id was made a moment ago by
 * somebody who is about to lock it. Makes no file, so that it cannot get in the way of whoever removes the directory.
 */
export function isAbandoned(directory: string): boolean {
  let descriptor: number
  try {
    descriptor = fs.openSync(path.join(directory, LOCK_FILE), 'r+')
  } catch {
    // Gone, unreadable or not a directory of ours: in each case not one to touch.
    return false
  }
  try {
    return fs.fstatSync(descriptor).size > 0 && loadNative().tryLock(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

function locked(directory: string, descriptor: number): ConnectionError {
  const [pid, host] = readHolder(descriptor)
  const own = pid === String(process.pid) && host === os.hostname()
  const holder = own ? `this process (pid ${pid})` : pid === undefined ? 'another process' : `process ${pid} on ${host}`
  return new ConnectionError('DIRECTORY_LOCKED', `The directory ${directory} is in use by ${holder}.`, {
    hint: own
      ? 'Share the object that connect() gave, or use sharedConnection().'
      : 'One process at a time can open a directory. End the other one, or use another directory or a server.',
    retryable: !own,
  })
}

/** The holder writes its id just after it got the lock, so an empty file means: a moment ago. */
function readHolder(descriptor: number): string[] {
  for (let attempt = 0; attempt < 20; attempt++) {
    const bytes = Buffer.alloc(256)
    const text = bytes.toString('utf8', 0, fs.readSync(descriptor, bytes, 0, bytes.length, 0))
    if (text.endsWith('\n')) return text.trim().split(' ')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
  }
  return []
}

function loadNative(): NativeLock {
  try {
    return createRequire(import.meta.url)('fs-native-extensions')
  } catch (cause) {
    throw new UnsupportedError('PACKAGE_MISSING', 'The embedded engine needs the package fs-native-extensions.', {
      feature: 'embedded engine',
      hint: 'Install it: npm install fs-native-extensions, or connect to a server: TSDB_URL=postgres://…',
      cause,
    })
  }
}
