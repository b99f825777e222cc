import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import forge from 'node-forge'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import type { ServedDatabase } from '../../src/embedded/serve.ts'
import type { ServeOptions } from '../../src/embedded/serve-option.ts'
import { certificateHash } from '../../src/wire/certificate-hash.ts'
import { int32 } from '../../src/wire/message.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { lendEngine } from '../setup/database.ts'
import { fieldsOf, RawClient } from './raw-client.ts'
import { dial, gssRequest, logIn, sslRequest, startup, type Tamper } from './scram-client.ts'

const authority = makeAuthority('test authority')
const certificate = makeServerCertificate('localhost', authority)
let database: EmbeddedDatabase
let served: ServedDatabase
const opened: AsyncDisposable[] = []

beforeAll(async () => {
  database = await lendEngine({ lockWaitMs: 5000 })
  served = await database.serve({ port: 0 })
})
afterAll(() => database.close())
afterEach(async () => {
  for (const each of opened.splice(0)) await each[Symbol.asyncDispose]()
})

async function serve(options: ServeOptions): Promise<ServedDatabase> {
  const made = await database.serve({ port: 0, ...options })
  opened.push(made)
  return made
}

const login = (server: ServedDatabase, config: pg.ClientConfig = {}): Promise<pg.Client> => {
  const client = new pg.Client({
    host: '127.0.0.1',
    port: server.port,
    user: 'postgres',
    database: 'postgres',
    password: server.password,
    ...config,
  })
  client.on('error', () => undefined)
  return client.connect().then(
    () => {
      opened.push({ [Symbol.asyncDispose]: () => client.end() })
      return client
    },
    async (error: unknown) => {
      await client.end().catch(() => undefined)
      throw error
    },
  )
}

const honest = { ssl: { ca: authority.cert, servername: 'localhost' } }

describe('passwords', () => {
  test('the one that was made is long, and let in', async () => {
    expect(served.password).toMatch(/^[\w-]{24}$/)
    const client = await login(served)
    expect((await client.query('select current_user as who')).rows).toEqual([{ who: 'postgres' }])
  })

  test('a wrong one, an empty one and an unknown user are told the same', async () => {
    for (const config of [{ password: 'wrong' }, { user: 'nobody' }, { user: 'POSTGRES' }])
      await expect(login(served, config)).rejects.toMatchObject({
        code: '28P01',
        message: `password authentication failed for user "${config.user ?? 'postgres'}"`,
      })
  })

  test('nothing tells an unknown user from a known one: the same salt each time, one of its own for each name', async () => {
    const saltOf = async (user: string): Promise<string> => {
      let salt = ''
      const serverFirst = (text: string): void => {
        salt = /,s=([^,]+),i=4096$/.exec(text)?.[1] ?? ''
      }
      const client = new RawClient(await dial(served))
      const attempt = logIn(client, { user, password: 'wrong', tamper: { serverFirst } })
      await expect(attempt).rejects.toMatchObject({ code: '28P01' })
      return salt
    }
    const salts = [await saltOf('postgres'), await saltOf('nobody'), await saltOf('else')]
    expect(new Set(salts).size).toBe(3)
    expect([await saltOf('postgres'), await saltOf('nobody'), await saltOf('else')]).toEqual(salts)
    expect(salts.map((salt) => Buffer.from(salt, 'base64').length)).toEqual([16, 16, 16])
  })

  test.each(['with space', 'mañana', 'ＦＵＬＬ\u00adwidth \u00a0 ﬁ', '"q\'u\\o,t=e', 'пароль🔑'])(
    '%s',
    async (password) => {
      const server = await serve({ password })
      expect(server.password).toBeUndefined()
      await login(server, { password })
      await expect(login(server, { password: `${password}x` })).rejects.toMatchObject({ code: '28P01' })
    },
  )

  test('its own user and database names', async () => {
    const server = await serve({ user: 'grafana "1"', database: 'metrics.a' })
    expect(server.url).toBe(`postgres://grafana%20%221%22@127.0.0.1:${server.port}/metrics.a`)
    await login(server, { user: 'grafana "1"', database: 'metrics.a' })
    await expect(login(server)).rejects.toMatchObject({ code: '28P01' })
    await expect(login(server, { user: 'grafana "1"' })).rejects.toMatchObject({ code: '3D000' })
  })

  test('a database that is not there is told to those only who are known', async () => {
    await expect(login(served, { database: 'other' })).rejects.toMatchObject({
      code: '3D000',
      message: 'database "other" does not exist',
    })
    await expect(login(served, { database: 'other', password: 'x' })).rejects.toMatchObject({ code: '28P01' })
  })
})

