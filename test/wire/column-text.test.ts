import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Column } from '../../src/results/column.ts'
import type { ColumnBatch } from '../../src/wire/column.ts'
import { spelledOut } from '../../src/wire/column-batch.ts'
import { TextReader } from '../../src/wire/column-text.ts'

/** Reads texts as the connection does: room is made by doubling, a batch is taken after so many rows. */
function read(texts: readonly (string | null)[], batchRows = Number.POSITIVE_INFINITY): ColumnBatch[] {
  const reader = new TextReader({ kind: 'text' }, 'x')
  const batches: ColumnBatch[] = []
  let row = 0
  let capacity = 0
  for (const text of texts) {
    if (row === batchRows) {
      batches.push(reader.take(row))
      row = capacity = 0
    }
    if (row === capacity) {
      capacity = Math.max(64, capacity * 2)
      reader.grow(capacity)
    }
    if (text === null) reader.null(row)
    else {
      // In a chunk the value has others around it.
      const bytes = Buffer.concat([Buffer.from('<'), Buffer.from(text), Buffer.from('>')])
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      reader.read(bytes, view, row, 1, bytes.length - 2)
    }
    row++
  }
  batches.push(reader.take(row))
  return batches
}

const valuesOf = (batches: readonly ColumnBatch[]): unknown[] => [...new Column('x', 25, batches)]

describe('repeated text', () => {
  test('is numbers of words', () => {
    const texts = Array.from({ length: 5000 }, (_, row) => (row % 7 === 0 ? null : `sensor-${row % 300}`))
    const [batch] = read(texts)
    expect(batch?.dictionary?.length).toBe(300)
    expect(batch?.values).toBeInstanceOf(Int32Array)
    expect(valuesOf(read(texts))).toEqual(texts)
  })

  test('keeps its words from batch to batch', () => {
    const texts = ['a', 'b', 'a', null, 'c', 'a', 'b', 'd']
    const batches = read(texts, 3)
    expect(batches.map(({ dictionary }) => dictionary?.length)).toEqual([2, 3, 4])
    expect(batches.map(({ values }) => [...values])).toEqual([
      [0, 1, 0],
      [0, 2, 0],
      [1, 3],
    ])
    expect(valuesOf(batches)).toEqual(texts)
  })
})

describe('texts that differ', () => {
  test('become bytes and offsets in the middle of a batch', () => {
    const texts = Array.from({ length: 20_000 }, (_, row) => (row % 5 === 0 ? null : `word ${row}`))
    const [batch] = read(texts)
    expect(batch?.dictionary).toBeUndefined()
    expect(batch?.offsets?.length).toBe(20_001)
    expect(valuesOf(read(texts))).toEqual(texts)
  })

  test('stay so in later batches, while earlier ones keep their words', () => {
    const texts = [...Array.from({ length: 3500 }, () => 'same'), ...Array.from({ length: 8500 }, (_, row) => `${row}`)]
    const batches = read(texts, 3000)
    expect(batches.map(({ dictionary }) => dictionary !== undefined)).toEqual([true, true, false, false])
    expect(valuesOf(batches)).toEqual(texts)
    expect(valuesOf(batches.map(spelledOut))).toEqual(texts)
  })

  test('long ones too', () => {
    const texts = ['a', null, 'b'.repeat(257), 'a', '', 'ü'.repeat(100_000), null, 'c'.repeat(256)]
    const [batch] = read(texts)
    expect(batch?.dictionary).toBeUndefined()
    expect(valuesOf(read(texts))).toEqual(texts)
    expect(valuesOf(read(texts, 3))).toEqual(texts)
  })
})

/** Different words of 8 bytes of which the reader's hash is one and the same: its two steps can be undone. */
function collidingWords(count: number): Buffer[] {
  const factor = 0x9e3779b1
  let inverse = factor
  for (let round = 0; round < 5; round++) inverse = Math.imul(inverse, 2 - Math.imul(factor, inverse))
  const forth = (state: number): number => {
    const product = Math.imul(state, factor)
    return product ^ (product >>> 15)
  }
  const back = (state: number): number => Math.imul(state ^ (state >>> 15) ^ (state >>> 30), inverse)
  return Array.from({ length: count }, (_, index) => {
    const word = Buffer.alloc(8)
    word.writeInt32BE(index)
    word.writeInt32BE(back(12_345) ^ forth(8 ^ index), 4)
    return word
  })
}

test('words made to collide cost no more than others', { timeout: 60_000 }, () => {
  const time = (words: readonly Buffer[]): number => {
    const reader = new TextReader({ kind: 'text' }, 'x')
    // Each three times, so that the words look worth keeping.
    const rows = words.length * 3
    const wordOf = (row: number): Buffer => words[Math.floor(row / 3)]!
    reader.grow(2 ** 18)
    const start = performance.now()
    for (let row = 0; row < rows; row++) {
      const word = wordOf(row)
      reader.read(word, new DataView(word.buffer, word.byteOffset, word.length), row, 0, word.length)
    }
    const seconds = performance.now() - start
    const batch = reader.take(rows)
    for (let row = 0; row < rows; row += 997) {
      const { dictionary, values } = batch
      const [place, { offsets, values: bytes }] = dictionary ? [Number(values[row]), dictionary] : [row, batch]
      expect([...bytes.slice(offsets?.[place], offsets?.[place + 1])]).toEqual([...wordOf(row)])
    }
    return seconds
  }
  const colliding = collidingWords(40_000)
  const usual = colliding.map((_, index) => Buffer.from(`w${index}`.padEnd(8)))
  time(usual)
  const least = (words: readonly Buffer[]): number => Math.min(...[1, 2, 3].map(() => time(words)))
  expect(least(colliding)).toBeLessThan(least(usual) * 4 + 20)
})

test('any texts, any batches', () => {
  fc.assert(
    fc.property(
      fc.array(fc.option(fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('a', 'b', 'ab')))),
      fc.integer({ min: 1, max: 70 }),
      (texts, batchRows) => {
        const whole = texts.map((text) => (text === null ? null : Buffer.from(text).toString()))
        const batches = read(texts, batchRows)
        expect(valuesOf(batches)).toEqual(whole)
        expect(valuesOf(batches.map(spelledOut))).toEqual(whole)
      },
    ),
  )
})
