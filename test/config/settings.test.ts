import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { describeSettings } from '../../src/config/describe-settings.ts'
import { type ConnectOptions, resolveSettings, type Settings, sameSettings } from '../../src/config/settings.ts'
import { ConfigError, UsageError } from '../../src/errors.ts'

let cwd: string
beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'tsdb-config-'))
})
beforeEach(() => {
  for (const name of ['aibasic.conf', 'tsdb.conf', 'own.conf', 'ca.pem']) rmSync(join(cwd, name), { force: true })
})
afterAll(() => rmSync(cwd, { recursive: true }))

const file = (name: string, text: string): void => writeFileSync(join(cwd, name), text)
const section = (...lines: string[]): string => ['[timescaledb]', ...lines, ''].join('\n')

function settle(
  target?: string | ConnectOptions,
  options?: ConnectOptions,
  env: Record<string, string> = {},
): Settings & { to: string } {
  const settings = resolveSettings(target, options, env, cwd)
  const t = settings.target
  const to = t.kind === 'server' ? `${t.user}@${t.host}:${t.port}/${t.database}` : `embedded:${t.directory ?? ''}`
  return { ...settings, to }
}

describe('the first source that names a target is the target', () => {
  const sources = [
    { name: 'target text', origin: 'argument', host: 'text' },
    { name: 'option host', origin: 'argument', host: 'option' },
    { name: 'option config', origin: 'own.conf', host: 'own' },
    { name: 'TSDB_URL', origin: 'TSDB_URL', host: 'url' },
    { name: 'PG*', origin: 'PG*', host: 'pghost' },
    { name: 'TSDB_CONFIG', origin: 'tsdb-config.conf', host: 'tsdb-config' },
    { name: './aibasic.conf', origin: './aibasic.conf', host: 'aibasic' },
    { name: './tsdb.conf', origin: './tsdb.conf', host: 'tsdb' },
  ] as const

  function connect(names: readonly string[]): Settings {
    const has = (name: string): boolean => names.includes(name)
    file('own.conf', section('HOST = own'))
    file('tsdb-config.conf', section('HOST = tsdb-config'))
    if (has('./aibasic.conf')) file('aibasic.conf', section('HOST = aibasic'))
    if (has('./tsdb.conf')) file('tsdb.conf', section('HOST = tsdb'))
    const options = {
      ...(has('option host') && { host: 'option' }),
      ...(has('option config') && { config: 'own.conf' }),
    }
    const env = {
      ...(has('TSDB_URL') && { TSDB_URL: 'postgres://url' }),
      ...(has('PG*') && { PGHOST: 'pghost' }),
      ...(has('TSDB_CONFIG') && { TSDB_CONFIG: 'tsdb-config.conf' }),
    }
    return resolveSettings(has('target text') ? 'postgres://text' : undefined, options, env, cwd)
  }

  test.each(sources)('$name alone', ({ name, origin, host }) => {
    const { target, origins } = connect([name])
    expect(target).toMatchObject({ kind: 'server', host })
    expect(origins['target']).toBe(origin)
  })

  const pairs = sources.flatMap((first, index) => sources.slice(index + 1).map((second) => ({ first, second })))
  test.each(pairs)('$first.name before $second.name', ({ first, second }) => {
    const inArgument = sources.slice(0, 3)
    if (inArgument.includes(second as (typeof inArgument)[number])) {
      expect(() => connect([first.name, second.name])).toThrow(
        expect.objectContaining({ constructor: UsageError, code: 'INVALID_OPTION' }),
      )
    } else {
      expect(connect([first.name, second.name]).target).toMatchObject({ host: first.host })
    }
  })

  test('all below a text', () => {
    expect(
      connect(['target text', 'TSDB_URL', 'PG*', 'TSDB_CONFIG', './aibasic.conf', './tsdb.conf']).target,
    ).toMatchObject({ host: 'text' })
  })

  test('nothing names one: the embedded engine in ./.tsdb', () => {
    const { target, origins } = settle()
    expect(target).toEqual({ kind: 'embedded', directory: join(cwd, '.tsdb'), durability: 'fsync' })
    expect(origins['target']).toBe('default')
  })

  test('PGUSER, PGPASSWORD, PGSSLMODE and empty variables name no server', () => {
    const env = { PGUSER: 'ci', PGPASSWORD: 'x', PGSSLMODE: 'require', PGHOST: '', TSDB_URL: '', TSDB_CONFIG: '' }
    expect(settle(undefined, undefined, env).target.kind).toBe('embedded')
  })

  test.each([
    ['PGHOST', 'h'],
    ['PGPORT', '6000'],
    ['PGDATABASE', 'd'],
  ])('%s alone names a server', (name, value) => {
    expect(settle(undefined, undefined, { [name]: value }).target.kind).toBe('server')
  })

  test.each(['PGSERVICE', 'PGHOSTADDR'])('%s is refused, not passed over in favour of an empty directory', (name) => {
    expect(() => settle(undefined, undefined, { [name]: 'x' })).toThrow(expect.objectContaining({ source: name }))
    expect(settle('embedded:', undefined, { [name]: 'x' }).to).toBe('embedded:')
  })

  test('a file without server keys names none, but its pool counts', () => {
    file('tsdb.conf', section('POOL_SIZE = 7'))
    expect(settle()).toMatchObject({
      target: { kind: 'embedded' },
      poolSize: 7,
      origins: { poolSize: './tsdb.conf:2' },
    })
  })

  test('a file below the target is not opened', () => {
    file('tsdb.conf', 'nonsense')
    expect(settle('embedded:', undefined, {}).to).toBe('embedded:')
    expect(settle(undefined, undefined, { PGHOST: 'h', TSDB_CONFIG: '/nowhere' }).to).toBe('postgres@h:5432/tsdb')
  })

  test('./aibasic.conf without our section is passed over, whatever else is in it', () => {
    file('aibasic.conf', '[mongo]\nurl\n  continued = 1\nurl\n[mongo]\n')
    file('tsdb.conf', section('HOST = ours'))
    expect(settle().to).toBe('postgres@ours:5432/tsdb')
  })
})

