import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseTarget } from '../../src/config/target-text.ts'

function parse(text: string): Record<string, unknown> {
  const target = parseTarget(text, 'TSDB_URL', '/work')
  if (target.kind === 'embedded') return { ...target }
  return Object.fromEntries(Object.entries(target.layer).map(([name, found]) => [name, found.value]))
}

describe('URLs', () => {
  test.each([
    ['postgres://', {}],
    ['postgresql://h', { host: 'h' }],
    ['postgres://u@h/', { user: 'u', host: 'h' }],
    ['postgres://u:p:q@h:6000/d', { user: 'u', password: 'p:q', host: 'h', port: 6000, database: 'd' }],
    ['postgres://[::1]:6000/d', { host: '::1', port: 6000, database: 'd' }],
    ['postgres://%2Fvar%2Frun%2Fpostgresql/d', { host: '/var/run/postgresql', database: 'd' }],
    ['postgres://u@/d?host=/tmp', { user: 'u', database: 'd', host: '/tmp' }],
    ['postgres:///d%2Fe%25', { database: 'd/e%' }],
    ['postgres://h/..', { host: 'h', database: '..' }],
    ['postgres://é:ü@h', { user: 'é', password: 'ü', host: 'h' }],
    ['postgres://u:a+b@h?options=-c%20a.b%3D1+2', { user: 'u', password: 'a+b', host: 'h', options: '-c a.b=1+2' }],
    [
      'postgres://?host=h&port=1&dbname=d&user=u&password=p',
      { host: 'h', port: 1, database: 'd', user: 'u', password: 'p' },
    ],
    [
      'postgres://h?connect_timeout=3&keepalives=0&keepalives_idle=4',
      { host: 'h', connectTimeoutMs: 3000, keepAlive: false, keepAliveIdleMs: 4000 },
    ],
    [
      'postgres://h?statement_timeout=5&lock_timeout=6&application_name=a',
      { host: 'h', statementTimeoutMs: 5, lockTimeoutMs: 6, applicationName: 'a' },
    ],
    ['postgres://h?application_name=a&fallback_application_name=b', { host: 'h', applicationName: 'a' }],
    ['postgres://h?fallback_application_name=b', { host: 'h', applicationName: 'b' }],
    ['postgres://h?client_encoding=UTF8&channel_binding=prefer&uselibpqcompat=true', { host: 'h' }],
  ])('%s', (text, expected) => {
    expect(parse(text)).toEqual(expected)
  })

  test('any user, password, database and host name survive', () => {
    const part = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0'))
    fc.assert(
      fc.property(part, part, part, (user, password, database) => {
        const [u, p, d] = [user, password, database].map(encodeURIComponent)
        expect(parse(`postgres://${u}:${p}@h/${d}`)).toEqual({ user, password, host: 'h', database })
        expect(parse(`postgres://h?user=${u}&password=${p}&dbname=${d}`)).toEqual({
          user,
          password,
          host: 'h',
          database,
        })
      }),
    )
  })
})

describe('refused, and the text is never shown', () => {
  const bad = [
    'postgres://u:s3c/ret@h/d',
    'postgres://u:s3c?ret@h/d',
    'postgres://u:s3c#ret@h/d',
    'postgres://u:s3c@ret@h/d',
    'postgres://u:1/s3cret@h',
    'postgres://u:s3c ret@h/d',
    'postgres://u:s3cret%@h/d',
    'postgres://u:s3cret%FF@h/d',
    'postgres://u:s3cret@h:port/d',
    'postgres://u:s3cret@h:0/d',
    'postgres://u:s3cret@h,i/d',
    'postgres://u:s3cret@h:1,i:2/d',
    'postgres://u:s3cret@h/d\n',
    'postgres://u:s3cret@h/d?sslmode',
    'postgres://u:s3cret@h/d?port=1&port=2',
    'postgres://u:s3cret@h/d?sslmode=prefer',
    'postgres://u:s3cret@h/d?channel_binding=require',
    'postgres://u:s3cret@h/d?client_encoding=latin1',
    'mysql://u:s3cret@h/d',
    'host=h password=s3cret',
    './s3cret',
    '',
  ]
  test.each(bad)('%j', (text) => {
    let message = ''
    try {
      parse(text)
    } catch (error) {
      expect(error).toMatchObject({ code: 'CONFIG_INVALID_VALUE', source: 'TSDB_URL' })
      message = `${error} ${JSON.stringify(error)}`
    }
    expect(message).not.toBe('')
    expect(message).not.toMatch(/s3c|ret@/)
  })

  test.each([
    ['sslMode', 'sslmode'],
    ['aplication_name', 'application_name'],
    ['database', undefined],
    ['__proto__', undefined],
  ])('unknown parameter %s', (name, nearest) => {
    expect(() => parse(`postgres://u:s3cret@h?${name}=s3cret`)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_UNKNOWN_KEY',
        message: `TSDB_URL: "${name}" is not a setting.`,
        hint: nearest === undefined ? expect.stringContaining('sslrootcert') : `Did you mean "${nearest}"?`,
      }),
    )
  })
})
