import { setFlagsFromString } from 'node:v8'

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

/** How much of a function of WASM runs before V8 optimises it: the default from Node 22 on, and the most there is. */
const tieringBudget = { usual: 13_000_000, most: 2 ** 31 - 1 }

/** A module takes the budget that is set when it is made; it is the whole process's. */
export function setTieringBudget(budget: 'usual' | 'most'): void {
  setFlagsFromString(`--wasm-tiering-budget=${tieringBudget[budget]}`)
}

/** Whoever runs node with such options knows better; and they could not be put back. */
export const hasWasmOptions: boolean = /--(no-)?(wasm|liftoff)/.test(
  [...process.execArgv, process.env['NODE_OPTIONS']].join(' '),
)