describe('values', () => {
  test("the document's object form and its defaults", () => {
    const all = settle({
      host: 'localhost',
      port: 5432,
      database: 'tsdb',
      user: 'postgres',
      password: 'password',
      poolSize: 5,
      maxOverflow: 10,
    })
    const least = settle({ host: 'localhost', password: 'password' })
    expect(all.to).toBe('postgres@localhost:5432/tsdb')
    expect(sameSettings(all, least)).toBe(true)
    expect(settle('postgres://h?connect_timeout=0').target).toMatchObject({ connectTimeoutMs: 2 ** 31 - 1 })
    expect(least).toMatchObject({ poolSize: 5, maxOverflow: 10, lockWaitMs: 5000, createExtension: false })
  })

  test('options without a host refine the server another source names', () => {
    const env = { TSDB_URL: 'postgres://u:p@prod:6000/main' }
    expect(settle({ database: 'other' }, { port: 6001 }, env)).toMatchObject({
      to: 'u@prod:6001/other',
      target: { password: 'p' },
      origins: { target: 'TSDB_URL', database: 'argument', host: 'TSDB_URL' },
    })
  })

  test('without any source they name a server on localhost', () => {
    expect(settle({ database: 'metrics' }).to).toBe('postgres@localhost:5432/metrics')
    expect(settle({ user: 'me', password: 'x' }).to).toBe('me@localhost:5432/tsdb')
  })

  test("a password never goes to another source's server", () => {
    file('tsdb.conf', section('HOST = filehost', 'PASSWORD = secret', 'USERNAME = owner'))
    for (const found of [
      settle({ host: 'elsewhere' }, undefined, { TSDB_URL: 'postgres://u:secret@prod' }),
      settle('postgres://elsewhere', undefined, { TSDB_URL: 'postgres://u:secret@prod' }),
      settle(undefined, undefined, { PGHOST: 'elsewhere' }),
    ]) {
      expect(found.to).toBe('postgres@elsewhere:5432/tsdb')
      expect(found.target).not.toHaveProperty('password')
    }
  })

  test('PG* completes a server and never touches the embedded engine', () => {
    const env = {
      PGUSER: 'pu',
      PGPASSWORD: 'pp',
      PGDATABASE: 'pd',
      PGAPPNAME: 'app',
      PGCONNECT_TIMEOUT: '3',
      PGOPTIONS: '-c x.y=1',
    }
    expect(settle('postgres://me@h', undefined, env)).toMatchObject({
      to: 'me@h:5432/pd',
      applicationName: 'app',
      target: { password: 'pp', connectTimeoutMs: 3000, options: '-c x.y=1' },
      origins: { user: 'argument', database: 'PGDATABASE', password: 'PGPASSWORD' },
    })
    expect(settle('embedded:', undefined, { ...env, PGPORT: 'bad', PGHOST: '' }).applicationName).toBe('tsdbkit')
  })

  test('options undefined are options left out', () => {
    expect(settle({ host: undefined, port: undefined, url: undefined, config: undefined }).target.kind).toBe('embedded')
  })

  test('pool and time-out options win over a file given by option', () => {
    file('own.conf', section('HOST = h', 'POOL_SIZE = 3', 'MAX_OVERFLOW = 0'))
    expect(settle({ config: 'own.conf', poolSize: 9 })).toMatchObject({ poolSize: 9, maxOverflow: 0 })
  })

  test('embedded targets', () => {
    expect(settle('embedded:').target).toEqual({ kind: 'embedded', directory: undefined, durability: 'fsync' })
    expect(settle('embedded:data/a b%20#é').to).toBe(`embedded:${join(cwd, 'data/a b%20#é')}`)
    expect(settle('embedded:/var/x', { durability: 'process' })).toMatchObject({
      target: { directory: '/var/x', durability: 'process' },
    })
    expect(settle({ url: 'embedded:///var/x' }).to).toBe('embedded:/var/x')
    for (const bad of ['embedded://data', 'embedded:~/data']) expect(() => settle(bad)).toThrow(ConfigError)
  })

  test('server options for the embedded engine are refused', () => {
    expect(() => settle({ database: 'x' }, undefined, { TSDB_URL: 'embedded:' })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('TSDB_URL') }),
    )
  })

  test('a password function is kept', async () => {
    const { target } = settle({ host: 'h', password: async () => 'fresh' })
    if (target.kind !== 'server' || typeof target.password !== 'function') throw new Error('no function')
    expect(await target.password()).toBe('fresh')
  })
})

