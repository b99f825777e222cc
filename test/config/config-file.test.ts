import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readConfigFile } from '../../src/config/config-file.ts'
import type { Layer } from '../../src/config/value.ts'

let cwd: string
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'tsdb-file-'))
})
afterAll(() => rmSync(cwd, { recursive: true }))

function read(content: string | Uint8Array): Layer | undefined {
  writeFileSync(join(cwd, 't.conf'), content)
  return readConfigFile('./t.conf', cwd, 'required')
}
const values = (content: string): Record<string, unknown> =>
  Object.fromEntries(Object.entries(read(content) ?? {}).map(([name, found]) => [name, found.value]))
const password = (written: string): unknown => values(`[timescaledb]\nPASSWORD = ${written}\n`)['password']

test("the document's file", () => {
  const content =
    '; settings\n[timescaledb]\nHOST = localhost\nPORT = 5432\nDATABASE = tsdb\nUSERNAME = postgres\n' +
    'PASSWORD = password\n# pool\nPOOL_SIZE = 5\nMAX_OVERFLOW = 10\nSSLMODE=require\n\n[other]\nHOST = x\n'
  const expected = {
    host: 'localhost',
    port: 5432,
    database: 'tsdb',
    user: 'postgres',
    password: 'password',
    poolSize: 5,
    maxOverflow: 10,
    sslmode: 'require',
  }
  expect(values(content)).toEqual(expected)
  expect(values(`\uFEFF${content.replaceAll('\n', '\r\n')}`)).toEqual(expected)
  expect(values(content.replace('HOST =', 'host:'))).toEqual(expected)
})

// The right column is what Python 3.11's configparser reads, except where a comment says otherwise.
test.each([
  ['pa#ss;word', 'pa#ss;word'],
  ['pass ; word # x', 'pass ; word # x'],
  ['#first', '#first'],
  ['a=b:c', 'a=b:c'],
  ['50%%', '50%'],
  ['back\\slash\\n', 'back\\slash\\n'],
  ['it"s', 'it"s'],
  ['null', 'null'],
  ['é ü 漢', 'é ü 漢'],
  ['a\u2028b', 'a\u2028b'],
  ['50%', '50%'], // Python: an error
  ['" lead and trail "', ' lead and trail '], // Python: with the quotes
  ["'50%% #\"'", '50%% #"'], // Python: with the quotes
  ['""quoted""', '"quoted"'], // Python: with the quotes
])('password %s', (written, expected) => {
  expect(password(written)).toBe(expected)
})

