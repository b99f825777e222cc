/**
 * Where the embedded engine is offered to other programs: a TCP port, or a Unix socket as PostgreSQL names them.
 */

import { lookup } from 'node:dns/promises'
import { once } from 'node:events'
import fs from 'node:fs'
import { BlockList, connect, isIPv6, type Server } from 'node:net'
import path from 'node:path'
import { types } from 'node:util'
import { ConnectionError } from '../errors.ts'
import { invalidOption } from '../sql/option.ts'
import type { ServeSettings } from './serve-option.ts'

/** Where a server listens. */
export type Place =
  | { readonly kind: 'port'; readonly host: string; readonly port: number }
  | { readonly kind: 'socket'; readonly path: string; readonly remove: () => void }

/** How long the holder of a socket file has to answer. */
const ANSWER_MS = 1000

/**
 * Starts to listen.
 * @throws UsageError INVALID_OPTION for an address that others can reach without `allowRemote`
 * @throws ConnectionError LISTEN_FAILED
 */
export async function listen(server: Server, settings: ServeSettings): Promise<Place> {
  const { socketDirectory } = settings
  if (socketDirectory === undefined) return listenOnPort(server, settings)
  const file = path.join(path.resolve(socketDirectory), `.s.PGSQL.${settings.port}`)
  try {
    return await listenOnSocket(server, file)
  } catch (cause) {
    throw failed(file, cause)
  }
}

async function listenOnPort(server: Server, { host, port, allowRemote }: ServeSettings): Promise<Place> {
  try {
    const { address, family } = await lookup(host)
    if (!allowRemote && !LOOPBACK.check(address, family === 6 ? 'ipv6' : 'ipv4'))
      throw invalidOption(
        `Other machines can reach ${host}.`,
        'Pass allowRemote: true if they shall, and tls, since SCRAM protects the password alone.',
      )
    server.listen(port, address)
    await once(server, 'listening')
    const bound = server.address()
    return { kind: 'port', host: address, port: typeof bound === 'object' && bound !== null ? bound.port : port }
  } catch (cause) {
    if (types.isNativeError(cause) && 'code' in cause && cause.code !== 'INVALID_OPTION')
      throw failed(`${isIPv6(host) ? `[${host}]` : host}:${port}`, cause)
    throw cause
  }
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8)
LOOPBACK.addAddress('::1', 'ipv6')

/**
 * The socket is made in a directory that nobody else can enter, given its mode and then its name: there is no moment in
 * which others could connect.
 */
async function listenOnSocket(server: Server, file: string): Promise<Place> {
  await removeStale(file)
  const scratch = fs.mkdtempSync(path.join(path.dirname(file), '.s-'))
  const draft = path.join(scratch, 's')
  try {
    server.listen(draft)
    await once(server, 'listening')
    fs.chmodSync(draft, 0o600)
    // A link, not a rename: it fails where another program was faster.
    fs.linkSync(draft, file)
  } catch (error) {
    server.close()
    throw error
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true })
  }
  const { ino } = fs.statSync(file)
  return { kind: 'socket', path: file, remove: () => removeOwn(file, ino) }
}

function removeOwn(file: string, ino: number): void {
  if (fs.statSync(file, { throwIfNoEntry: false })?.ino === ino) fs.rmSync(file, { force: true })
}

/** A program that was killed leaves its socket behind; one that answers is still there. */
async function removeStale(file: string): Promise<void> {
  const found = fs.statSync(file, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket() || (await answers(file))) throw Object.assign(new Error('it is in use'), { code: 'EADDRINUSE' })
  fs.rmSync(file, { force: true })
}

function answers(file: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(file)
    const end = (settle: () => void): void => {
      socket.destroy()
      settle()
    }
    socket.setTimeout(ANSWER_MS, () => end(() => resolve(true)))
    socket.once('connect', () => end(() => resolve(true)))
    socket.once('error', (error: NodeJS.ErrnoException) =>
      end(() => (error.code === 'ECONNREFUSED' ? resolve(false) : reject(error))),
    )
  })
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program listens there: stop it, or take another port.',
  EACCES: 'This user may not listen there: take a port from 1024 on, or a directory that it can write.',
  EADDRNOTAVAIL: 'The address is not one of this machine.',
  ENOENT: 'The directory does not exist.',
  EINVAL: 'The path may be too long: a Unix socket has at most 107 bytes.',
}

function failed(where: string, cause: unknown): ConnectionError {
  const code = types.isNativeError(cause) && 'code' in cause ? String(cause.code) : ''
  return new ConnectionError('LISTEN_FAILED', `The embedded engine could not listen on ${where}.`, {
    hint: HINTS[code],
    cause,
  })
}
