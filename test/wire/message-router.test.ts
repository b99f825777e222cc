import { expect, test } from 'vitest'
import { int32, message } from '../../src/wire/message.ts'
import { MessageRouter } from '../../src/wire/message-router.ts'

const row = (text: string): Buffer =>
  message('D', Buffer.from([0, 1]), int32(Buffer.byteLength(text)), Buffer.from(text))
const script = Buffer.concat([
  message('R', int32(5), Buffer.from('salt')),
  message('A', int32(7), 'channel', 'payload'),
  message('H', Buffer.from([1, 0, 0])),
  message('d', Buffer.from('copied row\n')),
  message('2'),
  message('T', Buffer.from([0, 0])),
  row('one'),
  row('two, and longer'),
  message('d', Buffer.from('more\n')),
  message('C', 'SELECT 2'),
  message('Z', Buffer.from('I')),
])

/** What comes out when the bytes come in these pieces, and what is kept of it later on. */
function routed(pieces: readonly Buffer[], reused: boolean): { read: string[]; kept: Buffer[] } {
  const read: string[] = []
  const kept: Buffer[] = []
  let messages = Buffer.alloc(0)
  const router = new MessageRouter(
    (bytes) => {
      // As the driver: text is read at once, CopyData and the salt are kept where they are.
      messages = Buffer.concat([messages, bytes])
      for (let at = 0; at < bytes.length; at += 1 + bytes.readInt32BE(at + 1)) {
        const whole = bytes.subarray(at, at + 1 + bytes.readInt32BE(at + 1))
        if ('dR'.includes(String.fromCharCode(whole[0] ?? 0))) kept.push(whole)
      }
    },
    (reason) => {
      throw reason
    },
  )
  router.sink = {
    readRows(bytes, _view, start, end) {
      let at = start
      while (at + 5 <= end && bytes[at] === 68 && at + 1 + bytes.readInt32BE(at + 1) <= end) {
        const next = at + 1 + bytes.readInt32BE(at + 1)
        read.push(bytes.toString('latin1', at, next))
        at = next
      }
      return at
    },
    take: (type) => type === 50,
  }
  for (const piece of pieces) {
    const memory = Buffer.from(piece)
    router.push(memory, reused)
    if (reused) memory.fill(0xee)
  }
  read.push(messages.toString('latin1'))
  return { read, kept }
}

test('cut at every pair of positions, in memory that is written anew after each piece', () => {
  const whole = routed([script], false)
  expect(whole.read).toHaveLength(3)
  expect(whole.kept).toHaveLength(3)
  for (let first = 0; first <= script.length; first++) {
    for (let second = first; second <= script.length; second++) {
      const pieces = [script.subarray(0, first), script.subarray(first, second), script.subarray(second)]
      // Compared as a whole: an assertion for each of 10,000 would take seconds.
      const { read, kept } = routed(pieces, true)
      const same = read.join() === whole.read.join() && Buffer.concat(kept).equals(Buffer.concat(whole.kept))
      if (!same) expect.fail(`cut at ${first} and ${second}`)
    }
  }
})

test('a message in many small pieces is whole, and is not believed before it has come', () => {
  const long = message('D', Buffer.from([0, 1]), int32(300_000), Buffer.alloc(300_000, 'ab'))
  const pieces: Buffer[] = []
  for (let at = 0; at < long.length; at += 1000) pieces.push(long.subarray(at, at + 1000))
  expect(routed(pieces, true).read[0]).toBe(long.toString('latin1'))

  const before = process.memoryUsage().arrayBuffers
  const router = new MessageRouter(
    () => undefined,
    () => undefined,
  )
  router.push(Buffer.concat([Buffer.from('D'), int32(2 ** 30), Buffer.alloc(100)]))
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50e6)
})
