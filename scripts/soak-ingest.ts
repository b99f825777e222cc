/**
 * Real faults while rows are loaded and written: after resuming, exactly the source's rows are in the table.
 * `npm run soak -- ingest --rounds 30`; exits with 1 when anything is wrong.
 */
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { connect, type Database } from '../src/index.ts'
import { type PostgresServer, password, startPostgres } from '../test/setup/postgres.ts'
import { startProxy } from '../test/setup/proxy.ts'
import { ingestRows, TABLE } from './soak-ingest-rows.ts'

const CHILD = fileURLToPath(new URL('soak-loader.ts', import.meta.url))
const IMPORT_ROWS = 60_000
const LOAD = { batchRows: 1000, batchBytes: 100_000, retries: 1000, analyze: false } as const

const sleep = (ms: number): Promise<void> => new Promise((next) => setTimeout(next, ms))
const between = (least: number, most: number): number => least + Math.random() * (most - least)

interface Figures {
  readonly name: string
  faults: number
  imports: number
  rows: number
  readonly violations: string[]
}

interface Place {
  readonly server: PostgresServer
  readonly directory: string
}

const open = (port: number): Promise<Database> =>
  connect({ host: '127.0.0.1', port, user: 'Ad min', password, database: 'postgres', sslmode: 'disable' })

async function withDatabase<T>({ server }: Place, run: (db: Database) => Promise<T>): Promise<T> {
  const db = await open(server.port)
  try {
    return await run(db)
  } finally {
    await db.close()
  }
}

/** Counts an import whose rows must be 0 to count − 1, each once, and empties the table. */
async function verify(place: Place, figures: Figures, count?: number): Promise<number> {
  const [found] = await withDatabase(place, async (db) => {
    const { rows } = await db.executeQuery<{ n: number; ids: number; top: number; wrong: number }>(
      `select count(*)::int as n, count(distinct id)::int as ids, coalesce(max(id) + 1, 0)::int as top,
        (count(*) filter (where note <> 'row ' || id))::int as wrong from "${TABLE}"`,
    )
    if (count !== undefined) await db.executeQuery(`truncate "${TABLE}"`)
    return rows
  })
  const { n = 0, ids = 0, top = 0, wrong = 0 } = found ?? {}
  const wanted = count ?? top
  if (n !== wanted || ids !== wanted || top !== wanted || wrong > 0) {
    figures.violations.push(`${n} rows, ${ids} different, up to ${top}, ${wrong} wrong, where ${wanted} were to be`)
  }
  if (count !== undefined) {
    figures.imports++
    figures.rows += n
  }
  return n
}

function start({ server }: Place, mode: string, first: number, count: number, what: string, before = '') {
  const args = [process.execPath, '--import', 'tsx', CHILD, mode, String(server.port), password]
  const child = spawn('bash', ['-c', `${before} exec "$0" "$@"`, ...args, String(first), String(count), what], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', (line) => lines.push(line))
  const ended = new Promise<number | null>((done) => child.once('close', (code) => done(code)))
  const said = (word: string): Promise<string | undefined> =>
    new Promise((resolve) => {
      const seen = lines.find((line) => line.startsWith(word))
      if (seen !== undefined) resolve(seen)
      reader.on('line', (line) => line.startsWith(word) && resolve(line))
      void ended.then(() => resolve(undefined))
    })
  return { child, lines, said, ended }
}

/** The loader is killed again and again, and run again with its importId. */
async function killLoader(place: Place, figures: Figures, rounds: number): Promise<void> {
  while (figures.faults < rounds) {
    const importId = `soak ${figures.imports} ${Date.now()}`
    for (;;) {
      const { child, said, ended } = start(place, 'load', 0, IMPORT_ROWS, importId)
      await said('ready')
      const timer = figures.faults < rounds ? setTimeout(() => child.kill('SIGKILL'), between(0, 1200)) : undefined
      const code = await ended
      clearTimeout(timer)
      if (code === 0) break
      if (!child.killed) throw new Error(`The loader ended by itself with ${code}`)
      figures.faults++
    }
    await verify(place, figures, IMPORT_ROWS)
  }
}

/** Two loaders of one import at once, of which one is killed in every other round. */
async function twoLoaders(place: Place, figures: Figures, rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const importId = `soak two ${round} ${Date.now()}`
    // Some find no ledger, and make it at once.
    if (round % 3 === 0) await place.server.admin('drop schema if exists tsdbkit cascade')
    const loaders = [1, 2].map(() => start(place, 'load', 0, IMPORT_ROWS, importId))
    await Promise.all(loaders.map(({ said }) => said('ready')))
    if (round % 2 === 1) {
      await sleep(between(0, 600))
      loaders[0]?.child.kill('SIGKILL')
    }
    const codes = await Promise.all(loaders.map(({ ended }) => ended))
    if (codes[1] !== 0) figures.violations.push(`round ${round}: the loader that was left ended with ${codes[1]}`)
    figures.faults++
    await verify(place, figures, IMPORT_ROWS)
  }
}

