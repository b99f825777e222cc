import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  appendHistory,
  foldStatement,
  historyFile,
  holdsSecret,
  readHistory,
} from '../../../../src/apps/cli/shell/history.ts'

const directory = mkdtempSync(join(tmpdir(), 'tsdb-history-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

test.skipIf(process.platform === 'win32')('the file is in the state directory, and of its user alone', () => {
  const file = historyFile({ XDG_STATE_HOME: join(directory, 'state') })
  expect(file).toBe(join(directory, 'state', 'tsdbkit', 'history'))
  expect(historyFile({})).toMatch(/\.local\/state\/tsdbkit\/history$/)
  expect(readHistory(file)).toEqual([])
  expect(appendHistory(file, 'select 1;')).toBe(undefined)
  appendHistory(file, 'select 2;')
  expect(readHistory(file)).toEqual(['select 2;', 'select 1;'])
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(statSync(join(directory, 'state', 'tsdbkit')).mode & 0o777).toBe(0o700)
  chmodSync(file, 0o644)
  readHistory(file)
  expect(statSync(file).mode & 0o777).toBe(0o600)
})

test('a file that grew long is cut, and one that cannot be read is none', () => {
  const file = join(directory, 'long')
  writeFileSync(file, Array.from({ length: 2500 }, (_, index) => `select ${index};\n`).join(''))
  const history = readHistory(file)
  expect([history.length, history[0], history.at(-1)]).toEqual([1000, 'select 2499;', 'select 1500;'])
  expect(readFileSync(file, 'utf8').split('\n')).toHaveLength(1001)
  expect(readHistory(directory)).toEqual([])
  expect(appendHistory(directory, 'select 1;')).toBeInstanceOf(Error)
})

describe('what may hold a password is known', () => {
  test.each([
    ["alter role me password 'geheim';", true],
    ["ALTER USER me WITH ENCRYPTED\nPASSWORD E'geheim';", true],
    ['create role me password $$geheim$$;', true],
    ["create user mapping for me server s options (user 'u', password 'x');", true],
    ["select dblink_connect('host=h password=x');", true],
    ["select * from dblink('postgres://me:geheim@host/db', 'select 1');", true],
    ["select pgp_sym_encrypt(data, 'key');", true],
    ["set my.api_key = 'x';", true],
    ['select password from users;', false],
    ["select 'postgres://host/db';", false],
    ['select 1;', false],
  ])('%j', (text, expected) => {
    expect(holdsSecret(text)).toBe(expected)
  })
})

test.each([
  ['select 1;', 'select 1;'],
  ['select 1\n  from t\nwhere x;', 'select 1 from t where x;'],
  ['select \'a b\',\n "c" /* d */;', 'select \'a b\', "c" /* d */;'],
  ["select 'a\nb';", undefined],
  ['select $$a\nb$$;', undefined],
  ['select 1 -- one\n, 2;', undefined],
  ['select /* a\n b */ 1;', undefined],
])('%j goes on one line where it may', (text, folded) => {
  expect(foldStatement(text)).toBe(folded)
})