test('any password of printable characters survives in quotes, and most survive without', () => {
  const printable = fc.stringMatching(/^[^\p{Cc}\p{Zl}\p{Zp}]+$/u)
  fc.assert(
    fc.property(printable, (secret) => {
      expect(password(`"${secret}"`)).toBe(secret)
      expect(password(`'${secret}'`)).toBe(secret)
    }),
  )
  fc.assert(
    fc.property(
      printable.filter((secret) => secret === secret.trim() && !/^["']/.test(secret) && !secret.includes('%')),
      (secret) => {
        expect(password(secret)).toBe(secret)
      },
    ),
  )
})

describe('errors name file and line', () => {
  test.each([
    ['[timescaledb]\nHOST = h\nPASSWRD = s3cret', 'CONFIG_UNKNOWN_KEY', './t.conf:3', 'Did you mean "PASSWORD"?'],
    ['[timescaledb]\nUSER = me', 'CONFIG_UNKNOWN_KEY', './t.conf:2', 'Did you mean "USERNAME"?'],
    ['[timescaledb]\n\n# c\nPORT = s3cret', 'CONFIG_INVALID_VALUE', './t.conf:4', undefined],
    ['[timescaledb]\nPORT = 5432 ; main', 'CONFIG_INVALID_VALUE', './t.conf:2', 'A comment needs a line of its own.'],
    ['[timescaledb]\nHOST = db # s3cret', 'CONFIG_INVALID_VALUE', './t.conf:2', 'It contains white space.'],
    ['[timescaledb]\nPASSWORD = "s3cret', 'CONFIG_INVALID_VALUE', './t.conf:2', undefined],
    ['[timescaledb]\nPASSWORD = %(s3cret)s', 'CONFIG_INVALID_VALUE', './t.conf:2', expect.stringContaining('quotes')],
    ['[timescaledb]\nSSLMODE = s3cret', 'CONFIG_INVALID_VALUE', './t.conf:2', undefined],
    ['[timescaledb]\nHOST = a\nPORT = 1\nhost = b', 'CONFIG_UNREADABLE', './t.conf:4', undefined],
    ['[timescaledb]\nHOST = a\n[x]\n[timescaledb]\nPORT = 1', 'CONFIG_UNREADABLE', './t.conf:4', undefined],
    ['[timescaledb]\nPASSWORD = a\n  s3cret', 'CONFIG_UNREADABLE', './t.conf:3', undefined],
    ['[timescaledb]\nPASSWORD = a\n  s3cret = b', 'CONFIG_UNREADABLE', './t.conf:3', undefined],
    ['[timescaledb]\n= s3cret', 'CONFIG_UNREADABLE', './t.conf:2', undefined],
    ['HOST = h', 'CONFIG_UNREADABLE', './t.conf', expect.stringContaining('[timescaledb]')],
    ['', 'CONFIG_UNREADABLE', './t.conf', expect.stringContaining('[timescaledb]')],
    ['\n[TimescaleDB]\nHOST = h', 'CONFIG_UNREADABLE', './t.conf:2', 'Write this line as [timescaledb].'],
  ])('%j', (content, code, source, hint) => {
    const caught = thrown(() => read(content))
    expect(caught).toMatchObject({ code, source, message: expect.stringContaining(`${source}: `) })
    expect(caught.hint).toEqual(hint)
    expect(`${caught.message} ${caught.hint}`).not.toContain('s3cret')
  })

  test('a duplicate key names the first line too', () => {
    const caught = thrown(() => read('[timescaledb]\nHOST = a\nPORT = 1\nhost = b'))
    expect(caught.message).toBe('./t.conf:4: this line gives HOST again, after line 2.')
  })

  test('files that cannot be read', () => {
    mkdirSync(join(cwd, 'directory'))
    const missing = thrown(() => readConfigFile('gone.conf', cwd, 'required'))
    expect(missing).toMatchObject({ code: 'CONFIG_UNREADABLE', source: 'gone.conf' })
    expect(missing.message).toBe('gone.conf: the configuration file does not exist.')
    for (const presence of ['required', 'file optional', 'section optional'] as const) {
      expect(thrown(() => readConfigFile('directory', cwd, presence)).code).toBe('CONFIG_UNREADABLE')
    }
    expect(readConfigFile('gone.conf', cwd, 'file optional')).toBeUndefined()
    expect(thrown(() => read(Buffer.from('[timescaledb]\nPASSWORD = \xe9', 'latin1'))).message).toMatch(/not UTF-8/)
  })

  test.skipIf(process.getuid?.() === 0)('a file without permission', () => {
    writeFileSync(join(cwd, 'secret.conf'), '[timescaledb]')
    chmodSync(join(cwd, 'secret.conf'), 0)
    expect(thrown(() => readConfigFile('secret.conf', cwd, 'file optional')).code).toBe('CONFIG_UNREADABLE')
  })

  test('our section is required except where the file is shared', () => {
    writeFileSync(join(cwd, 'other.conf'), '[mongo]\n')
    expect(thrown(() => readConfigFile('other.conf', cwd, 'file optional')).code).toBe('CONFIG_UNREADABLE')
    expect(readConfigFile('other.conf', cwd, 'section optional')).toBeUndefined()
  })
})

interface Thrown {
  readonly code: string
  readonly message: string
  readonly hint?: string
}

function thrown(run: () => unknown): Thrown {
  try {
    run()
  } catch (error) {
    if (error instanceof Error && 'code' in error && 'source' in error) return error as Error & Thrown
    throw error
  }
  throw new Error('nothing was thrown')
}
