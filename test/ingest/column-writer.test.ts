import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { TableColumn, TableDescription } from '../../src/catalog/column.ts'
import { encodeRows, type RejectedRow, type RowBatch } from '../../src/ingest/batch.ts'
import { layoutEncoder } from '../../src/ingest/encode/layout.ts'
import type { ValueOptions } from '../../src/ingest/encode/value.ts'
import { columnSources } from '../../src/ingest/source/column-source.ts'
import { BlockPool } from '../../src/wire/copy-buffer.ts'

type Values = readonly unknown[] | Float64Array | Int32Array | BigInt64Array

interface Given {
  readonly type: string
  readonly values: Values
}

const receive: Readonly<Record<string, string>> = {
  float8: 'float8recv',
  int4: 'int4recv',
  int8: 'int8recv',
  timestamp: 'timestamp_recv',
  timestamptz: 'timestamptz_recv',
  text: 'textrecv',
}

function tableOf(types: readonly string[]): TableDescription {
  const columns = types.map((type, at): TableColumn => {
    const common = { typeId: 0, element: undefined, notNull: false, hasDefault: false, generated: undefined }
    return { ...common, name: `c${at}`, typeName: type, baseName: type, receive: receive[type] ?? '' }
  })
  return { schema: 'public', name: 't', columns } as unknown as TableDescription
}

function batchOf(given: readonly Given[], options: ValueOptions & { constants?: Record<string, unknown> }): RowBatch {
  const types = given.map(({ type }) => type)
  const names = given.map((_, at) => `c${at}`)
  const table = tableOf(options.constants === undefined ? types : [...types, 'text'])
  const columns = Object.fromEntries(given.map(({ values }, at) => [`c${at}`, values]))
  const { write, writeAll } = layoutEncoder(table, names, options).fromColumns(columnSources(columns), options)
  return {
    first: 100,
    rows: given[0]?.values.length ?? 0,
    write: (buffer, row) => write(buffer, row, 100 + row),
    writeAll: (buffer, order) => writeAll(buffer, order, 0),
    valuesOf: (name) => (row) => columns[name]?.[row],
    source: (row) => names.map((name) => columns[name]?.[row]),
  }
}

/** The same rows as arrays of values, which are written one after another by the writers of their types. */
function rowBatchOf(
  given: readonly Given[],
  options: ValueOptions & { constants?: Record<string, unknown> },
): RowBatch {
  const types = given.map(({ type }) => type)
  const table = tableOf(options.constants === undefined ? types : [...types, 'text'])
  const encoder = layoutEncoder(
    table,
    given.map((_, at) => `c${at}`),
    options,
  )
  const batch = batchOf(given, options)
  const rowOf = (row: number): unknown[] => given.map(({ values }) => values[row])
  const { writeAll: _, ...others } = batch
  return { ...others, write: (buffer, row) => encoder.row(buffer, rowOf(row), 100 + row) }
}

const rows = 40
const micros = fc.bigInt({ min: -210_866_803_200_000_000n, max: 2n ** 63n - 1n })
const near = fc.constantFrom(0n, -1n, 2n ** 32n, -(2n ** 32n) - 1n, 2n ** 52n, 2n ** 53n + 1n, -(2n ** 53n) - 1n)
const divisor = { s: 1_000_000n, ms: 1000n, us: 1n, ns: 1n }
const unit = fc.constantFrom(...(['s', 'ms', 'us', 'ns'] as const))
const words = fc
  .oneof(
    { weight: 5, arbitrary: fc.string({ unit: 'grapheme', maxLength: 50 }) },
    // Beyond a block of 256 KB, and so much of one that the next row is in another.
    { weight: 1, arbitrary: fc.nat(300_000).map((length) => 'x'.repeat(length)) },
    fc.constantFrom(null, '', 'ü'),
  )
  .filter((text) => text === null || !/\0|\p{Surrogate}/u.test(text))

function list<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T[]> {
  return fc.array(value, { minLength: rows, maxLength: rows })
}

