/**
 * Options of Node for a program that opens an engine and ends within seconds. Optimising WASM would be half of what its life
 * costs the processor, and the rest of the suite runs optimised code. V8's quick compiler gives the same results.
 */
export const shortLife: readonly string[] = ['--liftoff-only']