describe('errors name the option and the nearest key', () => {
  test.each([
    ['poolsize', 'poolSize'],
    ['pool_size', 'poolSize'],
    ['username', 'user'],
    ['prot', 'port'],
    ['applicationname', 'applicationName'],
    ['configs', 'config'],
  ])('option %s → %s', (wrong, right) => {
    expect(() => settle(JSON.parse(`{"${wrong}":1}`))).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNKNOWN_KEY',
        source: 'argument',
        message: `argument: "${wrong}" is not a setting.`,
        hint: `Did you mean "${right}"?`,
      }),
    )
  })

  test('a key near to nothing lists them all', () => {
    expect(() => settle(JSON.parse('{"zzzzzzzzzz":1}'))).toThrow(
      expect.objectContaining({ hint: expect.stringMatching(/host, port, .*onProgress/) }),
    )
  })

  test.each([
    ['port', 0],
    ['port', 65536],
    ['port', 54.32],
    ['port', Number.NaN],
    ['poolSize', 0],
    ['maxOverflow', -1],
    ['lockWaitMs', 2 ** 31],
    ['host', ''],
    ['host', 'a,b'],
    ['host', 'a b'],
    ['password', 5],
    ['sslmode', 'verify_full'],
    ['sslmode', 'prefer'],
    ['durability', 'none'],
    ['int8', 'BigInt'],
    ['createExtension', 'yes'],
    ['config', 5],
    ['onProgress', 'x'],
  ])('option %s = %s', (name, value) => {
    expect(() => settle({ [name]: value })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID_VALUE', message: expect.stringContaining(`argument: ${name} `) }),
    )
  })
})

