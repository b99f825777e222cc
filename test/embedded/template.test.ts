import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cacheDirectory, packDirectory, readPack, unpack } from '../../src/embedded/template.ts'
import { connect } from '../../src/index.ts'
import { shortLife } from '../setup/short-life.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'tsdb-template-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

/** Opens a temporary database in a process with a cache of its own; gives its output. */
async function start(cache: string): Promise<{ stdout: string; stderr: string }> {
  const program = `import { connect } from ${JSON.stringify(join(root, 'dist/index.js'))}
    const db = await connect('embedded:')
    console.log((await db.sql\`select count(*)::int as n from pg_extension where extname = 'timescaledb' and extnamespace = 'public'::regnamespace\`)[0].n)
    await db.close()`
  return promisify(execFile)(process.execPath, [...shortLife, '--input-type=module', '-e', program], {
    env: { ...process.env, XDG_CACHE_HOME: cache },
    timeout: 90_000,
  })
}

/** The same in this process, which has the engine compiled. */
async function startHere(cache: string): Promise<{ stdout: string; stderr: string }> {
  const before = process.env['XDG_CACHE_HOME']
  process.env['XDG_CACHE_HOME'] = cache
  const lines: string[] = []
  try {
    await using db = await connect('embedded:', { onProgress: (line) => lines.push(line) })
    const [row] = await db.sql`select count(*)::int as n from pg_extension where extname = 'timescaledb'`
    return { stdout: `${row?.['n']}\n`, stderr: lines.join('\n') }
  } finally {
    if (before === undefined) delete process.env['XDG_CACHE_HOME']
    else process.env['XDG_CACHE_HOME'] = before
  }
}

test('the first start makes it and says so, two at once do no harm, the next start uses it in silence', async () => {
  const cache = mkdtempSync(join(scratch, 'cache-'))
  const both = await Promise.all([start(cache), startHere(cache)])
  expect(both.map(({ stdout }) => stdout)).toEqual(['1\n', '1\n'])
  expect(both.map(({ stderr }) => stderr).join('')).toContain('first use')
  const kept = readdirSync(join(cache, 'tsdbkit'))
  expect(kept).toEqual([expect.stringMatching(/^template-.*timescaledb\.1-[0-9a-f]{8}\.pack$/)])
  expect(await startHere(cache)).toEqual({ stdout: '1\n', stderr: '' })

  // Damaged in the middle: noticed, and made again.
  const file = join(cache, 'tsdbkit', kept[0] ?? '')
  const bytes = readFileSync(file)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(file, bytes)
  expect((await startHere(cache)).stdout).toBe('1\n')
  expect(readFileSync(file).equals(bytes)).toBe(false)
  expect(readPack(file)?.equals(readFileSync(file))).toBe(true)
}, 240_000)

test('a template that is cut short, changed anywhere, empty or not there is none', () => {
  const from = join(scratch, 'small')
  const file = join(scratch, 'small.pack')
  mkdirSync(from)
  writeFileSync(join(from, 'name'), 'content')
  const pack = packDirectory(from)
  expect(readPack(file)).toBeUndefined()
  writeFileSync(file, pack)
  expect(readPack(file)?.equals(pack)).toBe(true)
  for (let at = 0; at < pack.length; at++) {
    writeFileSync(file, pack.subarray(0, at))
    expect(readPack(file)).toBeUndefined()
    const changed = Buffer.from(pack)
    changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8))
    writeFileSync(file, changed)
    expect(readPack(file)).toBeUndefined()
  }
})

test.skipIf(process.platform !== 'linux')(
  'a cache that cannot be made is said, and costs the time only',
  async () => {
    const { stdout, stderr } = await startHere('/proc/nowhere')
    expect(stdout).toBe('1\n')
    expect(stderr).toContain('could not be kept')
    expect(stderr).not.toContain('kept in')
  },
  120_000,
)

test('what is packed is what comes out', () => {
  let round = 0
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 100 }),
    fc
      .tuple(fc.uint8Array({ maxLength: 20 }), fc.nat(10_000))
      .map(([head, zeros]) => Uint8Array.from([...head, ...new Uint8Array(zeros)])),
  )
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.stringMatching(/^[a-z]{1,8}$/), { maxLength: 6 }),
      fc.infiniteStream(content),
      (names, contents) => {
        const from = join(scratch, `from-${round}`)
        const to = join(scratch, `to-${round++}`)
        mkdirSync(join(from, 'empty/deep'), { recursive: true })
        const expected = names.map((name, index) => {
          const bytes = contents.next().value ?? new Uint8Array(0)
          const path = index % 2 === 0 ? name : join('empty', name)
          if (path === 'empty') return undefined
          writeFileSync(join(from, path), bytes)
          return { path, bytes: Buffer.from(bytes) }
        })
        unpack(packDirectory(from), to)
        for (const file of expected)
          if (file !== undefined) expect(readFileSync(join(to, file.path)).equals(file.bytes)).toBe(true)
        expect(readdirSync(to, { recursive: true }).sort()).toEqual(readdirSync(from, { recursive: true }).sort())
      },
    ),
    { numRuns: 50 },
  )
})

test('it is kept where the system keeps caches', () => {
  expect(cacheDirectory({ XDG_CACHE_HOME: '/x/cache' })).toBe(join('/x/cache', 'tsdbkit'))
  expect(cacheDirectory({})).toMatch(/tsdbkit$/)
})
