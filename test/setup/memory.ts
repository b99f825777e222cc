import v8 from 'node:v8'
import vm from 'node:vm'

/** Bytes really in use, after the garbage is gone: that of other test files lies in the same process. */
export function keptBytes(): number {
  v8.setFlagsFromString('--expose-gc')
  vm.runInNewContext('gc')()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
