import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { connect, type ServeOptions } from '../../src/index.ts'
import { message } from '../../src/wire/message.ts'
import { readRows } from './raw-client.ts'
import { cancelRequest, dial, openRaw } from './scram-client.ts'
import { db, login, serve, serveDatabase, served, valueIn } from './served-database.ts'

serveDatabase()

describe('limits', () => {
  test('connections beyond maxConnections are refused with 53300, until one ends', async () => {
    const server = await serve({ maxConnections: 2 })
    const [first] = [await login(server), await login(server)]
    await expect(login(server)).rejects.toMatchObject({ code: '53300' })
    await first.end()
    await expect
      .poll(() =>
        login(server).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true)
  })

  test('Ctrl-C: the statement with the right key, and no other, also when all connections are taken', async () => {
    const server = await serve({ maxConnections: 1 })
    const client = await openRaw(server)
    client.send(message('Q', 'select pg_sleep(20)'))
    await new Promise((resolve) => setTimeout(resolve, 100))
    for (const [id, key] of [
      [client.processId, client.key + 1],
      [client.processId + 1, client.key],
    ] as const) {
      const socket = await dial(server)
      socket.end(cancelRequest(id, key))
      await once(socket.resume(), 'close')
    }
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(client.replies).toEqual([])
    const socket = await dial(server)
    socket.end(cancelRequest(client.processId, client.key))
    await expect(client.until('Z').then(readRows)).rejects.toThrow('57014')
    expect(await client.query('select 1')).toEqual([['1']])
    client.close()
  })

  test('a client that reads nothing is disconnected, and the others go on', async () => {
    const server = await serve({ stallTimeoutMs: 300 })
    const client = await openRaw(server)
    client.stream.pause()
    client.send(message('Q', "select repeat('x', 1000) from generate_series(1, 100000)"))
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
    client.stream.resume()
    await expect.poll(() => client.stream.destroyed).toBe(true)
    expect(client.replies.map(({ type }) => type)).not.toContain('Z')
  })
})

describe('addresses', () => {
  test('one that others can reach needs allowRemote', async () => {
    for (const host of ['0.0.0.0', '::', '192.0.2.1'])
      await expect(serve({ host })).rejects.toMatchObject({ name: 'UsageError', code: 'INVALID_OPTION' })
    const server = await serve({ host: '0.0.0.0', allowRemote: true })
    await login(server, { host: '127.0.0.1' })
  })

  test('a port that is taken', async () => {
    await expect(serve({ port: served.port })).rejects.toMatchObject({ name: 'ConnectionError', code: 'LISTEN_FAILED' })
  })

  test.each([
    { port: 70_000 },
    { port: 1.5 },
    { maxConnections: 0 },
    { password: '' },
    { user: 'a\0b' },
    { socketDirectory: '/tmp', host: '127.0.0.1' },
    { hots: '127.0.0.1' },
  ])('%j is refused', async (options) => {
    await expect(serve(options as ServeOptions)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('a Unix socket: for this user alone, over a stale one, gone after close', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsdb serve '))
    const file = path.join(directory, '.s.PGSQL.5433')
    try {
      // What a server that was killed leaves behind.
      const script = `require('net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 'SIGKILL'))`
      await once(spawn(process.execPath, ['-e', script]), 'exit')
      expect(fs.statSync(file).isSocket()).toBe(true)
      const server = await serve({ socketDirectory: directory, port: 5433 })
      expect(server).toMatchObject({ path: file, host: undefined, port: 5433 })
      expect(fs.statSync(file).mode & 0o777).toBe(0o600)
      expect(fs.readdirSync(directory)).toEqual(['.s.PGSQL.5433'])
      const client = await login(server)
      expect(await valueIn(client, 'select 1')).toBe(1)
      const url = new pg.Client({ connectionString: server.url.replace('@', `:${server.password}@`) })
      await url.connect()
      await url.end()
      await expect(serve({ socketDirectory: directory, port: 5433 })).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
      await server.close()
      expect(fs.readdirSync(directory)).toEqual([])
      fs.writeFileSync(file, 'somebody’s file')
      await expect(serve({ socketDirectory: directory, port: 5433 })).rejects.toMatchObject({ code: 'LISTEN_FAILED' })
      expect(fs.readFileSync(file, 'utf8')).toBe('somebody’s file')
    } finally {
      fs.rmSync(directory, { recursive: true })
    }
  })
})

test('close tells the clients, rolls back, and this process goes on', async () => {
  const server = await serve({})
  const client = await openRaw(server)
  await client.query('begin; insert into reading values (1)')
  await server.close()
  await server.close()
  expect(client.replies.map(({ bytes }) => bytes.toString('latin1')).join()).toContain('57P01')
  await expect(dial(server)).rejects.toThrow('ECONNREFUSED')
  expect(await db.sql`select count(*)::int as n from reading`).toEqual([{ n: 0 }])
})

test('closing the database closes what serves it', async () => {
  const other = await connect('embedded:', { onProgress: () => undefined })
  const server = await other.serve({ port: 0 })
  const client = await openRaw(server)
  await client.query('begin; create table unfinished ()')
  await other.close()
  await expect(dial(server)).rejects.toThrow('ECONNREFUSED')
  await expect(other.serve({ port: 0 })).rejects.toThrow()
})
