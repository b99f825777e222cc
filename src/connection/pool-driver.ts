/** The driver, loaded without what it would load on Node 20 for nothing. */
import './pool-driver-before.ts'
import pg from 'pg'
import './pool-driver-after.ts'

export { pg }
