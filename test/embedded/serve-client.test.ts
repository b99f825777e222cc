import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Readable } from 'node:stream'
import { text as readAll } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import type { ServedDatabase } from '../../src/index.ts'
import { message } from '../../src/wire/message.ts'
import { extended, readRows, tagsOf } from './raw-client.ts'
import { openRaw } from './scram-client.ts'
import { db, login, serve, serveDatabase, served, valueIn } from './served-database.ts'

serveDatabase()

describe('pg', () => {
  test('rows, parameters, named statements, errors, transactions', async () => {
    const client = await login()
    await client.query('insert into reading select i, $1 || i from generate_series(1, 3) i', ["it's "])
    const named = { name: 'by id', text: 'select value from reading where id = $1' }
    for (const id of [1, 2, 3])
      expect((await client.query({ ...named, values: [id] })).rows).toEqual([{ value: `it's ${id}` }])
    await expect(client.query('select 1/0')).rejects.toMatchObject({ code: '22012' })
    await client.query('begin')
    await client.query('delete from reading')
    await client.query('rollback')
    expect(await valueIn(client, 'select count(*)::int from reading')).toBe(3)
    expect(await db.sql`select count(*)::int as n from reading`).toEqual([{ n: 3 }])
  })

  test('COPY both ways, and one that fails', async () => {
    const client = await login()
    const rows = 50_000
    const lines = Readable.from(
      (function* () {
        for (let id = 0; id < rows; id++) yield `${id}\tvalue ${id}\n`
      })(),
    )
    await pipeline(lines, client.query(copyFrom('copy reading from stdin')))
    const out = await readAll(client.query(copyTo('copy (select * from reading order by id) to stdout (format csv)')))
    expect(out.split('\n')).toHaveLength(rows + 1)
    expect(out).toContain('49999,value 49999\n')
    const bad = pipeline(Readable.from(['1\tx\nnonsense\n']), client.query(copyFrom('copy reading from stdin')))
    await expect(bad).rejects.toMatchObject({ code: '22P02' })
    expect(await valueIn(client, 'select count(*)::int from reading')).toBe(rows)
  })

  test('NOTIFY reaches other connections and this process’s', async () => {
    const [listener, sender] = [await login(), await login()]
    await listener.query('listen "Odd channel"')
    const told = once(listener, 'notification')
    await sender.query(`notify "Odd channel", 'hello'`)
    expect((await told)[0]).toMatchObject({ channel: 'Odd channel', payload: 'hello' })
  })

  test('statement_timeout and idle_in_transaction_session_timeout, of the session and of the server', async () => {
    const server = await serve({ statementTimeoutMs: 80, idleInTransactionTimeoutMs: 120 })
    const client = await login(server)
    await expect(client.query('select pg_sleep(5)')).rejects.toMatchObject({ code: '57014' })
    await client.query('set statement_timeout = 0; select pg_sleep(0.15)')
    const idle = await login(server)
    const ended = new Promise((resolve) => {
      idle.once('error', resolve)
    })
    await idle.query('begin; insert into reading values (1)')
    expect(await ended).toMatchObject({ code: '25P03' })
    expect(await valueIn(client, 'select count(*)::int from reading')).toBe(0)
    const own = await login(server, { options: '-c statement_timeout=7000' })
    expect(await valueIn(own, 'show statement_timeout')).toBe('7s')
    await own.query('reset all')
    expect(await valueIn(own, 'show statement_timeout')).toBe('7s')
  })

  test('start-up settings as drivers and poolers send them; DISCARD ALL and RESET ALL keep them', async () => {
    const client = await login(served, {
      application_name: 'pooler\'s "app"',
      options: '-c search_path=pg_temp,public -c TimeZone=Asia/Tokyo --work-mem=5MB',
    })
    const shown = async (): Promise<unknown[]> =>
      Promise.all(
        ['application_name', 'search_path', 'timezone', 'work_mem'].map((name) => valueIn(client, `show ${name}`)),
      )
    const own = [`pooler's "app"`, 'pg_temp,public', 'Asia/Tokyo', '5MB']
    expect(await shown()).toEqual(own)
    for (const text of ['reset all', 'discard all', 'DISCARD ALL;']) {
      await client.query("set timezone = 'UTC'; set search_path = pg_catalog; set work_mem = '9MB'")
      await client.query(text)
      expect(await shown(), text).toEqual(own)
    }
  })
})

