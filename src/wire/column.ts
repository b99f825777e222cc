/**
 * How the columns of a result are read. A reader takes the values of one column out of the rows' bytes and fills
 * memory in Arrow's layout; the reading connection drives it and knows no type.
 */

/** A column as RowDescription announces it. */
export interface ResultField {
  readonly name: string
  /** The type's oid in pg_type; of a domain, that of its base. */
  readonly typeId: number
  /** The type's modifier, such as precision and scale of numeric; -1 for none. */
  readonly typeModifier: number
  /** 0: the type's text output; 1: its binary send format. */
  readonly format: 0 | 1
}

/** Reads one column, row by row. Rows are numbered from 0 in each batch. */
export interface ColumnReader<Batch> {
  /** Bytes of values of changing length kept for the present batch; 0 for types of fixed size. */
  readonly bytes: number
  /** Makes room for rows below `capacity`. Comes before the first row of every batch. */
  grow(capacity: number): void
  /** Notes that the value of `row` is NULL. */
  null(row: number): void
  /** Reads the value of `row`: `size` bytes at `at`, which `view` shows too. They are reused afterwards. */
  read(bytes: Buffer, view: DataView, row: number, at: number, size: number): void
  /** The first `rows` rows. The reader goes on with an empty batch; words of a dictionary are kept. */
  take(rows: number): Batch
  /** Begins anew, for another result of the same column. Comes after `take`. */
  reset(): void
}

/** How the types that have no single right layout are read. */
export interface ColumnOptions {
  /**
   * `'float64'`: the nearest number, with the values that are not exact counted; beyond ±1.8e308 is an error.
   * `'decimal128'`: exact; what has more digits than the column's type allows, NaN and infinity are errors. A column
   * without a precision is decimal128(38, 18). `'string'`: the server's text. `'exact'`: decimal128 where the type has a
   * precision of at most 38, else text.
   * Default, by the column's type alone: numeric(p, s) is float64 up to 15 digits, decimal128 up to 38, text beyond;
   * without a precision float64.
   */
  readonly numeric?: 'float64' | 'decimal128' | 'string' | 'exact' | undefined
}

/** What a column holds, and with it the layout of {@link ColumnBatch}. It never depends on the data. */
export type ColumnType =
  | { readonly kind: 'bool' | 'int16' | 'int32' | 'int64' | 'uint32' | 'float32' | 'float64' }
  | { readonly kind: 'text' | 'json' | 'binary' | 'date' | 'timestamp' | 'timestamptz' | 'time' | 'interval' }
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly kind: 'list'; readonly element: ColumnType }

/** The buffers a batch can have its values in. */
export type ColumnValues =
  | Uint8Array
  | Int16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array

/**
 * Consecutive rows of a column, in Arrow's layout. Where a row is NULL, its place in `values` holds anything.
 *
 * | kind | `values` |
 * |---|---|
 * | bool | one bit a row, the lowest first |
 * | int16, int32, int64, uint32, float32, float64 | the numbers |
 * | decimal | two 64-bit words a row, the lower first: the value × 10^scale |
 * | date | days since 1970-01-01 |
 * | timestamp, timestamptz | microseconds since 1970-01-01 00:00 (UTC) |
 * | time | microseconds since midnight |
 * | interval | none; `children` are months, days (int32) and microseconds (int64) |
 * | text, json, binary | bytes; row i is from `offsets[i]` to `offsets[i + 1]` |
 * | text, json with `dictionary` | the row's word: its number in `dictionary` |
 * | list | none; row i has the elements from `offsets[i]` to `offsets[i + 1]` of `children[0]` |
 *
 * Infinite dates, timestamps and intervals have the largest and the smallest number of their buffer (of all three
 * buffers), which no finite value has; `infinite` counts them.
 */
export interface ColumnBatch {
  readonly type: ColumnType
  readonly length: number
  readonly nullCount: number
  /** One bit a row, the lowest first; 1: there is a value. Empty where no row is NULL. */
  readonly validity: Uint8Array
  readonly values: ColumnValues
  /** One more than rows; only for types of changing length. */
  readonly offsets?: Int32Array
  /** The different words of a text column. Those of a later batch begin with those of an earlier one. */
  readonly dictionary?: ColumnBatch
  readonly children?: readonly ColumnBatch[]
  /** numeric read as float64: how many values the number does not say exactly. */
  readonly inexact?: number
  /** How many values are infinite dates or times. */
  readonly infinite?: number
  /** Arrays of more than one dimension: row → the length of each dimension. The elements are all in `children[0]`. */
  readonly shapes?: ReadonlyMap<number, readonly number[]>
}
