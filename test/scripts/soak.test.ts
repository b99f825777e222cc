import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, it } from 'vitest'
import { compileInto } from '../setup/compile.ts'
import { shortLife } from '../setup/short-life.ts'

const node = (...args: string[]): Promise<{ stdout: string }> =>
  promisify(execFile)(process.execPath, [...shortLife, ...args])

/** The number that the closing table gives for `name`. */
function figure(output: string, name: string): number {
  const line = output.split('\n').find((each) => each.trim().startsWith(name))
  return Number(line?.trim().slice(name.length))
}

const directory = mkdtempSync(join(tmpdir(), 'tsdb-soak-'))
const names = ['soak', 'soak-check', 'soak-schema', 'soak-writer']
const script = compileInto(directory, ...names.map((name) => new URL(`../../scripts/${name}.ts`, import.meta.url)))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

it('loses nothing that was acknowledged when the writer is killed', async () => {
  const { stdout } = await node(script, 'embedded', '--rounds', '1')
  expect(figure(stdout, 'kills')).toBe(1)
  expect(figure(stdout, 're-opens')).toBe(1)
  expect(figure(stdout, 'acknowledged commits')).toBeGreaterThan(0)
  expect(figure(stdout, 'two processes, one refused')).toBe(1)
  for (const name of ['missing commits', 'half transactions', 'violations']) expect(figure(stdout, name)).toBe(0)
}, 180_000)

it('refuses a target it does not know', async () => {
  await expect(node(script, 'elsewhere')).rejects.toMatchObject({ code: 2 })
})