describe('what a client that cheats sends', () => {
  const cases: [string, Tamper, string][] = [
    ['another mechanism', { mechanism: 'PLAIN' }, '08P01'],
    ['channel binding without TLS', { mechanism: 'SCRAM-SHA-256-PLUS' }, '08P01'],
    [
      'a binding flag without the mechanism',
      { clientFirst: (t) => t.replace('n,,', 'p=tls-server-end-point,,') },
      '08P01',
    ],
    ['an authorization identity', { clientFirst: (t) => t.replace('n,,', 'n,a=admin,') }, '08P01'],
    ['a mandatory extension', { clientFirst: (t) => t.replace('n,,', 'n,,m=x,') }, '08P01'],
    ['no nonce', { clientFirst: () => 'n,,n=,r=' }, '08P01'],
    ['nothing', { clientFirst: () => '' }, '08P01'],
    ['a nonce of its own', { clientFinal: (t) => t.replace(/r=[^,]+/, 'r=abc') }, '28P01'],
    ['another binding', { clientFinal: (t) => t.replace('c=biws', 'c=eSws') }, '28P01'],
    ['no proof', { clientFinal: (t) => t.replace(/,p=.*/, '') }, '28P01'],
    ['a short proof', { clientFinal: (t) => t.replace(/,p=.*/, ',p=AAAA') }, '28P01'],
    [
      'a proof of zeros',
      { clientFinal: (t) => t.replace(/,p=.*/, `,p=${Buffer.alloc(32).toString('base64')}`) },
      '28P01',
    ],
    [
      'the proof of another exchange',
      { clientFinal: (t) => t.replace(/,p=(.)/, (_, c) => `,p=${c === 'A' ? 'B' : 'A'}`) },
      '28P01',
    ],
  ]
  test.each(cases)('%s', async (_, tamper, code) => {
    const client = new RawClient(await dial(served))
    await expect(logIn(client, { password: served.password ?? '', tamper })).rejects.toMatchObject({ code })
    await expect.poll(() => client.stream.destroyed).toBe(true)
  })

  test('the honest exchange by an implementation of its own', async () => {
    const client = new RawClient(await dial(served))
    await logIn(client, { password: served.password ?? '' })
    expect(await client.query('select 1')).toEqual([['1']])
    client.close()
  })
})

describe('the first packet', () => {
  test('GSSENCRequest and SSLRequest are answered N, then the log-in goes on', async () => {
    const socket = await dial(served)
    for (const request of [gssRequest, sslRequest]) {
      socket.write(request)
      expect(String((await once(socket, 'data'))[0])).toBe('N')
    }
    const client = new RawClient(socket)
    await logIn(client, { password: served.password ?? '' })
    expect(await client.query('select 1')).toEqual([['1']])
    client.close()
  })

  test('a newer minor version and unknown protocol options are negotiated down', async () => {
    const client = new RawClient(await dial(served))
    const parameters = { '_pq_.unheard': '1' }
    const replies = await logIn(client, { password: served.password ?? '', minor: 9, parameters })
    const [negotiated] = replies.filter(({ type }) => type === 'v')
    expect(negotiated?.bytes.subarray(5)).toEqual(
      Buffer.concat([int32(196608), int32(1), Buffer.from('_pq_.unheard\0')]),
    )
    expect(await client.query('select 1')).toEqual([['1']])
    client.close()
  })

  test.each([
    ['protocol 2.0', Buffer.concat([int32(8), int32(0x20000)]), '0A000'],
    ['protocol 4.0', Buffer.concat([int32(8), int32(0x40000)]), '0A000'],
    ['a length of zero', Buffer.from('\0\0\0\0garbage'), '08P01'],
    ['a huge length', Buffer.concat([int32(0x7fffffff), int32(196608)]), '08P01'],
    ['a negative length', Buffer.concat([int32(-1), int32(196608)]), '08P01'],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), '08P01'],
    ['no user', startup({ database: 'postgres' }), '28000'],
    ['endless requests for TLS', Buffer.concat(Array.from({ length: 20 }, () => sslRequest)), '08P01'],
  ])('%s', async (_, bytes, code) => {
    const socket = await dial(served)
    const received: Buffer[] = []
    socket.on('data', (chunk: Buffer) => received.push(chunk))
    socket.on('error', () => undefined)
    socket.write(bytes)
    await once(socket, 'close')
    const text = Buffer.concat(received).toString('latin1').replace(/^N+/, '')
    const fields = fieldsOf({ type: 'E', bytes: Buffer.from(text, 'latin1') })
    expect([fields.get('S'), fields.get('C')]).toEqual(['FATAL', code])
  })

  test('replication and other encodings are refused to those who are known', async () => {
    const failure = (parameters: Record<string, string>): Promise<unknown> =>
      dial(served).then((socket) => logIn(new RawClient(socket), { password: served.password ?? '', parameters }))
    await expect(failure({ replication: 'database' })).rejects.toMatchObject({ code: '0A000' })
    await expect(failure({ client_encoding: 'LATIN1' })).rejects.toMatchObject({ code: '0A000' })
    await expect(failure({ options: '-c client_encoding=win1252' })).rejects.toMatchObject({ code: '0A000' })
    for (const client_encoding of ["'utf-8'", 'UTF8', 'SQL_ASCII'])
      expect((await failure({ client_encoding, replication: 'off' })) as unknown[]).not.toHaveLength(0)
  })
})

