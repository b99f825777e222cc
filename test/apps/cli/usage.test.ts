import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, test, vi } from 'vitest'
import { makeProgram, run } from '../../../src/apps/cli/run.ts'
import { tsdb, tsdbHere } from './command.ts'

/** Nobody answers there: whatever tried to connect would say so. */
const nowhere = { TSDB_URL: 'postgres://user:secret@127.0.0.1:1/db' }

/** What changes something, and what destroys it, be it a file. Every other verb only reads, or makes what is new. */
const CHANGING =
  /^(sql|load|generate|task|hypertable (create|drop)|chunk (compress|decompress|drop)|aggregate (create|refresh|drop)|policy (add|remove) \w+|job (run|alter|enable|disable|delete))$/
const DESTROYING = /^(\w+ drop|job delete|export|generate|task)$/
const WITHOUT_ROWS = /(serve|shell|completion|export)$/
/** A stream has no end to be drawn at. */
const STREAM = /^watch$/

/** Every verb with its path, such as `hypertable drop`. */
function verbs(command: Command, path: readonly string[] = []): [string, Command][] {
  if (command.commands.length === 0) return [[path.join(' '), command]]
  return command.commands.flatMap((verb) => verbs(verb, [...path, verb.name()]))
}

const all = verbs(await makeProgram())

describe.each(all)('tsdb %s', (path, command) => {
  const flags = command.options.map((option) => option.long)

  test('is described, and has the options of its kind', () => {
    expect(command.description()).toMatch(/^\S.{10,}/)
    expect(command.options.every((option) => option.description !== '')).toBe(true)
    expect(flags.includes('--dry-run')).toBe(CHANGING.test(path))
    expect(flags.includes('--yes')).toBe(DESTROYING.test(path))
    if (CHANGING.test(path)) return
    const shown = command.options.filter(({ hidden }) => !hidden).map(({ long }) => long)
    expect(shown.includes('--csv')).toBe(!WITHOUT_ROWS.test(path))
    for (const flag of ['--chart', '--chart-columns'])
      expect(shown.includes(flag)).toBe(!WITHOUT_ROWS.test(path) && !STREAM.test(path))
  })

  test('has a help that fits a terminal, with examples that this program understands', () => {
    let help = ''
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp()
    expect(help.split('\n').filter((line) => line.length > 100)).toEqual([])
    const examples = help.split('\n').filter((line) => line.startsWith('  tsdb '))
    expect(examples.filter((line) => !all.some(([verb]) => line.includes(` ${verb}`)))).toEqual([])
  })

  test('refuses a mistyped --dry-run, whatever else is given', async () => {
    const mandatory = command.options.filter((option) => option.mandatory).flatMap(({ long }) => [long ?? '', '1'])
    for (const values of mandatory.length > 0 ? [mandatory, []] : [mandatory]) await expectRefused(path, values)
  })
})

async function expectRefused(path: string, values: readonly string[]): Promise<void> {
  const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const code = await run(['-t', 'postgres://127.0.0.1:1/db', ...path.split(' '), 'name', ...values, '--dry-rum'])
  const text = written.mock.calls.join('')
  written.mockRestore()
  expect(text).toContain("unknown option '--dry-rum'")
  expect(code).toBe(2)
}

test('a mistyped option that must be given is named, and the nearest one', async () => {
  const outcome = await tsdbHere(['load', 'a.csv', '--tabel', 'r', '--json', '--delimiter', ';'], nowhere)
  expect(outcome).toMatchObject({ code: 2, stdout: '' })
  expect(JSON.parse(outcome.stderr).error).toMatchObject({
    message: "unknown option '--tabel'",
    hint: 'Did you mean --table?',
  })
  expect(await tsdbHere(['load', 'a.csv'], nowhere)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("required option '--table <table>' not specified"),
  })
})

test('a file for bad rows is no mistyped word', async () => {
  expect(await tsdbHere(['load', 'a.csv', '--table', 'r', '--on-bad-row', 'skpi'], nowhere)).toMatchObject({
    code: 2,
    stderr:
      'error[INVALID_OPTION]: --on-bad-row must be stop, skip or a file.\nhint: A file of such a name is ./skpi.\n',
  })
})

