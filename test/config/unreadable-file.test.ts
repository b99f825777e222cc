import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requireReadable } from '../../src/config/unreadable-file.ts'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "tsdb it's "))
  writeFileSync(join(directory, 'readings.csv'), 'time,v\n')
  chmodSync(directory, 0o755)
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const refused = (source: unknown): Promise<unknown> => requireReadable(source).catch((error: unknown) => error)

test('a file that can be read, and what is no file, are let through', async () => {
  const path = join(directory, 'readings.csv')
  for (const source of [path, pathToFileURL(path), '-', [{ v: 1 }], undefined]) await requireReadable(source)
})

test('a missing file is named as it was given, with one that may be meant', async () => {
  const path = join(directory, 'reading.csv')
  expect(await refused(path)).toMatchObject({
    code: 'INVALID_VALUE',
    message: `The file ${path} does not exist.`,
    hint: `Did you mean '${join(directory, 'readings.csv')}'?`,
    cause: { code: 'ENOENT' },
  })
  expect(await refused('no such directory/x.csv')).toMatchObject({
    message: 'The file no such directory/x.csv does not exist.',
    hint: `It was looked for in ${join(process.cwd(), 'no such directory')}.`,
  })
  expect(await refused(join(path, 'x.csv'))).toMatchObject({ message: expect.stringContaining('does not exist') })
  expect(await refused(join(directory, 'readings.csv', 'x'))).toMatchObject({ cause: { code: 'ENOTDIR' } })
})

test('a directory', async () => {
  expect(await refused(directory)).toMatchObject({
    message: `The file ${directory} is a directory.`,
    hint: 'Give one of the files in it.',
  })
})

test('a file that this user may not read', async (context) => {
  const path = join(directory, 'secret.csv')
  writeFileSync(path, '', { mode: 0o000 })
  const isRoot = process.getuid?.() === 0
  // Whoever may do everything becomes somebody else for this call.
  if (isRoot) process.seteuid?.(65_534)
  try {
    const error = await refused(path)
    context.skip(error === undefined, 'this system lets everybody read it')
    expect(error).toMatchObject({
      code: 'INVALID_VALUE',
      message: `The file ${path} may not be read by this user.`,
      hint: 'Give this user the right to read it, and to enter its directories.',
    })
  } finally {
    if (isRoot) process.seteuid?.(0)
  }
})
