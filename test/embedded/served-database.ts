/** The database of the tests that speak to it from outside: one for a file. */
import path from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll } from 'vitest'
import type { Database, ServedDatabase, ServeOptions } from '../../src/index.ts'
import { connectLent } from '../setup/database.ts'

export let db: Database
export let served: ServedDatabase
/** What is closed after the test, the first first. */
const opened: AsyncDisposable[] = []

/** Registers the hooks of a file: the database has a table `reading` that is emptied after each test. */
export function serveDatabase(): void {
  beforeAll(async () => {
    db = await connectLent()
    served = await db.serve({ port: 0 })
    await db.sql`create table reading (id int primary key, value text)`
  })
  afterAll(() => db.close())
  afterEach(async () => {
    for (const each of opened.splice(0)) await each[Symbol.asyncDispose]()
    await db.sql`truncate reading`
  })
}

/** Offers it once more, with other options. */
export async function serve(options: ServeOptions): Promise<ServedDatabase> {
  const made = await db.serve({ port: 0, ...options })
  opened.push(made)
  return made
}

const address = (server: ServedDatabase): pg.ClientConfig => ({
  host: server.host ?? path.dirname(server.path ?? ''),
  port: server.port,
  user: server.user,
  database: server.database,
  password: server.password,
})

/** A client of `pg` that is logged in. */
export async function login(server: ServedDatabase = served, config: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ ...address(server), ...config })
  client.on('error', () => undefined)
  await client.connect()
  opened.unshift({ [Symbol.asyncDispose]: () => client.end() })
  return client
}

/** The first column of the first row. */
export const valueIn = async (client: pg.Client, text: string): Promise<unknown> =>
  Object.values<unknown>((await client.query(text)).rows[0])[0]
