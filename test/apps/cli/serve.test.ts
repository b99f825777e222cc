import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { shortLife } from '../../setup/short-life.ts'
import { program, tsdb, tsdbHere } from './command.ts'

let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tsdb-serve-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** Starts `tsdb serve --json`; gives what it says first, and how to end it. */
async function start(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly says: Record<string, unknown>; readonly end: (signal: NodeJS.Signals) => Promise<string> }> {
  const child = spawn(
    process.execPath,
    [...shortLife, program, '-t', `embedded:${join(directory, 'db')}`, '--json', 'serve', ...args],
    {
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env },
    },
  )
  let [stdout, stderr] = ['', '']
  const said = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk) => {
      stdout += String(chunk)
      if (stdout.endsWith('}\n')) resolve()
    })
  })
  child.stderr.on('data', (chunk) => {
    stderr += String(chunk)
  })
  const closed = once(child, 'close')
  await Promise.race([said, closed])
  if (stdout === '') throw new Error(stderr)
  const end = async (signal: NodeJS.Signals): Promise<string> => {
    child.kill(signal)
    const [code] = await closed
    return `${code} ${stderr}`
  }
  return { says: JSON.parse(stdout), end }
}

test('serves until SIGTERM, which tells clients and rolls back', async () => {
  const { says, end } = await start(['--port', '0', '--statement-timeout', '9000'])
  expect(says).toMatchObject({ host: '127.0.0.1', user: 'postgres', database: 'postgres' })
  expect(String(says['url'])).not.toContain(String(says['password']))
  const client = new pg.Client({ connectionString: String(says['url']).replace('@', `:${says['password']}@`) })
  // Told first, and then cut off.
  const told: unknown[] = []
  client.on('error', (error) => told.push(error))
  await client.connect()
  expect((await client.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '9s' }])
  await client.query('create table if not exists kept (i int)')
  await client.query('begin; insert into kept values (1)')
  const ended = await end('SIGTERM')
  await expect.poll(() => told[0]).toMatchObject({ code: '57P01' })
  await client.end().catch(() => undefined)
  expect(ended).toMatch(/^0 .*one transaction at a time/s)
  const target = ['-t', `embedded:${join(directory, 'db')}`]
  expect((await tsdb([...target, 'sql', 'select count(*)::int as n from kept', '--json'])).stdout).toBe(
    '[\n  {\n    "n": 0\n  }\n]\n',
  )
})

test('a password of one’s own is never shown', async () => {
  const file = join(directory, 'password')
  writeFileSync(file, 'my secret\n')
  for (const [args, env] of [
    [['--password-file', file], {}],
    [[], { TSDB_SERVE_PASSWORD: 'my secret' }],
  ] as const) {
    const { says, end } = await start(['--port', '0', ...args], env)
    expect(says).not.toHaveProperty('password')
    const client = new pg.Client({ connectionString: String(says['url']).replace('@', ':my%20secret@') })
    client.on('error', () => undefined)
    await client.connect()
    await client.end()
    const ended = await end('SIGINT')
    expect(ended).toMatch(/^0 /)
    expect(ended).not.toContain('secret')
  }
})

test.each([
  [['--host', '0.0.0.0'], 'error[INVALID_OPTION]: Other machines can reach 0.0.0.0.\nhint: Pass --allow-remote'],
  [['--port', 'x'], 'error[INVALID_OPTION]: port is a whole number'],
  [['--tls-cert', 'c.pem'], 'Give both --tls-cert and --tls-key'],
  [['--allow-remtoe'], 'Did you mean --allow-remote?'],
])('%j', async (args, message) => {
  const { code, stderr } = await tsdbHere(['-t', 'embedded:', 'serve', ...args])
  expect(code).toBe(2)
  expect(stderr).toContain(message)
})

test('a server is not served again', async () => {
  const { says, end } = await start(['--port', '0'])
  const url = String(says['url']).replace('@', `:${says['password']}@`)
  const { code, stderr } = await tsdbHere(['-t', `${url}?sslmode=disable`, 'serve'])
  expect([code, stderr]).toEqual([2, expect.stringContaining('serve() is for the embedded engine')])
  await end('SIGTERM')
})
