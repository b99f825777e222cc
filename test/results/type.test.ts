import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import * as arrow from 'apache-arrow'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client } from '../../src/client.ts'
import { sql } from '../../src/sql/template.ts'
import { openTestDatabase, type TestDatabase } from '../setup/database.ts'

/** Every table of the page whose rows have an expression and what becomes of it. */
const page = readFileSync(new URL('../../docs/reference/type.md', import.meta.url), 'utf8')
const cells = (line: string): string[] =>
  line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim())
const plain = (cell: string | undefined): string => (cell ?? '').replace(/^`+ ?| ?`+$/g, '')
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('|'))
  .map(cells)
  .filter((row) => row.length === 6 && row[1]?.startsWith('`'))

let database: TestDatabase
let db: Client
beforeAll(async () => {
  database = await openTestDatabase()
  db = database.client
  await db.executeQuery(`create type ${own('letter')} as enum ('a', 'b')`)
  await db.executeQuery(`create domain ${own('small')} as int4`)
  await db.executeQuery(`create type ${own('pair')} as (a int4, b text)`)
})
afterAll(() => database.close())

const own = (name: string): string => sql.name({ schema: database.schema, name }).text
const shown = (value: unknown): string => inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 9 })

describe('the page says what each type becomes', () => {
  test('of every type', () => {
    const types = rows.flatMap((row) => plain(row[0]).split(/, |: /))
    for (const type of [
      'bool',
      'int8',
      'numeric',
      'text',
      'uuid',
      'jsonb',
      'timestamptz',
      'interval',
      'int4[]',
      'enum',
    ]) {
      expect(types).toContain(type)
    }
  })

  test.each(rows)('%s: %s', async (_type, code, inRows, inColumns, inFrame, inArrow) => {
    const text = `select ${plain(code).replace(/\b(?:letter|small|pair)\b/, own)} as v`
    expect(shown((await db.executeQuery(text)).rows[0]?.['v'])).toBe(plain(inRows))
    const columns = await db.queryToColumns(text)
    expect(shown(columns.column('v').get(0))).toBe(plain(inColumns))
    expect(shown((await db.queryToDataFrame(text)).get('v', 0))).toBe(plain(inFrame))
    if (plain(inArrow) === 'error') await expect(columns.toIPC()).rejects.toMatchObject({ code: 'INVALID_VALUE' })
    else {
      const [field] = arrow.tableFromIPC(await columns.toIPC()).schema.fields
      expect(String(field?.type)).toBe(plain(inArrow))
    }
  })
})