test('postgres.js: queries, a transaction, a cursor, COPY, LISTEN, DISCARD ALL by the extended protocol', async () => {
  const options = { host: served.host ?? '', port: served.port, user: 'postgres', database: 'postgres', max: 4 }
  const sql = postgres({ ...options, pass: served.password ?? '', onnotice: () => undefined })
  try {
    await Promise.all(Array.from({ length: 40 }, (_, id) => sql`insert into reading values (${id}, ${`v${id}`})`))
    expect(await sql`select count(*)::int as n from reading`).toEqual([{ n: 40 }])
    await expect(
      sql.begin(async (tx) => {
        await tx`delete from reading`
        throw new Error('no')
      }),
    ).rejects.toThrow('no')
    let seen = 0
    for await (const rows of sql`select * from reading`.cursor(7)) seen += rows.length
    expect(seen).toBe(40)
    expect(await readAll(await sql`copy (select 1, 'x') to stdout`.readable())).toBe('1\tx\n')
    const writable = await sql`copy reading from stdin`.writable()
    await pipeline(Readable.from(['100\tcopied\n']), writable)
    const heard: string[] = []
    await sql.listen('odd', (payload) => heard.push(payload))
    await sql.notify('odd', 'hello')
    await expect.poll(() => heard).toEqual(['hello'])
    const other = await openRaw(served)
    other.send(extended('select 42', 'kept'))
    await other.until('Z')
    await sql`discard all`
    other.send(message('B', '', 'kept', Buffer.alloc(6)), message('E', Buffer.alloc(5)), message('S'))
    expect(readRows(await other.until('Z'))).toEqual([['42']])
    other.close()
    expect(await sql`select value from reading where id = 100`).toEqual([{ value: 'copied' }])
  } finally {
    await sql.end()
  }
})

describe('what drivers do that a session must survive', () => {
  // lib/pq and pgx do so for each query with parameters: Parse and Describe, wait, Bind and Execute.
  test('the unnamed statement is the connection’s own, also when others used theirs meanwhile', async () => {
    const [one, two] = [await openRaw(served), await openRaw(served)]
    const prepare = (text: string): Buffer =>
      Buffer.concat([message('P', '', text, Buffer.alloc(2)), message('D', Buffer.from('S\0')), message('S')])
    const run = Buffer.concat([message('B', '', '', Buffer.alloc(6)), message('E', Buffer.alloc(5)), message('S')])
    const answers: string[][][] = []
    for (const [client, text] of [
      [one, "select 'one'"],
      [two, "select 'two'"],
    ] as const) {
      client.send(prepare(text))
      await client.until('Z')
    }
    await db.sql`select 'three'`
    for (const client of [one, two, one]) {
      client.send(run)
      const replies = await client.until('Z')
      expect(replies.map(({ type }) => type).join('')).toBe('2DCZ')
      answers.push(readRows(replies))
    }
    expect(answers).toEqual([[['one']], [['two']], [['one']]])
    await one.query('select 1')
    one.send(run)
    await expect(one.until('Z').then(readRows)).rejects.toThrow('26000')
    for (const client of [one, two]) client.close()
  })

  // psycopg and ActiveRecord close prepared statements by SQL.
  test('DEALLOCATE by SQL closes the connection’s own statement', async () => {
    const [one, two] = [await openRaw(served), await openRaw(served)]
    for (const client of [one, two]) {
      client.send(extended('select 1', 'a1'), extended('select 2', 'Odd "name'))
      await client.until('Z')
      await client.until('Z')
    }
    for (const text of ['DEALLOCATE a1', 'deallocate prepare "Odd ""name";']) {
      one.send(message('Q', text))
      expect(tagsOf(await one.until('Z'))).toEqual(['DEALLOCATE'])
      await expect(one.query(text)).rejects.toThrow('26000')
    }
    await two.query('begin')
    two.send(message('Q', 'deallocate all'))
    expect((await two.until('Z')).at(-1)?.bytes.toString('latin1', 5)).toBe('T')
    for (const client of [one, two]) client.close()
  })

  test('a pipeline that is never synced is given on in portions, and its client held back', async () => {
    const client = await openRaw(served)
    const insert = (id: number): Buffer =>
      Buffer.concat([
        message('P', '', `insert into reading values (${id}, '${'x'.repeat(10_000)}')`, Buffer.alloc(2)),
        message('B', '', '', Buffer.alloc(6)),
        message('E', Buffer.alloc(5)),
      ])
    for (let id = 0; id < 2000; id++) client.send(insert(id))
    client.send(message('S'))
    expect(tagsOf(await client.until('Z'))).toHaveLength(2000)
    expect(await db.sql`select count(*)::int as n from reading`).toEqual([{ n: 2000 }])
    client.close()
  })
})

