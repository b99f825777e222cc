import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compile, compileInto, makeProject } from './setup/compile.ts'
import type { ProgramOutcome } from './setup/program-runner.ts'
import { shortLife } from './setup/short-life.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]
const read = (page: string): string => readFileSync(join(root, page), 'utf8')

/** The ts blocks of a page, in order, are one program. */
const programs = pages.flatMap((page) => {
  const blocks = [...read(page).matchAll(/^```ts\n(.*?)^```/gms)].map((match) => match[1] ?? '')
  return blocks.length === 0 ? [] : [{ page, name: page.replaceAll(/[^a-z0-9]+/gi, '-'), text: blocks.join('\n') }]
})

describe.each(pages)('%s', (page) => {
  test('links lead to files', () => {
    const links = [...read(page).matchAll(/\]\(([^)#]+)[^)]*\)/g)].map((match) => match[1] ?? '')
    const local = links.filter((link) => !/^https?:/.test(link))
    expect(local.filter((link) => !existsSync(resolve(root, dirname(page), link)))).toEqual([])
  })

  test('files it names exist', () => {
    const named = [...read(page).matchAll(/(?<![\w./])(?:src|test|examples|docs|bench|scripts)\/[\w./-]+\.\w+/g)]
    expect(named.map((match) => match[0]).filter((path) => !existsSync(join(root, path)))).toEqual([])
  })
})

const environment = { PATH: process.env['PATH'], HOME: process.env['HOME'], TSDB_URL: 'embedded:' }

describe('code blocks', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tsdb-docs-'))
    makeProject(directory)
    for (const { name, text } of programs) {
      writeFileSync(join(directory, `${name}.ts`), text)
      writeFileSync(join(directory, `${name}.js`), compile(text))
    }
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  test('are there', () => {
    expect(programs.map(({ page }) => page)).toEqual(expect.arrayContaining(['README.md', join('docs', 'guide.md')]))
  })

  test('compile', { timeout: 120_000 }, () => {
    const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
    const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root)
    const program = ts.createProgram(
      programs.map(({ name }) => join(directory, `${name}.ts`)),
      { ...options, paths: {}, noUnusedLocals: false, typeRoots: [join(root, 'node_modules/@types')] },
    )
    const found = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
      const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start ?? 0).line + 1
      return `${relative(directory, file?.fileName ?? '')}:${line} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`
    })
    expect(found).toEqual([])
  })

  describe('run:', () => {
    const others = programs.filter(({ page }) => page !== 'README.md')
    let outcomes: AsyncGenerator<ProgramOutcome>
    const ended = new Map<string, ProgramOutcome>()
    beforeAll(() => {
      outcomes = runAll(directory, others)
    })

    // As it is pasted into a new project.
    test('README.md', { timeout: 120_000 }, async () => {
      const { stdout } = await promisify(execFile)(process.execPath, ['README-md.js'], {
        cwd: directory,
        encoding: 'utf8',
        timeout: 60_000,
        env: environment,
      })
      expect(stdout).toMatch(/bucket.*temperature.*count/)
    })

    test.each(others)('$page', { timeout: 240_000 }, async ({ name }) => {
      const file = `${name}.js`
      while (!ended.has(file)) {
        const { done, value } = await outcomes.next()
        if (done) throw new Error('the programs ended before this one')
        ended.set(value.name, value)
      }
      expect(ended.get(file)).toMatchObject({ error: '' })
      expect(ended.get(file)?.output).not.toBe('')
    })

    test('and nothing of them keeps their process alive', { timeout: 30_000 }, async () => {
      expect(await outcomes.next()).toMatchObject({ done: true })
    })
  })
})

/**
 * Pages whose program has a thread and an engine of its own: the guide, which people paste, and those that speak of the start
 * or are run by another program. The others share an engine and the imported package.
 */
const ALONE = /guide|reference\/(embedded-engine|testing)/

/** Runs the programs of a directory; gives how each ended, in the order in which they did. */
async function* runAll(
  directory: string,
  all: readonly { page: string; name: string }[],
): AsyncGenerator<ProgramOutcome> {
  compileInto(
    directory,
    ...['program-runner', 'engine-lender'].map((name) => new URL(`setup/${name}.ts`, import.meta.url)),
  )
  const files = (alone: boolean): string[] =>
    all.filter(({ page }) => ALONE.test(page) === alone).map(({ name }) => `${name}.js`)
  const child = spawn(
    process.execPath,
    [...shortLife, 'program-runner.js', ...files(false), '--alone', ...files(true)],
    {
      cwd: directory,
      env: environment,
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  const code = once(child, 'exit')
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line)
  expect(await code).toEqual([0, null])
}