describe('TLS', () => {
  let secure: ServedDatabase
  beforeAll(async () => {
    secure = await database.serve({ port: 0, tls: certificate })
  })

  test('bound to the channel, and not bound', async () => {
    expect(secure.url).toContain('?sslmode=require')
    for (const enableChannelBinding of [true, false]) {
      const client = await login(secure, { ...honest, enableChannelBinding })
      expect((await client.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    }
    await expect(login(secure, { ...honest, password: 'x', enableChannelBinding: true })).rejects.toMatchObject({
      code: '28P01',
    })
  })

  test('a connection without it is refused, before any password', async () => {
    await expect(login(secure)).rejects.toMatchObject({ code: '28000' })
  })

  test('a client that could bind and was told that the server cannot is refused', async () => {
    const plain = await dial(secure)
    plain.write(sslRequest)
    await once(plain, 'data')
    const socket = connectTls({ socket: plain, ca: authority.cert, servername: 'localhost' })
    await once(socket, 'secureConnect')
    const tamper = { clientFirst: (text: string) => text.replace('n,,', 'y,,') }
    const client = new RawClient(socket)
    await expect(logIn(client, { password: secure.password ?? '', tamper })).rejects.toMatchObject({ code: '08P01' })
  })

  test('the hash of another certificate does not bind: somebody in between would have one', async () => {
    const plain = await dial(secure)
    plain.write(sslRequest)
    await once(plain, 'data')
    const socket = connectTls({ socket: plain, ca: authority.cert, servername: 'localhost' })
    await once(socket, 'secureConnect')
    const header = 'p=tls-server-end-point,,'
    const forged = Buffer.concat([Buffer.from(header), Buffer.alloc(32)]).toString('base64')
    const tamper = {
      mechanism: 'SCRAM-SHA-256-PLUS',
      clientFirst: (text: string) => text.replace('n,,', header),
      clientFinal: (text: string) => text.replace('c=biws', `c=${forged}`),
    }
    const client = new RawClient(socket)
    await expect(logIn(client, { password: secure.password ?? '', tamper })).rejects.toMatchObject({ code: '28P01' })
  })

  // CVE-2021-23214: the bytes would be taken for the client's, once it is logged in.
  test('plaintext sent behind the SSLRequest is refused', async () => {
    const socket = await dial(secure)
    const received: Buffer[] = []
    socket.on('data', (chunk: Buffer) => received.push(chunk))
    socket.write(Buffer.concat([sslRequest, startup({ user: 'postgres' })]))
    await once(socket, 'close')
    const bytes = Buffer.concat(received)
    expect(bytes.toString('latin1', 0, 1)).toBe('E')
    expect(fieldsOf({ type: 'E', bytes }).get('C')).toBe('08P01')
  })

  test('TLS from the first byte, for clients that name the protocol', async () => {
    const open = async (ALPNProtocols: string[]): Promise<RawClient> => {
      const socket = connectTls({
        port: secure.port,
        host: '127.0.0.1',
        ca: authority.cert,
        servername: 'localhost',
        ALPNProtocols,
      })
      await once(socket, 'secureConnect')
      return new RawClient(socket)
    }
    const client = await open(['postgresql'])
    await logIn(client, { password: secure.password ?? '' })
    expect(await client.query('select 1')).toEqual([['1']])
    client.close()
    const unnamed = await open([])
    await expect(logIn(unnamed, { password: secure.password ?? '' })).rejects.toThrow()
  })

  test('a broken handshake ends its connection and nothing else', async () => {
    const socket = await dial(secure)
    socket.on('error', () => undefined)
    socket.write(sslRequest)
    await once(socket, 'data')
    socket.write('this is no handshake')
    await once(socket, 'close')
    await login(secure, honest)
  })

  test.each([
    ['no certificate', { cert: 'x', key: certificate.key }],
    ['a key that does not belong to it', { cert: certificate.cert, key: makeAuthority('other').key }],
  ])('%s', async (_, tls) => {
    const failure = await database.serve({ port: 0, tls }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'UsageError', code: 'INVALID_OPTION' })
    expect(JSON.stringify(failure)).not.toContain('PRIVATE KEY')
  })
})

test.each(['sha256', 'sha384', 'sha512', 'sha1', 'md5'] as const)(
  'the hash of a certificate signed with %s',
  (name) => {
    const made = forge.pki.certificateFromPem(certificate.cert)
    made.sign(forge.pki.privateKeyFromPem(authority.key), forge.md[name].create())
    const der = Buffer.from(forge.asn1.toDer(forge.pki.certificateToAsn1(made)).getBytes(), 'latin1')
    const expected = name === 'sha1' || name === 'md5' ? 'sha256' : name
    expect(certificateHash(der)).toEqual(createHash(expected).update(der).digest())
  },
)

test('a client that says nothing is disconnected', async () => {
  const server = await serve({ authenticationTimeoutMs: 100 })
  const socket = await dial(server)
  const started = performance.now()
  await once(socket, 'close')
  expect(performance.now() - started).toBeLessThan(5000)
})
