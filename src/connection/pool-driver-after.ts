/** Takes back what pool-driver-before.ts has put there, and nothing else. */
import { standIn } from './pool-driver-before.ts'

if (Object.getOwnPropertyDescriptor(globalThis, 'navigator')?.value === standIn) {
  Reflect.deleteProperty(globalThis, 'navigator')
}