describe('what is not understood does nothing', () => {
  test.each([
    ['hypertable', 'drop', 't', '--yes'],
    ['chunk', 'drop', 't', '--older-than', '1 day', '--yes'],
  ])('tsdb %s %s … --dry-rum', async (...args) => {
    expect(await tsdb([...args, '--dry-rum'], { env: nowhere })).toEqual({
      code: 2,
      stdout: '',
      stderr: "error[INVALID_OPTION]: unknown option '--dry-rum'\nhint: Did you mean --dry-run?\n",
    })
  })

  test.each([
    [['hypertabel', 'list'], "unknown command 'hypertabel'", 'Did you mean hypertable?'],
    [['chunk', 'lst', 't'], "unknown command 'lst'", 'Did you mean list?'],
    [['hypertabel', '--help'], "unknown command 'hypertabel'", 'Did you mean hypertable?'],
    [['help', 'chunk', 'lst'], "unknown command 'lst'", 'Did you mean list?'],
    [['-t', 'chunk', 'chunk', 'drp', '-h'], "unknown command 'drp'", 'Did you mean drop?'],
    [['hypertable', 'create', 't'], "required option '--time-column <column>' not specified", 'See --help.'],
    [['hypertable', 'show'], "missing required argument 'name'", 'See --help.'],
    [['hypertable', 'list', 'extra'], 'too many arguments', 'See --help.'],
    [['hypertable', 'list', '--jsn'], "unknown option '--jsn'", 'Did you mean --json?'],
    [['bucket', 't', '--time-column'], 'argument missing', 'See --help.'],
  ])('tsdb %j', async (args, message, hint) => {
    const { code, stdout, stderr } = await tsdbHere(args, nowhere)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
    expect(stderr).toContain(`hint: ${hint}`)
  })

  test('a noun without a verb shows its verbs', async () => {
    const { code, stdout, stderr } = await tsdbHere(['policy'], nowhere)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/add\b.*\n[\s\S]*list\b/)
    expect(stderr).toContain('error[INVALID_OPTION]: A verb is missing.')
  })

  test.each([
    [['chunk', 'drop', 't', '--yes'], 'never drops all chunks'],
    [['chunk', 'compress', 't', '--all', '--older-than', '1 day'], 'either --all or a range'],
    [['hypertable', 'create', 't', '--time-column', 'a', '--partition', 'b'], 'column:number'],
    [['sql'], 'either a statement or --file'],
    [['sql', 'select 1', '--timeout', 'soon'], 'milliseconds'],
    [['chunk', 'list', 't', '--compressed', '--uncompressed'], 'either'],
    [['aggregate', 'create', 'v', '--on', 't', '--time-column', 'a', '--bucket', '1 day'], '--select-query'],
    [
      ['bucket', 't', '--time-column', 'a', '--bucket', '1 day', '--aggregate', 'n=COUNT(*)', '--where', 'x'],
      'column=value',
    ],
    [['policy', 'add', 'retention', 't'], '--drop-after'],
    [['hypertable', 'list', '-t', 'mysql://x'], 'mysql'],
    [['hypertable', 'list', '-c', '/no/such/file'], '/no/such/file'],
  ])('tsdb %j is wrong usage or a wrong setting', async (args, message) => {
    // The options of `chunk drop` and `policy add` are looked at by the library once it knows the server.
    const { code, stdout, stderr } = await tsdbHere(args, { TSDB_URL: 'embedded:' })
    expect(stderr).toContain(message)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })
})

test('the help of the whole has examples and exit codes, and the version is the package’s', async () => {
  const { stdout } = await tsdb(['--help'])
  expect(stdout).toContain("tsdb bucket sensor_data --time-column time --bucket '15 minutes'")
  expect(stdout).toContain('Exit codes')
  const verb = await tsdb(['chunk', 'drop', '--help'], { env: nowhere })
  expect(await tsdb(['help', 'chunk', 'drop'])).toEqual(verb)
  expect(verb).toMatchObject({ code: 0, stderr: '' })
  expect(verb.stdout).toMatch(/--dry-run[\s\S]*--target[\s\S]*Examples:/)
  expect((await tsdb(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
})

test('the help and the version do not read the library, which takes longest', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-loaded-'))
  const env = { NODE_V8_COVERAGE: directory }
  const isLoaded = (path: string): boolean =>
    readdirSync(directory).some((name) => readFileSync(join(directory, name), 'utf8').includes(`/dist/${path}"`))
  for (const args of [['--help'], ['--version'], ['help']]) await tsdb(args, { env })
  expect([isLoaded('apps/cli/run.js'), isLoaded('index.js')]).toEqual([true, false])
  await tsdb(['info', '--help'], { env })
  expect([isLoaded('apps/cli/verbs/info.js'), isLoaded('apps/cli/verbs/chunk.js')]).toEqual([true, false])
  expect(isLoaded('index.js')).toBe(true)
  rmSync(directory, { recursive: true })
})

describe('errors', () => {
  test('a server that does not answer: exit 1, no password, the same fields as JSON', async () => {
    const plain = await tsdb(['info'], { env: nowhere })
    expect(plain).toMatchObject({ code: 1, stdout: '' })
    expect(plain.stderr).toMatch(/^error\[CONNECTION_FAILED\]: .+\nhint: .+\n$/)
    const json = await tsdbHere(['info', '--json'], nowhere)
    expect(json).toMatchObject({ code: 1, stdout: '' })
    const { error } = JSON.parse(json.stderr)
    expect(`error[${error.code}]: ${error.message}\nhint: ${error.hint}\n`).toBe(plain.stderr)
    const debug = await tsdbHere(['info', '--debug'], nowhere)
    expect(debug.stderr).toMatch(/\n {4}at /)
    for (const { stderr } of [plain, json, debug]) expect(stderr).not.toContain('secret')
  })

  test('a wrong key in a configuration file: exit 2, with file and line', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tsdb-cli-config-'))
    const file = join(directory, 'my.conf')
    writeFileSync(file, '[timescaledb]\nHOSTT = x\n')
    const { code, stderr } = await tsdb(['info', '--config', file, '--json'])
    expect(code).toBe(2)
    expect(JSON.parse(stderr).error).toMatchObject({ code: 'CONFIG_UNKNOWN_KEY', source: `${file}:2` })
    rmSync(directory, { recursive: true })
  })
})
