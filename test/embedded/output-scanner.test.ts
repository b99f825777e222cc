import fc from 'fast-check'
import { expect, test } from 'vitest'
import { OutputScanner } from '../../src/embedded/output-scanner.ts'
import { MessageReader, message } from '../../src/wire/message.ts'

const messages = fc.array(
  fc.tuple(fc.constantFrom('D', 'T', 'Z', 'E', 'A', 'C', 'G', 'd', 'N', 'S'), fc.uint8Array({ maxLength: 40 })),
  { minLength: 1, maxLength: 12 },
)

/** `bytes` cut at the given places. */
const cut = (bytes: Buffer, places: readonly number[]): Buffer[] => {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end))
}

test('however the output is cut, the watched messages are seen whole and in order, and the rest passes unchanged', () => {
  fc.assert(
    fc.property(messages, fc.array(fc.nat(), { maxLength: 8 }), fc.boolean(), (list, places, everything) => {
      const bytes = Buffer.concat(list.map(([type, body]) => message(type, body)))
      const scanner = new OutputScanner(everything)
      const seen: string[] = []
      const passed = cut(bytes, places).map((part) =>
        Buffer.from(
          scanner.scan(part, (type, whole) => {
            seen.push(type)
            expect(whole.length).toBe(whole.readInt32BE(1) + 1)
            if (type === 'A') return Buffer.alloc(0)
            if (type === 'E') return Buffer.from('changed')
            return undefined
          }),
        ),
      )
      const watched = everything ? 'ZEACGDN' : 'ZEACG'
      expect(seen).toEqual(list.map(([type]) => type).filter((type) => watched.includes(type)))
      const expected = list.map(([type, body]) =>
        type === 'A' ? Buffer.alloc(0) : type === 'E' ? Buffer.from('changed') : message(type, body),
      )
      expect(Buffer.concat(passed).equals(Buffer.concat(expected))).toBe(true)
    }),
  )
})

test('a reader gives whole messages however their bytes come', () => {
  fc.assert(
    fc.property(messages, fc.array(fc.nat(), { maxLength: 8 }), (list, places) => {
      const reader = new MessageReader()
      const seen: Buffer[] = []
      const bytes = Buffer.concat(list.map(([type, body]) => message(type, body)))
      for (const part of cut(bytes, places)) reader.push(part, (_, whole) => seen.push(Buffer.from(whole)))
      expect(seen.map((one) => one.toString('hex'))).toEqual(
        list.map(([type, body]) => message(type, body).toString('hex')),
      )
    }),
  )
})
