import type { ColumnBatch, ColumnValues } from './column.ts'

/** The values of all batches in one buffer: that of the only one, else a new one. They are of one kind. */
export function joinedValues(batches: readonly ColumnBatch[]): ColumnValues {
  const [first] = batches
  if (first === undefined) return new Uint8Array(0)
  if (batches.length === 1) return first.values
  const length = batches.reduce((sum, { values }) => sum + values.length, 0)
  // A typed array's constructor makes its own kind and takes the values of its kind, which TypeScript does not know.
  const all = new (first.values.constructor as new (length: number) => BigInt64Array)(length)
  let at = 0
  for (const { values } of batches) {
    all.set(values as BigInt64Array, at)
    at += values.length
  }
  return all
}

/** The same texts with bytes of their own for each row instead of numbers of words. */
export function spelledOut(batch: ColumnBatch): ColumnBatch {
  const { dictionary, values: codes, length, validity, ...rest } = batch
  const starts = dictionary?.offsets
  if (dictionary === undefined || starts === undefined) return batch
  const offsets = new Int32Array(length + 1)
  const valid = (row: number): boolean => batch.nullCount === 0 || ((validity[row >> 3] ?? 0) >> (row & 7)) % 2 === 1
  const word = (row: number): number => Number(codes[row])
  for (let row = 0; row < length; row++) {
    const size = valid(row) ? (starts[word(row) + 1] ?? 0) - (starts[word(row)] ?? 0) : 0
    offsets[row + 1] = (offsets[row] ?? 0) + size
  }
  const values = new Uint8Array(offsets[length] ?? 0)
  const words = new Uint8Array(dictionary.values.buffer, dictionary.values.byteOffset, dictionary.values.byteLength)
  for (let row = 0; row < length; row++) {
    if (valid(row)) values.set(words.subarray(starts[word(row)], starts[word(row) + 1]), offsets[row])
  }
  return { ...rest, length, validity, values, offsets }
}
