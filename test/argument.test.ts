import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Client } from '../src/client.ts'
import { TimescaleError, UsageError } from '../src/errors.ts'
import { sql } from '../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from './setup/database.ts'

const methods = Object.getOwnPropertyNames(Client.prototype).filter((name) => name !== 'constructor')

/** What callers without a type checker pass in place of a name, text or options. */
const WRONG: readonly unknown[] = [undefined, null, 5, true, '', 'x', [], [null], {}, () => 1, Symbol('s')]

/** These do something useful without any argument. */
const COMPLETE = new Set([
  'capabilities',
  'listHypertables',
  'listContinuousAggregates',
  'listJobs',
  'jobHistory',
  'jobErrors',
  'checkPolicies',
  'listJobProblems',
  'jobMetrics',
])
/** These need nothing but a name. */
const NAME_ONLY =
  /^(drop|get|remove|compress|decompress|enable|refresh|executeQuery|queryToDataFrame|listJobs|run|delete|disable|job|writer)/

let database: TestDatabase
let table: { readonly schema: string; readonly name: string }
beforeAll(async () => {
  database = await openTestDatabase()
  table = { schema: database.schema, name: 'T' }
  await database.db.query(sql`create table ${sql.name(table)} (time timestamptz not null, v float8)`)
  await database.client.createHypertable(table, { timeColumn: 'time' })
})
afterAll(() => database.close())

/** What a call ends with: undefined where it succeeds. */
async function outcome(name: string, given: readonly unknown[]): Promise<unknown> {
  const method: unknown = Reflect.get(database.client, name)
  if (typeof method !== 'function') throw new Error(`There is no method ${name}.`)
  try {
    await Reflect.apply(method, database.client, given)
    return undefined
  } catch (error) {
    return error
  }
}

describe('an argument that is missing or of a wrong type', () => {
  it.each(methods.filter((name) => !COMPLETE.has(name)))('%s() is a UsageError', async (name) => {
    const error = await outcome(name, [])
    expect(error).toBeInstanceOf(UsageError)
    expect(String(error)).not.toMatch(/undefined is not|not iterable|cannot read/i)
  })

  it.each(methods.filter((name) => !COMPLETE.has(name) && !NAME_ONLY.test(name)))(
    '%s(name) says what else it needs',
    async (name) => {
      const first = name === 'executeMany' ? 'select 1' : name.endsWith('Job') ? 1 : table
      expect(await outcome(name, [first])).toBeInstanceOf(UsageError)
    },
  )

  it.each(methods)('%s never fails with anything but our own errors', async (name) => {
    const first = name === 'executeMany' || name.startsWith('execute') || name.startsWith('query') ? 'select 1' : table
    // Those that take one argument at most pass over what comes behind it, and each call would measure all again.
    const shapes = (wrong: unknown): unknown[][] =>
      COMPLETE.has(name) ? [[wrong]] : [[wrong], [wrong, wrong], [first, wrong], [first, {}, wrong]]
    for (const wrong of WRONG) {
      for (const given of shapes(wrong)) {
        // A function is what transaction() takes.
        const error = await outcome(name, given)
        expect(error === undefined || error instanceof TimescaleError, `${name}(${given.map(String)}): ${error}`).toBe(
          true,
        )
      }
    }
  })
})