function columnOf(ofUnit: keyof typeof divisor): fc.Arbitrary<Given> {
  const time = fc.oneof(micros, near).map((value) => value / divisor[ofUnit])
  const number = fc.double()
  return fc.oneof(
    list(number).map((values) => ({ type: 'float8', values: Float64Array.from(values) })),
    list(fc.option(number)).map((values) => ({ type: 'float8', values })),
    list(fc.integer()).map((values) => ({ type: 'int4', values: Int32Array.from(values) })),
    list(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })).map((values) => ({
      type: 'int8',
      values: BigInt64Array.from(values),
    })),
    fc.tuple(fc.constantFrom('timestamp', 'timestamptz'), list(time)).map(([type, values]) => ({
      type,
      values: BigInt64Array.from(values),
    })),
    list(words).map((values) => ({ type: 'text', values })),
  )
}

const input = unit.chain((timeUnit) =>
  fc.record({
    timeUnit: fc.constant(timeUnit),
    given: fc.array(columnOf(timeUnit), { minLength: 1, maxLength: 7 }),
    order: fc.array(fc.nat(rows - 1), { maxLength: 3000 }),
    constant: fc.option(fc.constantFrom('', 'the same'), { nil: undefined }),
  }),
)

test('columns are the same bytes as rows of their values', () => {
  const pool = new BlockPool()
  const property = fc.property(input, ({ timeUnit, given, order, constant }) => {
    const options = {
      timeUnit,
      ...(constant !== undefined && { constants: { [`c${given.length}`]: constant } }),
    }
    // Long texts many times would be gigabytes.
    const some = given.some(({ type }) => type === 'text') ? order.slice(0, 60) : order
    const columns = encodeRows(batchOf(given, options), some, undefined, pool)
    const expected = encodeRows(rowBatchOf(given, options), some, undefined)
    const bytes = Buffer.concat(columns.blocks)
    pool.give(columns.blocks)
    expect(columns.bytes).toBe(expected.bytes)
    expect(bytes.equals(Buffer.concat(expected.blocks))).toBe(true)
  })
  fc.assert(property, { numRuns: 150 })
})

test('a value that does not fit names its row and column, or is left out', () => {
  const values = BigInt64Array.of(0n, 5n, -(2n ** 63n), 7n)
  const given = [
    { type: 'int4', values: Int32Array.of(1, 2, 3, 4) },
    { type: 'timestamptz', values },
    { type: 'text', values: ['a', 'b', 'c', 'd\0'] },
  ]
  const batch = batchOf(given, {})
  expect(() => encodeRows(batch, [3, 2, 1, 0], undefined)).toThrow('Row 103: Column "c2" (text): a text with NUL')
  expect(() => encodeRows(batch, [0, 1, 2, 3], undefined)).toThrow('Row 102: Column "c1" (timestamptz): a time out of')
  const rejected: RejectedRow[] = []
  const encoded = encodeRows(batch, [0, 1, 2, 3], (row) => rejected.push(row))
  expect(rejected.map(({ row }) => row)).toEqual([102, 103])
  const fitting = encodeRows(rowBatchOf(given, {}), [0, 1], undefined)
  expect(Buffer.concat(encoded.blocks)).toEqual(Buffer.concat(fitting.blocks))
  expect([...encoded.order]).toEqual([0, 1])
})

test('memory that is given back is used again, other memory is not', () => {
  const pool = new BlockPool()
  const text = [{ type: 'text', values: ['y'.repeat(300_000), 'short'] }]
  const { blocks } = encodeRows(batchOf(text, {}), [0, 1], undefined, pool)
  pool.give(blocks)
  const size = 256 * 1024
  const memory = new Set(blocks.map(({ buffer }) => buffer).filter(({ byteLength }) => byteLength === size))
  // One before the long text, which has one of its own, and one after it.
  expect(memory.size).toBe(2)
  for (const _ of memory) {
    const block = pool.take()
    expect(memory.has(block.buffer)).toBe(true)
    expect(block).toHaveLength(size)
  }
  expect(memory.has(pool.take().buffer)).toBe(false)
})
