import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { vi } from 'vitest'
import { run } from '../../../src/apps/cli/run.ts'
import type { EmbeddedDatabase } from '../../../src/embedded/embedded-database.ts'
import { connect, type Database, sql } from '../../../src/index.ts'
import { lendEngine } from '../../setup/database.ts'
import { shortLife } from '../../setup/short-life.ts'

/** What the workers of one run share. */
const shared = process.env['TSDB_TEST_CLUSTER'] ?? mkdtempSync(join(tmpdir(), 'tsdb-cli-run-'))

/** The built program, as `npm` installs it. */
export const program: string = fileURLToPath(new URL('../../../dist/apps/cli/main.js', import.meta.url))

export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly input?: string
  /** Called with each piece of stderr; it may send signals. */
  readonly onStart?: (kill: (signal: NodeJS.Signals) => void) => void
}

/** Runs `tsdb` in a process and an empty directory of its own. */
export async function tsdb(args: readonly string[], options: CommandOptions = {}): Promise<Outcome> {
  const cwd = mkdtempSync(join(tmpdir(), 'tsdb-cli-'))
  const env = { PATH: process.env['PATH'], HOME: process.env['HOME'], ...options.env }
  const child = spawn(process.execPath, [...shortLife, program, ...args], { cwd, env })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  child.stdin.end(options.input ?? '')
  options.onStart?.((signal) => child.kill(signal))
  await once(child, 'close')
  rmSync(cwd, { recursive: true, force: true })
  return { code: child.exitCode, ...output }
}

let running: Promise<unknown> = Promise.resolve()

/** The same from source in this process, one after the other: a process of its own takes half a second to start. */
export function tsdbHere(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const outcome = running.then(() => captured(() => run(args), env))
  running = outcome.catch(() => undefined)
  return outcome
}

async function captured(work: () => Promise<number>, env: Readonly<Record<string, string>>): Promise<Outcome> {
  const output = { stdout: '', stderr: '' }
  const { exitCode } = process
  const before = Object.keys(env).map((name) => [name, process.env[name]] as const)
  const [stdout, stderr] = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((bytes, ...rest) => {
      output[name] += typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString()
      const done = rest.at(-1)
      if (typeof done === 'function') done()
      return true
    }),
  )
  Object.assign(process.env, env)
  process.exitCode = undefined
  try {
    return { code: await work(), ...output }
  } finally {
    stdout?.mockRestore()
    stderr?.mockRestore()
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
    process.exitCode = exitCode
  }
}

const NOUNS: ReadonlySet<string | undefined> = new Set(['hypertable', 'chunk', 'aggregate', 'policy', 'job'])
const verbOf = ([noun, verb]: readonly string[]): string => (NOUNS.has(noun) ? `${noun} ${verb}` : `${noun}`)

/** A database that `tsdb` reaches by a URL, with a schema of this test alone. */
export class CommandDatabase implements AsyncDisposable {
  readonly url: string
  readonly db: Database
  readonly schema: string
  readonly #close: () => Promise<void>

  private constructor(url: string, db: Database, schema: string, close: () => Promise<void>) {
    this.url = url
    this.db = db
    this.schema = schema
    this.#close = close
  }

  /** The server of TSDB_TEST_URL; else an embedded engine, which other processes reach by a port. */
  static async open(schema: string): Promise<CommandDatabase> {
    const given = process.env['TSDB_TEST_URL']
    const served = given === undefined ? await serveEmbedded() : undefined
    const url = given ?? served?.url ?? ''
    const db = await connect(url, { createExtension: true })
    await db.sql`create schema ${sql.column(schema)}`
    return new CommandDatabase(url, db, schema, async () => {
      await db.sql`drop schema ${sql.column(schema)} cascade`
      await db.close()
      await served?.close()
    })
  }

  /**
   * Runs `tsdb` on this database: the built program in a process of its own where it is to be killed, reads or writes a
   * stream, or runs this verb for the first time.
   */
  run(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
    // A file for each verb that has run in a process of its own, from whichever test file and worker.
    const proof = join(shared, `verb ${encodeURIComponent(verbOf(args))}`)
    const isProven = existsSync(proof)
    writeFileSync(proof, '')
    if (isProven && options === undefined && !args.includes('-')) return tsdbHere(args, { TSDB_URL: this.url })
    return tsdb(args, { ...options, env: { TSDB_URL: this.url, ...options?.env } })
  }

  /** A name in the schema as one writes it on the command line. */
  name(name: string): string {
    return `"${this.schema}"."${name.replaceAll('"', '""')}"`
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close()
  }
}

async function serveEmbedded(): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
  const engine = await lendEngine()
  const server = createServer((socket) => pipe(socket, engine))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `postgres://postgres:x@127.0.0.1:${portOf(server)}/postgres?sslmode=disable`,
    close: async () => {
      server.close()
      await engine.close()
    },
  }
}

function pipe(socket: Socket, engine: EmbeddedDatabase): void {
  const inside = engine.connect()
  socket.setNoDelay(true).pipe(inside).pipe(socket)
  for (const [one, other] of [
    [socket, inside],
    [inside, socket],
  ] as const) {
    one.on('error', () => other.destroy())
    one.on('close', () => other.destroy())
  }
}

function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
