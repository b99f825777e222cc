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
  /** Makes room for rows below `capacity`, a power of two. */
  grow(capacity: number): void
  /** Notes that the value of `row` is NULL. */
  null(row: number): void
  /** Reads the value of `row`: `size` bytes at `at`, which `view` shows too. They are reused afterwards. */
  read(bytes: Buffer, view: DataView, row: number, at: number, size: number): void
  /** The first `rows` rows. The reader goes on with an empty batch; words of a dictionary are kept. */
  take(rows: number): Batch
}
