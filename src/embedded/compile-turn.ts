let last: Promise<unknown> = Promise.resolve()

/**
 * Compiles WASM when no other part of the library does: V8 has one set of flags for all that a process compiles, and the
 * thread of Parquet changes them meanwhile.
 */
export function compileInTurn<T>(compile: () => Promise<T>): Promise<T> {
  const turn = last.then(compile)
  last = turn.catch(() => undefined)
  return turn
}
