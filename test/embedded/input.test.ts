import { afterAll, beforeAll, expect, test } from 'vitest'
import type { EmbeddedDatabase } from '../../src/embedded/embedded-database.ts'
import { message } from '../../src/wire/message.ts'
import { lendEngine } from '../setup/database.ts'
import { extended, RawClient, readRows, tagsOf } from './raw-client.ts'

let database: EmbeddedDatabase
let client: RawClient

beforeAll(async () => {
  database = await lendEngine({ lockWaitMs: 5000 })
  client = await RawClient.open(database)
  await client.query('create table t (i int, s text)')
})
afterAll(() => database.close())

/** Bind and Execute of the statement `insert` with one text. */
function insertion(text: string): Buffer {
  const value = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeInt32BE(value.length)
  const parameters = Buffer.concat([Buffer.from([0, 0, 0, 1]), length, value, Buffer.alloc(2)])
  return Buffer.concat([message('B', '', 'insert', parameters), message('E', Buffer.alloc(5))])
}

// The engine reads its input in portions of 8,192 bytes and stops where one is used up: a message that ends exactly
// there once made it lose what came after.
test('no message is lost wherever the engine’s buffer of 8 kB ends', async () => {
  client.send(message('P', 'insert', 'insert into t (s) values ($1)', Buffer.alloc(2)), message('S'))
  await client.until('Z')
  const frame = insertion('').length
  for (let length = 0; length <= 40; length++) {
    await client.query('truncate t')
    // So many that some message ends at a multiple of 8,192 for most lengths.
    const rows = 1500
    client.send(...Array.from({ length: rows }, () => insertion('x'.repeat(length))), message('S'))
    expect(tagsOf(await client.until('Z'))).toHaveLength(rows)
    expect(await client.query('select count(*) from t'), `${frame + length} bytes a row`).toEqual([[String(rows)]])
  }
}, 60_000)

test('a batch of exactly 8,192 bytes, one less and one more, followed by another', async () => {
  for (const size of [8191, 8192, 8193, 16384]) {
    const text = (padding: number): string => `select 1 /*${'x'.repeat(padding)}*/`
    const simple = message('Q', text(size - message('Q', text(0)).length))
    expect(simple).toHaveLength(size)
    client.send(simple, message('Q', 'select 2'), simple, message('Q', 'select 3'))
    const answers: string[][][] = []
    for (let i = 0; i < 4; i++) answers.push(readRows(await client.until('Z')))
    expect(answers).toEqual([[['1']], [['2']], [['1']], [['3']]])
    const whole = extended(text(size - extended(text(0)).length))
    expect(whole).toHaveLength(size)
    client.send(whole, whole, extended('select 4'))
    expect(readRows(await client.until('Z'))).toEqual([['1']])
    expect(readRows(await client.until('Z'))).toEqual([['1']])
    expect(readRows(await client.until('Z'))).toEqual([['4']])
  }
})

test('a Sync that comes after the COPY has ended is answered', async () => {
  await client.query('truncate t')
  const flush = message('H')
  for (const statement of ['begin', 'copy t (i) from stdin', 'commit']) {
    client.send(
      message('P', '', statement, Buffer.alloc(2)),
      message('B', '', '', Buffer.alloc(6)),
      message('E', Buffer.alloc(5)),
      flush,
    )
    if (statement.startsWith('copy')) {
      await client.until('G')
      client.send(message('d', Buffer.from('1\n2\n')), message('c'))
    }
    await client.until('C')
    // The engine has become idle by then.
    await new Promise((resolve) => setTimeout(resolve, 20))
    client.send(message('S'))
    await client.until('Z')
  }
  expect(await client.query('select i from t order by i')).toEqual([['1'], ['2']])
})