describe('TLS', () => {
  const pem = '-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n'
  const ssl = (options: ConnectOptions, url = 'postgres://h'): unknown => {
    const { target } = settle(url, options)
    return target.kind === 'server' ? target.ssl : undefined
  }

  test('modes', () => {
    file('ca.pem', pem)
    expect(ssl({})).toBeUndefined()
    expect(ssl({ sslmode: 'disable', ca: pem })).toBeUndefined()
    expect(ssl({ sslmode: 'require' })).toEqual({ mode: 'require' })
    expect(ssl({ sslmode: 'verify-full' })).toEqual({ mode: 'verify-full' })
    expect(ssl({ ca: pem })).toEqual({ mode: 'verify-full', ca: pem })
    expect(ssl({ sslmode: 'verify-ca', ca: 'ca.pem' })).toEqual({ mode: 'verify-ca', ca: pem })
    expect(ssl({}, 'postgres://h?sslmode=verify-full&sslrootcert=ca.pem')).toEqual({ mode: 'verify-full', ca: pem })
    expect(ssl({ cert: pem, key: pem, sslmode: 'require' })).toEqual({ mode: 'require', cert: pem, key: pem })
    expect(ssl({ sslmode: 'require' }, 'postgres://%2Fvar%2Frun/db')).toBeUndefined()
  })

  test('refused: verify-ca without a CA, a certificate without its key, a file that is not there', () => {
    expect(() => ssl({ sslmode: 'verify-ca' })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID_VALUE' }))
    expect(() => ssl({ sslmode: 'require', cert: pem })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID_VALUE' }),
    )
    expect(() => ssl({ ca: 'gone.pem' })).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNREADABLE',
        message: `argument: ca: ${join(cwd, 'gone.pem')} does not exist.`,
      }),
    )
  })
})

describe('describeSettings', () => {
  test('says where each value came from and shows no secret', () => {
    const env = { TSDB_URL: 'postgres://me:hunter2@db.example:6000/metrics?sslmode=require', PGAPPNAME: 'app' }
    const lines = describeSettings(
      settle({ poolSize: 2, cert: '-----BEGIN hunter2', key: '-----BEGIN hunter2' }, undefined, env),
    )
    expect(lines).toEqual(
      expect.arrayContaining([
        { name: 'target', value: 'server', origin: 'TSDB_URL' },
        { name: 'host', value: 'db.example', origin: 'TSDB_URL' },
        { name: 'password', value: '********', origin: 'TSDB_URL' },
        { name: 'sslmode', value: 'require', origin: 'TSDB_URL' },
        { name: 'applicationName', value: 'app', origin: 'PGAPPNAME' },
        { name: 'poolSize', value: '2', origin: 'argument' },
        { name: 'maxOverflow', value: '10', origin: 'default' },
      ]),
    )
    expect(JSON.stringify(lines)).not.toContain('hunter2')
    expect(lines.map((line) => line.name)).not.toContain('mode')
  })

  test('embedded', () => {
    expect(describeSettings(settle('embedded:')).slice(0, 3)).toEqual([
      { name: 'target', value: 'embedded', origin: 'argument' },
      { name: 'directory', value: 'temporary', origin: 'argument' },
      { name: 'durability', value: 'fsync', origin: 'default' },
    ])
  })
})

test('sameSettings compares values, not origins', () => {
  const viaOptions = settle({ host: 'h', password: 'p' })
  expect(sameSettings(viaOptions, settle(undefined, undefined, { TSDB_URL: 'postgres://:p@h' }))).toBe(true)
  expect(sameSettings(viaOptions, settle({ host: 'h', password: 'q' }))).toBe(false)
  expect(sameSettings(viaOptions, settle({ host: 'h', password: 'p', poolSize: 6 }))).toBe(false)
  expect(sameSettings(viaOptions, settle('embedded:'))).toBe(false)
})
