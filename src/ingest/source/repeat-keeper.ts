/**
 * Gives rows that stay what they are until they are written, with others: many a source fills one and the same object, or
 * array, anew for each row. Its first row is copied, and where that comes again all others.
 */
export function repeatKeeper<T>(copy: (row: T) => T): (row: T) => T {
  let first: T | undefined
  let repeats = false
  return (row) => {
    if (first !== undefined && row !== first) return repeats ? copy(row) : row
    repeats = first !== undefined
    first = row
    return copy(row)
  }
}
