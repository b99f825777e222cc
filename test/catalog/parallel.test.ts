import { afterAll, beforeAll, expect, test } from 'vitest'
import { readParallel } from '../../src/catalog/parallel.ts'
import { DatabaseSession } from '../../src/connection/database-session.ts'
import { type ConnectionPool, openPool } from '../../src/connection/pool.ts'
import { load } from '../../src/ingest/load.ts'
import { type PostgresServer, startPostgres } from '../setup/postgres.ts'

let server: PostgresServer
beforeAll(async () => {
  server = await startPostgres({})
})
afterAll(() => server[Symbol.asyncDispose]())

async function withPool<T>(
  options: object,
  run: (session: DatabaseSession, pool: ConnectionPool) => Promise<T>,
): Promise<T> {
  const pool = openPool({ ...server.options, ...options })
  try {
    return await run(new DatabaseSession(pool), pool)
  } finally {
    await pool.close()
  }
}

test('as many batches at once as the server was tuned for, the pool has, and a transaction allows', async () => {
  const run = (text: string): Promise<unknown> => withPool({}, (session) => session.query({ text, values: [] }))
  const parallel = (options: object = {}): Promise<number> => withPool(options, readParallel)
  expect(await parallel()).toBe(2)
  await run('create table rows (id int)')
  for (const [workers, expected] of [
    [0, 1],
    [3, 3],
    [64, 4],
  ] as const) {
    await run(`alter system set max_parallel_workers = ${workers}`)
    await run('select pg_reload_conf()')
    await expect.poll(() => parallel()).toBe(expected)
  }
  expect(await parallel({ poolSize: 1, maxOverflow: 0 })).toBe(1)
  expect(await parallel({ poolSize: 2, maxOverflow: 1 })).toBe(3)
  await withPool({}, async (session) => {
    expect((await load(session, 'rows', [{ id: 1 }])).parallel).toBe(4)
    expect((await load(session, 'rows', [{ id: 1 }], { parallel: 1 })).parallel).toBe(1)
    expect(await session.transaction(async (tx) => (await load(tx, 'rows', [{ id: 1 }])).parallel)).toBe(1)
    expect(await session.transaction(readParallel)).toBe(1)
  })
})
