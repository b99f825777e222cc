import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { openPool } from '../../src/connection/pool.ts'
import type { PoolOptions, TlsOptions } from '../../src/connection/pool-option.ts'
import { makeAuthority, makeServerCertificate } from '../setup/certificate.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'

const authority = makeAuthority('Test authority')
const stranger = makeAuthority('Another authority')
let secure: PostgresServer
let plain: PostgresServer

beforeAll(async () => {
  const only = ['hostssl all all 127.0.0.1/32 scram-sha-256']
  secure = await startPostgres({ tls: makeServerCertificate('localhost', authority), access: only })
  plain = await startPostgres()
})

afterAll(async () => {
  await secure[Symbol.asyncDispose]()
  await plain[Symbol.asyncDispose]()
})

async function encrypted(
  server: PostgresServer,
  tls: TlsOptions | undefined,
  options: PoolOptions = {},
): Promise<unknown> {
  const pool = openPool({ ...server.options, tls, ...options })
  try {
    const text = 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'
    return (await new DatabaseSession(pool).query({ text, values: [] })).rows[0]?.['ssl']
  } finally {
    await pool.close()
    expect(pool.pool.totalCount).toBe(0)
  }
}

const ca = authority.cert

describe('accepted', () => {
  test.each<[string, TlsOptions, PoolOptions]>([
    ['require', { mode: 'require' }, {}],
    ['require with CA', { mode: 'require', ca }, {}],
    ['verify-ca under another name', { mode: 'verify-ca', ca }, { host: '127.0.0.1' }],
    ['verify-full', { mode: 'verify-full', ca }, { host: 'localhost' }],
  ])('%s', async (_name, tls, options) => {
    expect(await encrypted(secure, tls, options)).toBe(true)
  })

  test('disable, where the server allows it', async () => {
    expect(await encrypted(plain, { mode: 'disable' })).toBe(false)
    expect(await encrypted(plain, undefined)).toBe(false)
  })
})

describe('refused', () => {
  test.each<[string, TlsOptions, PoolOptions]>([
    ['verify-full with a wrong host name', { mode: 'verify-full', ca }, { host: '127.0.0.1' }],
    ['verify-full with an unknown CA', { mode: 'verify-full', ca: stranger.cert }, { host: 'localhost' }],
    ['verify-full without a CA', { mode: 'verify-full' }, { host: 'localhost' }],
    ['verify-ca with an unknown CA', { mode: 'verify-ca', ca: stranger.cert }, {}],
    ['require with an unknown CA', { mode: 'require', ca: stranger.cert }, {}],
  ])('%s', async (_name, tls, options) => {
    await expect(encrypted(secure, tls, options)).rejects.toMatchObject({ code: 'TLS_FAILED', retryable: false })
  })

  test('a server without TLS', async () => {
    await expect(encrypted(plain, { mode: 'require' })).rejects.toMatchObject({ code: 'TLS_FAILED' })
  })

  test('a server that wants TLS', async () => {
    await expect(encrypted(secure, { mode: 'disable' })).rejects.toMatchObject({ code: 'AUTHENTICATION_FAILED' })
  })

  test('a wrong password over TLS', async () => {
    await expect(encrypted(secure, { mode: 'require' }, { password: 'wrong' })).rejects.toMatchObject({
      code: 'AUTHENTICATION_FAILED',
    })
  })
})

test('a cancel request goes over TLS too', async () => {
  const pool = openPool({ ...secure.options, host: 'localhost', tls: { mode: 'verify-full', ca } })
  const db = new DatabaseSession(pool)
  for (let round = 0; round < 5; round++) {
    const start = performance.now()
    const sleeping = db.query({ text: 'select pg_sleep(20)', values: [] }, { timeoutMs: 50 })
    await expect(sleeping).rejects.toMatchObject({ code: 'STATEMENT_TIMEOUT' })
    expect(performance.now() - start).toBeLessThan(1000)
  }
  expect(pool.pool.totalCount).toBe(1)
  await pool.close()
})
