/** The driver, loaded without what it does not need of Node. */
import { isLent } from './pool-navigator.ts'

// After the line above, which is why the two stand apart.

import pg from 'pg'

if (isLent) Reflect.deleteProperty(globalThis, 'navigator')

export { pg }