const psql = (() => {
  try {
    return execFileSync('psql', ['--version'], { encoding: 'utf8' }).trim()
  } catch {
    process.stdout.write('skipped: psql is not installed\n')
    return undefined
  }
})()

describe.skipIf(psql === undefined)('psql', () => {
  const run = async (server: ServedDatabase, ...args: string[]): Promise<string> => {
    const env = { ...process.env, PGPASSWORD: server.password, PGOPTIONS: '', PAGER: '' }
    const target = [server.url, '-X', '-A', '-t', '-v', 'ON_ERROR_STOP=1']
    return (await promisify(execFile)('psql', [...target, ...args], { env, timeout: 20_000 })).stdout
  }

  test('\\d, \\dt, \\copy both ways, \\conninfo, \\watch, \\gexec', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsdb-psql-'))
    const file = path.join(directory, 'rows.csv')
    fs.writeFileSync(file, '1,one\n2,"two, too"\n')
    try {
      expect(await run(served, '-c', '\\d reading')).toMatch(/id\|integer\|.*not null/)
      expect(await run(served, '-c', '\\dt')).toContain('public|reading|table|postgres')
      expect(await run(served, '-c', '\\conninfo')).toContain(`port "${served.port}"`)
      expect(await run(served, '-c', `\\copy reading from '${file}' csv`)).toBe('COPY 2\n')
      expect(await run(served, '-c', `\\copy reading to '${file}.out' csv`)).toBe('COPY 2\n')
      expect(fs.readFileSync(`${file}.out`, 'utf8')).toBe('1,one\n2,"two, too"\n')
      const generated = "select format('insert into reading values (%s)', i) from generate_series(10, 12) i \\gexec"
      const script = path.join(directory, 'script.sql')
      fs.writeFileSync(script, `${generated}\nselect count(*) from reading;\n`)
      expect(await run(served, '-f', script)).toMatch(/5\n$/)
    } finally {
      fs.rmSync(directory, { recursive: true })
    }
  })

  // Not at a terminal, psql ends after the first Ctrl-C.
  test.each([
    ["select 'tick' \\watch 0.1", /(tick\s+){3}/, ''],
    ["select 'tick'; select pg_sleep(30);", /tick/, 'canceling statement due to user request'],
  ])('%s, ended by Ctrl-C', async (command, begun, told) => {
    const env = { ...process.env, PGPASSWORD: served.password, PAGER: '' }
    const child = spawn('psql', [served.url, '-X', '-A', '-t'], { env })
    const ended = once(child, 'close')
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        output += String(chunk)
      })
    child.stdin.write(`${command}\n`)
    await expect.poll(() => output, { timeout: 5000 }).toMatch(begun)
    await new Promise((resolve) => setTimeout(resolve, 100))
    child.kill('SIGINT')
    child.stdin.end()
    await ended
    expect(output).toContain(told)
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
  })

  test('a Unix socket', async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'tsdb-psql-'))
    try {
      const server = await serve({ socketDirectory: directory, port: 5432 })
      expect(await run(server, '-c', 'select 1')).toBe('1\n')
      await server.close()
    } finally {
      fs.rmSync(directory, { recursive: true })
    }
  })
})
