import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeProgram } from '../../../src/apps/cli/run.ts'
import { tsdb } from './command.ts'

const program = await makeProgram()
const directory = mkdtempSync(join(tmpdir(), 'tsdb-completion-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const has = (program: string): boolean => spawnSync(program, ['-c', 'true']).status === 0
const installed = { bash: has('bash'), zsh: has('zsh'), fish: has('fish') }
for (const [name, is] of Object.entries(installed)) {
  if (!is) process.stdout.write(`Skipped: the completion script in ${name} (it is not installed).\n`)
}

const scripts = new Map<string, string>()
beforeAll(async () => {
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
      expect(bash(...path, '').sort()).toEqual(command.commands.map((verb) => verb.name()).sort())
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

const inShell = (shell: string, ...args: string[]): string => execFileSync(shell, args, { encoding: 'utf8' })

test.skipIf(!installed.zsh)('zsh reads its script', () => {
  inShell('zsh', '-n', join(directory, 'tsdb.zsh'))
})

test.skipIf(!installed.fish)('fish offers verbs', () => {
  const script = `source ${join(directory, 'tsdb.fish')}; complete -C 'tsdb hypertable d'`
  expect(inShell('fish', '-c', script)).toMatch(/^drop\t/)
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
