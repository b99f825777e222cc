import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeProgram } from '../../../src/apps/cli/run.ts'
import { tsdb } from './command.ts'
import { hasTmux, Screen } from './screen.ts'

const program = await makeProgram()
const directory = mkdtempSync(join(tmpdir(), 'tsdb-completion-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const has = (program: string): boolean => spawnSync(program, ['-c', 'true']).status === 0
const installed = { bash: has('bash'), zsh: has('zsh'), fish: has('fish') }
for (const [name, is] of Object.entries(installed)) {
  if (!is) process.stdout.write(`Skipped: the completion script in ${name} (it is not installed).\n`)
}

/** What is there to be completed. */
const files = join(directory, 'files')
const pattern = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')

const scripts = new Map<string, string>()
beforeAll(async () => {
  mkdirSync(files)
  for (const name of ['a file', 'written']) writeFileSync(join(files, name), '')
  for (const shell of Object.keys(installed)) {
    const { code, stdout, stderr } = await tsdb(['completion', shell])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    writeFileSync(join(directory, `tsdb.${shell}`), stdout)
    scripts.set(shell, stdout)
  }
})

/** What bash offers for the last of the words. */
function bash(...words: string[]): string[] {
  const list = words.map((word) => `'${word}'`).join(' ')
  const script = `source "$1"; COMP_WORDS=(tsdb ${list}); COMP_CWORD=${words.length}; _tsdb; printf '%s\\n' "\${COMPREPLY[@]}"`
  const output = execFileSync('bash', ['-u', '-c', script, 'bash', join(directory, 'tsdb.bash')], { encoding: 'utf8' })
  return output.split('\n').filter((line) => line !== '')
}

/** Every command with its path. */
function commands(command: Command, path: readonly string[] = []): [readonly string[], Command][] {
  return [[path, command], ...command.commands.flatMap((verb) => commands(verb, [...path, verb.name()]))]
}

describe.skipIf(!installed.bash)('in bash', () => {
  test('all verbs and options of the program, and nothing else', { timeout: 60_000 }, () => {
    for (const [path, command] of commands(program)) {
      const words = command.registeredArguments[0]?.argChoices ?? command.commands.map((verb) => verb.name())
      expect(bash(...path, '').sort()).toEqual([...words].sort())
      const offered = bash(...path, '--')
      expect(offered).toEqual(expect.arrayContaining(['--target', '--json', '--help']))
      expect(offered).toEqual(expect.arrayContaining(command.options.map(({ long }) => long)))
    }
  })

  test.each([
    [['hyp'], ['hypertable']],
    [['hypertable', 'd'], ['drop']],
    [['-t', 'embedded:', 'hypertable', 'cr'], ['create']],
    [['--target', 'chunk', 'policy', 'remove', 'ret'], ['retention']],
    [['--json', 'job', 'en'], ['enable']],
    [['hypertable', 'create', 't', '--time-column', 'list', '--if'], ['--if-not-exists']],
    [['chunk', 'drop', '--old'], ['--older-than']],
    // Values and names are for files, or for nobody.
    [['chunk', 'list', 'x'], []],
    [['sql', '--file', ''], []],
    [['nonsense', 'li'], []],
  ])('tsdb %j', (words, expected) => {
    expect(bash(...words)).toEqual(expected)
  })
})

/** The word in the middle of which Tab is pressed, and what the line becomes or what is offered. */
const typed = [
  ['tsdb hyp', ['hypertable']],
  ['tsdb hypertable cr', ['create']],
  ['tsdb policy add re', ['refresh', 'reorder', 'retention']],
  ['tsdb -t chunk policy remove ret', ['retention']],
  ['tsdb --target=embedded: job en', ['enable']],
  ['tsdb hypertable create t --time-column list --if', ['--if-not-exists']],
  ['tsdb chunk drop x --o', ['--older-than']],
  ['tsdb completion ', ['bash', 'fish', 'zsh']],
  ["tsdb sql --file 'a fi", ['a file']],
  ['tsdb load wri', ['written']],
] as const

describe.skipIf(!installed.fish)('in fish', () => {
  test('verbs, options, files', { timeout: 60_000 }, () => {
    const asked = typed.map(([line]) => `complete -C ${JSON.stringify(line)}; echo =`).join('; ')
    const script = `source ${join(directory, 'tsdb.fish')}; cd ${files}; ${asked}`
    const env = { ...process.env, HOME: directory, XDG_CONFIG_HOME: directory }
    const answers = execFileSync('fish', ['-c', script], { encoding: 'utf8', env }).split('=\n').slice(0, -1)
    const offered = answers.map((text) => text.split('\n').flatMap((line) => line.split('\t', 1)))
    expect(offered.map((words) => words.filter((word) => word !== '').sort())).toEqual(typed.map(([, words]) => words))
  })
})

describe.skipIf(!installed.zsh || !hasTmux)('in zsh', () => {
  test('verbs, options, files, with their descriptions', { timeout: 90_000 }, async () => {
    const start = 'autoload -Uz compinit; compinit -u; PS1="%% "; cd "$HOME/files"'
    writeFileSync(join(directory, '.zshrc'), `${start}\nsource '${join(directory, 'tsdb.zsh')}'\n`)
    using screen = new Screen('zsh -i', { HOME: directory, ZDOTDIR: directory }, { width: 100, height: 30 })
    await screen.shows(/%$/)
    for (const [line, [first = '', ...more]] of typed) {
      screen.type(line)
      // It has read what was typed before the key comes.
      await screen.shows(new RegExp(`${pattern(line.trimEnd())}$`))
      screen.press('Tab')
      if (more.length === 0) await screen.shows(new RegExp(`${pattern(first)}'?$`))
      else for (const word of [first, ...more]) await screen.shows(new RegExp(`\\n(\\S+ +)*${word} .*-- \\S`))
      screen.press('C-c')
      await screen.shows(/%$/)
      screen.press('C-l')
      await screen.shows(/^%$/)
    }
  })
})

test('every script knows every verb, and a shell that is not known is refused', async () => {
  for (const [path] of commands(program)) {
    if (path.length > 0) for (const script of scripts.values()) expect(script).toContain(`'${path.join('/')}'`)
  }
  expect(await tsdb(['completion', 'tcsh'])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('bash, zsh, fish'),
  })
})