/** A load in this process, with trouble made while it runs. */
async function trouble(
  place: Place,
  figures: Figures,
  rounds: number,
  port: number,
  make: () => Promise<boolean>,
): Promise<void> {
  const db = await open(port)
  while (figures.faults < rounds) {
    let done = false
    const importId = `soak trouble ${figures.name} ${figures.imports} ${Date.now()}`
    const loading = db.load(TABLE, ingestRows(0, IMPORT_ROWS), { ...LOAD, importId }).finally(() => {
      done = true
    })
    while (!done && figures.faults < rounds) {
      await sleep(between(20, 250))
      if (!done && (await make())) figures.faults++
    }
    await loading
    await verify(place, figures, IMPORT_ROWS)
  }
  await db.close()
}

/** The backend that runs a COPY is killed; the server then restarts all its backends by itself. */
async function killBackend({ server }: Place): Promise<boolean> {
  try {
    const [row] = await server.admin<{ pid: number }>(
      `select pid from pg_stat_activity where query ilike 'copy%' and pid <> pg_backend_pid() limit 1`,
    )
    if (row === undefined) return false
    process.kill(row.pid, 'SIGKILL')
    return true
  } catch {
    // It is just starting again.
    return false
  }
}

/** A writer with a spill directory is killed, half of the times with the server away. */
async function killWriter(place: Place, figures: Figures, rounds: number): Promise<void> {
  const directory = path.join(place.directory, 'killed')
  let first = 0
  for (; figures.faults < rounds; figures.faults++) {
    const { child, lines, said, ended } = start(place, 'write', first, 0, directory)
    await said('ready')
    await sleep(between(20, 250))
    const away = figures.faults % 2 === 1
    if (away) await place.server.stop('immediate')
    await sleep(between(0, 400))
    child.kill('SIGKILL')
    await ended
    if (away) await place.server.start()
    const safe = Number(lines.findLast((line) => line.startsWith('safe'))?.split(' ')[1] ?? first)
    await withDatabase(place, async (db) => (await db.writer(TABLE, { spillDirectory: directory })).close())
    first = await verify(place, figures)
    if (first < safe) figures.violations.push(`${safe - first} rows are missing that were said to be safe`)
  }
  await verify(place, figures, first)
}

/** The server is away and the spill directory full: writes are refused, and what was accepted comes back. */
async function fullDisk(place: Place, figures: Figures, rounds: number): Promise<void> {
  for (; figures.faults < rounds; figures.faults++) {
    const directory = path.join(place.directory, `full ${figures.faults}`)
    // The kernel refuses what would make a file of the process larger, as a full disk does.
    const { child, said, ended } = start(place, 'write', 0, 0, directory, `ulimit -f ${Math.floor(between(20, 200))};`)
    await said('safe')
    await place.server.stop('immediate')
    const [, accepted, code] = (await said('refused'))?.split(' ') ?? []
    if (code !== 'DISK_FULL') figures.violations.push(`refused with ${code}`)
    await place.server.start()
    child.stdin.end()
    if ((await said('closed')) === undefined) figures.violations.push('the writer did not close')
    await ended
    await verify(place, figures, Number(accepted))
  }
}

/** Runs all of them. @returns whether everything was right */
export async function soakIngest(rounds: number): Promise<boolean> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'soak-ingest-'))
  await using server = await startPostgres({ settings: { max_wal_size: '2GB' } })
  await using proxy = await startProxy(server.port)
  const place: Place = { server, directory }
  await withDatabase(place, (db) => db.executeQuery(`create table "${TABLE}" (id int, note text)`))
  const fewer = Math.ceil(rounds / 3)
  const restart = async (): Promise<boolean> => {
    await server.restart(Math.random() < 0.5 ? 'immediate' : 'fast')
    return true
  }
  const cut = async (): Promise<boolean> => {
    proxy.cut()
    return true
  }
  const scenarios: readonly (readonly [string, (figures: Figures) => Promise<void>])[] = [
    ['loader killed', (figures) => killLoader(place, figures, rounds)],
    ['two loaders, one importId', (figures) => twoLoaders(place, figures, fewer)],
    ['backend killed', (figures) => trouble(place, figures, fewer, server.port, () => killBackend(place))],
    ['server restarted', (figures) => trouble(place, figures, fewer, server.port, restart)],
    ['sockets cut', (figures) => trouble(place, figures, rounds, proxy.port, cut)],
    ['writer killed', (figures) => killWriter(place, figures, rounds)],
    ['spill disk full', (figures) => fullDisk(place, figures, Math.ceil(rounds / 6))],
  ]
  const all: Figures[] = []
  for (const [name, run] of scenarios) {
    const figures: Figures = { name, faults: 0, imports: 0, rows: 0, violations: [] }
    const started = performance.now()
    await run(figures)
    all.push(figures)
    const seconds = ((performance.now() - started) / 1000).toFixed(0)
    console.log(
      `${name.padEnd(28)}${figures.faults} faults, ${figures.imports} sources, ${figures.rows} rows, ${figures.violations.length} violations, ${seconds} s`,
    )
    for (const line of figures.violations) console.log(`  ${line}`)
  }
  const violations = all.reduce((sum, figures) => sum + figures.violations.length, 0)
  console.log(`\n${all.reduce((sum, { faults }) => sum + faults, 0)} faults, ${violations} violations`)
  if (violations === 0) fs.rmSync(directory, { recursive: true, force: true })
  else console.log(`the directory is kept: ${directory}`)
  return violations === 0
}
